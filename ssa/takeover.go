// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/ssa/internal/fieldset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Takeover makes fields of other managers ours before an object is applied,
// so that what they own and the set does not want goes away. The zero value
// takes nothing over.
type Takeover struct {
	// Managers whose fields become ours.
	Managers []ManagerMatch
	// Annotations and Labels are removed from the live object.
	Annotations, Labels []string
	// Exclude exempts matching objects.
	Exclude Selector
}

// ManagerMatch selects elements of managedFields of the main resource.
type ManagerMatch struct {
	// Name is a prefix of the manager's name, or all of it with Exact.
	Name  string
	Exact bool
	// Operation is "Apply" or "Update". "": both.
	Operation string
}

func (m ManagerMatch) matches(x *manager) bool {
	if m.Operation != "" && m.Operation != x.Operation || m.Name == "" {
		return false
	}
	if m.Exact {
		return x.Manager == m.Name
	}
	return strings.HasPrefix(x.Manager, m.Name)
}

// takeover is what the JSON patch of one object does.
type takeover struct {
	names               []string       // managers taken over, for display
	taken               map[string]any // their fields
	annotations, labels []string
	migrate             bool
	desired             map[string]any
	keep                []map[string]any // field sets of everybody else
}

// takeoverOf finds out whether the entry needs a patch of managedFields.
func (pl *planner) takeoverOf(e *Entry) *takeover {
	return findTakeover(pl.o, pl.m.o.Owner.FieldManager, e)
}

func findTakeover(o PlanOptions, fieldManager string, e *Entry) *takeover {
	x := e.x
	t := &takeover{desired: x.sent.Object}
	gv, err := schema.ParseGroupVersion(x.sent.GetAPIVersion())
	if err != nil {
		return nil
	}
	exempt := exempted(o, x)
	managers := x.live.managers()
	for i := range managers {
		m := &managers[i]
		if o.MigrateAPIVersion && otherVersion(m.APIVersion, gv) {
			t.migrate = true
		}
		if exempt || !takes(o.Takeover, m, fieldManager) {
			if m.Manager != fieldManager || m.Operation != opApply {
				t.keep = append(t.keep, m.tree())
			}
			continue
		}
		t.names = append(t.names, m.Manager)
		t.taken = fieldset.Merge(t.taken, m.tree())
	}
	if !exempt {
		meta := nestedMap(x.live.u.Object, "metadata")
		t.annotations = present(nestedMap(meta, "annotations"), nestedMap(x.sent.Object, "metadata", "annotations"), o.Takeover.Annotations)
		t.labels = present(nestedMap(meta, "labels"), nestedMap(x.sent.Object, "metadata", "labels"), o.Takeover.Labels)
	}
	if len(t.names) == 0 && len(t.annotations) == 0 && len(t.labels) == 0 && !t.migrate {
		return nil
	}
	return t
}

// exempted reports whether nothing of the object is taken over.
func exempted(o PlanOptions, x *work) bool {
	return o.NoTakeover.either(x.desired, x.live.u) || o.Takeover.Exclude.either(x.desired, x.live.u)
}

func takes(t Takeover, m *manager, fieldManager string) bool {
	if m.Subresource != "" || m.Manager == fieldManager && m.Operation == opApply {
		return false
	}
	return slices.ContainsFunc(t.Managers, func(match ManagerMatch) bool { return match.matches(m) })
}

func otherVersion(apiVersion string, want schema.GroupVersion) bool {
	gv, err := schema.ParseGroupVersion(apiVersion)
	return err == nil && gv.Group == want.Group && gv.Version != want.Version
}

// present returns the keys that live has and the set does not want.
func present(live, desired map[string]any, keys []string) []string {
	var out []string
	for _, k := range keys {
		if _, ok := live[k]; !ok {
			continue
		}
		if _, wanted := desired[k]; !wanted {
			out = append(out, k)
		}
	}
	return out
}

