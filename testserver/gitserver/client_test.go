// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/testserver/gitserver"
)

// mode is one way to reach a server.
type mode struct {
	name    string
	opts    gitserver.Options
	ssh     bool
	version string
}

func modes() []mode {
	var out []mode
	for _, b := range []gitserver.Backend{gitserver.InProcess, gitserver.Exec} {
		for _, f := range []gitserver.ObjectFormat{gitserver.SHA1, gitserver.SHA256} {
			for _, v := range []string{"0", "1", "2"} {
				if b == gitserver.Exec && (v == "1" || f == gitserver.SHA256 && v == "0") {
					continue // the reference needs no proof of its own
				}
				for _, tr := range []string{"http", "https", "ssh"} {
					o := gitserver.Options{Backend: b, ObjectFormat: f, TLS: tr == "https"}
					if tr == "ssh" {
						o.SSH = &gitserver.SSHOptions{}
					}
					name := fmt.Sprintf("%s/%s/v%s/%s", map[gitserver.Backend]string{gitserver.InProcess: "in-process", gitserver.Exec: "exec"}[b], f, v, tr)
					out = append(out, mode{name: name, opts: o, ssh: tr == "ssh", version: v})
				}
			}
		}
	}
	return out
}

// connect returns a client that can reach the server in this mode and the
// repository's URL.
func (m mode) connect(t *testing.T, s *gitserver.Server, r *gitserver.Repo) (*client, string) {
	t.Helper()
	c := newClient(t)
	c.env = append(c.env, "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=protocol.version", "GIT_CONFIG_VALUE_0="+m.version)
	if ca := s.CA(); ca != nil {
		c.write("ca.pem", string(ca))
		c.env = append(c.env, "GIT_SSL_CAINFO="+filepath.Join(c.dir, "ca.pem"))
	}
	if !m.ssh {
		return c, r.URL()
	}
	c.useSSH(s)
	return c, r.SSHURL()
}

// useSSH gives the client a key the server accepts and its host keys.
func (c *client) useSSH(s *gitserver.Server) {
	c.t.Helper()
	priv, pub, err := gitserver.NewKey(gitserver.Ed25519, "")
	if err != nil {
		c.t.Fatal(err)
	}
	s.SetAuth(gitserver.Auth{AuthorizedKeys: map[string]string{pub: "tester"}, AnonymousRead: true})
	c.write("id", string(priv))
	if err := os.Chmod(filepath.Join(c.dir, "id"), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.write("known_hosts", string(s.KnownHosts(gitserver.Plain)))
	c.env = append(c.env, "GIT_SSH_COMMAND=ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"+
		" -o UserKnownHostsFile="+filepath.Join(c.dir, "known_hosts")+" -i "+filepath.Join(c.dir, "id"))
}

// TST-10, TST-11, TST-15
func TestGitProgramInEveryMode(t *testing.T) {
	for _, m := range modes() {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s := gitserver.Start(t, m.opts)
			r := s.Repo("org/app")
			seed(r)
			c, u := m.connect(t, s, r)

			refs := c.git("ls-remote", u)
			g.Expect(refs).To(ContainSubstring(r.Head("main").String() + "\tHEAD"))
			g.Expect(refs).To(ContainSubstring("refs/tags/v1.0.0^{}"))
			g.Expect(refs).To(ContainSubstring("refs/pull/1/head"))

			c.git("clone", "-q", u, "full")
			full := c.at("full")
			full.git("fsck", "--strict", "--full")
			g.Expect(strings.TrimSpace(full.git("rev-parse", "HEAD"))).To(Equal(r.Head("main").String()))
			g.Expect(full.read("README.md")).To(Equal("hello 2\n"))
			g.Expect(full.git("tag")).To(Equal("v1.0.0\nv1.1.0\n"))
			g.Expect(full.git("ls-files", "-s", "run.sh", "link")).To(And(ContainSubstring("100755"), ContainSubstring("120000")))

			c.git("clone", "-q", "--depth", "1", u, "shallow")
			sh := c.at("shallow")
			g.Expect(strings.TrimSpace(sh.git("rev-list", "--count", "HEAD"))).To(Equal("1"))
			sh.git("fetch", "-q", "--deepen", "1")
			g.Expect(strings.TrimSpace(sh.git("rev-list", "--count", "HEAD"))).To(Equal("2"))
			sh.git("fetch", "-q", "--unshallow")
			g.Expect(sh.git("rev-list", "--count", "HEAD")).To(Equal(full.git("rev-list", "--count", "HEAD")))
			sh.git("fsck", "--strict", "--full")
			sh.git("fetch", "-q", "origin", "refs/pull/1/head")

			r.Commit("main", gitserver.Files{"new.txt": "new\n"}, gitserver.CommitOptions{})
			full.git("pull", "-q", "--ff-only")
			g.Expect(full.read("new.txt")).To(Equal("new\n"))

			full.write("pushed.txt", "pushed\n")
			full.write("a/b/c.txt", strings.Repeat("line\n", 200)+"pushed\n")
			full.git("add", ".")
			full.git("commit", "-q", "-m", "pushed")
			full.git("tag", "-a", "-m", "x", "v2.0.0")
			full.git("push", "-q", "origin", "main", "v2.0.0")
			g.Expect(r.Head("main").String()).To(Equal(strings.TrimSpace(full.git("rev-parse", "HEAD"))))
			got, err := r.ReadFile("main", "pushed.txt")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal("pushed\n"))
			full.git("push", "-q", "origin", ":refs/tags/v2.0.0")
			g.Expect(r.Refs()).NotTo(HaveKey("refs/tags/v2.0.0"))

			sh.git("reset", "-q", "--hard", "HEAD~1")
			sh.write("other.txt", "x")
			sh.git("add", ".")
			sh.git("commit", "-q", "-m", "other")
			out, err := sh.try("push", "origin", "main")
			g.Expect(err).To(HaveOccurred(), "non-fast-forward")
			g.Expect(out).To(ContainSubstring("rejected"))
			g.Expect(s.Err()).NotTo(HaveOccurred())
		})
	}
}

