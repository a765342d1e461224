// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	"github.com/gitops-kit/sdk/ssa/status"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// SSA-75, SSA-80, N49: a target of a kind that nobody knows holds up no other.
func TestWaitBesideAnUnknownKind(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	targets := e.apply(e.objects(failing)[:1], ssa.PlanOptions{}).Targets()
	targets = append(targets, ssa.Target{ID: ssa.ID{Namespace: e.ns, Name: "n", Group: e.ns + ".example.com", Kind: "None"}, Version: "v1"})
	r, err := e.m.Wait(t.Context(), targets, ssa.WaitOptions{Timeout: 90 * time.Second})
	g.Expect(err).To(MatchError(ssa.ErrFailed))
	g.Expect(statuses(r)).To(HaveKeyWithValue("Job/bad", HavePrefix("Failed")))
}

// staleReader is a reader of live state that shows, until it is told to
// catch up, what it saw first.
type staleReader struct {
	c    ssa.Cluster
	mu   sync.Mutex
	seen map[string]*unstructured.Unstructured
}

func (s *staleReader) Live(ctx context.Context, r ssa.Resource, ns, name string) (*unstructured.Unstructured, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := r.GVR.Resource + "/" + ns + "/" + name
	if u := s.seen[key]; u != nil {
		return u.DeepCopy(), nil
	}
	u, err := s.c.Get(ctx, r, ns, name)
	if err == nil {
		s.seen[key] = u.DeepCopy()
	}
	return u, err
}

// SSA-29, SSA-73, SSA-85: what was written or seen by a watch is read from the
// server again, not from a cache that lags behind.
func TestCacheThatLags(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	job := func(image string) []*unstructured.Unstructured {
		return e.objects("apiVersion: batch/v1\nkind: Job\nmetadata: {name: j, namespace: NS}\nspec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: \"example.com/i:" + image + "\"}]}}}\n---\n" + cm(""))
	}
	e.apply(job("1"), ssa.PlanOptions{})
	m := e.manager(ssa.Options{Live: &staleReader{c: e.cluster, seen: map[string]*unstructured.Unstructured{}}})
	p, err := m.Plan(t.Context(), job("2"), ssa.PlanOptions{Force: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(decisions(p)).To(HaveKeyWithValue("Job/j", HavePrefix("recreate")))
	uid := e.live(job("1")[0]).GetUID()
	_, err = m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.live(job("1")[0]).GetUID()).NotTo(Equal(uid))

	// A deletion that meets a change judges what is there now.
	dp, err := m.PlanDelete(t.Context(), ids(t, job("2")[1:]), ssa.DeleteOptions{Keep: ssa.Selector{"keep": "true"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(dp.Deletions()).To(HaveLen(1))
	e.patch("user", job("2")[1], `[{"op":"add","path":"/metadata/annotations","value":{"keep":"true"}}]`)
	r, err := m.Delete(t.Context(), dp, ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(whys(r)).To(Equal(map[string]string{"ConfigMap/c": "skipped Kept"}))
	g.Expect(e.live(job("2")[1])).NotTo(BeNil())
}

// SSA-104: a webhook that is down is not asked again and again: the server's
// text is that of a lost connection, but repeating does not heal it.
func TestWebhookDownIsAskedOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	m, l := e.overLine(ssa.Options{})
	for name, tc := range map[string]struct {
		text string
		want int32
	}{
		"Refused":    {`failed calling webhook \"h.example.com\": Post \"https://h\": dial tcp 10.0.0.1:443: connect: connection refused`, 1},
		"Deadline":   {`failed calling webhook \"h.example.com\": Post \"https://h?timeout=30s\": context deadline exceeded`, 1},
		"Conversion": {`conversion webhook for example.com/v1, Kind=A failed: Post \"https://h\": connect: connection refused`, 1},
		"Leader":     {"etcdserver: leader changed", 3},
		"Storage":    {`rpc error: code = Unavailable desc = connection error: desc = \"transport: dial tcp 127.0.0.1:2379: connect: connection refused\"`, 3},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
				if r.Method == http.MethodPatch && n.Add(1) < 3 {
					return answer(r, http.StatusInternalServerError, nil, status500(tc.text))
				}
				return send()
			})
			_, err := m.Plan(t.Context(), e.objects(strings.ReplaceAll(cm(""), "name: c", "name: "+strings.ToLower(name))), ssa.PlanOptions{})
			g := NewWithT(t)
			g.Expect(err != nil).To(Equal(tc.want == 1), "%v", err)
			g.Expect(n.Load()).To(Equal(tc.want))
		})
	}
}

