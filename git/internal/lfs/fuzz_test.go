// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package lfs_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git/internal/lfs"
)

// FuzzPointer reads any bytes as a pointer; what is one says so again.
func FuzzPointer(f *testing.F) {
	oid := strings.Repeat("0a", 32)
	f.Add([]byte("version https://git-lfs.github.com/spec/v1\noid sha256:" + oid + "\nsize 12\n"))
	f.Add([]byte("version https://git-lfs.github.com/spec/v1\next-0-x sha256:" + oid + "\noid sha256:" + oid + "\nsize 0\n"))
	f.Add([]byte("version https://git-lfs.github.com/spec/v1\nsize 12\noid sha256:" + oid + "\n"))
	f.Add([]byte("version https://git-lfs.github.com/spec/v1\noid sha256:" + oid + "\nsize 0012\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, ok := lfs.ParsePointer(b)
		if !ok {
			return
		}
		if len(p.OID) != 64 || p.Size < 0 || len(b) > lfs.MaxPointer {
			t.Fatalf("%+v", p)
		}
		for _, line := range []string{"oid sha256:" + p.OID, fmt.Sprint("size ", p.Size)} {
			if !bytes.Contains(b, []byte("\n"+line+"\n")) {
				t.Fatalf("%q is not in %q", line, b)
			}
		}
	})
}

// FuzzAttributes matches any path against any attributes, in time that does not
// explode.
func FuzzAttributes(f *testing.F) {
	f.Add([]byte("*.bin filter=lfs -text\n/a/** -filter\n[attr]x filter=lfs\n\"q\\\"\" filter\n"), "a/b.bin")
	f.Add([]byte("**/**/**/**/x filter=lfs\n*a*a*a*a*b filter=lfs"), "a/a/a/a/a/a/aaaaaaaaaaaaaaaaaa")
	f.Add([]byte("[a-z]?!x filter=lfs\n"), "b/cx")
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		if len(b) > 4096 || len(name) > 512 {
			return
		}
		n := 0
		a, err := lfs.ParseAttributes(b, &n)
		if err != nil {
			t.Fatal(err)
		}
		if v, found := a.Match(name); !found && v != "" {
			t.Fatalf("%q without a match", v)
		}
	})
}
