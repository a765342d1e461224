// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/ssatest"
	"github.com/gitops-kit/sdk/testserver/kube"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// env is one test's view of the shared API server: a namespace, an owner and
// a recording cluster of its own.
type env struct {
	t       testing.TB
	g       *WithT
	ns      string
	cluster ssa.Cluster
	rec     *ssatest.Recorder
	m       *ssa.Manager
	owner   ssa.Owner
}

const testManager = "ssa-test"

func newEnv(t testing.TB, o ssa.Options) *env {
	t.Helper()
	return newEnvOn(t, server(t), o)
}

// newEnvOn is newEnv on a given control plane.
func newEnvOn(t testing.TB, plane *kube.Cluster, o ssa.Options) *env {
	t.Helper()
	g := NewWithT(t)
	c, err := ssa.NewCluster(plane.Config(), ssa.ClusterOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	e := &env{t: t, g: g, cluster: c, rec: ssatest.NewRecorder(c), ns: plane.Namespace(t)}
	e.owner = ssa.Owner{FieldManager: testManager, LabelGroup: "test.gitops-kit.github.io", Name: e.ns, Namespace: "sets"}
	o.Owner = e.owner
	e.m, err = ssa.NewManager(e.rec, o)
	g.Expect(err).NotTo(HaveOccurred())
	return e
}

// manager returns another manager for the same cluster.
func (e *env) manager(o ssa.Options) *ssa.Manager {
	e.t.Helper()
	if o.Owner.Name == "" {
		o.Owner = e.owner
	}
	m, err := ssa.NewManager(e.rec, o)
	e.g.Expect(err).NotTo(HaveOccurred())
	return m
}

// objects parses YAML, with NS replaced by the test's namespace.
func (e *env) objects(text string) []*unstructured.Unstructured {
	e.t.Helper()
	out, err := ssa.ReadObjects(strings.NewReader(strings.ReplaceAll(text, "NS", e.ns)), ssa.ReadOptions{})
	e.g.Expect(err).NotTo(HaveOccurred())
	return out
}

func (e *env) plan(objects []*unstructured.Unstructured, o ssa.PlanOptions) *ssa.Plan {
	e.t.Helper()
	p, err := e.m.Plan(e.t.Context(), objects, o)
	if err != nil {
		e.t.Fatal(err)
	}
	return p
}

func (e *env) apply(objects []*unstructured.Unstructured, o ssa.PlanOptions) *ssa.Result {
	e.t.Helper()
	r, err := e.m.Apply(e.t.Context(), e.plan(objects, o), ssa.ApplyOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	return r
}

func (e *env) resource(group, version, kind string) ssa.Resource {
	e.t.Helper()
	r, err := e.cluster.Resource(context.WithoutCancel(e.t.Context()), schema.GroupVersionKind{Group: group, Version: version, Kind: kind})
	e.g.Expect(err).NotTo(HaveOccurred())
	return r
}

// live reads the live version of o; nil when it does not exist.
func (e *env) live(o *unstructured.Unstructured) *unstructured.Unstructured {
	e.t.Helper()
	gvk := o.GroupVersionKind()
	u, err := e.cluster.Get(e.t.Context(), e.resource(gvk.Group, gvk.Version, gvk.Kind), o.GetNamespace(), o.GetName())
	if err != nil && strings.Contains(err.Error(), "not found") {
		return nil
	}
	e.g.Expect(err).NotTo(HaveOccurred())
	return u
}

// applyAs writes o under another field manager.
func (e *env) applyAs(manager string, o *unstructured.Unstructured) *unstructured.Unstructured {
	e.t.Helper()
	gvk := o.GroupVersionKind()
	u, err := e.cluster.Send(e.t.Context(), ssa.Write{
		Verb: ssa.VerbApply, Resource: e.resource(gvk.Group, gvk.Version, gvk.Kind),
		Namespace: o.GetNamespace(), Name: o.GetName(), Object: o, FieldManager: manager, Force: true,
	})
	e.g.Expect(err).NotTo(HaveOccurred())
	return u
}

// patch sends a JSON patch under another field manager.
func (e *env) patch(manager string, o *unstructured.Unstructured, patch string) *unstructured.Unstructured {
	e.t.Helper()
	gvk := o.GroupVersionKind()
	u, err := e.cluster.Send(e.t.Context(), ssa.Write{
		Verb: ssa.VerbJSONPatch, Resource: e.resource(gvk.Group, gvk.Version, gvk.Kind),
		Namespace: o.GetNamespace(), Name: o.GetName(), Patch: []byte(patch), FieldManager: manager,
	})
	e.g.Expect(err).NotTo(HaveOccurred())
	return u
}

func decisions(p *ssa.Plan) map[string]string {
	out := map[string]string{}
	for _, e := range p.Entries {
		out[e.ID.Kind+"/"+e.ID.Name] = fmt.Sprintf("%s %s", e.Decision, e.Why)
	}
	return out
}

func actions(r *ssa.Result) map[string]string {
	out := map[string]string{}
	for _, o := range r.Outcomes {
		out[o.ID.Kind+"/"+o.ID.Name] = string(o.Action)
	}
	return out
}

func isVerb(verb string) func(ssatest.Call) bool {
	return func(c ssatest.Call) bool { return c.Verb == verb && !c.DryRun }
}

type (
	ssatestCall = ssatest.Call
	ctxT        = context.Context
)

func isDryRun(c ssatest.Call) bool { return c.DryRun }

func replaceGroup(text, group string) string { return strings.ReplaceAll(text, "GROUP", group) }
