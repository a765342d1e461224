// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// shared is a cluster whose watch requests are counted.
type shared struct {
	*env
	c       ssa.Cluster
	r       ssa.Resource
	watches atomic.Int32
	before  func(*http.Request) // of a watch
}

func newShared(t *testing.T) *shared {
	t.Helper()
	s := &shared{env: newEnv(t, ssa.Options{}), before: func(*http.Request) {}}
	cfg := config(t)
	var next http.RoundTripper
	cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper {
		next = rt
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.URL.Query().Get("watch") != "" {
				s.watches.Add(1)
				s.before(r)
			}
			return next.RoundTrip(r)
		})
	})
	var err error
	s.c, err = ssa.NewCluster(cfg, ssa.ClusterOptions{})
	s.g.Expect(err).NotTo(HaveOccurred())
	s.r = s.resource("", "v1", "ConfigMap")
	return s
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (s *shared) version() (rv string) {
	s.t.Helper()
	for _, err := range s.c.List(s.t.Context(), s.r, ssa.ListOptions{Namespace: s.ns, OnPage: func(_ int, v string) { rv = v }}) {
		s.g.Expect(err).NotTo(HaveOccurred())
	}
	return rv
}

func (s *shared) watch(ctx context.Context, rv string) watch.Interface {
	s.t.Helper()
	w, err := s.c.Watch(ctx, s.r, ssa.ListOptions{Namespace: s.ns, ResourceVersion: rv})
	s.g.Expect(err).NotTo(HaveOccurred())
	return w
}

func (s *shared) add(name string) {
	s.t.Helper()
	s.createAs("x", s.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: NS}\n")[0])
}

// names reads events until the one of the last name.
func (s *shared) names(w watch.Interface, last string) (names []string) {
	s.t.Helper()
	timeout := time.After(90 * time.Second)
	for {
		select {
		case ev, ok := <-w.ResultChan():
			s.g.Expect(ok).To(BeTrue(), "the watch ended after %v", names)
			u, _ := ev.Object.(*unstructured.Unstructured)
			if u.GetName() == "kube-root-ca.crt" || ev.Type == watch.Bookmark {
				continue
			}
			names = append(names, u.GetName())
			if u.GetName() == last {
				return names
			}
		case <-timeout:
			s.t.Fatalf("saw %v", names)
		}
	}
}

// SSA-83: watches of the same share one request. Each sees what came after its
// own resourceVersion, once and in order, also what came before it joined; the
// last one that leaves ends the request.
func TestWatchesAreShared(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	g := s.g
	open := make(chan struct{})
	s.before = func(r *http.Request) {
		context.AfterFunc(r.Context(), func() { close(open) })
	}
	rv := s.version()
	ctx, cancel := context.WithCancel(t.Context())
	first := s.watch(ctx, rv)
	s.add("a")
	g.Expect(s.names(first, "a")).To(Equal([]string{"a"}))
	middle := s.version()
	s.add("b")
	g.Expect(s.names(first, "b")).To(Equal([]string{"b"}))
	early, late := s.watch(t.Context(), rv), s.watch(t.Context(), middle)
	g.Expect(s.names(early, "b")).To(Equal([]string{"a", "b"}))
	g.Expect(s.names(late, "b")).To(Equal([]string{"b"}))

	// Whoever opened it may go: the others stay.
	cancel()
	g.Eventually(first.ResultChan(), "30s").Should(BeClosed())
	s.add("c")
	g.Expect(s.names(early, "c")).To(Equal([]string{"c"}))
	g.Expect(s.names(late, "c")).To(Equal([]string{"c"}))
	g.Expect(s.watches.Load()).To(BeEquivalentTo(1))

	early.Stop()
	g.Consistently(open, "50ms").ShouldNot(BeClosed())
	late.Stop()
	late.Stop()
	g.Eventually(open, "30s").Should(BeClosed())
	g.Eventually(late.ResultChan(), "30s").Should(BeClosed())
}

