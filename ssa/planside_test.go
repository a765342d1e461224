// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// lined returns a cluster that talks through a line.
func (e *env) lined(o ssa.ClusterOptions) (ssa.Cluster, *line) {
	e.t.Helper()
	l := &line{}
	cfg := config(e.t)
	cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper { l.next = rt; return l })
	c, err := ssa.NewCluster(cfg, o)
	e.g.Expect(err).NotTo(HaveOccurred())
	return c, l
}

// fates returns what Explain says about each field.
func (e *env) fates(yaml string, o ssa.PlanOptions) map[string]string {
	e.t.Helper()
	x, err := e.m.Explain(e.t.Context(), e.objects(yaml)[0], o)
	e.g.Expect(err).NotTo(HaveOccurred())
	out := map[string]string{}
	for _, f := range x.Fields {
		out[f.Path] = f.Decision
	}
	return out
}

// SSA-65: Explain names the decisions that Apply then takes: for what a
// take-over removes, for objects that are new, left alone, or made anew.
func TestExplainSaysWhatApplyDoes(t *testing.T) {
	t.Parallel()
	t.Run("Takeover", func(t *testing.T) {
		e := newEnv(t, ssa.Options{})
		g := e.g
		e.createAs("kubectl-create", e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS, labels: {listed: x, owned: x}}\ndata: {a: \"1\", stale: s, both: b}\n")[0])
		e.applyAs("other", e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS}\ndata: {both: b, theirs: t}\n")[0])
		o := ssa.PlanOptions{Takeover: ssa.Takeover{Managers: []ssa.ManagerMatch{{Name: "kubectl"}}, Labels: []string{"listed"}}}
		got := e.fates(cm(""), o)
		for path, want := range map[string]string{
			"/data/a": ssa.FateAdopt, "/data/stale": ssa.FateRemove, "/data/both": ssa.FateRelease, "/data/theirs": ssa.FateKeep,
			"/metadata/labels/listed": ssa.FateRemove, "/metadata/labels/owned": ssa.FateRemove,
		} {
			g.Expect(got).To(HaveKeyWithValue(path, want))
		}
		exempt := o
		exempt.NoTakeover = ssa.Selector{"owned": "x"}
		got = e.fates(cm(""), exempt)
		g.Expect(got).To(HaveKeyWithValue("/data/stale", ssa.FateKeep))
		g.Expect(got).To(HaveKeyWithValue("/metadata/labels/listed", ssa.FateKeep))
		desired := e.objects(cm(""))
		e.apply(desired, o)
		live := e.live(desired[0])
		g.Expect(live.Object["data"]).To(Equal(map[string]any{"a": "1", "both": "b", "theirs": "t"}))
		g.Expect(live.GetLabels()).NotTo(Or(HaveKey("listed"), HaveKey("owned")))
	})
	t.Run("New", func(t *testing.T) {
		e := newEnv(t, ssa.Options{})
		o := ssa.PlanOptions{Ignore: []ssa.PathRule{{Paths: []string{"/data/a"}}}}
		e.g.Expect(e.fates(cm(""), o)).To(HaveKeyWithValue("/data/a", ssa.FateSet))
		desired := e.objects(cm(""))
		e.apply(desired, o)
		e.g.Expect(e.live(desired[0]).Object["data"]).To(Equal(map[string]any{"a": "1"}))
		e.g.Expect(e.fates(cm(""), o)).To(HaveKeyWithValue("/data/a", ssa.FateIgnored))
	})
	t.Run("LeftAlone", func(t *testing.T) {
		e := newEnv(t, ssa.Options{})
		e.apply(e.objects(cm("")), ssa.PlanOptions{})
		o := ssa.PlanOptions{Exclude: ssa.Selector{"example.com/ssa": "ignore"}}
		next := strings.ReplaceAll(cm(", annotations: {example.com/ssa: ignore}"), `a: "1"`, `b: "1"`)
		got := e.fates(next, o)
		e.g.Expect(got).To(HaveKeyWithValue("/data/a", ssa.FateKeep))
		e.g.Expect(got).To(HaveKeyWithValue("/data/b", ssa.FateKeep))
	})
	t.Run("Recreated", func(t *testing.T) {
		e := newEnv(t, ssa.Options{})
		role := "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: b, namespace: NS, labels: {x: LABEL}}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NAME}\n"
		e.apply(e.objects(strings.NewReplacer("LABEL", "l", "NAME", "view").Replace(role)), ssa.PlanOptions{})
		u := e.objects(role)[0]
		u.SetName("b")
		e.patch("someone", u, `[{"op":"add","path":"/metadata/labels/y","value":"m"}]`)
		got := e.fates(strings.NewReplacer("LABEL", "l", "NAME", "edit").Replace(role), ssa.PlanOptions{Force: true})
		e.g.Expect(got).To(HaveKeyWithValue("/roleRef/name", ssa.FateSet))
		e.g.Expect(got).To(HaveKeyWithValue("/metadata/labels/x", ssa.FateSet))
		e.g.Expect(got).To(HaveKeyWithValue("/metadata/labels/y", ssa.FateRemove))
	})
}

