// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/testserver/gitserver"
)

func needSSH(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("ssh"); err != nil {
		missing(t, "ssh (apt-get install openssh-client)")
	}
}

// TST-12: OpenSSH's client agrees with each known_hosts form for each key type.
func TestKnownHostsForms(t *testing.T) {
	needSSH(t)
	cases := map[string]struct {
		reason string
		form   gitserver.KnownHostsForm
		hosts  []string
		opts   gitserver.SSHOptions
		ok     bool
	}{
		"Plain":     {reason: "[127.0.0.1]:port", form: gitserver.Plain, ok: true},
		"Hashed":    {reason: "hashed name", form: gitserver.Hashed, ok: true},
		"Authority": {reason: "host certificate", form: gitserver.CertAuthority, opts: gitserver.SSHOptions{HostCertificate: true}, ok: true},
		"Revoked":   {reason: "revoked key", form: gitserver.Revoked},
		"OtherHost": {reason: "line for another host", form: gitserver.Plain, hosts: []string{"other.example:22"}},
		"Expired": {
			reason: "certificate has expired", form: gitserver.CertAuthority,
			opts: gitserver.SSHOptions{HostCertificate: true, CertificateValidFor: -time.Hour},
		},
		"Principal": {
			reason: "certificate is for another host", form: gitserver.CertAuthority,
			opts: gitserver.SSHOptions{HostCertificate: true, CertificatePrincipals: []string{"other.example"}},
		},
	}
	for _, b := range []gitserver.Backend{gitserver.InProcess, gitserver.Exec} {
		for _, key := range []gitserver.KeyType{gitserver.Ed25519, gitserver.ECDSA256, gitserver.ECDSA521, gitserver.RSA2048} {
			for name, tc := range cases {
				if key != gitserver.Ed25519 && (b == gitserver.Exec || name != "Plain" && name != "Authority") {
					continue // the form decides, not the key
				}
				t.Run(fmt.Sprintf("%d/%s/%s", b, key, name), func(t *testing.T) {
					g := NewWithT(t)
					tc.opts.HostKeys = []gitserver.KeyType{key}
					s := gitserver.Start(t, gitserver.Options{Backend: b, SSH: &tc.opts})
					r := s.Repo("app")
					r.Commit("main", gitserver.Files{"a": "b"}, gitserver.CommitOptions{})
					c := newClient(t)
					c.useSSH(s)
					c.write("known_hosts", string(s.KnownHosts(tc.form, tc.hosts...)))
					out, err := c.try("ls-remote", r.SSHURL())
					g.Expect(err == nil).To(Equal(tc.ok), "%s: %s", tc.reason, out)
				})
			}
		}
	}
}

// TST-12
func TestSSHKeysAndPermissions(t *testing.T) {
	needSSH(t)
	for _, b := range []gitserver.Backend{gitserver.InProcess, gitserver.Exec} {
		t.Run(fmt.Sprint(b), func(t *testing.T) {
			g := NewWithT(t)
			s := gitserver.Start(t, gitserver.Options{Backend: b, SSH: &gitserver.SSHOptions{}})
			r := s.Repo("app")
			r.Commit("main", gitserver.Files{"a": "b"}, gitserver.CommitOptions{})
			c := newClient(t)
			c.useSSH(s)
			c.git("clone", "-q", r.SSHURL(), "w")
			s.SetAuth(gitserver.Auth{AuthorizedKeys: map[string]string{otherKey(t): "bob"}})
			out, err := c.try("ls-remote", r.SSHURL())
			g.Expect(err).To(HaveOccurred())
			g.Expect(out).To(ContainSubstring("Permission denied"))
		})
	}
	g := NewWithT(t)
	s := gitserver.Start(t, gitserver.Options{SSH: &gitserver.SSHOptions{Banner: "welcome\n"}})
	r := s.Repo("org/my app")
	r.Commit("main", gitserver.Files{"a": "b"}, gitserver.CommitOptions{})
	c := newClient(t)
	c.useSSH(s)
	c.git("clone", "-q", r.SSHURL(), "w") // a space in the path
	_, pub, err := gitserver.NewKey(gitserver.Ed25519, "")
	g.Expect(err).NotTo(HaveOccurred())
	_ = pub
	auth := gitserver.Auth{AuthorizedKeys: map[string]string{c.publicKey(): "ann"}}
	auth.Access = func(user, _ string, write bool) bool { return user == "ann" && !write }
	s.SetAuth(auth)
	c.git("ls-remote", r.SSHURL())
	w := c.at("w")
	w.write("x", "x")
	w.git("add", ".")
	w.git("commit", "-q", "-m", "x")
	before := r.Refs()
	_, err = w.try("push", "-q", "origin", "main")
	g.Expect(err).To(HaveOccurred())
	g.Expect(r.Refs()).To(Equal(before))
	g.Expect(s.Log()[len(s.Log())-1].User).To(Equal("ann"))
}

func otherKey(t *testing.T) string {
	t.Helper()
	_, pub, err := gitserver.NewKey(gitserver.ECDSA256, "")
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// publicKey returns the public half of the client's key.
func (c *client) publicKey() string {
	c.t.Helper()
	out, err := exec.CommandContext(c.t.Context(), "ssh-keygen", "-y", "-f", filepath.Join(c.dir, "id")).Output()
	if err != nil {
		c.t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// TST-12: keys of each type, also encrypted ones, are read by OpenSSH.
func TestNewKey(t *testing.T) {
	needSSH(t)
	for _, k := range []gitserver.KeyType{gitserver.Ed25519, gitserver.ECDSA256, gitserver.ECDSA384, gitserver.ECDSA521, gitserver.RSA2048} {
		for _, pass := range []string{"", "s3cret"} {
			g := NewWithT(t)
			priv, pub, err := gitserver.NewKey(k, pass)
			g.Expect(err).NotTo(HaveOccurred())
			file := filepath.Join(t.TempDir(), "id")
			g.Expect(os.WriteFile(file, priv, 0o600)).To(Succeed())
			out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-y", "-P", pass, "-f", file).Output()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(strings.TrimSpace(string(out))).To(Equal(pub), string(k))
		}
	}
	g := NewWithT(t)
	_, _, err := gitserver.NewKey("dsa", "")
	g.Expect(err).To(MatchError(gitserver.ErrNotFound))
}

// TST-12: a server that refuses GIT_PROTOCOL speaks version 0; one that never
// answers holds the client until it leaves.
func TestSSHOddities(t *testing.T) {
	needSSH(t)
	g := NewWithT(t)
	s := gitserver.Start(t, gitserver.Options{SSH: &gitserver.SSHOptions{RefuseEnv: true}})
	r := s.Repo("app")
	seed(r)
	c, u := mode{ssh: true, version: "2"}.connect(t, s, r)
	c.env = append(c.env, "GIT_TRACE_PACKET=1")
	out := c.git("ls-remote", u)
	g.Expect(out).NotTo(ContainSubstring("version 2"))
	g.Expect(out).To(ContainSubstring("multi_ack"))

	silent := gitserver.Start(t, gitserver.Options{SSH: &gitserver.SSHOptions{Silent: true}})
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", silent.SSHAddr())
	g.Expect(err).NotTo(HaveOccurred())
	defer conn.Close()
	g.Expect(conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))).To(Succeed())
	_, err = conn.Read(make([]byte, 1))
	g.Expect(os.IsTimeout(err)).To(BeTrue())
}
