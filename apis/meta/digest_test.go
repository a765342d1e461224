// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/apis/meta"
	. "github.com/onsi/gomega"
)

const (
	sha1Hex   = "0123456789abcdef0123456789abcdef01234567"
	sha256Hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

// ART-3: grammar and, for known algorithms, exact length.
func TestParseDigest(t *testing.T) {
	good := []string{
		"sha1:" + sha1Hex, "sha256:" + sha256Hex, "blake3:" + sha256Hex, "sha384:" + strings.Repeat("a", 96),
		"sha512:" + strings.Repeat("b", 128), "other+algo.x_1:AbC=_-9",
	}
	for _, s := range good {
		t.Run(s[:10], func(t *testing.T) {
			g := NewWithT(t)
			d, err := meta.ParseDigest(s)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(d.String()).To(Equal(s))
			g.Expect(d.Algorithm() + ":" + d.Value()).To(Equal(s))
		})
	}
	bad := map[string]string{
		"Empty": "", "NoColon": "sha256", "NoValue": "sha256:", "NoAlgorithm": ":abc", "Short": "sha256:abc",
		"UpperHex": "sha1:" + strings.ToUpper(sha1Hex), "Separator": "a..b:c", "Space": "sha256: " + sha256Hex, "Newline": "sha256:" + sha256Hex + "\n",
		"Leading": "+a:b", "Long": "a:" + strings.Repeat("b", 5000),
	}
	for name, s := range bad {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d, err := meta.ParseDigest(s)
			g.Expect(errors.Is(err, meta.ErrDigest)).To(BeTrue())
			g.Expect(d).To(BeEmpty())
			g.Expect(meta.IsInvalid(err)).To(BeTrue())
		})
	}
}

// ART-1, ART-2
func TestParseRevision(t *testing.T) {
	cases := map[string]struct {
		reason, in string
		want       meta.Revision
		text       string
		short      string
	}{
		"Branch":   {reason: "pointer and digest", in: "main@sha1:" + sha1Hex, want: meta.Revision{Pointer: "main", Digest: meta.Digest("sha1:" + sha1Hex)}, short: "main@sha1:01234567"},
		"FullRef":  {reason: "the pointer may have slashes", in: "refs/heads/main@sha1:" + sha1Hex, want: meta.Revision{Pointer: "refs/heads/main", Digest: meta.Digest("sha1:" + sha1Hex)}, short: "refs/heads/main@sha1:01234567"},
		"AtInName": {reason: "the digest follows the last @", in: "a@b@sha256:" + sha256Hex, want: meta.Revision{Pointer: "a@b", Digest: meta.Digest("sha256:" + sha256Hex)}, short: "a@b@sha256:01234567"},
		"Bare":     {reason: "digest only", in: "sha256:" + sha256Hex, want: meta.Revision{Digest: meta.Digest("sha256:" + sha256Hex)}, short: "sha256:01234567"},
		"Chart":    {reason: "a version has no digest", in: "6.5.4+1.2", want: meta.Revision{Pointer: "6.5.4+1.2"}, short: "6.5.4+1.2"},
		"Legacy":   {reason: "legacy form with slash", in: "main/" + sha1Hex, want: meta.Revision{Pointer: "main", Digest: meta.Digest("sha1:" + sha1Hex)}, text: "main@sha1:" + sha1Hex, short: "main@sha1:01234567"},
		"BareHex":  {reason: "legacy bare hash", in: sha256Hex, want: meta.Revision{Digest: meta.Digest("sha256:" + sha256Hex)}, text: "sha256:" + sha256Hex, short: "sha256:01234567"},
		"NoDigest": {reason: "what follows the @ is no digest", in: "user@host", want: meta.Revision{Pointer: "user@host"}, short: "user@host"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, err := meta.ParseRevision(tc.in)
			g.Expect(err).NotTo(HaveOccurred(), tc.reason)
			g.Expect(r).To(Equal(tc.want), tc.reason)
			if tc.text == "" {
				tc.text = tc.in
			}
			g.Expect(r.String()).To(Equal(tc.text), tc.reason)
			g.Expect(r.Short(8)).To(Equal(tc.short), tc.reason)
			g.Expect(len(r.Short(1))).To(BeNumerically("<=", len(tc.short)), "at least seven characters stay")
		})
	}
	for _, s := range []string{"", "a\nb", "a\x00", strings.Repeat("x", 5000)} {
		_, err := meta.ParseRevision(s)
		NewWithT(t).Expect(errors.Is(err, meta.ErrRevision)).To(BeTrue())
	}
}

// ART-2
func TestArtifactIsNilSafe(t *testing.T) {
	g := NewWithT(t)
	var none *meta.Artifact
	g.Expect(none.HasRevision("")).To(BeFalse())
	g.Expect(none.HasDigest("")).To(BeFalse())
	a := &meta.Artifact{Revision: "main@sha1:a", Digest: "sha256:b"}
	g.Expect(a.HasRevision("main@sha1:a")).To(BeTrue())
	g.Expect(a.HasRevision("main@sha1:A")).To(BeFalse())
	g.Expect(a.HasDigest("sha256:b")).To(BeTrue())
}

func TestParsersAllocateLittle(t *testing.T) {
	g := NewWithT(t)
	id := "default_podinfo_apps_Deployment"
	g.Expect(testing.AllocsPerRun(100, func() { _, _ = meta.ParseObjectID(id) })).To(BeNumerically("<=", 2))
	g.Expect(testing.AllocsPerRun(100, func() { _, _ = meta.ParseDigest("sha1:" + sha1Hex) })).To(BeNumerically("<=", 2))
	rev := "main@sha1:" + sha1Hex
	g.Expect(testing.AllocsPerRun(100, func() { _, _ = meta.ParseRevision(rev) })).To(BeNumerically("<=", 2))
}

func FuzzParseDigest(f *testing.F) {
	f.Add("sha256:" + sha256Hex)
	f.Add("a.b:c")
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := meta.ParseDigest(s); err == nil && d.String() != s {
			t.Fatalf("%q became %q", s, d)
		}
	})
}

func FuzzParseRevision(f *testing.F) {
	for _, s := range []string{"main@sha1:" + sha1Hex, "main/" + sha1Hex, sha256Hex, "1.2.3", "a@b@c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := meta.ParseRevision(s)
		if err != nil {
			return
		}
		again, err := meta.ParseRevision(r.String())
		if err != nil || again != r {
			t.Fatalf("%q: %+v became %+v, %v", s, r, again, err)
		}
	})
}
