// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/sign"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// try runs git and reports whether it succeeded.
func (s *signedRepo) try(args ...string) bool {
	cmd := exec.Command("git", append([]string{"-c", "gpg.ssh.allowedSignersFile=" + filepath.Join(s.home, "allowed")}, args...)...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	return cmd.Run() == nil
}

func (s *signedRepo) gpg(t *testing.T, in string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "gpg", append([]string{"--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
	cmd.Stdin = strings.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(args, err)
	}
	return string(out)
}

// revoke imports the certificate that gpg made with a key.
func (s *signedRepo) revoke(t *testing.T, uid string) {
	t.Helper()
	for line := range strings.Lines(s.gpg(t, "", "--list-keys", "--with-colons", uid)) {
		if f := strings.Split(line, ":"); f[0] == "fpr" {
			text, err := os.ReadFile(filepath.Join(s.home, "openpgp-revocs.d", f[9]+".rev"))
			if err != nil {
				t.Fatal(err)
			}
			s.gpg(t, strings.ReplaceAll(string(text), ":-----", "-----"), "--import")
			return
		}
	}
}

// GIT-84, GIT-85, GIT-T11, GIT-T14: keys of every common type, on commits and
// tags, good, expired and revoked: the verdict is that of git verify-commit and
// git verify-tag.
func TestVerdictsOfGit(t *testing.T) {
	s := signed(t, "sha1")
	var keys sign.Keys
	var allowed strings.Builder
	n := 0
	commit := func(name string, config ...string) {
		t.Helper()
		n++
		s.write(t, fmt.Sprint(n))
		s.git(t, append(config, "commit", "-q", "-S", "-m", name)...)
		s.git(t, "branch", name)
		s.git(t, append(config, "tag", "-s", "-m", name, "t-"+name)...)
	}
	var names []string
	for _, algo := range []string{"rsa2048", "nistp256", "nistp384", "nistp521", "ed25519"} {
		uid := algo + "@example.com"
		s.gpg(t, "", "--quick-gen-key", uid, algo, "sign", "never")
		commit("pgp-"+algo, "-c", "user.signingkey="+uid)
		names = append(names, "pgp-"+algo)
	}
	s.gpg(t, "", "--quick-gen-key", "revoked@example.com", "ed25519", "sign", "never")
	commit("pgp-revoked", "-c", "user.signingkey=revoked@example.com")
	s.revoke(t, "revoked@example.com")
	s.gpg(t, "", "--faked-system-time", "20200101T000000", "--quick-gen-key", "expired@example.com", "ed25519", "sign", "1y")
	wrapper := filepath.Join(s.home, "old-gpg")
	if err := os.WriteFile(wrapper, []byte("#!/bin/sh\nexec gpg --faked-system-time 20200201T000000 \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	commit("pgp-expired", "-c", "user.signingkey=expired@example.com", "-c", "gpg.program="+wrapper)
	names = append(names, "pgp-revoked", "pgp-expired")
	keys.PGP = [][]byte{[]byte(s.gpg(t, "", "--armor", "--export"))}
	// The last word of a name says what allowed_signers says of the key.
	for _, k := range []struct{ name, typ, bits, options string }{
		{"ed25519", "ed25519", "256", ""},
		{"ecdsa256", "ecdsa", "256", ""},
		{"ecdsa384", "ecdsa", "384", ""},
		{"ecdsa521", "ecdsa", "521", ""},
		{"rsa2048", "rsa", "2048", ""},
		{"valid", "ed25519", "256", `valid-after="20200101Z",valid-before="20990101Z" `},
		{"late", "ed25519", "256", `valid-before="20200101Z" `},
		{"early", "ed25519", "256", `valid-after="20990101Z" `},
		{"namespace", "ed25519", "256", `namespaces="git" `},
		{"elsewhere", "ed25519", "256", `namespaces="file" `},
		{"stranger", "ed25519", "256", "-"},
	} {
		file := filepath.Join(s.home, "ssh-"+k.name)
		if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-N", "", "-t", k.typ, "-b", k.bits, "-f", file).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		pub, err := os.ReadFile(file + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		if k.options != "-" {
			fmt.Fprintf(&allowed, "%s@example.com %s%s", k.name, k.options, pub)
		}
		commit("ssh-"+k.name, "-c", "gpg.format=ssh", "-c", "user.signingkey="+file)
		names = append(names, "ssh-"+k.name)
	}
	keys.AllowedSigners = [][]byte{[]byte(allowed.String())}
	if err := os.WriteFile(filepath.Join(s.home, "allowed"), []byte(allowed.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.write(t, "unsigned")
	s.git(t, "commit", "-q", "-m", "unsigned")
	s.git(t, "branch", "none")
	s.git(t, "tag", "-a", "-m", "unsigned", "t-none")
	names = append(names, "none")

	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	s.git(t, "push", "-q", pushURL(t, e, repo), "--all")
	s.git(t, "push", "-q", pushURL(t, e, repo), "--tags")
	c := client(t, repo.URL(), e.options(t, false))
	good := 0
	for _, name := range names {
		for _, kind := range []string{"commit", "tag"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				g := NewWithT(t)
				ref, mode, rev := git.Reference{Branch: name}, git.VerifyHead, name
				if kind == "tag" {
					ref, mode, rev = git.Reference{Tag: "t-" + name}, git.VerifyTag, "t-"+name
				}
				r, err := c.Resolve(t.Context(), ref, git.ResolveOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{Verify: &git.VerifyPolicy{Mode: mode, Keys: keys}})
				theirs := s.try("verify-"+kind, rev)
				g.Expect(err == nil).To(Equal(theirs), "ours: %v, git: %t", err, theirs)
				if theirs {
					good++
				}
			})
		}
	}
	NewWithT(t).Expect(good).To(Equal(2*12), "five PGP types, five SSH types, two with options")
}

// GIT-70, GIT-72, N17: what fsck --strict calls an error is refused; what is
// refused besides is listed with its reason.
func TestNotLaxerThanFsck(t *testing.T) {
	const tree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
	const who = "A <a@x> 1 +0000"
	head := "tree " + tree + "\n"
	people := "author " + who + "\ncommitter " + who + "\n"
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	g := NewWithT(t)
	g.Expect(string(repo.Tree())).To(Equal(tree))
	c := client(t, repo.URL(), e.options(t, false))
	for name, tc := range map[string]struct{ body, stricter, laxer string }{
		"Good":            {head + people + "\nm\n", "", ""},
		"NoMessage":       {head + people + "\n", "", ""},
		"NoTree":          {people + "\nm\n", "", ""},
		"TwoTrees":        {head + head + people + "\nm\n", "", ""},
		"ShortTree":       {"tree " + tree[:39] + "\n" + people + "\nm\n", "", ""},
		"UpperTree":       {"tree " + strings.ToUpper(tree) + "\n" + people + "\nm\n", "ids are lower case", ""},
		"BadParent":       {head + "parent x\n" + people + "\nm\n", "", ""},
		"LateParent":      {head + people + "parent " + tree + "\n\nm\n", "fsck takes it for an unknown header", ""},
		"NoAuthor":        {head + "committer " + who + "\n\nm\n", "", ""},
		"TwoAuthors":      {head + "author " + who + "\n" + people + "\nm\n", "", ""},
		"NoCommitter":     {head + "author " + who + "\n\nm\n", "", ""},
		"Swapped":         {head + "committer " + who + "\nauthor " + who + "\n\nm\n", "", ""},
		"NoEmail":         {head + "author A 1 +0000\ncommitter " + who + "\n\nm\n", "", ""},
		"NoSpace":         {head + "author A<a@x> 1 +0000\ncommitter " + who + "\n\nm\n", "", ""},
		"NoDate":          {head + "author A <a@x>\ncommitter " + who + "\n\nm\n", "", ""},
		"NoZone":          {head + "author A <a@x> 1\ncommitter " + who + "\n\nm\n", "", ""},
		"LetterDate":      {head + "author A <a@x> x +0000\ncommitter " + who + "\n\nm\n", "", ""},
		"ZeroPaddedDate":  {head + "author A <a@x> 01 +0000\ncommitter " + who + "\n\nm\n", "", ""},
		"HugeDate":        {head + "author A <a@x> 99999999999999999999 +0000\ncommitter " + who + "\n\nm\n", "", ""},
		"TwoAngles":       {head + "author A <<a@x> 1 +0000\ncommitter " + who + "\n\nm\n", "", ""},
		"NULInHeader":     {head + "author A\x00 <a@x> 1 +0000\ncommitter " + who + "\n\nm\n", "", ""},
		"NULInMessage":    {head + people + "\nm\x00n\n", "", "only a warning without --strict, and messages are not used"},
		"NoBlankLine":     {head + people + "m\n", "the header has no end", ""},
		"EndsInHeader":    {head + people, "the header has no end", ""},
		"CRLF":            {strings.ReplaceAll(head+people+"\nm\n", "\n", "\r\n"), "", ""},
		"TwoSignatures":   {head + people + "gpgsig a\ngpgsig b\n\nm\n", "which of them counts is open", ""},
		"Empty":           {"", "", ""},
		"UnknownHeader":   {head + people + "x-y z\n more\n\nm\n", "", ""},
		"EmptyName":       {head + "author  <a@x> 1 +0000\ncommitter " + who + "\n\nm\n", "", ""},
		"LateSignature":   {head + people + "\ngpgsig a\n", "", ""},
		"MissingNewline":  {head + people + "\nm", "", ""},
		"FirstLineFolded": {" " + head + people + "\nm\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			dir := t.TempDir()
			run(t, dir, "init", "-q")
			file := filepath.Join(dir, "c")
			g.Expect(os.WriteFile(file, []byte(tc.body), 0o600)).To(Succeed())
			run(t, dir, "hash-object", "-t", "tree", "-w", "/dev/null")
			id := run(t, dir, "hash-object", "-t", "commit", "-w", "--literally", file)
			cmd := exec.CommandContext(t.Context(), "git", "-C", dir, "fsck", "--strict", "--no-dangling", id)
			said, err := cmd.CombinedOutput()
			bad := err != nil && tc.laxer == ""
			g.Expect(string(repo.PutRaw(gitserver.CommitObject, []byte(tc.body)))).To(Equal(id))
			parent := t.TempDir()
			r, err := c.Resolve(t.Context(), git.Reference{Commit: id}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{})
			if bad || tc.stricter != "" {
				g.Expect(err).To(HaveOccurred(), "fsck: %s", said)
				g.Expect(leftovers(t, parent)).To(BeEmpty())
			} else {
				g.Expect(err).NotTo(HaveOccurred(), "fsck: %s", said)
			}
		})
	}
}
