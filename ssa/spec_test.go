// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// SSA-1, SSA-2, SSA-4: what the packages may import. Without os, os/exec and
// clientcmd nothing reads environment, files or kubeconfig.
func TestImports(t *testing.T) {
	const self = "github.com/gitops-kit/sdk/ssa"
	forbidden := map[string][]string{ // by folder, prefixes
		".":         {"os", "io/ioutil", "flag", "log", "testing", "k8s.io/client-go/tools/clientcmd", "sigs.k8s.io/controller-runtime", self + "/crclient", self + "/ssatest"},
		"status":    {"os", "net", self, "k8s.io/client-go"},
		"inventory": {"os", "net", "k8s.io/client-go"},
		"crclient":  {"os", "log", "testing"},
		"ssatest":   {"os", "sigs.k8s.io/controller-runtime"},
	}
	for dir, bad := range forbidden {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(files), err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			src, err := parser.ParseFile(token.NewFileSet(), f, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range src.Imports {
				path, _ := strconv.Unquote(i.Path.Value)
				for _, b := range bad {
					internal := strings.HasPrefix(path, self+"/internal/")
					if (path == b || strings.HasPrefix(path, b+"/")) && !internal && !strings.HasPrefix(path, "log/slog") {
						t.Errorf("%s imports %s", f, path)
					}
				}
				if dir == "inventory" && (path == self || strings.HasPrefix(path, self+"/")) && !strings.HasPrefix(path, self+"/internal/") {
					t.Errorf("%s imports %s", f, path)
				}
			}
		}
	}
	// The rest of SSA-4: a manager works where no file can be read.
	if _, err := os.Stat("doc.go"); err != nil {
		t.Fatal("not run in the package's folder")
	}
}

