// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package blobregistry_test

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/artifacttest"
	"github.com/gitops-kit/sdk/artifact/shared"
	"github.com/gitops-kit/sdk/controllers/internal/blobregistry"
	"github.com/gitops-kit/sdk/controllers/internal/netguard"
	"github.com/gitops-kit/sdk/controllers/internal/redact"
	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/ociserver"
)

const repo = "team/artifacts"

func ann(context.Context) (blobregistry.Credential, error) {
	return blobregistry.Credential{Username: "ann", Password: redact.NewSecret("canary-pw")}, nil
}

var users = map[string]string{"ann": "canary-pw"}

// open returns a registry over s that waits little.
func open(t testing.TB, s *ociserver.Server, o blobregistry.Options) *blobregistry.Registry {
	t.Helper()
	if strings.HasPrefix(s.URL(), "https:") {
		o.TLS = &tls.Config{RootCAs: s.Pool()} //nolint:gosec // the policy sets the floor
	} else {
		o.Insecure = true
	}
	o.Backoff = time.Millisecond
	o.HTTP.RetryAfter = 5 * time.Millisecond
	r, err := blobregistry.New("oci://"+s.Host()+"/"+repo, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func driver(t testing.TB, b shared.Blobs) *shared.Driver {
	t.Helper()
	d, err := shared.New(b, shared.Options{Cache: t.TempDir(), Fresh: -1})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func store(t testing.TB, b shared.Blobs, algorithm string) *artifact.Store {
	t.Helper()
	s, err := artifact.NewStore(driver(t, b), artifact.Options{BaseURL: "h", Algorithm: algorithm})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func key(file string) artifact.Key {
	return artifact.Key{Kind: "test", Namespace: "default", Name: "app", File: file}
}

func write(ctx context.Context, s *artifact.Store, file, text string) (*meta.Artifact, error) {
	return s.Write(ctx, key(file), "r", func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}, artifact.WriteOptions{})
}

func read(ctx context.Context, s *artifact.Store, a *meta.Artifact) (string, error) {
	r, err := s.Open(ctx, a)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

func sumOf(text string) string { return ociserver.Digest([]byte(text)) }

func pushed(t testing.TB, r *blobregistry.Registry, text string) string {
	t.Helper()
	if err := r.Push(t.Context(), sumOf(text), int64(len(text)), strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	return sumOf(text)
}

func document(last int, sums ...string) []byte {
	var entries []string
	for i, s := range sums {
		entries = append(entries, fmt.Sprintf(`{"file":"f%d","digest":%q,"size":3,"seq":%d,"written":"2026-01-01T00:00:00Z"}`, i, s, i+1))
	}
	return fmt.Appendf(nil, `{"last":%d,"entries":[%s]}`, last, strings.Join(entries, ","))
}

// shorten makes the suite store 150 files, not 1,000, but in long runs.
func shorten(t *testing.T) bool {
	t.Helper()
	if os.Getenv("GITOPS_KIT_LONG") == "1" {
		return false
	}
	short := flag.Lookup("test.short").Value
	before := short.String()
	g := NewWithT(t)
	g.Expect(short.Set("true")).To(Succeed())
	t.Cleanup(func() { _ = short.Set(before) })
	return true
}

// ART-31, ART-34, OCI-71, OCI-73: the suite of drivers over a registry with
// tokens that expire. With GITOPS_KIT_LONG=1 also over TLS, and over one that
// has next to no optional feature.
func TestConformance(t *testing.T) {
	registries := map[string]ociserver.Options{
		"Token": {PageSize: 2, Auth: ociserver.Auth{Mode: ociserver.AuthToken, Users: users, ExpireAfter: 50}},
	}
	if !shorten(t) {
		registries["TLS"] = ociserver.Options{TLS: true, HTTP2: true, Auth: ociserver.Auth{Mode: ociserver.AuthToken, Users: users}}
		registries["Bare"] = bare
	}
	for name, o := range registries {
		t.Run(name, func(t *testing.T) {
			artifacttest.Run(t, func(tb testing.TB) artifact.Driver {
				return driver(tb, open(tb, ociserver.Start(tb, o), blobregistry.Options{Credentials: ann}))
			})
		})
	}
}

// bare is a registry without optional features.
var bare = ociserver.Options{
	NoDelete: true, NoRange: true, NoETag: true, NoDigestHeader: true, PageSize: 2,
	Auth: ociserver.Auth{Mode: ociserver.AuthBasic, Users: users},
}

// ART-31: a registry without optional features gets through a file's life.
func TestBareRegistry(t *testing.T) {
	g := NewWithT(t)
	d := driver(t, open(t, ociserver.Start(t, bare), blobregistry.Options{Credentials: ann}))
	for i := range 3 {
		for _, f := range []string{"a", "b"} {
			_, err := d.Put(t.Context(), key(f), strings.NewReader(fmt.Sprint(f, i)))
			g.Expect(err).NotTo(HaveOccurred())
		}
		g.Expect(d.Link(t.Context(), key("a"), "latest")).To(Succeed())
		r, st, err := d.Get(t.Context(), key("latest"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.Close()).To(Succeed())
		g.Expect(st.Digest).To(Equal(sumOf(fmt.Sprint("a", i))))
		g.Expect(d.Delete(t.Context(), key("a"), key("b"))).To(Succeed())
		_, _, err = d.Get(t.Context(), key("a"))
		g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)
		g.Expect(d.Sweep(t.Context())).To(Succeed())
	}
}

// D13, ART-32, F56: two stores on one registry, the leader stops in the middle of a
// write, again and again; what was written is read by both, and no blob
// is sent twice.
func TestLeaderStops(t *testing.T) {
	g := NewWithT(t)
	writes := 60
	if os.Getenv("GITOPS_KIT_LONG") == "1" {
		writes = 500
	}
	s := ociserver.Start(t, ociserver.Options{})
	follower := store(t, open(t, s, blobregistry.Options{}), "")
	var all []*meta.Artifact
	written := make(chan *meta.Artifact, writes)
	content := func(i int) string { return fmt.Sprintf("content %d", i%(writes/2)) }
	file := func(i int) string { return fmt.Sprintf("f%d", i) }
	failed, retried := 0, 0
	done := make(chan struct{})
	go func() { // a client of the follower, all the time
		defer close(done)
		for n := range writes {
			var a *meta.Artifact
			select {
			case a = <-written:
			case <-t.Context().Done():
				return
			}
			got, err := read(context.Background(), follower, a)
			if err != nil {
				retried++
				got, err = read(context.Background(), follower, a)
			}
			if err != nil || got != content(n) {
				failed++
			}
		}
	}()
	leader := store(t, open(t, s, blobregistry.Options{}), "")
	for i := range writes {
		if i%20 == 10 { // stopped between blob and index, or in the index
			ctx, stop := context.WithCancel(t.Context())
			s.Configure(func(o *ociserver.Options) {
				o.OnManifest = func(*ociserver.Server, string, string) { stop() }
			})
			_, err := write(ctx, leader, file(i), content(i))
			g.Expect(errors.Is(err, context.Canceled)).To(BeTrue(), "%v", err)
			s.Configure(func(o *ociserver.Options) { o.OnManifest = nil })
			leader = store(t, open(t, s, blobregistry.Options{}), "") // the next one
		}
		a, err := write(t.Context(), leader, file(i), content(i))
		g.Expect(err).NotTo(HaveOccurred())
		all = append(all, a)
		written <- a
	}
	<-done
	g.Expect(failed).To(BeZero(), "reads after one retry; %d retried", retried)
	for i, a := range all {
		got, err := read(t.Context(), leader, a)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got).To(Equal(content(i)))
	}
	g.Expect(s.Count(ociserver.Match{Method: "PUT", Route: "upload"})).To(Equal(writes/2+1), "each blob once, and the config")
}

// ART-31: what a write, a hit and a miss cost.
func TestRequests(t *testing.T) {
	g := NewWithT(t)
	s := ociserver.Start(t, ociserver.Options{})
	leader := store(t, open(t, s, blobregistry.Options{}), "")
	_, err := write(t.Context(), leader, "first", "first")
	g.Expect(err).NotTo(HaveOccurred())
	count := func(method, route string) int { return s.Count(ociserver.Match{Method: method, Route: route}) }
	before := [...]int{count("POST", "upload"), count("PUT", "upload"), count("PUT", "manifest"), count("HEAD", "blob"), count("GET", "blob")}
	n := len(s.Log())
	a, err := write(t.Context(), leader, "second", "second")
	g.Expect(err).NotTo(HaveOccurred())
	var got []string
	for _, q := range s.Log()[n:] {
		got = append(got, q.Method+" "+q.Route)
	}
	g.Expect(got).To(Equal([]string{
		"GET manifest", // is it stored already?
		"HEAD blob", "POST upload", "PUT upload",
		"GET manifest", "GET manifest", "PUT manifest", "GET manifest", "DELETE manifest",
		"GET manifest", // the store notes its verdict
	}))
	after := [...]int{count("POST", "upload"), count("PUT", "upload"), count("PUT", "manifest"), count("HEAD", "blob"), count("GET", "blob")}
	for i := range before {
		after[i] -= before[i]
	}
	g.Expect(after).To(Equal([...]int{1, 1, 1, 1, 0}), "one blob and one index")

	d, err := shared.New(open(t, s, blobregistry.Options{}), shared.Options{Cache: t.TempDir(), Fresh: time.Hour, ReadOnly: true})
	g.Expect(err).NotTo(HaveOccurred())
	follower, err := artifact.NewStore(d, artifact.Options{BaseURL: "h"})
	g.Expect(err).NotTo(HaveOccurred())
	n = len(s.Log())
	g.Expect(read(t.Context(), follower, a)).To(Equal("second"))
	got = nil
	for _, q := range s.Log()[n:] {
		got = append(got, q.Method+" "+q.Route)
	}
	g.Expect(got).To(Equal([]string{"GET manifest", "GET blob"}), "a miss is one GET of the blob, beside that of the index")
	n = len(s.Log())
	g.Expect(read(t.Context(), follower, a)).To(Equal("second"))
	g.Expect(s.Log()[n:]).To(BeEmpty(), "a hit asks nobody")
	for _, name := range []string{"app", "nobody"} { // a document that is there, one that is not
		k := key("nothing")
		k.Name = name
		n = len(s.Log())
		_, err = store(t, open(t, s, blobregistry.Options{}), "").Lookup(t.Context(), k)
		g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)
		g.Expect(s.Log()[n:]).To(HaveLen(1), "a path that names nothing")
	}

	// Content that is there already, in the rhythm of production.
	d, err = shared.New(open(t, s, blobregistry.Options{}), shared.Options{Cache: t.TempDir(), Fresh: time.Hour})
	g.Expect(err).NotTo(HaveOccurred())
	leader, err = artifact.NewStore(d, artifact.Options{BaseURL: "h"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(read(t.Context(), leader, a)).To(Equal("second"))
	n = len(s.Log())
	_, err = write(t.Context(), leader, "second", "second")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Log()[n:]).To(HaveLen(1))
	g.Expect(s.Log()[n].Method).To(Equal("HEAD"), "is it kept?")
}

// ART-16, ART-32: a blob that a registry lost comes back with the next write of
// the same content, and with the layer that keeps it, which a write of
// something else had to leave out.
func TestLostBlob(t *testing.T) {
	for _, algorithm := range []string{"sha256", "sha512"} {
		g := NewWithT(t)
		s := ociserver.Start(t, ociserver.Options{})
		other := open(t, s, blobregistry.Options{})
		leader := store(t, open(t, s, blobregistry.Options{}), algorithm)
		a, err := write(t.Context(), leader, "f", "content")
		g.Expect(err).NotTo(HaveOccurred())
		lost := sumOf("content")
		g.Expect(other.Delete(t.Context(), lost)).To(Succeed())
		_, err = write(t.Context(), leader, "g", "something else")
		g.Expect(err).NotTo(HaveOccurred())
		layers := func() string { _, m := s.Manifest(repo, blobregistry.Tag("test.default.app")); return string(m) }
		g.Expect(layers()).NotTo(ContainSubstring(`"digest":"`+lost+`"`), "left out")
		_, err = read(t.Context(), store(t, open(t, s, blobregistry.Options{}), algorithm), a)
		g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)
		_, err = write(t.Context(), leader, "f", "content")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(read(t.Context(), store(t, open(t, s, blobregistry.Options{}), algorithm), a)).To(Equal("content"))
		g.Expect(layers()).To(ContainSubstring(`"digest":"` + lost + `"`))
	}
}

// ART-12, ART-31: registries know blobs by sha256; other digests are found by
// the index, by processes that never saw the content, too.
func TestOtherDigests(t *testing.T) {
	for _, algorithm := range []string{"sha384", "sha512", "blake3"} {
		g := NewWithT(t)
		s := ociserver.Start(t, ociserver.Options{})
		a, err := write(t.Context(), store(t, open(t, s, blobregistry.Options{}), algorithm), "f", "content")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(a.Digest).To(HavePrefix(algorithm + ":"))
		other := store(t, open(t, s, blobregistry.Options{}), algorithm)
		g.Expect(read(t.Context(), other, a)).To(Equal("content"))
		next := store(t, open(t, s, blobregistry.Options{}), algorithm)
		_, err = write(t.Context(), next, "g", "content")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(s.Count(ociserver.Match{Method: "PUT", Route: "upload"})).To(Equal(2), "content and config, each once")
	}
}

// ART-31, ART-33: of two writers the one that lost sees it; nothing of the
// other is touched.
func TestConflicts(t *testing.T) {
	g := NewWithT(t)
	s := ociserver.Start(t, ociserver.Options{})
	a, b := open(t, s, blobregistry.Options{}), open(t, s, blobregistry.Options{})
	sum := pushed(t, a, "one")
	g.Expect(a.PutIndex(t.Context(), "x", "", document(1, sum))).To(Succeed())
	_, v1, err := a.GetIndex(t.Context(), "x")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(errors.Is(b.PutIndex(t.Context(), "x", "", document(9)), shared.ErrConflict)).To(BeTrue(), "there is one already")
	g.Expect(b.PutIndex(t.Context(), "x", v1, document(2, sum))).To(Succeed())
	for _, body := range [][]byte{document(3, sum), nil} {
		err := a.PutIndex(t.Context(), "x", v1, body)
		g.Expect(errors.Is(err, shared.ErrConflict)).To(BeTrue(), "%v", err)
	}
	_, v2, err := b.GetIndex(t.Context(), "x")
	g.Expect(err).NotTo(HaveOccurred())

	// Between put and read-back another one writes.
	gets := 0
	s.Configure(func(o *ociserver.Options) {
		o.OnManifest = func(s *ociserver.Server, repo, tag string) {
			if gets++; gets == 2 {
				kind, m := s.Manifest(repo, tag)
				s.SetRawManifest(repo, tag, kind, []byte(strings.Replace(string(m), `"last\":3`, `"last\":4`, 1)))
			}
		}
	})
	err = a.PutIndex(t.Context(), "x", v2, document(3, sum))
	g.Expect(errors.Is(err, shared.ErrConflict)).To(BeTrue(), "%v", err)
	s.Configure(func(o *ociserver.Options) { o.OnManifest = nil })
	body, v4, err := a.GetIndex(t.Context(), "x")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(body).To(Equal(document(4, sum)))

	// A put whose answer is lost happened once.
	s.SetFaults(fault.Plan{Match: fault.Match{Method: "PUT", Route: "manifest"}, Nth: 1, Drop: true})
	g.Expect(a.PutIndex(t.Context(), "x", v4, document(5, sum))).To(Succeed())
	body, _, err = b.GetIndex(t.Context(), "x")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(body).To(Equal(document(5, sum)))
}

// ART-31: registries that delete nothing, blobs that a registry lost, and the
// layers by which it keeps the others.
func TestDeletions(t *testing.T) {
	for _, refuses := range []bool{false, true} {
		g := NewWithT(t)
		s := ociserver.Start(t, ociserver.Options{NoDelete: refuses})
		r := open(t, s, blobregistry.Options{})
		one, two := pushed(t, r, "one"), pushed(t, r, "two")
		g.Expect(r.PutIndex(t.Context(), "x", "", document(2, one, two))).To(Succeed())
		_, v, err := r.GetIndex(t.Context(), "x")
		g.Expect(err).NotTo(HaveOccurred())
		body := fmt.Appendf(nil, `{"last":2,"entries":[{"file":"f0","digest":%q,"size":3,"seq":1,"written":"2026-01-01T00:00:00Z"}],"garbage":[{"digest":%q}]}`, one, two)
		g.Expect(r.PutIndex(t.Context(), "x", v, body)).To(Succeed())
		_, m := s.Manifest(repo, blobregistry.Tag("x"))
		g.Expect(string(m)).To(And(ContainSubstring(`"digest":"`+one), ContainSubstring(`"digest":"`+two)), "garbage stays a layer until its time")
		g.Expect(r.ListIndex(t.Context())).To(Equal([]string{"x"}))
		g.Expect(open(t, s, blobregistry.Options{}).ListIndex(t.Context())).To(Equal([]string{"x"}))

		_, v, err = r.GetIndex(t.Context(), "x")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.PutIndex(t.Context(), "x", v, nil)).To(Succeed())
		_, _, err = r.GetIndex(t.Context(), "x")
		g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)
		g.Expect(r.ListIndex(t.Context())).To(BeEmpty())
		g.Expect(open(t, s, blobregistry.Options{}).ListIndex(t.Context())).To(BeEmpty())
		g.Expect(r.Delete(t.Context(), two)).To(Succeed())
		g.Expect(r.Has(t.Context(), two)).To(Equal(refuses))
		g.Expect(r.PutIndex(t.Context(), "x", "", document(3, one))).To(Succeed(), "and it is written again")
		g.Expect(r.Has(t.Context(), one)).To(BeTrue())

		if refuses {
			continue
		}
		g.Expect(r.Delete(t.Context(), one)).To(Succeed())
		three := pushed(t, r, "333")
		_, v, err = r.GetIndex(t.Context(), "x")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.PutIndex(t.Context(), "x", v, document(4, one, three))).To(Succeed(), "one lost blob does not stop the others")
		_, v, err = r.GetIndex(t.Context(), "x")
		g.Expect(err).NotTo(HaveOccurred())
		err = r.PutIndex(t.Context(), "x", v, document(5, three, sumOf("new and nowhere")))
		g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)
		body, now, err := r.GetIndex(t.Context(), "x")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(now).To(Equal(v))
		g.Expect(body).To(Equal(document(4, one, three)))
	}
}

