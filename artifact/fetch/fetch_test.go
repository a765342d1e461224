// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact/fetch"
	"github.com/gitops-kit/sdk/untar/digest"
	"github.com/gitops-kit/sdk/untar/tarball"
)

// archive is a small tree with n files of random content.
func archive(t testing.TB, n int, seed uint64) ([]byte, string) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, seed))
	var b bytes.Buffer
	w := tarball.NewWriter(&b, tarball.Options{})
	for i := range n {
		content := make([]byte, 500+r.IntN(2000))
		for k := range content {
			content[k] = byte(r.Uint32())
		}
		if err := w.Add(fmt.Sprintf("f%05d", i), 0o644, int64(len(content)), bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	res, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), res.Digests["sha256"]
}

// origin serves with faults and keeps a log.
type origin struct {
	*httptest.Server
	mu  sync.Mutex
	log []string
	do  func(n int, w http.ResponseWriter, r *http.Request)
}

func serve(t testing.TB, do func(n int, w http.ResponseWriter, r *http.Request)) *origin {
	t.Helper()
	o := &origin{do: do}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.log = append(o.log, r.Header.Get("Range"))
		n := len(o.log)
		o.mu.Unlock()
		o.do(n, w, r)
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *origin) requests() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]string(nil), o.log...)
}

// content serves data as the artifact server does.
func content(data []byte, sum string) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"`+sum+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}
}

func fetcher(t testing.TB, o fetch.Options) *fetch.Fetcher {
	t.Helper()
	if o.RetryDelay == 0 {
		o.RetryDelay = time.Millisecond
	}
	f, err := fetch.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// nothing asserts that a failed call left nothing.
func nothing(t testing.TB, parent string) {
	t.Helper()
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 0 {
		t.Fatalf("left %v, %v", entries, err)
	}
}

// ART-50, ART-51, ART-56
func TestDir(t *testing.T) {
	g := NewWithT(t)
	data, sum := archive(t, 20, 1)
	o := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		g.Expect(r.Header.Get("Accept-Encoding")).To(Equal("identity"))
		content(data, sum)(n, w, r)
	})
	f := fetcher(t, fetch.Options{})
	for _, alg := range digest.Algorithms() {
		d, err := digest.FromBytes(alg, data)
		g.Expect(err).NotTo(HaveOccurred())
		dst := filepath.Join(t.TempDir(), "dst")
		res, err := f.Dir(t.Context(), fetch.Ref{URL: o.URL, Digest: d.String(), Size: int64(len(data))}, dst)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Report.Files).To(Equal(20))
		g.Expect(res.Digest).To(Equal(d.String()))
		g.Expect(res.Bytes).To(Equal(int64(len(data))))
		g.Expect(res.Attempts).To(Equal(1))
	}
	before := len(o.requests())
	for _, bad := range []fetch.Ref{
		{URL: o.URL}, {URL: o.URL, Digest: "md5:00"}, {URL: o.URL, Digest: "sha256:../x"}, {URL: "file:///etc/passwd", Digest: sum}, {URL: "/x", Digest: sum}, {URL: "http://u:p@h/", Digest: sum}, {URL: o.URL, Digest: sum, Size: -1},
	} {
		parent := t.TempDir()
		res, err := f.Dir(t.Context(), bad, filepath.Join(parent, "dst"))
		g.Expect(err).To(HaveOccurred())
		g.Expect(res.Attempts).To(BeZero())
		var fe *fetch.Error
		g.Expect(errors.As(err, &fe)).To(BeTrue())
		g.Expect(err.Error()).NotTo(ContainSubstring("u:p"))
		nothing(t, parent)
	}
	g.Expect(o.requests()).To(HaveLen(before), "refused before any request")
}