// SSA-9: every object carries the owner's labels, shortened where a name is
// too long for one; its own labels stay.
func TestOwnerLabels(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	owner := e.owner
	owner.Name, owner.Namespace = strings.Repeat("n", 64), strings.Repeat("s", 63)
	other := owner
	other.Name = strings.Repeat("n", 63) + "m" // differs beyond what fits
	m := e.manager(ssa.Options{Owner: owner})
	objects := e.objects(cm(", labels: {mine: stays}"))
	p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	labels := e.live(objects[0]).GetLabels()
	g.Expect(labels).To(HaveLen(3))
	g.Expect(labels).To(HaveKeyWithValue("mine", "stays"))
	g.Expect(labels).To(HaveKeyWithValue(owner.LabelGroup+"/namespace", owner.Namespace))
	g.Expect(labels[owner.LabelGroup+"/name"]).To(MatchRegexp("^n{52}-[0-9a-f]{10}$"))
	g.Expect(other.Labels()[owner.LabelGroup+"/name"]).NotTo(Equal(labels[owner.LabelGroup+"/name"]))
	g.Expect(objects[0].GetLabels()).To(Equal(map[string]string{"mine": "stays"}), "the input was changed")
	p, err = m.Plan(t.Context(), objects, ssa.PlanOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(decisions(p)).To(HaveKeyWithValue("ConfigMap/c", "unchanged Proved"), "found again by its labels")
	g.Expect(p.Requests).To(Equal(ssa.Requests{List: 1}))
}

// SSA-27: creates without a rehearsal; what exists is rehearsed all the same.
func TestDirect(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	o := ssa.PlanOptions{Direct: true}
	objects := append(e.objects(configMaps(e.ns, 2)), e.objects("apiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: NS}\nspec: {ports: [{port: 70000}]}\n")...)
	p := e.plan(objects, o)
	g.Expect(decisions(p)).To(Equal(map[string]string{"ConfigMap/c0000": "create Direct", "ConfigMap/c0001": "create Direct", "Service/bad": "create Direct"}))
	g.Expect(p.Requests.DryRun).To(BeZero())
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	var ae *ssa.ApplyError
	g.Expect(errors.As(err, &ae)).To(BeTrue(), "the write validates")
	g.Expect(ae.Objects()).To(HaveLen(1))
	g.Expect(ae.Objects()[0].Fields).To(ContainElement("spec.ports[0].port"))
	g.Expect(actions(r)).To(Equal(map[string]string{"ConfigMap/c0000": "created", "ConfigMap/c0001": "created", "Service/bad": "failed"}))
	_ = unstructured.SetNestedField(objects[0].Object, "2", "data", "a")
	p = e.plan(objects[:2], o)
	g.Expect(decisions(p)).To(Equal(map[string]string{"ConfigMap/c0000": "update Changed", "ConfigMap/c0001": "unchanged Proved"}))
	g.Expect(p.Requests.DryRun).To(Equal(1))
	g.Expect(decisions(e.plan(e.objects(configMaps(e.ns, 3))[2:], ssa.PlanOptions{}))).To(Equal(map[string]string{"ConfigMap/c0002": "create Absent"}), "default off")
}

// SSA-86: what was not confirmed deleted failed, stays in the inventory and in
// the ledger, and goes with the next attempt; Gone proves a deletion.
func TestUnconfirmedDeletions(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(configMaps(e.ns, 4))
	r := e.apply(objects, ssa.PlanOptions{})
	ledger := inventory.NewLedger(inventory.NewMemory(r.Inventory()))
	dp, err := e.m.PlanPrune(t.Context(), r.Inventory(), kept{whole: true}, ssa.PruneOptions{AllowEmpty: true})
	g.Expect(err).NotTo(HaveOccurred())
	e.rec.Before(func(c ssatestCall) error {
		switch {
		case c.Verb == "delete" && c.Name == "c0001":
			return apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "c0001", errInjected)
		case c.Verb == "delete" && c.Name == "c0002":
			return apierrors.NewInternalError(errInjected)
		}
		return nil
	})
	dr, err := e.m.Delete(t.Context(), dp, ssa.DeleteOptions{Ledger: ledger})
	e.rec.Before(nil)
	var de *ssa.DeleteError
	g.Expect(errors.As(err, &de)).To(BeTrue())
	g.Expect(de.Objects()).To(HaveLen(2))
	g.Expect(actions(dr)).To(Equal(map[string]string{"ConfigMap/c0000": "deleted", "ConfigMap/c0001": "failed", "ConfigMap/c0002": "failed", "ConfigMap/c0003": "deleted"}))
	for _, s := range []inventory.Set{dr.Inventory(), ledger.Set()} {
		g.Expect(s.Equal(ids(t, objects[1:3])) || s.Len() == 2 && s.Contains(ssa.IDOf(objects[1])) && s.Contains(ssa.IDOf(objects[2]))).To(BeTrue())
	}
	g.Expect(e.live(objects[1])).NotTo(BeNil())
	dp, err = e.m.PlanDelete(t.Context(), ledger.Set(), ssa.DeleteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = e.m.Delete(t.Context(), dp, ssa.DeleteOptions{Ledger: ledger})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ledger.Set().Len()).To(BeZero())
	_, err = e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Gone: true})
	g.Expect(err).NotTo(HaveOccurred())
}

