// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"errors"
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

// signedRepo is a repository made by the git program with signed objects.
type signedRepo struct {
	dir, home string
	pgp, ssh  []byte
}

func signed(t testing.TB, format string) *signedRepo {
	t.Helper()
	for _, p := range []string{"gpg", "ssh-keygen"} {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is missing: apt-get install gnupg openssh-client", p)
			}
			t.Skipf("%s is missing: apt-get install gnupg openssh-client", p)
		}
	}
	home, err := os.MkdirTemp("", "gpg") //nolint:usetesting // the agent's socket path must be short
	if err != nil {
		t.Fatal(err)
	}
	s := &signedRepo{dir: t.TempDir(), home: home}
	t.Setenv("GNUPGHOME", home)
	t.Cleanup(func() {
		_ = exec.Command("gpgconf", "--kill", "all").Run()
		_ = os.RemoveAll(home)
	})
	out := func(args ...string) []byte {
		b, err := exec.Command(args[0], args[1:]...).Output()
		if err != nil {
			t.Fatal(args, err)
		}
		return b
	}
	out("gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "", "--quick-gen-key", "A <a@example.com>", "ed25519", "sign", "never")
	s.pgp = out("gpg", "--armor", "--export", "a@example.com")
	out("ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", filepath.Join(home, "key"))
	s.ssh, err = os.ReadFile(filepath.Join(home, "key.pub"))
	if err != nil {
		t.Fatal(err)
	}
	s.git(t, "init", "-q", "-b", "main", "--object-format="+format)
	return s
}

func (s *signedRepo) git(t testing.TB, args ...string) string {
	t.Helper()
	return run(t, s.dir, append([]string{"-c", "user.signingkey=a@example.com", "-c", "gpg.ssh.allowedSignersFile=" + filepath.Join(s.home, "allowed")}, args...)...)
}

func (s *signedRepo) sshGit(t testing.TB, args ...string) {
	t.Helper()
	s.git(t, append([]string{"-c", "gpg.format=ssh", "-c", "user.signingkey=" + filepath.Join(s.home, "key")}, args...)...)
}

func (s *signedRepo) write(t testing.TB, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "a"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	s.git(t, "add", "-A")
}

// GIT-82, GIT-83, GIT-86, GIT-87, N18, GIT-T4, GIT-T16, C05
func TestVerify(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		t.Run(format, func(t *testing.T) { verifyAll(t, format) })
	}
}

