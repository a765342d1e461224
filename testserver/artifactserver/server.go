// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifactserver

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/record"
	"github.com/gitops-kit/sdk/testserver/serve"
)

// Request is an entry of the server's log.
type Request = record.Request

// Match selects entries of the log and requests for fault plans.
type Match = record.Match

// Options configure a [Server]. The zero value is plain HTTP on 127.0.0.1.
type Options struct {
	// TLS serves HTTPS; RequireClientCert demands client certificates and implies TLS.
	TLS, RequireClientCert bool
	// HTTP2 offers HTTP/2 over TLS.
	HTTP2 bool
	// IPv6 listens on ::1 instead of 127.0.0.1.
	IPv6 bool
	// NoETag leaves the ETag out; NoRange ignores Range.
	NoETag, NoRange bool
	// Faults are the plans to begin with. Every request has the route "artifact".
	Faults []fault.Plan
	// Hosts are further names in the TLS certificate.
	Hosts []string
}

// Files maps slash-separated paths to contents.
type Files map[string]string

// Artifact is what a status says about published content.
type Artifact struct {
	// URL is where the content is; Path is its path without a leading slash.
	URL, Path string
	// Digest is "sha256:<hex>".
	Digest string
	// Size is the number of bytes.
	Size int64
	// Revision is the name the producer gave to the content.
	Revision string
}

// Server serves artifacts. It is safe for concurrent use.
type Server struct {
	*serve.Server
	opts Options
	mu   sync.Mutex
	data map[string]content
}

type content struct {
	body   []byte
	digest string
	size   int64
	stream func(io.Writer) error
	when   time.Time
}

// Start runs a server for the length of a test.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := Run(context.WithoutCancel(tb.Context()), o)
	if err != nil {
		tb.Fatalf("start artifact server: %v", err)
	}
	serve.Cleanup(tb, s.Stop, s.Tail)
	return s
}

// Run starts a server that ends with ctx or Stop.
func Run(ctx context.Context, o Options) (*Server, error) {
	s := &Server{opts: o, data: map[string]content{}}
	h, err := serve.Listen(ctx, http.HandlerFunc(s.serve), serve.Options{
		TLS: o.TLS, RequireClientCert: o.RequireClientCert, HTTP2: o.HTTP2, IPv6: o.IPv6, Hosts: o.Hosts,
		Faults: o.Faults, Route: func(*http.Request) string { return "artifact" },
	})
	if err != nil {
		return nil, err
	}
	s.Server = h
	h.Serve()
	return s, nil
}

// Publish packs files into a reproducible archive and serves it under
// "<kind>/<namespace>/<name>/<id>.tar.gz", where id is the last part of the
// revision, and under "latest.tar.gz" beside it. Earlier content stays.
func (s *Server) Publish(kind, namespace, name, revision string, files Files) Artifact {
	return s.PublishBytes(kind, namespace, name, revision, fileName(revision)+".tar.gz", Pack(files))
}

// fileName makes a file name of a revision such as "main@sha1:abc".
func fileName(revision string) string {
	id := revision[strings.LastIndexAny(revision, ":@/")+1:]
	if id == "" || strings.HasPrefix(id, ".") {
		return Digest([]byte(revision))[len("sha256:"):]
	}
	return strings.Map(func(r rune) rune {
		if r < 0x21 || r > 0x7e || strings.ContainsRune(`/\?#%"`, r) {
			return '-'
		}
		return r
	}, id)
}

// PublishBytes serves any bytes under "<kind>/<namespace>/<name>/<file>".
func (s *Server) PublishBytes(kind, namespace, name, revision, file string, body []byte) Artifact {
	dir := strings.ToLower(kind) + "/" + namespace + "/" + name + "/"
	c := content{body: body, digest: Digest(body), size: int64(len(body)), when: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data[dir+file] = c
	if strings.HasSuffix(file, ".tar.gz") {
		s.data[dir+"latest.tar.gz"] = c
	}
	return Artifact{URL: s.URL() + "/" + dir + file, Path: dir + file, Digest: c.digest, Size: c.size, Revision: revision}
}

// PublishStream serves what write writes, anew for each request. A size of 0
// or more is declared as Content-Length; below 0 the body is chunked. Nothing
// is kept in memory, so the body may be endless.
func (s *Server) PublishStream(path string, size int64, write func(io.Writer) error) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data[strings.TrimPrefix(path, "/")] = content{stream: write, size: size, when: time.Now()}
	return s.URL() + "/" + strings.TrimPrefix(path, "/")
}

// Replace serves other bytes under a path. With keepETag the server goes on
// claiming the digest of the old ones.
func (s *Server) Replace(path string, body []byte, keepETag bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := content{body: body, digest: Digest(body), size: int64(len(body)), when: time.Now()}
	if keepETag {
		c.digest = s.data[path].digest
	}
	s.data[path] = c
}

// Remove makes a path answer 404.
func (s *Server) Remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.data, path)
}

// Paths returns the paths served, sorted.
func (s *Server) Paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.data))
}

// Digest returns "sha256:<hex>" of b.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	s.mu.Lock()
	c, ok := s.data[strings.TrimPrefix(r.URL.Path, "/")]
	s.mu.Unlock()
	if !ok {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentType(r.URL.Path))
	h.Set("X-Content-Type-Options", "nosniff")
	if c.stream != nil {
		if c.size >= 0 {
			h.Set("Content-Length", strconv.FormatInt(c.size, 10))
		}
		if r.Method == http.MethodGet {
			_ = c.stream(w)
		}
		return
	}
	if !s.opts.NoETag {
		h.Set("ETag", fmt.Sprintf("%q", c.digest))
	}
	if s.opts.NoRange {
		r.Header.Del("Range")
	}
	http.ServeContent(w, r, "", c.when, bytes.NewReader(c.body))
}

func contentType(path string) string {
	switch {
	case strings.HasSuffix(path, ".tar.gz"), strings.HasSuffix(path, ".tgz"):
		return "application/gzip"
	case strings.HasSuffix(path, ".yaml"):
		return "application/x-yaml"
	}
	return "application/octet-stream"
}
