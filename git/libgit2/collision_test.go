//go:build failpoints

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package libgit2_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/objhash"
	"github.com/gitops-kit/sdk/git/libgit2"
)

// GIT-28: what would be half of a SHA-1 collision is neither put nor taken from
// a pack. TestCollision of package git says what this proves.
func TestCollision(t *testing.T) {
	half, err := os.ReadFile("../internal/objhash/testdata/shattered-1.bin")
	if err != nil {
		t.Fatal(err)
	}
	open := func(dir string) driver.Store {
		s, err := libgit2.New(libgit2.Options{}).Open(t.Context(), dir, driver.OpenOptions{})
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
