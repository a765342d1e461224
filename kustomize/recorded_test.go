// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/kustomize"
)

// recorded is an object and what established clients make of it: "want" is null
// where they report an error.
type recorded struct {
	Vars   map[string]string `json:"vars"` // in the first line only
	Object string            `json:"object"`
	Want   map[string]any    `json:"want"`
}

// KZ-75, KZ-76, KZ-77: the compatible mode gives what was recorded of established
// clients, for every form of an expression and every kind of value.
func TestRecordedSubstitutions(t *testing.T) {
	g := NewWithT(t)
	f, err := os.Open("testdata/substitution.jsonl")
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { g.Expect(f.Close()).To(Succeed()) }()
	vars := map[string]kustomize.Var{}
	rows, errs := 0, 0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r recorded
		g.Expect(json.Unmarshal(lines.Bytes(), &r)).To(Succeed(), lines.Text())
		if r.Object == "" {
			for name, value := range r.Vars {
				vars[name] = kustomize.Var{Value: value}
			}
			continue
		}
		rows++
		res, err := substituted(t, "-- a.yaml --\n"+r.Object, kustomize.Substitution{Vars: vars})
		if r.Want == nil {
			errs++
			if err == nil {
				t.Errorf("no error for\n%s", r.Object)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v for\n%s", err, r.Object)
			continue
		}
		raw, err := json.Marshal(res.Unstructured()[0])
		g.Expect(err).NotTo(HaveOccurred())
		var got map[string]any
		g.Expect(json.Unmarshal(raw, &got)).To(Succeed())
		if diff := cmp.Diff(r.Want, got); diff != "" {
			t.Errorf("%s-recorded +got:\n%s", r.Object, diff)
		}
	}
	g.Expect(rows).To(BeNumerically(">=", 150))
	g.Expect(rows - errs).To(BeNumerically(">=", 60))
}
