// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/ssa/internal/fail"
	"github.com/gitops-kit/sdk/ssa/inventory"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	chunkType  = "gitops-kit.github.io/inventory.v2"
	headType   = "gitops-kit.github.io/inventory-head.v2"
	ownerLabel = "gitops-kit.github.io/owner-uid"
	formatV2   = "v2"
	sweepAge   = 10 * time.Minute
)

// InventoryHead names the chunks of a stored inventory. Whoever writes it
// commits the inventory.
type InventoryHead struct {
	Format  string   `json:"format"` // "v2"
	Digest  string   `json:"digest"` // of the uncompressed text
	Entries int      `json:"entries"`
	Chunks  []string `json:"chunks"` // names of Secrets
	// Kinds, as "group/version/Kind", are those to look through when a chunk
	// is lost; see Manager.Recover.
	Kinds []string `json:"kinds"`
}

// HeadStore keeps an [InventoryHead], for example in an object's status.
type HeadStore interface {
	// LoadHead returns nil and "" when there is none yet. One that cannot be
	// read is an error that matches inventory.ErrCorrupt, with its version.
	LoadHead(ctx context.Context) (*InventoryHead, string, error)
	// SaveHead replaces the head of the expected version, else it returns an
	// error that matches inventory.ErrConflict.
	SaveHead(ctx context.Context, h *InventoryHead, expected string) (string, error)
}

// SecretStoreOptions configure [NewSecretStore]. Namespace and UID are required.
type SecretStoreOptions struct {
	// Namespace holds the Secrets.
	Namespace string
	// UID of the object whose inventory this is. A new object of the same
	// name has a new UID and never sees the old inventory.
	UID string
	// ManagedBy is the value of the label app.kubernetes.io/managed-by.
	ManagedBy string
	// Head keeps the head. nil: a Secret beside the chunks.
	Head HeadStore
}

// SecretStore keeps an inventory of any size in immutable Secrets of at most
// 900 KiB. Safe for concurrent use.
type SecretStore struct {
	c    Cluster
	o    SecretStoreOptions
	head HeadStore

	mu    sync.Mutex
	sound string // the version of the head whose chunks were last seen whole
}

var _ inventory.Store = (*SecretStore)(nil)

// NewSecretStore returns a store on the cluster. It makes no request. Missing
// options are [ErrInvalidObject].
func NewSecretStore(c Cluster, o SecretStoreOptions) (*SecretStore, error) {
	if c == nil || o.Namespace == "" || o.UID == "" || strings.ContainsAny(o.UID, "/ ") {
		return nil, fmt.Errorf("new secret store: cluster, namespace and UID are required: %w", ErrInvalidObject)
	}
	s := &SecretStore{c: c, o: o, head: o.Head}
	if s.head == nil {
		s.head = &headSecret{s: s}
	}
	return s, nil
}

func (s *SecretStore) resource(ctx context.Context) (Resource, error) {
	return s.c.Resource(ctx, schema.GroupVersionKind{Version: "v1", Kind: "Secret"})
}

// Load implements [inventory.Store]. A chunk that is missing or changed is
// [inventory.ErrCorrupt].
func (s *SecretStore) Load(ctx context.Context) (inventory.Set, string, error) {
	set, version, err := s.load(ctx)
	if err != nil {
		s.trust("")
	} else {
		s.trust(version)
	}
	return set, version, err
}

// trust notes that the chunks of a version of the head were whole.
func (s *SecretStore) trust(version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sound = version
}

func (s *SecretStore) load(ctx context.Context) (inventory.Set, string, error) {
	h, version, err := s.head.LoadHead(ctx)
	if err != nil || h == nil {
		return inventory.Set{}, version, err
	}
	if h.Format != formatV2 || len(h.Chunks) > 1000 {
		return inventory.Set{}, version, fmt.Errorf("load inventory: format %q: %w", oneLine(h.Format), inventory.ErrCorrupt)
	}
	r, err := s.resource(ctx)
	if err != nil {
		return inventory.Set{}, version, err
	}
	chunks := make([][]byte, 0, len(h.Chunks))
	for _, name := range h.Chunks {
		if !s.own(name) {
			return inventory.Set{}, version, fmt.Errorf("load inventory: chunk %q is not of this owner: %w", oneLine(name), inventory.ErrCorrupt)
		}
		u, err := s.c.Get(ctx, r, s.o.Namespace, name)
		if isAbsent(err) {
			return inventory.Set{}, version, fmt.Errorf("load inventory: chunk %s is missing: %w", oneLine(name), inventory.ErrCorrupt)
		}
		if err != nil {
			return inventory.Set{}, version, fmt.Errorf("load inventory: chunk %s: %w", oneLine(name), err)
		}
		b, err := base64.StdEncoding.DecodeString(nestedString(u.Object, "data", "entries"))
		if err != nil {
			return inventory.Set{}, version, fmt.Errorf("load inventory: chunk %s: %w", oneLine(name), inventory.ErrCorrupt)
		}
		chunks = append(chunks, b)
	}
	set, err := inventory.Decode(chunks, h.Digest)
	return set, version, err
}

