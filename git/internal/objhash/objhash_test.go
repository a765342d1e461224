// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package objhash_test

import (
	"crypto/sha1" //nolint:gosec // to show that it does not see the collision
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/objhash"
	. "github.com/onsi/gomega"
)

// half is one half of the collision that was published in 2017 (Stevens,
// Bursztein, Karpman, Albertini, Markov: the first collision for full SHA-1):
// the first 320 bytes of its two documents.
func half(t testing.TB, n int) []byte {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("testdata/shattered-%d.bin", n))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// GIT-28: the hash that every id of an object is computed with finds a real
// collision, in either half, wherever the writes are cut, and not only at the
// end; and it finds none where a bit of it is missing. The stream here is not an
// object: none is known that collides, because the blocks only work behind the
// beginning of those documents, and an object begins with its type. That all
// ids come from this hash is for TestCollision of package git to prove.
func TestCollision(t *testing.T) {
	g := NewWithT(t)
	one, two := half(t, 1), half(t, 2)
	g.Expect(one).NotTo(Equal(two))
	g.Expect(sha1.Sum(one)).To(Equal(sha1.Sum(two)), "what plain SHA-1 says") //nolint:gosec // see above
	h := objhash.New(driver.SHA1)
	sum := func(step int, b []byte) error {
		h.StartRaw()
		for len(b) > 0 {
			n := min(step, len(b))
			_, _ = h.Write(b[:n])
			b = b[n:]
		}
		_, err := h.Sum()
		return err
	}
	for _, b := range [][]byte{one, two} {
		for _, step := range []int{1, 63, 64, 65, 320} {
			g.Expect(errors.Is(sum(step, b), driver.ErrMalformedObject)).To(BeTrue())
		}
		g.Expect(errors.Is(sum(1000, append(b[:320:320], make([]byte, 1<<20)...)), driver.ErrMalformedObject)).To(BeTrue())
		for _, at := range []int{0, 200, 319} {
			c := append([]byte(nil), b...)
			c[at] ^= 1
			g.Expect(sum(320, c)).To(Succeed())
		}
	}
	g.Expect(sum(320, nil)).To(Succeed(), "what was found is forgotten")
	// As objects both halves are harmless, and different.
	ids := map[driver.Hash]bool{}
	for _, b := range [][]byte{one, two} {
		id, err := objhash.Of(driver.SHA1, driver.Blob, b)
		g.Expect(err).NotTo(HaveOccurred())
		ids[id] = true
	}
	g.Expect(ids).To(HaveLen(2))
}
