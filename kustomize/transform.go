// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"maps"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/resid"
)

// transform runs the transformers of a kustomization in kustomize's order.
func (x *indexed) transform(k *kust, s *set) error {
	p := k.parsed
	if err := x.strategicMerges(k, s); err != nil {
		return err
	}
	if err := x.patches(k, s); err != nil {
		return err
	}
	if p.Namespace != "" {
		if err := x.setNamespace(s, p.Namespace); err != nil {
			return err
		}
	}
	for _, affix := range []struct {
		text   string
		suffix bool
	}{{p.NamePrefix, false}, {p.NameSuffix, true}} {
		if affix.text != "" {
			if err := rename(s, affix.text, affix.suffix); err != nil {
				return err
			}
		}
	}
	if err := x.setMetadata(s, p); err != nil {
		return err
	}
	if err := x.jsonPatches(k, s); err != nil {
		return err
	}
	for _, r := range p.Replicas {
		if err := setReplicas(s, r); err != nil {
			return err
		}
	}
	return x.setImages(s, p.Images)
}

func (r *resource) setName(name string) {
	if n := child(child(r.node, "metadata"), "name"); n != nil {
		*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name, Line: n.Line}
	}
	r.name = name
}

// setNamespace moves every namespaced object, and the fields that name the
// namespace.
func (x *indexed) setNamespace(s *set, ns string) error {
	if !staysString(ns) {
		return errBail
	}
	set := func(n *yaml.Node) error { return setString(n, ns) }
	for _, r := range s.list {
		r.remember()
		if !r.cluster {
			if err := visit(r.node, at("metadata", "namespace"), true, yaml.ScalarNode, set); err != nil {
				return err
			}
			r.namespace = ns
		}
		if r.kind == "RoleBinding" || r.kind == "ClusterRoleBinding" {
			if err := setDefaultSubjects(r.node, ns); err != nil {
				return err
			}
		}
		for _, f := range namespaceSpecs() {
			if !f.matches(r.group, r.version, r.kind) || f.kind == "Namespace" && r.group != "" {
				continue
			}
			if err := visit(r.node, f.path, f.create, yaml.ScalarNode, set); err != nil {
				return err
			}
			if f.kind == "Namespace" {
				r.name = ns
			}
		}
	}
	return s.reindex()
}

// setDefaultSubjects sets the namespace of subjects called default.
func setDefaultSubjects(n *yaml.Node, ns string) error {
	list := child(n, "subjects")
	if list == nil || isNull(list) {
		return nil
	}
	if list.Kind != yaml.SequenceNode {
		return errBail
	}
	for _, subject := range list.Content {
		if subject.Kind != yaml.MappingNode {
			return errBail
		}
		if name := child(subject, "name"); name == nil || name.Value != "default" {
			continue
		}
		if v := child(subject, "namespace"); v != nil && isNull(v) {
			return errBail
		}
		if err := setEntry(subject, "namespace", ns); err != nil {
			return err
		}
	}
	return nil
}

// rename adds a prefix or suffix to every name but those that must not change.
func rename(s *set, text string, suffix bool) error {
	if strings.Contains(text, ",") {
		return errBail
	}
	for _, r := range s.list {
		switch kind := r.first().kind; {
		case kind == "CustomResourceDefinition", kind == "Namespace", kind == "APIService" && r.group == "apiregistration.k8s.io":
			continue
		}
		name := text + r.name
		if suffix {
			name = r.name + text
			r.suffixes = append(r.suffixes, text)
		} else {
			r.prefixes = append(r.prefixes, text)
		}
		if !staysString(name) {
			return errBail
		}
		r.remember()
		r.setName(name)
	}
	return s.reindex()
}

