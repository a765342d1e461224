// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	v1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/client"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
)

// entryBytes is what an entry of a status takes besides id and version.
const entryBytes = len(`{"id":"","v":""},`)

// statusStore keeps the inventory of one object: in its status, and in
// Secrets of the install namespace when it is too large for that. A set that
// adds objects is stored at once; one that only drops some goes out with the
// run's next status write.
type statusStore struct {
	*Reconciler
	o *v1.Kustomization
	// saving is the set whose head is written.
	saving inventory.Set
}

var _ inventory.Store = (*statusStore)(nil)

// Load implements [inventory.Store].
func (s *statusStore) Load(ctx context.Context) (inventory.Set, string, error) {
	if !spilled(s.o) {
		return storedInventory(s.o), "status", nil
	}
	c, err := s.chunks(ctx)
	if err != nil {
		return inventory.Set{}, "", err
	}
	return c.Load(ctx)
}

// Save implements [inventory.Store].
func (s *statusStore) Save(ctx context.Context, set inventory.Set, version string) (string, error) {
	before, was := storedInventory(s.o), spilled(s.o)
	if s.large(set) && s.spills(ctx) {
		c, err := s.chunks(ctx)
		if err != nil {
			return "", err
		}
		s.saving = set
		return c.Save(ctx, set, version)
	}
	s.o.Status.Inventory = inventoryOf(set)
	if !was && before.ContainsAll(set) {
		return "status", nil
	}
	if err := reconcile.Checkpoint(ctx); err != nil {
		return "", err
	}
	if was {
		return "status", s.sweep(ctx)
	}
	return "status", nil
}

// sweep removes every chunk of the object.
func (s *statusStore) sweep(ctx context.Context) error {
	c, err := s.chunks(ctx)
	if err != nil {
		return err
	}
	_, err = c.Sweep(ctx, true)
	return err
}

// large reports whether a set does not belong into a status.
func (s *statusStore) large(set inventory.Set) bool {
	size := 0
	for id, version := range set.Entries() {
		size += len(id) + len(version) + entryBytes
	}
	return s.flags.InventorySpillBytes > 0 && size > s.flags.InventorySpillBytes
}

// spills reports whether the installed CRD can hold the head of a spilled
// inventory. It is asked once.
func (r *Reconciler) spills(ctx context.Context) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.canSpill != nil {
		return *r.canSpill
	}
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	if err := r.APIReader.Get(ctx, keyOf("", "kustomizations."+group), crd); err != nil {
		return false // asked again next time
	}
	can := false
	versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
	for _, v := range versions {
		m, _ := v.(map[string]any)
		_, found, _ := unstructured.NestedFieldNoCopy(m, "schema", "openAPIV3Schema", "properties", "status", "properties", "inventory", "properties", "spill")
		can = can || found
	}
	if !can {
		logf.FromContext(ctx).Info("large inventories stay in the status: the installed CRD has no place for anything else")
	}
	r.canSpill = &can
	return can
}

func spilled(o *v1.Kustomization) bool {
	return o.Status.Inventory != nil && o.Status.Inventory.Spill != nil
}

// chunks returns the store of the parts, read and written as the controller.
func (s *statusStore) chunks(ctx context.Context) (*ssa.SecretStore, error) {
	c, err := s.Pool.Get(ctx, client.Target{})
	if err != nil {
		return nil, err
	}
	cluster, err := client.Shared(c, newCluster)
	if err != nil {
		return nil, err
	}
	return ssa.NewSecretStore(cluster, ssa.SecretStoreOptions{Namespace: s.Namespace, UID: string(s.o.UID), ManagedBy: Name, Head: s})
}

// LoadHead implements [ssa.HeadStore].
func (s *statusStore) LoadHead(context.Context) (*ssa.InventoryHead, string, error) {
	if !spilled(s.o) {
		return nil, "", nil
	}
	h := s.o.Status.Inventory.Spill
	return &ssa.InventoryHead{Format: h.Format, Digest: h.Digest, Entries: int(h.Entries), Chunks: h.Chunks, Kinds: h.Kinds}, "status", nil
}

