// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	. "github.com/onsi/gomega"
)

// line is the connection of one cluster; a test breaks it per request.
type line struct {
	mu   sync.Mutex
	n    int
	next http.RoundTripper
	do   func(n int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error)
}

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	l.n++
	n, do := l.n, l.do
	l.mu.Unlock()
	send := func() (*http.Response, error) { return l.next.RoundTrip(r) }
	if do == nil {
		return send()
	}
	return do(n, r, send)
}

func (l *line) set(do func(n int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n, l.do = 0, do
}

// overLine returns a manager that talks through a line.
func (e *env) overLine(o ssa.Options) (*ssa.Manager, *line) {
	e.t.Helper()
	l := &line{}
	cfg := config(e.t)
	cfg.Wrap(func(rt http.RoundTripper) http.RoundTripper { l.next = rt; return l })
	c, err := ssa.NewCluster(cfg, ssa.ClusterOptions{})
	e.g.Expect(err).NotTo(HaveOccurred())
	o.Owner = e.owner
	m, err := ssa.NewManager(c, o)
	e.g.Expect(err).NotTo(HaveOccurred())
	return m, l
}

func answer(r *http.Request, code int, header http.Header, body string) (*http.Response, error) {
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", "application/json")
	return &http.Response{StatusCode: code, Status: fmt.Sprint(code), Proto: "HTTP/1.1", Header: header, Body: io.NopCloser(bytes.NewBufferString(body)), Request: r}, nil
}

func status500(text string) string {
	return `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"` + text + `","reason":"InternalError","code":500}`
}

func isWrite(r *http.Request) bool {
	return r.Method != http.MethodGet && r.URL.Query().Get("dryRun") == ""
}

// present returns which of the objects exist.
func (e *env) present(n int) map[string]bool {
	e.t.Helper()
	out := map[string]bool{}
	for u, err := range e.cluster.List(e.t.Context(), e.resource("", "v1", "ConfigMap"), ssa.ListOptions{Namespace: e.ns, LabelSelector: "test.gitops-kit.github.io/name"}) {
		e.g.Expect(err).NotTo(HaveOccurred())
		out[u.GetName()] = true
	}
	_ = n
	return out
}

// agrees checks that a result says what the server has.
func (e *env) agrees(r *ssa.Result) {
	e.t.Helper()
	have := e.present(len(r.Outcomes))
	for _, o := range r.Outcomes {
		switch o.Action {
		case ssa.ActionCreated, ssa.ActionConfigured, ssa.ActionUnchanged:
			e.g.Expect(have).To(HaveKey(o.ID.Name))
		case ssa.ActionNotAttempted, ssa.ActionFailed:
			e.g.Expect(have).NotTo(HaveKey(o.ID.Name), "%s %v", o.Action, o.Err)
		case ssa.ActionUnknown:
			e.g.Expect(r.Inventory().Contains(o.ID)).To(BeTrue())
		case ssa.ActionDeleted, ssa.ActionSkipped:
		}
	}
}

// F1, SSA-104: the connection breaks at the k-th write, for every k, before
// or after the server got it; one repetition heals it.
func TestF01ConnectionLostAtEveryWrite(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	m, l := e.overLine(ssa.Options{})
	const n = 6
	for k := 1; k <= n; k++ {
		for _, late := range []bool{false, true} {
			objects := e.objects(configMaps(e.ns, n))
			p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			writes := 0
			var mu sync.Mutex
			l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
				mu.Lock()
				hit := false
				if isWrite(r) {
					writes++
					hit = writes == k
				}
				mu.Unlock()
				if hit && late {
					if resp, err := send(); err == nil {
						_ = resp.Body.Close()
					}
				}
				if hit {
					return nil, syscall.ECONNRESET
				}
				return send()
			})
			ledger := inventory.NewLedger(inventory.NewMemory(inventory.Set{}))
			r, err := m.Apply(t.Context(), p, ssa.ApplyOptions{Ledger: ledger})
			l.set(nil)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(r.Count(ssa.ActionCreated)).To(Equal(n))
			g.Expect(writes).To(Equal(n + 1))
			for _, o := range objects {
				g.Expect(e.live(o).GetGeneration()).To(BeNumerically("<=", 1))
			}
			dp, err := m.PlanDelete(t.Context(), ledger.Set(), ssa.DeleteOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = m.Delete(t.Context(), dp, ssa.DeleteOptions{})
			g.Expect(err).NotTo(HaveOccurred())
		}
	}
}

