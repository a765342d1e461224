// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"fmt"
	"strings"

	"github.com/gitops-kit/sdk/ssa/internal/fieldset"
	"github.com/gitops-kit/sdk/ssa/inventory"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ParseKinds reads what InventoryHead.Kinds holds. Malformed ones are left out.
func ParseKinds(kinds []string) []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for _, k := range kinds {
		if p := strings.Split(k, "/"); len(p) == 3 && p[2] != "" {
			out = append(out, schema.GroupVersionKind{Group: p[0], Version: p[1], Kind: p[2]})
		}
	}
	return out
}

// Recover rebuilds an inventory from the cluster, by one LIST per kind with
// the owner labels. It takes only objects whose owner labels were applied by
// our field manager, because others copy labels. Add what it finds to what is
// known; it never shows that something is not ours.
func (m *Manager) Recover(ctx context.Context, kinds []schema.GroupVersionKind) (inventory.Set, error) {
	var out inventory.Set
	for _, gvk := range kinds {
		r, err := m.resource(ctx, inventory.Item{ID: ID{Group: gvk.Group, Kind: gvk.Kind}, Version: gvk.Version})
		if isUnknownKind(err) {
			continue
		}
		if err != nil {
			return out, fmt.Errorf("recover inventory: %s: %w", gvk.Kind, err)
		}
		for l, err := range m.listLive(ctx, r, ListOptions{LabelSelector: m.o.Owner.selector()}) {
			if err != nil {
				return out, fmt.Errorf("recover inventory: %s: %w", gvk.Kind, err)
			}
			if m.labelled(l) {
				out.Add(inventory.Item{ID: IDOf(l.u), Version: r.GVK.Version, UID: l.uid()})
			}
		}
	}
	return out, nil
}

// labelled reports whether our Apply entry owns both owner labels.
func (m *Manager) labelled(l *liveObject) bool {
	managers := l.managers()
	at := own(managers, m.o.Owner.FieldManager)
	if at < 0 {
		return false
	}
	s, err := managers[at].fields(m.o.Limits.fieldsV1())
	if err != nil {
		return false
	}
	meta := s.Child(fieldset.Root, fieldset.Field, "metadata")
	if meta == 0 {
		return false
	}
	labels := s.Child(meta, fieldset.Field, "labels")
	if labels == 0 {
		return false
	}
	for k := range m.o.Owner.Labels() {
		if s.Child(labels, fieldset.Field, k) == 0 {
			return false
		}
	}
	return true
}
