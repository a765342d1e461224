// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/hasher"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/openapi"
	"sigs.k8s.io/kustomize/kyaml/resid"
	kyaml "sigs.k8s.io/kustomize/kyaml/yaml"
)

// errBail says that the indexed engine met something it does not cover, or that
// is an error. kustomize builds the tree then, and words the error.
var errBail = errors.New("tree is not covered by the indexed engine")

// directFields are the fields of a kustomization that the indexed engine covers.
var directFields = []string{ //nolint:gochecknoglobals // constant
	"apiVersion", "kind", "metadata", "resources", "components", "namespace", "namePrefix", "nameSuffix",
	"labels", "commonLabels", "commonAnnotations", "images", "replicas", "patches", "patchesStrategicMerge",
	"patchesJson6902", "configMapGenerator", "secretGenerator", "generatorOptions", "sortOptions",
}

// covered reports whether the indexed engine covers a kustomization, without
// those it refers to.
func covered(k *kust) bool {
	if k.schema || k.plugin || k.parsed == nil {
		return false
	}
	for f := range k.fields {
		if k.has(f) && !slices.Contains(directFields, f) {
			return false
		}
	}
	if fixed := *k.parsed; fixed.CheckEmpty() != nil {
		return false
	}
	for _, l := range k.parsed.Labels {
		if len(l.FieldSpecs) > 0 {
			return false
		}
	}
	for _, img := range k.parsed.Images {
		if img.TagSuffix != "" {
			return false
		}
	}
	for _, p := range slices.Concat(k.parsed.Patches, k.parsed.PatchesJson6902) { //nolint:staticcheck // old fields are still read
		if p.Options != nil && (p.Options.AllowKindChange || p.Options.AllowNameChange) {
			return false
		}
	}
	wantKind, wantVersion := types.KustomizationKind, types.KustomizationVersion
	if k.parsed.Kind == types.ComponentKind {
		wantKind, wantVersion = types.ComponentKind, types.ComponentVersion
	}
	return (k.parsed.Kind == "" || k.parsed.Kind == wantKind) && (k.parsed.APIVersion == "" || k.parsed.APIVersion == wantVersion)
}

// direct reports whether the indexed engine covers the whole tree.
func (l *loader) direct() bool {
	for _, k := range l.kusts {
		part := k.parsed != nil && k.parsed.Kind == types.ComponentKind
		if !k.direct || k.asBase && k.asPart || part != k.asPart {
			return false
		}
	}
	return true
}

// resource is an object on its way through the indexed engine.
type resource struct {
	node      *yaml.Node
	group     string
	version   string
	kind      string
	name      string
	namespace string
	cluster   bool // certainly cluster-scoped
	prev      []formerID
	prefixes  []string
	suffixes  []string
	marked    bool // kustomize would have internal annotations on it
	simple    bool // strategic merges leave alone what they do not name
	hash      bool
	behavior  types.GenerationBehavior
	origin    Origin
}

// formerID is an identity that a resource had before a transformer changed it.
type formerID struct{ kind, name, namespace string }

// identity is how kustomize tells objects apart.
type identity struct{ group, version, kind, name, namespace string }

func (r *resource) rnode() *kyaml.RNode { return kyaml.NewRNode(r.node) }

func (r *resource) id() identity {
	return identity{r.group, r.version, r.kind, r.name, r.effective()}
}

// effective is the namespace that comparisons use.
func (r *resource) effective() string { return effectiveNamespace(r.namespace, r.cluster) }

func effectiveNamespace(ns string, cluster bool) string {
	switch {
	case cluster:
		return resid.TotallyNotANamespace
	case ns == "":
		return resid.DefaultNamespace
	}
	return ns
}

// remember stores the current identity as a former one.
func (r *resource) remember() {
	r.prev = append(r.prev, formerID{r.kind, r.name, r.effective()})
	r.marked = true
}

// first is the kind and name of the original identity.
func (r *resource) first() formerID {
	if len(r.prev) > 0 {
		return r.prev[0]
	}
	return formerID{r.kind, r.name, r.effective()}
}

// indexed is one run of the engine.
type indexed struct {
	l      *loader
	scopes map[kyaml.TypeMeta]bool
	uses   map[*source]int
	images map[string]imageMatcher
	merges map[[3]string]*mergeSchema
}

