// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/gitops-kit/sdk/ssa/internal/fieldset"
	"github.com/gitops-kit/sdk/ssa/internal/limits"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
)

// PathRule names fields of some objects. Every rule that matches counts.
type PathRule struct {
	// Paths are RFC 6901 JSON pointers; "" is the whole object, a segment "*"
	// every key or index. A pointer that an object does not have is ignored.
	// Indices count in the desired object.
	Paths []string
	// Target limits the rule. The zero value matches every object.
	Target Match
}

// Match selects objects. Empty fields match everything; the others are
// regular expressions (RE2) that must match the whole value.
type Match struct {
	Group, Version, Kind, Namespace, Name string
	LabelSelector, AnnotationSelector     string // as in "app=web,tier!=cache"
}

type pointer []string

func parsePointer(s string) (pointer, error) {
	if s == "" {
		return pointer{}, nil
	}
	if s[0] != '/' {
		return nil, fmt.Errorf("pointer %q does not start with a slash", s)
	}
	if len(s) > 4096 {
		return nil, fmt.Errorf("pointer is longer than 4096 bytes")
	}
	parts := strings.Split(s[1:], "/")
	for i, p := range parts {
		for j := 0; j < len(p); j++ {
			if p[j] == '~' && (j+1 == len(p) || p[j+1] != '0' && p[j+1] != '1') {
				return nil, fmt.Errorf("pointer %q has a malformed escape", s)
			}
		}
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~1", "/"), "~0", "~")
	}
	return parts, nil
}

