// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssatest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	"github.com/gitops-kit/sdk/ssa/ssatest"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// SSA-95: the store in memory conforms.
func TestMemoryConforms(t *testing.T) {
	ssatest.RunStore(t, ssatest.StoreHarness{
		New:    func(testing.TB) inventory.Store { return &inventory.Memory{} },
		Reopen: func(_ testing.TB, s inventory.Store) inventory.Store { return s },
	})
}

// echo is a cluster that accepts everything.
type echo struct{ ssa.UnimplementedCluster }

func (echo) Send(_ context.Context, w ssa.Write) (*unstructured.Unstructured, error) {
	return w.Object, nil
}

func TestRecorder(t *testing.T) {
	g := NewWithT(t)
	rec := ssatest.NewRecorder(echo{})
	boom := errors.New("boom")
	w := ssa.Write{Verb: ssa.VerbApply, Name: "a", Object: &unstructured.Unstructured{}}
	_, err := rec.Send(t.Context(), w)
	g.Expect(err).NotTo(HaveOccurred())
	rec.Before(func(c ssatest.Call) error {
		if c.Name == "a" {
			return boom
		}
		return nil
	})
	_, err = rec.Send(t.Context(), w)
	g.Expect(errors.Is(err, boom)).To(BeTrue())
	rec.Before(nil)
	rec.After(func(ssatest.Call) error { return boom })
	_, err = rec.Send(t.Context(), w)
	g.Expect(errors.Is(err, boom)).To(BeTrue())
	w.DryRun = true
	_, _ = rec.Send(t.Context(), w)
	_, _ = rec.Get(t.Context(), ssa.Resource{}, "", "a")
	rec.List(t.Context(), ssa.Resource{}, ssa.ListOptions{})(func(*unstructured.Unstructured, error) bool { return true })
	_, _ = rec.Watch(t.Context(), ssa.Resource{}, ssa.ListOptions{})
	rec.Refresh("g")
	g.Expect(rec.Writes()).To(Equal(3))
	g.Expect(rec.Count(nil)).To(Equal(7))
	g.Expect(rec.Calls()[6].Seq).To(Equal(7))
	rec.Reset()
	g.Expect(rec.Calls()).To(BeEmpty())
}

func ExampleRecorder() {
	rec := ssatest.NewRecorder(echo{})
	rec.After(func(c ssatest.Call) error { return errors.New("reply lost") })
	_, err := rec.Send(context.Background(), ssa.Write{Verb: ssa.VerbApply, Name: "web", Object: &unstructured.Unstructured{}})
	fmt.Println(err, rec.Writes())
	// Output: reply lost 1
}