// SSA-97: a plan shown as text, as JSON and as ordered changes, from what is
// known already.
func TestDiff(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	first := e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS, annotations: {x/gone: soon, stays: here}}\ndata: {a: \"1\", b: \"1\", yy: \"1\", own: \"1\"}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: same, namespace: NS}\n")
	e.apply(first, ssa.PlanOptions{})
	e.patch("x", first[0], `[{"op":"replace","path":"/data/own","value":"live"}]`)
	next := e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: NS, annotations: {stays: here}}\ndata: {a: \"2\", yy: \"2\", nn: new, own: \"1\"}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: same, namespace: NS}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS}\nstringData: {k: hunter2}\n")
	p := e.plan(next, ssa.PlanOptions{Ignore: []ssa.PathRule{{Paths: []string{"/data/own"}}}})
	before := len(e.rec.Calls())
	d := p.Diff(ssa.DiffOptions{})
	g.Expect(e.rec.Calls()).To(HaveLen(before), "a diff asks nothing")
	g.Expect(d.Objects).To(HaveLen(2))
	g.Expect(p.Diff(ssa.DiffOptions{All: true}).Objects).To(HaveLen(3))
	var got []string
	for _, c := range d.Objects[0].Changes {
		got = append(got, c.Op+" "+c.Path)
	}
	g.Expect(got).To(Equal([]string{"replace /data/a", "remove /data/b", "add /data/nn", "replace /data/yy", "remove /metadata/annotations/x~1gone"}))
	text := d.String()
	for _, want := range []string{"-  a: \"1\"\n", "+  a: \"2\"\n", "-  b: \"1\"\n", "+  nn: new\n", "-    x/gone: soon\n"} {
		g.Expect(text).To(ContainSubstring(want))
	}
	for _, never := range []string{"managedFields", "own:", "hunter2", "aHVudGVyMg"} {
		g.Expect(text).NotTo(ContainSubstring(never))
	}
	a, err := json.Marshal(d)
	g.Expect(err).NotTo(HaveOccurred())
	b, err := json.Marshal(e.plan(next, ssa.PlanOptions{Ignore: []ssa.PathRule{{Paths: []string{"/data/own"}}}}).Diff(ssa.DiffOptions{}))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(a)).To(Equal(string(b)))
	g.Expect(string(a)).NotTo(ContainSubstring("hunter2"))
}

// F3, SSA-24: a conflict is taken, or named; then nothing is written.
func TestF03ApplyConflict(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(cm("") + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: free, namespace: NS}\n")
	e.applyAs("other", e.objects(strings.ReplaceAll(cm(""), `a: "1"`, `a: "2"`))[0])
	p, err := e.m.Plan(t.Context(), objects, ssa.PlanOptions{FailOnConflict: true})
	var ce *ssa.ConflictError
	g.Expect(errors.As(err, &ce)).To(BeTrue(), "%v", err)
	g.Expect(ce.Manager).To(Equal("other"))
	g.Expect(ce.Fields).To(ConsistOf(ContainSubstring("data.a")))
	g.Expect(decisions(p)).To(Equal(map[string]string{"ConfigMap/c": "blocked Invalid", "ConfigMap/free": "create Absent"}))
	_, err = e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(errors.As(err, &ce)).To(BeTrue())
	g.Expect(e.rec.Writes()).To(BeZero())
	// Another manager comes between plan and apply.
	e.apply(objects, ssa.PlanOptions{})
	_ = unstructured.SetNestedField(objects[0].Object, "3", "data", "a")
	p = e.plan(objects, ssa.PlanOptions{FailOnConflict: true})
	e.applyAs("late", e.objects(strings.ReplaceAll(cm(""), `a: "1"`, `a: "4"`))[0])
	r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{})
	g.Expect(errors.As(err, &ce)).To(BeTrue(), "%v", err)
	g.Expect(ce.Manager).To(Equal("late"))
	g.Expect(actions(r)).To(HaveKeyWithValue("ConfigMap/c", "failed"))
	g.Expect(e.live(objects[0]).Object["data"]).To(Equal(map[string]any{"a": "4"}))
}