// OCI-75, NET-9, N31: what a bad connection or a busy registry does is tried
// again, so often and not more.
func TestAttempts(t *testing.T) {
	g := NewWithT(t)
	s := ociserver.Start(t, ociserver.Options{})
	r := open(t, s, blobregistry.Options{})
	text := strings.Repeat("0123456789", 50_000)
	for _, p := range []fault.Plan{
		{Times: 2, Status: 429, RetryAfter: time.Second}, {Times: 2, Status: 500}, {Times: 2, Drop: true}, {Times: 1, RST: true},
	} {
		s.SetFaults(p)
		sum := pushed(t, r, text+p.String())
		s.SetFaults(p)
		g.Expect(r.Has(t.Context(), sum)).To(BeTrue(), p.String())
		g.Expect(r.ListIndex(t.Context())).To(BeEmpty(), p.String())
	}
	for _, noRange := range []bool{false, true} {
		s.Configure(func(o *ociserver.Options) { o.NoRange = noRange })
		for _, cut := range []int64{1, 70_000, 499_999} {
			s.SetFaults(fault.Plan{Match: fault.Match{Method: "GET", Route: "blob"}, Nth: 1, CutAfter: cut})
			b, size, err := r.Pull(t.Context(), pushed(t, r, text))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(size).To(Equal(int64(len(text))))
			got, err := io.ReadAll(b)
			g.Expect(err).NotTo(HaveOccurred(), "cut after %d", cut)
			g.Expect(string(got) == text).To(BeTrue())
			g.Expect(b.Close()).To(Succeed())
		}
	}
	sum := sumOf(text)
	s.SetFaults(fault.Plan{Match: fault.Match{Method: "GET", Route: "blob"}, CutAfter: 10})
	n := s.Count(ociserver.Match{Method: "GET", Route: "blob"})
	b, _, err := r.Pull(t.Context(), sum)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = io.ReadAll(b)
	g.Expect(errors.Is(err, io.ErrUnexpectedEOF)).To(BeTrue(), "%v", err)
	g.Expect(b.Close()).To(Succeed())
	g.Expect(s.Count(ociserver.Match{Method: "GET", Route: "blob"}) - n).To(Equal(5))
	s.SetFaults(fault.Plan{Status: 503})
	var e *blobregistry.Error
	_, err = r.Has(t.Context(), sum)
	g.Expect(errors.As(err, &e)).To(BeTrue(), "%v", err)
	g.Expect(e.Status).To(Equal(503))
	g.Expect(e.Attempts).To(Equal(5))
	g.Expect(e.Reason()).To(Equal("StorageError"))
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, _, err = r.GetIndex(ctx, "x")
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue(), "%v", err)
}

