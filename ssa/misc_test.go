// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// wholeMapper is a mapper that knows which kinds have a status, as the
// controllers' one does.
type wholeMapper struct{ *meta.DefaultRESTMapper }

func (wholeMapper) HasStatus(gvr schema.GroupVersionResource) bool { return gvr.Resource == "services" }

func newMapper() wholeMapper {
	m := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []string{"ConfigMap", "Service"} {
		m.Add(schema.GroupVersionKind{Version: "v1", Kind: kind}, meta.RESTScopeNamespace)
	}
	return wholeMapper{m}
}

// SSA-20: a shared mapper that knows about status saves the discovery; what it
// does not know is looked up on the server.
func TestMapperSavesDiscovery(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	c, l := e.lined(ssa.ClusterOptions{Mapper: newMapper()})
	var asked atomic.Int64
	l.set(func(_ int, r *http.Request, send func() (*http.Response, error)) (*http.Response, error) {
		if parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/"); len(parts) <= 3 && !strings.Contains(r.URL.Path, "namespaces") {
			asked.Add(1)
		}
		return send()
	})
	m, err := ssa.NewManager(c, ssa.Options{Owner: e.owner})
	g.Expect(err).NotTo(HaveOccurred())
	objects := e.objects(cm("") + "---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: NS}\nspec: {selector: {a: b}, ports: [{port: 1}]}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}\n")
	for range 2 {
		p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		_, err = m.Apply(t.Context(), p, ssa.ApplyOptions{})
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(asked.Load()).To(BeZero())
	ip, _, _ := unstructured.NestedSlice(e.live(objects[1]).Object, "status", "loadBalancer", "ingress")
	g.Expect(ip).To(BeEmpty(), "status is a subresource and is not sent")
	p, err := m.Plan(t.Context(), e.objects(withReplicas("replicas: 1")), ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(decisions(p)["Deployment/web"]).To(Equal("create Absent"))
	g.Expect(asked.Load()).To(BeNumerically("==", 1))
	_, err = m.Plan(t.Context(), e.objects("apiVersion: v1\nkind: Nothing\nmetadata: {name: x, namespace: NS}\n"), ssa.PlanOptions{})
	g.Expect(errors.Is(err, ssa.ErrKindUnknown)).To(BeTrue())
}

// SSA-28: a refusal is believed for ten minutes. The clock is the test's own.
func TestRefusalIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lists := 0
		c := clusterOver(t, ssa.ClusterOptions{Mapper: newMapper()}, func(r *http.Request) (*http.Response, error) {
			h := http.Header{"X-Kubernetes-Pf-Flowschema-Uid": {"x"}}
			switch {
			case strings.HasSuffix(r.URL.Path, "/configmaps"):
				lists++
				return answer(r, 403, h, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"Forbidden","code":403}`)
			case r.Method == http.MethodGet:
				return answer(r, 404, h, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"none","reason":"NotFound","code":404}`)
			}
			return answer(r, 200, h, oneMap)
		})
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "c", "namespace": "n"}}}
		for _, step := range []struct {
			after time.Duration
			lists int
		}{{0, 1}, {9 * time.Minute, 1}, {59 * time.Second, 1}, {2 * time.Second, 2}, {time.Minute, 2}} {
			<-time.After(step.after)
			m, err := ssa.NewManager(c, ssa.Options{Owner: ssa.Owner{FieldManager: "m", LabelGroup: "g", Name: "n"}})
			if err != nil {
				t.Fatal(err)
			}
			p, err := m.Plan(t.Context(), []*unstructured.Unstructured{u}, ssa.PlanOptions{})
			if err != nil || p.Entries[0].Decision != ssa.DecisionCreate {
				t.Fatalf("%v %v", p.Entries[0].Decision, err)
			}
			if lists != step.lists {
				t.Errorf("%d LISTs after %v more, want %d", lists, step.after, step.lists)
			}
		}
	})
}

// SSA-45: namespace and annotations choose objects, too.
func TestTargetOfARule(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	desired := e.objects(cm(", annotations: {team: a}"))
	e.apply(desired, ssa.PlanOptions{})
	e.patch("someone", desired[0], `[{"op":"replace","path":"/data/a","value":"9"}]`)
	for _, tc := range []struct {
		target  ssa.Match
		ignored bool
	}{
		{ssa.Match{Namespace: e.ns}, true},
		{ssa.Match{Namespace: e.ns[:len(e.ns)-1]}, false},
		{ssa.Match{Namespace: e.ns[:len(e.ns)-1] + "."}, true},
		{ssa.Match{AnnotationSelector: "team in (a, b)"}, true},
		{ssa.Match{AnnotationSelector: "team!=a"}, false},
		{ssa.Match{AnnotationSelector: "team=a", Namespace: "elsewhere"}, false},
		{ssa.Match{Group: "apps"}, false},
	} {
		p := e.plan(desired, ssa.PlanOptions{Ignore: []ssa.PathRule{{Paths: []string{"/data/a"}, Target: tc.target}}})
		g.Expect(p.Entries[0].Decision == ssa.DecisionUnchanged).To(Equal(tc.ignored), "%+v", tc.target)
	}
}

