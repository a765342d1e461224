// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver_test

import (
	"encoding/base64"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/testserver/gitserver"
)

func basic(user, pass string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+pass))
}

// TST-12
func TestAuthTable(t *testing.T) {
	auth := gitserver.Auth{
		Users: map[string]string{"ann": "pw"}, Tokens: map[string]string{"tok": "bot"},
		Access: func(user, repo string, write bool) bool { return repo == "open" || (user == "ann" && !write) },
	}
	cases := map[string]struct {
		reason  string
		auth    func(*gitserver.Auth)
		repo    string
		header  string
		service string
		status  int
	}{
		"Anonymous":     {reason: "credentials are needed", repo: "open", status: 401},
		"AnonymousRead": {reason: "unless reading is free", auth: func(a *gitserver.Auth) { a.AnonymousRead = true }, repo: "open", status: 200},
		"AnonymousPush": {reason: "pushing is not", auth: func(a *gitserver.Auth) { a.AnonymousRead = true }, repo: "open", service: "git-receive-pack", status: 401},
		"Basic":         {reason: "name and password", repo: "open", header: basic("ann", "pw"), status: 200},
		"WrongPassword": {reason: "wrong password", repo: "open", header: basic("ann", "no"), status: 401},
		"WrongEvenFree": {reason: "wrong credentials are never anonymous", auth: func(a *gitserver.Auth) { a.AnonymousRead = true }, repo: "open", header: basic("ann", "no"), status: 401},
		"Bearer":        {reason: "token", repo: "open", header: "Bearer tok", status: 200},
		"TokenAsBasic":  {reason: "token as password", repo: "open", header: basic("x-access-token", "tok"), status: 200},
		"WrongToken":    {reason: "wrong token", repo: "open", header: "Bearer no", status: 401},
		"Forbidden":     {reason: "known but not allowed", repo: "closed", header: "Bearer tok", status: 403},
		"ReadOnlyUser":  {reason: "may read", repo: "closed", header: basic("ann", "pw"), status: 200},
		"ReadOnlyPush":  {reason: "may not push", repo: "closed", header: basic("ann", "pw"), service: "git-receive-pack", status: 403},
		"NoSuchRepo":    {reason: "after authentication", auth: func(a *gitserver.Auth) { a.Access = nil }, repo: "none", header: "Bearer tok", status: 404},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			a := auth
			if tc.auth != nil {
				tc.auth(&a)
			}
			s := gitserver.Start(t, gitserver.Options{Auth: a})
			s.Repo("open")
			s.Repo("closed")
			if tc.service == "" {
				tc.service = "git-upload-pack"
			}
			resp, _ := get(t, s, s.URL()+"/"+tc.repo+"/info/refs?service="+tc.service, "Authorization", tc.header)
			g.Expect(resp.StatusCode).To(Equal(tc.status), tc.reason)
			if tc.status == 401 {
				g.Expect(resp.Header.Get("WWW-Authenticate")).NotTo(BeEmpty())
			}
			g.Expect(s.Log()[0].Header.Get("Authorization")).To(Equal(s.Recorder().HMAC(tc.header)))
		})
	}
}

// TST-12
func TestTokensExpire(t *testing.T) {
	g := NewWithT(t)
	a := gitserver.Auth{Tokens: map[string]string{"tok": "bot"}, ExpireAfter: 2}
	s := gitserver.Start(t, gitserver.Options{Auth: a})
	r := s.Repo("app")
	ask := func() int {
		resp, _ := get(t, s, r.URL()+"/info/refs?service=git-upload-pack", "Authorization", "Bearer tok")
		return resp.StatusCode
	}
	g.Expect([]int{ask(), ask(), ask()}).To(Equal([]int{200, 200, 401}))
	s.SetAuth(a)
	g.Expect(ask()).To(Equal(200))
}

// TST-3
func TestClientCertificate(t *testing.T) {
	g := NewWithT(t)
	s := gitserver.Start(t, gitserver.Options{RequireClientCert: true})
	r := s.Repo("app")
	seed(r)
	c, u := mode{version: "2"}.connect(t, s, r)
	_, err := c.try("ls-remote", u)
	g.Expect(err).To(HaveOccurred())
	pair, err := s.ClientCert("robot")
	g.Expect(err).NotTo(HaveOccurred())
	c.write("c.pem", string(pair.Cert))
	c.write("k.pem", string(pair.Key))
	c.env = append(c.env, "GIT_SSL_CERT="+filepath.Join(c.dir, "c.pem"), "GIT_SSL_KEY="+filepath.Join(c.dir, "k.pem"))
	c.git("clone", "-q", u, "w")
	g.Expect(s.Log()[0].User).To(Equal("robot"))
}

