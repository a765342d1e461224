// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package helmserver

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/ociserver"
	"github.com/gitops-kit/sdk/testserver/record"
	"github.com/gitops-kit/sdk/testserver/serve"
)

// fixedTime is what the index gives for all times.
const fixedTime = "2024-01-01T00:00:00Z"

// Request is an entry of the server's log.
type Request = record.Request

// Match selects entries of the log and requests for fault plans.
type Match = record.Match

// URLForm is how the index names chart archives.
type URLForm int

const (
	// Relative names only the file.
	Relative URLForm = iota
	// Absolute names the whole URL.
	Absolute
)

// Options configure a [Server]. The zero value is an open repository over plain
// HTTP with relative URLs.
type Options struct {
	// TLS serves HTTPS; RequireClientCert demands client certificates and implies TLS.
	TLS, RequireClientCert bool
	// HTTP2 offers HTTP/2 over TLS.
	HTTP2 bool
	// IPv6 listens on ::1 instead of 127.0.0.1.
	IPv6 bool
	// Hosts are further names in the TLS certificate.
	Hosts []string
	// Users maps names to passwords for basic authentication; empty: open.
	Users map[string]string
	// Tokens are accepted bearer tokens.
	Tokens []string
	// URLs is the form of archive URLs in the index.
	URLs URLForm
	// Prefix is the path of the repository, such as "/charts".
	Prefix string
	// NoETag leaves the ETag out.
	NoETag bool
	// Faults are the plans to begin with. Routes are "index", "chart", "prov".
	Faults []fault.Plan
}

// ChartOptions configure one entry of the index.
type ChartOptions struct {
	// URL replaces the archive's URL in the index: any host, or several with URLs.
	URL string
	// URLs are further URLs after the first.
	URLs []string
	// Digest replaces the right one; "-" leaves it out.
	Digest string
	// Created; zero: a fixed time.
	Created time.Time
	// Unlisted keeps the chart out of the index.
	Unlisted bool
}

// Server is a chart repository. It is safe for concurrent use.
type Server struct {
	*serve.Server
	opts   Options
	errorf func(string, ...any)

	mu      sync.Mutex
	entries map[string][]map[string]any
	files   map[string][]byte
	index   []byte
	raw     bool
	errs    []error
}

// Start runs a repository for the length of a test.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := run(context.WithoutCancel(tb.Context()), o, tb.Errorf)
	if err != nil {
		tb.Fatalf("start helm repository: %v", err)
	}
	serve.Cleanup(tb, s.Stop, s.Tail)
	return s
}

// Run starts a repository that ends with ctx or Stop.
func Run(ctx context.Context, o Options) (*Server, error) {
	return run(ctx, o, nil)
}

func run(ctx context.Context, o Options, errorf func(string, ...any)) (*Server, error) {
	o.Prefix = strings.TrimSuffix(o.Prefix, "/")
	s := &Server{opts: o, errorf: errorf, entries: map[string][]map[string]any{}, files: map[string][]byte{}}
	s.render()
	h, err := serve.Listen(ctx, http.HandlerFunc(s.serve), serve.Options{
		TLS: o.TLS, RequireClientCert: o.RequireClientCert, HTTP2: o.HTTP2, IPv6: o.IPv6, Hosts: o.Hosts, Faults: o.Faults, Route: route,
	})
	if err != nil {
		return nil, err
	}
	s.Server = h
	h.Serve()
	return s, nil
}

func route(r *http.Request) string {
	switch p := r.URL.Path; {
	case strings.HasSuffix(p, "/index.yaml"):
		return "index"
	case strings.HasSuffix(p, ".prov"):
		return "prov"
	case strings.HasSuffix(p, ".tgz"):
		return "chart"
	}
	return ""
}

// RepoURL returns the URL of the repository, which clients add "/index.yaml" to.
func (s *Server) RepoURL() string { return s.URL() + s.opts.Prefix }

// AddChart packs files and lists them; a version that is not empty replaces the
// one in Chart.yaml. A version that is listed already is replaced.
func (s *Server) AddChart(files Files, version string) *Chart {
	return s.AddChartOptions(files, version, ChartOptions{})
}

// AddChartDir is AddChart for the files of a directory.
func (s *Server) AddChartDir(dir, version string) *Chart {
	files, err := ReadDir(dir)
	if err != nil {
		s.fail(err)
		return &Chart{}
	}
	return s.AddChart(files, version)
}

