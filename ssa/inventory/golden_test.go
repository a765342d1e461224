// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa/inventory"
	. "github.com/onsi/gomega"
)

// SSA-94: what is stored, written down: the lines, their order, and the digest
// that `sha256sum` gives for them.
func TestGolden(t *testing.T) {
	g := NewWithT(t)
	const digest = "sha256:e3d9e99b49812f1fac57d83efb7dd5cee5884d2cf6fd4d9675af560040a0e39e"
	const text = "_shop__Namespace v1\nshop_a%5Fb__c__ConfigMap v1\nshop_web_apps_Deployment v1\nverbatim text v9\n"
	var s inventory.Set
	s.AddEntry("verbatim text", "v9")
	s.Add(inventory.Item{ID: inventory.ID{Namespace: "shop", Name: "web", Group: "apps", Kind: "Deployment"}, Version: "v1", UID: "not stored"})
	s.Add(inventory.Item{ID: inventory.ID{Namespace: "shop", Name: "a_b:c", Kind: "ConfigMap"}, Version: "v1"})
	s.Add(inventory.Item{ID: inventory.ID{Name: "shop", Kind: "Namespace"}, Version: "v1"})
	enc, err := inventory.Encode(s)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(enc.Digest).To(Equal(digest))
	g.Expect(enc.Entries).To(Equal(4))
	g.Expect(enc.Chunks).To(HaveLen(1))
	zr, err := gzip.NewReader(bytes.NewReader(enc.Chunks[0]))
	g.Expect(err).NotTo(HaveOccurred())
	got, err := io.ReadAll(zr)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(got)).To(Equal(text))
	back, err := inventory.Decode([][]byte{zipped(t, text[:30]), zipped(t, text[30:])}, digest)
	g.Expect(err).NotTo(HaveOccurred(), "whoever cut it")
	g.Expect(back.Equal(s)).To(BeTrue())
}

func zipped(t testing.TB, parts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	for _, p := range parts {
		if _, err := io.WriteString(zw, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// SSA-94: every bound of the decoder, also with the right digest.
func TestDecodeBounds(t *testing.T) {
	g := NewWithT(t)
	digest := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	large := make([]byte, inventory.MaxChunk+1)
	mega := zipped(t, strings.Repeat("a", 1<<20))
	for name, tc := range map[string]struct {
		chunks       [][]byte
		digest, text string
	}{
		"Chunk": {[][]byte{large}, digest(""), "bytes"},
		// Members of one chunk and chunks count together, before the digest.
		"Text":      {[][]byte{mega, bytes.Repeat(mega, inventory.MaxText>>20)}, digest(""), "more than 67108864 bytes"},
		"Truncated": {[][]byte{zipped(t, "a v1\n")[:20]}, digest("a v1\n"), "EOF"},
		"NoVersion": {[][]byte{zipped(t, "a\n")}, digest("a\n"), "line 1"},
		"NoEnd":     {[][]byte{zipped(t, "a v1")}, digest("a v1"), "line 1"},
		"Empty":     {[][]byte{zipped(t, "\n")}, digest("\n"), "line 1"},
	} {
		s, err := inventory.Decode(tc.chunks, tc.digest)
		g.Expect(errors.Is(err, inventory.ErrCorrupt)).To(BeTrue(), name)
		g.Expect(err).To(MatchError(ContainSubstring(tc.text)), name)
		g.Expect(s.Len()).To(BeZero(), name)
	}
}

// SSA-92: 50,000 ids in at most 16 MiB.
func TestSetIsSmall(t *testing.T) {
	g := NewWithT(t)
	heap := func() int64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	before := heap()
	s := numbered(50_000, 0)
	used := heap() - before
	t.Logf("%d bytes", used)
	g.Expect(s.Len()).To(Equal(50_000))
	g.Expect(used).To(BeNumerically("<=", 16<<20))
	runtime.KeepAlive(s)
}
