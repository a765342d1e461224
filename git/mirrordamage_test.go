// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"bytes"
	"crypto/ed25519"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// damage replaces the only pack of a mirror without a new file, as a bad disk does.
type damage struct {
	t   testing.TB
	dir string
}

func (d *damage) pack() string {
	d.t.Helper()
	packs, err := filepath.Glob(filepath.Join(d.dir, "*", "objects", "pack", "*.pack"))
	if err != nil || len(packs) != 1 {
		d.t.Fatalf("packs %v: %v", packs, err)
	}
	return packs[0]
}

func (d *damage) read() []byte {
	d.t.Helper()
	b, err := os.ReadFile(d.pack())
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

func (d *damage) write(b []byte) {
	d.t.Helper()
	name := d.pack()
	if err := os.Chmod(name, 0o600); err != nil {
		d.t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	_, err = f.Write(b)
	if err != nil || f.Close() != nil {
		d.t.Fatal(err)
	}
}

func mirrored(t testing.TB, e *env, url string) (*git.Client, *damage) {
	t.Helper()
	m, dir := newMirror(t, git.MirrorOptions{})
	o := e.options(t, false)
	o.Mirror = m
	return client(t, url, o), &damage{t: t, dir: dir}
}

func checkoutMain(t testing.TB, c *git.Client) (map[string]string, *git.Checkout, error) {
	t.Helper()
	r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	if err != nil {
		return nil, nil, err
	}
	dir := filepath.Join(t.TempDir(), "out")
	out, err := c.Checkout(t.Context(), r, dir, git.CheckoutOptions{})
	if err != nil {
		return nil, out, err
	}
	return tree(t, dir), out, nil
}

// GIT-81, I16: whichever bit of a pack flips, types and sizes included, every
// checkout brings what the server has.
func TestMirrorAnyBit(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1", "d/c": strings.Repeat("3", 100)}, gitserver.CommitOptions{
		Nodes: map[string]gitserver.Node{"l": {Mode: "120000", Content: "a"}},
	})
	repo.AnnotatedTag("v1", "main", gitserver.TagOptions{})
	c, d := mirrored(t, e, repo.URL())
	check := func(ref git.Reference, what string) {
		t.Helper()
		for n := range 2 {
			r, err := c.Resolve(t.Context(), ref, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			dir := filepath.Join(t.TempDir(), "out")
			_, err = c.Checkout(t.Context(), r, dir, git.CheckoutOptions{})
			g.Expect(err).NotTo(HaveOccurred(), "%s, checkout %d", what, n)
			got := tree(t, dir)
			g.Expect(got["a"]).To(HaveSuffix(" 1"))
			g.Expect(got["d/c"]).To(HaveSuffix(" " + strings.Repeat("3", 100)))
			g.Expect(got["l"]).To(Equal("-> a"))
		}
	}
	check(git.Reference{Tag: "v1"}, "whole")
	good := d.read()
	var bits []int
	for line := range strings.Lines(run(t, d.dir, "verify-pack", "-v", d.pack())) {
		if f := strings.Fields(line); len(f) == 5 && len(f[0]) == 40 { // types and sizes
			at, err := strconv.Atoi(f[4])
			g.Expect(err).NotTo(HaveOccurred())
			for i := range 16 {
				bits = append(bits, at*8+i)
			}
		}
	}
	g.Expect(bits).To(HaveLen(7 * 16))
	step := 61 // all eight bits of a byte come in turn
	if os.Getenv("GITOPS_KIT_LONG") == "1" {
		step = 1
	}
	for bit := 12 * 8; bit < (len(good)-20)*8; bit += step {
		bits = append(bits, bit)
	}
	for _, bit := range bits {
		if packs, _ := filepath.Glob(filepath.Join(d.dir, "*", "objects", "pack", "*.pack")); len(packs) == 0 {
			check(git.Reference{Tag: "v1"}, "fetched anew")
		}
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		d.write(bad)
		check(git.Reference{Tag: "v1"}, fmt.Sprintf("bit %d of byte %d", bit%8, bit/8))
	}
}

// GIT-80, GIT-81, I16: a base that is damaged when a later commit is fetched
// as a difference to it, and files that are gone, cost the mirror only.
func TestMirrorDamagedBase(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{Backend: gitserver.Exec}) // sends thin packs
	repo := e.srv.Repo("app")
	text := content(rand.New(rand.NewPCG(1, 2)))
	repo.Commit("main", gitserver.Files{"a": text}, gitserver.CommitOptions{})
	c, d := mirrored(t, e, repo.URL())
	ok := func(want string, misses int) {
		t.Helper()
		got, out, err := checkoutMain(t, c)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got["a"]).To(HaveSuffix(" " + want))
		g.Expect(hasNote(out.Notes, git.MirrorMiss)).To(Equal(misses))
	}
	ok(text, 0)
	bad := d.read()
	for i := len(bad) - 200; i < len(bad)-40; i++ { // in the blob, which is the last object
		bad[i] ^= 0xff
	}
	d.write(bad)
	repo.Commit("main", gitserver.Files{"a": text + "more"}, gitserver.CommitOptions{})
	ok(text+"more", 1)
	ok(text+"more", 0)
	for _, gone := range []string{"pack", "all"} {
		dirs, err := filepath.Glob(filepath.Join(d.dir, "*", "objects"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(dirs).To(HaveLen(1))
		if gone == "all" {
			dirs[0] = filepath.Dir(dirs[0])
		}
		g.Expect(os.RemoveAll(dirs[0])).To(Succeed())
		repo.Commit("main", gitserver.Files{"a": text + gone}, gitserver.CommitOptions{})
		ok(text+gone, 1)
		ok(text+gone, 0)
	}
}

// GIT-81, I16: a repository that was found damaged while somebody reads it
// leaves nothing to its successor, whoever goes first.
func TestMirrorDroppedInUse(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1", "b": strings.Repeat("content ", 4000)}, gitserver.CommitOptions{})
	c, d := mirrored(t, e, repo.URL())
	_, _, err := checkoutMain(t, c)
	g.Expect(err).NotTo(HaveOccurred())
	good := d.read()
	bad := bytes.Clone(good)
	for i := 12; i < len(bad)-20; i++ {
		bad[i] ^= 0xff
	}
	r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	inside, leave, left := make(chan bool), make(chan bool), make(chan error, 1)
	go func() {
		_, err := c.Export(t.Context(), r, func(fs.FS) (git.Sink, error) {
			inside <- true
			<-leave
			return func(string, fs.FileMode, int64, io.Reader) error { return nil }, nil
		}, git.CheckoutOptions{})
		left <- err
	}()
	<-inside
	d.write(bad)
	_, out, err := checkoutMain(t, c)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(hasNote(out.Notes, git.MirrorMiss)).To(Equal(1))
	d.write(good) // nobody else may take it for good
	_, _, err = checkoutMain(t, c)
	g.Expect(err).NotTo(HaveOccurred())
	leave <- true
	t.Log(<-left) // well or not: what it had read before decides
	g.Expect(leftovers(t, d.dir)).To(ConsistOf("lock"), "gone with its last user")
	for i := range 3 {
		repo.Commit("main", gitserver.Files{"a": fmt.Sprint("new", i)}, gitserver.CommitOptions{})
		got, out, err := checkoutMain(t, c)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got["a"]).To(HaveSuffix(fmt.Sprint("new", i)))
		g.Expect(hasNote(out.Notes, git.MirrorMiss)).To(BeZero())
	}
	before := repo.Stats().Packs
	_, _, err = checkoutMain(t, c)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(repo.Stats().Packs).To(Equal(before), "the mirror is in use again")
}

