// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"reflect"
	"strings"

	"github.com/gitops-kit/sdk/apis/meta"
)

// durationField is a duration of the spec.
type durationField struct {
	path  string
	index []int
}

// durationFields finds the durations of a kind's spec, also in structs below it.
func durationFields(t reflect.Type) []durationField {
	f, ok := t.FieldByName("Spec")
	if !ok || f.Type.Kind() != reflect.Struct {
		return nil
	}
	return walk(f.Type, "spec", f.Index, 0)
}

func walk(t reflect.Type, path string, index []int, depth int) []durationField {
	if depth > 8 {
		return nil
	}
	var out []durationField
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := path
		if name != "" {
			p += "." + name
		}
		idx := append(append([]int{}, index...), i)
		ft := f.Type
		if ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		switch {
		case ft == reflect.TypeFor[meta.Duration]():
			out = append(out, durationField{path: p, index: idx})
		case ft.Kind() == reflect.Struct && name != "-":
			out = append(out, walk(ft, p, idx, depth+1)...)
		}
	}
	return out
}

// checkDurations returns the first duration that is out of bounds. A zero
// duration that is not a pointer and not stored is absent.
func checkDurations(o any, fields []durationField, bounds map[string]meta.DurationBounds) error {
	v := reflect.ValueOf(o).Elem()
	for _, f := range fields {
		fv, err := v.FieldByIndexErr(f.index)
		if err != nil {
			continue // below a nil pointer
		}
		var d *meta.Duration
		switch x := fv.Interface().(type) {
		case meta.Duration:
			if x == (meta.Duration{}) && optional(v.Type(), f.index) {
				continue
			}
			d = &x
		case *meta.Duration:
			d = x
		}
		if err := bounds[f.path].Check(f.path, d); err != nil {
			return err
		}
	}
	return nil
}

// optional reports whether the field may be left out.
func optional(t reflect.Type, index []int) bool {
	_, opts, _ := strings.Cut(t.FieldByIndex(index).Tag.Get("json"), ",")
	return strings.Contains(opts, "omitempty") || strings.Contains(opts, "omitzero")
}
