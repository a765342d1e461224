// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kustomizev1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/runtime/conditions/check"
)

// watchStatus records every version of every object of a test and, at its
// end, fails the test for any that breaks the rules of conditions, or that
// mixes the state of two runs.
//
// COND-6, WIRE-20, WIRE-21, KUS-A34, SRC-A32
func (w *world) watchStatus() {
	w.t.Helper()
	cl, err := client.NewWithWatch(w.cluster.Config(), client.Options{Scheme: testScheme(w.WithT)})
	w.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	var wg sync.WaitGroup
	var mu sync.Mutex
	var found []string
	for _, list := range []client.ObjectList{&sourcev1.GitRepositoryList{}, &kustomizev1.KustomizationList{}} {
		i, err := cl.Watch(ctx, list, client.InNamespace(w.ns))
		w.Expect(err).NotTo(HaveOccurred())
		wg.Go(func() {
			defer i.Stop()
			last := map[string]string{} // status by UID: only what a controller wrote counts
			for {
				select {
				case <-ctx.Done():
					return
				case e, ok := <-i.ResultChan():
					if !ok {
						return
					}
					o, ok := e.Object.(conditioned)
					if !ok || e.Type == watch.Deleted {
						continue
					}
					status := statusOf(o)
					if last[string(o.GetUID())] == status {
						continue
					}
					last[string(o.GetUID())] = status
					mu.Lock()
					found = append(found, findings(o)...)
					mu.Unlock()
				}
			}
		})
	}
	w.t.Cleanup(func() {
		cancel()
		wg.Wait()
		if len(found) > 0 {
			w.t.Errorf("statuses that break the rules:\n%s", strings.Join(found, "\n"))
		}
	})
}

// findings lists what is wrong with one version of an object.
func findings(o conditioned) []string {
	name := fmt.Sprintf("%T %s@%s: ", o, o.GetName(), o.GetResourceVersion())
	var out []string
	for _, f := range check.Errors(check.Object(o)) {
		out = append(out, name+f.String())
	}
	ready := apimeta.FindStatusCondition(o.GetConditions(), meta.ReadyCondition)
	if ready == nil || ready.Status != metav1.ConditionTrue {
		return out
	}
	revision, want := "", ""
	switch o := o.(type) {
	case *sourcev1.GitRepository:
		if o.Status.Artifact != nil {
			revision = o.Status.Artifact.Revision
		}
		want = "stored artifact for revision '" + revision + "'"
	case *kustomizev1.Kustomization:
		revision = o.Status.LastAppliedRevision
		want = "Applied revision: " + revision
		if o.Status.LastAttemptedRevision != revision {
			out = append(out, name+"Ready with another revision attempted")
		}
	}
	if ready.Message != want {
		out = append(out, fmt.Sprintf("%storn: Ready says %q, the status is about %q", name, ready.Message, revision))
	}
	return out
}

func statusOf(o conditioned) string {
	var status any
	switch o := o.(type) {
	case *sourcev1.GitRepository:
		status = o.Status
	case *kustomizev1.Kustomization:
		status = o.Status
	}
	b, err := json.Marshal(status)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
