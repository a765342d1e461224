// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// crd returns a definition in a group of its own.
func crd(group string, schema string) string {
	if schema == "" {
		schema = "{type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}, status: {type: object, x-kubernetes-preserve-unknown-fields: true}}}"
	}
	return strings.NewReplacer("GROUP", group, "SCHEMA", schema).Replace(`
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.GROUP}
spec:
  group: GROUP
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, listKind: WidgetList}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: SCHEMA}
`)
}

func (e *env) cleanup(objects []*unstructured.Unstructured) {
	e.t.Helper()
	var s inventory.Set
	for _, o := range objects {
		s.Add(inventory.Item{ID: ssa.IDOf(o), Version: o.GroupVersionKind().Version})
	}
	ctx := context.WithoutCancel(e.t.Context()) // it has ended when a test is cleaned up
	dp, err := e.m.PlanDelete(ctx, s, ssa.DeleteOptions{})
	if err == nil {
		_, _ = e.m.Delete(ctx, dp, ssa.DeleteOptions{})
	}
}

// SSA-15, SSA-17, SSA-21: definition, instance, namespace and content in one
// call, on the first run.
func TestDeferred(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	group := e.ns + ".example.com"
	text := crd(group, "") + `---
apiVersion: v1
kind: Namespace
metadata: {name: NS-new}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: in-new, namespace: NS-new}
---
apiVersion: ` + group + `/v1
kind: Widget
metadata: {name: w, namespace: NS-new}
spec: {a: 1}
---
apiVersion: ` + group + `/v1
kind: Widget
metadata: {name: w2, namespace: NS}
spec: {a: 1}
`
	objects := e.objects(text)
	t.Cleanup(func() { e.cleanup(objects) })
	p := e.plan(objects, ssa.PlanOptions{})
	g.Expect(decisions(p)).To(Equal(map[string]string{
		"CustomResourceDefinition/widgets." + group: "create Absent", "Namespace/" + e.ns + "-new": "create Absent",
		"ConfigMap/in-new": "deferred NewNamespace", "Widget/w": "deferred UnknownKind", "Widget/w2": "deferred UnknownKind",
	}))
	g.Expect(p.Complete()).To(BeFalse())
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Count(ssa.ActionCreated)).To(Equal(5))
	g.Expect(r.Complete()).To(BeTrue())

	p = e.plan(objects, ssa.PlanOptions{})
	for id, d := range decisions(p) {
		g.Expect(d).To(HavePrefix("unchanged"), id)
	}

	// A definition that changes: an instance that needs it is deferred, too.
	objects[0] = e.objects(crd(group, "{type: object, properties: {spec: {type: object, properties: {a: {type: integer}, b: {type: string}}}}}"))[0]
	_ = unstructured.SetNestedField(objects[4].Object, "x", "spec", "b")
	p = e.plan(objects, ssa.PlanOptions{})
	g.Expect(decisions(p)).To(HaveKeyWithValue("Widget/w2", "deferred NewDefinition"))
	r, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(actions(r)).To(HaveKeyWithValue("Widget/w2", "configured"))
}

// SSA-18, SSA-20
func TestUnknownKind(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	group := e.ns + ".example.com"
	objects := e.objects(`
apiVersion: ` + group + `/v1
kind: Widget
metadata: {name: w, namespace: NS}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c, namespace: NS}
`)
	p, err := e.m.Plan(t.Context(), objects, ssa.PlanOptions{})
	var pe *ssa.PlanError
	g.Expect(errors.As(err, &pe)).To(BeTrue())
	g.Expect(errors.Is(err, ssa.ErrKindUnknown)).To(BeTrue())
	var uk *ssa.UnknownKindError
	g.Expect(errors.As(err, &uk)).To(BeTrue())
	g.Expect(uk.GVK.Kind).To(Equal("Widget"))
	g.Expect(decisions(p)).To(HaveKeyWithValue("ConfigMap/c", "create Absent"))
	// All or nothing: the valid object of the same stage is not written.
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(errors.Is(err, ssa.ErrKindUnknown)).To(BeTrue())
	g.Expect(actions(r)).To(HaveKeyWithValue("ConfigMap/c", "notAttempted"))
	g.Expect(e.rec.Writes()).To(BeZero())

	p = e.plan(objects, ssa.PlanOptions{DeferUnknownKinds: true})
	g.Expect(decisions(p)).To(HaveKeyWithValue("Widget/w", "deferred UnknownKind"))
	installed := make(chan struct{})
	other := newEnv(t, ssa.Options{})
	definitions := other.objects(crd(group, ""))
	t.Cleanup(func() { other.cleanup(definitions) })
	e.rec.After(func(c ssatestCall) error { // once the ConfigMap is written, "a chart" installs the kind
		if c.Verb == "apply" && c.Kind == "ConfigMap" && !c.DryRun {
			go func() {
				defer close(installed)
				other.apply(definitions, ssa.PlanOptions{})
			}()
		}
		return nil
	})
	r, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{DeferTimeout: 90 * time.Second})
	<-installed
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(actions(r)).To(Equal(map[string]string{"Widget/w": "created", "ConfigMap/c": "created"}))

	other2 := e.objects(shopOf("x.invalid"))
	p = e.plan(other2, ssa.PlanOptions{DeferUnknownKinds: true})
	r, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{DeferTimeout: time.Millisecond})
	g.Expect(errors.Is(err, ssa.ErrKindUnknown)).To(BeTrue())
	g.Expect(r.Complete()).To(BeFalse())
}

func shopOf(group string) string {
	return "apiVersion: " + group + "/v1\nkind: Gadget\nmetadata: {name: g, namespace: NS}\n"
}

// SSA-17(c)
func TestTerminatingIsAwaited(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS, finalizers: [example.com/hold]}\ndata: {a: b}\n")
	e.apply(objects, ssa.PlanOptions{})
	uid := e.live(objects[0]).GetUID()
	_, err := e.cluster.Send(t.Context(), ssa.Write{Verb: ssa.VerbDelete, Resource: e.resource("", "v1", "ConfigMap"), Namespace: e.ns, Name: "c"})
	g.Expect(err).NotTo(HaveOccurred())
	plain := e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS}\ndata: {a: b}\n")
	p := e.plan(plain, ssa.PlanOptions{})
	g.Expect(decisions(p)).To(HaveKeyWithValue("ConfigMap/c", "deferred Terminating"))
	go e.patch("x", objects[0], `[{"op":"remove","path":"/metadata/finalizers"}]`)
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(actions(r)).To(HaveKeyWithValue("ConfigMap/c", "created"))
	g.Expect(e.live(plain[0]).GetUID()).NotTo(Equal(uid))
}

// SSA-15: a definition counts as established when discovery knows its kind,
// which is a moment later than its condition: what needs the kind can be
// planned right after.
func TestEstablishedMeansDiscovered(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	group := e.ns + ".example.com"
	m, l := e.overLine(ssa.Options{})
	var late atomic.Int32
	l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if r.URL.Path == "/apis/"+group+"/v1" && late.Add(1) <= 3 {
			return answer(r, http.StatusNotFound, nil, "404 page not found")
		}
		return send()
	})
	definition := e.objects(crd(group, ""))
	t.Cleanup(func() { e.cleanup(definition) })
	p, err := m.Plan(t.Context(), definition, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(late.Load()).To(BeNumerically(">", 3))
	p, err = m.Plan(t.Context(), e.objects("apiVersion: "+group+"/v1\nkind: Widget\nmetadata: {name: w, namespace: NS}\n"), ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(decisions(p)).To(Equal(map[string]string{"Widget/w": "create Absent"}))
}
