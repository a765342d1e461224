// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package cel_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/cel"
	. "github.com/onsi/gomega"
)

func check(current, inProgress, failed string) meta.CustomHealthCheck {
	c := meta.CustomHealthCheck{APIVersion: "example.com/v1"}
	c.Current, c.InProgress, c.Failed = current, inProgress, failed
	return c
}

// object has a status about generation 1.
func object(generation int64, phase string) map[string]any {
	return map[string]any{
		"apiVersion": "example.com/v1", "kind": "X", "metadata": map[string]any{"generation": generation},
		"status": map[string]any{"observedGeneration": int64(1), "phase": phase},
	}
}

// RT-112
func TestHealth(t *testing.T) {
	done, run, bad := "status.phase == 'Done'", "status.phase == 'Run'", "status.phase == 'Bad'"
	cases := map[string]struct {
		reason string
		check  meta.CustomHealthCheck
		obj    map[string]any
		want   string
	}{
		"Current":      {reason: "current holds", check: check(done, run, bad), obj: object(1, "Done"), want: cel.Current},
		"InProgress":   {reason: "inProgress comes first", check: check("true || status.phase == ''", run, bad), obj: object(1, "Run"), want: cel.InProgress},
		"Failed":       {reason: "failed before current", check: check("true || status.phase == ''", "", bad), obj: object(1, "Bad"), want: cel.Failed},
		"Neither":      {reason: "nothing holds", check: check(done, run, bad), obj: object(1, "Else"), want: cel.InProgress},
		"Stale":        {reason: "the status is about another generation", check: check(done, "", ""), obj: object(2, "Done"), want: cel.InProgress},
		"OwnCheck":     {reason: "the expressions look at it themselves", check: check("status.observedGeneration < 5 && "+done, "", ""), obj: object(2, "Done"), want: cel.Current},
		"OwnIndex":     {reason: "also by index", check: check("status['observedGeneration'] < 5", "", ""), obj: object(2, "Done"), want: cel.Current},
		"Constant":     {reason: "reads no variable", check: check("true", "", ""), obj: object(2, ""), want: cel.Current},
		"NoStatus":     {reason: "a missing field is in progress", check: check(done, "", ""), obj: map[string]any{"kind": "X"}, want: cel.InProgress},
		"MissingField": {reason: "a missing field is in progress", check: check("status.deep.field == 1", "", ""), obj: object(1, ""), want: cel.InProgress},
		"Has":          {reason: "has() guards", check: check("!has(status.deep)", "", ""), obj: object(1, ""), want: cel.Current},
		"Secret":       {reason: "data of Secrets is not reachable", check: check("has(self.data) && data.k == 'x'", "", ""), obj: map[string]any{"apiVersion": "v1", "kind": "Secret", "data": map[string]any{"k": "x"}}, want: cel.InProgress},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			f, err := cel.Health(tc.check)
			g.Expect(err).NotTo(HaveOccurred(), tc.reason)
			got, _, err := f(t.Context(), tc.obj)
			g.Expect(err).NotTo(HaveOccurred(), tc.reason)
			g.Expect(got).To(Equal(tc.want), tc.reason)
		})
	}
	g := NewWithT(t)
	_, err := cel.Health(check("", run, bad))
	g.Expect(errors.Is(err, cel.ErrNoCurrent)).To(BeTrue())
}

