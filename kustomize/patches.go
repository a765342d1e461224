// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/filters/patchjson6902"
	kres "sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
)

// anyID finds resources by their current and former identities.
type anyID map[identity][]*resource

func indexIDs(s *set) anyID {
	x := make(anyID, len(s.list))
	for _, r := range s.list {
		add := func(id identity) {
			if !slices.Contains(x[id], r) {
				x[id] = append(x[id], r)
			}
		}
		add(r.id())
		for _, p := range r.prev {
			add(identity{r.group, r.version, p.kind, p.name, effectiveNamespace(p.namespace, false)})
		}
	}
	return x
}

// patchText returns the text of a patch.
func (x *indexed) patchText(k *kust, file, inline string) (string, bool) {
	inline = strings.TrimSpace(inline)
	if (file == "") == (inline == "") {
		return "", false
	}
	if inline != "" {
		return inline, true
	}
	src := x.sourceOf(k, file)
	if src == nil {
		return "", false
	}
	return string(src.data), true
}

func (x *indexed) sourceOf(k *kust, file string) *source {
	return x.l.sources[path.Join(k.tree.virtual(k.dir), file)]
}

// strategicMerges applies the field patchesStrategicMerge.
func (x *indexed) strategicMerges(k *kust, s *set) error {
	if len(k.parsed.PatchesStrategicMerge) == 0 { //nolint:staticcheck // old fields are still read
		return nil
	}
	ids := indexIDs(s)
	for _, p := range k.parsed.PatchesStrategicMerge { //nolint:staticcheck // old fields are still read
		text := string(p)
		if !strings.HasPrefix(text, "\n") {
			src := x.sourceOf(k, text)
			if src == nil {
				return errBail
			}
			text = string(src.data)
		}
		docs, err := x.mergeDocs(text)
		if err != nil || len(docs) == 0 {
			return errBail
		}
		for _, d := range docs {
			target, err := x.mergeTarget(ids, d)
			if err != nil {
				return err
			}
			if err := x.merge(s, target, d, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// mergeDocs parses strategic merge patches: objects with a kind and a name.
func (x *indexed) mergeDocs(text string) ([]*yaml.Node, error) {
	docs, err := (&store{lim: x.l.lim}).decode("", []byte(text))
	if err != nil {
		return nil, errBail
	}
	var out []*yaml.Node
	for _, d := range docs {
		r, err := x.object(d.node)
		if err != nil || strings.HasSuffix(r.kind, "List") || !safeMerge(r.node) {
			return nil, errBail
		}
		out = append(out, r.node)
	}
	return out, nil
}

// safeMerge refuses directives that would drop kustomize's internal annotations
// with the rest.
func safeMerge(n *yaml.Node) bool {
	if v := child(n, "$patch"); v != nil && v.Value != "delete" {
		return false
	}
	meta := child(n, "metadata")
	return child(meta, "$patch") == nil && child(child(meta, "annotations"), "$patch") == nil
}

// mergeTarget finds the one resource a patch names.
func (x *indexed) mergeTarget(ids anyID, patch *yaml.Node) (*resource, error) {
	p := &resource{node: patch}
	if !x.identify(p) {
		return nil, errBail
	}
	list := slices.DeleteFunc(slices.Clone(ids[p.id()]), func(r *resource) bool { return r.node == nil })
	if len(list) != 1 {
		return nil, errBail
	}
	return list[0], nil
}

// merge applies a strategic merge patch. adapt gives it the target's type, as
// kustomize does for patches that select their targets.
func (x *indexed) merge(s *set, r *resource, patch *yaml.Node, adapt bool) error {
	if x.quickMerge(r, patch) {
		return nil
	}
	target := &kres.Resource{RNode: *r.rnode()}
	p := &kres.Resource{RNode: *kyaml.NewRNode(copyNode(patch))}
	if adapt {
		whole := p
		p = whole.DeepCopy()
		if err := p.CopyMergeMetaDataFieldsFrom(whole); err != nil {
			return errBail
		}
		kind := whole.GetKind()
		p.SetGvk(target.GetGvk())
		p.SetKind(kind)
	}
	if err := target.ApplySmPatch(p); err != nil {
		return errBail
	}
	if target.IsNilOrEmpty() {
		x.drop(s, r)
		return nil
	}
	return x.replaced(r, target.YNode())
}

// drop removes a resource that a patch deleted.
func (x *indexed) drop(s *set, r *resource) {
	delete(s.byID, r.id())
	s.list = slices.DeleteFunc(s.list, func(o *resource) bool { return o == r })
	r.node = nil
}

// replaced takes over a patched node; its identity must be the same.
func (x *indexed) replaced(r *resource, n *yaml.Node) error {
	before := r.id()
	now, err := x.object(n)
	if err != nil || now.id() != before || now.namespace != r.namespace {
		return errBail
	}
	r.node = now.node
	return nil
}

// patches applies the field patches.
func (x *indexed) patches(k *kust, s *set) error {
	var ids anyID
	for _, p := range k.parsed.Patches {
		text, ok := x.patchText(k, p.Path, p.Patch)
		if !ok {
			return errBail
		}
		docs, err := (&store{lim: x.l.lim}).decode("", []byte(text))
		if err != nil || len(docs) == 0 {
			return errBail
		}
		if docs[0].node.Kind == yaml.SequenceNode {
			if len(docs) > 1 || p.Target == nil {
				return errBail
			}
			if err := x.jsonPatch(s, *p.Target, text, docs[0].node, true); err != nil {
				return err
			}
			continue
		}
		merges, err := x.mergeDocs(text)
		if err != nil {
			return err
		}
		if p.Target != nil {
			if len(merges) > 1 {
				return errBail
			}
			selected, err := selectResources(s, *p.Target)
			if err != nil {
				return err
			}
			for _, r := range selected {
				if err := x.merge(s, r, merges[0], true); err != nil {
					return err
				}
			}
			continue
		}
		if ids == nil {
			ids = indexIDs(s)
		}
		for _, d := range merges {
			target, err := x.mergeTarget(ids, d)
			if err != nil {
				return err
			}
			if err := x.merge(s, target, d, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// jsonPatches applies the field patchesJson6902.
func (x *indexed) jsonPatches(k *kust, s *set) error {
	for _, p := range k.parsed.PatchesJson6902 { //nolint:staticcheck // old fields are still read
		if p.Target == nil || p.Target.Name == "" || (p.Path == "") == (p.Patch == "") {
			return errBail
		}
		text := p.Patch
		if p.Path != "" {
			src := x.sourceOf(k, p.Path)
			if src == nil {
				return errBail
			}
			text = string(src.data)
		}
		docs, err := (&store{lim: x.l.lim}).decode("", []byte(text))
		if err != nil || len(docs) != 1 || docs[0].node.Kind != yaml.SequenceNode || len(docs[0].node.Content) == 0 {
			return errBail
		}
		if err := x.jsonPatch(s, *p.Target, text, docs[0].node, false); err != nil {
			return err
		}
	}
	return nil
}

// markKey stands for kustomize's internal annotations while a JSON patch runs,
// which may rely on the map being there.
const markKey = "internal.config.kubernetes.io/previousNames"

// jsonPatch applies a JSON6902 patch to what the selector selects.
func (x *indexed) jsonPatch(s *set, sel types.Selector, text string, ops *yaml.Node, remember bool) error {
	for _, op := range ops.Content {
		for _, key := range []string{"path", "from"} {
			switch nodeString(op, key) {
			case "/metadata/annotations", "/metadata", "/":
				return errBail
			}
		}
		if nodeString(op, "path") == "" {
			return errBail
		}
	}
	selected, err := selectResources(s, sel)
	if err != nil {
		return err
	}
	for _, r := range selected {
		if remember {
			r.remember()
		}
		if r.marked {
			if err := visit(r.node, at("metadata", "annotations"), true, yaml.MappingNode, func(n *yaml.Node) error {
				return setEntry(n, markKey, "x")
			}); err != nil {
				return err
			}
		}
		rn := r.rnode()
		if _, err := (patchjson6902.Filter{Patch: text}).Filter([]*kyaml.RNode{rn}); err != nil {
			return errBail
		}
		n := rn.YNode()
		if r.marked {
			notes := child(child(n, "metadata"), "annotations")
			if child(notes, markKey) == nil {
				return errBail
			}
			removeKey(notes, markKey)
		}
		if err := x.replaced(r, n); err != nil {
			return err
		}
	}
	return nil
}

// selectResources returns what a selector selects, in order.
func selectResources(s *set, sel types.Selector) ([]*resource, error) {
	re, err := types.NewSelectorRegex(&sel)
	if err != nil {
		return nil, errBail
	}
	var out []*resource
	for _, r := range s.list {
		if sel.Kind != "" && sel.Kind != r.kind && literal(sel.Kind) {
			continue
		}
		first := r.first()
		if !re.MatchNamespace(first.namespace) && !re.MatchNamespace(r.effective()) {
			continue
		}
		if !re.MatchName(first.name) && !re.MatchName(r.name) {
			continue
		}
		rn := r.rnode()
		if !re.MatchGvk(gvkOf(r)) {
			continue
		}
		if sel.LabelSelector != "" || sel.AnnotationSelector != "" {
			byLabel, err := rn.MatchesLabelSelector(sel.LabelSelector)
			if err != nil {
				return nil, errBail
			}
			byNote, err := rn.MatchesAnnotationSelector(sel.AnnotationSelector)
			if err != nil {
				return nil, errBail
			}
			if !byLabel || !byNote {
				continue
			}
		}
		out = append(out, r)
	}
	return out, nil
}

// literal reports whether a regular expression is plain text.
func literal(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}
