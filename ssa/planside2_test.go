// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	lru "container/list"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// SSA-28: what an identity was refused, every Manager on its cluster knows.
// The namespaces of a kind are then listed one by one, or its objects read.
func TestRefusalsOutliveTheManager(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	var spaces, texts []string
	for i := range 9 { // more than are listed one by one
		ns := e.ns
		if i > 0 {
			ns = fmt.Sprintf("%s-%d", e.ns, i)
			u := e.objects("apiVersion: v1\nkind: Namespace\nmetadata: {name: " + ns + "}\n")[0]
			e.createAs("x", u)
			t.Cleanup(func() { e.delete(u) })
		}
		spaces = append(spaces, ns)
		texts = append(texts, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: "+ns+"}\ndata: {a: \"1\"}\n")
	}
	objects := e.objects(strings.Join(texts, "---\n"))
	e.apply(objects, ssa.PlanOptions{})
	c, l := e.lined(ssa.ClusterOptions{})
	var mu sync.Mutex
	var refused, lists, gets []string
	closed := map[string]bool{"": true, spaces[3]: true}
	l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "configmaps") {
			return send()
		}
		ns, name := "", ""
		if _, rest, ok := strings.Cut(r.URL.Path, "/namespaces/"); ok {
			ns, name, _ = strings.Cut(rest, "/configmaps")
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case name != "":
			gets = append(gets, ns)
		case closed[ns]:
			refused = append(refused, ns)
			return answer(r, http.StatusForbidden, nil, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"Forbidden","code":403}`)
		default:
			lists = append(lists, ns)
		}
		return send()
	})
	open := slices.DeleteFunc(slices.Clone(spaces), func(ns string) bool { return closed[ns] })
	for round := range 3 {
		m, err := ssa.NewManager(c, ssa.Options{Owner: e.owner}) // as a controller does in every run
		g.Expect(err).NotTo(HaveOccurred())
		p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		for i := range p.Entries {
			g.Expect(p.Entries[i].Why).To(Equal(ssa.WhyProved))
		}
		mu.Lock()
		g.Expect(lists).To(ConsistOf(toAny(open)...))
		g.Expect(gets).To(ConsistOf(spaces[3]))
		if round == 0 {
			g.Expect(refused).To(ConsistOf("", spaces[3]))
		} else {
			g.Expect(refused).To(BeEmpty())
		}
		refused, lists, gets = nil, nil, nil
		mu.Unlock()
	}
}

func toAny(in []string) []any {
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}

// SSA-102: any response tells that the server has priority and fairness, not
// the first one alone.
func TestFairnessIsSeenOnAnyResponse(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	c, l := e.lined(ssa.ClusterOptions{})
	const header = "X-Kubernetes-Pf-Flowschema-Uid"
	say := func(hide bool, code int) {
		l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
			if code != 0 {
				h := http.Header{}
				if !hide {
					h.Set(header, "x")
				}
				return answer(r, code, h, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`)
			}
			resp, err := send()
			if err == nil && hide {
				resp.Header.Del(header)
			}
			return resp, err
		})
	}
	r := e.resource("", "v1", "ConfigMap")
	get := func() { _, _ = c.Get(t.Context(), r, e.ns, "kube-root-ca.crt") }
	say(true, http.StatusForbidden)
	get()
	g.Expect(ssa.Slowed(c)).To(BeFalse(), "a refusal without the header says nothing")
	u := e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: here, namespace: NS}\n")[0]
	e.createAs("x", u)
	get = func() { _, _ = c.Get(t.Context(), r, e.ns, "here") }
	say(true, 0)
	get()
	g.Expect(ssa.Slowed(c)).To(BeTrue())
	say(false, http.StatusForbidden)
	get()
	g.Expect(ssa.Slowed(c)).To(BeFalse())
	say(true, 0)
	get()
	g.Expect(ssa.Slowed(c)).To(BeFalse(), "once told, it stays so")
}

// SSA-109
func TestInventoryReason(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	reason := func(err error) string {
		var r interface{ Reason() string }
		g.Expect(errors.As(err, &r)).To(BeTrue(), "%v", err)
		return r.Reason()
	}
	store := inventory.StoreFuncs{SaveFunc: func(ctxT, inventory.Set, string) (string, error) { return "", errInjected }}
	p := e.plan(e.objects(shop), ssa.PlanOptions{})
	_, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{Ledger: inventory.NewLedger(store)})
	g.Expect(errors.Is(err, ssa.ErrInventory)).To(BeTrue())
	g.Expect(errors.Is(err, errInjected)).To(BeTrue())
	g.Expect(reason(err)).To(Equal("InventoryFailed"))
	g.Expect(e.rec.Writes()).To(BeZero())
	_, err = e.m.Delete(t.Context(), mustDelete(e, p), ssa.DeleteOptions{Ledger: inventory.NewLedger(inventory.StoreFuncs{LoadFunc: func(ctxT) (inventory.Set, string, error) { return inventory.Set{}, "", errInjected }})})
	g.Expect(errors.Is(err, ssa.ErrInventory)).To(BeTrue(), "%v", err)
	g.Expect(reason(err)).To(Equal("InventoryFailed"))
}

