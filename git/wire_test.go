// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
)

// bodies records what is posted to a repository.
type bodies struct {
	mu   sync.Mutex
	list []string
}

func (b *bodies) watch(repo *gitserver.Repo) {
	repo.Configure(func(o *gitserver.RepoOptions) {
		o.Intercept = func(_ http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			raw, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(raw))
			if r.Header.Get("Content-Encoding") == "gzip" {
				if z, err := gzip.NewReader(bytes.NewReader(raw)); err == nil {
					raw, _ = io.ReadAll(z)
				}
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.list = append(b.list, r.URL.Path+"\n"+string(raw))
			return false
		}
	})
}

func (b *bodies) last(part string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.list) - 1; i >= 0; i-- {
		if strings.Contains(b.list[i], part) {
			return b.list[i]
		}
	}
	return ""
}

// GIT-22: what a fetch asks for, and what it never asks for.
func TestFetchRequest(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	id := string(repo.Commit("main", gitserver.Files{"d/a": "1", "b": "2"}, gitserver.CommitOptions{}))
	var b bodies
	b.watch(repo)
	o := e.options(t, false)
	c := client(t, repo.URL(), o)
	checkout := func(co git.CheckoutOptions) string {
		r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), co)
		g.Expect(err).NotTo(HaveOccurred())
		return b.last("command=fetch")
	}
	plain := checkout(git.CheckoutOptions{})
	for _, want := range []string{"want " + id, "deepen 1", "no-progress", "ofs-delta", "done", "object-format=sha1"} {
		g.Expect(plain).To(ContainSubstring(want))
	}
	for _, never := range []string{"thin-pack", "filter", "packfile-uris", "server-option", "include-tag", "have "} {
		g.Expect(plain).NotTo(ContainSubstring(never))
	}
	checkout(git.CheckoutOptions{Sparse: []string{"d"}})
	g.Expect(b.last("filter blob:none")).NotTo(BeEmpty())
	m, _ := newMirror(t, git.MirrorOptions{})
	o.Mirror = m
	c = client(t, repo.URL(), o)
	checkout(git.CheckoutOptions{})
	next := string(repo.Commit("main", gitserver.Files{"b": "3"}, gitserver.CommitOptions{}))
	thin := checkout(git.CheckoutOptions{})
	for _, want := range []string{"want " + next, "have " + id, "thin-pack", "deepen 1"} {
		g.Expect(thin).To(ContainSubstring(want))
	}
}

// GIT-21, GIT-28: the format is the server's; an unknown one is refused.
func TestObjectFormats(t *testing.T) {
	g := NewWithT(t)
	for _, caps := range []gitserver.Capabilities{{}, {NoObjectFormat: true}} {
		for _, v0 := range []bool{false, true} {
			e := start(t, gitserver.Options{V0Only: v0, Repo: gitserver.RepoOptions{Capabilities: caps}})
			e.srv.Repo("app").Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
			r, err := client(t, e.srv.Repo("app").URL(), e.options(t, false)).Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(r.Commit.Digest()).To(HavePrefix("sha1:"))
			_, err = client(t, e.srv.Repo("empty").URL(), e.options(t, false)).Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
			g.Expect(errors.Is(err, git.ErrEmptyRepository)).To(BeTrue(), "%v", err)
		}
	}
	e := start(t, gitserver.Options{ObjectFormat: gitserver.SHA256})
	repo := e.srv.Repo("app")
	id := repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	c := client(t, repo.URL(), e.options(t, false))
	r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Commit.Digest()).To(Equal("sha256:" + string(id)))
	_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	repo.Configure(func(o *gitserver.RepoOptions) {
		o.Intercept = func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
			_, _ = io.WriteString(w, "001e# service=git-upload-pack\n0000000eversion 2\n0019object-format=sha512\n0000")
			return true
		}
	})
	_, err = client(t, repo.URL(), e.options(t, false)).Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
	g.Expect(errors.Is(err, git.ErrObjectFormat)).To(BeTrue(), "%v", err)
	var ge *git.Error
	g.Expect(errors.As(err, &ge) && ge.Terminal()).To(BeTrue())
}