// RT-110, RT-111: what does not compile is terminal and names its place.
func TestCompileErrors(t *testing.T) {
	c := cel.New(cel.Options{})
	for name, text := range map[string]string{
		"Syntax": "status.phase ==", "Type": "'text'", "Number": "1 + 1", "Unknown": "nope.x == 1", "Mixed": "[1, 'a'].size() == 2",
		"Long": "true || '" + strings.Repeat("x", 8<<10) + "' == ''",
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := c.Compile(text, cel.Object, cel.Bool)
			var e *cel.ExprError
			g.Expect(errors.As(err, &e)).To(BeTrue(), "%v", err)
			g.Expect(e.Terminal()).To(BeTrue())
			g.Expect(e.Reason()).To(Equal(meta.InvalidCELExpressionReason))
			g.Expect(err.Error()).NotTo(ContainSubstring("\n"))
			g.Expect(len(err.Error())).To(BeNumerically("<", 1000))
		})
	}
	g := NewWithT(t)
	_, err := c.Compile("dep.x ==", cel.Dependency, cel.Bool)
	var e *cel.ExprError
	g.Expect(errors.As(err, &e)).To(BeTrue())
	g.Expect(e.Line).To(Equal(1))
	g.Expect(e.Column).To(BeNumerically(">", 1))
	p, err := c.Compile("event.reason + ' by ' + alert.name", cel.EventAlert, cel.String)
	g.Expect(err).NotTo(HaveOccurred())
	s, err := p.String(t.Context(), map[string]any{"event": map[string]any{"reason": "R"}, "alert": map[string]any{"name": "a"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s).To(Equal("R by a"))
	_, err = p.String(t.Context(), map[string]any{"event": map[string]any{}, "alert": 1})
	g.Expect(errors.As(err, &e)).To(BeTrue())
	g.Expect(e.Terminal()).To(BeFalse(), "an evaluation may succeed next time")
}

// RT-111: bombs of cost and time.
func TestBombs(t *testing.T) {
	g := NewWithT(t)
	list := make([]any, 300)
	for i := range list {
		list[i] = int64(i)
	}
	bomb := "status.l.all(a, status.l.all(b, a + b >= 0))"
	p, err := cel.New(cel.Options{Cost: 10_000, Time: time.Hour}).Compile(bomb, cel.Object, cel.Bool)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = p.Bool(t.Context(), map[string]any{"status": map[string]any{"l": list}})
	var ce *cel.CostError
	g.Expect(errors.As(err, &ce)).To(BeTrue(), "%v", err)
	g.Expect(ce.Limit).To(Equal("cost"))
	g.Expect(ce.Terminal()).To(BeTrue())
	p, err = cel.New(cel.Options{Cost: 1 << 60, Time: time.Nanosecond}).Compile(bomb, cel.Object, cel.Bool)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = p.Bool(t.Context(), map[string]any{"status": map[string]any{"l": list}})
	g.Expect(errors.As(err, &ce)).To(BeTrue(), "%v", err)
	g.Expect(ce.Limit).To(Equal("time"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.Bool(ctx, map[string]any{"status": map[string]any{"l": list}})
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue())
}

// RT-110: an expression is compiled once, whoever asks.
func TestCompileOnceConcurrentSafe(t *testing.T) {
	g := NewWithT(t)
	c := cel.New(cel.Options{Programs: 2})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				p, err := c.Compile("status.x == 1", cel.Object, cel.Bool)
				if err != nil {
					t.Error(err)
					return
				}
				if ok, err := p.Bool(context.Background(), map[string]any{"status": map[string]any{"x": int64(1)}}); !ok || err != nil {
					t.Error(ok, err)
				}
			}
		})
	}
	wg.Wait()
	g.Expect(c.Compiled()).To(Equal(1))
	for i := range 3 {
		_, err := c.Compile(fmt.Sprintf("status.x == %d", i), cel.Object, cel.Bool)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(c.Compiled()).To(Equal(3))
}

func FuzzCompile(f *testing.F) {
	f.Add("status.phase == 'Done'")
	f.Add("[1,2].all(x, x > 0)")
	c := cel.New(cel.Options{Time: 100 * time.Millisecond})
	f.Fuzz(func(t *testing.T, text string) {
		p, err := c.Compile(text, cel.Object, cel.Bool)
		if err != nil {
			if !errors.As(err, new(*cel.ExprError)) {
				t.Fatal(err)
			}
			return
		}
		_, _ = p.Bool(context.Background(), object(1, "x"))
	})
}
