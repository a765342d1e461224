//go:build failpoints

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gittest

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/objhash"
)

// RunCollision holds a driver of SHA-1 repositories to GIT-28: an object that
// collides is neither put nor taken from a pack, and nothing of it is left.
// half is one half of a published collision; the hash is made to find it in
// front of an object, which only builds with the tag failpoints can. No other
// test may run meanwhile.
func RunCollision(t *testing.T, d driver.Driver, half []byte) {
	t.Helper()
	open := func(dir string) driver.Store {
		s, err := d.Open(t.Context(), dir, driver.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	from := open(t.TempDir())
	blob, err := from.Put(t.Context(), driver.Blob, []byte("12345"))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := from.Put(t.Context(), driver.Tree, append([]byte("100644 a\x00"), blob.Bytes()...))
	if err != nil {
		t.Fatal(err)
	}
	commit, err := from.Put(t.Context(), driver.Commit, []byte("tree "+tree.String()+"\nauthor A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n\nm\n"))
	if err != nil {
		t.Fatal(err)
	}
	var pack bytes.Buffer
	if _, err := from.Pack(t.Context(), &pack, []driver.Hash{commit}, nil); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	to := open(dir)
	objhash.Attack(func(typ driver.Type, n int64) []byte {
		if typ == driver.Blob && n == 5 {
			return half
		}
		return nil
	})
	t.Cleanup(func() { objhash.Attack(nil) })
	if _, err := to.Put(t.Context(), driver.Blob, []byte("12345")); !errors.Is(err, driver.ErrMalformedObject) {
		t.Errorf("put: %v", err)
	}
	if _, err := to.AddPack(t.Context(), bytes.NewReader(pack.Bytes()), driver.PackOptions{Size: int64(pack.Len())}); !errors.Is(err, driver.ErrMalformedObject) {
		t.Errorf("pack: %v", err)
	}
	err = filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			t.Errorf("%s was left", p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
