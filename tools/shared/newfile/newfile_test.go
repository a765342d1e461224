// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package newfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/tools/shared/newfile"
)

func TestCreate(t *testing.T) {
	base := t.TempDir()
	root, err := os.OpenRoot(base)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	dir, err := newfile.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(1_700_000_000, 0)
	f, err := dir.Create("a", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, werr := f.Write([]byte("content"))
	if err := errors.Join(werr, f.SetTime(at), f.Close()); err != nil {
		t.Fatal(err)
	}
	info, err := root.Stat("a")
	if b, _ := root.ReadFile("a"); string(b) != "content" || err != nil || !info.ModTime().Equal(at) {
		t.Fatalf("%q %v %v", b, info, err)
	}
	if err := os.Symlink(filepath.Join(base, "outside"), filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "link"} {
		if _, err := dir.Create(name, 0o600); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := root.Stat("outside"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("written through a link: %v", err)
	}
	if err := errors.Join(dir.Close(), newfile.Dir{}.Close()); err != nil {
		t.Error(err)
	}
}