// ART-32, N32, T32: content that is not what its digest says is never stored.
func TestWrongBytes(t *testing.T) {
	g := NewWithT(t)
	s := ociserver.Start(t, ociserver.Options{})
	a, err := write(t.Context(), store(t, open(t, s, blobregistry.Options{}), ""), "f", "content")
	g.Expect(err).NotTo(HaveOccurred())
	for name, p := range map[string]fault.Plan{
		"flipped": {FlipAt: 3}, "longer": {Extra: 5}, "encoded": {Encoding: "gzip"}, "claimed": {Encoding: "br"},
	} {
		p.Match = fault.Match{Method: "GET", Route: "blob"}
		s.SetFaults(p)
		other := store(t, open(t, s, blobregistry.Options{}), "")
		_, err := read(t.Context(), other, a)
		g.Expect(errors.Is(err, artifact.ErrCorrupt)).To(BeTrue(), "%s: %v", name, err)
		s.SetFaults()
		g.Expect(read(t.Context(), other, a)).To(Equal("content"), name)
	}
	s.SetFaults(fault.Plan{Match: fault.Match{Route: "manifest"}, WrongDigest: true})
	g.Expect(read(t.Context(), store(t, open(t, s, blobregistry.Options{}), ""), a)).To(Equal("content"), "a header is a hint")
}

