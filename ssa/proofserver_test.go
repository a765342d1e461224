// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// mutationKinds are objects with every sort of list and map that managedFields
// know: atomic, set, keyed with and without defaults, unknown fields.
const mutationKinds = shop + `---
apiVersion: v1
kind: Pod
metadata: {name: pod, namespace: NS, finalizers: [example.com/a]}
spec:
  containers: [{name: c, image: "example.com/c:1", args: [x, z], ports: [{containerPort: 80}, {containerPort: 81, protocol: UDP}]}]
  tolerations: [{key: a, operator: Exists}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ing, namespace: NS}
spec: {rules: [{host: a.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
apiVersion: GROUP/v1
kind: Widget
metadata: {name: widget, namespace: NS}
spec: {free: {a: 1, b: [1, 2]}, set: [a, b], keyed: [{id: x, v: 1}, {id: z, proto: UDP}], atomic: {p: 1, q: {r: s}}, num: 1.5, quota: 12000m, tags: [1, 2]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: role, namespace: NS}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: sts, namespace: NS}
spec:
  serviceName: web
  selector: {matchLabels: {app: s}}
  template:
    metadata: {labels: {app: s}}
    spec: {containers: [{name: c, image: "example.com/c:1", resources: {requests: {cpu: "0.5", memory: 1000M, ephemeral-storage: 1024Mi}, limits: {cpu: 1000m, memory: 2Gi}}}]}
`

const widgetSchema = `{type: object, properties: {spec: {type: object, properties: {
  free: {type: object, x-kubernetes-preserve-unknown-fields: true}, num: {type: number}, quota: {type: string},
  set: {type: array, x-kubernetes-list-type: set, items: {type: string}}, tags: {type: array, items: {type: integer}},
  keyed: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [id, proto], items: {type: object, required: [id], properties: {id: {type: string}, proto: {type: string, default: TCP}, v: {type: integer}}}},
  atomic: {type: object, x-kubernetes-map-type: atomic, x-kubernetes-preserve-unknown-fields: true}}}}}`

type mutator struct {
	e *env
	r *rand.Rand
}

// paths lists the places below v that a mutation may hit.
func paths(v any, at []string, out *[][]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, c := range v {
			p := append(slices.Clip(at), k)
			*out = append(*out, p)
			paths(c, p, out)
		}
	case []any:
		for i, c := range v {
			p := append(slices.Clip(at), strconv.Itoa(i))
			*out = append(*out, p)
			paths(c, p, out)
		}
	}
}

// desired changes the desired object at a random place.
func (m *mutator) desired(u *unstructured.Unstructured) {
	body := map[string]any{}
	for k, v := range u.Object {
		if k != "apiVersion" && k != "kind" && k != "metadata" {
			body[k] = v
		}
	}
	var all [][]string
	paths(body, nil, &all)
	if len(all) == 0 {
		return
	}
	p := all[m.r.IntN(len(all))]
	change(u.Object, p, m.r)
}

func change(v any, p []string, r *rand.Rand) any {
	switch t := v.(type) {
	case map[string]any:
		if len(p) > 1 {
			t[p[0]] = change(t[p[0]], p[1:], r)
			return t
		}
		if r.IntN(4) == 0 {
			delete(t, p[0])
			return t
		}
		t[p[0]] = scalar(t[p[0]], r)
		return t
	case []any:
		i, _ := strconv.Atoi(p[0])
		if i >= len(t) {
			return t
		}
		if len(p) > 1 {
			t[i] = change(t[i], p[1:], r)
			return t
		}
		switch r.IntN(4) {
		case 0:
			return append(t[:i:i], t[i+1:]...)
		case 1:
			j := r.IntN(len(t))
			t[i], t[j] = t[j], t[i]
			return t
		}
		t[i] = scalar(t[i], r)
		return t
	}
	return v
}

func scalar(v any, r *rand.Rand) any {
	odd := []any{nil, map[string]any{}, []any{}, "", "x", int64(7), 1.0, true, "100m", "0.1", "1Gi", "1024Mi"}
	switch v := v.(type) {
	case string:
		if r.IntN(3) > 0 {
			return v + strconv.Itoa(r.IntN(3))
		}
	case int64:
		if r.IntN(3) > 0 {
			return v + int64(r.IntN(3))
		}
	case map[string]any:
		if r.IntN(2) == 0 {
			v["n"+strconv.Itoa(r.IntN(3))] = "v"
			return v
		}
	}
	return odd[r.IntN(len(odd))]
}

