// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"slices"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/kyaml/resid"
)

// refTree holds the reference fields of one type.
type refTree struct {
	next    map[string]*refTree
	targets []resid.Gvk // in order; the field is here
	role    bool        // the field is roleRef/name
}

// names finds what a name means after objects were renamed.
type names struct {
	byName map[string][]*resource // by each former name, in build order
	byNS   map[string][]*resource // by original namespace, namespaced only
	trees  map[[3]string]*refTree
}

// fixReferences updates the fields that name an object whose name changed.
func fixReferences(list []*resource) error {
	x := &names{byName: map[string][]*resource{}, byNS: map[string][]*resource{}, trees: map[[3]string]*refTree{}}
	for _, r := range list {
		for i, p := range r.prev {
			if !slices.ContainsFunc(r.prev[:i], func(q formerID) bool { return q.name == p.name }) {
				x.byName[p.name] = append(x.byName[p.name], r)
			}
		}
		if ns := r.first().namespace; ns != resid.TotallyNotANamespace {
			x.byNS[ns] = append(x.byNS[ns], r)
		}
	}
	if len(x.byName) == 0 {
		return nil
	}
	for _, r := range list {
		t := x.tree(r)
		if t == nil {
			continue
		}
		f := &referrer{names: x, r: r}
		if err := f.bindings(); err != nil {
			return err
		}
		if err := f.walk(r.node, t); err != nil {
			return err
		}
	}
	return nil
}

// tree returns the reference fields of a resource's type, nil if it has none.
func (x *names) tree(r *resource) *refTree {
	key := [3]string{r.group, r.version, r.first().kind}
	if t, ok := x.trees[key]; ok {
		return t
	}
	var root *refTree
	for _, ref := range references() {
		// The original kind selects, the current one must match, too.
		if !ref.from.matches(key[0], key[1], key[2]) {
			continue
		}
		if root == nil {
			root = &refTree{}
		}
		t := root
		for _, step := range ref.from.path {
			if t.next == nil {
				t.next = map[string]*refTree{}
			}
			if t.next[step] == nil {
				t.next[step] = &refTree{}
			}
			t = t.next[step]
		}
		t.targets = append(t.targets, ref.target)
		t.role = slices.Equal(ref.from.path, at("roleRef", "name"))
	}
	x.trees[key] = root
	return root
}

// referrer is a resource whose references are updated.
type referrer struct {
	*names
	r      *resource
	grants map[string]bool // namespaces of a RoleBinding's accounts
}

// bindings reads the namespaces whose objects a RoleBinding may name.
func (f *referrer) bindings() error {
	if f.r.kind != "RoleBinding" {
		return nil
	}
	list := child(f.r.node, "subjects")
	if list == nil || list.Kind != yaml.SequenceNode {
		return nil
	}
	f.grants = map[string]bool{}
	for _, s := range list.Content {
		if s.Kind != yaml.MappingNode {
			return errBail
		}
		ns, kind := child(s, "namespace"), child(s, "kind")
		if ns == nil || kind == nil || kind.Value != "ServiceAccount" {
			continue
		}
		if ns.Kind != yaml.ScalarNode || ns.ShortTag() != "!!str" {
			return errBail
		}
		f.grants[ns.Value] = true
	}
	return nil
}

func (f *referrer) walk(n *yaml.Node, t *refTree) error {
	if isNull(n) {
		return nil
	}
	if len(t.targets) > 0 {
		return f.set(n, t)
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, c := range n.Content {
			if err := f.walk(c, t); err != nil {
				return err
			}
		}
		return nil
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if next := t.next[n.Content[i].Value]; next != nil {
				if err := f.walk(n.Content[i+1], next); err != nil {
					return err
				}
			}
		}
		return nil
	case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
	}
	return errBail
}