// GIT-26, GIT-T6: every way to a commit that the server does not give out by
// its id ends in the same files.
func TestLadder(t *testing.T) {
	const behind = 60
	for name, tc := range map[string]struct {
		o     gitserver.Options
		notes []git.NoteKind
	}{
		"V2":       {gitserver.Options{}, nil},
		"Strict":   {gitserver.Options{Repo: gitserver.RepoOptions{Capabilities: gitserver.Capabilities{NoAnySHA1InV2: true}}}, []git.NoteKind{git.ExactFetchRefused}},
		"V0":       {gitserver.Options{V0Only: true}, []git.NoteKind{git.ExactFetchRefused, git.ProtocolV0}},
		"V0Reach":  {gitserver.Options{V0Only: true, Repo: gitserver.RepoOptions{Capabilities: gitserver.Capabilities{AllowReachableSHA1: true}}}, []git.NoteKind{git.ProtocolV0}},
		"NoBand":   {gitserver.Options{V0Only: true, Repo: gitserver.RepoOptions{Capabilities: gitserver.Capabilities{NoSideBand: true, NoSideBand64k: true}}}, []git.NoteKind{git.ExactFetchRefused}},
		"NoDepth":  {gitserver.Options{V0Only: true, Repo: gitserver.RepoOptions{Capabilities: gitserver.Capabilities{NoShallow: true}}}, []git.NoteKind{git.ShallowUnsupported}},
		"V2NoWalk": {gitserver.Options{Repo: gitserver.RepoOptions{Capabilities: gitserver.Capabilities{NoShallow: true, NoAnySHA1InV2: true}}}, []git.NoteKind{git.ShallowUnsupported, git.ExactFetchRefused}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := start(t, tc.o)
			repo := e.srv.Repo("app")
			var first string
			for i := range behind {
				id := repo.Commit("main", gitserver.Files{"a": fmt.Sprint(i), "d/b": "same"}, gitserver.CommitOptions{})
				if i == 0 {
					first = string(id)
				}
			}
			tagged := repo.Commit("gone", gitserver.Files{"t": "1"}, gitserver.CommitOptions{})
			repo.Tag("v1.0.0", "gone")
			repo.DeleteRef("refs/heads/gone")
			c := client(t, repo.URL(), e.options(t, false))
			for _, ref := range []git.Reference{{Commit: first}, {Commit: first, Branch: "main"}, {Commit: string(tagged)}} {
				r, err := c.Resolve(t.Context(), ref, git.ResolveOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				dir := filepath.Join(t.TempDir(), "out")
				out, err := c.Checkout(t.Context(), r, dir, git.CheckoutOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(out.Commit.Hash.String()).To(Equal(ref.Commit))
				if ref.Commit == first {
					g.Expect(cmp.Diff(map[string]string{"a": "-rw-r--r-- 0", "d/": "drwxr-xr-x", "d/b": "-rw-r--r-- same"}, tree(t, dir))).To(BeEmpty())
					for _, n := range tc.notes {
						g.Expect(hasNote(out.Notes, n)).To(Equal(1), "%s in %v", n, out.Notes)
					}
					g.Expect(len(out.Notes) == 0).To(Equal(tc.notes == nil), "%v", out.Notes)
				}
			}
			r, err := c.Resolve(t.Context(), git.Reference{Commit: strings.Repeat("ab", 20)}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
			g.Expect(errors.Is(err, git.ErrCommitNotFound)).To(BeTrue(), "%v", err)
		})
	}
}

// GIT-26, GIT-T6: a commit 3,000 behind the tip takes every step of the ladder,
// as the depths that are asked for show.
func TestLadderDeep(t *testing.T) {
	for name, o := range map[string]gitserver.Options{
		"V0": {V0Only: true}, "V2": {Repo: gitserver.RepoOptions{Capabilities: gitserver.Capabilities{NoAnySHA1InV2: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := start(t, o)
			repo := e.srv.Repo("app")
			first := repo.Commit("main", gitserver.Files{"a": "1", "d/b": "2"}, gitserver.CommitOptions{})
			_, raw, err := repo.Object(first)
			g.Expect(err).NotTo(HaveOccurred())
			tree1 := gitserver.Hash(raw[len("tree "):][:40])
			tip := first
			for range 3000 { // commits of the same tree
				tip = repo.CommitTree(tree1, tip)
			}
			repo.Ref("refs/heads/main", string(tip))
			var b bodies
			b.watch(repo)
			c := client(t, repo.URL(), e.options(t, false))
			r, err := c.Resolve(t.Context(), git.Reference{Commit: string(first)}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			dir := filepath.Join(t.TempDir(), "out")
			out, err := c.Checkout(t.Context(), r, dir, git.CheckoutOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(out.Commit.Hash.String()).To(Equal(string(first)))
			g.Expect(hasNote(out.Notes, git.ExactFetchRefused)).To(Equal(1))
			g.Expect(cmp.Diff(map[string]string{"a": "-rw-r--r-- 1", "d/": "drwxr-xr-x", "d/b": "-rw-r--r-- 2"}, tree(t, dir))).To(BeEmpty())
			var depths []string
			b.mu.Lock()
			for _, body := range b.list {
				if _, d, ok := strings.Cut(body, "deepen "); ok {
					d, _, _ = strings.Cut(d, "\n")
					depths = append(depths, d)
				}
			}
			b.mu.Unlock()
			filters := repo.Stats().Filters
			if name == "V0" {
				g.Expect(strings.Join(depths, " ")).To(HaveSuffix("1 50 500 5000"))
				g.Expect(filters).To(BeEmpty())
				return
			}
			// Where the server filters, content comes for no more than needed.
			g.Expect(strings.Join(depths, " ")).To(HaveSuffix("1 50 500 5000 3001"))
			g.Expect(filters).To(Equal([]string{"tree:0", "tree:0", "tree:0", "tree:0"}))
		})
	}
}

// GIT-34: tags of equal precedence are told apart by the age of their commits,
// then by name.
func TestSemVerTies(t *testing.T) {
	when := func(year int) gitserver.CommitOptions {
		return gitserver.CommitOptions{When: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)}
	}
	for name, o := range map[string]gitserver.Options{"V2": {}, "V0": {V0Only: true}, "NoFilter": {Repo: gitserver.RepoOptions{Capabilities: gitserver.Capabilities{NoFilter: true}}}} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			e := start(t, o)
			repo := e.srv.Repo("app")
			tag := func(name string, year int, annotated bool) {
				repo.Commit("main", gitserver.Files{"a": name}, when(year))
				if annotated {
					repo.AnnotatedTag(name, "main", gitserver.TagOptions{When: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)})
				} else {
					repo.Tag(name, "main")
				}
			}
			tag("1.0.0+c", 2020, false)
			tag("1.0.0+a", 2023, false) // the youngest
			tag("1.0.0+d", 2021, true)
			tag("2.0.0+x", 2020, false)
			tag("2.0.0+z", 2020, false) // as old, and the greatest name
			tag("2.0.0+y", 2020, false)
			tag("2.0.0-rc.1", 2024, false)
			c := client(t, repo.URL(), e.options(t, false))
			for expr, want := range map[string]string{"1.x": "1.0.0+a", ">=1.0.0": "2.0.0+z", "1.0.0": "1.0.0+a"} {
				r, err := c.Resolve(t.Context(), git.Reference{SemVer: expr}, git.ResolveOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(r.Ref).To(Equal("refs/tags/"+want), expr)
			}
			fetches := repo.Stats().Fetches
			_, err := c.Resolve(t.Context(), git.Reference{SemVer: ">=2.0.0-0 <2.0.0"}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(repo.Stats().Fetches).To(Equal(fetches), "without a tie nothing is fetched")
		})
	}
}

// GIT-29, git-symref: symbolic references that lead to one another without end.
func TestSymrefLimit(t *testing.T) {
	pkt := func(s string) string { return fmt.Sprintf("%04x%s", len(s)+4, s) }
	chain := func(n int, ring bool) (caps, lines string) {
		id := strings.Repeat("1", 40)
		name := func(i int) string {
			if i == 0 {
				return "HEAD"
			}
			return fmt.Sprintf("refs/heads/b%d", i)
		}
		for i := range n {
			to := name(i + 1)
			if ring && i == n-1 {
				to = name(0)
			}
			caps += " symref=" + name(i) + ":" + to
			lines += pkt(id + " " + name(i) + " symref-target:" + to + "\n")
		}
		return caps, lines
	}
	for name, tc := range map[string]struct {
		n    int
		ring bool
		max  int64
		want bool
	}{"Five": {5, false, 0, true}, "Six": {6, false, 0, false}, "Ring": {2, true, 0, false}, "Own": {2, false, 1, false}, "Wide": {6, false, 6, true}} {
		for _, v0 := range []bool{false, true} {
			t.Run(fmt.Sprint(name, v0), func(t *testing.T) {
				g := NewWithT(t)
				e := start(t, gitserver.Options{V0Only: v0})
				repo := e.srv.Repo("app")
				repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
				caps, lines := chain(tc.n, tc.ring)
				repo.Configure(func(o *gitserver.RepoOptions) {
					o.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
						switch {
						case r.Method == http.MethodPost:
							w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
							_, _ = io.WriteString(w, lines+"0000")
						case v0:
							w.Header().Set("Content-Type", "application/x-git-upload-pack-advertisement")
							_, _ = io.WriteString(w, pkt("# service=git-upload-pack\n")+"0000"+pkt(strings.Repeat("1", 40)+" HEAD\x00shallow"+caps+"\n")+"0000")
						default:
							return false
						}
						return true
					}
				})
				o := e.options(t, false)
				o.Limits.Symref = tc.max
				_, err := client(t, repo.URL(), o).List(t.Context(), git.ListOptions{})
				if tc.want {
					g.Expect(err).NotTo(HaveOccurred())
					return
				}
				if tc.ring {
					g.Expect(errors.Is(err, git.ErrProtocol)).To(BeTrue(), "%v", err)
					return
				}
				g.Expect(limitName(t, err)).To(Equal("git-symref"))
			})
		}
	}
}

// GIT-39, T29: a checkout that would go back is refused, where asked for.
func TestRollback(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	one := repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	two := repo.Commit("main", gitserver.Files{"a": "2"}, gitserver.CommitOptions{})
	other := repo.Commit("other", gitserver.Files{"a": "3"}, gitserver.CommitOptions{Parents: []gitserver.Hash{}})
	c := client(t, repo.URL(), e.options(t, false))
	hash := func(h gitserver.Hash) git.Hash {
		r, err := git.ParseRevision("sha1:" + string(h))
		g.Expect(err).NotTo(HaveOccurred())
		return r.Hash
	}
	for _, tc := range []struct {
		from, to gitserver.Hash
		want     error
	}{{one, two, nil}, {two, two, nil}, {two, one, git.ErrRollback}, {other, two, git.ErrRollback}, {two, other, git.ErrRollback}} {
		r, err := c.Resolve(t.Context(), git.Reference{Commit: string(tc.to)}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		parent := t.TempDir()
		_, err = c.Checkout(t.Context(), r, filepath.Join(parent, "out"), git.CheckoutOptions{RequireFastForwardFrom: hash(tc.from)})
		g.Expect(errors.Is(err, tc.want)).To(BeTrue(), "%s to %s: %v", tc.from, tc.to, err)
		if tc.want != nil {
			g.Expect(leftovers(t, parent)).To(BeEmpty())
		}
	}
}

// GIT-51: what a checkout cost is told, and so is each request.
func TestStatsAndEvents(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "12345", "d/b": "678"}, gitserver.CommitOptions{})
	var mu sync.Mutex
	kinds := map[string]int64{}
	o := e.options(t, false)
	o.Observe = func(ev git.Event) {
		mu.Lock()
		defer mu.Unlock()
		kinds[ev.Kind] += ev.Bytes
		if ev.Kind != "write" {
			g.Expect(ev.Protocol).To(Equal("http/2"))
		}
		g.Expect(ev.Err).NotTo(HaveOccurred())
	}
	c := client(t, repo.URL(), o)
	r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	out, err := c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	s := out.Stats
	g.Expect(s.Requests).To(Equal(1))
	g.Expect(s.Objects).To(Equal(5), "a commit, two trees, two blobs")
	g.Expect(s.Files).To(BeEquivalentTo(2))
	g.Expect(s.Written).To(BeEquivalentTo(8))
	g.Expect(s.Received).To(BeNumerically(">", 100))
	g.Expect(out.Notes).To(BeEmpty())
	g.Expect(kinds).To(And(HaveKey("advertise"), HaveKey("ls-refs"), HaveKeyWithValue("write", int64(8)), HaveKeyWithValue("fetch", s.Received)))
}

