// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"github.com/gitops-kit/sdk/testserver/serve"
)

// lfsType is the media type of the batch API.
const lfsType = "application/vnd.git-lfs+json"

// LFSPointer stores content as a large object of the repository and returns the
// pointer file that stands for it.
func (r *Repo) LFSPointer(content string) string {
	sum := sha256.Sum256([]byte(content))
	oid := hex.EncodeToString(sum[:])
	r.SetLFSObject(oid, []byte(content))
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", oid, len(content))
}

// SetLFSObject stores any bytes under an object id, also bytes that do not match it.
func (r *Repo) SetLFSObject(oid string, content []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lfs[oid] = content
}

// RemoveLFSObject forgets a large object.
func (r *Repo) RemoveLFSObject(oid string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.lfs, oid)
}

// LFSObject returns a large object, nil if there is none.
func (r *Repo) LFSObject(oid string) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lfs[oid]
}

// LFS stores content as a large object and returns the files that put it into
// a commit: the pointer and a .gitattributes line for the path's extension.
func (r *Repo) LFS(name, content string) Files {
	pattern := name
	if ext := path.Ext(name); ext != "" {
		pattern = "*" + ext
	}
	return Files{
		name:             r.LFSPointer(content),
		".gitattributes": pattern + " filter=lfs diff=lfs merge=lfs -text\n",
	}
}

type lfsRequest struct {
	Operation string      `json:"operation"`
	Transfers []string    `json:"transfers"`
	Objects   []lfsObject `json:"objects"`
}

type lfsObject struct {
	OID           string               `json:"oid"`
	Size          int64                `json:"size"`
	Authenticated bool                 `json:"authenticated,omitempty"`
	Actions       map[string]lfsAction `json:"actions,omitempty"`
	Error         *lfsError            `json:"error,omitempty"`
}

type lfsAction struct {
	Href      string            `json:"href"`
	Header    map[string]string `json:"header,omitempty"`
	ExpiresIn int               `json:"expires_in,omitempty"`
}

type lfsError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (s *Server) serveLFS(w http.ResponseWriter, r *http.Request, name, rest string) {
	write := r.Method == http.MethodPut
	user, status := s.lfsAuth(r, name, write)
	serve.SetUser(r.Context(), user)
	if status != 0 {
		refuse(w, status)
		return
	}
	repo := s.find(name)
	if repo == nil {
		lfsFail(w, http.StatusNotFound, "repository not found")
		return
	}
	if rest == "/info/lfs/objects/batch" {
		s.lfsBatch(w, r, repo)
		return
	}
	oid := strings.TrimPrefix(rest, "/lfs/")
	switch r.Method {
	case http.MethodGet:
		data := repo.LFSObject(oid)
		if data == nil {
			lfsFail(w, http.StatusNotFound, "object not found")
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data)
	case http.MethodPut:
		data, err := io.ReadAll(io.LimitReader(r.Body, maxObject)) //nolint:forbidigo // limited
		sum := sha256.Sum256(data)
		if err != nil || hex.EncodeToString(sum[:]) != oid {
			lfsFail(w, http.StatusUnprocessableEntity, "content does not match its id")
			return
		}
		repo.SetLFSObject(oid, data)
	default:
		lfsFail(w, http.StatusMethodNotAllowed, "method not allowed")
	}
}

// lfsAuth accepts what HTTP accepts and the tokens of git-lfs-authenticate.
func (s *Server) lfsAuth(r *http.Request, name string, write bool) (string, int) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "RemoteAuth "); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		if grant, ok := s.lfsTokens[token]; ok && grant.repo == name {
			return grant.user, 0
		}
		return "", http.StatusUnauthorized
	}
	return s.guard.http(r, name, write)
}

type lfsGrant struct{ repo, user string }

func (s *Server) lfsBatch(w http.ResponseWriter, r *http.Request, repo *Repo) {
	var req lfsRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, 16<<20)).Decode(&req); err != nil {
		lfsFail(w, http.StatusUnprocessableEntity, "malformed request")
		return
	}
	opts := repo.snapshot().opts.LFS
	out := struct {
		Transfer string      `json:"transfer"`
		Objects  []lfsObject `json:"objects"`
	}{Transfer: "basic"}
	base := s.URL()
	if opts.BaseURL != "" {
		base = opts.BaseURL
	}
	header := map[string]string{}
	if a := r.Header.Get("Authorization"); a != "" {
		header["Authorization"] = a
	}
	for _, o := range req.Objects {
		data := repo.LFSObject(o.OID)
		action := lfsAction{Href: base + "/" + repo.name + "/lfs/" + o.OID, Header: header, ExpiresIn: 3600}
		res := lfsObject{OID: o.OID, Size: o.Size, Authenticated: true}
		switch {
		case req.Operation == "upload" && data == nil:
			res.Actions = map[string]lfsAction{"upload": action}
		case req.Operation == "upload":
		case data == nil:
			res.Error = &lfsError{Code: http.StatusNotFound, Message: "object does not exist"}
		default:
			res.Size = int64(len(data)) + opts.SizeDelta
			res.Actions = map[string]lfsAction{"download": action}
		}
		if opts.Object != nil {
			if href := opts.Object(o.OID); href != "" && res.Actions["download"].Href != "" {
				action.Href = href
				res.Actions["download"] = action
			}
		}
		out.Objects = append(out.Objects, res)
	}
	w.Header().Set("Content-Type", lfsType)
	_ = json.NewEncoder(w).Encode(out)
}

func lfsFail(w http.ResponseWriter, status int, msg string) {
	w.Header().Set("Content-Type", lfsType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": msg})
}

// LFSOptions bend the answers of the LFS API.
type LFSOptions struct {
	// SizeDelta is added to the sizes the batch API answers.
	SizeDelta int64
	// BaseURL replaces the server's URL in download and upload links.
	BaseURL string
	// Object returns another download link for an object; "" keeps it.
	Object func(oid string) string
}

// lfsAuthenticate answers the SSH command of that name.
func (s *Server) lfsAuthenticate(name, user, op string, out, stderr io.Writer) uint32 {
	write := op == "upload"
	a := s.guard.get()
	if s.find(name) == nil || (write == (op == "download")) || (a.Access != nil && !a.Access(user, name, write)) {
		fmt.Fprintf(stderr, "fatal: no %s access to '%s'\n", op, name)
		return 1
	}
	token := rand.Text()
	s.mu.Lock()
	s.lfsTokens[token] = lfsGrant{repo: name, user: user}
	s.mu.Unlock()
	_ = json.NewEncoder(out).Encode(lfsAction{
		Href: s.URL() + "/" + name + "/info/lfs", Header: map[string]string{"Authorization": "RemoteAuth " + token}, ExpiresIn: 3600,
	})
	return 0
}