// SSA-24, SSA-34: a quantity in another spelling is the same, except for
// somebody who wants to hear of conflicts: the server compares the texts then.
func TestConflictOfSpellings(t *testing.T) {
	e := newEnv(t, ssa.Options{})
	g := e.g
	tpl := func(cpu string) []*unstructured.Unstructured {
		return e.objects("apiVersion: v1\nkind: PodTemplate\nmetadata: {name: p, namespace: NS}\ntemplate: {spec: {containers: [{name: c, image: i, resources: {limits: {cpu: " + cpu + "}}}]}}\n")
	}
	ours := tpl(`"0.5"`)
	e.apply(ours, ssa.PlanOptions{})
	e.applyAs("other", tpl("500m")[0])
	e.apply(ours, ssa.PlanOptions{VerifyEvery: 1})
	g.Expect(decisions(e.plan(ours, ssa.PlanOptions{}))).To(HaveKeyWithValue("PodTemplate/p", HavePrefix("unchanged")))
	fast, _ := e.m.Plan(t.Context(), ours, ssa.PlanOptions{FailOnConflict: true})
	full, _ := e.m.Plan(t.Context(), ours, ssa.PlanOptions{FailOnConflict: true, VerifyEvery: 1})
	g.Expect(decisions(fast)).To(Equal(decisions(full)))
	g.Expect(decisions(full)).To(HaveKeyWithValue("PodTemplate/p", "blocked Invalid"))
}

// SSA-34: the server stores quantities in their canonical spelling; an object
// that spells them otherwise is unchanged, by proof and by dry-run alike.
func TestSpellingsOfQuantities(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	objects := e.objects(`
apiVersion: v1
kind: PodTemplate
metadata: {name: p, namespace: NS}
template:
  spec:
    containers:
    - {name: c, image: i, resources: {requests: {cpu: "0.1", memory: 1024Mi}, limits: {cpu: 1000m, memory: 2048Mi, ephemeral-storage: "1000"}}}
    volumes: [{name: v, emptyDir: {sizeLimit: 1024Ki}}]
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: q, namespace: NS}
spec: {hard: {limits.cpu: 5000m, pods: "10"}}
`)
	e.apply(objects, ssa.PlanOptions{})
	containers, _, _ := unstructured.NestedSlice(e.live(objects[0]).Object, "template", "spec", "containers")
	c, _ := containers[0].(map[string]any)
	g.Expect(c["resources"]).To(Equal(map[string]any{
		"requests": map[string]any{"cpu": "100m", "memory": "1Gi"}, "limits": map[string]any{"cpu": "1", "memory": "2Gi", "ephemeral-storage": "1k"},
	}))
	e.rec.Reset()
	g.Expect(decisions(e.plan(objects, ssa.PlanOptions{}))).To(Equal(map[string]string{"PodTemplate/p": "unchanged Proved", "ResourceQuota/q": "unchanged Proved"}))
	g.Expect(e.rec.Count(isDryRun)).To(BeZero())
	g.Expect(decisions(e.plan(objects, ssa.PlanOptions{VerifyEvery: 1}))).To(Equal(map[string]string{"PodTemplate/p": "unchanged Verified", "ResourceQuota/q": "unchanged Verified"}))
}