// GIT-50, GIT-81: damage is found before the sink is opened, in the objects
// of submodules too.
func TestExportFromDamagedMirror(t *testing.T) {
	e := start(t, gitserver.Options{})
	lib := e.srv.Repo("lib")
	noise := content(rand.New(rand.NewPCG(3, 4)))
	id := lib.Commit("main", gitserver.Files{"x": noise}, gitserver.CommitOptions{})
	app := e.srv.Repo("app")
	app.Commit("main", gitserver.Files{"a": "1", "b": noise[1:], "c": "3"}, gitserver.CommitOptions{})
	app.Submodule("main", "sub", "../lib", id, gitserver.CommitOptions{})
	for n := range 2 { // one mirror each: of the parent, and of the submodule
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			g := NewWithT(t)
			c, d := mirrored(t, e, app.URL())
			opened := 0
			export := func() []string {
				r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				var got []string
				_, err = c.Export(t.Context(), r, func(fs.FS) (git.Sink, error) {
					opened++
					return func(p string, _ fs.FileMode, size int64, r io.Reader) error {
						n, err := io.Copy(io.Discard, r)
						g.Expect(n).To(Equal(size))
						got = append(got, p)
						return err
					}, nil
				}, git.CheckoutOptions{Submodules: true})
				g.Expect(err).NotTo(HaveOccurred())
				return got
			}
			want := []string{".gitmodules", "a", "b", "c", "sub", "sub/x"}
			g.Expect(export()).To(Equal(want))
			packs, err := filepath.Glob(filepath.Join(d.dir, "*", "objects", "pack", "*.pack"))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(packs).To(HaveLen(2))
			g.Expect(os.Chmod(packs[n], 0o600)).To(Succeed())
			f, err := os.OpenFile(packs[n], os.O_RDWR, 0)
			g.Expect(err).NotTo(HaveOccurred())
			info, err := f.Stat()
			g.Expect(err).NotTo(HaveOccurred())
			_, err = f.WriteAt(bytes.Repeat([]byte{0xa5}, 200), info.Size()/2)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(f.Close()).To(Succeed())
			opened = 0
			g.Expect(export()).To(Equal(want))
			g.Expect(opened).To(Equal(1))
		})
	}
}