// GIT-71: bytes are kept as they are, text is converted for reading.
func TestCommitEncoding(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	for branch, tc := range map[string]struct{ header, message, want string }{
		"latin": {"encoding ISO-8859-1", "caf\xe9", "café"}, "utf8": {"", "naïve", "naïve"}, "broken": {"", "a\xffb", "a\ufffdb"}, "unknown": {"encoding x-none", "a\xffb", "a\ufffdb"},
	} {
		co := gitserver.CommitOptions{Message: tc.message}
		if tc.header != "" {
			co.Headers = []string{tc.header}
		}
		id := repo.Commit(branch, gitserver.Files{"a": branch}, co)
		c := client(t, repo.URL(), e.options(t, false))
		r, err := c.Resolve(t.Context(), git.Reference{Branch: branch}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		out, err := c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(strings.TrimSpace(out.Commit.Message)).To(Equal(tc.want), branch)
		_, raw, err := repo.Object(id)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(out.Commit.Raw).To(Equal(raw))
	}
}

// GIT-11: private keys in every form, of every type.
func TestSSHKeys(t *testing.T) {
	e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	keys := map[string][]byte{}
	auth := gitserver.Auth{AuthorizedKeys: map[string]string{}}
	for _, k := range []gitserver.KeyType{gitserver.Ed25519, gitserver.ECDSA256, gitserver.ECDSA384, gitserver.ECDSA521, gitserver.RSA2048, gitserver.RSA3072} {
		for _, pass := range []string{"", "pass-canary"} {
			if pass != "" && k != gitserver.Ed25519 && k != gitserver.ECDSA256 {
				continue // the derivation of the key is slow on purpose
			}
			priv, pub, err := gitserver.NewKey(k, pass)
			if err != nil {
				t.Fatal(err)
			}
			keys[string(k)+pass] = priv
			auth.AuthorizedKeys[pub] = "ann"
		}
	}
	add := func(name string, key any, form string, der []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		s, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = pem.EncodeToMemory(&pem.Block{Type: form, Bytes: der})
		auth.AuthorizedKeys[strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey())))] = "ann"
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	add("PKCS1", r, "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(r), nil)
	der, err := x509.MarshalPKCS8PrivateKey(r)
	add("PKCS8", r, "PRIVATE KEY", der, err)
	ec, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	der, err = x509.MarshalECPrivateKey(ec)
	add("SEC1", ec, "EC PRIVATE KEY", der, err)
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	der, err = x509.MarshalPKCS8PrivateKey(ed)
	add("PKCS8Ed25519", ed, "PRIVATE KEY", der, err)
	e.srv.SetAuth(auth)
	try := func(cred git.Credential) error {
		o := e.options(t, true)
		o.Credentials = git.Static(cred)
		c, err := git.New(strings.Replace(repo.SSHURL(), "git@", "", 1), o)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_, err = c.List(t.Context(), git.ListOptions{})
		return err
	}
	for name, key := range keys {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cred := git.Credential{SSHKey: git.NewSecret(string(key))}
			if !strings.HasSuffix(name, "canary") {
				g.Expect(try(cred)).To(Succeed())
				return
			}
			before := len(e.srv.Log())
			for _, pass := range []string{"", "wrong-canary"} {
				cred.Passphrase = git.NewSecret(pass)
				err := try(cred)
				g.Expect(errors.Is(err, git.ErrKeyPassphrase)).To(BeTrue(), "%v", err)
				g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
			}
			g.Expect(e.srv.Log()).To(HaveLen(before))
			cred.Passphrase = git.NewSecret("pass-canary")
			g.Expect(try(cred)).To(Succeed())
		})
	}
	t.Run("Refused", func(t *testing.T) {
		g := NewWithT(t)
		stranger, _, err := gitserver.NewKey(gitserver.Ed25519, "")
		g.Expect(err).NotTo(HaveOccurred())
		err = try(git.Credential{SSHKey: git.NewSecret(string(stranger))})
		g.Expect(errors.Is(err, git.ErrAuth)).To(BeTrue(), "%v", err)
		err = try(git.Credential{SSHKey: git.NewSecret("canary")})
		g.Expect(errors.Is(err, git.ErrInvalidOption)).To(BeTrue(), "%v", err)
		g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
	})
}

