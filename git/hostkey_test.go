// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// sshHost is a server with the lines that known_hosts may hold for it.
type sshHost struct {
	*env
	repo     *gitserver.Repo
	name     string // "[127.0.0.1]:port"
	port     string
	keys     []string // "type base64"
	ca       string
	identity string
}

func startSSH(t *testing.T, o gitserver.SSHOptions) *sshHost {
	t.Helper()
	g := NewWithT(t)
	h := &sshHost{env: start(t, gitserver.Options{SSH: &o})}
	h.repo = h.srv.Repo("app")
	h.repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	_, port, err := net.SplitHostPort(h.srv.SSHAddr())
	g.Expect(err).NotTo(HaveOccurred())
	h.port, h.name = port, "[127.0.0.1]:"+port
	for line := range strings.Lines(string(h.srv.KnownHosts(gitserver.Plain))) {
		_, key, _ := strings.Cut(strings.TrimSpace(line), " ")
		h.keys = append(h.keys, key)
	}
	if ca := strings.Fields(string(h.srv.KnownHosts(gitserver.CertAuthority))); len(ca) > 3 {
		h.ca = ca[2] + " " + ca[3]
	}
	h.identity = filepath.Join(t.TempDir(), "id")
	g.Expect(os.WriteFile(h.identity, h.priv, 0o600)).To(Succeed())
	return h
}

// openSSH is the verdict of the ssh program: whether it runs a command.
func (h *sshHost) openSSH(t *testing.T, knownHosts string) bool {
	t.Helper()
	file := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(file, []byte(knownHosts), 0o600); err != nil {
		t.Fatal(err)
	}
	before := len(h.srv.Log())
	cmd := exec.CommandContext(t.Context(), "ssh", "-F", "/dev/null", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile="+file,
		"-o", "GlobalKnownHostsFile=/dev/null", "-o", "UpdateHostKeys=no", "-o", "IdentitiesOnly=yes", "-i", h.identity, "-p", h.port, "git@127.0.0.1", "git-upload-pack '/app'")
	out, err := cmd.CombinedOutput()
	accepted := len(h.srv.Log()) > before
	if !accepted && !strings.Contains(string(out), "ost key verification failed") {
		t.Fatalf("ssh: %v\n%s", err, out)
	}
	return accepted
}

// ours is what List says with this known_hosts; nothing may be asked of a host
// that is not accepted.
func (h *sshHost) ours(t *testing.T, knownHosts string) error {
	t.Helper()
	o := h.options(t, true)
	o.SSH.KnownHosts = []byte(knownHosts)
	c, err := git.New(h.repo.SSHURL(), o)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	before := len(h.srv.Log())
	_, err = c.List(t.Context(), git.ListOptions{})
	if err != nil && len(h.srv.Log()) != before {
		t.Errorf("a command ran on a host that was refused")
	}
	return err
}

type hostRow struct {
	lines string
	want  error
	// stricter says why OpenSSH accepts what is refused here.
	stricter string
}

func (h *sshHost) check(t *testing.T, rows map[string]hostRow) {
	t.Helper()
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := h.ours(t, row.lines)
			g.Expect(errors.Is(err, row.want)).To(BeTrue(), "%s\n%v", row.lines, err)
			g.Expect(h.openSSH(t, row.lines)).To(Equal(row.want == nil || row.stricter != ""), "verdict of ssh for\n%s", row.lines)
		})
	}
}

func otherKey(t *testing.T, k gitserver.KeyType) string {
	t.Helper()
	_, pub, err := gitserver.NewKey(k, "")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(pub)
	return f[0] + " " + f[1]
}