// AddChartOptions is AddChart with an index entry that need not be right.
func (s *Server) AddChartOptions(files Files, version string, o ChartOptions) *Chart {
	c, err := Package(files, version)
	if err != nil {
		s.fail(err)
		return &Chart{}
	}
	url := c.File()
	if s.opts.URLs == Absolute {
		url = s.RepoURL() + "/" + url
	}
	if o.URL != "" {
		url = o.URL
	}
	c.URL = s.RepoURL() + "/" + c.File()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[c.File()] = c.Archive
	if o.Unlisted {
		return c
	}
	e := map[string]any{}
	maps.Copy(e, c.meta)
	e["urls"] = append([]string{url}, o.URLs...)
	e["created"] = fixedTime
	if !o.Created.IsZero() {
		e["created"] = o.Created.UTC().Format(time.RFC3339)
	}
	switch o.Digest {
	case "":
		e["digest"] = c.Digest
	case "-":
	default:
		e["digest"] = o.Digest
	}
	list := s.entries[c.Name][:0:0]
	for _, old := range s.entries[c.Name] {
		if old["version"] != c.Version {
			list = append(list, old)
		}
	}
	s.entries[c.Name] = append([]map[string]any{e}, list...)
	s.renderLocked()
	return c
}

// Sign adds a provenance file for a chart: what sign makes of [Chart.Provenance].
func (s *Server) Sign(c *Chart, sign func([]byte) ([]byte, error)) {
	b, err := sign(c.Provenance())
	if err != nil {
		s.fail(fmt.Errorf("sign chart %q: %w", c.Name, err))
		return
	}
	s.SetFile(c.File()+".prov", b)
}

// SetFile serves any bytes under a path of the repository; nil removes them.
func (s *Server) SetFile(name string, content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if content == nil {
		delete(s.files, name)
		return
	}
	s.files[name] = content
}

// SetRawIndex serves any bytes as index.yaml; nil goes back to the real one.
func (s *Server) SetRawIndex(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raw = b != nil
	s.index = b
	s.renderLocked()
}

// GenerateIndex lists charts "chart-0000…" with this many versions each, none
// of which can be downloaded.
func (s *Server) GenerateIndex(charts, versions int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range charts {
		name := fmt.Sprintf("chart-%04d", i)
		list := make([]map[string]any, 0, versions)
		for v := versions - 1; v >= 0; v-- {
			version := fmt.Sprintf("1.%d.0", v)
			list = append(list, map[string]any{
				"apiVersion": "v2", "name": name, "version": version, "appVersion": version, "created": fixedTime,
				"description": "Generated chart number " + name, "digest": strings.Repeat(fmt.Sprintf("%02x", i%256), 32),
				"urls": []string{name + "-" + version + ".tgz"},
			})
		}
		s.entries[name] = list
	}
	s.renderLocked()
}

// Index returns index.yaml.
func (s *Server) Index() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.index)
}

func (s *Server) render() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.renderLocked()
}

func (s *Server) renderLocked() {
	if s.raw {
		return
	}
	b, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "entries": s.entries, "generated": fixedTime})
	if err != nil {
		s.errs = append(s.errs, err)
	}
	s.index = b
}

func (s *Server) fail(err error) {
	s.mu.Lock()
	s.errs = append(s.errs, err)
	s.mu.Unlock()
	if s.errorf != nil {
		s.errorf("helm repository: %v", err)
	}
}

// Err returns the errors of methods that add charts, joined.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.errs...)
}

// allowed authenticates a request.
func (s *Server) allowed(r *http.Request) bool {
	if len(s.opts.Users) == 0 && len(s.opts.Tokens) == 0 {
		return true
	}
	same := func(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
	for _, t := range s.opts.Tokens {
		if same(r.Header.Get("Authorization"), "Bearer "+t) {
			return true
		}
	}
	name, pass, ok := r.BasicAuth()
	want, known := s.opts.Users[name]
	if ok && known && same(want, pass) {
		serve.SetUser(r.Context(), name)
		return true
	}
	return false
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if !s.allowed(r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="charts"`)
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, s.opts.Prefix), "/")
	s.mu.Lock()
	body, ok := s.files[name]
	if name == "index.yaml" && !ok {
		body, ok = s.index, true
	}
	s.mu.Unlock()
	if !ok {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", map[string]string{"index": "text/yaml", "chart": "application/gzip", "prov": "text/plain"}[route(r)])
	if !s.opts.NoETag {
		w.Header().Set("ETag", fmt.Sprintf("%q", ociserver.Digest(body)))
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}