// changes lists, unmasked, what the patch does to the object.
func (t *takeover) changes(l *liveObject) []Change {
	var out []Change
	meta := nestedMap(l.u.Object, "metadata")
	for _, f := range [...]struct {
		field string
		keys  []string
	}{{"annotations", t.annotations}, {"labels", t.labels}} {
		for _, k := range f.keys {
			out = append(out, Change{Op: OpRemove, Path: "/metadata/" + f.field + "/" + escapeSegment(k), Before: nestedMap(meta, f.field)[k]})
		}
	}
	for _, name := range t.names {
		out = append(out, Change{Op: OpRemove, Path: "/metadata/managedFields", Before: name})
	}
	listed := len(out)
	for _, c := range removals(t.taken, t.desired, l.u.Object, "", t.keep) {
		if !slices.ContainsFunc(out[:listed], func(have Change) bool { return have.Path == c.Path }) {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, compareChanges)
	return out
}

// removed lists the places that the patch and the apply after it empty.
func (t *takeover) removed(l *liveObject) []pointer {
	var out []pointer
	for _, c := range t.changes(l) {
		if p, err := parsePointer(c.Path); err == nil && len(p) > 0 && c.Path != "/metadata/managedFields" {
			out = append(out, p)
		}
	}
	return out
}

// removals lists the live fields that only taken-over managers own and the
// set does not want. Items of lists are listed as whole items.
func removals(taken map[string]any, desired, live any, path string, keep []map[string]any) []Change {
	switch live := live.(type) {
	case map[string]any:
		wanted, _ := desired.(map[string]any)
		return removedFields(taken, wanted, live, path, keep)
	case []any:
		wanted, _ := desired.([]any)
		return removedItems(taken, wanted, live, path, keep)
	}
	return nil
}

func removedFields(taken, desired, live map[string]any, path string, keep []map[string]any) []Change {
	var out []Change
	for _, key := range slices.Sorted(maps.Keys(taken)) {
		name, isField := strings.CutPrefix(key, "f:")
		value, exists := live[name]
		if !isField || !exists || path == "" && name == "status" || path == "/metadata" && name != "labels" && name != "annotations" {
			continue
		}
		sub, _ := taken[key].(map[string]any)
		others := below(keep, key)
		p := path + "/" + escapeSegment(name)
		switch want, wanted := desired[name]; {
		case wanted || p == "/metadata":
			out = append(out, removals(sub, want, value, p, others)...)
		case len(others) == 0:
			out = append(out, Change{Op: OpRemove, Path: p, Before: clone(value)})
		case !slices.ContainsFunc(others, whole):
			out = append(out, removals(sub, nil, value, p, others)...)
		}
	}
	return out
}

// whole reports whether a field set stops here: its manager owns the value,
// not fields of it.
func whole(set map[string]any) bool {
	_, self := set["."]
	return len(set) == 0 || self && len(set) == 1
}

func removedItems(taken map[string]any, desired, live []any, path string, keep []map[string]any) []Change {
	var out []Change
	for _, key := range slices.Sorted(maps.Keys(taken)) {
		fits := itemOf(key)
		if fits == nil {
			continue
		}
		j := slices.IndexFunc(live, func(v any) bool { return fits(v, true) })
		if j < 0 {
			continue
		}
		sub, _ := taken[key].(map[string]any)
		others := below(keep, key)
		p := path + "/" + strconv.Itoa(j)
		if i := slices.IndexFunc(desired, func(v any) bool { return fits(v, false) }); i >= 0 {
			out = append(out, removals(sub, desired[i], live[j], p, others)...)
		} else if len(others) == 0 {
			out = append(out, Change{Op: OpRemove, Path: p, Before: clone(live[j])})
		} else if !slices.ContainsFunc(others, whole) {
			out = append(out, removals(sub, nil, live[j], p, others)...)
		}
	}
	return out
}

// itemOf returns what tells the list item of an element of managedFields;
// unless all, an item may leave fields of its key to their defaults. It is nil
// for elements that are no items.
func itemOf(key string) func(item any, all bool) bool {
	if text, ok := strings.CutPrefix(key, "v:"); ok {
		var want any
		if json.Unmarshal([]byte(text), &want) != nil {
			return nil
		}
		return func(item any, _ bool) bool { return same(want, item) }
	}
	text, ok := strings.CutPrefix(key, "k:")
	fields, err := fieldset.ParseKey(text)
	if !ok || err != nil {
		return nil
	}
	return func(item any, all bool) bool {
		m, _ := item.(map[string]any)
		found := 0
		for _, f := range fields {
			v, ok := m[f.Name]
			if ok && !fieldset.SameScalar(v, f.Value) || !ok && all {
				return false
			}
			if ok {
				found++
			}
		}
		return found > 0
	}
}

// below returns what the field sets have below key.
func below(sets []map[string]any, key string) []map[string]any {
	var out []map[string]any
	for _, s := range sets {
		if sub, ok := s[key].(map[string]any); ok {
			out = append(out, sub)
		}
	}
	return out
}

// explains reports whether a refused dry-run is due to fields that the patch
// will make ours first: every cause lies below a list that a taken-over
// manager owns items of.
func (t *takeover) explains(err error) bool {
	st := statusOf(err)
	if st == nil || st.Code != 422 || st.Details == nil || len(st.Details.Causes) == 0 {
		return false
	}
	for _, c := range st.Details.Causes {
		if !ownsListAbove(t.taken, c.Field) {
			return false
		}
	}
	return true
}

func ownsListAbove(taken map[string]any, field string) bool {
	for part := range strings.SplitSeq(field, ".") {
		name, _, indexed := strings.Cut(part, "[")
		next, ok := taken["f:"+name].(map[string]any)
		if !ok {
			return false
		}
		for k := range next {
			if strings.HasPrefix(k, "k:") {
				return true
			}
		}
		if indexed {
			return false
		}
		taken = next
	}
	return false
}

// othersAt names the other managers that own what a 422 refuses: the fields,
// or items of a list above them. What is refused may be due to theirs.
func othersAt(l *liveObject, err error, fieldManager string) []string {
	st := statusOf(err)
	if l == nil || st == nil || st.Code != http.StatusUnprocessableEntity || st.Details == nil {
		return nil
	}
	var out []string
	managers := l.managers()
	for i := range managers {
		m := &managers[i]
		if m.Subresource != "" || m.Manager == fieldManager && m.Operation == opApply || slices.Contains(out, m.Manager) {
			continue
		}
		tree := m.tree()
		if slices.ContainsFunc(st.Details.Causes, func(c metav1.StatusCause) bool { return c.Field != "" && ownsAt(tree, c.Field) }) {
			out = append(out, m.Manager)
		}
	}
	return out
}

// ownsAt reports whether a field set holds the field that an error names, or
// items of the first list above it: the indices of errors count in no list
// that we know.
func ownsAt(set map[string]any, field string) bool {
	for part := range strings.SplitSeq(field, ".") {
		name, _, indexed := strings.Cut(part, "[")
		next, ok := set["f:"+name].(map[string]any)
		switch {
		case !ok:
			return false
		case indexed:
			return len(next) == 0 || slices.ContainsFunc(slices.Collect(maps.Keys(next)), func(k string) bool { return k != "." })
		}
		set = next
	}
	return true
}

type patchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// patch returns the JSON patch for the live object. It tests the
// resourceVersion, so that a concurrent writer makes it fail.
func (t *takeover) patch(o PlanOptions, fieldManager string, e *Entry, now time.Time) ([]byte, error) {
	x := e.x
	gv, err := schema.ParseGroupVersion(x.sent.GetAPIVersion())
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	var list []any
	var ours map[string]any
	exempt := exempted(o, x)
	managers := x.live.managers()
	for i := range managers {
		m := &managers[i]
		if !exempt && takes(o.Takeover, m, fieldManager) {
			continue
		}
		version := m.APIVersion
		if o.MigrateAPIVersion && otherVersion(version, gv) {
			version = gv.String()
		}
		el := element(m, version)
		if m.Manager == fieldManager && m.Operation == opApply && m.Subresource == "" && (ours == nil || version == gv.String()) {
			ours = el
		}
		list = append(list, el)
	}
	if len(t.taken) > 0 {
		if ours == nil {
			ours = map[string]any{"manager": fieldManager, "operation": opApply, "apiVersion": gv.String(), "fieldsType": "FieldsV1", "fieldsV1": map[string]any{}}
			list = append(list, ours)
		}
		had, _ := ours["fieldsV1"].(map[string]any)
		ours["fieldsV1"] = fieldset.Merge(had, t.taken)
		ours["time"] = now.UTC().Format(time.RFC3339)
	}
	ops := []patchOp{{"test", "/metadata/resourceVersion", x.live.resourceVersion()}, {"replace", "/metadata/managedFields", list}}
	for _, k := range t.annotations {
		ops = append(ops, patchOp{Op: "remove", Path: "/metadata/annotations/" + escapeSegment(k)})
	}
	for _, k := range t.labels {
		ops = append(ops, patchOp{Op: "remove", Path: "/metadata/labels/" + escapeSegment(k)})
	}
	b, err := json.Marshal(ops)
	if err != nil {
		return nil, fmt.Errorf("take over: %w", err)
	}
	return b, nil
}

func element(m *manager, version string) map[string]any {
	el := map[string]any{"manager": m.Manager, "operation": m.Operation, "apiVersion": version, "fieldsType": "FieldsV1", "fieldsV1": m.tree()}
	if m.Time != "" {
		el["time"] = m.Time
	}
	if m.Subresource != "" {
		el["subresource"] = m.Subresource
	}
	return el
}

// patchBytes is what a managedFields patch may weigh; the server refuses more.
const patchBytes = 3 << 20

func checkPatch(b []byte) error {
	if len(b) > patchBytes {
		return fmt.Errorf("take over: patch of %s bytes: %w", strconv.Itoa(len(b)), &LimitError{Name: "object", Max: patchBytes, Got: int64(len(b))})
	}
	return nil
}
