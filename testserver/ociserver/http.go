// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ociserver

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxManifest is the largest manifest, as other registries have it.
const maxManifest = 4 << 20

var (
	nameRE = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	tagRE  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

// target is a parsed request path.
type target struct {
	route, repo, ref string
}

func parsePath(p string) target {
	switch p {
	case "/token":
		return target{route: "token"}
	case "/v2/", "/v2":
		return target{route: "base"}
	case "/v2/_catalog":
		return target{route: "catalog"}
	}
	rest, ok := strings.CutPrefix(p, "/v2/")
	if !ok {
		return target{}
	}
	for _, part := range []string{"/blobs/uploads/", "/blobs/", "/manifests/", "/referrers/", "/tags/list"} {
		i := strings.LastIndex(rest, part)
		if i < 0 {
			continue
		}
		t := target{repo: rest[:i], ref: rest[i+len(part):]}
		t.route = map[string]string{"/blobs/uploads/": "upload", "/blobs/": "blob", "/manifests/": "manifest", "/referrers/": "referrers", "/tags/list": "tags"}[part]
		return t
	}
	if name, ok := strings.CutSuffix(rest, "/blobs/uploads"); ok {
		return target{route: "upload", repo: name}
	}
	return target{}
}

// apiError is an error of the distribution protocol.
type apiError struct {
	status        int
	code, message string
}

func apiErr(status int, code, message string) *apiError { return &apiError{status, code, message} }

func (e *apiError) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]string{"code": e.code, "message": e.message}}})
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	t := parsePath(r.URL.Path)
	if t.route == "token" {
		s.serveToken(w, r)
		return
	}
	if t.route == "" {
		http.NotFound(w, r)
		return
	}
	if t.repo != "" && !nameRE.MatchString(t.repo) {
		apiErr(400, "NAME_INVALID", "invalid repository name").write(w)
		return
	}
	if !s.authorize(w, r, t) {
		return
	}
	o := s.options()
	if o.ReadOnly && r.Method != http.MethodGet && r.Method != http.MethodHead {
		apiErr(405, "UNSUPPORTED", "registry is read-only").write(w)
		return
	}
	switch t.route {
	case "base":
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	case "catalog":
		s.catalog(w, r)
	case "blob":
		s.blob(w, r, t, o)
	case "upload":
		s.upload(w, r, t, o)
	case "manifest":
		s.manifest(w, r, t, o)
	case "tags":
		s.tags(w, r, t, o)
	case "referrers":
		s.serveReferrers(w, r, t, o)
	}
}

func notAllowed(w http.ResponseWriter) {
	apiErr(405, "UNSUPPORTED", "method not allowed").write(w)
}

func (s *Server) blob(w http.ResponseWriter, r *http.Request, t target, o Options) {
	if hasher(t.ref) == nil {
		apiErr(400, "DIGEST_INVALID", "invalid digest").write(w)
		return
	}
	s.mu.Lock()
	file := ""
	if rep := s.repo(t.repo, false); rep != nil {
		file = rep.blobs[t.ref]
		if r.Method == http.MethodDelete && !o.NoDelete {
			delete(rep.blobs, t.ref)
		}
	}
	s.mu.Unlock()
	switch {
	case r.Method == http.MethodDelete && o.NoDelete:
		notAllowed(w)
	case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodDelete:
		notAllowed(w)
	case file == "":
		apiErr(404, "BLOB_UNKNOWN", "blob is unknown").write(w)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusAccepted)
	default:
		s.serveBlob(w, r, t, o, file)
	}
}

func (s *Server) serveBlob(w http.ResponseWriter, r *http.Request, t target, o Options, file string) {
	if o.BlobRedirect != nil {
		if to := o.BlobRedirect(t.repo, t.ref); to != "" {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
	}
	f, err := os.Open(file)
	if err != nil {
		apiErr(500, "UNKNOWN", "blob is not readable").write(w)
		return
	}
	defer func() { _ = f.Close() }()
	s.contentHeaders(w, o, "application/octet-stream", t.ref)
	if o.NoRange {
		r.Header.Del("Range")
		w = unranged{w}
	}
	http.ServeContent(w, r, "", time.Time{}, f)
}

// unranged does not offer ranges.
type unranged struct{ http.ResponseWriter }

func (u unranged) WriteHeader(status int) {
	u.Header().Del("Accept-Ranges")
	u.ResponseWriter.WriteHeader(status)
}

func (s *Server) contentHeaders(w http.ResponseWriter, o Options, mediaType, digest string) {
	w.Header().Set("Content-Type", mediaType)
	if !o.NoDigestHeader {
		w.Header().Set("Docker-Content-Digest", digest)
	}
	if !o.NoETag {
		w.Header().Set("ETag", `"`+digest+`"`)
	}
}

func (s *Server) manifest(w http.ResponseWriter, r *http.Request, t target, o Options) {
	if !tagRE.MatchString(t.ref) && hasher(t.ref) == nil {
		if strings.Contains(t.ref, ":") {
			apiErr(400, "DIGEST_INVALID", "invalid digest").write(w)
		} else {
			apiErr(400, "TAG_INVALID", "invalid tag").write(w)
		}
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.getManifest(w, r, t, o)
	case http.MethodPut:
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest)) //nolint:forbidigo // limited
		if err != nil {
			apiErr(413, "MANIFEST_INVALID", "manifest is too large or was cut").write(w)
			return
		}
		doc, digest, e := s.putManifest(t.repo, t.ref, r.Header.Get("Content-Type"), body)
		if e != nil {
			e.write(w)
			return
		}
		if doc.Subject != nil && !o.NoReferrers {
			w.Header().Set("OCI-Subject", doc.Subject.Digest)
		}
		s.created(w, "/v2/"+t.repo+"/manifests/"+digest, digest)
	case http.MethodDelete:
		s.deleteManifest(w, t, o)
	default:
		notAllowed(w)
	}
}