// ART-53, ART-54, F21: cut anywhere, the download goes on where it was cut.
func TestResume(t *testing.T) {
	data, sum := archive(t, 60, 2)
	r := rand.New(rand.NewPCG(9, 9))
	for i := range 64 {
		g := NewWithT(t)
		cut := 1 + r.IntN(len(data)-1)
		withTag := i%4 != 0
		o := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if n > 1 {
				content(data, sum)(n, w, r)
				return
			}
			if withTag {
				w.Header().Set("ETag", `"`+sum+`"`)
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:cut])
		})
		dst := filepath.Join(t.TempDir(), "dst")
		res, err := fetcher(t, fetch.Options{}).Dir(t.Context(), fetch.Ref{URL: o.URL, Digest: sum}, dst)
		g.Expect(err).NotTo(HaveOccurred(), "cut at %d", cut)
		g.Expect(res.Report.Files).To(Equal(60))
		g.Expect(res.Attempts).To(Equal(2))
		log := o.requests()
		if withTag {
			g.Expect(log[1]).To(MatchRegexp(`^bytes=\d+-$`))
			g.Expect(res.Resumed).To(Equal(1))
		} else {
			g.Expect(log[1]).To(BeEmpty(), "without the ETag it starts over")
		}
	}
}

// ART-53: what is tried again and what is not; N32's kind of answers.
func TestFaults(t *testing.T) {
	data, sum := archive(t, 5, 3)
	other, _ := archive(t, 5, 4)
	status := func(codes ...int) func(int, http.ResponseWriter, *http.Request) {
		return func(n int, w http.ResponseWriter, r *http.Request) {
			if n <= len(codes) {
				w.WriteHeader(codes[n-1])
				return
			}
			content(data, sum)(n, w, r)
		}
	}
	code := func(err error) int {
		var s *fetch.StatusError
		if errors.As(err, &s) {
			return s.Code
		}
		return 0
	}
	cases := map[string]struct {
		do       func(int, http.ResponseWriter, *http.Request)
		size     int64
		max      int64
		want     error
		status   int
		requests int
	}{
		"Retried":   {do: status(503, 500, 502, 504, 408, 429), requests: 7},
		"NotFound":  {do: status(404), want: fetch.ErrNotFound, requests: 1},
		"Gone":      {do: status(410), want: fetch.ErrNotFound, requests: 1},
		"Forbidden": {do: status(403), status: 403, requests: 1},
		"Always503": {do: func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, status: 503, requests: 10},
		"WrongOnce": {do: func(n int, w http.ResponseWriter, r *http.Request) {
			content(map[bool][]byte{true: other, false: data}[n == 1], "x")(n, w, r)
		}, requests: 2},
		"WrongAlways":  {do: func(n int, w http.ResponseWriter, r *http.Request) { content(other, "x")(n, w, r) }, want: fetch.ErrDigestMismatch, requests: 2},
		"LyingLength":  {do: content(data, sum), size: int64(len(data)) + 1, want: fetch.ErrSizeMismatch, requests: 1},
		"LyingShorter": {do: content(data, sum), size: int64(len(data)) - 1, want: fetch.ErrSizeMismatch, requests: 1},
		"Chunked":      {do: func(_ int, w http.ResponseWriter, _ *http.Request) { w.(http.Flusher).Flush(); _, _ = w.Write(data) }, size: int64(len(data)), requests: 1},
		"ChunkedTooLong": {do: func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(append(bytes.Clone(data), 'x'))
		}, size: int64(len(data)), want: fetch.ErrSizeMismatch, requests: 1},
		"Encoded": {do: func(_ int, w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(data)
		}, want: fetch.ErrResponse, requests: 1},
		"Endless":      {do: endless, max: 1 << 20, want: fetch.ErrLimit, requests: 1},
		"BigHeader":    {do: content(data, sum), max: 100, want: fetch.ErrLimit, requests: 1},
		"OtherRange":   {do: badRange(data, sum), want: fetch.ErrResponse, requests: 2},
		"RedirectLoop": {do: func(_ int, w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) }, want: fetch.ErrRedirectBlocked, requests: 6},
		"ToFile": {do: func(_ int, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusFound)
		}, want: fetch.ErrRedirectBlocked, requests: 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := serve(t, tc.do)
			parent := t.TempDir()
			res, err := fetcher(t, fetch.Options{MaxBytes: tc.max, RetryMax: 2 * time.Millisecond}).Dir(t.Context(), fetch.Ref{URL: o.URL + "/x?sig=canary", Digest: sum, Size: tc.size}, filepath.Join(parent, "dst"))
			g.Expect(o.requests()).To(HaveLen(tc.requests))
			switch {
			case tc.want != nil:
				g.Expect(errors.Is(err, tc.want)).To(BeTrue(), "%v", err)
			case tc.status != 0:
				g.Expect(code(err)).To(Equal(tc.status), "%v", err)
			default:
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(err.Error()).NotTo(ContainSubstring("canary"), "a secret of the URL")
			g.Expect(err.Error()).NotTo(ContainSubstring("\n"))
			g.Expect(res).NotTo(BeNil())
			nothing(t, parent)
		})
	}
}

