// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	"sigs.k8s.io/yaml"
)

// SSA-12: what we read, the YAML library reads to the same object.
func FuzzReadObjects(f *testing.F) {
	for _, s := range []string{shop, "a: &a [1]\nb: *a", "{", "---\n---", "apiVersion: v1\nkind: A\nmetadata: {name: a}\ndata: {x: 0755, y: yes, z: 1e3}", "\t", "a: b: c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		out, err := ssa.ReadObjects(strings.NewReader(text), ssa.ReadOptions{SkipNonObjects: true})
		if err != nil {
			var de *ssa.DecodeError
			if !errors.As(err, &de) || out != nil {
				t.Fatalf("%d objects and %v", len(out), err)
			}
			return
		}
		if len(out) != 1 || strings.Contains(text, "---") || strings.HasPrefix(strings.TrimSpace(text), "{") {
			return
		}
		var m map[string]any
		if yaml.Unmarshal([]byte(text), &m) != nil || m["items"] != nil {
			return
		}
		a, _ := json.Marshal(m)
		b, _ := json.Marshal(out[0].Object)
		var x, y any
		_ = json.Unmarshal(a, &x)
		_ = json.Unmarshal(b, &y)
		if !reflect.DeepEqual(x, y) {
			t.Fatalf("%s and %s", a, b)
		}
	})
}

// SSA-45: pointers never panic, and a malformed one is a RuleError.
func FuzzPointer(f *testing.F) {
	for _, s := range []string{"", "/", "/a~1b", "/a~", "/spec/*/0", "a"} {
		f.Add(s)
	}
	c := ssa.UnimplementedCluster{}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := ssa.NewManager(c, ssa.Options{Owner: ssa.Owner{FieldManager: "m", LabelGroup: "g", Name: "n"}, Sensitive: []ssa.PathRule{{Paths: []string{s}}}})
		var re *ssa.RuleError
		if err != nil && !errors.As(err, &re) {
			t.Fatal(err)
		}
	})
}

func FuzzParseBudget(f *testing.F) {
	f.Add("10/20%")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := ssa.ParseBudget(s)
		if err == nil && b.String() != s {
			t.Fatalf("%q is %+v", s, b)
		}
	})
}

func FuzzParseGroupKinds(f *testing.F) {
	f.Add("a.b/C,D")
	f.Fuzz(func(t *testing.T, s string) {
		gks, err := ssa.ParseGroupKinds(s)
		for _, gk := range gks {
			if err != nil || gk.Kind == "" || !gks.Match(gk) {
				t.Fatalf("%q is %+v, %v", s, gks, err)
			}
		}
	})
}

func asError[T error](err error, target *T) bool { return errors.As(err, target) }
