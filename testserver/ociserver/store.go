// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ociserver

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

var (
	errDigest   = errors.New("digest does not match or is invalid")
	errManifest = errors.New("invalid manifest")
)

// repository is one name; its fields are guarded by the server's lock.
type repository struct {
	blobs     map[string]string // digest → file
	manifests map[string]manifest
	tags      map[string]string
}

type manifest struct {
	mediaType string
	body      []byte
	doc       document
}

// document is what the registry reads of a manifest or index.
type document struct {
	MediaType    string            `json:"mediaType,omitempty"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Config       *Descriptor       `json:"config,omitempty"`
	Layers       []Descriptor      `json:"layers,omitempty"`
	Manifests    []Descriptor      `json:"manifests,omitempty"`
	Subject      *Descriptor       `json:"subject,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// Digest returns "sha256:<hex>" of b.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// hasher returns the hash of a digest's algorithm, nil if the digest is invalid.
func hasher(digest string) hash.Hash {
	alg, hx, _ := strings.Cut(digest, ":")
	var h hash.Hash
	switch alg {
	case "sha256":
		h = sha256.New()
	case "sha384":
		h = sha512.New384()
	case "sha512":
		h = sha512.New()
	default:
		return nil
	}
	if raw, err := hex.DecodeString(hx); err != nil || len(raw) != h.Size() || strings.ToLower(hx) != hx {
		return nil
	}
	return h
}

func sum(digest string, b []byte) bool {
	h := hasher(digest)
	if h == nil {
		return false
	}
	h.Write(b)
	_, hx, _ := strings.Cut(digest, ":")
	return hex.EncodeToString(h.Sum(nil)) == hx
}

// repo returns a repository, made if create is set; the lock is held.
func (s *Server) repo(name string, create bool) *repository {
	r := s.repos[name]
	if r == nil && create {
		r = &repository{blobs: map[string]string{}, manifests: map[string]manifest{}, tags: map[string]string{}}
		s.repos[name] = r
	}
	return r
}

// newFile creates a file for a blob.
func (s *Server) newFile() (*os.File, error) {
	return os.CreateTemp(s.dir, "blob-")
}

// PushBlob stores a blob and returns its descriptor.
func (s *Server) PushBlob(repo, mediaType string, content []byte) Descriptor {
	d := Descriptor{MediaType: mediaType, Digest: Digest(content), Size: int64(len(content))}
	if err := s.setBlob(repo, d.Digest, content); err != nil {
		s.fail(fmt.Errorf("push blob to %q: %w", repo, err))
	}
	return d
}

// SetRawBlob stores bytes under any digest, right or wrong.
func (s *Server) SetRawBlob(repo, digest string, content []byte) {
	if err := s.setBlob(repo, digest, content); err != nil {
		s.fail(fmt.Errorf("set blob %q of %q: %w", digest, repo, err))
	}
}

func (s *Server) setBlob(repo, digest string, content []byte) error {
	f, err := s.newFile()
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repo(repo, true).blobs[digest] = f.Name()
	return nil
}

// SetRawManifest stores bytes as the manifest of a tag or digest, unchecked. A
// tag then points at the digest of the bytes.
func (s *Server) SetRawManifest(repo, ref, mediaType string, body []byte) Descriptor {
	var doc document
	_ = json.Unmarshal(body, &doc) // may be anything
	d := Descriptor{MediaType: mediaType, Digest: Digest(body), Size: int64(len(body))}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repo(repo, true)
	if strings.Contains(ref, ":") {
		r.manifests[ref] = manifest{mediaType: mediaType, body: body, doc: doc}
		return d
	}
	r.manifests[d.Digest] = manifest{mediaType: mediaType, body: body, doc: doc}
	if ref != "" {
		r.tags[ref] = d.Digest
	}
	return d
}

// Push stores an artifact under a tag ("" is none) and returns its descriptor.
func (s *Server) Push(repo, tag string, a Artifact) Descriptor {
	if a.MediaType == "" {
		a.MediaType = MediaTypeManifest
	}
	if a.ConfigMediaType == "" {
		a.ConfigMediaType = MediaTypeEmpty
	}
	if a.Config == nil {
		a.Config = []byte("{}")
	}
	if len(a.Layers) == 0 {
		a.Layers = []Layer{{MediaType: MediaTypeEmpty, Content: []byte("{}")}}
	}
	config := s.PushBlob(repo, a.ConfigMediaType, a.Config)
	doc := struct {
		SchemaVersion int `json:"schemaVersion"`
		document
	}{2, document{MediaType: a.MediaType, ArtifactType: a.ArtifactType, Config: &config, Subject: a.Subject, Annotations: a.Annotations}}
	for _, l := range a.Layers {
		if l.MediaType == "" {
			l.MediaType = MediaTypeLayer
		}
		d := s.PushBlob(repo, l.MediaType, l.Content)
		d.Annotations = l.Annotations
		doc.Layers = append(doc.Layers, d)
	}
	body, err := json.Marshal(doc)
	if err != nil {
		s.fail(fmt.Errorf("push to %q: %w", repo, err))
	}
	return s.SetRawManifest(repo, tag, a.MediaType, body)
}

// PushIndex stores an index of manifests under a tag and returns its descriptor.
func (s *Server) PushIndex(repo, tag string, annotations map[string]string, manifests ...Descriptor) Descriptor {
	body, err := json.Marshal(struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		Manifests     []Descriptor      `json:"manifests"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}{2, MediaTypeIndex, manifests, annotations})
	if err != nil {
		s.fail(fmt.Errorf("push index to %q: %w", repo, err))
	}
	return s.SetRawManifest(repo, tag, MediaTypeIndex, body)
}

// Tag points a tag at a digest, whether or not that exists.
func (s *Server) Tag(repo, tag, digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repo(repo, true).tags[tag] = digest
}

// Untag removes a tag.
func (s *Server) Untag(repo, tag string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.repo(repo, false); r != nil {
		delete(r.tags, tag)
	}
}

// Tags returns the tags of a repository with their digests.
func (s *Server) Tags(repo string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.repo(repo, false); r != nil {
		return maps.Clone(r.tags)
	}
	return nil
}

// Manifest returns media type and bytes of a tag or digest, nil if there is none.
func (s *Server) Manifest(repo, ref string) (string, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m, _, ok := s.lookup(repo, ref); ok {
		return m.mediaType, slices.Clone(m.body)
	}
	return "", nil
}

// lookup finds a manifest; the lock is held.
func (s *Server) lookup(repo, ref string) (manifest, string, bool) {
	r := s.repo(repo, false)
	if r == nil {
		return manifest{}, "", false
	}
	digest := ref
	if !strings.Contains(ref, ":") {
		digest = r.tags[ref]
	}
	m, ok := r.manifests[digest]
	return m, digest, ok
}

// Blob returns the bytes of a blob, nil if there is none.
func (s *Server) Blob(repo, digest string) []byte {
	s.mu.Lock()
	file := ""
	if r := s.repo(repo, false); r != nil {
		file = r.blobs[digest]
	}
	s.mu.Unlock()
	if file == "" {
		return nil
	}
	b, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		s.fail(err)
	}
	return b
}

// DeleteManifest removes a manifest and the tags that point at it.
func (s *Server) DeleteManifest(repo, digest string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repo(repo, false)
	if r == nil {
		return false
	}
	_, ok := r.manifests[digest]
	delete(r.manifests, digest)
	maps.DeleteFunc(r.tags, func(_, d string) bool { return d == digest })
	return ok
}

// referrers lists the manifests with this subject, sorted by digest.
func (s *Server) referrers(repo, digest, artifactType string) []Descriptor {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []Descriptor{}
	r := s.repo(repo, false)
	if r == nil {
		return out
	}
	for _, d := range slices.Sorted(maps.Keys(r.manifests)) {
		m := r.manifests[d]
		if m.doc.Subject == nil || m.doc.Subject.Digest != digest {
			continue
		}
		t := m.doc.ArtifactType
		if t == "" && m.doc.Config != nil {
			t = m.doc.Config.MediaType
		}
		if artifactType != "" && artifactType != t {
			continue
		}
		out = append(out, Descriptor{MediaType: m.mediaType, Digest: d, Size: int64(len(m.body)), ArtifactType: t, Annotations: m.doc.Annotations})
	}
	return out
}

// putManifest checks and stores a pushed manifest.
func (s *Server) putManifest(repo, ref, mediaType string, body []byte) (document, string, *apiError) {
	var doc document
	if err := json.Unmarshal(body, &doc); err != nil {
		return doc, "", apiErr(400, "MANIFEST_INVALID", errManifest.Error())
	}
	if doc.MediaType != "" && mediaType != "" && doc.MediaType != mediaType {
		return doc, "", apiErr(400, "MANIFEST_INVALID", "media type differs from the header")
	}
	digest := Digest(body)
	if strings.Contains(ref, ":") {
		if !sum(ref, body) {
			return doc, "", apiErr(400, "DIGEST_INVALID", errDigest.Error())
		}
		digest = ref
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.repo(repo, true)
	if !s.opts.Lenient {
		var need []Descriptor
		if doc.Config != nil {
			need = append(need, *doc.Config)
		}
		for _, d := range append(need, doc.Layers...) {
			if r.blobs[d.Digest] == "" && len(d.URLs) == 0 {
				return doc, "", apiErr(400, "MANIFEST_BLOB_UNKNOWN", "blob "+d.Digest+" is unknown")
			}
		}
		for _, d := range doc.Manifests {
			if _, ok := r.manifests[d.Digest]; !ok {
				return doc, "", apiErr(400, "MANIFEST_BLOB_UNKNOWN", "manifest "+d.Digest+" is unknown")
			}
		}
	}
	r.manifests[digest] = manifest{mediaType: mediaType, body: body, doc: doc}
	if !strings.Contains(ref, ":") {
		r.tags[ref] = digest
	}
	return doc, digest, nil
}

// upload is a blob on its way in.
type upload struct {
	repo string
	file *os.File
	size int64
}

// append adds a chunk to an upload; the caller has it exclusively.
func (u *upload) append(r io.Reader) error {
	n, err := io.Copy(u.file, r)
	u.size += n
	return err
}

// commit checks the digest and makes the upload a blob.
func (s *Server) commit(u *upload, digest string) *apiError {
	h := hasher(digest)
	if h == nil {
		return apiErr(400, "DIGEST_INVALID", errDigest.Error())
	}
	if _, err := u.file.Seek(0, io.SeekStart); err != nil {
		return apiErr(500, "UNKNOWN", err.Error())
	}
	if _, err := io.Copy(h, u.file); err != nil {
		return apiErr(500, "UNKNOWN", err.Error())
	}
	_, hx, _ := strings.Cut(digest, ":")
	if hex.EncodeToString(h.Sum(nil)) != hx {
		return apiErr(400, "DIGEST_INVALID", errDigest.Error())
	}
	if err := u.file.Close(); err != nil {
		return apiErr(500, "UNKNOWN", err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repo(u.repo, true).blobs[digest] = u.file.Name()
	return nil
}
