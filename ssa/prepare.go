// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// prepare copies the input and finds what is wrong with it by itself.
func (pl *planner) prepare(objects []*unstructured.Unstructured) {
	for i, in := range objects {
		e := &pl.p.Entries[i]
		e.x = &work{index: i}
		if in == nil {
			e.block(WhyInvalid, OpDecode, fmt.Errorf("%w: nil", ErrInvalidObject))
			continue
		}
		if pl.o.Provenance != nil {
			e.Source = oneLine(pl.o.Provenance(in))
		}
		gvk := in.GroupVersionKind()
		e.ID, e.Version = IDOf(in), gvk.Version
		e.Stage, e.Rank = stageOf(pl.m.stages, gvk.GroupKind()), rankOf(gvk.GroupKind())
		if err := identity(in); err != nil {
			e.block(WhyInvalid, OpDecode, err)
			continue
		}
	}
	pl.m.each(len(objects), func(i int) { pl.copied(&pl.p.Entries[i], objects[i]) })
	seen := make(map[ID]int, len(objects))
	for i := range pl.p.Entries {
		e := &pl.p.Entries[i]
		if e.x.desired == nil {
			continue
		}
		if first, ok := seen[e.ID]; ok {
			duplicate(&pl.p.Entries[first], e)
			continue
		}
		seen[e.ID] = i
	}
}

// copied gives an entry its copy of the input, if nothing is wrong so far.
func (pl *planner) copied(e *Entry, in *unstructured.Unstructured) {
	if e.Decision == DecisionBlocked {
		return
	}
	m, err := copyObject(in.Object, pl.m.o.Limits)
	if err != nil {
		op := OpDecode
		if _, ok := err.(*LimitError); ok { //nolint:errorlint // copyObject returns it bare
			op = OpLimit
		}
		e.block(WhyInvalid, op, err)
		return
	}
	e.x.desired = &unstructured.Unstructured{Object: m}
}

// identity checks what every object must have.
func identity(u *unstructured.Unstructured) error {
	switch {
	case u.GetAPIVersion() == "":
		return fmt.Errorf("%w: apiVersion is missing", ErrInvalidObject)
	case u.GetKind() == "":
		return fmt.Errorf("%w: kind is missing", ErrInvalidObject)
	case u.GetGenerateName() != "" && u.GetName() == "":
		return fmt.Errorf("%w: generateName cannot be applied", ErrInvalidObject)
	case u.GetGenerateName() != "":
		return fmt.Errorf("%w: generateName beside a name", ErrInvalidObject)
	case u.GetName() == "":
		return fmt.Errorf("%w: metadata.name is missing", ErrInvalidObject)
	}
	if _, err := schema.ParseGroupVersion(u.GetAPIVersion()); err != nil {
		return fmt.Errorf("%w: apiVersion %q", ErrInvalidObject, u.GetAPIVersion())
	}
	return nil
}

// duplicate blocks both objects of one identity, naming both sources.
func duplicate(a, b *Entry) {
	where := func(e *Entry) string {
		if e.Source != "" {
			return e.Source
		}
		return fmt.Sprintf("object %d", e.x.index)
	}
	err := fmt.Errorf("%w: %s and %s", ErrDuplicateObject, where(a), where(b))
	for _, e := range []*Entry{a, b} {
		if e.Decision == "" || e.Decision == DecisionBlocked || e.x.pending {
			e.block(WhyInvalid, OpDecode, err)
		}
	}
}

// twins blocks deferred entries that turn out to be one object with another of
// the set: their kind, known only now, has no namespaces.
func twins(entries []Entry, todo []*Entry) {
	if !slices.ContainsFunc(todo, func(e *Entry) bool { return e.x.pending && !e.x.r.Namespaced }) {
		return
	}
	seen := make(map[ID]*Entry, len(entries))
	for i := range entries {
		e := &entries[i]
		if e.x.r.GVR.Resource == "" {
			continue
		}
		if first, ok := seen[e.ID]; ok {
			duplicate(first, e)
			continue
		}
		seen[e.ID] = e
	}
}

// resolve finds the resources of all kinds and makes the payloads.
func (pl *planner) resolve(ctx context.Context) {
	pl.defined = map[schema.GroupVersionKind]ID{}
	pl.spaces = map[string]*Entry{}
	kinds := map[schema.GroupVersionKind][]*Entry{}
	for i := range pl.p.Entries {
		e := &pl.p.Entries[i]
		if e.Decision == DecisionBlocked {
			continue
		}
		pl.defines(e)
		gvk := e.x.desired.GroupVersionKind()
		kinds[gvk] = append(kinds[gvk], e)
	}
	gvks := make([]schema.GroupVersionKind, 0, len(kinds))
	for gvk := range kinds {
		gvks = append(gvks, gvk)
	}
	var mu sync.Mutex
	pl.m.each(len(gvks), func(i int) {
		r, err := pl.m.c.Resource(ctx, gvks[i])
		mu.Lock()
		defer mu.Unlock()
		for _, e := range kinds[gvks[i]] {
			pl.resolved(e, r, err)
		}
	})
	// Identities of cluster-scoped objects have no namespace; two inputs may
	// turn out to be one only now.
	seen := map[ID]int{}
	for i := range pl.p.Entries {
		e := &pl.p.Entries[i]
		if e.Decision == DecisionBlocked {
			continue
		}
		if first, ok := seen[e.ID]; ok {
			duplicate(&pl.p.Entries[first], e)
			continue
		}
		seen[e.ID] = i
	}
}