func mustDelete(e *env, p *ssa.Plan) *ssa.DeletePlan {
	e.t.Helper()
	dp, err := e.m.PlanDelete(e.t.Context(), p.Inventory(), ssa.DeleteOptions{})
	e.g.Expect(err).NotTo(HaveOccurred())
	return dp
}

// SSA-63: without a take-over the error names who else owns what is refused.
func TestRefusedFieldsNameTheirManagers(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	svc := "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: NS}\nspec: {selector: {a: b}, ports: [{name: http, port: NUM}]}\n"
	e.createAs("kubectl-create", e.objects(strings.ReplaceAll(svc, "NUM", "80"))[0])
	_, err := e.m.Plan(t.Context(), e.objects(strings.ReplaceAll(svc, "NUM", "81")), ssa.PlanOptions{})
	var oe *ssa.ObjectError
	g.Expect(errors.As(err, &oe)).To(BeTrue())
	g.Expect(oe.Fields).To(ContainElement("spec.ports[1].name"))
	g.Expect(oe.Reason()).To(Equal("Invalid"))
	g.Expect(err.Error()).To(HaveSuffix("; also owned by kubectl-create"))
	// What is ours alone is our own fault.
	deploy := strings.ReplaceAll(withReplicas("replicas: 1"), "name: web", "name: d")
	e.apply(e.objects(deploy), ssa.PlanOptions{})
	_, err = e.m.Plan(t.Context(), e.objects(strings.ReplaceAll(deploy, "replicas: 1", "replicas: -1")), ssa.PlanOptions{})
	g.Expect(err).To(MatchError(ContainSubstring("spec.replicas")))
	g.Expect(err.Error()).NotTo(ContainSubstring("owned by"))
}

// SSA-44: the reasons of what was not proved are counted.
func TestUnprovedIsCounted(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(configMaps(e.ns, 3))
	e.apply(objects, ssa.PlanOptions{})
	g.Expect(e.plan(objects, ssa.PlanOptions{}).Unproved).To(BeNil())
	g.Expect(e.plan(objects, ssa.PlanOptions{VerifyEvery: 1}).Unproved).To(Equal(map[string]int{"Due": 3}))
	_ = unstructured.SetNestedField(objects[0].Object, "other", "data", "a")
	p := e.plan(objects, ssa.PlanOptions{Verify: func(id ssa.ID) bool { return id.Name == "c0001" }})
	g.Expect(p.Unproved).To(HaveLen(2))
	g.Expect(p.Unproved).To(HaveKeyWithValue("Due", 1))
	g.Expect(p.Unproved).To(HaveKeyWithValue(p.Entries[0].Unproved, 1))
}

// SSA-39: the memo forgets what was used least recently, and nothing else.
func TestMemoIsAnLRU(t *testing.T) {
	g := NewWithT(t)
	const size = 3000
	m := ssa.NewMemo(ssa.MemoOptions{Entries: size})
	order := lru.New() // the same, in a simple way
	at := map[uint64]*lru.Element{}
	state := map[uint64]uint64{}
	r := rand.New(rand.NewPCG(seed(t), 7))
	for range 60_000 {
		n := r.Uint64N(2 * size)
		if r.IntN(3) == 0 {
			v := state[n]
			if r.IntN(4) == 0 {
				v++
			}
			el, ok := at[n]
			g.Expect(ssa.Remembered(m, n, v)).To(Equal(ok && state[n] == v))
			if ok && state[n] == v {
				order.MoveToFront(el)
			}
			continue
		}
		state[n]++
		ssa.Remember(m, n, state[n])
		if el, ok := at[n]; ok {
			order.MoveToFront(el)
			continue
		}
		if len(at) == size {
			last := order.Back()
			delete(at, last.Value.(uint64))
			order.Remove(last)
		}
		at[n] = order.PushFront(n)
	}
	g.Expect(m.Len()).To(Equal(size))
	for n := range uint64(2 * size) {
		_, ok := at[n]
		g.Expect(ssa.Remembered(m, n, state[n])).To(Equal(ok))
	}
}

// SSA-39: an object takes at most 96 bytes.
func TestMemoIsSmall(t *testing.T) {
	g := NewWithT(t)
	const n = 200_000
	heap := func() int64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&s)
		return int64(s.HeapAlloc)
	}
	before := heap()
	m := ssa.NewMemo(ssa.MemoOptions{})
	for i := range uint64(2 * n) { // it has forgotten as many as it holds
		ssa.Remember(m, i, i)
	}
	each := (heap() - before) / n
	t.Logf("%d bytes per object", each)
	g.Expect(m.Len()).To(Equal(n))
	g.Expect(each).To(BeNumerically("<=", 96))
	runtime.KeepAlive(m)
}