// GIT-12, GIT-13, GIT-T2, GIT-T16, T43, C06: the verdict on forms of known_hosts is that
// of OpenSSH.
func TestKnownHostsForms(t *testing.T) {
	h := startSSH(t, gitserver.SSHOptions{})
	other := otherKey(t, gitserver.Ed25519)
	rsa := otherKey(t, gitserver.RSA2048)
	key, name, p := h.keys[0], h.name, h.port
	hashed := string(h.srv.KnownHosts(gitserver.Hashed))
	unknown, mismatch, revoked := git.ErrHostKeyUnknown, git.ErrHostKeyMismatch, git.ErrHostKeyRevoked
	h.check(t, map[string]hostRow{
		"Plain":           {name + " " + key + "\n", nil, ""},
		"NoNewline":       {name + " " + key, nil, ""},
		"CRLF":            {name + " " + key + "\r\n", nil, ""},
		"Comment":         {"# one\n\n" + name + " " + key + " user@host\n", nil, ""},
		"Tabs":            {name + "\t" + key + "\n", nil, ""},
		"Indented":        {"  " + name + " " + key + "\n", nil, ""},
		"Hashed":          {hashed, nil, ""},
		"HashedAmong":     {name + "0 " + other + "\n" + hashed + "example.com " + other + "\n", nil, ""},
		"List":            {"example.com," + name + " " + key + "\n", nil, ""},
		"WildcardHost":    {"[127.0.0.*]:" + p + " " + key + "\n", nil, ""},
		"Question":        {"[127.0.0.?]:" + p + " " + key + "\n", nil, ""},
		"Negated":         {"[127.0.0.*]:" + p + ",!" + name + " " + key + "\n", unknown, ""},
		"NegatedOther":    {"[127.0.0.*]:" + p + ",![127.0.0.2]:" + p + " " + key + "\n", nil, ""},
		"OtherHost":       {"[127.0.0.2]:" + p + " " + key + "\n", unknown, ""},
		"OtherPort":       {"[127.0.0.1]:1 " + key + "\n", unknown, ""},
		"NoPort":          {"127.0.0.1 " + key + "\n", unknown, "the lines must match host and port"},
		"Star":            {"* " + key + "\n", unknown, "a pattern without a port is for port 22"},
		"OtherKey":        {name + " " + other + "\n", mismatch, ""},
		"TwoKeys":         {name + " " + other + "\n" + name + " " + key + "\n", nil, ""},
		"TwoKeysReversed": {name + " " + key + "\n" + name + " " + other + "\n", nil, ""},
		"OtherType":       {name + " " + rsa + "\n", mismatch, ""},
		"OtherTypeFirst":  {name + " " + rsa + "\n" + name + " " + key + "\n", nil, ""},
		"Revoked":         {"@revoked " + name + " " + key + "\n", revoked, ""},
		"RevokedAfter":    {name + " " + key + "\n@revoked " + name + " " + key + "\n", revoked, ""},
		"RevokedBefore":   {"@revoked * " + key + "\n" + name + " " + key + "\n", revoked, ""},
		"RevokedOther":    {"@revoked " + name + " " + other + "\n" + name + " " + key + "\n", nil, ""},
		"AuthorityOnly":   {"@cert-authority " + name + " " + key + "\n", mismatch, ""},
		"AuthorityToo":    {"@cert-authority " + name + " " + other + "\n" + name + " " + key + "\n", nil, ""},
	})
}

// N20, GIT-T2: certificates, their authorities, and what was taken back.
func TestN20RevokedHosts(t *testing.T) {
	unknown, mismatch, revoked := git.ErrHostKeyUnknown, git.ErrHostKeyMismatch, git.ErrHostKeyRevoked
	t.Run("Certificate", func(t *testing.T) {
		h := startSSH(t, gitserver.SSHOptions{HostCertificate: true, HostKeys: []gitserver.KeyType{gitserver.ECDSA256}})
		ca := "@cert-authority " + h.name + " " + h.ca + "\n"
		h.check(t, map[string]hostRow{
			"Authority":        {ca, nil, ""},
			"AuthorityPattern": {"@cert-authority [127.0.0.*]:" + h.port + " " + h.ca + "\n", nil, ""},
			"AuthorityOfOther": {"@cert-authority example.com " + h.ca + "\n", unknown, ""},
			"PlainKey":         {h.name + " " + h.keys[0] + "\n", nil, ""},
			"RevokedAuthority": {ca + "@revoked " + h.name + " " + h.ca + "\n", revoked, ""},
			"RevokedFirst":     {"@revoked * " + h.ca + "\n" + ca, revoked, ""},
			"RevokedKey":       {ca + "@revoked " + h.name + " " + h.keys[0] + "\n", revoked, ""},
			"OtherAuthority":   {"@cert-authority " + h.name + " " + otherKey(t, gitserver.Ed25519) + "\n", mismatch, ""},
		})
	})
	t.Run("Expired", func(t *testing.T) {
		h := startSSH(t, gitserver.SSHOptions{HostCertificate: true, CertificateValidFor: -time.Hour})
		h.check(t, map[string]hostRow{"Authority": {"@cert-authority " + h.name + " " + h.ca + "\n", mismatch, ""}})
	})
	t.Run("OtherPrincipal", func(t *testing.T) {
		h := startSSH(t, gitserver.SSHOptions{HostCertificate: true, CertificatePrincipals: []string{"example.com"}})
		h.check(t, map[string]hostRow{"Authority": {"@cert-authority " + h.name + " " + h.ca + "\n", mismatch, ""}})
	})
}

