// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package sign_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git/sign"
	. "github.com/onsi/gomega"
)

const payload = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@example.com> 1700000000 +0000\ncommitter A <a@example.com> 1700000000 +0000\n\nmessage\n"

// need skips a test without its program; CI has them all.
func need(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is missing: apt-get install gnupg openssh-client", program)
		}
		t.Skipf("%s is missing: apt-get install gnupg openssh-client", program)
	}
}

type box struct {
	t    testing.TB
	home string
}

func newBox(t testing.TB) *box {
	need(t, "gpg")
	need(t, "ssh-keygen")
	home, err := os.MkdirTemp("", "gpg") //nolint:usetesting // the agent's socket path must be short
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t, home}
	t.Cleanup(func() {
		cmd := exec.Command("gpgconf", "--kill", "all")
		cmd.Env = append(os.Environ(), "GNUPGHOME="+home)
		_ = cmd.Run()
		_ = os.RemoveAll(home)
	})
	return b
}

func (b *box) run(in string, args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = b.home
	cmd.Env = append(os.Environ(), "GNUPGHOME="+b.home, "HOME="+b.home)
	cmd.Stdin = strings.NewReader(in)
	var errText strings.Builder
	cmd.Stderr = &errText
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, errText.String())
	}
	return string(out), nil
}