// Save implements [inventory.Store]: new chunks, then the head, then the
// removal of chunks that no head names any more. What is stored already, and
// was seen whole by this store, is not written again.
func (s *SecretStore) Save(ctx context.Context, set inventory.Set, expected string) (string, error) {
	version, err := s.save(ctx, set, expected)
	if err != nil {
		s.trust("")
	} else {
		s.trust(version)
	}
	return version, err
}

func (s *SecretStore) stored(h *InventoryHead, current, digest, expected string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return h != nil && h.Format == formatV2 && h.Digest == digest && current != "" && current == expected && current == s.sound
}

func (s *SecretStore) save(ctx context.Context, set inventory.Set, expected string) (string, error) {
	old, current, err := s.head.LoadHead(ctx)
	if errors.Is(err, inventory.ErrCorrupt) {
		old, err = nil, nil // to be replaced; Sweep finds the chunks that it named
	}
	if err != nil {
		return "", err
	}
	enc, err := inventory.Encode(set)
	if err != nil {
		return "", err
	}
	if s.stored(old, current, enc.Digest, expected) {
		return current, nil
	}
	h := &InventoryHead{Format: formatV2, Digest: enc.Digest, Entries: enc.Entries, Kinds: kindsOf(set)}
	short := strings.TrimPrefix(enc.Digest, "sha256:")[:8]
	for i, chunk := range enc.Chunks {
		name := "inventory-" + s.o.UID + "-" + short + "-" + strconv.Itoa(i)
		if err := s.writeChunk(ctx, name, chunk); err != nil {
			return "", fmt.Errorf("save inventory: chunk %s: %w", name, err)
		}
		fail.Point(fpChunkWrite)
		h.Chunks = append(h.Chunks, name)
	}
	version, err := s.head.SaveHead(ctx, h, expected)
	if errors.Is(err, inventory.ErrConflict) && s.holds(ctx, h, &version) {
		err = nil
	}
	if err != nil {
		return "", err
	}
	fail.Point(fpChunkHead)
	if old != nil {
		for _, name := range old.Chunks {
			if !slices.Contains(h.Chunks, name) && s.own(name) {
				fail.Point(fpChunkDelete)
				s.dropChunk(ctx, name, "")
			}
		}
	}
	return version, nil
}

// holds reports whether the stored head is h, and its version. A conflict may
// be with our own write, whose reply was lost.
func (s *SecretStore) holds(ctx context.Context, h *InventoryHead, version *string) bool {
	have, v, err := s.head.LoadHead(ctx)
	if err != nil || have == nil || have.Format != h.Format || have.Digest != h.Digest || have.Entries != h.Entries ||
		!slices.Equal(have.Chunks, h.Chunks) || !slices.Equal(have.Kinds, h.Kinds) {
		return false
	}
	*version = v
	return true
}

// own reports whether a name is that of a chunk of this owner. The head may
// be where others write: what else it names is neither read nor removed.
func (s *SecretStore) own(name string) bool {
	return strings.HasPrefix(name, "inventory-"+s.o.UID+"-") && name != s.headName()
}

// writeChunk creates a chunk. One of that name that holds other bytes cannot
// be trusted and is replaced.
func (s *SecretStore) writeChunk(ctx context.Context, name string, chunk []byte) error {
	r, err := s.resource(ctx)
	if err != nil {
		return err
	}
	data := base64.StdEncoding.EncodeToString(chunk)
	body := s.secret(name, chunkType, map[string]any{"entries": data})
	body.Object["immutable"] = true
	for range maxTries {
		_, err := s.c.Send(ctx, Write{Verb: VerbCreate, Resource: r, Namespace: s.o.Namespace, Object: body, FieldManager: s.manager()})
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		have, err := s.c.Get(ctx, r, s.o.Namespace, name)
		switch {
		case isAbsent(err):
			continue
		case err != nil:
			return err
		case nestedString(have.Object, "data", "entries") == data:
			return nil
		}
		s.dropChunk(ctx, name, string(have.GetUID()))
	}
	return inventory.ErrConflict
}