// NET-8, R5, N33, N36: everything a registry sends has an end.
func TestLimits(t *testing.T) {
	g := NewWithT(t)
	s := ociserver.Start(t, ociserver.Options{PageSize: 2})
	limited := func(err error, name string) {
		t.Helper()
		var le *artifact.LimitError
		g.Expect(errors.As(err, &le)).To(BeTrue(), "%v", err)
		g.Expect(le.Name).To(Equal(name))
	}
	r := open(t, s, blobregistry.Options{Limits: blobregistry.Limits{Blob: 10, Manifest: 2000, Tags: 5, Pages: 4}})
	n := len(s.Log())
	limited(r.Push(t.Context(), sumOf("x"), 11, strings.NewReader("x")), "artifact")
	limited(r.PutIndex(t.Context(), "x", "", []byte(strings.Repeat(" ", 64<<10+1))), "artifact-index")
	g.Expect(s.Log()[n:]).To(BeEmpty(), "refused before any request")
	s.PushBlob(repo, "", []byte("eleven bytes"))
	_, _, err := r.Pull(t.Context(), sumOf("eleven bytes"))
	limited(err, "artifact")
	s.SetRawManifest(repo, blobregistry.Tag("big"), ociserver.MediaTypeManifest, []byte(`{"x":"`+strings.Repeat("x", 2000)+`"}`))
	_, _, err = r.GetIndex(t.Context(), "big")
	limited(err, "oci-manifest")
	for i := range 10 {
		s.Tag(repo, fmt.Sprint("v", i), "sha256:x")
	}
	_, err = r.ListIndex(t.Context())
	limited(err, "oci-tags")
	_, err = open(t, s, blobregistry.Options{Limits: blobregistry.Limits{Pages: 3}}).ListIndex(t.Context())
	limited(err, "oci-pages")
	r = open(t, s, blobregistry.Options{})
	s.Untag(repo, blobregistry.Tag("big"))
	g.Expect(r.ListIndex(t.Context())).To(BeEmpty(), "tags of others")
	for to, want := range map[string]error{
		"http://127.0.0.1:1/v2/x/tags/list": blobregistry.ErrCrossOrigin, "/v2/" + repo + "/tags/list?n=1000": blobregistry.ErrPageLoop,
	} {
		s.Configure(func(o *ociserver.Options) { o.Link = func(string) string { return to } })
		_, err = r.ListIndex(t.Context())
		g.Expect(errors.Is(err, want)).To(BeTrue(), "%v", err)
	}
}

