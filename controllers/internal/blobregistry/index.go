// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package blobregistry

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/shared"
	"github.com/gitops-kit/sdk/untar/digest"
)

// Media types and annotations of an index.
const (
	// IndexType is the artifact type of the manifest that is an index.
	IndexType = "application/vnd.gitops-kit.artifact.index.v1+json"
	// ContentType is the media type of its layers.
	ContentType = "application/vnd.gitops-kit.artifact.content.v1"

	manifestType = "application/vnd.oci.image.manifest.v1+json"
	emptyType    = "application/vnd.oci.empty.v1+json"
	emptyBlob    = "{}"
	emptyDigest  = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

	keyDirectory = "vnd.gitops-kit.artifact.directory"
	keyDocument  = "vnd.gitops-kit.artifact.document"
	keySerial    = "vnd.gitops-kit.artifact.serial"
	keyRemoved   = "vnd.gitops-kit.artifact.removed"
	keyDigest    = "vnd.gitops-kit.artifact.digest"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

func (d descriptor) name() string {
	if a := d.Annotations[keyDigest]; a != "" {
		return a
	}
	return d.Digest
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// found is a manifest as the registry has it.
type found struct {
	manifest
	digest string
}

func (f *found) removed() bool { return f == nil || f.Annotations[keyRemoved] != "" }

// layer finds the layer of a blob.
func (f *found) layer(name string) (descriptor, bool) {
	if f != nil {
		for _, l := range f.Layers {
			if l.name() == name && l.MediaType == ContentType {
				return l, true
			}
		}
	}
	return descriptor{}, false
}

// Tag is the tag of a document.
func Tag(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])[:40]
}

// get reads a manifest. Its digest is computed, never believed.
func (r *Registry) get(ctx context.Context, tag string) (*found, error) {
	const op = "read index"
	c := call{op: op, method: http.MethodGet, url: r.url("manifests", tag), actions: pull, header: http.Header{"Accept": {manifestType}}}
	b, h, err := r.read(ctx, c, "oci-manifest", r.o.Limits.Manifest)
	if err != nil {
		return nil, err
	}
	d, err := digest.FromBytes(digest.SHA256, b)
	if err != nil {
		return nil, failed(op, err)
	}
	f := &found{digest: d.String()}
	kind, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
	var other struct {
		Manifests json.RawMessage `json:"manifests"`
	}
	if json.Unmarshal(b, &f.manifest) != nil || json.Unmarshal(b, &other) != nil || other.Manifests != nil || f.MediaType != kind {
		return nil, failed(op, fmt.Errorf("%w: manifest", artifact.ErrCorrupt))
	}
	return f, nil
}

// current reads the index of a document; nil if there is none. A tag that
// holds something else is never touched.
func (r *Registry) current(ctx context.Context, name string) (*found, error) {
	tag := Tag(name)
	f, err := r.get(ctx, tag)
	if errors.Is(err, artifact.ErrNotFound) {
		r.forget(tag)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if f.ArtifactType != IndexType || f.Annotations[keyDirectory] != name {
		return nil, failed("read index", fmt.Errorf("%w: tag %s holds something else", artifact.ErrCorrupt, tag))
	}
	r.learn(tag, f)
	return f, nil
}

// learn remembers what a manifest says.
func (r *Registry) learn(tag string, f *found) {
	for _, l := range f.Layers {
		if d, err := digest.Parse(l.name()); err == nil && l.MediaType == ContentType && sha256Digest(l.Digest) {
			r.alias(d.String(), l.Digest)
		}
	}
	if f.removed() {
		r.forget(tag)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.names) >= maxKnown {
		clear(r.names)
	}
	r.names[tag] = f.Annotations[keyDirectory]
}

func (r *Registry) forget(tag string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.names, tag)
}

func sha256Digest(s string) bool {
	d, err := digest.Parse(s)
	return err == nil && d.Algorithm == digest.SHA256 && d.String() == s
}

