// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// SSA-13, SSA-14: the ranks of classes, and kinds of the same name in groups
// of other people, which have none.
func TestOrderOfClasses(t *testing.T) {
	g := NewWithT(t)
	order := []string{
		"apiextensions.k8s.io/CustomResourceDefinition", "/Namespace", "rbac.authorization.k8s.io/ClusterRole",
		"cluster.x-k8s.io/ClusterClass", "node.k8s.io/RuntimeClass", "scheduling.k8s.io/PriorityClass", "storage.k8s.io/StorageClass",
		"snapshot.storage.k8s.io/VolumeSnapshotClass", "networking.k8s.io/IngressClass", "gateway.networking.k8s.io/GatewayClass",
		"example.com/StorageClass", "example.com/WidgetClass", "resource.k8s.io/DeviceClass",
		"rbac.authorization.k8s.io/ClusterRoleBinding", "/ConfigMap", "policy/PodDisruptionBudget",
		"/Pod", "example.com/ClusterRole", "example.com/Namespace", "admissionregistration.k8s.io/MutatingWebhookConfiguration",
	}
	entries := make([]ssa.Entry, 0, 2*len(order))
	var want []string
	for _, gk := range order {
		group, kind, _ := strings.Cut(gk, "/")
		for _, name := range []string{"a", "b"} {
			entries = append(entries, ssa.Entry{ID: ssa.ID{Group: group, Kind: kind, Name: name}})
			want = append(want, gk+" "+name)
		}
	}
	r := rand.New(rand.NewPCG(seed(t), 3))
	r.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
	ssa.Sorted(entries)
	var got []string
	for i := range entries {
		got = append(got, entries[i].ID.Group+"/"+entries[i].ID.Kind+" "+entries[i].ID.Name)
	}
	g.Expect(got).To(Equal(want))

	many := make([]ssa.Entry, 1000)
	for i := range many {
		many[i].ID = entries[r.IntN(len(entries))].ID
	}
	allocs := testing.AllocsPerRun(5, func() { ssa.Sorted(many) })
	g.Expect(allocs).To(BeNumerically("<=", len(many)), "one allocation per object")
}

// SSA-101: the Managers on a cluster share one limit; a request that takes
// more than ten seconds halves it. The clock is the test's own.
func TestLimitIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fl flight
		var mu sync.Mutex
		took := time.Second
		c := clusterOver(t, ssa.ClusterOptions{Mapper: newMapper()}, func(r *http.Request) (*http.Response, error) {
			h := http.Header{"X-Kubernetes-Pf-Flowschema-Uid": {"x"}}
			if strings.HasSuffix(r.URL.Path, "/configmaps") {
				return answer(r, 403, h, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"Forbidden","code":403}`)
			}
			defer fl.begin()()
			mu.Lock()
			d := took
			mu.Unlock()
			<-time.After(d)
			if r.Method == http.MethodGet {
				return answer(r, 404, h, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"none","reason":"NotFound","code":404}`)
			}
			return answer(r, 200, h, oneMap)
		})
		plans := func() int {
			fl.reset()
			var wg sync.WaitGroup
			for i := range 3 {
				m, err := ssa.NewManager(c, ssa.Options{Owner: ssa.Owner{FieldManager: "m", LabelGroup: "g", Name: fmt.Sprint("n", i)}})
				if err != nil {
					t.Fatal(err)
				}
				var objects []*unstructured.Unstructured
				for k := range 100 {
					objects = append(objects, &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": fmt.Sprint("c", k), "namespace": "n"}}})
				}
				wg.Go(func() {
					if _, err := m.Plan(t.Context(), objects, ssa.PlanOptions{}); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			return fl.most
		}
		if most := plans(); most != 16 {
			t.Errorf("%d requests at a time for three managers, want 16", most)
		}
		mu.Lock()
		took = 11 * time.Second
		mu.Unlock()
		plans() // every request is too slow
		fl.reset()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { _ = get(t.Context(), c) })
		}
		wg.Wait()
		if fl.most != 1 {
			t.Errorf("%d requests at a time after slow ones, want 1", fl.most)
		}
	})
}