// OCI-71, OCI-72, NET-2, NET-3, NET-4, NET-5, N21, N22: credentials go to the registry and nowhere else.
func TestCredentials(t *testing.T) {
	g := NewWithT(t)
	other := ociserver.Start(t, ociserver.Options{TLS: true})
	s := ociserver.Start(t, ociserver.Options{TLS: true, Auth: ociserver.Auth{Mode: ociserver.AuthToken, Users: users}})
	o := blobregistry.Options{Credentials: ann}
	r := open(t, s, o)
	sum := pushed(t, r, "one")
	g.Expect(r.PutIndex(t.Context(), "x", "", document(1, sum))).To(Succeed())
	for _, q := range s.Log() {
		if q.Route == "token" {
			g.Expect(q.Query.Get("scope")).To(BeElementOf("repository:"+repo+":pull", "repository:"+repo+":pull,push", "repository:"+repo+":delete"))
		}
	}
	g.Expect(s.Count(ociserver.Match{Route: "token"})).To(Equal(2), "one for each scope")

	s.SetRealm(other.URL() + "/token")
	s.SetAuth(ociserver.Auth{Mode: ociserver.AuthToken, Users: users, Realm: other.URL() + "/token"})
	_, err := open(t, s, o).Has(t.Context(), sum)
	g.Expect(errors.Is(err, blobregistry.ErrRealmBlocked)).To(BeTrue(), "%v", err)
	_, err = open(t, s, blobregistry.Options{}).Has(t.Context(), sum)
	g.Expect(errors.Is(err, netguard.ErrAddressBlocked)).To(BeTrue(), "%v", err)
	s.SetAuth(ociserver.Auth{Mode: ociserver.AuthBasic, Users: users})
	r = open(t, s, o)
	s.Configure(func(o *ociserver.Options) {
		o.BlobRedirect = func(_, sum string) string { return other.URL() + "/v2/" + repo + "/blobs/" + sum }
	})
	_, _, err = r.Pull(t.Context(), sum)
	g.Expect(errors.Is(err, netguard.ErrAddressBlocked)).To(BeTrue(), "%v", err)
	s.Configure(func(o *ociserver.Options) { o.UploadLocation = func(p string) string { return other.URL() + p } })
	err = r.Push(t.Context(), sumOf("two"), 3, strings.NewReader("two"))
	g.Expect(errors.Is(err, netguard.ErrAddressBlocked)).To(BeTrue(), "%v", err)
	s.Configure(func(o *ociserver.Options) { o.UploadLocation = nil; o.BlobRedirect = nil })
	s.SetFaults(fault.Plan{Redirect: "http://127.0.0.1:1/{path}"})
	_, _, err = r.Pull(t.Context(), sum)
	g.Expect(errors.Is(err, netguard.ErrRedirectBlocked)).To(BeTrue(), "%v", err)
	s.SetFaults()
	g.Expect(other.Log()).To(BeEmpty(), "nobody else was asked")

	wrong := func(context.Context) (blobregistry.Credential, error) {
		return blobregistry.Credential{Username: "ann", Password: redact.NewSecret("canary-wrong")}, nil
	}
	for _, mode := range []ociserver.AuthMode{ociserver.AuthBasic, ociserver.AuthToken} {
		s.SetAuth(ociserver.Auth{Mode: mode, Users: users})
		_, err = open(t, s, blobregistry.Options{Credentials: wrong}).Has(t.Context(), sum)
		g.Expect(errors.Is(err, blobregistry.ErrUnauthorized)).To(BeTrue(), "%v", err)
		g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
	}
	plain := ociserver.Start(t, ociserver.Options{})
	_, err = open(t, plain, blobregistry.Options{Credentials: ann, Net: netguard.Policy{HTTPCredentials: netguard.Never}}).Has(t.Context(), sum)
	g.Expect(errors.Is(err, netguard.ErrInsecureCredentials)).To(BeTrue(), "%v", err)
	g.Expect(plain.Log()).To(BeEmpty(), "refused before dialling")
	secure, err := blobregistry.New("oci://"+plain.Host()+"/"+repo, blobregistry.Options{Backoff: time.Millisecond})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = secure.Has(t.Context(), sum)
	g.Expect(err).To(HaveOccurred(), "no host is plain HTTP by its name")
	g.Expect(plain.Log()).To(BeEmpty())
}

