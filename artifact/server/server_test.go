// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/dir"
	"github.com/gitops-kit/sdk/artifact/server"
)

type site struct {
	store *artifact.Store
	base  string
	addr  string
	stop  context.CancelFunc
	done  chan error
}

func start(t testing.TB, o server.Options) *site {
	t.Helper()
	base := t.TempDir()
	d, err := dir.New(base, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := artifact.NewStore(d, artifact.Options{BaseURL: l.Addr().String(), Limits: artifact.Limits{Free: artifact.Free{Percent: -1, Bytes: -1}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	st := &site{store: s, base: base, addr: l.Addr().String(), stop: stop, done: make(chan error, 1)}
	go func() { st.done <- server.New(s, o).Serve(ctx, l) }()
	t.Cleanup(func() { stop(); _ = s.Close() })
	return st
}

func (s *site) write(t testing.TB, text string) *meta.Artifact {
	t.Helper()
	a, err := s.store.Write(t.Context(), artifact.Key{Kind: "GitRepository", Namespace: "default", Name: "app", File: "a.tar.gz"}, "r", func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}, artifact.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// raw sends a request line and headers as they are.
func (s *site) raw(t testing.TB, line string, headers ...string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n", line, strings.Join(append(headers, ""), "\r\n"))
	method, _, _ := strings.Cut(line, " ")
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return nil, err.Error()
	}
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp, "cut: " + string(b)
	}
	return resp, string(b)
}

// ART-40, T81
func TestPaths(t *testing.T) {
	g := NewWithT(t)
	s := start(t, server.Options{})
	s.write(t, "hello")
	const good = "/gitrepository/default/app/a.tar.gz"
	for _, line := range []string{"GET " + good, "GET /gitrepository/default/app/%61.tar.gz", "GET " + good + "?x=y", "GET http://other" + good} {
		resp, body := s.raw(t, line)
		g.Expect(resp.StatusCode).To(Equal(200), line)
		g.Expect(body).To(Equal("hello"), line)
	}
	resp, body := s.raw(t, "GET /")
	g.Expect(resp.StatusCode).To(Equal(200))
	g.Expect(body).To(Equal("ok\n"))
	for _, p := range []string{
		"/gitrepository", "/gitrepository/", "/gitrepository/default/app", "/gitrepository/default/app/", good + "/", "/" + good, "/x/.." + good, "/%2e%2e" + good,
		"/gitrepository/default/app/%2e%2e/app/a.tar.gz", "/gitrepository//default/app/a.tar.gz", `/gitrepository\default\app\a.tar.gz`, "/gitrepository/default/app/.index.json",
		"/.lock", "/gitrepository/default/app/a.tar.gz%00", "/gitrepository/default/app/a.tar.gz;x", "/gitrepository/default/app/b", "/GitRepository/default/app/a.tar.gz",
		"/gitrepository/default/app%2fa.tar.gz", "/gitrepository/default/app/a%252etar.gz",
	} {
		resp, body := s.raw(t, "GET "+p)
		if strings.Contains(p, "app%2fa") { // decoded once, it is the path
			g.Expect(resp.StatusCode).To(Equal(200))
			continue
		}
		g.Expect(resp.StatusCode).To(Equal(404), p)
		g.Expect(body).To(Equal("not found\n"), p)
		g.Expect(resp.Header.Get("Location")).To(BeEmpty())
	}
	for _, m := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"} {
		resp, _ := s.raw(t, m+" "+good)
		g.Expect(resp.StatusCode).To(Equal(405), m)
		g.Expect(resp.Header.Get("Allow")).To(Equal("GET, HEAD"))
	}
}

// ART-41, ART-42
func TestHeadersAndRanges(t *testing.T) {
	g := NewWithT(t)
	s := start(t, server.Options{})
	text := strings.Repeat("0123456789", 1000)
	a := s.write(t, text)
	_, err := s.store.Link(t.Context(), artifact.Key{Kind: "GitRepository", Namespace: "default", Name: "app", File: "a.tar.gz"}, "latest.tar.gz")
	g.Expect(err).NotTo(HaveOccurred())
	const line = "/gitrepository/default/app/a.tar.gz"
	get, body := s.raw(t, "GET "+line)
	g.Expect(body).To(Equal(text))
	head, body := s.raw(t, "HEAD "+line)
	g.Expect(body).To(BeEmpty())
	for k, want := range map[string]string{
		"Etag": `"` + a.Digest + `"`, "Content-Type": "application/gzip", "Content-Length": "10000", "Accept-Ranges": "bytes",
		"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff", "Content-Encoding": "",
	} {
		g.Expect(get.Header.Get(k)).To(Equal(want), k)
		g.Expect(head.Header.Get(k)).To(Equal(want), k)
	}
	g.Expect(head.Header.Get("Last-Modified")).To(Equal(get.Header.Get("Last-Modified")))
	link, body := s.raw(t, "GET /gitrepository/default/app/latest.tar.gz")
	g.Expect(body).To(Equal(text))
	g.Expect(link.Header.Get("Cache-Control")).To(Equal("no-cache"))
	oracle := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"`+a.Digest+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader([]byte(text)))
	}))
	defer oracle.Close()
	for _, h := range []string{"bytes=0-0", "bytes=5-", "bytes=-5", "bytes=9999-", "bytes=0-99999", "bytes=10000-", "bytes=-0", "bytes=5-1", "bytes=x", "lines=0-1", "bytes=-99999"} {
		resp, body := s.raw(t, "GET "+line, "Range: "+h)
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, oracle.URL, nil)
		req.Header.Set("Range", h)
		want, err := http.DefaultTransport.RoundTrip(req)
		g.Expect(err).NotTo(HaveOccurred())
		b, _ := io.ReadAll(want.Body)
		_ = want.Body.Close()
		g.Expect(resp.StatusCode).To(Equal(want.StatusCode), h)
		g.Expect(body).To(Equal(string(b)), h)
		g.Expect(resp.Header.Get("Content-Range")).To(Equal(want.Header.Get("Content-Range")), h)
	}
	resp, body := s.raw(t, "GET "+line, "Range: bytes=0-1,5-6")
	g.Expect(resp.StatusCode).To(Equal(200), "several ranges: the whole")
	g.Expect(body).To(Equal(text))
	for h, want := range map[string]int{`If-None-Match: "` + a.Digest + `"`: 304, `If-None-Match: "x"`: 200, "If-None-Match: *": 304} {
		resp, _ := s.raw(t, "GET "+line, h)
		g.Expect(resp.StatusCode).To(Equal(want), h)
	}
	resp, _ = s.raw(t, "GET "+line, "Range: bytes=5-", `If-Range: "`+a.Digest+`"`)
	g.Expect(resp.StatusCode).To(Equal(206))
	resp, _ = s.raw(t, "GET "+line, "Range: bytes=5-", `If-Range: "other"`)
	g.Expect(resp.StatusCode).To(Equal(200))
}