// SSA-106: when the time of a wait's caller is over no request starts any more.
func TestWaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	targets := e.apply(e.objects(failing)[1:], ssa.PlanOptions{}).Targets()
	m, l := e.overLine(ssa.Options{})
	ctx, cancel := context.WithCancelCause(t.Context())
	dctx := deadline{ctx}
	var late atomic.Int32
	l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if ctx.Err() != nil {
			late.Add(1)
		}
		if r.URL.Query().Get("watch") != "" {
			cancel(context.DeadlineExceeded)
		}
		return send()
	})
	_, err := m.Wait(dctx, targets, ssa.WaitOptions{Timeout: 10 * time.Minute})
	g.Expect(err).To(MatchError(ssa.ErrTimeout))
	g.Expect(late.Load()).To(BeZero())
}

// deadline is a context that ends as one does whose deadline is over.
type deadline struct{ context.Context }

func (d deadline) Err() error {
	if d.Context.Err() != nil {
		return context.DeadlineExceeded
	}
	return nil
}

// lateStore is an inventory that notes until when it may be stored.
type lateStore struct {
	inventory.Store
	ended func() bool
	until time.Time
}

func (s *lateStore) Save(ctx context.Context, set inventory.Set, version string) (string, error) {
	if s.ended() {
		s.until, _ = ctx.Deadline()
	}
	return s.Store.Save(ctx, set, version)
}

// SSA-106: the drain window is one, from the end of the context on: the
// inventory is stored in it, or in the second after it.
func TestOneDrainWindow(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	const drain = 20 * time.Second
	m, l := e.overLine(ssa.Options{DrainTimeout: drain})
	ctx, cancel := context.WithCancel(t.Context())
	var ended time.Time
	l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if isWrite(r) && ended.IsZero() {
			ended = time.Now()
			cancel()
		}
		return send()
	})
	store := &lateStore{Store: inventory.NewMemory(inventory.Set{}), ended: func() bool { return ctx.Err() != nil }}
	p, err := m.Plan(t.Context(), e.objects(cm("")), ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = m.Apply(ctx, p, ssa.ApplyOptions{Ledger: inventory.NewLedger(store)})
	g.Expect(err == nil || errors.Is(err, context.Canceled)).To(BeTrue(), "%v", err)
	g.Expect(store.until).NotTo(BeZero())
	// The end is noticed on another goroutine, whenever that runs.
	g.Expect(store.until.Sub(ended)).To(And(BeNumerically(">=", drain), BeNumerically("<", 2*drain)))
}

