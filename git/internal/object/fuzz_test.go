// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package object_test

import (
	"bytes"
	"testing"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/object"
)

// FuzzObjects feeds any bytes to the parsers of commits, tags and trees.
func FuzzObjects(f *testing.F) {
	id := "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
	f.Add([]byte("tree " + id + "\nauthor A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\ngpgsig x\n y\n\nm"))
	f.Add([]byte("object " + id + "\ntype commit\ntag v1\ntagger A <a@x> 1 +0000\n\nm\n-----BEGIN SSH SIGNATURE-----\n"))
	f.Add([]byte("100644 a\x00aaaaaaaaaaaaaaaaaaaa40000 b\x00bbbbbbbbbbbbbbbbbbbb"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := object.ParseCommit(driver.Hash{}, b); err == nil {
			if _, payload := object.SignedCommit(c); len(payload) > len(b) {
				t.Fatal("payload longer than the commit")
			}
		}
		if g, err := object.ParseTag(driver.Hash{}, b); err == nil {
			if sig, payload, err := object.SignedTag(g); err == nil && len(sig)+len(payload) != len(b) {
				t.Fatal("signature and payload are not the tag")
			}
		}
		var e, prev object.Entry
		for it := object.NewIter(driver.SHA1, b); it.Next(&e); prev = e {
			if len(e.Name) == 0 || bytes.ContainsAny(e.Name, "/\x00") || bytes.Equal(e.Name, prev.Name) {
				t.Fatalf("entry %q", e.Name)
			}
		}
	})
}