// GIT-15: the path is quoted as a shell wants it, and a server without the
// newer protocol decides what is spoken.
func TestSSHCommand(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{RefuseEnv: true}})
	names := []string{"app", "a'b;id", "sp ace", "x!y", "$HOME`id`", "ü"}
	for _, n := range names {
		e.srv.Repo(n).Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
		u := e.srv.Repo("app").SSHURL()
		u = u[:strings.LastIndex(u, "/")+1]
		for _, r := range n {
			u += fmt.Sprintf("%%%02X", []byte(string(r)))
		}
		u = strings.ReplaceAll(u, "%C3BC", "%C3%BC")
		before := len(e.srv.Log())
		c := client(t, u, e.options(t, true))
		r, err := c.Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
		g.Expect(err).NotTo(HaveOccurred(), n)
		g.Expect(r.Protocol).To(Equal("ssh/0"), "the request for version 2 was refused")
		line := e.srv.Log()[before].Path
		service, arg, _ := strings.Cut(line, " ")
		g.Expect(service).To(Equal("git-upload-pack"))
		said, err := exec.CommandContext(t.Context(), "sh", "-c", "printf %s "+strings.ReplaceAll(arg, `'\!'`, "!")).Output()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(said)).To(Equal("/"+n), line)
	}
	_, err := client(t, e.srv.SSHURL()+"/~ann/none", e.options(t, true)).Resolve(t.Context(), git.Reference{}, git.ResolveOptions{})
	var remote *git.RemoteError
	g.Expect(errors.As(err, &remote)).To(BeTrue(), "%v", err)
	g.Expect(errors.Is(err, git.ErrRemote)).To(BeTrue())
	log := e.srv.Log()
	g.Expect(log[len(log)-1].Path).To(Equal("git-upload-pack '~ann/none'"))
}