// F2, SSA-104: every reply of one write is lost: the outcome is unknown, the
// object is remembered, and the next run finds it unchanged.
func TestF02ReplyLost(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	m, l := e.overLine(ssa.Options{})
	objects := e.objects(configMaps(e.ns, 1))
	p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		resp, err := send()
		if err == nil && isWrite(r) {
			_ = resp.Body.Close()
			return nil, io.ErrUnexpectedEOF
		}
		return resp, err
	})
	ledger := inventory.NewLedger(inventory.NewMemory(inventory.Set{}))
	r, err := m.Apply(t.Context(), p, ssa.ApplyOptions{Ledger: ledger})
	g.Expect(errors.Is(err, ssa.ErrUnknownOutcome)).To(BeTrue())
	g.Expect(r.Outcomes[0].Action).To(Equal(ssa.ActionUnknown))
	g.Expect(ledger.Set().Len()).To(Equal(1))
	l.set(nil)
	p, err = m.Plan(t.Context(), objects, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(decisions(p)["ConfigMap/c0000"]).To(Equal("unchanged Proved"))
}

// F4, SSA-103: a server that asks for a pause gets what it needs, and all
// objects are written; one that never stops asking is an error that passes.
// TestAdaptiveLimit shows what becomes of the pause.
func TestF04Throttled(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	m, l := e.overLine(ssa.Options{})
	objects := e.objects(configMaps(e.ns, 8))
	p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	l.set(func(n int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if n <= 3 {
			return answer(r, 429, http.Header{"Retry-After": {"1"}}, "slow down")
		}
		return send()
	})
	r, err := m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Count(ssa.ActionCreated)).To(Equal(8))

	l.set(func(_ int, r *http.Request, _ func() (*http.Response, error)) (*http.Response, error) {
		return answer(r, 429, nil, "")
	})
	p, err = m.Plan(t.Context(), objects, ssa.PlanOptions{})
	g.Expect(errors.Is(err, ssa.ErrThrottled)).To(BeTrue())
	g.Expect(p.Complete()).To(BeFalse())
	var pe *ssa.PlanError
	g.Expect(errors.As(err, &pe)).To(BeTrue())
	g.Expect(pe.Terminal()).To(BeFalse())
}

// F5, F15, SSA-104: what is repeated and what is not.
func TestF05ServerErrors(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	m, l := e.overLine(ssa.Options{})
	objects := e.objects(configMaps(e.ns, 1))
	cases := map[string]struct {
		code  int
		body  string
		again bool
	}{
		"LeaderChanged": {500, status500("etcdserver: leader changed"), true},
		"Internal":      {500, status500("boom"), false},
		"BadGateway":    {502, "", true},
		"Unavailable":   {503, "", true},
		"GatewayTime":   {504, "", true},
		"Unauthorized":  {401, "", true},
		"Forbidden":     {403, "", false},
		"TooLarge":      {413, "", false},
		"Invalid":       {422, "", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			tries := 0
			l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
				if !isWrite(r) {
					return send()
				}
				if tries++; tries == 1 {
					return answer(r, tc.code, nil, tc.body)
				}
				return send()
			})
			r, err := m.Apply(t.Context(), p, ssa.ApplyOptions{})
			l.set(nil)
			if tc.again {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(tries).To(Equal(2))
				dp, _ := m.PlanDelete(t.Context(), r.Inventory(), ssa.DeleteOptions{})
				_, err = m.Delete(t.Context(), dp, ssa.DeleteOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			var ae *ssa.ApplyError
			g.Expect(errors.As(err, &ae)).To(BeTrue())
			g.Expect(ae.Terminal()).To(BeFalse())
			g.Expect(tries).To(Equal(1))
			g.Expect(r.Outcomes[0].Action).To(Equal(ssa.ActionFailed))
			e.agrees(r)
		})
	}
}