// GetIndex implements [shared.Indexes]: one GET.
func (r *Registry) GetIndex(ctx context.Context, name string) ([]byte, string, error) {
	f, err := r.current(ctx, name)
	if err != nil {
		return nil, "", err
	}
	if f.removed() {
		return nil, "", failed("read index", artifact.ErrNotFound)
	}
	body := f.Annotations[keyDocument]
	if len(body) > maxIndex {
		return nil, "", failed("read index", &artifact.LimitError{Name: limitIndex, Max: maxIndex, Got: int64(len(body))})
	}
	return []byte(body), f.digest, nil
}

// PutIndex implements [shared.Indexes]: read, compare, put, read back; then
// the manifest that was replaced is deleted, if the registry does that.
func (r *Registry) PutIndex(ctx context.Context, name, expect string, body []byte) error {
	const op = "write index"
	if len(body) > maxIndex {
		return failed(op, &artifact.LimitError{Name: limitIndex, Max: maxIndex, Got: int64(len(body))})
	}
	old, err := r.current(ctx, name)
	if err != nil {
		return err
	}
	have := ""
	if !old.removed() {
		have = old.digest
	}
	if have != expect {
		return failed(op, shared.ErrConflict)
	}
	if body == nil {
		if old.removed() {
			return nil
		}
		done, err := r.remove(ctx, name, old)
		if done || err != nil {
			return err
		}
	}
	if err := r.ensureEmpty(ctx); err != nil {
		return err
	}
	next, err := r.compose(name, body, old)
	if err != nil {
		return failed(op, err)
	}
	if err := r.swap(ctx, name, old, next); err != nil {
		return err
	}
	if old != nil {
		_, _ = r.discard(ctx, old.digest, false) // what stays is the registry's to collect
	}
	return nil
}

// compose makes the manifest of a document; a nil body says that it was
// removed. Its layers are the blobs that the document names, and the garbage
// that was a layer before.
func (r *Registry) compose(name string, body []byte, old *found) (*manifest, error) {
	m := &manifest{
		SchemaVersion: 2, MediaType: manifestType, ArtifactType: IndexType,
		Config:      descriptor{MediaType: emptyType, Digest: emptyDigest, Size: int64(len(emptyBlob))},
		Annotations: map[string]string{keyDirectory: name, keySerial: rand.Text()},
	}
	var doc struct {
		Entries []struct {
			Digest string `json:"digest"`
			Size   int64  `json:"size"`
		} `json:"entries"`
		Garbage []struct {
			Digest string `json:"digest"`
		} `json:"garbage"`
	}
	if body == nil {
		m.Annotations[keyRemoved] = "true"
	} else {
		if err := json.Unmarshal(body, &doc); err != nil {
			return nil, fmt.Errorf("%w: index: %w", artifact.ErrCorrupt, err)
		}
		m.Annotations[keyDocument] = string(body)
	}
	seen := map[string]bool{}
	add := func(l descriptor) {
		if !seen[l.Digest] {
			seen[l.Digest] = true
			m.Layers = append(m.Layers, l)
		}
	}
	for _, e := range doc.Entries {
		sum, err := r.sum(e.Digest)
		if err != nil {
			return nil, err
		}
		l, ok := old.layer(e.Digest)
		if !ok && sum != "" {
			l, ok = descriptor{MediaType: ContentType, Digest: sum, Size: e.Size}, true
			if sum != e.Digest {
				l.Annotations = map[string]string{keyDigest: e.Digest}
			}
		}
		if ok {
			add(l)
		}
	}
	for _, g := range doc.Garbage {
		if l, ok := old.layer(g.Digest); ok {
			add(l)
		}
	}
	if len(m.Layers) == 0 {
		m.Layers = []descriptor{m.Config}
	}
	return m, nil
}