// GIT-16: connections are kept, and one that died meanwhile is replaced.
func TestConnectionReuse(t *testing.T) {
	e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	for transport, url := range map[string]string{"http": repo.URL(), "ssh": repo.SSHURL()} {
		t.Run(transport, func(t *testing.T) {
			g := NewWithT(t)
			o := e.options(t, transport == "ssh")
			o.Conns = git.NewPool()
			defer func() { g.Expect(o.Conns.Close()).To(Succeed()) }()
			conns := func(f func()) int {
				seen := map[int64]bool{}
				before := len(e.srv.Log())
				f()
				for _, r := range e.srv.Log()[before:] {
					seen[r.Conn] = true
				}
				return len(seen)
			}
			list := func(o git.Options) {
				c := client(t, url, o)
				_, err := c.List(t.Context(), git.ListOptions{})
				g.Expect(err).NotTo(HaveOccurred())
			}
			g.Expect(conns(func() {
				for range 4 {
					list(o) // a new client each time
				}
			})).To(Equal(1))
			e.srv.Restart()
			list(o)
			if transport != "ssh" {
				return
			}
			g.Expect(conns(func() {
				list(o)
				other := o
				other.Credentials = git.Static(git.Credential{SSHKey: git.NewSecret(string(e.priv)), Identity: "another"})
				list(other)
			})).To(Equal(2), "another principal has a connection of its own")
		})
	}
}