// SSA-30: a LIST that breaks is repeated once; then its kind is unreadable.
func TestListThatBreaks(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(shop)
	e.apply(objects, ssa.PlanOptions{})
	for _, broken := range []int{1, 99} {
		n := 0
		e.rec.After(func(c ssatestCall) error {
			if c.Verb == "list" && c.Kind == "ConfigMap" {
				if n++; n <= broken {
					return errInjected
				}
			}
			return nil
		})
		p, err := e.m.Plan(t.Context(), append(objects, e.objects(configMaps(e.ns, 1))...), ssa.PlanOptions{})
		e.rec.After(nil)
		g.Expect(decisions(p)["Deployment/web"]).To(Equal("unchanged Proved"))
		if broken == 1 {
			g.Expect(err).NotTo(HaveOccurred())
			continue
		}
		g.Expect(errors.Is(err, errInjected)).To(BeTrue())
		g.Expect(decisions(p)["ConfigMap/c0000"]).To(Equal("blocked LiveUnreadable"))
	}
}

// F6, SSA-106, SSA-107: cancelled at random points, the result says what etcd has.
func TestF06CancelledAnywhere(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	rounds, n := scaled(12, 200), 60
	r := rand.New(rand.NewPCG(seed(t), 3))
	for range rounds {
		m, l := e.overLine(ssa.Options{DrainTimeout: time.Minute, Concurrency: 8})
		objects := e.objects(configMaps(e.ns, n))
		p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{Direct: true})
		g.Expect(err).NotTo(HaveOccurred())
		ctx, cancel := context.WithCancel(t.Context())
		at := r.IntN(n) + 1
		l.set(func(k int, req *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
			if k == at {
				cancel()
			}
			return send()
		})
		store := inventory.NewMemory(inventory.Set{})
		res, err := m.Apply(ctx, p, ssa.ApplyOptions{Ledger: inventory.NewLedger(store)})
		l.set(nil)
		g.Expect(res.Outcomes).To(HaveLen(n))
		e.agrees(res)
		g.Expect(res.Count(ssa.ActionUnknown)).To(BeZero(), "no reply was lost")
		if at <= n-8 { // later, everything may be in flight
			g.Expect(errors.Is(err, context.Canceled)).To(BeTrue())
			g.Expect(res.Stopped).NotTo(BeEmpty())
		}
		stored, _, _ := store.Load(t.Context())
		have := e.present(n)
		g.Expect(stored.Len()).To(Equal(len(have)))
		dp, err := m.PlanDelete(t.Context(), stored, ssa.DeleteOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		_, err = m.Delete(t.Context(), dp, ssa.DeleteOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		cancel()
	}
}

// F12 and F13: see TestDeferred and TestPhasedTeardown.

// SSA-106: a reply that does not come within the drain time is unknown.
func TestDrainEnds(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	m, l := e.overLine(ssa.Options{DrainTimeout: 200 * time.Millisecond})
	p, err := m.Plan(t.Context(), e.objects(configMaps(e.ns, 3)), ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		cancel()
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	r, err := m.Apply(ctx, p, ssa.ApplyOptions{})
	g.Expect(err).To(HaveOccurred())
	g.Expect(errors.Is(err, ssa.ErrUnknownOutcome)).To(BeTrue())
	g.Expect(r.Count(ssa.ActionUnknown)).To(BeNumerically(">=", 1))
	g.Expect(r.Inventory().Len()).To(Equal(r.Count(ssa.ActionUnknown)))
}