// SaveHead implements [ssa.HeadStore]: the status write that makes the chunks
// count. Its entries are those that clients follow, and some of the others.
func (s *statusStore) SaveHead(ctx context.Context, h *ssa.InventoryHead, _ string) (string, error) {
	s.o.Status.Inventory = mirror(s.saving, s.flags.InventorySpillBytes/2)
	s.o.Status.Inventory.Spill = &meta.InventorySpill{Format: h.Format, Digest: h.Digest, Entries: int64(h.Entries), Chunks: h.Chunks, Kinds: h.Kinds}
	return "status", reconcile.Checkpoint(ctx)
}

// mirror returns entries up to a size: Kustomizations and HelmReleases first.
func mirror(set inventory.Set, limit int) *v1.ResourceInventory {
	out := &v1.ResourceInventory{Entries: []v1.ResourceRef{}}
	size := 0
	for _, first := range []bool{true, false} {
		for id, version := range set.Entries() {
			if followed(id) != first {
				continue
			}
			if size += len(id) + len(version) + entryBytes; size > limit && !first {
				return out
			}
			out.Entries = append(out.Entries, v1.ResourceRef{ID: id, Version: version})
		}
	}
	return out
}

// followed reports whether clients walk from the object to its own inventory.
func followed(id string) bool {
	return strings.HasSuffix(id, "_"+group+"_"+v1.KustomizationKind) || strings.HasSuffix(id, "_helm.toolkit.fluxcd.io_"+helmReleaseKind)
}

// loadInventory opens the ledger of o. A stored inventory that was lost is
// rebuilt from the cluster; complete is false then, and nothing may be
// deleted.
func (x *run) loadInventory(ctx context.Context, o *v1.Kustomization) (complete bool, err error) {
	s := &statusStore{Reconciler: x.Reconciler, o: o}
	x.ledger = inventory.NewLedger(s)
	err = x.ledger.Load(ctx)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, inventory.ErrCorrupt) || x.manager == nil {
		return false, failed(meta.InventoryFailedReason, err, "%v", err)
	}
	found, rerr := x.manager.Recover(ctx, ssa.ParseKinds(o.Status.Inventory.Spill.Kinds))
	if rerr != nil {
		return false, failed(meta.InventoryFailedReason, rerr, "rebuild inventory: %v", rerr)
	}
	reconcile.Emit(ctx, x.event(o, events.Warning, meta.InventoryFailedReason,
		fmt.Sprintf("%v; rebuilt from %d objects of the cluster, nothing is pruned in this run", err, found.Len())))
	set := storedInventory(o).Union(found)
	if _, err := s.Save(ctx, set, "status"); err != nil { // at once: the ledger writes changes only
		return false, failed(meta.InventoryFailedReason, err, "%v", err)
	}
	return false, x.ledger.Load(ctx)
}

// storedInventory returns what the status lists: all objects, or those that
// it mirrors.
func storedInventory(o *v1.Kustomization) inventory.Set {
	var s inventory.Set
	if o.Status.Inventory != nil {
		for _, e := range o.Status.Inventory.Entries {
			s.AddEntry(e.ID, e.Version)
		}
	}
	return s
}

// fullInventory returns all objects of another Kustomization.
func (r *Reconciler) fullInventory(ctx context.Context, o *v1.Kustomization) (inventory.Set, error) {
	s, _, err := (&statusStore{Reconciler: r, o: o}).Load(ctx)
	return s, err
}

func inventoryOf(s inventory.Set) *v1.ResourceInventory {
	out := &v1.ResourceInventory{Entries: []v1.ResourceRef{}}
	for id, version := range s.Entries() {
		out.Entries = append(out.Entries, v1.ResourceRef{ID: id, Version: version})
	}
	return out
}