// SSA-83: what a watch is past cannot be had from it: who asks for that gets
// a request of its own.
func TestWatchTooLateToJoin(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	rv := s.version()
	first := s.watch(t.Context(), rv)
	defer first.Stop()
	var want []string
	for i := range 40 {
		name := fmt.Sprintf("c%02d", i)
		s.add(name)
		want = append(want, name)
	}
	s.g.Expect(s.names(first, "c39")).To(Equal(want))
	second := s.watch(t.Context(), rv)
	defer second.Stop()
	s.g.Expect(s.names(second, "c39")).To(Equal(want))
	s.g.Expect(s.watches.Load()).To(BeEquivalentTo(2))
}

// SSA-83: of several readers, one that does not read loses its watch, not the
// others theirs; it resumes where it was. A sole reader holds the watch back.
func TestWatchWithSlowReader(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	g := s.g
	rv := s.version()
	slow, quick := s.watch(t.Context(), rv), s.watch(t.Context(), rv)
	defer slow.Stop()
	var want []string
	for i := range 100 {
		name := fmt.Sprintf("c%03d", i)
		s.add(name)
		g.Expect(s.names(quick, name)).To(Equal([]string{name}))
		want = append(want, name)
	}
	var got []string
	for ev := range slow.ResultChan() {
		u, _ := ev.Object.(*unstructured.Unstructured)
		rv = u.GetResourceVersion()
		if u.GetName() != "kube-root-ca.crt" && ev.Type != watch.Bookmark {
			got = append(got, u.GetName())
		}
	}
	g.Expect(len(got)).To(And(BeNumerically(">", 50), BeNumerically("<", 100)))
	g.Expect(got).To(Equal(want[:len(got)]))
	resumed := s.watch(t.Context(), rv)
	g.Expect(s.names(resumed, "c099")).To(Equal(want[len(got):]))
	quick.Stop()
	resumed.Stop()

	rv = s.version()
	sole := s.watch(t.Context(), rv)
	defer sole.Stop()
	want = nil
	for i := range 150 {
		name := fmt.Sprintf("d%03d", i)
		s.add(name)
		want = append(want, name)
	}
	g.Expect(s.names(sole, "d149")).To(Equal(want))
}

// SSA-83: who waits for a watch that another opens hears what the server said
// of both, and tries for itself when only the other failed.
func TestSharedWatchThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	g := s.g
	rv := s.version()
	asked, again := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.before = func(*http.Request) { once.Do(func() { close(asked); <-again }) }
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := s.c.Watch(ctx, s.r, ssa.ListOptions{Namespace: s.ns, ResourceVersion: rv})
		failed <- err
	}()
	<-asked
	second := make(chan watch.Interface)
	go func() {
		w, err := s.c.Watch(t.Context(), s.r, ssa.ListOptions{Namespace: s.ns, ResourceVersion: rv})
		if err != nil {
			t.Error(err)
		}
		second <- w
	}()
	cancel()
	close(again)
	g.Expect(<-failed).To(MatchError(context.Canceled))
	w := <-second
	s.add("a")
	g.Expect(s.names(w, "a")).To(Equal([]string{"a"}))
	w.Stop()

	nobody := ssa.Resource{GVR: s.r.GVR.GroupVersion().WithResource("nothings"), GVK: s.r.GVK, Namespaced: true}
	_, err := s.c.Watch(t.Context(), nobody, ssa.ListOptions{Namespace: s.ns, ResourceVersion: rv})
	g.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "%v", err)
}

// SSA-83, SSA-100: fifty waits for the same objects cost one WATCH.
func TestManyWaitsShareOneWatch(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	g := s.g
	m, err := ssa.NewManager(s.c, ssa.Options{Owner: s.owner})
	g.Expect(err).NotTo(HaveOccurred())
	held := s.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: h, namespace: NS}\n")
	targets := s.apply(held, ssa.PlanOptions{}).Targets()
	var waits []*ssa.Waiter
	for range 50 {
		waits = append(waits, m.StartWait(t.Context(), targets, ssa.WaitOptions{Gone: true}))
	}
	for _, w := range waits {
		g.Eventually(func() int { return w.Result().Targets[0].Events }, "30s").Should(BeNumerically(">", 0))
	}
	s.delete(held[0])
	for _, w := range waits {
		g.Eventually(w.Done(), "90s").Should(BeClosed())
		g.Expect(w.Err()).NotTo(HaveOccurred())
	}
	g.Expect(s.watches.Load()).To(BeEquivalentTo(1))
}
