// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/gitops-kit/sdk/testserver/proc"
	. "github.com/onsi/gomega"
)

// GIT-41: the heap of a checkout has a bound that the size of the pack and of
// its blobs is not part of.
func TestCheckoutMemory(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	files := gitserver.Files{}
	r := rand.NewChaCha8([32]byte{1})
	for i := range 3 {
		b := make([]byte, 16<<20)
		_, _ = r.Read(b)
		files["big"+strconv.Itoa(i)] = string(b)
	}
	repo := e.srv.Repo("app")
	repo.Commit("main", files, gitserver.CommitOptions{})
	p, err := proc.Run(t.Context(), []string{os.Args[0], "-test.run=^TestHelperMemory$"}, proc.Options{Env: []string{"MEMORY_TEST_URL=" + repo.URL()}})
	g.Expect(err).NotTo(HaveOccurred())
	defer p.Stop()
	_, err = p.Wait(t.Context())
	g.Expect(err).NotTo(HaveOccurred(), p.Output())
	_, after, ok := strings.Cut(p.Output(), "heap ")
	g.Expect(ok).To(BeTrue(), p.Output())
	heap, err := strconv.Atoi(strings.Fields(after)[0])
	g.Expect(err).NotTo(HaveOccurred())
	t.Logf("heap of %d KiB", heap>>10)
	g.Expect(heap).To(BeNumerically("<", 24<<20))
}

// TestHelperMemory is the process that TestCheckoutMemory looks at.
func TestHelperMemory(t *testing.T) {
	url := os.Getenv("MEMORY_TEST_URL")
	if url == "" {
		return
	}
	g := NewWithT(t)
	c := client(t, url, git.Options{TempDir: t.TempDir()})
	found, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = c.Checkout(t.Context(), found, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	// HeapSys never shrinks: it is the most there was.
	_, _ = os.Stdout.WriteString("heap " + strconv.FormatUint(m.HeapSys, 10) + " bytes\n")
}