// set is what a kustomization accumulates. byID is kept in step.
type set struct {
	list []*resource
	byID map[identity]*resource
}

func newSet() *set { return &set{byID: map[identity]*resource{}} }

// add refuses a second object of one identity.
func (s *set) add(r *resource) error {
	id := r.id()
	if s.byID[id] != nil {
		return errBail
	}
	s.byID[id] = r
	s.list = append(s.list, r)
	return nil
}

// reindex follows a change of names; equal identities are an error.
func (s *set) reindex() error {
	clear(s.byID)
	for _, r := range s.list {
		id := r.id()
		if s.byID[id] != nil {
			return errBail
		}
		s.byID[id] = r
	}
	return nil
}

// runIndexed builds what the loader prepared. The caller holds the gate, for the
// strategic merges of kyaml.
func (l *loader) runIndexed() (out []built, err error) {
	defer recovered(&err)
	x := &indexed{l: l, scopes: map[kyaml.TypeMeta]bool{}, uses: map[*source]int{}, images: map[string]imageMatcher{}}
	x.countUses(l.root)
	s := newSet()
	if err := x.accumulate(l.root, s, []*kust{l.root}); err != nil {
		return nil, err
	}
	if err := x.hashNames(s); err != nil {
		return nil, err
	}
	if err := fixReferences(s.list); err != nil {
		return nil, err
	}
	list, err := finishSet(s.list, l.root.parsed.SortOptions)
	if err != nil {
		return nil, err
	}
	out = make([]built, len(list))
	for i, r := range list {
		m, err := objectOf(r.node)
		if err != nil {
			return nil, err
		}
		out[i] = built{u: &unstructured.Unstructured{Object: m}, node: r.node, origin: &list[i].origin}
	}
	return out, nil
}

// countUses says how often each file is used: the last use may change its nodes.
func (x *indexed) countUses(k *kust) {
	for _, it := range k.items {
		if it.base != nil {
			x.countUses(it.base)
			continue
		}
		x.uses[it.file]++
	}
	for _, p := range k.parts {
		x.countUses(p)
	}
}

// accumulate runs a kustomization on s: empty for a base, that of the parent for
// a component.
func (x *indexed) accumulate(k *kust, s *set, chain []*kust) error {
	if err := x.l.ctx.Err(); err != nil {
		return err
	}
	for _, it := range k.items {
		if it.base == nil {
			if err := x.file(it.file, s); err != nil {
				return err
			}
			continue
		}
		if cyclic(it.base, chain) {
			return errBail
		}
		sub := newSet()
		if err := x.accumulate(it.base, sub, append(slices.Clip(chain), it.base)); err != nil {
			return err
		}
		for _, r := range sub.list {
			if err := s.add(r); err != nil {
				return err
			}
		}
	}
	if err := x.generate(k, s); err != nil {
		return err
	}
	for _, p := range k.parts {
		if cyclic(p, chain) {
			return errBail
		}
		if err := x.accumulate(p, s, append(slices.Clip(chain), p)); err != nil {
			return err
		}
	}
	return x.transform(k, s)
}

func cyclic(k *kust, chain []*kust) bool {
	return slices.ContainsFunc(chain, func(up *kust) bool {
		return up.tree == k.tree && (up.dir == k.dir || k.dir == "." || strings.HasPrefix(up.dir, k.dir+"/"))
	})
}