// set updates the field at n for each kind it may name.
func (f *referrer) set(n *yaml.Node, t *refTree) error {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	for _, target := range t.targets {
		for _, it := range items {
			if n.Kind == yaml.SequenceNode && isNull(it) {
				continue
			}
			var err error
			switch it.Kind {
			case yaml.ScalarNode:
				err = f.setScalar(it, target, t.role)
			case yaml.MappingNode:
				err = f.setMapping(it, target)
			default:
				err = errBail
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *referrer) setScalar(n *yaml.Node, target resid.Gvk, role bool) error {
	found, err := f.find(f.byName[n.Value], target, role, func(a, b *resource) bool { return a.name == b.name })
	if err != nil || found == nil || found.name == n.Value {
		return err
	}
	return setString(n, found.name)
}

// setMapping updates name and namespace of a reference that has both.
func (f *referrer) setMapping(n *yaml.Node, target resid.Gvk) error {
	name := child(n, "name")
	if name == nil || name.Kind != yaml.ScalarNode {
		return errBail
	}
	candidates := f.byName[name.Value]
	if ns := child(n, "namespace"); ns != nil {
		candidates = f.inNamespace(candidates, ns.Value)
	}
	found, err := f.find(candidates, target, false, func(a, b *resource) bool { return a.name == b.name && a.namespace == b.namespace })
	if err != nil || found == nil || found.name == name.Value && found.namespace == "" {
		return err
	}
	if err := setString(name, found.name); err != nil || found.namespace == "" {
		return err
	}
	if !staysString(found.namespace) {
		return errBail
	}
	return setEntry(n, "namespace", found.namespace)
}

// inNamespace keeps the candidates whose original namespace is ns if there is
// any such object, else those whose current one is.
func (f *referrer) inNamespace(candidates []*resource, ns string) []*resource {
	original := slices.ContainsFunc(f.byNS[ns], f.reaches)
	var out []*resource
	for _, c := range candidates {
		switch {
		case original && c.first().namespace == ns && ns != resid.TotallyNotANamespace:
			out = append(out, c)
		case !original && c.effective() == ns && !c.cluster:
			out = append(out, c)
		}
	}
	return out
}

// reaches reports whether the referrer may name an object at all.
func (f *referrer) reaches(c *resource) bool {
	return f.r.cluster || c.cluster || c.effective() == f.r.effective() || f.grants[c.namespace]
}

// find picks the one candidate that is meant, nil if there is none.
func (f *referrer) find(candidates []*resource, target resid.Gvk, role bool, same func(a, b *resource) bool) (*resource, error) {
	var list []*resource
	var roleRef *resid.Gvk
	if role && len(candidates) > 0 {
		group, kind := child(child(f.r.node, "roleRef"), "apiGroup"), child(child(f.r.node, "roleRef"), "kind")
		if group != nil && kind != nil {
			roleRef = &resid.Gvk{Group: group.Value, Kind: kind.Value}
		}
	}
	for _, c := range candidates {
		if f.reaches(c) && c.wasKind(&target) && (roleRef == nil || c.wasKind(roleRef)) &&
			(f.r.cluster || c.cluster || c.kind == "ServiceAccount" || c.effective() == f.r.effective()) {
			list = append(list, c)
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	for _, loose := range []bool{true, false} {
		if loose || len(list) > 1 {
			list = slices.DeleteFunc(list, func(c *resource) bool { return !sameAffixes(c, f.r, loose) })
		}
	}
	switch {
	case len(list) == 0:
		return nil, nil
	case slices.ContainsFunc(list[1:], func(c *resource) bool { return !same(list[0], c) }):
		return nil, errBail
	}
	return list[0], nil
}

// wasKind reports whether a former identity is selected.
func (r *resource) wasKind(sel *resid.Gvk) bool {
	return slices.ContainsFunc(r.prev, func(p formerID) bool {
		return resid.Gvk{Group: r.group, Version: r.version, Kind: p.kind}.IsSelected(sel)
	})
}

// sameAffixes reports whether two objects got their last prefixes and suffixes
// from the same kustomizations. loose lets an object without any match all.
func sameAffixes(a, b *resource, loose bool) bool {
	match := func(x, y []string) bool {
		if loose && (len(x) == 0 || len(y) == 0) {
			return true
		}
		if len(x) > len(y) {
			x, y = y, x
		}
		if len(x) == 0 {
			return len(y) == 0
		}
		return slices.Equal(x, y[len(y)-len(x):])
	}
	return match(a.prefixes, b.prefixes) && match(a.suffixes, b.suffixes)
}
