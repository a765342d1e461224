// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package digest_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/untar/digest"
)

// blake3Vectors are of the published test vectors: input lengths of the bytes
// 0, 1, … 250, 0, …, and the first 32 bytes of output.
var blake3Vectors = map[int]string{
	0:     "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
	1:     "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
	1023:  "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
	1024:  "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
	1025:  "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
	2048:  "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a",
	2049:  "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030",
	3072:  "b98cb0ff3623be03326b373de6b9095218513e64f1ee2edd2525c7ad1e5cffd2",
	31744: "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47",
}

// ART-12, ART-3
func TestVectors(t *testing.T) {
	g := NewWithT(t)
	for n, want := range blake3Vectors {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i % 251)
		}
		got, err := digest.FromBytes(digest.BLAKE3, b)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got.String()).To(Equal("blake3:"+want), "%d bytes", n)
		h, _ := digest.New(digest.BLAKE3) // the same in odd pieces
		for rest := b; len(rest) > 0; {
			k := min(len(rest), 1+len(rest)%97)
			_, _ = h.Write(rest[:k])
			rest = rest[k:]
			_ = h.Sum(nil)
		}
		g.Expect(digest.Sum(digest.BLAKE3, h)).To(Equal(got))
	}
	for algorithm, want := range map[string]string{
		"":            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		digest.SHA384: "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
		digest.SHA512: "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
	} {
		got, err := digest.FromBytes(algorithm, []byte("abc"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got.String()).To(Equal(want))
	}
}

// ART-12
func TestParse(t *testing.T) {
	g := NewWithT(t)
	hex := strings.Repeat("0a", 32)
	for _, ok := range []string{"sha256:" + hex, "blake3:" + hex, "sha384:" + strings.Repeat("f", 96), "sha512:" + strings.Repeat("0", 128)} {
		d, err := digest.Parse(ok)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(d.String()).To(Equal(ok))
	}
	d, err := digest.Parse(hex)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(d.String()).To(Equal("sha256:"+hex), "bare hex is sha256")
	for _, bad := range []string{
		"", ":", "sha256:", "sha256:" + hex[1:], "sha256:" + hex + "0", "sha256:" + strings.ToUpper(hex), "SHA256:" + hex, "md5:" + hex[:32], "sha1:" + hex[:40],
		"sha256:../x", "sha256:" + hex[:63] + "g", "sha256:sha256:" + hex, " sha256:" + hex, hex[:40], "sha256:" + hex + "\n", strings.Repeat("x", 10_000),
	} {
		_, err := digest.Parse(bad)
		g.Expect(errors.Is(err, digest.ErrUnsupported)).To(BeTrue(), bad)
		var de *digest.Error
		g.Expect(errors.As(err, &de)).To(BeTrue())
		g.Expect(de.Terminal()).To(BeTrue())
		g.Expect(len(err.Error())).To(BeNumerically("<", 200))
		g.Expect(err.Error()).NotTo(ContainSubstring("\n"))
	}
	g.Expect(digest.Digest{}.IsZero()).To(BeTrue())
	g.Expect(digest.Digest{}.String()).To(BeEmpty())
}

func FuzzParse(f *testing.F) {
	f.Add("sha256:" + strings.Repeat("0", 64))
	f.Add(strings.Repeat("a", 64))
	f.Fuzz(func(t *testing.T, s string) {
		d, err := digest.Parse(s)
		if err != nil {
			return
		}
		if again, err := digest.Parse(d.String()); err != nil || again != d || strings.ContainsAny(d.String(), "/.\\ \n\x00") {
			t.Fatalf("%q: %v %v", s, d, err)
		}
	})
}

func ExampleParse() {
	_, err := digest.Parse("sha256:../../etc/passwd")
	fmt.Println(err)
	h, _ := digest.New(digest.SHA256)
	_, _ = io.WriteString(h, "abc")
	fmt.Println(digest.Sum(digest.SHA256, h))
	// Output:
	// unsupported digest "sha256:../../etc/passwd"
	// sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
}