// TST-12
func TestBasicAuth(t *testing.T) {
	g := NewWithT(t)
	s := gitserver.Start(t, gitserver.Options{Auth: gitserver.Auth{Users: map[string]string{"ann": "s3cret"}, AnonymousRead: true}})
	r := s.Repo("org/app")
	seed(r)
	c := newClient(t)
	c.git("clone", "-q", r.URL(), "w")
	w := c.at("w")
	w.write("x", "y")
	w.git("add", ".")
	w.git("commit", "-q", "-m", "x")
	before := r.Refs()
	_, err := w.try("push", "-q", "origin", "main")
	g.Expect(err).To(HaveOccurred())
	g.Expect(r.Refs()).To(Equal(before), "nothing was written")

	u, err := url.Parse(r.URL())
	g.Expect(err).NotTo(HaveOccurred())
	u.User = url.UserPassword("ann", "s3cret")
	w.git("push", "-q", u.String(), "main")
	g.Expect(r.Head("main").String()).To(Equal(strings.TrimSpace(w.git("rev-parse", "HEAD"))))
	for _, q := range s.Log() {
		g.Expect(fmt.Sprint(q)).NotTo(ContainSubstring("s3cret"))
	}
	g.Expect(s.Count(gitserver.Match{Status: 401})).To(BeNumerically(">=", 1))
}

// TST-11: a push over http.postBuffer comes chunked, after a probe; a fetch with
// much history comes compressed.
func TestLargePushAndLongNegotiation(t *testing.T) {
	for _, v := range []string{"0", "2"} {
		t.Run(v, func(t *testing.T) {
			g := NewWithT(t)
			s := gitserver.Start(t, gitserver.Options{Auth: gitserver.Auth{Users: map[string]string{"ann": "pw"}}})
			r := s.Repo("app")
			seed(r)
			c, u := mode{version: v}.connect(t, s, r)
			u = strings.Replace(u, "http://", "http://ann:pw@", 1)
			c.git("clone", "-q", u, "w")
			w := c.at("w")
			noise := make([]byte, 3<<20)
			_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
			w.write("big", string(noise))
			w.git("add", ".")
			w.git("commit", "-q", "-m", "big")
			w.git("push", "-q", "origin", "main")
			got, err := r.ReadFile("main", "big")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got == string(noise)).To(BeTrue())

			for i := range 100 {
				w.git("commit", "-q", "--allow-empty", "-m", fmt.Sprint(i))
			}
			r.Commit("main", gitserver.Files{"more": "more"}, gitserver.CommitOptions{})
			before := r.Stats()
			w.git("fetch", "-q")
			after := r.Stats()
			g.Expect(after.Haves - before.Haves).To(BeNumerically(">", 60))
			g.Expect(after.PackBytes - before.PackBytes).To(BeNumerically("<", 1000))
		})
	}
}

// TST-6: nothing of the Exec backend outlives it.
func TestExecLeavesNothing(t *testing.T) {
	g := NewWithT(t)
	s := gitserver.Start(t, gitserver.Options{Backend: gitserver.Exec, SSH: &gitserver.SSHOptions{}})
	r := s.Repo("app")
	seed(r)
	c := newClient(t)
	c.useSSH(s)
	c.git("clone", "-q", r.SSHURL(), "w")
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.SSHAddr())
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = conn.Close() }()
	_, err = io.ReadAtLeast(conn, make([]byte, 8), 8) // sshd's greeting: the child runs
	g.Expect(err).NotTo(HaveOccurred())
	root := filepath.Dir(r.Dir())
	s.Stop()
	_, err = os.Stat(root)
	g.Expect(err).To(MatchError(os.ErrNotExist))
	g.Eventually(func() []string {
		files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		var found []string
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), root) {
				found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
			}
		}
		return found
	}).WithTimeout(time.Minute).Should(BeEmpty())
}