// SSA-7: a plan of another cluster is refused before any request.
func TestPlanOfAnotherCluster(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	p := e.plan(e.objects(cm("")), ssa.PlanOptions{})
	requests := 0
	c, err := ssa.NewCluster(&rest.Config{Host: "https://other.example.com", Transport: transport(func(r *http.Request) (*http.Response, error) {
		requests++
		return answer(r, 500, nil, status500("no"))
	})}, ssa.ClusterOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	m, err := ssa.NewManager(c, ssa.Options{Owner: e.owner})
	g.Expect(err).NotTo(HaveOccurred())
	r, err := m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(errors.Is(err, ssa.ErrForeignPlan)).To(BeTrue())
	g.Expect(r.Count(ssa.ActionNotAttempted)).To(Equal(1))
	g.Expect(requests).To(BeZero())
}

// SSA-25: what the server does not find is said in the same way everywhere.
func TestNotFoundText(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	o := ssa.PlanOptions{Provenance: func(*unstructured.Unstructured) string { return "app.yaml:3" }}
	_, err := e.m.Plan(t.Context(), e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS-none}\n"), o)
	g.Expect(err).To(MatchError("ConfigMap/" + e.ns + "-none/c not found: namespaces \"" + e.ns + "-none\" not found (from app.yaml:3)"))
	_, err = e.m.Plan(t.Context(), e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"), o)
	g.Expect(err).To(MatchError("ConfigMap/c namespace not specified: ConfigMap is a namespaced kind (from app.yaml:3)"))
}

// SSA-31 (BadEntry): an entry that is larger than allowed is not proved; the
// server is asked.
func TestEntryThatIsTooLarge(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(cm(""))
	e.apply(objects, ssa.PlanOptions{})
	m, err := ssa.NewManager(e.cluster, ssa.Options{Owner: e.owner, Limits: ssa.Limits{FieldsV1: 20}})
	g.Expect(err).NotTo(HaveOccurred())
	p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(decisions(p)["ConfigMap/c"]).To(Equal("unchanged Verified"))
	g.Expect(p.Unproved).To(Equal(map[string]int{"BadEntry": 1}))
}

// SSA-60: only elements of the chosen operation, and of the main resource.
func TestTakeoverChoosesElements(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	svc := "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: NS, labels: {LABEL: x}}\nspec: {selector: {a: b}, ports: [{port: 1}], type: LoadBalancer}\n"
	text := func(label string) string { return strings.ReplaceAll(svc, "LABEL", label) }
	e.createAs("tool", e.objects(text("byupdate"))[0])
	e.applyAs("tool", e.objects("apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: NS, labels: {byapply: x}}\n")[0])
	client, err := dynamic.NewForConfig(config(t))
	g.Expect(err).NotTo(HaveOccurred())
	services := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "services"}).Namespace(e.ns)
	_, err = services.Patch(t.Context(), "s", types.JSONPatchType, []byte(`[{"op":"add","path":"/status/loadBalancer/ingress","value":[{"ip":"192.0.2.1"}]}]`), metav1.PatchOptions{FieldManager: "tool"}, "status")
	g.Expect(err).NotTo(HaveOccurred())
	desired := e.objects(text("ours"))
	o := ssa.PlanOptions{Takeover: ssa.Takeover{Managers: []ssa.ManagerMatch{{Name: "tool", Exact: true, Operation: "Apply"}}}}
	e.apply(desired, o)
	live := e.live(desired[0])
	g.Expect(live.GetLabels()).NotTo(HaveKey("byapply"))
	g.Expect(live.GetLabels()).To(HaveKey("byupdate"))
	g.Expect(managerNames(live)).To(ContainElement("tool Update"))
	g.Expect(managerNames(live)).NotTo(ContainElement("tool Apply"))
	o.Takeover.Managers[0] = ssa.ManagerMatch{Name: "too", Exact: true}
	g.Expect(e.plan(desired, o).Entries[0].Decision).To(Equal(ssa.DecisionUnchanged), "exact is the whole name")
	o.Takeover.Managers[0] = ssa.ManagerMatch{Name: "too", Operation: "Update"}
	e.apply(desired, o)
	live = e.live(desired[0])
	g.Expect(live.GetLabels()).NotTo(HaveKey("byupdate"))
	var left []string
	for _, m := range live.GetManagedFields() {
		if m.Manager == "tool" {
			left = append(left, m.Subresource)
		}
	}
	g.Expect(left).To(Equal([]string{"status"}))
}