// live changes the live object as somebody else does.
func (m *mutator) live(u *unstructured.Unstructured) {
	e := m.e
	now := e.live(u)
	if now == nil {
		return
	}
	gvk := u.GroupVersionKind()
	w := ssa.Write{Resource: e.resource(gvk.Group, gvk.Version, gvk.Kind), Namespace: u.GetNamespace(), Name: u.GetName(), FieldManager: "other" + strconv.Itoa(m.r.IntN(3))}
	switch m.r.IntN(8) {
	case 0, 1, 2: // an update somewhere
		c := now.DeepCopy()
		c.SetManagedFields(nil)
		m.desired(c)
		w.Verb, w.Object = ssa.VerbUpdate, c
	case 3, 4: // another manager applies part of the object, forced or not
		c := u.DeepCopy()
		if m.r.IntN(2) == 0 {
			m.desired(c)
		}
		w.Verb, w.Object, w.Force = ssa.VerbApply, c, m.r.IntN(2) == 0
	case 5: // managedFields are wiped or our entry is edited
		p := `[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]`
		if list := now.GetManagedFields(); len(list) > 0 && m.r.IntN(2) == 0 {
			i := m.r.IntN(len(list))
			list[i].Manager += "x"
			b, _ := json.Marshal(list)
			p = `[{"op":"replace","path":"/metadata/managedFields","value":` + string(b) + `}]`
		}
		w.Verb, w.Patch = ssa.VerbJSONPatch, []byte(p)
	case 6: // labels and annotations
		w.Verb, w.Patch = ssa.VerbJSONPatch, fmt.Appendf(nil, `[{"op":"add","path":"/metadata/labels/l%d","value":"%d"}]`, m.r.IntN(3), m.r.IntN(3))
	case 7: // our own field manager, but with an update
		c := now.DeepCopy()
		c.SetManagedFields(nil)
		m.desired(c)
		w.Verb, w.Object, w.FieldManager = ssa.VerbUpdate, c, testManager
	}
	_, _ = e.cluster.Send(e.t.Context(), w) // many are refused: that is a mutation, too
}

// mutationRounds is how many rounds of 180 mutations are made; SSA_ROUNDS=56
// makes 10,000.
func mutationRounds() int {
	if testing.Short() {
		return 10
	}
	if os.Getenv("SSA_ROUNDS") != "" {
		n, _ := strconv.Atoi(os.Getenv("SSA_ROUNDS"))
		return n
	}
	return 12
}

// SSA-28, SSA-31, SSA-32, SSA-33, SSA-34, SSA-35, SSA-36: what is proved
// unchanged, the server's dry-run finds unchanged, after any mutation.
func TestProofAgainstServer(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	group := e.ns + ".example.com"
	definition := e.objects(crd(group, widgetSchema))
	e.apply(definition, ssa.PlanOptions{})
	t.Cleanup(func() { e.cleanup(definition) })
	var base []*unstructured.Unstructured
	for i := range 20 {
		for _, u := range e.objects(replaceGroup(mutationKinds, group)) {
			u.SetName(u.GetName() + strconv.Itoa(i))
			if u.GetKind() == "StatefulSet" || u.GetKind() == "Deployment" {
				_ = unstructured.SetNestedField(u.Object, int64(0), "spec", "replicas")
			}
			base = append(base, u)
		}
	}
	seed := uint64(42)
	m := &mutator{e: e, r: rand.New(rand.NewPCG(seed, seed))}
	memo := ssa.NewMemo(ssa.MemoOptions{})
	static := e.manager(ssa.Options{})
	remembering := e.manager(ssa.Options{Memo: memo})
	past := ssa.Verification{Version: "1", Pass: -1 << 30, At: time.Now()}
	e.apply(base, ssa.PlanOptions{})
	objects := base
	var proved, total int
	for round := range mutationRounds() {
		if round%5 == 0 { // back to what was meant
			objects = objects[:0:0]
			for _, u := range base {
				objects = append(objects, u.DeepCopy())
			}
		}
		var wg sync.WaitGroup
		jobs := make(chan *unstructured.Unstructured)
		seeds := make(chan uint64, len(objects))
		for range objects {
			seeds <- m.r.Uint64()
		}
		for range 4 {
			wg.Go(func() {
				for u := range jobs {
					s := <-seeds
					mm := &mutator{e: e, r: rand.New(rand.NewPCG(s, seed))}
					if mm.r.IntN(2) == 0 {
						mm.desired(u)
					} else {
						mm.live(u)
					}
				}
			})
		}
		for _, u := range objects {
			jobs <- u
		}
		close(jobs)
		wg.Wait()
		full, _ := e.m.Plan(t.Context(), objects, ssa.PlanOptions{VerifyEvery: 1})
		fast, _ := static.Plan(t.Context(), objects, ssa.PlanOptions{Verified: past, VerifyEvery: 1 << 30, VerifyMaxAge: 1000 * time.Hour})
		memod, _ := remembering.Plan(t.Context(), objects, ssa.PlanOptions{Verified: past, VerifyEvery: 1 << 30, VerifyMaxAge: 1000 * time.Hour})
		for i := range full.Entries {
			want, got, mem := &full.Entries[i], &fast.Entries[i], &memod.Entries[i]
			total++
			if got.Why == ssa.WhyProved {
				proved++
			}
			if want.Decision != got.Decision || want.Decision != mem.Decision {
				b, _ := json.MarshalIndent(e.live(find(objects, want.ID)), "", " ")
				d, _ := json.Marshal(find(objects, want.ID))
				t.Fatalf("round %d %s: server says %s (%v %v), proof says %s %s, memo says %s %s\ndesired %s\nlive %s", round, want.ID, want.Decision, want.Changes, want.Err, got.Decision, got.Why, mem.Decision, mem.Why, d, b)
			}
		}
		if round%3 == 2 {
			_, _ = e.m.Apply(t.Context(), full, ssa.ApplyOptions{ContinueOnError: true})
		}
	}
	t.Logf("%d decisions, %d proved", total, proved)
	g.Expect(proved).To(BeNumerically(">", total/20))
}

func find(objects []*unstructured.Unstructured, id ssa.ID) *unstructured.Unstructured {
	for _, u := range objects {
		if ssa.IDOf(u) == id {
			return u
		}
	}
	return nil
}
