// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/gitops-kit/sdk/ssa"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

func ExampleReadObjects() {
	objects, err := ssa.ReadObjects(strings.NewReader(`
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
`), ssa.ReadOptions{})
	if err != nil {
		fmt.Println(err)
	}
	for _, o := range objects {
		fmt.Println(ssa.IDOf(o).Display())
	}
	// Output:
	// Namespace/shop
	// ConfigMap/shop/settings
}

func ExampleParseBudget() {
	b, err := ssa.ParseBudget("10/20%")
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(b.Exceeded(11, 100), b.Exceeded(21, 100))
	// Output: false true
}

func ExampleGraph() {
	var g ssa.Graph[string]
	g.Need("web", "database")
	g.Need("database", "disk")
	waves, err := g.Order()
	if err != nil {
		fmt.Println(err)
	}
	fmt.Println(waves)
	// Output: [[disk] [database] [web]]
}

// apply brings the objects of a reader to the cluster and waits for them.
func apply(ctx context.Context, cfg *rest.Config, manifests io.Reader, out io.Writer) error {
	objects, err := ssa.ReadObjects(manifests, ssa.ReadOptions{})
	if err != nil {
		return err
	}
	cluster, err := ssa.NewCluster(cfg, ssa.ClusterOptions{})
	if err != nil {
		return err
	}
	m, err := ssa.NewManager(cluster, ssa.Options{Owner: ssa.Owner{FieldManager: "shop-controller", LabelGroup: "shop.example.com", Name: "shop"}})
	if err != nil {
		return err
	}
	plan, err := m.Plan(ctx, objects, ssa.PlanOptions{})
	if err != nil {
		return err // one *ssa.ObjectError for each object that cannot be applied
	}
	for _, e := range plan.Entries {
		_, _ = fmt.Fprintln(out, e.Decision, e.ID.Display())
	}
	result, err := m.Apply(ctx, plan, ssa.ApplyOptions{})
	_, _ = fmt.Fprint(out, result) // also when it failed half-way
	if err != nil {
		return err
	}
	_, err = m.Wait(ctx, result.Targets(), ssa.WaitOptions{})
	return err
}

func ExampleManager() {
	manifests := strings.NewReader(`
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: shop}
data: {theme: dark}
`)
	// In a cluster, cfg is rest.InClusterConfig's; here it leads to a server
	// in this process.
	if err := apply(context.Background(), littleServer(), manifests, os.Stdout); err != nil {
		fmt.Println(err)
	}
	// Output:
	// create ConfigMap/shop/settings
	// ConfigMap/shop/settings created
}

// littleServer returns the configuration of a client for an API server that
// knows nothing but ConfigMaps, and believes everything.
func littleServer() *rest.Config {
	var mu sync.Mutex
	var stored []json.RawMessage
	return &rest.Config{Host: "https://api.example.com", Transport: transport(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		switch q := r.URL.Query(); {
		case r.URL.Path == "/api/v1":
			return answer(r, 200, nil, `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"configmaps","kind":"ConfigMap","namespaced":true,"verbs":["get","list","patch"]}]}`)
		case q.Get("watch") != "":
			return answer(r, 200, nil, "")
		case r.Method == http.MethodPatch:
			var u unstructured.Unstructured
			if err := json.NewDecoder(r.Body).Decode(&u.Object); err != nil {
				return nil, err
			}
			u.SetUID("1")
			u.SetResourceVersion("1")
			b, err := u.MarshalJSON()
			if q.Get("dryRun") == "" {
				stored = append(stored, b)
			}
			if err != nil {
				return nil, err
			}
			return answer(r, 201, nil, string(b))
		case strings.HasSuffix(r.URL.Path, "/configmaps"):
			b, err := json.Marshal(map[string]any{"kind": "ConfigMapList", "apiVersion": "v1", "metadata": map[string]any{"resourceVersion": "1"}, "items": append([]json.RawMessage{}, stored...)})
			if err != nil {
				return nil, err
			}
			return answer(r, 200, nil, string(b))
		}
		return answer(r, 404, nil, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
	})}
}
