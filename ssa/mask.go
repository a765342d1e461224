// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gitops-kit/sdk/ssa/internal/redact"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	sensitiveLabel = "gitops-kit.github.io/sensitive"
	lastApplied    = "kubectl.kubernetes.io/last-applied-configuration"
	maskBefore     = redact.Mask + " (before)"
	maskAfter      = redact.Mask + " (after)"
)

// masker hides values that nobody may see.
type masker struct{ rules []compiledRule }

func (m *Manager) masker() *masker { return &masker{rules: m.sensitive} }

// sensitive reports whether an object as a whole is: what the server says
// about it is then withheld.
func (k *masker) sensitive(id ID, u *unstructured.Unstructured) bool {
	if id.Group == "" && id.Kind == "Secret" {
		return true
	}
	if u == nil {
		return false
	}
	if strings.EqualFold(nestedString(u.Object, "metadata", "labels", sensitiveLabel), "true") {
		return true
	}
	paths, _ := pathsFor(k.rules, u)
	return len(paths) > 0
}

// paths returns what is masked in the object; whole masks every value
// outside of identity.
func (k *masker) paths(id ID, objects ...*unstructured.Unstructured) (paths []pointer, whole bool) {
	paths = []pointer{{"metadata", "annotations", lastApplied}}
	if id.Group == "" && id.Kind == "Secret" {
		paths = append(paths, pointer{"data", "*"}, pointer{"stringData", "*"})
	}
	for _, u := range objects {
		if u == nil {
			continue
		}
		if strings.EqualFold(nestedString(u.Object, "metadata", "labels", sensitiveLabel), "true") {
			whole = true
		}
		more, all := pathsFor(k.rules, u)
		whole = whole || all
		paths = append(paths, more...)
	}
	return paths, whole
}

// hides reports whether the value at path is masked: a masked path leads to
// it, or it holds a serialised object. So is a value that stands where a
// masked path would have to go on: text in the place of a Secret's data is
// what somebody took for the data.
func hides(paths []pointer, whole bool, segments []string, v any) bool {
	if embedded(v) {
		return true
	}
	if whole && len(segments) > 0 && segments[0] != "apiVersion" && segments[0] != "kind" && segments[0] != "metadata" {
		return true
	}
	return slices.ContainsFunc(paths, func(p pointer) bool { return len(p) > 0 && leads(p, segments, v) })
}

// leads reports whether the masked path p leads to v, which is at segments, or
// to something that stands where p would have to go on.
func leads(p, segments []string, v any) bool {
	for i, want := range p {
		switch {
		case i == len(segments):
			return blind(v, want)
		case want == "*" || want == segments[i]:
		default:
			return isIndex(segments[i]) && !isIndex(want) // an item of a list that should be a map
		}
	}
	return true
}

// blind reports whether a path cannot go on from v by the segment next: v
// holds nothing by names, or only by indices where next is a name.
func blind(v any, next string) bool {
	switch v.(type) {
	case map[string]any:
		return false
	case []any:
		return next != "*" && !isIndex(next)
	}
	return true
}

func isIndex(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// embedded reports whether v is text that holds a whole Kubernetes object.
func embedded(v any) bool {
	s, ok := v.(string)
	if !ok || len(s) < 20 || !strings.Contains(s, "apiVersion") || !strings.Contains(s, "kind") {
		return false
	}
	s = strings.TrimSpace(s)
	return strings.HasPrefix(s, "{") || strings.Contains(s, "\nkind:") || strings.HasPrefix(s, "kind:") || strings.Contains(s, "\n  kind:")
}

// hider copies values, replacing what is masked.
type hider struct {
	paths []pointer
	whole bool
	with  func(segments []string) string
	hit   bool
}

// value returns a copy of v, which is at segments. A map or list at a masked
// path is replaced as one.
func (h *hider) value(v any, segments []string) any {
	if v == nil {
		return nil
	}
	if hides(h.paths, h.whole, segments, v) {
		h.hit = true
		return h.with(segments)
	}
	at := slices.Clip(segments)
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = h.value(e, append(at, k))
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = h.value(e, append(at, strconv.Itoa(i)))
		}
		return out
	}
	return v
}

// changes compares live and result and masks what must not be seen.
func (k *masker) changes(e *Entry, live, result map[string]any) []Change {
	var d differ
	d.walk("", live, result)
	if len(d.out) == 0 {
		return nil
	}
	paths, whole := k.paths(e.ID, e.x.desired, e.x.live.object())
	for i := range d.out {
		maskChange(&d.out[i], paths, whole)
	}
	return d.out
}

// taken lists what the patch of a take-over does to the live object, masked.
func (k *masker) taken(e *Entry) []Change {
	out := e.x.takeover.changes(e.x.live)
	paths, whole := k.paths(e.ID, e.x.desired, e.x.live.object())
	for i := range out {
		maskChange(&out[i], paths, whole)
	}
	return out
}

func maskChange(c *Change, paths []pointer, whole bool) {
	p, err := parsePointer(c.Path)
	if err != nil {
		return
	}
	before := hider{paths: paths, whole: whole, with: func([]string) string { return maskBefore }}
	after := hider{paths: paths, whole: whole, with: func([]string) string { return maskAfter }}
	values := [2]any{c.Before, c.After}
	c.Before, c.After = before.value(c.Before, p), after.value(c.After, p)
	c.Masked = before.hit || after.hit
	if c.Masked {
		c.raw = func() [2]any { return values }
	}
}