// setMetadata sets labels and annotations.
func (x *indexed) setMetadata(s *set, p *types.Kustomization) error {
	for _, l := range p.Labels {
		specs := []fieldSpec{{path: at("metadata", "labels"), create: true}}
		switch {
		case l.IncludeSelectors:
			specs = selectorSpecs()
		default:
			if l.IncludeTemplates {
				specs = slices.Concat(specs, templateLabelSpecs()[1:])
			}
			if l.IncludeVolumeClaimTemplates {
				specs = slices.Concat(specs, claimLabelSpecs())
			}
		}
		if err := setPairs(s, l.Pairs, specs); err != nil {
			return err
		}
	}
	if err := setPairs(s, p.CommonLabels, selectorSpecs()); err != nil { //nolint:staticcheck // old fields are still read
		return err
	}
	return setPairs(s, p.CommonAnnotations, annotationSpecs())
}

func setPairs(s *set, pairs map[string]string, specs []fieldSpec) error {
	if len(pairs) == 0 {
		return nil
	}
	keys := slices.Sorted(maps.Keys(pairs))
	if slices.Contains(keys, "") {
		return errBail
	}
	set := func(n *yaml.Node) error {
		for _, k := range keys {
			if err := setEntry(n, k, pairs[k]); err != nil {
				return err
			}
		}
		return nil
	}
	for _, r := range s.list {
		for i := range specs {
			f := &specs[i]
			if !f.matches(r.group, r.version, r.kind) {
				continue
			}
			if err := visit(r.node, f.path, f.create, yaml.MappingNode, set); err != nil {
				return err
			}
		}
	}
	return nil
}