// ART-51, NET-8, R5: a reference is data, and the size in it lifts no limit: what is
// too much is refused before any request. Without an own limit, artifacts as
// large as a store keeps can be fetched when the size is known.
func TestSizeLiftsNoLimit(t *testing.T) {
	data, sum := archive(t, 3, 90)
	for name, tc := range map[string]struct {
		max, size int64
		limit     string
		most      int64
	}{
		"Own":     {max: 100, size: int64(len(data)), limit: "tar-compressed", most: 100},
		"Huge":    {max: 1 << 20, size: 1 << 60, limit: "tar-compressed", most: 1 << 20},
		"Default": {size: 2<<30 + 1, limit: "artifact", most: 2 << 30},
		"Fits":    {max: int64(len(data)), size: int64(len(data))},
		"None":    {max: -1, size: int64(len(data))},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := serve(t, content(data, sum))
			parent := t.TempDir()
			res, err := fetcher(t, fetch.Options{MaxBytes: tc.max}).Dir(t.Context(), fetch.Ref{URL: o.URL, Digest: sum, Size: tc.size}, filepath.Join(parent, "dst"))
			if tc.limit == "" {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(res.Bytes).To(Equal(int64(len(data))))
				return
			}
			var le *fetch.LimitError
			g.Expect(errors.As(err, &le)).To(BeTrue(), "%v", err)
			g.Expect([]any{le.Name, le.Max, le.Got}).To(Equal([]any{tc.limit, tc.most, tc.size}))
			g.Expect(o.requests()).To(BeEmpty())
			nothing(t, parent)
		})
	}
	g := NewWithT(t)
	o := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(300<<20))
		w.WriteHeader(http.StatusOK)
	})
	_, err := fetcher(t, fetch.Options{Retries: -1}).Dir(t.Context(), fetch.Ref{URL: o.URL, Digest: sum, Size: 300 << 20}, filepath.Join(t.TempDir(), "dst"))
	g.Expect(errors.Is(err, fetch.ErrLimit)).To(BeFalse(), "between the two: %v", err)
	g.Expect(o.requests()).To(HaveLen(1))
}

