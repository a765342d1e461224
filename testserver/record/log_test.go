// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package record_test

import (
	"fmt"
	"sync"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/testserver/record"
)

// TST-4
func TestMatch(t *testing.T) {
	cases := map[string]struct {
		reason string
		m      record.Match
		want   bool
	}{
		"Zero":     {"everything", record.Match{}, true},
		"Exact":    {"exact path", record.Match{Path: "/v2/app/tags/list"}, true},
		"Star":     {"a star crosses slashes", record.Match{Path: "/v2/*/list"}, true},
		"Stars":    {"several stars", record.Match{Path: "*app*list*"}, true},
		"Prefix":   {"no implied star", record.Match{Path: "/v2/"}, false},
		"Method":   {"another method", record.Match{Method: "PUT"}, false},
		"Route":    {"route and status", record.Match{Route: "tags", Status: 200}, true},
		"Status":   {"another status", record.Match{Status: 404}, false},
		"Question": {"only the star is special", record.Match{Path: "/v2/app/tags/lis?"}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(tc.m.Request(record.Request{Method: "GET", Path: "/v2/app/tags/list", Route: "tags", Status: 200})).To(Equal(tc.want), tc.reason)
		})
	}
}

// TST-4: beyond its capacity the log is a ring.
func TestRing(t *testing.T) {
	g := NewWithT(t)
	l := record.NewLog()
	for range record.Capacity + 5 {
		l.Begin(record.Request{Path: "/"}).End()
	}
	all := l.Requests()
	g.Expect(all).To(HaveLen(record.Capacity))
	g.Expect(all[0].Seq).To(BeEquivalentTo(6))
	g.Expect(all[len(all)-1].Seq).To(BeEquivalentTo(record.Capacity + 5))
	g.Expect(l.Total()).To(BeEquivalentTo(record.Capacity + 5))
	l.Reset()
	g.Expect(l.Requests()).To(BeEmpty())
	l.Begin(record.Request{})
	g.Expect(l.Requests()[0].Seq).To(BeEquivalentTo(record.Capacity + 6))
}

func TestLogConcurrentSafe(t *testing.T) {
	g := NewWithT(t)
	l := record.NewLog()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 100 {
				e := l.Begin(record.Request{Route: "x"})
				e.Update(func(r *record.Request) { r.Status = 200 })
				e.End()
			}
		})
	}
	g.Expect(l.Wait(t.Context(), record.Match{Status: 200}, 6400)).To(Succeed())
	wg.Wait()
	g.Expect(l.Count(record.Match{Route: "x"})).To(Equal(6400))
}

func BenchmarkBegin(b *testing.B) {
	l := record.NewLog()
	r := record.Request{Method: "GET", Path: "/v2/app/blobs/x", Header: map[string][]string{"Accept": {"*/*"}}}
	b.ReportAllocs()
	for b.Loop() {
		e := l.Begin(r)
		e.Update(func(r *record.Request) { r.Status = 200 })
		e.End()
	}
}

func ExampleLog() {
	log := record.NewLog()
	e := log.Begin(record.Request{Method: "GET", Path: "/org/app/info/refs", Route: "info-refs"})
	e.Update(func(r *record.Request) { r.Status = 200 })
	e.End()
	fmt.Println(log.Count(record.Match{Path: "/org/*"}), log.Count(record.Match{Status: 404}))
	// Output: 1 0
}