// ART-43, SRC-77, F31: a flipped byte anywhere is never delivered as a whole.
func TestCorruptNeverComplete(t *testing.T) {
	g := NewWithT(t)
	s := start(t, server.Options{})
	text := strings.Repeat("0123456789abcdef", 20_000)
	for i := range 24 {
		a := s.write(t, text)
		p := filepath.Join(s.base, filepath.FromSlash(a.Path))
		f, err := os.OpenFile(p, os.O_WRONLY, 0)
		g.Expect(err).NotTo(HaveOccurred())
		at := int64(len(text)-1) * int64(i) / 23
		_, err = f.WriteAt([]byte{'X'}, at)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(f.Close()).To(Succeed())
		var headers []string
		if i%3 == 2 {
			headers = []string{"Range: bytes=100-"}
		}
		resp, body := s.raw(t, "GET /"+a.Path, headers...)
		if resp != nil {
			g.Expect(body).To(HavePrefix("cut: "), "byte %d: %d bytes came without an error", at, len(body))
			g.Expect(len(body)).To(BeNumerically("<=", len(text)-64<<10+5))
		}
		resp, _ = s.raw(t, "GET /"+a.Path)
		g.Expect(resp.StatusCode).To(Equal(404), "put aside")
	}
	a := s.write(t, text)
	resp, body := s.raw(t, "GET /"+a.Path)
	g.Expect(resp.StatusCode).To(Equal(200))
	g.Expect(body).To(Equal(text), "healed by the next write")
}