// TST-14: git-lfs pulls and pushes, over HTTP and with git-lfs-authenticate.
func TestLFS(t *testing.T) {
	if _, err := exec.LookPath("git-lfs"); err != nil {
		missing(t, "git-lfs (apt-get install git-lfs)")
	}
	for _, ssh := range []bool{false, true} {
		t.Run(map[bool]string{false: "http", true: "ssh"}[ssh], func(t *testing.T) {
			g := NewWithT(t)
			s := gitserver.Start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
			r := s.Repo("app")
			r.Commit("main", r.LFS("big.bin", "large content\n"), gitserver.CommitOptions{})
			c, u := mode{version: "2", ssh: ssh}.connect(t, s, r)
			c.env = append(c.env, "GIT_CONFIG_COUNT=5", "GIT_CONFIG_KEY_1=filter.lfs.process", "GIT_CONFIG_VALUE_1=git-lfs filter-process",
				"GIT_CONFIG_KEY_2=filter.lfs.required", "GIT_CONFIG_VALUE_2=true", "GIT_CONFIG_KEY_3=filter.lfs.clean", "GIT_CONFIG_VALUE_3=git-lfs clean -- %f",
				"GIT_CONFIG_KEY_4=filter.lfs.smudge", "GIT_CONFIG_VALUE_4=git-lfs smudge -- %f")
			c.git("clone", "-q", u, "w")
			w := c.at("w")
			g.Expect(w.read("big.bin")).To(Equal("large content\n"))
			w.write("more.bin", "more content\n")
			w.git("add", ".")
			w.git("commit", "-q", "-m", "more")
			w.git("lfs", "push", "origin", "main")
			pointer := w.git("show", "HEAD:more.bin")
			_, oid, _ := strings.Cut(pointer, "sha256:")
			oid, _, _ = strings.Cut(oid, "\n")
			g.Expect(string(r.LFSObject(oid))).To(Equal("more content\n"))
			g.Expect(s.Count(gitserver.Match{Route: "lfs-batch"})).To(BeNumerically(">=", 2))

			r.Commit("main", r.LFS("big.bin", "newer\n"), gitserver.CommitOptions{})
			bad := strings.TrimPrefix(strings.Fields(r.LFSPointer("newer\n"))[3], "sha256:")
			r.SetLFSObject(bad, []byte("wrong\n"))
			_, err := c.try("clone", "-q", u, "x")
			g.Expect(err).To(HaveOccurred(), "wrong content")
			r.RemoveLFSObject(bad)
			_, err = c.try("clone", "-q", u, "y")
			g.Expect(err).To(HaveOccurred(), "missing content")
		})
	}
}

// TST-14: the batch API lies about size and host when told to.
func TestLFSLies(t *testing.T) {
	g := NewWithT(t)
	s := gitserver.Start(t, gitserver.Options{})
	r := s.Repo("app")
	oid := strings.TrimPrefix(strings.Fields(r.LFSPointer("content"))[3], "sha256:")
	ask := func() string {
		return post(t, s, r.URL()+"/info/lfs/objects/batch", `{"operation":"download","objects":[{"oid":"`+oid+`","size":7}]}`)
	}
	g.Expect(ask()).To(And(ContainSubstring(`"size":7`), ContainSubstring(s.URL()+"/app/lfs/"+oid)))
	r.Configure(func(o *gitserver.RepoOptions) {
		o.LFS = gitserver.LFSOptions{SizeDelta: 3, BaseURL: "http://192.0.2.1"}
	})
	g.Expect(ask()).To(And(ContainSubstring(`"size":10`), ContainSubstring("http://192.0.2.1/app/lfs/")))
	r.Configure(func(o *gitserver.RepoOptions) {
		o.LFS.Object = func(string) string { return "http://169.254.169.254/x" }
	})
	g.Expect(ask()).To(ContainSubstring(`"href":"http://169.254.169.254/x"`))
	r.RemoveLFSObject(oid)
	g.Expect(ask()).To(ContainSubstring(`"code":404`))
}