// endless is N33: the connection is closed, not drained.
func endless(_ int, w http.ResponseWriter, r *http.Request) {
	chunk := make([]byte, 64<<10)
	for r.Context().Err() == nil {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}

func badRange(data []byte, sum string) func(int, http.ResponseWriter, *http.Request) {
	return func(n int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"`+sum+`"`)
		if n == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:1000])
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", len(data)-1, len(data)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(data)
	}
}

// N34, T20: a body that stops is cut by the stall time and tried again.
func TestStall(t *testing.T) {
	g := NewWithT(t)
	data, sum := archive(t, 5, 5)
	o := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			w.Header().Set("ETag", `"`+sum+`"`)
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:100])
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			return
		}
		content(data, sum)(n, w, r)
	})
	res, err := fetcher(t, fetch.Options{HTTP: fetch.HTTPLimits{Stall: 2 * time.Second}}).Dir(t.Context(), fetch.Ref{URL: o.URL, Digest: sum}, filepath.Join(t.TempDir(), "dst"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Resumed).To(BeNumerically(">=", 1), "the stall time is that of the later attempts, too")
	g.Expect(o.requests()[1]).To(Equal("bytes=100-"))
	ctx, stop := context.WithCancel(t.Context())
	hang := serve(t, func(_ int, _ http.ResponseWriter, r *http.Request) { stop(); <-r.Context().Done() })
	_, err = fetcher(t, fetch.Options{}).Dir(ctx, fetch.Ref{URL: hang.URL, Digest: sum}, filepath.Join(t.TempDir(), "dst"))
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue(), "%v", err)
}

// ART-57
func TestFile(t *testing.T) {
	g := NewWithT(t)
	data, sum := archive(t, 5, 6)
	o := serve(t, content(data, sum))
	f := fetcher(t, fetch.Options{HostOverride: strings.TrimPrefix(o.URL, "http://")})
	w, err := os.Create(filepath.Join(t.TempDir(), "f"))
	g.Expect(err).NotTo(HaveOccurred())
	defer w.Close()
	_, err = f.File(t.Context(), fetch.Ref{URL: "https://does-not.exist/x", Digest: sum}, w)
	g.Expect(err).NotTo(HaveOccurred(), "the host is overridden")
	got, err := os.ReadFile(w.Name())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(bytes.Equal(got, data)).To(BeTrue())
	g.Expect(w.Truncate(0)).To(Succeed())
	_, err = w.Seek(0, io.SeekStart)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = f.File(t.Context(), fetch.Ref{URL: o.URL, Digest: "sha256:" + strings.Repeat("0", 64)}, w)
	g.Expect(errors.Is(err, fetch.ErrDigestMismatch)).To(BeTrue())
	info, err := w.Stat()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Size()).To(BeZero(), "nothing unverified is left")
}

// ART-60, ART-62: many callers, one download for each digest.
func TestCacheConcurrentSafe(t *testing.T) {
	g := NewWithT(t)
	const digests = 8
	var refs []fetch.Ref
	archives := map[string]func(int, http.ResponseWriter, *http.Request){}
	for i := range digests {
		data, sum := archive(t, 20+i, uint64(10+i))
		archives[fmt.Sprintf("/%d", i)] = content(data, sum)
		refs = append(refs, fetch.Ref{URL: fmt.Sprintf("/%d", i), Digest: sum})
	}
	o := serve(t, func(n int, w http.ResponseWriter, r *http.Request) { archives[r.URL.Path](n, w, r) })
	dir := t.TempDir()
	c := fetch.NewCache(fetch.CacheOptions{Dir: dir})
	cancelled, stop := context.WithCancel(t.Context())
	stop()
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			r := refs[i%digests]
			r.URL = o.URL + r.URL
			if i%16 == 15 { // one that gives up stops nobody else
				_, _ = c.Tree(cancelled, r)
				return
			}
			l, err := c.Tree(t.Context(), r)
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Release()
			if _, err := l.Root().ReadFile("f00000"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	g.Expect(o.requests()).To(HaveLen(digests))
	second := fetch.NewCache(fetch.CacheOptions{Dir: dir})
	r := refs[0]
	r.URL = o.URL + r.URL
	l, err := second.Tree(t.Context(), r)
	g.Expect(err).NotTo(HaveOccurred(), "a second process works in a private part")
	l.Release()
	g.Expect(second.Close()).To(Succeed())
	g.Expect(o.requests()).To(HaveLen(digests + 1))
	own := "sha256-" + strings.Repeat("0", 64)
	leftovers := []string{"." + own + ".0123456789abcdef.tmp", own + ".0123456789abcdef.tmp", own}
	for _, name := range leftovers {
		g.Expect(os.Mkdir(filepath.Join(dir, name), 0o700)).To(Succeed())
	}
	g.Expect(c.Close()).To(Succeed())
	_, err = c.Tree(t.Context(), r)
	g.Expect(errors.Is(err, fetch.ErrClosed)).To(BeTrue())
	third := fetch.NewCache(fetch.CacheOptions{Dir: dir})
	l, err = third.Tree(t.Context(), r)
	g.Expect(err).NotTo(HaveOccurred())
	defer l.Release()
	g.Expect(o.requests()).To(HaveLen(digests+1), "complete trees are taken over")
	for _, name := range leftovers {
		_, err = os.Lstat(filepath.Join(dir, name))
		g.Expect(errors.Is(err, os.ErrNotExist)).To(BeTrue(), "leftovers are removed: %s", name)
	}
	g.Expect(third.Close()).To(Succeed())
}

// ART-62: a leased tree is never evicted; the new one is then private.
func TestCacheEviction(t *testing.T) {
	g := NewWithT(t)
	var refs []fetch.Ref
	archives := map[string]func(int, http.ResponseWriter, *http.Request){}
	for i := range 3 {
		data, sum := archive(t, 5, uint64(30+i))
		archives[fmt.Sprintf("/%d", i)] = content(data, sum)
		refs = append(refs, fetch.Ref{URL: fmt.Sprintf("/%d", i), Digest: sum})
	}
	o := serve(t, func(n int, w http.ResponseWriter, r *http.Request) { archives[r.URL.Path](n, w, r) })
	dir := t.TempDir()
	c := fetch.NewCache(fetch.CacheOptions{Dir: dir, Entries: 1})
	defer c.Close()
	tree := func(i int) *fetch.Lease {
		t.Helper()
		r := refs[i]
		r.URL = o.URL + r.URL
		l, err := c.Tree(t.Context(), r)
		g.Expect(err).NotTo(HaveOccurred())
		return l
	}
	first := tree(0)
	second := tree(1)
	_, err := first.Root().ReadFile("f00000")
	g.Expect(err).NotTo(HaveOccurred())
	p := second.Path()
	second.Release()
	_, err = os.Lstat(p)
	g.Expect(errors.Is(err, os.ErrNotExist)).To(BeTrue(), "the private one went with its lease")
	p = first.Path()
	first.Release()
	first.Release()
	tree(2).Release()
	g.Eventually(func() bool { _, err := os.Lstat(p); return errors.Is(err, os.ErrNotExist) }).
		WithTimeout(time.Minute).Should(BeTrue(), "evicted when nobody had it")
}

// ART-61, ART-63, ART-64
func TestCacheIntegrity(t *testing.T) {
	g := NewWithT(t)
	data, sum := archive(t, 5, 40)
	o := serve(t, content(data, sum))
	corrupt := 0
	c := fetch.NewCache(fetch.CacheOptions{Dir: t.TempDir(), Observe: func(e fetch.Event) {
		if e.Type == fetch.Corrupt {
			corrupt++
		}
	}})
	defer c.Close()
	ref := fetch.Ref{URL: o.URL, Digest: sum}
	l, err := c.Tree(t.Context(), ref)
	g.Expect(err).NotTo(HaveOccurred())
	info, err := l.Root().Stat("f00000")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o444)))
	whole, part := l.Digest(), l.Digest("f00001", "./f00002")
	g.Expect(l.Digest("f00002", "f00001")).To(Equal(part))
	g.Expect(part).NotTo(Equal(whole))
	g.Expect(l.Digest(".")).To(Equal(whole))
	l.Release()
	p := filepath.Join(l.Path(), "f00003")
	g.Expect(os.Chmod(p, 0o644)).To(Succeed())
	g.Expect(os.WriteFile(p, []byte("edited"), 0o644)).To(Succeed())
	l, err = c.Tree(t.Context(), ref)
	g.Expect(err).NotTo(HaveOccurred(), "extracted again")
	defer l.Release()
	g.Expect(corrupt).To(Equal(1))
	got, err := l.Root().ReadFile("f00003")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(got)).NotTo(Equal("edited"))
	g.Expect(l.Digest()).To(Equal(whole))
	g.Expect(o.requests()).To(HaveLen(2))
	fetch.RememberBad(c, time.Hour) // however slow this machine is
	bad := fetch.Ref{URL: o.URL, Digest: "sha256:" + strings.Repeat("1", 64)}
	for range 3 {
		_, err = c.Tree(t.Context(), bad)
		g.Expect(errors.Is(err, fetch.ErrDigestMismatch)).To(BeTrue())
	}
	g.Expect(o.requests()).To(HaveLen(4), "a mismatch is remembered for a while")
}

func Example() {
	var b bytes.Buffer
	w := tarball.NewWriter(&b, tarball.Options{})
	_ = w.Add("app.yaml", 0o644, 10, strings.NewReader("kind: Pod\n"))
	packed, _ := w.Close()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b.Bytes()) }))
	defer srv.Close()

	cache := fetch.NewCache(fetch.CacheOptions{})
	defer cache.Close()
	lease, err := cache.Tree(context.Background(), fetch.Ref{URL: srv.URL, Digest: packed.Digests["sha256"]})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer lease.Release()
	text, _ := lease.Root().ReadFile("app.yaml")
	fmt.Print(string(text))
	// Output: kind: Pod
}