// GIT-13, GIT-T2, T44: a host with several keys is asked for one that is known,
// whatever it prefers and in whatever order the lines are.
func TestHostKeyNegotiation(t *testing.T) {
	all := []gitserver.KeyType{gitserver.Ed25519, gitserver.RSA2048, gitserver.ECDSA256, gitserver.ECDSA384, gitserver.ECDSA521}
	h := startSSH(t, gitserver.SSHOptions{HostKeys: all})
	for i, key := range h.keys {
		t.Run(fmt.Sprint(all[i]), func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(h.ours(t, h.name+" "+key+"\n")).To(Succeed())
			wrong := h.name + " " + otherKey(t, all[2+i%3]) + "\n"
			g.Expect(h.ours(t, h.name+" "+key+"\n"+wrong)).To(Succeed())
			err := h.ours(t, wrong)
			var he *git.HostKeyError
			g.Expect(errors.As(err, &he)).To(BeTrue(), "%v", err)
			g.Expect(he.Host).To(ContainSubstring(h.port))
		})
	}
	t.Run("Allowed", func(t *testing.T) {
		g := NewWithT(t)
		lines := ""
		for _, k := range h.keys {
			lines += h.name + " " + k + "\n"
		}
		for algorithm, want := range map[string]error{"rsa-sha2-256": nil, "ecdsa-sha2-nistp384": nil, "ssh-ed25519-cert-v01@openssh.com": git.ErrHostKeyUnknown} {
			o := h.options(t, true)
			o.SSH.KnownHosts, o.SSH.HostKeyAlgorithms = []byte(lines), []string{algorithm}
			_, err := client(t, h.repo.SSHURL(), o).List(t.Context(), git.ListOptions{})
			g.Expect(errors.Is(err, want)).To(BeTrue(), "%s: %v", algorithm, err)
		}
	})
}

// GIT-14: only algorithms that count as safe can be asked for.
func TestSSHAlgorithms(t *testing.T) {
	h := startSSH(t, gitserver.SSHOptions{})
	for name, tc := range map[string]struct {
		set  func(*git.SSHOptions)
		good bool
	}{
		"NoKex":    {func(o *git.SSHOptions) { o.KeyExchanges = []string{"none"} }, false},
		"SHA1Kex":  {func(o *git.SSHOptions) { o.KeyExchanges = []string{"diffie-hellman-group1-sha1"} }, false},
		"Cipher":   {func(o *git.SSHOptions) { o.Ciphers = []string{"arcfour"} }, false},
		"MAC":      {func(o *git.SSHOptions) { o.MACs = []string{"hmac-sha1-96"} }, false},
		"HostKey":  {func(o *git.SSHOptions) { o.HostKeyAlgorithms = []string{"ssh-dss"} }, false},
		"Control":  {func(o *git.SSHOptions) { o.Ciphers = []string{"x\x1b[2J\n"} }, false},
		"Quantum":  {func(o *git.SSHOptions) { o.KeyExchanges = []string{"mlkem768x25519-sha256"} }, true},
		"OneOfAll": {func(o *git.SSHOptions) { o.Ciphers, o.MACs = []string{"aes256-ctr"}, []string{"hmac-sha2-256"} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := h.options(t, true)
			tc.set(&o.SSH)
			c, err := git.New(h.repo.SSHURL(), o)
			if !tc.good {
				g.Expect(errors.Is(err, git.ErrInvalidOption)).To(BeTrue(), "%v", err)
				g.Expect(err.Error()).NotTo(ContainSubstring("\x1b"))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			defer func() { _ = c.Close() }()
			_, err = c.List(t.Context(), git.ListOptions{})
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}