// F53, SSA-109: a dependency that is missing may still come.
func TestMissingDependencyIsNotTerminal(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(cm(", annotations: {config.kubernetes.io/depends-on: /namespaces/NS/ConfigMap/base}"))
	o := ssa.PlanOptions{DependsOnAnnotation: true}
	_, err := e.m.Plan(t.Context(), objects, o)
	var pe *ssa.PlanError
	g.Expect(errors.As(err, &pe)).To(BeTrue())
	g.Expect(pe.Terminal()).To(BeFalse())
	g.Expect(pe.Objects()[0].Terminal()).To(BeFalse())
	g.Expect(pe.Objects()[0].Reason()).To(Equal("ReconciliationFailed"))
	g.Expect(err).To(MatchError(ContainSubstring("dependency ConfigMap/" + e.ns + "/base: object does not exist")))
	e.applyAs("another-set", e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: base, namespace: NS}\n")[0])
	g.Expect(decisions(e.plan(objects, o))["ConfigMap/c"]).To(Equal("create Absent"))
}

// SSA-11: two objects that turn out to be one only when their kind is known.
func TestDuplicatesOfANewKind(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	group := e.ns + ".example.com"
	definition := strings.ReplaceAll(crd(group, ""), "scope: Namespaced", "scope: Cluster")
	t.Cleanup(func() { e.cleanup(e.objects(definition)) })
	widget := "---\napiVersion: " + group + "/v1\nkind: Widget\nmetadata: {name: NAME, namespace: SPACE}\nspec: {from: SPACE}\n"
	text := definition
	for _, at := range [][2]string{{"w", "one"}, {"w", "two"}, {"v", "one"}} {
		text += strings.NewReplacer("NAME", at[0], "SPACE", at[1]).Replace(widget)
	}
	p := e.plan(e.objects(text), ssa.PlanOptions{})
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{ContinueOnError: true})
	g.Expect(errors.Is(err, ssa.ErrDuplicateObject)).To(BeTrue(), "%v", err)
	var ae *ssa.ApplyError
	g.Expect(errors.As(err, &ae)).To(BeTrue())
	g.Expect(ae.Objects()).To(HaveLen(2))
	g.Expect(actions(r)).To(HaveKeyWithValue("Widget/v", "created"))
	widgets := e.resource(group, "v1", "Widget")
	var names []string
	for u, err := range e.cluster.List(t.Context(), widgets, ssa.ListOptions{}) {
		g.Expect(err).NotTo(HaveOccurred())
		names = append(names, u.GetName())
	}
	g.Expect(names).To(ConsistOf("v"))
}

// F2, SSA-95: the reply to the write of the head is lost; the repetition meets
// what it wrote itself.
func TestF02LostReplyOfTheHead(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	c, l := e.lined(ssa.ClusterOptions{})
	s, err := ssa.NewSecretStore(c, ssa.SecretStoreOptions{Namespace: e.ns, UID: "lost"})
	g.Expect(err).NotTo(HaveOccurred())
	set := func(n int) (out inventory.Set) {
		for i := range n {
			out.Add(inventory.Item{ID: ssa.ID{Namespace: e.ns, Name: fmt.Sprint("o", i), Kind: "ConfigMap"}, Version: "v1"})
		}
		return out
	}
	version := ""
	for n := 1; n <= 2; n++ { // created, then replaced
		lost := 0
		l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
			b := ""
			if r.Body != nil && isWrite(r) {
				body, _ := io.ReadAll(r.Body)
				b = string(body)
				r.Body = io.NopCloser(strings.NewReader(b))
			}
			resp, err := send()
			if err == nil && strings.Contains(b, `"head"`) && lost == 0 {
				lost++
				_ = resp.Body.Close()
				return nil, syscall.ECONNRESET
			}
			return resp, err
		})
		next, err := s.Save(t.Context(), set(n), version)
		l.set(nil)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(lost).To(Equal(1))
		got, v, err := s.Load(t.Context())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(v).To(Equal(next))
		g.Expect(got.Len()).To(Equal(n))
		g.Expect(e.chunks("lost")).To(HaveLen(1))
		version = next
	}
	_, err = s.Save(t.Context(), set(3), "1") // somebody else's version
	g.Expect(errors.Is(err, inventory.ErrConflict)).To(BeTrue())
}