// ART-44, ART-45: running responses finish after a replacement and after the
// end of Serve; new connections are refused beyond the limit.
func TestShutdownAndLimits(t *testing.T) {
	g := NewWithT(t)
	s := start(t, server.Options{Connections: 2, Grace: time.Minute, HeaderTimeout: time.Minute, WriteStall: time.Minute})
	text := strings.Repeat("x", 30<<20)
	a := s.write(t, text)
	c, err := net.Dial("tcp", s.addr)
	g.Expect(err).NotTo(HaveOccurred())
	defer c.Close()
	fmt.Fprintf(c, "GET /%s HTTP/1.1\r\nHost: x\r\n\r\n", a.Path)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	g.Expect(err).NotTo(HaveOccurred())
	idle, err := net.Dial("tcp", s.addr)
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() int { // the two connections may not be accepted yet
		resp, _ := s.raw(t, "GET /")
		if resp == nil {
			return 0
		}
		return resp.StatusCode
	}).WithTimeout(time.Minute).Should(Equal(503))
	g.Expect(idle.Close()).To(Succeed())
	_, err = s.store.Remove(t.Context(), artifact.Key{Kind: "GitRepository", Namespace: "default", Name: "app"})
	g.Expect(err).NotTo(HaveOccurred())
	s.stop()
	n, err := io.Copy(io.Discard, resp.Body)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(n).To(Equal(int64(len(text))), "delivered from the open file")
	g.Eventually(s.done).WithTimeout(time.Minute).Should(Receive(BeNil()))
	_, err = net.Dial("tcp", s.addr)
	g.Expect(err).To(HaveOccurred())
}

func Example() {
	base, _ := os.MkdirTemp("", "")
	defer os.RemoveAll(base)
	driver, _ := dir.New(base, dir.Options{})
	store, _ := artifact.NewStore(driver, artifact.Options{BaseURL: "localhost"})
	defer store.Close()
	w := httptest.NewRecorder()
	server.New(store, server.Options{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Print(w.Code, " ", w.Body.String())
	// Output: 200 ok
}

// ART-40: whatever the path is, the answer is a stored file as a whole or one
// and the same 404.
func FuzzRequestPath(f *testing.F) {
	s := start(f, server.Options{})
	a := s.write(f, "text")
	h := server.New(s.store, server.Options{})
	for _, p := range []string{
		"/", "/" + a.Path, "/" + a.Path + "/", "//" + a.Path, "/gitrepository/default/app/..", "/gitrepository/default/app/%2e%2e/a.tar.gz",
		`/gitrepository\default\app\a.tar.gz`, "/gitrepository/default/app/.index.json", "/.lock", "/gitrepository/default/app/a.tar.gz\x00", "*", "http://h/" + a.Path,
	} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}, Header: http.Header{}})
		body := w.Body.String()
		switch {
		case path == "/" && w.Code == http.StatusOK && body == "ok\n":
		case path == "/"+a.Path && w.Code == http.StatusOK && body == "text":
		case w.Code == http.StatusNotFound && body == "not found\n":
		default:
			t.Fatalf("%q: %d %q", path, w.Code, body)
		}
	})
}