// GIT-6, GIT-7: tokens are asked for again when they end or are refused.
func TestTokens(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{TLS: true, Auth: gitserver.Auth{Tokens: map[string]string{"good-canary": "app"}}})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	var mu sync.Mutex
	var asked []bool
	answer := func(first, retry git.Credential) git.CredentialFunc {
		asked = nil
		return func(_ context.Context, r git.CredentialRequest) (git.Credential, error) {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, r.Retry)
			g.Expect(r.URL.String()).To(Equal(repo.URL()))
			if r.Retry {
				return retry, nil
			}
			return first, nil
		}
	}
	app := func(token string, in time.Duration) git.Credential {
		return git.Credential{Username: "x-access-token", Password: git.NewSecret(token), ExpiresAt: time.Now().Add(in)}
	}
	list := func(f git.CredentialFunc, n int) error {
		o := e.options(t, false)
		o.Credentials = f
		c := client(t, repo.URL(), o)
		for range n {
			if _, err := c.List(t.Context(), git.ListOptions{}); err != nil {
				return err
			}
		}
		return nil
	}
	g.Expect(list(answer(app("good-canary", time.Hour), git.Credential{}), 3)).To(Succeed())
	g.Expect(asked).To(Equal([]bool{false}), "a token that lives is kept")
	g.Expect(list(answer(app("good-canary", 30*time.Second), git.Credential{}), 3)).To(Succeed())
	g.Expect(asked).To(Equal([]bool{false, false, false}), "one that ends soon is not")
	g.Expect(list(answer(app("old-canary", time.Hour), app("good-canary", time.Hour)), 1)).To(Succeed())
	g.Expect(asked).To(Equal([]bool{false, true}))
	for _, again := range []git.Credential{app("old-canary", time.Hour), app("worse-canary", time.Hour)} {
		err := list(answer(app("old-canary", time.Hour), again), 1)
		g.Expect(errors.Is(err, git.ErrAuth)).To(BeTrue(), "%v", err)
		g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
	}
	g.Expect(list(answer(git.Credential{Bearer: git.NewSecret("good-canary")}, git.Credential{}), 1)).To(Succeed())
	e.srv.SetAuth(gitserver.Auth{Tokens: map[string]string{"good-canary": "app"}, Access: func(string, string, bool) bool { return false }})
	err := list(answer(app("good-canary", time.Hour), git.Credential{}), 1)
	g.Expect(errors.Is(err, git.ErrForbidden)).To(BeTrue(), "%v", err)
}

