// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// setEnv is an environment whose only token a test sets.
type setEnv struct {
	mu    sync.Mutex
	token ssa.Token
}

func (s *setEnv) set(admission string, changed time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = ssa.Token{Schema: "s", Admission: admission, Changed: changed}
}

func (s *setEnv) Token(context.Context, schema.GroupVersionResource) (ssa.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, nil
}

// rehearsals changes the results of dry-runs, as a webhook would.
type rehearsals struct {
	ssa.Cluster
	mu     sync.Mutex
	change func(name string, u *unstructured.Unstructured) error
	asked  []string
}

func (r *rehearsals) set(f func(name string, u *unstructured.Unstructured) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.change = f
}

// take returns which objects were asked about since the last call.
func (r *rehearsals) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.asked
	r.asked = nil
	return out
}

func (r *rehearsals) Send(ctx context.Context, w ssa.Write) (*unstructured.Unstructured, error) {
	u, err := r.Cluster.Send(ctx, w)
	if !w.DryRun || err != nil {
		return u, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, w.Name)
	if r.change != nil {
		if err := r.change(w.Name, u); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// SSA-41, SSA-42, F10: what was to be verified is verified, however often it
// takes: an object that could not be asked about, and one whose update nobody
// applied, are asked about again; the others are not.
func TestVerificationIsFinished(t *testing.T) {
	t.Parallel()
	refuse := func(name string, u *unstructured.Unstructured) error {
		if name == "c0000" {
			return apierrors.NewInternalError(errors.New("failed calling webhook"))
		}
		return nil
	}
	meddle := func(name string, u *unstructured.Unstructured) error {
		if name == "c0000" {
			return unstructured.SetNestedField(u.Object, "by a webhook", "data", "hooked")
		}
		return nil
	}
	due := map[string]func(*setEnv, *ssa.Verification){
		"Token": func(s *setEnv, _ *ssa.Verification) { s.set("2", time.Time{}) },
		"Pass":  func(_ *setEnv, v *ssa.Verification) { v.Pass = 1 << 21 },
		"First": func(s *setEnv, v *ssa.Verification) {
			*v = ssa.Verification{}
			s.set("2", time.Now().Add(time.Hour))
		},
		"NewKind": func(s *setEnv, v *ssa.Verification) {
			v.Tokens = nil
			s.set("2", time.Now().Add(time.Hour))
		},
	}
	for name, start := range due {
		for what, change := range map[string]func(string, *unstructured.Unstructured) error{"Blocked": refuse, "NotApplied": meddle} {
			t.Run(name+what, func(t *testing.T) {
				e := newEnv(t, ssa.Options{})
				g := e.g
				c := &rehearsals{Cluster: e.cluster}
				tokens := &setEnv{}
				tokens.set("1", time.Time{})
				m, err := ssa.NewManager(c, ssa.Options{Owner: e.owner, Env: tokens})
				g.Expect(err).NotTo(HaveOccurred())
				objects := e.objects(configMaps(e.ns, 3))
				e.apply(objects, ssa.PlanOptions{})
				v := ssa.Verification{Version: "1", At: time.Now(), Tokens: map[schema.GroupVersionResource]ssa.Token{{Version: "v1", Resource: "configmaps"}: {Schema: "s", Admission: "1"}}}
				plan := func() map[string]string {
					p, _ := m.Plan(t.Context(), objects, ssa.PlanOptions{Verified: v, VerifyEvery: 1 << 20})
					v = p.Verified
					return decisions(p)
				}
				g.Expect(plan()["ConfigMap/c0000"]).To(Equal("unchanged Proved"))
				g.Expect(c.take()).To(BeEmpty())

				c.set(change)
				start(tokens, &v)
				want := plan()["ConfigMap/c0000"]
				g.Expect(want).NotTo(HavePrefix("unchanged"))
				g.Expect(c.take()).To(ConsistOf("c0000", "c0001", "c0002"))
				for range 3 {
					got := plan()
					g.Expect(got["ConfigMap/c0000"]).To(Equal(want))
					g.Expect(got["ConfigMap/c0001"]).To(Equal("unchanged Proved"))
					g.Expect(c.take()).To(ConsistOf("c0000"))
				}
				c.set(nil)
				g.Expect(plan()["ConfigMap/c0000"]).To(Equal("unchanged Verified"))
				g.Expect(c.take()).To(ConsistOf("c0000"))
				g.Expect(v.Unsettled).To(BeEmpty())
				g.Expect(plan()["ConfigMap/c0000"]).To(Equal("unchanged Proved"))
				g.Expect(c.take()).To(BeEmpty())
			})
		}
	}
}

// crowd is a cluster of many ConfigMaps that answers no dry-run.
type crowd struct {
	ssa.UnimplementedCluster
	owner ssa.Owner
	n     int
}

func (c crowd) object(i int) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{
		"name": fmt.Sprintf("c%04d", i), "namespace": "x", "uid": fmt.Sprint("u", i), "resourceVersion": "1",
	}}}
	u.SetLabels(c.owner.Labels())
	return u
}

func (crowd) Resource(context.Context, schema.GroupVersionKind) (ssa.Resource, error) {
	return ssa.Resource{GVR: schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, GVK: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, Namespaced: true}, nil
}

func (c crowd) List(context.Context, ssa.Resource, ssa.ListOptions) iter.Seq2[*unstructured.Unstructured, error] {
	return func(yield func(*unstructured.Unstructured, error) bool) {
		for i := range c.n {
			if !yield(c.object(i), nil) {
				return
			}
		}
	}
}

// SSA-41, SSA-42: a verification of which too much is open did not happen.
func TestTooMuchIsUnsettled(t *testing.T) {
	g := NewWithT(t)
	c := crowd{owner: ssa.Owner{FieldManager: testManager, LabelGroup: "g", Name: "n"}, n: 1001}
	tokens := &setEnv{}
	tokens.set("2", time.Time{})
	m, err := ssa.NewManager(c, ssa.Options{Owner: c.owner, Env: tokens})
	g.Expect(err).NotTo(HaveOccurred())
	var objects []*unstructured.Unstructured
	for i := range c.n {
		objects = append(objects, c.object(i))
	}
	maps := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	before := ssa.Verification{Version: "1", At: time.Now().Add(-time.Minute), Pass: 2, Tokens: map[schema.GroupVersionResource]ssa.Token{maps: {Schema: "s", Admission: "1"}}}
	for _, every := range []int{3, 100} {
		p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{Verified: before, VerifyEvery: every})
		g.Expect(err).To(HaveOccurred())
		g.Expect(p.Verified.Tokens).To(Equal(before.Tokens))
		g.Expect(len(p.Verified.Unsettled)).To(BeNumerically("<=", 1000))
		if every == 3 { // it was a full one: the next is, too
			g.Expect(p.Verified.Pass).To(Equal(2))
			g.Expect(p.Verified.At).To(Equal(before.At))
		} else {
			g.Expect(p.Verified.Pass).To(Equal(3))
		}
	}
	p, err := m.Plan(t.Context(), objects[:1000], ssa.PlanOptions{Verified: before, VerifyEvery: 3})
	g.Expect(err).To(HaveOccurred())
	g.Expect(p.Verified.Pass).To(BeZero())
	g.Expect(p.Verified.Unsettled).To(HaveLen(1000))
	g.Expect(p.Verified.Tokens).To(HaveKeyWithValue(maps, ssa.Token{Schema: "s", Admission: "2"}))
}