// file adds the objects of a resource file.
func (x *indexed) file(src *source, s *set) error {
	x.uses[src]--
	last := x.uses[src] == 0
	for _, d := range src.docs {
		nodes := []*yaml.Node{d.node}
		if strings.HasSuffix(d.str("kind"), "List") {
			list := listItems(d.node)
			if list == nil || len(src.docs) > 1 || d.str("kind") != "List" {
				return errBail
			}
			nodes = list.Content
		}
		for _, n := range nodes {
			if !last {
				n = copyNode(n)
			}
			line := d.base + n.Line
			r, err := x.object(n)
			if err != nil {
				return err
			}
			r.origin = Origin{File: src.rel, Doc: d.index, Line: line, Remote: src.tree.label}
			if err := s.add(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// object reads the identity of a node.
func (x *indexed) object(n *yaml.Node) (*resource, error) {
	rn := kyaml.NewRNode(n)
	if hasAlias(n) {
		if err := rn.DeAnchor(); err != nil {
			return nil, errBail
		}
		n = rn.YNode()
	}
	if n.Kind != yaml.MappingNode {
		return nil, errBail
	}
	meta := child(n, "metadata")
	if meta == nil || meta.Kind != yaml.MappingNode {
		return nil, errBail
	}
	for _, f := range []string{"labels", "annotations"} {
		if m := child(meta, f); m != nil && (m.Kind != yaml.MappingNode || !stringMap(m)) {
			return nil, errBail
		}
	}
	r := &resource{node: n}
	if !x.identify(r) {
		return nil, errBail
	}
	return r, nil
}

// identify reads the identity of a resource's node.
func (x *indexed) identify(r *resource) bool {
	api, kind := child(r.node, "apiVersion"), child(r.node, "kind")
	meta := child(r.node, "metadata")
	name, ns := child(meta, "name"), child(meta, "namespace")
	if !isString(api) || !isString(kind) || !isString(name) || ns != nil && !isString(ns) ||
		strings.Contains(name.Value, ",") {
		return false
	}
	r.group, r.version = resid.ParseGroupVersion(api.Value)
	r.kind, r.name, r.namespace = kind.Value, name.Value, ""
	if ns != nil {
		r.namespace = ns.Value
	}
	r.cluster = x.clusterScoped(kyaml.TypeMeta{APIVersion: api.Value, Kind: kind.Value})
	return r.name != "" && r.kind != ""
}

func (x *indexed) clusterScoped(t kyaml.TypeMeta) bool {
	v, ok := x.scopes[t]
	if !ok {
		v = openapi.IsCertainlyClusterScoped(t)
		x.scopes[t] = v
	}
	return v
}

// isString reports whether a scalar is a string that stays one without quotes,
// so that no setter of kyaml can turn it into something else.
func isString(n *yaml.Node) bool {
	return n != nil && n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && staysString(n.Value)
}

func staysString(s string) bool {
	if wordLike(s) {
		return true
	}
	probe := yaml.Node{Kind: yaml.ScalarNode, Value: s}
	return probe.ShortTag() == "!!str" && !kyaml.IsYaml1_1NonString(&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s})
}

// wordLike is the fast way to say yes: a letter, then what names are made of,
// and no word that YAML 1.1 takes for a boolean or null.
func wordLike(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '-' && c != '.' && c != '/' && c != '_') {
			return false
		}
	}
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return false
	}
	return true
}

func stringMap(m *yaml.Node) bool {
	for i := 1; i < len(m.Content); i += 2 {
		if v := m.Content[i]; v.Kind != yaml.ScalarNode || v.ShortTag() != "!!str" {
			return false
		}
	}
	return true
}

func hasAlias(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return true
	}
	return slices.ContainsFunc(n.Content, hasAlias)
}

func copyNode(n *yaml.Node) *yaml.Node { return kyaml.CopyYNode(n) }

// hashNames appends the content hash to the names of generated objects.
func (x *indexed) hashNames(s *set) error {
	h := &hasher.Hasher{}
	for _, r := range s.list {
		if !r.hash {
			continue
		}
		sum, err := h.Hash(r.rnode())
		if err != nil {
			return errBail
		}
		r.remember()
		r.setName(r.name + "-" + sum)
	}
	return nil
}

// finishSet drops local objects, sorts, and normalises annotations.
func finishSet(list []*resource, o *types.SortOptions) ([]*resource, error) {
	out := list[:0]
	for _, r := range list {
		notes := child(child(r.node, "metadata"), "annotations")
		if v := child(notes, "config.kubernetes.io/local-config"); v != nil && v.Value != "false" {
			continue
		}
		normalizeAnnotations(r.node, notes)
		out = append(out, r)
	}
	return sortSet(out, o)
}

// normalizeAnnotations makes every annotation a string, without the internal
// ones; an empty map is dropped.
func normalizeAnnotations(n, notes *yaml.Node) {
	if notes != nil && notes.Kind == yaml.MappingNode && len(notes.Content) > 0 {
		for i := 1; i < len(notes.Content); i += 2 {
			v := notes.Content[i]
			*v = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v.Value, Line: v.Line, Style: v.Style &^ yaml.TaggedStyle}
		}
		return
	}
	removeKey(child(n, "metadata"), "annotations")
}

func removeKey(n *yaml.Node, key string) {
	if n == nil || n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = slices.Delete(n.Content, i, i+2)
			return
		}
	}
}
