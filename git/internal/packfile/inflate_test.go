// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile_test

import (
	"bytes"
	"compress/zlib"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git/internal/packfile"
	. "github.com/onsi/gomega"
)

func deflate(t testing.TB, level int, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := zlib.NewWriterLevel(&out, level)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

func samples() map[string][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 70_000)
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	skewed := make([]byte, 70_000)
	for i := range skewed { // long codes
		v := rng.Float64()
		skewed[i] = byte(255 * v * v * v * v * v * v)
	}
	return map[string][]byte{
		"Empty": {}, "One": {7}, "Text": []byte(strings.Repeat("the quick brown fox\n", 500)), "Run": bytes.Repeat([]byte{0}, 100_000),
		"Random": random, "Skewed": skewed, "Short": []byte("abcabcabcabcd"),
	}
}

// GIT-27: the fast decoder gives what the standard one gives, and asks for more
// input at every cut.
func TestInflate(t *testing.T) {
	for name, b := range samples() {
		for level := -2; level <= 9; level++ {
			g := NewWithT(t)
			z := deflate(t, level, b)
			dst := make([]byte, len(b))
			n, err := packfile.Inflate(dst, append(bytes.Clone(z), "what follows"...))
			g.Expect(err).NotTo(HaveOccurred(), "%s level %d", name, level)
			g.Expect(n).To(Equal(len(z)))
			g.Expect(bytes.Equal(dst, b)).To(BeTrue())
			for cut := 0; cut < len(z); cut += 1 + len(z)/200 {
				_, err := packfile.Inflate(make([]byte, len(b)), z[:cut])
				g.Expect(errors.Is(err, packfile.ErrInput)).To(BeTrue(), "%s level %d cut at %d of %d: %v", name, level, cut, len(z), err)
			}
			if len(b) > 0 {
				_, err = packfile.Inflate(make([]byte, len(b)-1), z)
				g.Expect(err).To(HaveOccurred(), "too long")
			}
			_, err = packfile.Inflate(make([]byte, len(b)+1), z)
			g.Expect(err).To(HaveOccurred(), "too short")
		}
	}
}

// FuzzInflate compares with the standard library.
func FuzzInflate(f *testing.F) {
	for _, b := range samples() {
		f.Add(deflate(f, 6, b[:min(len(b), 2000)]))
	}
	f.Add([]byte{0x78, 0x9c, 3, 0, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, z []byte) {
		var want []byte
		br := bytes.NewReader(z)
		r, err := zlib.NewReader(br)
		if err == nil {
			want, err = io.ReadAll(io.LimitReader(r, 1<<20))
			if len(want) == 1<<20 {
				t.Skip()
			}
		}
		dst := make([]byte, len(want))
		n, ferr := packfile.Inflate(dst, z)
		if err != nil {
			if ferr == nil {
				t.Fatalf("accepted what the standard library refuses: %v", err)
			}
			return
		}
		if ferr != nil || !bytes.Equal(dst, want) || n != len(z)-br.Len() {
			t.Fatalf("%v, %d of %d bytes", ferr, n, len(z)-br.Len())
		}
	})
}

func BenchmarkInflate(b *testing.B) {
	for name, s := range samples() {
		z := deflate(b, 6, s)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(s)))
			dst := make([]byte, len(s))
			for b.Loop() {
				if _, err := packfile.Inflate(dst, z); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
