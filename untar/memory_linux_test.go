// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/untar"
)

// openBelow counts the directories at or below dir that this process has open.
func openBelow(t testing.TB, dir string) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, fd := range fds {
		path, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if err != nil || !strings.HasPrefix(path, dir+"/") {
			continue
		}
		if info, err := os.Lstat(path); err == nil && info.IsDir() {
			found[path] = true
		}
	}
	return len(found)
}

// untar.md §7: the same of a whole extraction, seen from the system.
func TestOpenDirectoriesOfExtraction(t *testing.T) {
	for _, existing := range []bool{false, true} {
		t.Run(fmt.Sprintf("AllowExisting=%t", existing), func(t *testing.T) {
			g := NewWithT(t)
			const n = 400
			var b raw
			for i := range n {
				b.file(fmt.Sprintf("a%d/b%d/f", i/3, i), "text")
			}
			parent, err := filepath.EvalSymlinks(t.TempDir())
			g.Expect(err).NotTo(HaveOccurred())
			most := 0
			rep, err := untar.Extract(t.Context(), bytes.NewReader(gz(b.end())), filepath.Join(parent, "dst"), untar.Options{
				AllowExisting: existing, Jobs: 8,
				Filter: func(untar.Entry) bool { most = max(most, openBelow(t, parent)); return true },
			})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(rep.Files).To(Equal(n))
			g.Expect(most).To(BeNumerically("<=", 64))
			g.Expect(most).To(BeNumerically(">=", 32), "they are kept open")
		})
	}
}