func (b *box) must(in string, args ...string) string {
	b.t.Helper()
	out, err := b.run(in, args...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

func (b *box) gpg(in string, args ...string) string {
	return b.must(in, append([]string{"gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
}

// key makes a primary key and returns its user id.
func (b *box) key(name, algo, usage string) string {
	uid := name + " <" + name + "@example.com>"
	b.gpg("", "--quick-gen-key", uid, algo, usage, "never")
	return uid
}

func (b *box) file(name string) []byte {
	out, err := os.ReadFile(filepath.Join(b.home, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// GIT-T11, GIT-84: keys of every common type, made by gpg.
func TestPGPAgainstGPG(t *testing.T) {
	b := newBox(t)
	for _, algo := range []string{"rsa2048", "rsa4096", "nistp256", "nistp384", "nistp521", "ed25519", "brainpoolP256r1"} {
		t.Run(algo, func(t *testing.T) {
			g := NewWithT(t)
			uid := b.key(algo, algo, "sign")
			sig := b.gpg(payload, "-u", uid, "-abs")
			pub := b.gpg("", "--armor", "--export", uid)
			res, err := sign.Keys{PGP: [][]byte{[]byte(pub)}}.Verify([]byte(sig), []byte(payload))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(res.Format).To(Equal(sign.PGP))
			fields := b.gpg("", "--list-keys", "--with-colons", uid)
			for line := range strings.Lines(fields) {
				if f := strings.Split(line, ":"); f[0] == "pub" {
					g.Expect(res.KeyID).To(Equal(f[4]))
				}
			}
			binary := b.gpg("", "--export", uid)
			_, err = sign.Keys{PGP: [][]byte{[]byte("garbage"), []byte(binary)}}.Verify([]byte(sig), []byte(payload))
			g.Expect(err).NotTo(HaveOccurred(), "one readable ring is enough")
			_, err = sign.Keys{PGP: [][]byte{[]byte(pub)}}.Verify([]byte(sig), []byte(payload+"x"))
			g.Expect(errors.Is(err, sign.ErrBadSignature)).To(BeTrue(), "%v", err)
			_, err = sign.Keys{PGP: [][]byte{[]byte(pub)}}.Verify([]byte(sig+"x\n"), []byte(payload))
			g.Expect(errors.Is(err, sign.ErrBadSignature)).To(BeTrue(), "%v", err)
		})
	}
}

// GIT-84: expired, revoked, weak, wrong: each has its own error, and gpg agrees
// that the signature does not count.
func TestPGPRefusals(t *testing.T) {
	b := newBox(t)
	good := b.key("good", "ed25519", "sign")
	sig := b.gpg(payload, "-u", good, "-abs")
	pub := b.gpg("", "--armor", "--export", good)
	verify := func(sig, pub string, k sign.Keys) error {
		k.PGP = [][]byte{[]byte(pub)}
		_, err := k.Verify([]byte(sig), []byte(payload))
		return err
	}
	t.Run("OtherKey", func(t *testing.T) {
		g := NewWithT(t)
		other := b.key("other", "ed25519", "sign")
		err := verify(sig, b.gpg("", "--armor", "--export", other), sign.Keys{})
		g.Expect(errors.Is(err, sign.ErrNoMatchingKey)).To(BeTrue(), "%v", err)
		g.Expect(errors.Is(err, sign.ErrVerificationFailed)).To(BeTrue())
	})
	t.Run("SHA1", func(t *testing.T) {
		g := NewWithT(t)
		weak := b.gpg(payload, "-u", good, "--digest-algo", "SHA1", "--allow-weak-digest-algos", "-abs")
		err := verify(weak, pub, sign.Keys{})
		g.Expect(errors.Is(err, sign.ErrBadSignature)).To(BeTrue(), "%v", err)
	})
	t.Run("SmallRSA", func(t *testing.T) {
		g := NewWithT(t)
		small := b.key("small", "rsa1024", "sign")
		err := verify(b.gpg(payload, "-u", small, "-abs"), b.gpg("", "--armor", "--export", small), sign.Keys{})
		g.Expect(errors.Is(err, sign.ErrInvalidKey)).To(BeTrue(), "%v", err)
	})
	t.Run("Expired", func(t *testing.T) {
		g := NewWithT(t)
		uid := "old <old@example.com>"
		b.gpg("", "--faked-system-time", "20200101T000000", "--quick-gen-key", uid, "ed25519", "sign", "1y")
		old := b.gpg(payload, "--faked-system-time", "20200201T000000", "-u", uid, "-abs")
		ring := b.gpg("", "--armor", "--export", uid)
		err := verify(old, ring, sign.Keys{})
		g.Expect(errors.Is(err, sign.ErrInvalidKey)).To(BeTrue(), "%v", err)
		g.Expect(verify(old, ring, sign.Keys{AcceptExpired: true})).To(Succeed())
	})
	t.Run("Revoked", func(t *testing.T) {
		g := NewWithT(t)
		uid := b.key("gone", "ed25519", "sign")
		gone := b.gpg(payload, "-u", uid, "-abs")
		revs, err := filepath.Glob(filepath.Join(b.home, "openpgp-revocs.d", "*.rev"))
		g.Expect(err).NotTo(HaveOccurred())
		fpr := ""
		for line := range strings.Lines(b.gpg("", "--list-keys", "--with-colons", uid)) {
			if f := strings.Split(line, ":"); f[0] == "fpr" && fpr == "" {
				fpr = f[9]
			}
		}
		for _, r := range revs {
			if strings.Contains(r, fpr) {
				text, err := os.ReadFile(r)
				g.Expect(err).NotTo(HaveOccurred())
				b.gpg(strings.ReplaceAll(string(text), ":-----", "-----"), "--import")
			}
		}
		err = verify(gone, b.gpg("", "--armor", "--export", uid), sign.Keys{AcceptExpired: true})
		g.Expect(errors.Is(err, sign.ErrInvalidKey)).To(BeTrue(), "%v", err)
	})
	t.Run("SubKey", func(t *testing.T) {
		g := NewWithT(t)
		uid := b.key("sub", "ed25519", "cert")
		fpr := ""
		for line := range strings.Lines(b.gpg("", "--list-keys", "--with-colons", uid)) {
			if f := strings.Split(line, ":"); f[0] == "fpr" && fpr == "" {
				fpr = f[9]
			}
		}
		b.gpg("", "--quick-add-key", fpr, "rsa2048", "sign", "never")
		g.Expect(verify(b.gpg(payload, "-u", uid, "-abs"), b.gpg("", "--armor", "--export", uid), sign.Keys{})).To(Succeed())
	})
	t.Run("Kinds", func(t *testing.T) {
		g := NewWithT(t)
		for text, want := range map[string]error{
			"": sign.ErrUnsigned, "\n": sign.ErrUnsigned, "-----BEGIN SIGNED MESSAGE-----\nx": sign.ErrUnsupportedSignature,
			"-----BEGIN PGP MESSAGE-----\n": sign.ErrUnsupportedSignature, "hello": sign.ErrUnsupportedSignature,
			"-----BEGIN PGP SIGNATURE-----\n": sign.ErrBadSignature, "-----BEGIN SSH SIGNATURE-----\n": sign.ErrBadSignature,
		} {
			err := verify(text, pub, sign.Keys{})
			g.Expect(errors.Is(err, want)).To(BeTrue(), "%q: %v", text, err)
		}
		err := verify(sig, "not a ring", sign.Keys{})
		g.Expect(errors.Is(err, sign.ErrInvalidKey)).To(BeTrue(), "%v", err)
		err = verify(sig+strings.Repeat(" ", 70<<10), pub, sign.Keys{})
		var le *sign.LimitError
		g.Expect(errors.As(err, &le)).To(BeTrue(), "%v", err)
	})
	t.Run("TwoPackets", func(t *testing.T) {
		g := NewWithT(t)
		g.Expect(os.WriteFile(filepath.Join(b.home, "p"), []byte(payload), 0o600)).To(Succeed())
		two := b.gpg("", "-u", good, "-u", b.key("second", "ed25519", "sign"), "-abs", "-o", "-", "p")
		err := verify(two, pub, sign.Keys{})
		g.Expect(errors.Is(err, sign.ErrBadSignature)).To(BeTrue(), "%v", err)
	})
}

// GIT-85, GIT-T11: keys made and used by ssh-keygen, and its verdict.
func TestSSHAgainstKeygen(t *testing.T) {
	b := newBox(t)
	for name, args := range map[string][]string{
		"ed25519": {"-t", "ed25519"}, "ecdsa256": {"-t", "ecdsa", "-b", "256"}, "ecdsa384": {"-t", "ecdsa", "-b", "384"},
		"ecdsa521": {"-t", "ecdsa", "-b", "521"}, "rsa": {"-t", "rsa", "-b", "2048"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b.must("", append([]string{"ssh-keygen", "-q", "-N", "", "-C", "ann@example.com", "-f", name}, args...)...)
			sig := b.must(payload, "ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", name)
			pub := string(b.file(name + ".pub"))
			verify := func(k sign.Keys, sig string) error {
				_, err := k.Verify([]byte(sig), []byte(payload))
				return err
			}
			line := func(s string) sign.Keys { return sign.Keys{SSH: [][]byte{[]byte("# keys\n\n" + s)}} }
			allowed := func(s string) sign.Keys { return sign.Keys{AllowedSigners: [][]byte{[]byte(s)}} }
			g.Expect(verify(line(pub), sig)).To(Succeed())
			res, err := allowed("ann@example.com,bob@example.com "+pub).Verify([]byte(sig), []byte(payload))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(res.Principal).To(Equal("ann@example.com,bob@example.com"))
			g.Expect(verify(line(`namespaces="git,file" `+pub), sig)).To(Succeed())
			g.Expect(verify(line(`valid-after="20230101Z",valid-before="20240101Z" `+pub), sig)).To(Succeed(), "the committer's time counts")
			for text, want := range map[string]error{
				`namespaces="file" ` + pub: sign.ErrInvalidKey, `valid-after="20240101Z" ` + pub: sign.ErrInvalidKey,
				`valid-before="20230101Z" ` + pub: sign.ErrInvalidKey, `no-pty ` + pub: sign.ErrInvalidKey, `command="x" ` + pub: sign.ErrInvalidKey,
			} {
				err := verify(line(text), sig)
				g.Expect(errors.Is(err, want)).To(BeTrue(), "%s: %v", text, err)
			}
			file := b.must(payload, "ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", name)
			err = verify(line(pub), file)
			g.Expect(errors.Is(err, sign.ErrBadSignature)).To(BeTrue(), "namespace: %v", err)
			err = verify(line(pub), sig+"x")
			g.Expect(errors.Is(err, sign.ErrBadSignature)).To(BeTrue(), "trailing: %v", err)
			_, err = line(pub).Verify([]byte(sig), []byte(payload+"x"))
			g.Expect(errors.Is(err, sign.ErrBadSignature)).To(BeTrue(), "payload: %v", err)

			// Our signature passes theirs.
			s, err := sign.NewSSH(b.file(name), nil)
			g.Expect(err).NotTo(HaveOccurred())
			mine, err := s.Sign(t.Context(), []byte(payload))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(os.WriteFile(filepath.Join(b.home, "mine.sig"), mine, 0o600)).To(Succeed())
			g.Expect(os.WriteFile(filepath.Join(b.home, "allowed"), []byte("ann "+pub), 0o600)).To(Succeed())
			b.must(payload, "ssh-keygen", "-q", "-Y", "verify", "-n", "git", "-I", "ann", "-f", "allowed", "-s", "mine.sig")
			g.Expect(verify(line(pub), string(mine))).To(Succeed())
		})
	}
	t.Run("Certificate", func(t *testing.T) {
		g := NewWithT(t)
		for _, n := range []string{"ca", "user"} {
			b.must("", "ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", n)
		}
		b.must("", "ssh-keygen", "-q", "-s", "ca", "-I", "id", "-n", "ann@example.com", "-V", "20230101Z:20300101Z", "user.pub")
		sig := b.must(payload, "ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", "user-cert.pub")
		ca := string(b.file("ca.pub"))
		for text, want := range map[string]error{
			"*@example.com cert-authority " + ca: nil, "bob@example.com cert-authority " + ca: sign.ErrNoMatchingKey,
			"*@example.com " + ca: sign.ErrNoMatchingKey,
		} {
			_, err := sign.Keys{AllowedSigners: [][]byte{[]byte(text)}}.Verify([]byte(sig), []byte(payload))
			g.Expect(errors.Is(err, want)).To(BeTrue(), "%s: %v", text, err)
		}
	})
}

// GIT-88
func TestSigners(t *testing.T) {
	b := newBox(t)
	t.Run("PGP", func(t *testing.T) {
		for _, algo := range []string{"rsa2048", "nistp256", "ed25519"} {
			g := NewWithT(t)
			uid := algo + " <" + algo + "@example.com>"
			b.must("", "gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "secret-canary", "--quick-gen-key", uid, algo, "sign", "never")
			priv := b.must("", "gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", "secret-canary", "--armor", "--export-secret-keys", uid)
			for _, pass := range []string{"", "wrong"} {
				_, err := sign.NewPGP([]byte(priv), []byte(pass))
				g.Expect(errors.Is(err, sign.ErrKeyPassphrase)).To(BeTrue(), "%v", err)
				g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
			}
			s, err := sign.NewPGP([]byte(priv), []byte("secret-canary"))
			g.Expect(err).NotTo(HaveOccurred())
			sig, err := s.Sign(t.Context(), []byte(payload))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(os.WriteFile(filepath.Join(b.home, "s.asc"), sig, 0o600)).To(Succeed())
			b.gpg(payload, "--verify", "s.asc", "-")
		}
	})
	t.Run("SSH", func(t *testing.T) {
		g := NewWithT(t)
		b.must("", "ssh-keygen", "-q", "-N", "secret-canary", "-t", "ed25519", "-f", "enc")
		for _, pass := range []string{"", "wrong"} {
			_, err := sign.NewSSH(b.file("enc"), []byte(pass))
			g.Expect(errors.Is(err, sign.ErrKeyPassphrase)).To(BeTrue(), "%v", err)
		}
		_, err := sign.NewSSH(b.file("enc"), []byte("secret-canary"))
		g.Expect(err).NotTo(HaveOccurred())
		_, err = sign.NewSSH([]byte("nothing"), nil)
		g.Expect(errors.Is(err, sign.ErrInvalidKey)).To(BeTrue(), "%v", err)
	})
}
