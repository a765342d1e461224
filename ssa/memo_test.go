// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// podTemplate is an object that no controller writes to, and that cannot be
// proved: the server writes a default into an atomic value of it.
func podTemplate(e *env, env ...string) *unstructured.Unstructured {
	list := []string{"{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}"}
	for _, name := range env {
		list = append(list, "{name: "+name+", value: x}")
	}
	return e.objects("apiVersion: v1\nkind: PodTemplate\nmetadata: {name: p, namespace: NS}\ntemplate: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: \"example.com/c:1\", env: [" + strings.Join(list, ", ") + "]}]}}\n")[0]
}

// coOwner is what another manager applies to own one variable, or nothing.
func coOwner(e *env, env string) *unstructured.Unstructured {
	text := "apiVersion: v1\nkind: PodTemplate\nmetadata: {name: p, namespace: NS}\n"
	if env != "" {
		text += "template: {spec: {containers: [{name: c, env: [{name: " + env + ", value: x}]}]}}\n"
	}
	return e.objects(text)[0]
}

func list(u *unstructured.Unstructured) []*unstructured.Unstructured {
	return []*unstructured.Unstructured{u}
}

// SSA-38: what an apply takes away depends on the other managers. A variable
// that the set dropped stays while somebody else owns it, and goes when he
// lets go of it, although values, desired object and our field set are the
// same before and after.
func TestMemoSeesOtherManagersLetGo(t *testing.T) {
	e := newEnv(t, ssa.Options{Memo: ssa.NewMemo(ssa.MemoOptions{})})
	g := e.g
	e.apply(list(podTemplate(e, "FOO")), ssa.PlanOptions{})
	e.applyAs("other1", coOwner(e, "FOO"))
	desired := list(podTemplate(e))
	g.Expect(decisions(e.plan(desired, ssa.PlanOptions{}))["PodTemplate/p"]).To(Equal("unchanged Verified"))
	p := e.plan(desired, ssa.PlanOptions{})
	g.Expect(decisions(p)["PodTemplate/p"]).To(Equal("unchanged Remembered"))
	g.Expect(p.Requests).To(Equal(ssa.Requests{List: 1}))

	e.applyAs("other1", coOwner(e, ""))
	p = e.plan(desired, ssa.PlanOptions{})
	g.Expect(decisions(p)["PodTemplate/p"]).To(Equal("update Changed"))
	_, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	env := envOf(e.live(desired[0]))
	g.Expect(env).To(Equal([]string{"POD"}))
	// What an apply did as rehearsed is remembered at once.
	p = e.plan(desired, ssa.PlanOptions{})
	g.Expect(decisions(p)["PodTemplate/p"]).To(Equal("unchanged Remembered"))
	g.Expect(p.Requests).To(Equal(ssa.Requests{List: 1}))
}

func envOf(u *unstructured.Unstructured) []string {
	containers, _, _ := unstructured.NestedSlice(u.Object, "template", "spec", "containers")
	c, _ := containers[0].(map[string]any)
	vars, _ := c["env"].([]any)
	var out []string
	for _, v := range vars {
		m, _ := v.(map[string]any)
		name, _ := m["name"].(string)
		out = append(out, name)
	}
	return out
}

// beforeDryRun runs f once, between a plan's reading and its first dry-run.
func (e *env) beforeDryRun(f func()) {
	var once sync.Once
	e.rec.Before(func(c ssatestCall) error {
		if c.DryRun {
			once.Do(f)
		}
		return nil
	})
}

// SSA-38: only the state that the server looked at is remembered, not the one
// that the plan had read before.
func TestMemoOfARace(t *testing.T) {
	t.Run("Values", func(t *testing.T) {
		e := newEnv(t, ssa.Options{Memo: ssa.NewMemo(ssa.MemoOptions{})})
		desired := list(podTemplate(e))
		e.apply(desired, ssa.PlanOptions{})
		drift := `[{"op":"replace","path":"/template/spec/containers/0/image","value":"example.com/c:2"}]`
		back := strings.ReplaceAll(drift, "c:2", "c:1")
		e.patch("other", desired[0], drift)
		e.beforeDryRun(func() { e.patch("other", desired[0], back) })
		e.g.Expect(decisions(e.plan(desired, ssa.PlanOptions{}))["PodTemplate/p"]).To(Equal("unchanged Verified"))
		e.rec.Before(nil)
		e.patch("other", desired[0], drift)
		e.g.Expect(decisions(e.plan(desired, ssa.PlanOptions{}))["PodTemplate/p"]).To(Equal("update Changed"))
	})
	t.Run("Owners", func(t *testing.T) {
		e := newEnv(t, ssa.Options{Memo: ssa.NewMemo(ssa.MemoOptions{})})
		e.apply(list(podTemplate(e, "FOO")), ssa.PlanOptions{})
		desired := list(podTemplate(e))
		e.beforeDryRun(func() { e.applyAs("other1", coOwner(e, "FOO")) })
		e.g.Expect(decisions(e.plan(desired, ssa.PlanOptions{}))["PodTemplate/p"]).To(Equal("unchanged Verified"))
		e.rec.Before(nil)
		e.applyAs("other1", coOwner(e, ""))
		e.g.Expect(decisions(e.plan(desired, ssa.PlanOptions{}))["PodTemplate/p"]).To(Equal("update Changed"))
	})
}