func (s *Server) deleteManifest(w http.ResponseWriter, t target, o Options) {
	if o.NoDelete {
		notAllowed(w)
		return
	}
	ok := false
	if strings.Contains(t.ref, ":") {
		ok = s.DeleteManifest(t.repo, t.ref)
	} else {
		_, ok = s.Tags(t.repo)[t.ref]
		s.Untag(t.repo, t.ref)
	}
	if !ok {
		apiErr(404, "MANIFEST_UNKNOWN", "manifest is unknown").write(w)
		return
	}
	w.WriteHeader(http.StatusAccepted)
}

func (s *Server) getManifest(w http.ResponseWriter, r *http.Request, t target, o Options) {
	if o.OnManifest != nil {
		o.OnManifest(s, t.repo, t.ref)
	}
	if o.OnManifestServed != nil {
		defer o.OnManifestServed(s, t.repo, t.ref)
	}
	s.mu.Lock()
	m, digest, ok := s.lookup(t.repo, t.ref)
	known := s.repo(t.repo, false) != nil
	s.mu.Unlock()
	switch {
	case !known:
		apiErr(404, "NAME_UNKNOWN", "repository is unknown").write(w)
	case !ok:
		apiErr(404, "MANIFEST_UNKNOWN", "manifest is unknown").write(w)
	default:
		s.contentHeaders(w, o, m.mediaType, digest)
		if match := r.Header.Get("If-None-Match"); match != "" && match == w.Header().Get("ETag") {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(m.body)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(m.body)
		}
	}
}

// page cuts names to a page and returns the link to the next one.
func page(names []string, q url.Values, maxSize int) ([]string, string) {
	if last := q.Get("last"); last != "" {
		i, found := slices.BinarySearch(names, last)
		if found {
			i++
		}
		names = names[i:]
	}
	n := len(names)
	if v := q.Get("n"); v != "" {
		if k, err := strconv.Atoi(v); err == nil && k >= 0 {
			n = min(n, k)
		}
	}
	size := n
	if maxSize > 0 {
		size = min(n, maxSize)
	}
	if size >= len(names) || size == 0 {
		return names[:size], ""
	}
	q.Set("n", strconv.Itoa(size))
	q.Set("last", names[size-1])
	return names[:size], "?" + q.Encode()
}

func (s *Server) link(w http.ResponseWriter, r *http.Request, o Options, next string) {
	if next == "" {
		return
	}
	to := r.URL.Path + next
	if o.Link != nil {
		to = o.Link(to)
	}
	w.Header().Set("Link", "<"+to+`>; rel="next"`)
}

func (s *Server) tags(w http.ResponseWriter, r *http.Request, t target, o Options) {
	tags := s.Tags(t.repo)
	if tags == nil {
		apiErr(404, "NAME_UNKNOWN", "repository is unknown").write(w)
		return
	}
	names, next := page(slices.Sorted(maps.Keys(tags)), r.URL.Query(), o.PageSize)
	s.link(w, r, o, next)
	if names == nil {
		names = []string{}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"name": t.repo, "tags": names})
}

func (s *Server) catalog(w http.ResponseWriter, r *http.Request) {
	o := s.options()
	s.mu.Lock()
	names := slices.Sorted(maps.Keys(s.repos))
	s.mu.Unlock()
	names, next := page(names, r.URL.Query(), o.PageSize)
	s.link(w, r, o, next)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"repositories": append([]string{}, names...)})
}

func (s *Server) serveReferrers(w http.ResponseWriter, r *http.Request, t target, o Options) {
	if o.NoReferrers {
		http.NotFound(w, r)
		return
	}
	if hasher(t.ref) == nil {
		apiErr(400, "DIGEST_INVALID", "invalid digest").write(w)
		return
	}
	q := r.URL.Query()
	kind := q.Get("artifactType")
	if o.NoReferrersFilter {
		kind = ""
	}
	list := s.referrers(t.repo, t.ref, kind)
	if kind != "" {
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	if o.PageSize > 0 {
		digests := make([]string, len(list))
		for i := range list {
			digests[i] = list[i].Digest
		}
		keep, next := page(digests, q, o.PageSize)
		s.link(w, r, o, next)
		list = slices.DeleteFunc(list, func(d Descriptor) bool { return !slices.Contains(keep, d.Digest) })
	}
	w.Header().Set("Content-Type", MediaTypeIndex)
	_ = json.NewEncoder(w).Encode(map[string]any{"schemaVersion": 2, "mediaType": MediaTypeIndex, "manifests": list})
}