// GIT-26, GIT-76: where the server does not admit a stored commit by its id, or
// fails at it, the search goes on as without a mirror.
func TestMirrorRefused(t *testing.T) {
	for _, how := range []string{"v0", "500", "500 unknown"} {
		t.Run(how, func(t *testing.T) {
			g := NewWithT(t)
			e := start(t, gitserver.Options{V0Only: how == "v0"})
			repo := e.srv.Repo("app")
			first := repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
			m, _ := newMirror(t, git.MirrorOptions{})
			o := e.options(t, false)
			o.Mirror, o.HTTP.Attempts = m, 1
			c := client(t, repo.URL(), o)
			if how != "500 unknown" {
				_, _, err := checkoutMain(t, c)
				g.Expect(err).NotTo(HaveOccurred())
			}
			repo.Commit("main", gitserver.Files{"a": "2"}, gitserver.CommitOptions{})
			if how != "v0" {
				repo.Configure(func(o *gitserver.RepoOptions) {
					o.Intercept = func(w http.ResponseWriter, r *http.Request) bool {
						if r.Method != http.MethodPost || !strings.Contains(requestBody(r), "want "+string(first)) {
							return false
						}
						w.WriteHeader(http.StatusInternalServerError)
						return true
					}
				})
			}
			r, err := c.Resolve(t.Context(), git.Reference{Commit: string(first)}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			dir := filepath.Join(t.TempDir(), "out")
			out, err := c.Checkout(t.Context(), r, dir, git.CheckoutOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(hasNote(out.Notes, git.ExactFetchRefused)).To(Equal(1))
			g.Expect(tree(t, dir)["a"]).To(HaveSuffix(" 1"))
		})
	}
}

// GIT-75: a principal that only a callback knows has no mirror, unless it is
// named; roots of the same name are not the same roots.
func TestMirrorTLSPrincipals(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{TLS: true})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	m, dir := newMirror(t, git.MirrorOptions{})
	keys := func() int { return len(leftovers(t, dir)) - 1 }
	checkout := func(identity string, change func(*tls.Config)) {
		t.Helper()
		o := e.options(t, false)
		o.Mirror = m
		if change != nil {
			change(o.TLS)
		}
		if identity != "" {
			o.Credentials = git.Static(git.Credential{Identity: identity})
		}
		_, _, err := checkoutMain(t, client(t, repo.URL(), o))
		g.Expect(err).NotTo(HaveOccurred())
	}
	callback := func(c *tls.Config) {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	}
	checkout("", callback)
	g.Expect(keys()).To(BeZero())
	checkout("ann", callback)
	checkout("ann", callback)
	g.Expect(keys()).To(Equal(1))
	checkout("bob", callback)
	g.Expect(keys()).To(Equal(2))
	checkout("", nil)
	checkout("", nil)
	g.Expect(keys()).To(Equal(3))
	with := func(extra *x509.Certificate) func(*tls.Config) {
		return func(c *tls.Config) {
			c.RootCAs = x509.NewCertPool()
			c.RootCAs.AppendCertsFromPEM(e.srv.CA())
			c.RootCAs.AddCert(extra)
		}
	}
	twin := twinOf(t, e.srv.CA())
	checkout("", with(twin))
	checkout("", with(twin))
	g.Expect(keys()).To(Equal(4))
	checkout("", with(twinOf(t, e.srv.CA())))
	g.Expect(keys()).To(Equal(5), "the same subjects, another certificate")
}

// twinOf makes another certificate with the subject of a CA.
func twinOf(t testing.TB, ca []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(ca)
	old, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := ed25519.GenerateKey(crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), RawSubject: old.RawSubject, NotBefore: old.NotBefore, NotAfter: old.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(crand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
