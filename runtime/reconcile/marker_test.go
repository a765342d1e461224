// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	. "github.com/onsi/gomega"
)

// RT-45: an object during whose run the process died three times is not run
// until its generation or token changes.
func TestCrashMarker(t *testing.T) {
	g := NewWithT(t)
	dir, runs := t.TempDir(), 0
	a := &author{run: func(context.Context, *app) (reconcile.Result, error) { runs++; return reconcile.Success("ok"), nil }}
	r := newRig(t, newApp(), a, reconcile.Options[*app]{})
	files := func() int {
		list, err := filepath.Glob(filepath.Join(dir, "*", "*.run"))
		g.Expect(err).NotTo(HaveOccurred())
		return len(list)
	}
	g.Expect(r.h.Mark(dir)).To(Succeed())
	r.run(t)
	g.Expect(files()).To(BeZero(), "a run that ends leaves no marker")
	for death := range 3 {
		r.h.Die(r.get(t))
		g.Expect(files()).To(Equal(1))
		fresh := newRig(t, r.get(t), a, reconcile.Options[*app]{})
		g.Expect(fresh.h.Mark(dir)).To(Succeed())
		if death == 0 {
			runs = 0
		}
		r = fresh
	}
	r.run(t)
	g.Expect(runs).To(BeZero())
	got := r.get(t)
	g.Expect(conditions.IsStalled(got)).To(BeTrue())
	g.Expect(conditions.Reason(got, meta.ReadyCondition)).To(Equal(meta.ReconcilePanicReason))
	g.Expect(conditions.Message(got, meta.ReadyCondition)).To(Equal("skipped: the process ended 3 times during this object's run"))
	got.Annotations = map[string]string{meta.ReconcileRequestAnnotation: "try"}
	g.Expect(r.c.Update(t.Context(), got)).To(Succeed())
	r.run(t)
	g.Expect(runs).To(Equal(1), "a token tries again")
	g.Expect(files()).To(BeZero())
}

// RT-45: a foreign or broken file is removed, an unusable directory is an error.
func TestMarkerDirectory(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	sub := filepath.Join(dir, "gitops-kit-runs-app")
	g.Expect(os.MkdirAll(sub, 0o700)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(sub, "x.run"), []byte("{"), 0o600)).To(Succeed())
	g.Expect(os.Symlink("/etc/passwd", filepath.Join(sub, "y.run"))).To(Succeed())
	r := newRig(t, newApp(), returns(reconcile.Success("ok"), nil), reconcile.Options[*app]{})
	g.Expect(r.h.Mark(dir)).To(Succeed())
	list, err := os.ReadDir(sub)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(list).To(BeEmpty())
	file := filepath.Join(dir, "file")
	g.Expect(os.WriteFile(file, nil, 0o600)).To(Succeed())
	g.Expect(r.h.Mark(file)).NotTo(Succeed())
	r.run(t) // without markers it works all the same
	g.Expect(conditions.IsReady(r.get(t))).To(BeTrue())
}