// GIT-97: a push carries what changed.
func TestPushSize(t *testing.T) {
	for name, caps := range map[string]gitserver.Capabilities{"Full": {}, "NoThin": {NoThinPack: true, NoOfsDelta: true}} {
		for _, depth := range []int{1, -1} {
			t.Run(fmt.Sprint(name, depth), func(t *testing.T) {
				g := NewWithT(t)
				e, o := writable(t, gitserver.Options{Repo: gitserver.RepoOptions{Capabilities: caps}})
				repo := e.srv.Repo("app")
				repo.Generate(gitserver.GenOptions{Files: 200, Bytes: 400 << 10, Commits: 3})
				r, err := client(t, repo.URL(), o).Clone(t.Context(), git.Reference{Branch: "main"}, filepath.Join(t.TempDir(), "w"), git.CloneOptions{Depth: depth})
				g.Expect(err).NotTo(HaveOccurred())
				defer func() { _ = r.Close() }()
				writeFile(t, r, "new", "1")
				_, err = r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "m"})
				g.Expect(err).NotTo(HaveOccurred())
				before := len(e.srv.Log())
				_, err = r.Push(t.Context(), git.PushOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				pushed := e.srv.Log()[before:]
				g.Expect(pushed).To(HaveLen(2), "a listing and the pack")
				g.Expect(pushed[1].BodySize).To(BeNumerically("<", 20<<10))
			})
		}
	}
}