func escapeSegment(s string) string {
	if !strings.ContainsAny(s, "~/") {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}

type compiledMatch struct {
	group, version, kind, namespace, name *regexp.Regexp
	labels, annotations                   labels.Selector
}

type compiledRule struct {
	paths []pointer
	match compiledMatch
}

func compileMatch(m Match) (c compiledMatch, err error) {
	for _, f := range []struct {
		text string
		to   **regexp.Regexp
	}{{m.Group, &c.group}, {m.Version, &c.version}, {m.Kind, &c.kind}, {m.Namespace, &c.namespace}, {m.Name, &c.name}} {
		if f.text == "" {
			continue
		}
		if *f.to, err = regexp.Compile("^(?:" + f.text + ")$"); err != nil {
			return c, fmt.Errorf("pattern %q: %w", f.text, err)
		}
	}
	for _, f := range []struct {
		text string
		to   *labels.Selector
	}{{m.LabelSelector, &c.labels}, {m.AnnotationSelector, &c.annotations}} {
		if f.text == "" {
			continue
		}
		if *f.to, err = labels.Parse(f.text); err != nil {
			return c, fmt.Errorf("selector %q: %w", f.text, err)
		}
	}
	return c, nil
}

func (c *compiledMatch) matches(u *unstructured.Unstructured) bool {
	gvk := u.GroupVersionKind()
	for _, f := range [...]struct {
		re *regexp.Regexp
		s  string
	}{{c.kind, gvk.Kind}, {c.group, gvk.Group}, {c.version, gvk.Version}, {c.namespace, u.GetNamespace()}, {c.name, u.GetName()}} {
		if f.re != nil && !f.re.MatchString(f.s) {
			return false
		}
	}
	return (c.labels == nil || c.labels.Matches(labels.Set(u.GetLabels()))) &&
		(c.annotations == nil || c.annotations.Matches(labels.Set(u.GetAnnotations())))
}

func compileRules(rules []PathRule, l Limits) ([]compiledRule, error) {
	out := make([]compiledRule, 0, len(rules))
	total := 0
	for i, r := range rules {
		m, err := compileMatch(r.Target)
		if err != nil {
			return nil, &RuleError{Index: i, Err: err}
		}
		c := compiledRule{match: m}
		total += max(1, len(r.Paths))
		if err := limits.Check("ignore-rules", l.ignoreRules(), int64(total)); err != nil {
			return nil, &RuleError{Index: i, Err: err}
		}
		for _, s := range r.Paths {
			p, err := parsePointer(s)
			if err != nil {
				return nil, &RuleError{Index: i, Err: err}
			}
			c.paths = append(c.paths, p)
		}
		out = append(out, c)
	}
	return out, nil
}

// pathsFor collects the pointers of all rules that match u; whole is true
// when one of them names the whole object.
func pathsFor(rules []compiledRule, u *unstructured.Unstructured) (paths []pointer, whole bool) {
	for i := range rules {
		if !rules[i].match.matches(u) {
			continue
		}
		for _, p := range rules[i].paths {
			if len(p) == 0 {
				whole = true
			}
			paths = append(paths, p)
		}
	}
	return paths, whole
}

// sibling finds in a list of another object the item that corresponds to
// item, which has index i in its own list: by the keys that managedFields
// know for the list, by name, or by position. -1: none.
func sibling(list []any, item any, i int, keys [][]string) int {
	m, ok := item.(map[string]any)
	if !ok {
		if item == nil || i < len(list) && fieldset.SameScalar(list[i], item) {
			return within(i, list)
		}
		for j, v := range list {
			if fieldset.SameScalar(v, item) {
				return j
			}
		}
		return -1
	}
	for _, key := range keys {
		if j, ok := sameKey(list, m, key); ok {
			return j
		}
	}
	if len(keys) == 0 {
		if j, ok := sameKey(list, m, []string{"name"}); ok {
			return j
		}
		return within(i, list)
	}
	return -1
}

func within(i int, list []any) int {
	if i < len(list) {
		return i
	}
	return -1
}

// sameKey reports the only item with the key values of m. ok is false when m
// has none of the key's fields.
func sameKey(list []any, m map[string]any, key []string) (int, bool) {
	have := false
	for _, k := range key {
		if _, ok := m[k]; ok {
			have = true
		}
	}
	if !have {
		return 0, false
	}
	at := -1
	for j, v := range list {
		o, ok := v.(map[string]any)
		same := ok
		for _, k := range key {
			want, ok := m[k]
			if ok && !fieldset.SameScalar(o[k], want) {
				same = false
			}
		}
		if same {
			if at >= 0 {
				return -1, true
			}
			at = j
		}
	}
	return at, true
}

// removeAt deletes what p names below target. guide is the desired object at
// the same place: indices count in its lists. It returns the new target.
func removeAt(target, guide any, p pointer, keys keyFinder, at []string) any {
	switch t := target.(type) {
	case map[string]any:
		g, _ := guide.(map[string]any)
		for k := range t {
			if p[0] != "*" && p[0] != k {
				continue
			}
			if len(p) == 1 {
				delete(t, k)
				continue
			}
			t[k] = removeAt(t[k], g[k], p[1:], keys, append(at, k))
		}
	case []any:
		g, _ := guide.([]any)
		return removeItems(t, g, p, keys, at)
	}
	return target
}

func removeItems(t, g []any, p pointer, keys keyFinder, at []string) any {
	out := make([]any, 0, len(t))
	wanted := -1
	if p[0] != "*" {
		i, err := strconv.Atoi(p[0])
		if err != nil || i < 0 {
			return t
		}
		var item any
		if i < len(g) {
			item = g[i]
		}
		wanted = sibling(t, item, i, keys.at(at))
	}
	for j, v := range t {
		if p[0] != "*" && j != wanted {
			out = append(out, v)
			continue
		}
		if len(p) == 1 {
			continue
		}
		var guide any
		if k := sibling(g, v, j, keys.at(at)); k >= 0 {
			guide = g[k]
		}
		out = append(out, removeAt(v, guide, p[1:], keys, at))
	}
	return out
}

// strip removes all paths from a copy of u.
func strip(u map[string]any, guide map[string]any, paths []pointer, keys keyFinder) map[string]any {
	if len(paths) == 0 {
		return u
	}
	c := cloneMap(u)
	for _, p := range paths {
		if len(p) > 0 {
			removeAt(c, guide, p, keys, nil)
		}
	}
	return c
}

// keyFinder knows the key fields of lists, from the k: elements of
// managedFields, by the names of the fields that lead to the list.
type keyFinder map[string][][]string

func (k keyFinder) at(path []string) [][]string { return k[strings.Join(path, "\x00")] }

// collect adds the keys that s knows.
func (k keyFinder) collect(s *fieldset.Set, node int32, path []string) {
	for c := s.First(node); c != 0; c = s.Next(c) {
		n := s.At(c)
		switch n.Kind {
		case fieldset.Field:
			k.collect(s, c, append(path, n.Name))
		case fieldset.Key:
			k.add(strings.Join(path, "\x00"), n.Name)
			k.collect(s, c, path)
		case fieldset.Value, fieldset.Index:
		}
	}
}

func (k keyFinder) add(path, key string) {
	fields, err := fieldset.ParseKey(key)
	if err != nil {
		return
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	for _, have := range k[path] {
		if strings.Join(have, "\x00") == strings.Join(names, "\x00") {
			return
		}
	}
	k[path] = append(k[path], names)
}