// setReplicas sets the count of the workloads that have or had a name.
func setReplicas(s *set, o types.Replica) error {
	found := false
	for _, r := range s.list {
		switch {
		case r.answers(o.Name, "Deployment"), r.answers(o.Name, "ReplicationController"), r.answers(o.Name, "ReplicaSet"), r.answers(o.Name, "StatefulSet"):
		default:
			continue
		}
		found = true
		switch r.kind {
		case "Deployment", "ReplicationController", "ReplicaSet", "StatefulSet":
		default:
			continue
		}
		err := visit(r.node, at("spec", "replicas"), true, yaml.ScalarNode, func(n *yaml.Node) error {
			if n.Kind != yaml.ScalarNode {
				return errBail
			}
			*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.FormatInt(o.Count, 10), Style: n.Style, Line: n.Line}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if !found {
		return errBail
	}
	return nil
}

// answers reports whether a resource has or had a name as a kind.
func (r *resource) answers(name, kind string) bool {
	return r.name == name && r.kind == kind ||
		slices.ContainsFunc(r.prev, func(p formerID) bool { return p.name == name && p.kind == kind })
}

// imageMatcher decides whether an image is meant by an entry.
type imageMatcher struct {
	re *regexp.Regexp // nil matches nothing
}

// imageTail is what may follow the name: a tag and a digest.
const imageTail = `(:[a-zA-Z0-9_.{}-]*)?(@[a-zA-Z0-9]+([.+_-][a-zA-Z0-9]+)*:[a-zA-Z0-9_.{}-]*)?$`

func (x *indexed) imageMatcher(name string) imageMatcher {
	m, ok := x.images[name]
	if !ok {
		m.re, _ = regexp.Compile("^" + name + imageTail)
		x.images[name] = m
	}
	return m
}

// setImages changes the images of containers anywhere and of image volumes.
func (x *indexed) setImages(s *set, images []types.Image) error {
	if len(images) == 0 {
		return nil
	}
	var nodes []*yaml.Node
	collect := func(n *yaml.Node) error {
		if n.Kind != yaml.ScalarNode || isNull(n) {
			return errBail
		}
		if !slices.Contains(nodes, n) {
			nodes = append(nodes, n)
		}
		return nil
	}
	for _, r := range s.list {
		if r.kind == "CustomResourceDefinition" {
			continue
		}
		nodes = nodes[:0]
		if err := containers(r.node, collect); err != nil {
			return err
		}
		for _, f := range imageVolumeSpecs() {
			if err := visit(r.node, f.path, false, 0, collect); err != nil {
				return err
			}
		}
		for _, n := range nodes {
			for _, img := range images {
				x.setImage(n, img)
			}
		}
	}
	return nil
}

// containers finds the image of every container, wherever a list of them is.
func containers(n *yaml.Node, f func(*yaml.Node) error) error {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 || c.Kind == yaml.ScalarNode {
			continue
		}
		if err := containers(c, f); err != nil {
			return err
		}
		if n.Kind != yaml.MappingNode || c.Kind != yaml.SequenceNode {
			continue
		}
		if key := n.Content[i-1].Value; key != "containers" && key != "initContainers" {
			continue
		}
		for _, item := range c.Content {
			if item.Kind != yaml.MappingNode {
				return errBail
			}
			if img := child(item, "image"); img != nil {
				if err := f(img); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (x *indexed) setImage(n *yaml.Node, o types.Image) {
	re := x.imageMatcher(o.Name).re
	if re == nil || !re.MatchString(n.Value) {
		return
	}
	name, tag, sum := splitImage(n.Value)
	if o.NewName != "" {
		name = o.NewName
	}
	if o.NewTag != "" || o.Digest != "" {
		tag, sum = o.NewTag, o.Digest
	}
	if tag != "" {
		name += ":" + tag
	}
	if sum != "" {
		name += "@" + sum
	}
	n.Value, n.Tag, n.Style = name, "", n.Style&^yaml.TaggedStyle
}

// splitImage splits a reference at the tag and the digest.
func splitImage(s string) (name, tag, sum string) {
	host := max(strings.IndexByte(s, '/'), 0)
	rest := s[host:]
	at, colon := strings.IndexByte(rest, '@'), strings.IndexByte(rest, ':')
	switch {
	case at >= 0 && (colon < 0 || at < colon):
		return s[:host+at], "", s[host+at+1:]
	case at >= 0:
		return s[:host+colon], s[host+colon+1 : host+at], s[host+at+1:]
	case colon >= 0:
		return s[:host+colon], s[host+colon+1:], ""
	}
	return s, "", ""
}

// sortSet orders the result as sortOptions says.
func sortSet(list []*resource, o *types.SortOptions) ([]*resource, error) {
	switch {
	case o == nil, o.Order == types.FIFOSortOrder && o.LegacySortOptions == nil:
		return list, nil
	case o.Order != types.LegacySortOrder:
		return nil, errBail
	}
	first, last := kindsFirst, kindsLast
	if o.LegacySortOptions != nil {
		first, last = o.LegacySortOptions.OrderFirst, o.LegacySortOptions.OrderLast
	}
	rank := map[string]int{}
	for i, kind := range first {
		rank[kind] = i - len(first)
	}
	for i, kind := range last {
		rank[kind] = i + 1
	}
	sort.SliceStable(list, func(i, j int) bool { return sortsBefore(list[i], list[j], rank) })
	return list, nil
}

func sortsBefore(a, b *resource, rank map[string]int) bool {
	if a.group != b.group || a.version != b.version || a.kind != b.kind {
		if rank[a.kind] != rank[b.kind] {
			return rank[a.kind] < rank[b.kind]
		}
		ka, kb := a.sortKey(), b.sortKey()
		if a.kind == "Namespace" && b.kind == "Namespace" && (a.group == "" || b.group == "") {
			return ka > kb
		}
		return ka < kb
	}
	return a.sortName() < b.sortName()
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}

func (r *resource) sortKey() string {
	return orElse(r.group, "~G") + "_" + orElse(r.version, "~V") + "_" + r.kind
}

func (r *resource) sortName() string {
	gvk := resid.Gvk{Group: r.group, Version: r.version, Kind: r.kind}
	return gvk.String() + "|" + orElse(r.namespace, "~X") + "|" + r.name
}

// The order of kinds that sortOptions uses unless it says otherwise.
var (
	kindsFirst = []string{ //nolint:gochecknoglobals // constant
		"Namespace", "ResourceQuota", "StorageClass", "CustomResourceDefinition", "ServiceAccount", "PodSecurityPolicy",
		"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ConfigMap", "Secret", "Endpoints", "Service",
		"LimitRange", "PriorityClass", "PersistentVolume", "PersistentVolumeClaim", "Deployment", "StatefulSet",
		"CronJob", "PodDisruptionBudget",
	}
	kindsLast = []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"} //nolint:gochecknoglobals // constant
)