func (s *SecretStore) manager() string {
	if s.o.ManagedBy != "" {
		return s.o.ManagedBy
	}
	return "gitops-kit"
}

func (s *SecretStore) secret(name, kind string, data map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Secret", "type": kind, "data": data,
		"metadata": map[string]any{
			"name": name, "namespace": s.o.Namespace,
			"labels": map[string]any{ownerLabel: s.o.UID, "app.kubernetes.io/managed-by": s.manager()},
		},
	}}
}

// dropChunk removes a chunk; a failure only leaves work for Sweep.
func (s *SecretStore) dropChunk(ctx context.Context, name, uid string) {
	r, err := s.resource(ctx)
	if err == nil {
		_, _ = s.c.Send(ctx, Write{Verb: VerbDelete, Resource: r, Namespace: s.o.Namespace, Name: name, UID: uid})
	}
}

// Sweep removes this owner's chunks that the head does not name and that are
// older than 10 minutes. With all, for an owner that is gone, it removes
// every chunk and the head. It returns how many it removed. While the head
// cannot be read nothing is known to be superfluous, and nothing is removed.
func (s *SecretStore) Sweep(ctx context.Context, all bool) (int, error) {
	r, err := s.resource(ctx)
	if err != nil {
		return 0, err
	}
	keep := map[string]bool{}
	if !all {
		h, _, err := s.head.LoadHead(ctx)
		if errors.Is(err, inventory.ErrCorrupt) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		keep[s.headName()] = true
		if h != nil {
			for _, n := range h.Chunks {
				keep[n] = true
			}
		}
	}
	type victim struct{ name, uid string }
	var victims []victim
	o := ListOptions{Namespace: s.o.Namespace, LabelSelector: ownerLabel + "=" + s.o.UID, MetadataOnly: true}
	for u, err := range s.c.List(ctx, r, o) {
		if err != nil {
			return 0, err
		}
		if !keep[u.GetName()] && (all || time.Since(u.GetCreationTimestamp().Time) > sweepAge) {
			victims = append(victims, victim{u.GetName(), string(u.GetUID())})
		}
	}
	for _, v := range victims {
		s.dropChunk(ctx, v.name, v.uid)
	}
	return len(victims), nil
}

func kindsOf(set inventory.Set) []string {
	kinds := map[string]bool{}
	for it := range set.Items() {
		if it.ID.Parsed() {
			kinds[it.ID.Group+"/"+it.Version+"/"+it.ID.Kind] = true
		}
	}
	return slices.Sorted(maps.Keys(kinds))
}

func (s *SecretStore) headName() string { return "inventory-" + s.o.UID + "-head" }

// headSecret keeps the head in a Secret.
type headSecret struct{ s *SecretStore }

// LoadHead implements [HeadStore].
func (h *headSecret) LoadHead(ctx context.Context) (*InventoryHead, string, error) {
	r, err := h.s.resource(ctx)
	if err != nil {
		return nil, "", err
	}
	u, err := h.s.c.Get(ctx, r, h.s.o.Namespace, h.s.headName())
	if isAbsent(err) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("load inventory head: %w", err)
	}
	b, err := base64.StdEncoding.DecodeString(nestedString(u.Object, "data", "head"))
	var head InventoryHead
	if err == nil {
		err = json.Unmarshal(b, &head)
	}
	if err != nil {
		return nil, u.GetResourceVersion(), fmt.Errorf("load inventory head: %w", errors.Join(inventory.ErrCorrupt, err))
	}
	return &head, u.GetResourceVersion(), nil
}

// SaveHead implements [HeadStore].
func (h *headSecret) SaveHead(ctx context.Context, head *InventoryHead, expected string) (string, error) {
	r, err := h.s.resource(ctx)
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(head)
	if err != nil {
		return "", fmt.Errorf("save inventory head: %w", err)
	}
	body := h.s.secret(h.s.headName(), headType, map[string]any{"head": base64.StdEncoding.EncodeToString(b)})
	w := Write{Verb: VerbCreate, Resource: r, Namespace: h.s.o.Namespace, Name: "", Object: body, FieldManager: h.s.manager()}
	if expected != "" {
		w.Verb, w.Name = VerbUpdate, h.s.headName()
		body.SetResourceVersion(expected)
	}
	u, err := h.s.c.Send(ctx, w)
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err), isAbsent(err):
		return "", fmt.Errorf("save inventory head: %w", inventory.ErrConflict)
	case err != nil:
		return "", fmt.Errorf("save inventory head: %w", err)
	}
	return u.GetResourceVersion(), nil
}
