// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// These tests run in bubbles with a clock of their own, over a transport
// without sockets: what they say of time is exact.

type transport func(r *http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

const oneMap = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"n"}}`

// fair answers as a server with priority and fairness does.
func fair(r *http.Request) (*http.Response, error) {
	return answer(r, 200, http.Header{"X-Kubernetes-Pf-Flowschema-Uid": {"x"}}, oneMap)
}

func clusterOver(t *testing.T, o ssa.ClusterOptions, f transport) ssa.Cluster {
	t.Helper()
	c, err := ssa.NewCluster(&rest.Config{Host: "https://api.example.com", Transport: f}, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func configMapResource() ssa.Resource {
	return ssa.Resource{GVR: schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, GVK: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, Namespaced: true}
}

func get(ctx context.Context, c ssa.Cluster) error {
	_, err := c.Get(ctx, configMapResource(), "n", "c")
	return err
}

// SSA-102: 50 requests a second after a burst of 300, unless the server says
// that it has priority and fairness.
func TestRateWithoutFairness(t *testing.T) {
	for name, f := range map[string]transport{"Fair": fair, "None": func(r *http.Request) (*http.Response, error) { return answer(r, 200, nil, oneMap) }} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := clusterOver(t, ssa.ClusterOptions{}, f)
				start := time.Now()
				for range 400 {
					if err := get(t.Context(), c); err != nil {
						t.Fatal(err)
					}
				}
				took := time.Since(start)
				if name == "Fair" && took != 0 || name == "None" && (took < 1900*time.Millisecond || took > 2100*time.Millisecond) {
					t.Errorf("400 requests took %v", took)
				}
			})
		})
	}
}

// flight counts requests that are under way.
type flight struct {
	mu        sync.Mutex
	now, most int
	starts    []time.Time
}

func (f *flight) begin() func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now++
	f.most = max(f.most, f.now)
	f.starts = append(f.starts, time.Now())
	return func() { f.mu.Lock(); defer f.mu.Unlock(); f.now-- }
}

func (f *flight) reset() { f.mu.Lock(); defer f.mu.Unlock(); f.most, f.starts = f.now, nil }

// SSA-101, SSA-103: the limit begins at 4, grows to what was asked for, halves
// when the server suffers; a pause that one request was asked for is kept by
// all, and is capped at a minute.
func TestAdaptiveLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fl flight
		var mu sync.Mutex
		var refuse []func(r *http.Request) (*http.Response, error)
		c := clusterOver(t, ssa.ClusterOptions{Concurrency: 16}, func(r *http.Request) (*http.Response, error) {
			defer fl.begin()()
			mu.Lock()
			var no func(r *http.Request) (*http.Response, error)
			if len(refuse) > 0 {
				no, refuse = refuse[0], refuse[1:]
			}
			mu.Unlock()
			if no != nil {
				return no(r)
			}
			<-time.After(time.Second) // of the bubble
			return fair(r)
		})
		burst := func(n int) {
			fl.reset()
			var wg sync.WaitGroup
			for range n {
				wg.Go(func() {
					if err := get(t.Context(), c); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		burst(4)
		burst(8)
		if fl.most > 6 {
			t.Errorf("%d in flight after four successes", fl.most)
		}
		burst(400)
		if fl.most != 16 {
			t.Errorf("%d in flight, want 16", fl.most)
		}
		for _, tc := range []struct {
			after       string
			least, most time.Duration
		}{{"1", 800 * time.Millisecond, 1200 * time.Millisecond}, {"3600", 48 * time.Second, 72 * time.Second}} {
			refuse = append(refuse, func(r *http.Request) (*http.Response, error) {
				return answer(r, http.StatusTooManyRequests, http.Header{"Retry-After": {tc.after}}, "")
			})
			start := time.Now()
			burst(1)
			if pause := fl.starts[1].Sub(start); pause < tc.least || pause > tc.most {
				t.Errorf("Retry-After %s: next request after %v", tc.after, pause)
			}
			fl.reset()
			burst(8)
			if fl.most > 9 {
				t.Errorf("%d in flight after the server suffered", fl.most)
			}
			burst(400)
		}
		// While one waits, nobody starts.
		refuse = append(refuse, func(r *http.Request) (*http.Response, error) {
			return answer(r, http.StatusServiceUnavailable, http.Header{"Retry-After": {"10"}}, "")
		})
		start := time.Now()
		burst(100)
		early := 0
		for _, at := range fl.starts {
			if d := at.Sub(start); d > 0 && d < 8*time.Second {
				early++
			}
		}
		if early > 0 {
			t.Errorf("%d requests in the pause", early)
		}
	})
}

// SSA-103, SSA-104: what is repeated, how often and after which waits.
func TestRepetitions(t *testing.T) {
	refused := func(*http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED }
	code := func(code int, body string) transport {
		return func(r *http.Request) (*http.Response, error) { return answer(r, code, nil, body) }
	}
	cases := map[string]struct {
		f           transport
		tries       int
		least, most time.Duration
		is          error
	}{
		"Refused":      {refused, 5, 2400 * time.Millisecond, 3600 * time.Millisecond, syscall.ECONNREFUSED},
		"BadGateway":   {code(502, ""), 5, 2400 * time.Millisecond, 3600 * time.Millisecond, nil},
		"Leader":       {code(500, status500("etcdserver: leader changed")), 5, 2400 * time.Millisecond, 3600 * time.Millisecond, nil},
		"Internal":     {code(500, status500("boom")), 1, 0, 0, nil},
		"TooMany":      {code(429, ""), 5, 2400 * time.Millisecond, 3600 * time.Millisecond, ssa.ErrThrottled},
		"Unauthorized": {code(401, ""), 2, 0, 0, nil},
		"Forbidden":    {code(403, ""), 1, 0, 0, nil},
		"Conflict":     {code(409, ""), 1, 0, 0, nil},
		"TooLarge":     {code(413, ""), 1, 0, 0, nil},
		"Invalid":      {code(422, ""), 1, 0, 0, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				c := clusterOver(t, ssa.ClusterOptions{}, func(r *http.Request) (*http.Response, error) { tries++; return tc.f(r) })
				start := time.Now()
				err := get(t.Context(), c)
				took := time.Since(start)
				if err == nil || tc.is != nil && !errors.Is(err, tc.is) {
					t.Errorf("error %v", err)
				}
				if tries != tc.tries || took < tc.least || took > tc.most {
					t.Errorf("%d tries in %v, want %d in %v to %v", tries, took, tc.tries, tc.least, tc.most)
				}
			})
		})
	}
}

// SSA-105: how long a request may take.
func TestRequestTimeouts(t *testing.T) {
	silent := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	synctest.Test(t, func(t *testing.T) {
		for timeout, want := range map[time.Duration][2]time.Duration{0: {30 * time.Second, time.Minute}, 5 * time.Second: {5 * time.Second, time.Minute}, 2 * time.Minute: {2 * time.Minute, 2 * time.Minute}} {
			c := clusterOver(t, ssa.ClusterOptions{RequestTimeout: timeout}, silent)
			start := time.Now()
			if err := get(t.Context(), c); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("get: %v", err)
			}
			if took := time.Since(start); took != want[0] {
				t.Errorf("a GET took %v, want %v", took, want[0])
			}
			start = time.Now()
			for _, err := range c.List(t.Context(), configMapResource(), ssa.ListOptions{}) {
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("list: %v", err)
				}
			}
			if took := time.Since(start); took != want[1] {
				t.Errorf("a LIST took %v, want %v", took, want[1])
			}
		}
	})
}

// F4: what a server says that cannot serve at all is transient, and names no
// secrets of the address.
func TestUnavailableIsTransient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clusterOver(t, ssa.ClusterOptions{}, func(r *http.Request) (*http.Response, error) {
			return answer(r, http.StatusServiceUnavailable, http.Header{"Retry-After": {"3600"}}, "")
		})
		start := time.Now()
		err := get(t.Context(), c)
		if !errors.Is(err, ssa.ErrThrottled) || apierrors.IsNotFound(err) || strings.Contains(err.Error(), "api.example.com") {
			t.Errorf("error %v", err)
		}
		if took := time.Since(start); took < 4*48*time.Second || took > 4*72*time.Second {
			t.Errorf("five tries in %v", took)
		}
	})
}