// SSA-77: rules decide custom kinds by what they report, the kind's before the
// group's, and neither when the object is being deleted.
func TestWaitForCustomHealth(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	definition, objects := gadgetSet(e)
	group := strings.TrimPrefix(definition.GetName(), "gadgets.")
	r := e.apply(objects, ssa.PlanOptions{})
	phase := func(_ context.Context, o map[string]any) (string, string, error) {
		switch s, _, _ := unstructured.NestedString(o, "status", "phase"); s {
		case "Ready":
			return "Current", "it is " + s, nil
		case "Broken":
			return "Failed", "it is " + s, nil
		default:
			return "InProgress", "phase: " + s + ".", nil
		}
	}
	never := func(context.Context, map[string]any) (string, string, error) {
		return "Failed", "the group's rule", nil
	}
	rules := []ssa.Rule{{Group: group, Evaluate: never}, {Group: group, Kind: "Gadget", Evaluate: phase}}
	w := e.m.StartWait(t.Context(), r.Targets(), ssa.WaitOptions{Rules: rules})
	defer w.Stop()
	of := func(kind string) func() string {
		return func() string {
			for _, h := range w.Result().Targets {
				if h.ID.Kind == kind {
					return string(h.Status) + " " + h.Message
				}
			}
			return ""
		}
	}
	g.Eventually(of("Gadget"), "90s").Should(Equal("InProgress phase: ."))
	e.patch("operator", objects[1], `[{"op":"add","path":"/status","value":{"phase":"Working"}}]`)
	g.Eventually(of("Gadget"), "90s").Should(Equal("InProgress phase: Working."))
	e.patch("operator", objects[1], `[{"op":"replace","path":"/status/phase","value":"Ready"}]`)
	g.Eventually(w.Done(), "90s").Should(BeClosed())
	g.Expect(w.Err()).NotTo(HaveOccurred())
	g.Expect(of("Gadget")()).To(Equal("Current it is Ready"))

	e.patch("operator", objects[1], `[{"op":"replace","path":"/status/phase","value":"Broken"}]`)
	_, err := e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Rules: rules})
	g.Expect(errors.Is(err, ssa.ErrFailed)).To(BeTrue())
	g.Expect(err.Error()).To(ContainSubstring("it is Broken"))
	_, err = e.m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{Rules: rules[:1]})
	g.Expect(err).To(MatchError(ContainSubstring("the group's rule")))

	e.patch("operator", objects[1], `[{"op":"add","path":"/metadata/finalizers","value":["example.com/hold"]},{"op":"replace","path":"/status/phase","value":"Ready"}]`)
	e.delete(objects[1])
	w = e.m.StartWait(t.Context(), r.Targets(), ssa.WaitOptions{Rules: rules})
	g.Eventually(of("Gadget"), "90s").Should(HavePrefix("Terminating"))
	w.Stop()
	e.patch("operator", objects[1], `[{"op":"remove","path":"/metadata/finalizers"}]`)
}

// frozen is a connection through which nothing comes any more once it is cut,
// while both ends believe in it.
type frozen struct {
	net.Conn
	cut    <-chan struct{}
	closed chan struct{}
	once   sync.Once
}

func (c *frozen) stuck() bool {
	select {
	case <-c.cut:
		return true
	default:
		return false
	}
}

func (c *frozen) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.stuck() {
		<-c.closed
		return 0, net.ErrClosed
	}
	return n, err
}

func (c *frozen) Write(b []byte) (int, error) {
	if c.stuck() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *frozen) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// F8, SSA-105: a connection that is open and dead is noticed by pings; a wait
// goes on over a new one and sees what it missed. The period is shortened; by
// default it is 30 s and 15 s for the answer.
func TestF08HalfOpenConnection(t *testing.T) {
	t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "1")
	t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "1")
	e := newEnv(t, ssa.Options{})
	g := e.g
	cut := make(chan struct{})
	var mu sync.Mutex
	dials := 0
	cfg := config(t)
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		mu.Lock()
		defer mu.Unlock()
		if dials++; err != nil || dials > 1 {
			return c, err
		}
		return &frozen{Conn: c, cut: cut, closed: make(chan struct{})}, nil
	}
	c, err := ssa.NewCluster(cfg, ssa.ClusterOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	m, err := ssa.NewManager(c, ssa.Options{Owner: e.owner})
	g.Expect(err).NotTo(HaveOccurred())
	objects := e.objects(configMaps(e.ns, 1))
	r := e.apply(objects, ssa.PlanOptions{})
	w := m.StartWait(t.Context(), r.Targets(), ssa.WaitOptions{Gone: true, Timeout: 5 * time.Minute})
	defer w.Stop()
	g.Eventually(func() int { return w.Result().Targets[0].Events }, "90s").Should(BeNumerically(">", 0))
	close(cut)
	e.remove(e.live(objects[0]))
	g.Eventually(w.Done(), "90s").Should(BeClosed())
	g.Expect(w.Err()).NotTo(HaveOccurred())
	mu.Lock()
	defer mu.Unlock()
	g.Expect(dials).To(BeNumerically(">", 1))
}

// sortedNames returns the names of the objects of a set.
func sortedNames(s inventory.Set) []string {
	var out []string
	for it := range s.Items() {
		out = append(out, it.ID.Name)
	}
	slices.Sort(out)
	return out
}