func verifyAll(t *testing.T, format string) {
	s := signed(t, format)
	s.write(t, "1")
	s.git(t, "commit", "-q", "-S", "-m", "pgp")
	s.git(t, "branch", "pgp")
	s.git(t, "tag", "-s", "-m", "signed", "v1.0.0")
	s.write(t, "2")
	s.sshGit(t, "commit", "-q", "-S", "-m", "ssh")
	s.git(t, "branch", "ssh")
	s.sshGit(t, "tag", "-s", "-m", "signed", "v2.0.0")
	s.git(t, "tag", "light")
	s.git(t, "tag", "-a", "-m", "not signed", "v3.0.0")
	s.git(t, "tag", "-s", "-m", "of a tag", "v4.0.0", "v1.0.0")
	s.git(t, "update-ref", "refs/tags/v5.0.0", s.git(t, "rev-parse", "refs/tags/v1.0.0"))
	s.write(t, "3")
	s.git(t, "commit", "-q", "-m", "unsigned")
	s.git(t, "branch", "unsigned")
	s.git(t, "checkout", "-q", "-b", "merge", "pgp")
	s.git(t, "merge", "-q", "-S", "--no-ff", "-m", "merge", "v2.0.0")

	e := start(t, gitserver.Options{Backend: gitserver.Exec, ObjectFormat: gitserver.ObjectFormat(format)})
	repo := e.srv.Repo("app")
	s.git(t, "push", "-q", pushURL(t, e, repo), "--all")
	s.git(t, "push", "-q", pushURL(t, e, repo), "--tags")
	pgp, ssh := sign.Keys{PGP: [][]byte{s.pgp}}, sign.Keys{SSH: [][]byte{s.ssh}}
	both := sign.Keys{PGP: pgp.PGP, AllowedSigners: [][]byte{[]byte("a@example.com " + string(s.ssh))}}
	if err := os.WriteFile(filepath.Join(s.home, "allowed"), both.AllowedSigners[0], 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct {
		reason string
		ref    git.Reference
		mode   git.VerifyMode
		keys   sign.Keys
		want   error
		code   string
	}{
		"PGPCommit":     {"signed by gpg", git.Reference{Branch: "pgp"}, "", pgp, nil, ""},
		"SSHCommit":     {"signed by ssh-keygen", git.Reference{Branch: "ssh"}, git.VerifyHead, ssh, nil, ""},
		"Merge":         {"merge with mergetag", git.Reference{Branch: "merge"}, git.VerifyHead, both, nil, ""},
		"WrongKeys":     {"the key is not trusted", git.Reference{Branch: "ssh"}, git.VerifyHead, pgp, sign.ErrNoMatchingKey, "InvalidCommitSignature"},
		"Unsigned":      {"no signature", git.Reference{Branch: "unsigned"}, git.VerifyHead, both, sign.ErrUnsigned, "InvalidCommitSignature"},
		"NoKeys":        {"nothing is trusted", git.Reference{Branch: "pgp"}, git.VerifyHead, sign.Keys{}, sign.ErrNoMatchingKey, "InvalidCommitSignature"},
		"PGPTag":        {"tag signed by gpg", git.Reference{Tag: "v1.0.0"}, git.VerifyTag, pgp, nil, ""},
		"SSHTag":        {"tag signed by ssh-keygen", git.Reference{SemVer: "2.x"}, git.VerifyTag, both, nil, ""},
		"TagAndHead":    {"both", git.Reference{Name: "refs/tags/v2.0.0"}, git.VerifyTagAndHead, both, nil, ""},
		"LightTag":      {"a light tag", git.Reference{Tag: "light"}, git.VerifyTag, both, git.ErrNotATag, "InvalidTagSignature"},
		"BranchAsTag":   {"no tag at all", git.Reference{Branch: "pgp"}, git.VerifyTag, both, git.ErrNotATag, "InvalidTagSignature"},
		"UnsignedTag":   {"annotated, not signed", git.Reference{Tag: "v3.0.0"}, git.VerifyTag, both, sign.ErrUnsigned, "InvalidTagSignature"},
		"TagOfTag":      {"must point at the commit itself", git.Reference{Tag: "v4.0.0"}, git.VerifyTag, both, git.ErrVerificationFailed, "InvalidTagSignature"},
		"RenamedTag":    {"a tag under another name", git.Reference{Tag: "v5.0.0"}, git.VerifyTag, both, git.ErrTagNameMismatch, "InvalidTagSignature"},
		"HeadOfTag":     {"the tag is signed, the commit is not", git.Reference{Branch: "unsigned"}, git.VerifyTagAndHead, both, git.ErrVerificationFailed, "InvalidTagSignature"},
		"TagOfTagFree":  {"without policy a tag of a tag is fine", git.Reference{Tag: "v4.0.0"}, "none", both, nil, ""},
		"UnknownPolicy": {"a mode that does not exist", git.Reference{Tag: "v4.0.0"}, "HEAD~1", both, git.ErrInvalidOption, "GitOperationFailed"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := client(t, repo.URL(), e.options(t, false))
			r, err := c.Resolve(t.Context(), tc.ref, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			parent := t.TempDir()
			o := git.CheckoutOptions{Verify: &git.VerifyPolicy{Mode: tc.mode, Keys: tc.keys}}
			if tc.mode == "none" {
				o.Verify = nil
			}
			out, err := c.Checkout(t.Context(), r, filepath.Join(parent, "out"), o)
			if tc.want == nil {
				g.Expect(err).NotTo(HaveOccurred(), tc.reason)
				g.Expect(leftovers(t, parent)).To(ConsistOf("out"))
				if o.Verify == nil {
					return
				}
				for _, v := range out.Verified.Objects {
					oracle := map[string]string{"commit": "verify-commit", "tag": "verify-tag"}[v.Type.String()]
					s.git(t, oracle, v.Hash.String())
				}
				return
			}
			g.Expect(errors.Is(err, tc.want)).To(BeTrue(), "%s: %v", tc.reason, err)
			var ge *git.Error
			g.Expect(errors.As(err, &ge)).To(BeTrue())
			g.Expect(ge.Reason()).To(Equal(tc.code), tc.reason)
			g.Expect(strings.Contains(err.Error(), "\n")).To(BeFalse())
			g.Expect(leftovers(t, parent)).To(BeEmpty())
		})
	}
}

// GIT-82, GIT-70: an object with two signatures proves nothing, whichever of
// them fits, and is reported as malformed.
func TestTwoSignatures(t *testing.T) {
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	id := repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	block := func(kind string) string {
		return "-----BEGIN " + kind + " SIGNATURE-----\nx\n-----END " + kind + " SIGNATURE-----\n"
	}
	tag := func(name, body string) {
		text := "object " + string(id) + "\ntype commit\ntag " + name + "\ntagger A <a@example.com> 1700000000 +0000\n\nmessage\n" + body
		repo.Ref("refs/tags/"+name, string(repo.PutRaw(gitserver.TagObject, []byte(text))))
	}
	tag("same", block("PGP")+block("PGP"))
	tag("other", block("SSH")+block("PGP"))
	tag("between", block("PGP")+"text\n"+block("SSH"))
	head := "tree " + string(repo.Tree()) + "\nauthor A <a@example.com> 1700000000 +0000\ncommitter A <a@example.com> 1700000000 +0000"
	header := "\ngpgsig " + strings.ReplaceAll(strings.TrimSuffix(block("PGP"), "\n"), "\n", "\n ")
	repo.SetRawRef("refs/heads/twice", repo.PutRaw(gitserver.CommitObject, []byte(head+header+header+"\n\nmessage\n")))
	for ref, mode := range map[git.Reference]git.VerifyMode{
		{Tag: "same"}: git.VerifyTag, {Tag: "other"}: git.VerifyTag, {Tag: "between"}: git.VerifyTagAndHead, {Branch: "twice"}: git.VerifyHead,
	} {
		t.Run(ref.Tag+ref.Branch, func(t *testing.T) {
			g := NewWithT(t)
			c := client(t, repo.URL(), e.options(t, false))
			r, err := c.Resolve(t.Context(), ref, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			parent := t.TempDir()
			_, err = c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{Verify: &git.VerifyPolicy{Mode: mode}})
			g.Expect(errors.Is(err, git.ErrMalformedObject)).To(BeTrue(), "%v", err)
			g.Expect(errors.Is(err, git.ErrVerificationFailed)).To(BeTrue(), "%v", err)
			var ge *git.Error
			g.Expect(errors.As(err, &ge)).To(BeTrue())
			g.Expect(ge.Reason()).To(Equal("InvalidGitObject"))
			g.Expect(leftovers(t, parent)).To(BeEmpty())
		})
	}
}