// GIT-96: a push that landed although its answer was lost is a success.
func TestLostReply(t *testing.T) {
	g := NewWithT(t)
	e, o := writable(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	c := client(t, repo.URL(), o)
	for i, plan := range []fault.Plan{{Drop: true, Times: 1}, {CutAfter: 8, Times: 1}} {
		plan.Match = fault.Match{Method: "POST", Route: "receive-pack"}
		e.srv.SetFaults(plan)
		res, err := c.Update(t.Context(), "main", func(_ context.Context, r *git.Repository) (git.CommitOptions, error) {
			return git.CommitOptions{Author: ann, Message: "m"}, r.Root().WriteFile(fmt.Sprint("f", i), nil, 0o644)
		}, git.UpdateOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(repo.Head("main"))).To(Equal(res.Commit.Hash.String()))
		parents, err := repo.Parents(repo.Head("main"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(parents).To(HaveLen(1))
		g.Expect(string(parents[0])).To(Equal(res.Base.String()), "exactly once")
	}
}

// GIT-98, GIT-99: nor is it repeated when somebody built on it before we looked.
func TestLostReplyAndNextWriter(t *testing.T) {
	g := NewWithT(t)
	e, o := writable(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	repo.Configure(func(o *gitserver.RepoOptions) {
		o.PostReceive = func(r *gitserver.Repo, u []gitserver.Update) {
			if u[0].User == "ann" {
				r.Commit("main", gitserver.Files{"theirs": "1"}, gitserver.CommitOptions{Message: "theirs"})
			}
		}
	})
	e.srv.SetFaults(fault.Plan{Match: fault.Match{Method: "POST", Route: "receive-pack"}, Drop: true, Times: 1})
	calls := 0
	res, err := client(t, repo.URL(), o).Update(t.Context(), "main", func(_ context.Context, r *git.Repository) (git.CommitOptions, error) {
		calls++
		return git.CommitOptions{Author: ann, Message: "ours"}, r.Root().WriteFile("n", []byte(fmt.Sprint(calls)), 0o644)
	}, git.UpdateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(calls).To(Equal(1))
	parents, err := repo.Parents(repo.Head("main"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(parents).To(HaveLen(1))
	g.Expect(string(parents[0])).To(Equal(res.Commit.Hash.String()))
}

// GIT-103: the module needs no C compiler.
func TestNoCgo(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}} {{len .CgoFiles}}{{end}}", ".", "./gogit", "./packstore", "./sign", "./driver").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if f := strings.Fields(line); len(f) == 2 && f[1] != "0" {
			t.Errorf("%s has C", f[0])
		}
	}
}
