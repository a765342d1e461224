// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	. "github.com/onsi/gomega"
)

// GIT-38
func TestParseRevision(t *testing.T) {
	hex := strings.Repeat("ab", 20)
	long := strings.Repeat("cd", 32)
	for in, want := range map[string]string{
		"main@sha1:" + hex: "main@sha1:" + hex, "a/b@c@sha1:" + hex: "a/b@c@sha1:" + hex, "sha1:" + hex: "sha1:" + hex, "v1@sha256:" + long: "v1@sha256:" + long,
		"main/" + hex: "main@sha1:" + hex, "a/b/" + hex: "a/b@sha1:" + hex, "HEAD/" + hex: "sha1:" + hex, hex: "sha1:" + hex,
	} {
		g := NewWithT(t)
		r, err := git.ParseRevision(in)
		g.Expect(err).NotTo(HaveOccurred(), in)
		g.Expect(r.String()).To(Equal(want))
	}
	for _, bad := range []string{"", "main", "main@sha1:abc", "main@md5:" + hex, "main@sha256:" + hex, "main\n@sha1:" + hex} {
		g := NewWithT(t)
		_, err := git.ParseRevision(bad)
		g.Expect(errors.Is(err, git.ErrInvalidRef)).To(BeTrue(), "%q: %v", bad, err)
	}
}

// FuzzRevision checks that what was printed is read back.
func FuzzRevision(f *testing.F) {
	f.Add("main@sha1:" + strings.Repeat("ab", 20))
	f.Add("a/" + strings.Repeat("ab", 20))
	f.Fuzz(func(t *testing.T, s string) {
		r, err := git.ParseRevision(s)
		if err != nil {
			return
		}
		again, err := git.ParseRevision(r.String())
		if err != nil || again != r {
			t.Fatalf("%q: %v, %v", s, again, err)
		}
	})
}

// GIT-1, GIT-2, GIT-3
func TestURLs(t *testing.T) {
	for _, u := range []string{
		"", "file:///etc", "git://h/x", "ext::sh -c id", "/tmp/x", "x", "git@h:org/app", "https://", "https:///x", "https://-h/x", "https://h/%0a", "https://h/x#f", "ssh://h/x?q", "https://h:0/x", "https://h:99999/x",
		"ssh://-o@h/x", "ssh://h/-x", "https://h", "https://h/\x00", "rsync://h/x",
	} {
		g := NewWithT(t)
		_, err := git.New(u, git.Options{})
		g.Expect(errors.Is(err, git.ErrInvalidURL)).To(BeTrue(), "%q: %v", u, err)
	}
	g := NewWithT(t)
	_, err := git.New("git@h.example:org/app", git.Options{})
	g.Expect(err.Error()).To(ContainSubstring("ssh://git@h.example/org/app"))
	c, err := git.New("HTTPS://user:canary@H.example/org/app?token=canary", git.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.URL()).To(Equal("https://h.example/org/app"))
}