// SSA-38, SSA-22, SSA-24: what was remembered under options that overlook
// something does not count under options that do not.
func TestMemoUnderOtherOptions(t *testing.T) {
	e := newEnv(t, ssa.Options{Memo: ssa.NewMemo(ssa.MemoOptions{})})
	g := e.g
	u := e.objects(cm(", finalizers: [example.com/theirs], labels: {test.gitops-kit.github.io/name: NS, test.gitops-kit.github.io/namespace: sets}"))[0]
	e.createAs("someone", u)
	desired := e.objects(cm(""))
	why := func(o ssa.PlanOptions) string {
		p, _ := e.m.Plan(t.Context(), desired, o)
		return decisions(p)["ConfigMap/c"]
	}
	g.Expect(why(ssa.PlanOptions{})).To(Equal("unchanged Verified"))
	g.Expect(why(ssa.PlanOptions{})).To(Equal("unchanged Remembered"))
	g.Expect(why(ssa.PlanOptions{SyncOwnership: true})).To(Equal("update Ownership"))
	g.Expect(why(ssa.PlanOptions{FailOnConflict: true})).To(Equal("unchanged Verified"))
	e.patch("someone", u, `[{"op":"replace","path":"/metadata/finalizers","value":[]}]`)

	// An owner's reference that differs is applied with the next change, and is
	// no drift; for somebody who asked for conflicts it is one.
	e.createAs("someone", e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: o, namespace: NS}\n")[0])
	uid := string(e.live(e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: o, namespace: NS}\n")[0]).GetUID())
	owned := func(controller string) *unstructured.Unstructured {
		return e.objects(cm(", ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: o, uid: " + uid + ", controller: " + controller + "}]"))[0]
	}
	e.applyAs("someone", owned("false"))
	desired = list(owned("true"))
	g.Expect(why(ssa.PlanOptions{})).To(Equal("unchanged Verified"))
	g.Expect(why(ssa.PlanOptions{})).To(Equal("unchanged Remembered"))
	p, err := e.m.Plan(t.Context(), desired, ssa.PlanOptions{FailOnConflict: true})
	var conflict *ssa.ConflictError
	g.Expect(errors.As(err, &conflict)).To(BeTrue(), "%v", decisions(p))
	g.Expect(conflict.Manager).To(Equal("someone"))
}

// SSA-43: each thing that invalidates a proof or a memory, alone.
func TestWhatInvalidates(t *testing.T) {
	memo := ssa.NewMemo(ssa.MemoOptions{})
	e := newEnv(t, ssa.Options{Memo: memo})
	g := e.g
	desired := append(e.objects(configMaps(e.ns, 1)), podTemplate(e))
	e.apply(desired, ssa.PlanOptions{})
	quiet := map[string]string{"ConfigMap/c0000": "unchanged Proved", "PodTemplate/p": "unchanged Remembered"}
	g.Expect(decisions(e.plan(desired, ssa.PlanOptions{}))).To(Equal(quiet))

	// Other rules are another question.
	rules := []ssa.PathRule{{Paths: []string{"/template/spec/containers/0/image"}}}
	g.Expect(decisions(e.plan(desired, ssa.PlanOptions{Ignore: rules}))).To(HaveKeyWithValue("PodTemplate/p", "unchanged Verified"))
	g.Expect(decisions(e.plan(desired, ssa.PlanOptions{Ignore: rules}))).To(HaveKeyWithValue("PodTemplate/p", "unchanged Remembered"))

	// Another field manager has applied nothing yet.
	owner := e.owner
	owner.FieldManager = "somebody-else"
	p, err := e.manager(ssa.Options{Memo: memo, Owner: owner}).Plan(t.Context(), desired, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(decisions(p)).To(Equal(map[string]string{"ConfigMap/c0000": "unchanged Verified", "PodTemplate/p": "unchanged Verified"}))
	g.Expect(p.Entries[0].Unproved).To(Equal("NoEntry"))

	// Another owner brings other labels.
	owner = e.owner
	owner.Name += "-2"
	p, err = e.manager(ssa.Options{Memo: memo, Owner: owner}).Plan(t.Context(), desired, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(decisions(p)).To(Equal(map[string]string{"ConfigMap/c0000": "update Changed", "PodTemplate/p": "update Changed"}))

	// The caller's own doubt. (One memory per object: it now has the one of the
	// other labels' plan or none.)
	e.plan(desired, ssa.PlanOptions{})
	p = e.plan(desired, ssa.PlanOptions{Verify: func(id ssa.ID) bool { return id.Kind == "ConfigMap" }})
	g.Expect(decisions(p)).To(Equal(map[string]string{"ConfigMap/c0000": "unchanged Verified", "PodTemplate/p": "unchanged Remembered"}))
	g.Expect(p.Entries[0].Unproved).To(Equal("Due"))

	// Another object of the same name.
	e.remove(e.live(desired[0]))
	_, err = e.cluster.Send(t.Context(), ssa.Write{Verb: ssa.VerbDelete, Resource: e.resource("", "v1", "PodTemplate"), Namespace: e.ns, Name: "p"})
	g.Expect(err).NotTo(HaveOccurred())
	again := e.objects("apiVersion: v1\nkind: PodTemplate\nmetadata: {name: p, namespace: NS, labels: {test.gitops-kit.github.io/name: NS, test.gitops-kit.github.io/namespace: sets}}\n")[0]
	again.Object["template"] = podTemplate(e).Object["template"]
	e.createAs(testManager, again)
	g.Expect(decisions(e.plan(desired, ssa.PlanOptions{}))).To(Equal(map[string]string{"ConfigMap/c0000": "create Absent", "PodTemplate/p": "unchanged Verified"}))
	g.Expect(decisions(e.plan(desired, ssa.PlanOptions{}))).To(Equal(map[string]string{"ConfigMap/c0000": "create Absent", "PodTemplate/p": "unchanged Remembered"}))
}