// F55, SSA-95: while the head cannot be read, no chunk counts as superfluous.
func TestSweepWithACorruptHead(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	s, err := ssa.NewSecretStore(e.cluster, ssa.SecretStoreOptions{Namespace: e.ns, UID: "swept"})
	g.Expect(err).NotTo(HaveOccurred())
	var set inventory.Set
	set.Add(inventory.Item{ID: ssa.ID{Name: "n", Kind: "Namespace"}, Version: "v1"})
	_, err = s.Save(t.Context(), set, "")
	g.Expect(err).NotTo(HaveOccurred())
	head := e.chunks("swept")[0]
	head.SetName("inventory-swept-head")
	e.patch("vandal", head, `[{"op":"replace","path":"/data/head","value":"Z2FyYmFnZQ=="}]`)
	n, err := s.Sweep(t.Context(), false)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(n).To(BeZero())
	g.Expect(e.chunks("swept")).To(HaveLen(1))
	n, err = s.Sweep(t.Context(), true)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(n).To(Equal(2))
}

// SSA-66: what left the set makes room for what came into it.
func TestLoopDetectorForgets(t *testing.T) {
	g := NewWithT(t)
	run := func(prefix string, n int) *ssa.Result {
		r := &ssa.Result{}
		for i := range n {
			r.Outcomes = append(r.Outcomes, ssa.Outcome{ID: ssa.ID{Kind: "ConfigMap", Name: fmt.Sprint(prefix, i)}, Action: ssa.ActionConfigured, Changes: []ssa.Change{{Op: ssa.OpReplace, Path: "/data/a"}}})
		}
		return r
	}
	var d ssa.LoopDetector
	g.Expect(d.Add(run("old", 10_000))).To(BeEmpty())
	for i := range 3 {
		loops := d.Add(run("new", 50))
		if i == 2 {
			g.Expect(loops).To(HaveLen(50))
		}
	}
	// A result that is larger than the memory does not wear itself out.
	var full ssa.LoopDetector
	for i := range 3 {
		loops := full.Add(run("x", 10_001))
		if i == 2 {
			g.Expect(loops).To(HaveLen(10_000))
			g.Expect(loops[0].ID.Name).To(Equal("x0"))
		}
	}
	calm := run("x", 1)
	calm.Outcomes[0].Action = ssa.ActionUnchanged
	full.Add(calm)
	g.Expect(full.Add(run("x", 2))).To(HaveLen(1))
}

// cut is a body that a test can end.
type cut struct {
	io.ReadCloser
	end context.Context
}

func (c *cut) Read(p []byte) (int, error) {
	stop := context.AfterFunc(c.end, func() { _ = c.Close() })
	defer stop()
	n, err := c.ReadCloser.Read(p)
	if c.end.Err() != nil {
		return n, io.EOF
	}
	return n, err
}

// SSA-40: a server that comes back as another version has the tokens of its
// own kinds change, without a restart of this process.
func TestServerIsUpgraded(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	c, l := e.lined(ssa.ClusterOptions{})
	end, upgrade := context.WithCancel(t.Context())
	defer upgrade()
	var mu sync.Mutex
	version := ""
	l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		mu.Lock()
		v := version
		mu.Unlock()
		if r.URL.Path == "/version" && v != "" {
			return answer(r, http.StatusOK, nil, `{"gitVersion":"`+v+`"}`)
		}
		resp, err := send()
		if err == nil && r.URL.Query().Get("watch") != "" && v == "" {
			resp.Body = &cut{ReadCloser: resp.Body, end: end}
		}
		return resp, err
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := ssa.WatchEnvironment(ctx, c)
	g.Eventually(w.Synced()).Should(BeClosed())
	token := func(group, resource string) string {
		tk, err := w.Token(t.Context(), schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource})
		g.Expect(err).NotTo(HaveOccurred())
		return tk.Schema
	}
	g.Expect(token("apps", "deployments")).To(HavePrefix("v1."))
	mu.Lock()
	version = "v9.9.9"
	mu.Unlock()
	upgrade() // every watch ends
	g.Eventually(func() string { return token("apps", "deployments") }).Should(Equal("v9.9.9"))
	g.Expect(token("none.example.com", "widgets")).To(BeEmpty())
}