// ART-31, R7: a tag that holds something else is neither read nor replaced.
func TestForeignTags(t *testing.T) {
	g := NewWithT(t)
	s := ociserver.Start(t, ociserver.Options{})
	r := open(t, s, blobregistry.Options{})
	d := s.Push(repo, blobregistry.Tag("x"), ociserver.Artifact{})
	_, _, err := r.GetIndex(t.Context(), "x")
	g.Expect(errors.Is(err, artifact.ErrCorrupt)).To(BeTrue(), "%v", err)
	g.Expect(errors.Is(r.PutIndex(t.Context(), "x", "", document(1)), artifact.ErrCorrupt)).To(BeTrue())
	g.Expect(s.Tags(repo)).To(HaveKeyWithValue(blobregistry.Tag("x"), d.Digest))
	s.SetRawManifest(repo, blobregistry.Tag("y"), ociserver.MediaTypeManifest,
		[]byte(`{"mediaType":"`+ociserver.MediaTypeManifest+`","artifactType":"`+blobregistry.IndexType+`","annotations":{"vnd.gitops-kit.artifact.directory":"z"}}`))
	_, err = r.ListIndex(t.Context())
	g.Expect(errors.Is(err, artifact.ErrCorrupt)).To(BeTrue(), "who does not know all indexes deletes nothing: %v", err)
}
