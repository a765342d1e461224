// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/gitops-kit/sdk/testserver/serve"
)

// route names the requests of the smart HTTP protocol and of LFS.
func route(r *http.Request) string {
	_, rest := splitPath(r.URL.Path)
	switch {
	case rest == "/info/refs":
		return "info-refs"
	case rest == "/git-upload-pack", rest == "/git-receive-pack":
		return strings.TrimPrefix(rest, "/git-")
	case rest == "/info/lfs/objects/batch":
		return "lfs-batch"
	case strings.HasPrefix(rest, "/lfs/"):
		return "lfs-object"
	}
	return ""
}

// splitPath splits a URL path into repository and rest.
func splitPath(p string) (string, string) {
	for _, suffix := range []string{"/info/refs", "/git-upload-pack", "/git-receive-pack", "/info/lfs/objects/batch"} {
		if repo, ok := strings.CutSuffix(p, suffix); ok {
			return cleanName(repo), suffix
		}
	}
	if i := strings.LastIndex(p, "/lfs/"); i >= 0 {
		return cleanName(p[:i]), p[i:]
	}
	return cleanName(p), ""
}

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	name, rest := splitPath(r.URL.Path)
	service := strings.TrimPrefix(rest, "/")
	if rest == "/info/refs" {
		service = r.URL.Query().Get("service")
	}
	if strings.HasPrefix(rest, "/lfs/") || rest == "/info/lfs/objects/batch" {
		s.serveLFS(w, r, name, rest)
		return
	}
	if rest == "" || (service != "git-upload-pack" && service != "git-receive-pack") {
		http.Error(w, "not a smart HTTP request", http.StatusNotFound)
		return
	}
	write := service == "git-receive-pack"
	user, status := s.guard.http(r, name, write)
	serve.SetUser(r.Context(), user)
	if status != 0 {
		refuse(w, status)
		return
	}
	repo := s.find(name)
	if repo == nil {
		http.Error(w, "repository not found", http.StatusNotFound)
		return
	}
	if f := repo.snapshot().opts.Intercept; f != nil && f(w, r) {
		return
	}
	if write && repo.snapshot().opts.ReadOnly {
		http.Error(w, "repository is read-only", http.StatusForbidden)
		return
	}
	if s.opts.Backend == Exec {
		s.execHTTP(w, r, repo, rest, user)
		return
	}
	if rest == "/info/refs" {
		if r.Method != http.MethodGet {
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		s.infoRefs(w, r, repo, service)
		return
	}
	s.rpc(w, r, repo, service, user)
}

func refuse(w http.ResponseWriter, status int) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="git"`)
	}
	http.Error(w, strings.ToLower(http.StatusText(status)), status)
}

func noCache(w http.ResponseWriter, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	h.Set("Expires", "Fri, 01 Jan 1980 00:00:00 GMT")
	h.Set("Pragma", "no-cache")
}

func (s *Server) infoRefs(w http.ResponseWriter, r *http.Request, repo *Repo, service string) {
	noCache(w, fmt.Sprintf("application/x-%s-advertisement", service))
	ss := &session{ctx: r.Context(), repo: repo, out: newPktWriter(w), stateless: true, version: s.version(r.Header.Get("Git-Protocol"))}
	if service == "git-upload-pack" && ss.version == 2 {
		ss.capabilitiesV2()
	} else {
		ss.out.linef("# service=%s", service)
		ss.out.flushPkt()
		ss.greet(service)
	}
	_ = ss.out.send()
	if f := repo.snapshot().opts.BetweenListAndFetch; f != nil && ss.version != 2 {
		f(repo)
	}
}

// greet writes the advertisement of protocol v0 and v1.
func (s *session) greet(service string) {
	if service == "git-receive-pack" {
		if s.version == 2 {
			s.version = 0 // pushes have no version 2
		}
		s.advertise(s.receiveCaps())
		return
	}
	s.advertise(s.uploadCaps())
}

func (s *Server) rpc(w http.ResponseWriter, r *http.Request, repo *Repo, service, user string) {
	if r.Method != http.MethodPost {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if ct := r.Header.Get("Content-Type"); ct != fmt.Sprintf("application/x-%s-request", service) {
		http.Error(w, "unsupported media type", http.StatusUnsupportedMediaType)
		return
	}
	var body io.Reader = r.Body
	if enc := r.Header.Get("Content-Encoding"); enc == "gzip" || enc == "x-gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, "malformed gzip body", http.StatusBadRequest)
			return
		}
		body = z
	}
	noCache(w, fmt.Sprintf("application/x-%s-result", service))
	ss := &session{
		ctx: r.Context(), repo: repo, user: user, stateless: true, version: s.version(r.Header.Get("Git-Protocol")),
		in: bufio.NewReaderSize(body, 64<<10), out: newPktWriter(w),
	}
	_ = ss.run(service)
	_, _ = io.Copy(io.Discard, io.LimitReader(body, 1<<20))
}

// run serves a service after its advertisement.
func (s *session) run(service string) error {
	switch {
	case service == "git-receive-pack":
		return s.receive()
	case s.version == 2:
		return s.serveV2()
	}
	return s.upload()
}