// defines notes kinds and namespaces that the entry brings.
func (pl *planner) defines(e *Entry) {
	switch groupKind(e.ID) {
	case schema.GroupKind{Kind: "Namespace"}:
		pl.spaces[e.ID.Name] = e
	case schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}:
		for _, gvk := range definedKinds(e.x.desired.Object) {
			pl.defined[gvk] = e.ID
		}
	}
}

// definedKinds returns the served kinds of a CustomResourceDefinition.
func definedKinds(crd map[string]any) []schema.GroupVersionKind {
	spec := nestedMap(crd, "spec")
	group, _ := spec["group"].(string)
	kind := nestedString(spec, "names", "kind")
	versions, _ := spec["versions"].([]any)
	var out []schema.GroupVersionKind
	for _, v := range versions {
		v, _ := v.(map[string]any)
		name, _ := v["name"].(string)
		if served, ok := v["served"].(bool); ok && !served {
			continue
		}
		out = append(out, schema.GroupVersionKind{Group: group, Version: name, Kind: kind})
	}
	return out
}

func (pl *planner) resolved(e *Entry, r Resource, err error) {
	gvk := e.x.desired.GroupVersionKind()
	_, ours := pl.defined[gvk]
	switch {
	case err == nil:
	case isUnknownKind(err) && ours:
		e.decide(DecisionDeferred, WhyUnknownKind)
		return
	case isUnknownKind(err) && pl.o.DeferUnknownKinds:
		e.decide(DecisionDeferred, WhyUnknownKind)
		e.x.last = true
		e.Stage = len(pl.m.stages) + 1
		return
	case isUnknownKind(err):
		e.block(WhyUnknownKind, OpDryRun, &UnknownKindError{GVK: gvk})
		return
	default:
		e.block(WhyUnknownKind, OpRead, err)
		return
	}
	pl.ready(e, r)
}

// ready completes an entry whose resource is known.
func (pl *planner) ready(e *Entry, r Resource) {
	e.x.r = r
	if !r.Namespaced {
		e.ID.Namespace = ""
	}
	if r.Namespaced && e.ID.Namespace == "" {
		e.block(WhyInvalid, OpDryRun, &ObjectError{
			ID: e.ID, Op: OpDryRun, Source: e.Source, APIReason: "NotFound",
			Message: "namespace not specified: " + e.ID.Kind + " is a namespaced kind", Err: ErrInvalidObject,
		})
		return
	}
	if err := pl.m.payload(e.x.desired, r); err != nil {
		e.block(WhyInvalid, OpDecode, err)
		return
	}
	e.x.ignore, _ = pathsFor(pl.p.rules, e.x.desired)
	e.x.sent = e.x.desired
	e.x.pending = true
}

// readLive reads the live objects; what can be decided without a request is
// decided as they arrive.
func (pl *planner) readLive(ctx context.Context) {
	var want []*wanted
	for i := range pl.p.Entries {
		e := &pl.p.Entries[i]
		if !e.x.pending {
			continue
		}
		want = append(want, &wanted{r: e.x.r, namespace: e.ID.Namespace, name: e.ID.Name, found: func(l *liveObject, err error) {
			pl.judge(ctx, e, l, err)
		}})
	}
	pl.m.read(ctx, want, &pl.count)
	pl.reread(ctx)
}

// reread looks up again the kinds that turned out not to be served any more
// although they were known.
func (pl *planner) reread(ctx context.Context) {
	for i := range pl.p.Entries {
		e := &pl.p.Entries[i]
		if e.Why != WhyLiveUnreadable || !errors.Is(e.Err, errKindGone) {
			continue
		}
		e.Decision, e.Why, e.Err = "", "", nil
		r, err := pl.m.c.Resource(ctx, e.x.desired.GroupVersionKind())
		pl.resolved(e, r, err)
		if e.x.pending {
			pl.count.get.Add(1)
			l, err := pl.m.get(ctx, r, e.ID.Namespace, e.ID.Name)
			pl.judge(ctx, e, l, err)
		}
	}
}

// deferrals finds what can be decided only after something else of the set
// was written.
func (pl *planner) deferrals() {
	changed := map[ID]bool{}
	for i := range pl.p.Entries {
		switch e := &pl.p.Entries[i]; e.Decision {
		case DecisionCreate, DecisionUpdate, DecisionRecreate, DecisionDeferred:
			changed[e.ID] = true
		case DecisionUnchanged, DecisionSkip, DecisionBlocked, DecisionDelete:
		}
	}
	for i := range pl.p.Entries {
		e := &pl.p.Entries[i]
		if !e.x.pending {
			continue
		}
		if ns, ok := pl.spaces[e.ID.Namespace]; ok && e.ID.Namespace != "" && (ns.Decision == DecisionCreate || ns.Decision == DecisionDeferred) {
			e.decide(DecisionDeferred, WhyNewNamespace)
			continue
		}
		if crd, ok := pl.defined[e.x.desired.GroupVersionKind()]; ok && changed[crd] {
			e.decide(DecisionDeferred, WhyNewDefinition)
		}
	}
}

// definer reports whether deciding about others needs e's decision first.
func (pl *planner) definer(e *Entry) bool {
	switch groupKind(e.ID) {
	case schema.GroupKind{Kind: "Namespace"}, schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}:
		return true
	}
	return false
}