// SSA-17, SSA-18: kinds that stay unknown share one deadline and one lookup
// per kind; objects that are being deleted share one wait.
func TestDeferredTogether(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	group := e.ns + ".example.com"
	var unknown, held strings.Builder
	for i := range 12 {
		fmt.Fprintf(&unknown, "---\napiVersion: %s/v1\nkind: None\nmetadata: {name: n%d, namespace: NS}\n", group, i)
		fmt.Fprintf(&held, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: h%d, namespace: NS, finalizers: [example.com/hold]}\n", i)
	}
	m, l := e.overLine(ssa.Options{Concurrency: 2})
	var lookups, watches atomic.Int32
	p, _ := m.Plan(t.Context(), e.objects(unknown.String()), ssa.PlanOptions{DeferUnknownKinds: true})
	l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if strings.HasPrefix(r.URL.Path, "/apis/"+group) {
			lookups.Add(1)
		}
		return send()
	})
	r, err := m.Apply(t.Context(), p, ssa.ApplyOptions{DeferTimeout: 1500 * time.Millisecond, ContinueOnError: true})
	g.Expect(err).To(MatchError(ssa.ErrKindUnknown))
	g.Expect(r.Count(ssa.ActionNotAttempted)).To(Equal(12))
	g.Expect(lookups.Load()).To(BeNumerically("<=", 4))

	objects := e.objects(held.String())
	e.apply(objects, ssa.PlanOptions{})
	for _, u := range objects {
		e.delete(u)
		u.SetFinalizers(nil)
	}
	p, err = m.Plan(t.Context(), objects, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	var once sync.Once
	l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if r.URL.Query().Get("watch") != "" {
			watches.Add(1)
			defer once.Do(func() {
				for _, u := range objects {
					e.patch("x", u, `[{"op":"remove","path":"/metadata/finalizers"}]`)
				}
			})
		}
		return send()
	})
	r, err = m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Count(ssa.ActionCreated)).To(Equal(12))
	g.Expect(watches.Load()).To(BeEquivalentTo(1))
}

// SSA-100: to wait until many objects are gone that are gone already costs no
// request for each.
func TestWaitGoneInBulk(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	var targets []ssa.Target
	for i := range 40 {
		targets = append(targets, ssa.Target{ID: ssa.ID{Namespace: e.ns, Name: fmt.Sprint("c", i), Kind: "ConfigMap"}, Version: "v1"})
	}
	// One that is there all the same, without our labels.
	u := e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c7, namespace: NS}\n")[0]
	e.createAs("x", u)
	w := e.m.StartWait(t.Context(), targets, ssa.WaitOptions{Gone: true, Timeout: 5 * time.Minute})
	g.Eventually(func() int { return w.Result().Targets[7].Events }, "90s").Should(BeNumerically(">", 0))
	e.delete(u)
	g.Eventually(w.Done(), "90s").Should(BeClosed())
	g.Expect(w.Err()).NotTo(HaveOccurred())
	g.Expect(e.rec.Count(isVerb("get"))).To(BeNumerically("<=", 2))
}

// SSA-82: a Job that failed does not get better by being removed.
func TestWaitForAFailedJobThatVanishes(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	job := e.objects(strings.ReplaceAll(failing, "backoffLimit: 0", "backoffLimit: 0, ttlSecondsAfterFinished: 3600"))[:1]
	targets := e.apply(job, ssa.PlanOptions{}).Targets()
	w := e.m.StartWait(t.Context(), targets, ssa.WaitOptions{KeepGoing: true, Timeout: 5 * time.Minute})
	g.Eventually(w.Done(), "90s").Should(BeClosed())
	g.Expect(w.Err()).To(MatchError(ssa.ErrFailed))

	w = e.m.StartWait(t.Context(), targets, ssa.WaitOptions{FailGrace: time.Hour, Timeout: 5 * time.Minute})
	defer w.Stop()
	of := func() status.Status { return w.Result().Targets[0].Status }
	g.Eventually(of, "90s").Should(Equal(status.Failed))
	e.rec.Reset()
	e.delete(job[0])
	g.Eventually(func() int { return e.rec.Count(isVerb("get")) }, "90s").Should(BeNumerically(">", 0), "the watch says that it is gone")
	g.Consistently(of, "200ms").Should(Equal(status.Failed))
}

// SSA-78: a Pod that no node takes fails when it is old enough, although
// nothing happens then.
func TestWaitForAPodThatNoNodeTakes(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	pod := e.objects("apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: NS}\nspec: {nodeSelector: {no: node}, containers: [{name: c, image: \"example.com/i:1\"}]}\n")
	r, err := e.m.Wait(t.Context(), e.apply(pod, ssa.PlanOptions{}).Targets(), ssa.WaitOptions{Timeout: 5 * time.Minute})
	e.g.Expect(err).To(MatchError(ssa.ErrFailed))
	e.g.Expect(r.Targets[0].Reason).To(Equal("PodUnschedulable"))
}
