// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"encoding/base64"
	"strings"
	"sync"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// sender keeps what is sent to be rehearsed.
type sender struct {
	ssa.Cluster
	mu   sync.Mutex
	sent map[string]*unstructured.Unstructured
}

func (s *sender) Send(ctx context.Context, w ssa.Write) (*unstructured.Unstructured, error) {
	if w.Object != nil && w.DryRun {
		s.mu.Lock()
		s.sent[w.Name] = w.Object.DeepCopy()
		s.mu.Unlock()
	}
	return s.Cluster.Send(ctx, w)
}

// SSA-3, SSA-9, SSA-10: what is sent of an object, on a server that accepts
// it; the input stays as it was.
func TestPayload(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	group := e.ns + ".example.com"
	definitions := e.objects(crd(group, "") + "---\n" + strings.NewReplacer("widgets", "gadgets", "Widget", "Gadget", "singular: widget", "singular: gadget", "    subresources: {status: {}}\n", "").Replace(crd(group, "")))
	e.apply(definitions, ssa.PlanOptions{})
	t.Cleanup(func() { e.cleanup(definitions) })
	c := &sender{Cluster: e.cluster, sent: map[string]*unstructured.Unstructured{}}
	m, err := ssa.NewManager(c, ssa.Options{Owner: e.owner})
	g.Expect(err).NotTo(HaveOccurred())
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	hpa := "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: hpa, namespace: NS}\nspec:\n  maxReplicas: 3\n  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}\n  metrics: [METRIC, OTHER, METRIC]\n"
	metric := func(name string) string {
		return "{type: Resource, resource: {name: " + name + ", target: {type: Utilization, averageUtilization: 50}}}"
	}
	bundled := func(name, bundle string) string {
		text := strings.ReplaceAll(strings.NewReplacer("widgets", name, "singular: widget", "singular: "+name, "WidgetList", name+"List", "kind: Widget", "kind: "+name).Replace(crd(group, "")), "  scope: Namespaced\n",
			"  scope: Namespaced\n  conversion: {strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: \"https://127.0.0.1:1/\", caBundle: "+bundle+"}}}\n")
		return text
	}
	const cert = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1BPT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="
	cases := map[string]struct {
		reason, text string
		path         []string
		want         any // nil: absent
		refused      bool
	}{
		"secret-wins":    {"stringData wins over data", "apiVersion: v1\nkind: Secret\nmetadata: {name: secret-wins, namespace: NS}\ndata: {a: " + b64("old") + ", b: " + b64("b") + "}\nstringData: {a: new}\n", []string{"data"}, map[string]any{"a": b64("new"), "b": b64("b")}, false},
		"secret-text":    {"and is not sent itself", "apiVersion: v1\nkind: Secret\nmetadata: {name: secret-text, namespace: NS}\nstringData: {a: new}\n", []string{"stringData"}, nil, false},
		"secret-lines":   {"base64 with line breaks is written canonically", "apiVersion: v1\nkind: Secret\nmetadata: {name: secret-lines, namespace: NS}\ndata:\n  a: |\n    " + b64("hello ")[:4] + "\n    " + b64("hello ")[4:] + "\n", []string{"data", "a"}, b64("hello "), false},
		"service":        {"a port's protocol is filled in", "apiVersion: v1\nkind: Service\nmetadata: {name: service, namespace: NS}\nspec: {selector: {a: b}, ports: [{port: 1, name: one, protocol: UDP}, {port: 2, name: two}]}\n", []string{"spec", "ports"}, []any{map[string]any{"port": int64(1), "name": "one", "protocol": "UDP"}, map[string]any{"port": int64(2), "name": "two", "protocol": "TCP"}}, false},
		"empties":        {"empty metadata is left out", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: empties, namespace: NS, annotations: {}, finalizers: [], ownerReferences: null, labels: {}, uid: x, resourceVersion: \"1\", generation: 3, creationTimestamp: null, selfLink: /x, managedFields: []}\n", []string{"metadata"}, map[string]any{"name": "empties", "namespace": e.ns, "labels": map[string]any{"test.gitops-kit.github.io/name": e.ns, "test.gitops-kit.github.io/namespace": "sets"}}, false},
		"status":         {"status goes with a status subresource", "apiVersion: " + group + "/v1\nkind: Widget\nmetadata: {name: status, namespace: NS}\nstatus: {a: b}\n", []string{"status"}, nil, false},
		"no-status":      {"and stays without one", "apiVersion: " + group + "/v1\nkind: Gadget\nmetadata: {name: no-status, namespace: NS}\nstatus: {a: b}\n", []string{"status"}, map[string]any{"a": "b"}, false},
		"NS-wide":        {"what has no namespace is sent without", "apiVersion: v1\nkind: Namespace\nmetadata: {name: NS-wide, namespace: lost}\n", []string{"metadata", "namespace"}, nil, false},
		"hpa":            {"exact duplicates of metrics are dropped", strings.NewReplacer("METRIC", metric("cpu"), "OTHER", metric("memory")).Replace(hpa), []string{"spec", "metrics"}, 2, false},
		"bads." + group:  {"a bundle that is no PEM is dropped", bundled("bads", "Z2FyYmFnZQ=="), []string{"spec", "conversion", "webhook", "clientConfig"}, map[string]any{"url": "https://127.0.0.1:1/"}, false},
		"nulls." + group: {"and one that is null", bundled("nulls", "null"), []string{"spec", "conversion", "webhook", "clientConfig"}, map[string]any{"url": "https://127.0.0.1:1/"}, false},
		"goods." + group: {"one that is PEM stays", bundled("goods", cert), []string{"spec", "conversion", "webhook", "clientConfig", "caBundle"}, cert, true},
		"NS-sum":         {"empty rules of an aggregated role are its controller's", "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: NS-sum}\naggregationRule: {clusterRoleSelectors: [{matchLabels: {none: such}}]}\nrules: []\n", []string{"rules"}, nil, false},
		"NS-plain":       {"those of another role stay", "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: NS-plain}\nrules: []\n", []string{"rules"}, []any{}, false},
		"pod":            {"ports of all containers", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: pod, namespace: NS}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {initContainers: [{name: i, image: i, ports: [{containerPort: 1}]}], containers: [{name: c, image: c, ports: [{containerPort: 2, protocol: SCTP}]}]}}}\n", []string{"spec", "template", "spec", "initContainers"}, []any{map[string]any{"name": "i", "image": "i", "ports": []any{map[string]any{"containerPort": int64(1), "protocol": "TCP"}}}}, false},
	}
	for name, tc := range cases {
		t.Run(strings.ReplaceAll(name, group, "g"), func(t *testing.T) {
			objects := e.objects(tc.text)
			before := objects[0].DeepCopy()
			_, err := m.Plan(t.Context(), objects, ssa.PlanOptions{})
			if !tc.refused {
				g.Expect(err).NotTo(HaveOccurred())
			}
			g.Expect(objects[0]).To(Equal(before), "the input is changed")
			c.mu.Lock()
			u := c.sent[objects[0].GetName()]
			c.mu.Unlock()
			g.Expect(u).NotTo(BeNil())
			got, found, _ := unstructured.NestedFieldNoCopy(u.Object, tc.path...)
			switch want := tc.want.(type) {
			case int:
				g.Expect(got).To(HaveLen(want), tc.reason)
			case nil:
				g.Expect(found).To(BeFalse(), tc.reason)
			default:
				g.Expect(got).To(Equal(tc.want), tc.reason)
			}
		})
	}
}