// swap puts a manifest in the place of old and reads back what the tag holds.
// A put whose answer was lost is not repeated before that.
func (r *Registry) swap(ctx context.Context, name string, old *found, next *manifest) error {
	const op = "write index"
	healed := false
	for n := 1; ; n++ {
		body, err := json.Marshal(next)
		if err != nil {
			return failed(op, err)
		}
		if int64(len(body)) > r.o.Limits.Manifest {
			return failed(op, &artifact.LimitError{Name: "oci-manifest", Max: r.o.Limits.Manifest, Got: int64(len(body))})
		}
		mine, err := digest.FromBytes(digest.SHA256, body)
		if err != nil {
			return failed(op, err)
		}
		perr := r.put(ctx, Tag(name), body)
		now, err := r.current(ctx, name)
		switch {
		case err != nil:
			return errors.Join(err, perr) // nobody knows what is there: the next run looks
		case now != nil && now.digest == mine.String():
			return nil
		case perr == nil, !same(now, old):
			return failed(op, shared.ErrConflict)
		}
		e := failed(op, perr)
		e.Attempts = n
		if !healed && strings.HasSuffix(e.Code, "BLOB_UNKNOWN") {
			healed = true
			if next, err = r.withoutMissing(ctx, next, old); err != nil {
				return errors.Join(e, err)
			}
			continue
		}
		if n >= r.o.HTTP.Attempts || !retryable(e) {
			return e
		}
		if err := r.pause(ctx, n, e.after); err != nil {
			return failed(op, err)
		}
	}
}

func same(a, b *found) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.digest == b.digest
}

func (r *Registry) put(ctx context.Context, tag string, body []byte) error {
	c := call{
		op: "write index", method: http.MethodPut, url: r.url("manifests", tag), actions: push, size: int64(len(body)),
		body: func() io.Reader { return strings.NewReader(string(body)) }, header: http.Header{"Content-Type": {manifestType}},
	}
	return r.once(ctx, c, http.StatusCreated, http.StatusOK, http.StatusAccepted)
}

// withoutMissing leaves out layers that the registry lost, so that one lost
// blob does not stop all writes of its object. A blob that is new must be there.
func (r *Registry) withoutMissing(ctx context.Context, m *manifest, old *found) (*manifest, error) {
	r.mu.Lock()
	r.hasEmpty = false
	r.mu.Unlock()
	if err := r.ensureEmpty(ctx); err != nil {
		return nil, err
	}
	out := *m
	out.Layers = nil
	for _, l := range m.Layers {
		has, err := r.Has(ctx, l.Digest)
		if err != nil {
			return nil, err
		}
		if _, before := old.layer(l.name()); !has && !before {
			return nil, failed("write index", fmt.Errorf("%w: blob %s", artifact.ErrNotFound, l.Digest))
		}
		if has {
			out.Layers = append(out.Layers, l)
		}
	}
	if len(out.Layers) == 0 {
		out.Layers = []descriptor{m.Config}
	}
	return &out, nil
}

// ensureEmpty makes sure, once, that the config blob is there.
func (r *Registry) ensureEmpty(ctx context.Context) error {
	r.mu.Lock()
	has := r.hasEmpty
	r.mu.Unlock()
	if has {
		return nil
	}
	has, err := r.Has(ctx, emptyDigest)
	if err == nil && !has {
		err = r.upload(ctx, "push config", emptyDigest, int64(len(emptyBlob)), func() io.Reader { return strings.NewReader(emptyBlob) })
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.hasEmpty = true
	r.mu.Unlock()
	return nil
}

// remove deletes the manifest of a document by its digest, so that another
// one that came meanwhile stays. done is false if the registry does not delete.
func (r *Registry) remove(ctx context.Context, name string, old *found) (done bool, err error) {
	ok, err := r.discard(ctx, old.digest, true)
	if err != nil || !ok {
		return false, err
	}
	now, err := r.current(ctx, name)
	switch {
	case err != nil:
		return false, err
	case now.removed():
		return true, nil
	case now.digest != old.digest:
		return false, failed("write index", shared.ErrConflict)
	}
	return false, nil
}

// discard deletes a manifest, in one attempt or several; false if the
// registry refuses to.
func (r *Registry) discard(ctx context.Context, sum string, insist bool) (bool, error) {
	r.mu.Lock()
	no := r.noDelete
	r.mu.Unlock()
	if no {
		return false, nil
	}
	c := call{op: "delete index", method: http.MethodDelete, url: r.url("manifests", sum), actions: remove}
	once := r.once
	if insist {
		once = r.finish
	}
	err := once(ctx, c, http.StatusAccepted, http.StatusOK, http.StatusNoContent)
	switch {
	case err == nil || errors.Is(err, artifact.ErrNotFound):
		return true, nil
	case refused(err):
		r.mu.Lock()
		r.noDelete = true
		r.mu.Unlock()
		return false, nil
	}
	return false, err
}
