// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ociserver

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func (s *Server) upload(w http.ResponseWriter, r *http.Request, t target, o Options) {
	if t.ref == "" {
		if r.Method != http.MethodPost {
			notAllowed(w)
			return
		}
		s.beginUpload(w, r, t, o)
		return
	}
	s.mu.Lock()
	u := s.uploads[t.ref]
	if u != nil && u.repo != t.repo {
		u = nil
	}
	if u != nil && r.Method != http.MethodGet {
		delete(s.uploads, t.ref) // the request has it exclusively
	}
	s.mu.Unlock()
	if u == nil {
		apiErr(404, "BLOB_UPLOAD_UNKNOWN", "upload is unknown").write(w)
		return
	}
	keep := true
	switch r.Method {
	case http.MethodGet:
		s.uploadHeaders(w, t, o, u)
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodPatch:
		s.patch(w, r, t, o, u)
	case http.MethodPut:
		keep = !s.put(w, r, t, u)
	case http.MethodDelete:
		keep = false
		_ = u.file.Close()
		_ = os.Remove(u.file.Name())
		w.WriteHeader(http.StatusNoContent)
	default:
		notAllowed(w)
	}
	if keep {
		s.mu.Lock()
		s.uploads[t.ref] = u
		s.mu.Unlock()
	}
}

func (s *Server) beginUpload(w http.ResponseWriter, r *http.Request, t target, o Options) {
	q := r.URL.Query()
	if d, from := q.Get("mount"), q.Get("from"); d != "" && !o.NoMount && s.mount(t.repo, d, from) {
		s.created(w, "/v2/"+t.repo+"/blobs/"+d, d)
		return
	}
	f, err := s.newFile()
	if err != nil {
		apiErr(500, "UNKNOWN", err.Error()).write(w)
		return
	}
	u := &upload{repo: t.repo, file: f}
	if d := q.Get("digest"); d != "" {
		if !s.finishUpload(w, r, t, u, d) {
			_ = f.Close()
		}
		return
	}
	t.ref = rand.Text()
	s.uploadHeaders(w, t, o, u)
	s.mu.Lock()
	s.uploads[t.ref] = u
	s.mu.Unlock()
	w.WriteHeader(http.StatusAccepted)
}

// mount links a blob of another repository; without one named, of any.
func (s *Server) mount(repo, digest, from string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, r := range s.repos {
		if file := r.blobs[digest]; file != "" && (from == "" || from == name) {
			s.repo(repo, true).blobs[digest] = file
			return true
		}
	}
	return false
}

func (s *Server) uploadHeaders(w http.ResponseWriter, t target, o Options, u *upload) {
	loc := "/v2/" + t.repo + "/blobs/uploads/" + t.ref
	if o.UploadLocation != nil {
		loc = o.UploadLocation(loc)
	}
	h := w.Header()
	h.Set("Location", loc)
	h.Set("Range", fmt.Sprintf("0-%d", max(0, u.size-1)))
	h.Set("Docker-Upload-Uuid", t.ref)
	if o.ChunkMin > 0 {
		h.Set("OCI-Chunk-Min-Length", strconv.Itoa(o.ChunkMin))
	}
}

// inOrder checks a Content-Range against what the upload has.
func inOrder(r *http.Request, u *upload) bool {
	cr := r.Header.Get("Content-Range")
	if cr == "" {
		return true
	}
	from, to, ok := strings.Cut(strings.TrimPrefix(cr, "bytes "), "-")
	a, err1 := strconv.ParseInt(from, 10, 64)
	b, err2 := strconv.ParseInt(to, 10, 64)
	return ok && err1 == nil && err2 == nil && a == u.size && (r.ContentLength < 0 || b-a+1 == r.ContentLength)
}

func (s *Server) patch(w http.ResponseWriter, r *http.Request, t target, o Options, u *upload) {
	if !inOrder(r, u) {
		s.uploadHeaders(w, t, o, u)
		apiErr(416, "BLOB_UPLOAD_INVALID", "chunk is out of order").write(w)
		return
	}
	if err := u.append(r.Body); err != nil {
		apiErr(400, "BLOB_UPLOAD_INVALID", "body was cut").write(w)
		return
	}
	s.uploadHeaders(w, t, o, u)
	w.WriteHeader(http.StatusAccepted)
}

// put ends an upload and reports whether it became a blob.
func (s *Server) put(w http.ResponseWriter, r *http.Request, t target, u *upload) bool {
	if !inOrder(r, u) {
		apiErr(416, "BLOB_UPLOAD_INVALID", "chunk is out of order").write(w)
		return false
	}
	return s.finishUpload(w, r, t, u, r.URL.Query().Get("digest"))
}

func (s *Server) finishUpload(w http.ResponseWriter, r *http.Request, t target, u *upload, digest string) bool {
	if err := u.append(r.Body); err != nil {
		apiErr(400, "BLOB_UPLOAD_INVALID", "body was cut").write(w)
		return false
	}
	if e := s.commit(u, digest); e != nil {
		e.write(w)
		return false
	}
	s.created(w, "/v2/"+t.repo+"/blobs/"+digest, digest)
	return true
}

func (s *Server) created(w http.ResponseWriter, location, digest string) {
	w.Header().Set("Location", location)
	w.Header().Set("Docker-Content-Digest", digest)
	w.WriteHeader(http.StatusCreated)
}
