// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// long reports whether the long variants of the tests are asked for.
func long() bool { return os.Getenv("GITOPS_KIT_LONG") == "1" }

// scaled returns a number for every run, or the one for long runs.
func scaled(short, full int) int {
	if long() {
		return full
	}
	return short
}

// seed is the seed of the random tests; GITOPS_KIT_SEED chooses another.
func seed(t testing.TB) uint64 {
	t.Helper()
	s := uint64(42)
	if text := os.Getenv("GITOPS_KIT_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		s = n
	}
	t.Logf("GITOPS_KIT_SEED=%d", s)
	return s
}

// hook answers admission requests with what change makes of the object; nil
// admits it as it is.
type hook struct {
	mu     sync.Mutex
	change func(o map[string]any) []patchOp
	calls  int
}

type patchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

func (h *hook) set(f func(map[string]any) []patchOp) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.change = f
}

func (h *hook) called() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review struct {
		Request struct {
			UID    string         `json:"uid"`
			Object map[string]any `json:"object"`
		} `json:"request"`
	}
	b, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(b, &review); err != nil {
		http.Error(w, "no review", http.StatusBadRequest)
		return
	}
	h.mu.Lock()
	h.calls++
	change := h.change
	h.mu.Unlock()
	reply := map[string]any{"uid": review.Request.UID, "allowed": true}
	if change != nil && review.Request.Object != nil {
		if ops := change(review.Request.Object); len(ops) > 0 {
			p, _ := json.Marshal(ops)
			reply["patchType"], reply["patch"] = "JSONPatch", p
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": reply})
}

// webhook serves h and registers it as a mutating webhook for the resources
// (group/plural) in the test's namespace, ConfigMaps among them. It returns
// when the server calls it.
func (e *env) webhook(h *hook, resources ...string) {
	e.t.Helper()
	srv := httptest.NewTLSServer(h)
	e.t.Cleanup(srv.Close)
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	e.register("Mutating", srv.URL, base64.StdEncoding.EncodeToString(bundle), resources...)
	probe := ssa.Write{Verb: ssa.VerbUpdate, Resource: e.resource("", "v1", "ConfigMap"), Namespace: e.ns, Name: "kube-root-ca.crt", FieldManager: "probe"}
	e.g.Eventually(func() int {
		if probe.Object = e.live(e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-root-ca.crt, namespace: NS}\n")[0]); probe.Object != nil {
			probe.Object.SetLabels(map[string]string{"probe": strconv.Itoa(rand.IntN(1 << 30))})
			_, _ = e.cluster.Send(e.t.Context(), probe)
		}
		return h.called()
	}, "90s").Should(BeNumerically(">", 0))
}

// register creates a webhook configuration.
func (e *env) register(kind, address, bundle string, resources ...string) *unstructured.Unstructured {
	e.t.Helper()
	var rules []string
	for _, r := range resources {
		group, plural, _ := strings.Cut(r, "/")
		rules = append(rules, `{apiGroups: ["`+group+`"], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: ["`+plural+`"]}`)
	}
	u := e.objects(`
apiVersion: admissionregistration.k8s.io/v1
kind: ` + kind + `WebhookConfiguration
metadata: {name: NS-` + strings.ToLower(kind) + `}
webhooks:
- name: hook.NS.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  timeoutSeconds: 30
  namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: NS}}
  clientConfig: {url: "` + address + `"}
  rules: [` + strings.Join(rules, ", ") + `]
`)[0]
	if bundle != "" {
		hooks, _ := u.Object["webhooks"].([]any)
		first, _ := hooks[0].(map[string]any)
		_ = unstructured.SetNestedField(first, bundle, "clientConfig", "caBundle")
	}
	e.createAs("x", u)
	e.t.Cleanup(func() { e.delete(u) })
	return u
}

// delete removes an object at the end of a test, whoever owns it.
func (e *env) delete(u *unstructured.Unstructured) {
	gvk := u.GroupVersionKind()
	_, _ = e.cluster.Send(context.WithoutCancel(e.t.Context()), ssa.Write{Verb: ssa.VerbDelete, Resource: e.resource(gvk.Group, gvk.Version, gvk.Kind), Namespace: u.GetNamespace(), Name: u.GetName(), Propagation: "Background"})
}

// meddle is what the webhook of the property test does: it adds to every
// second object, overwrites a value, and appends to lists. Doing it twice
// changes nothing more.
func meddle(o map[string]any) []patchOp {
	u := unstructured.Unstructured{Object: o}
	name := u.GetName()
	if n, err := strconv.Atoi(name[len(name)-1:]); err != nil || n%2 == 1 {
		return nil
	}
	var ops []patchOp
	if u.GetAnnotations()["hook"] == "" {
		if len(u.GetAnnotations()) == 0 {
			ops = append(ops, patchOp{"add", "/metadata/annotations", map[string]any{}})
		}
		ops = append(ops, patchOp{"add", "/metadata/annotations/hook", "seen"})
	}
	switch u.GetKind() {
	case "ConfigMap":
		if data, ok := o["data"].(map[string]any); ok && data["a"] != "hooked" {
			ops = append(ops, patchOp{"add", "/data/a", "hooked"})
		}
	case "PodTemplate":
		containers, _, _ := unstructured.NestedSlice(o, "template", "spec", "containers")
		if len(containers) == 0 {
			break
		}
		c, _ := containers[0].(map[string]any)
		vars, ok := c["env"].([]any)
		if !ok {
			break
		}
		for _, v := range vars {
			if m, _ := v.(map[string]any); m["name"] == "HOOK" {
				return ops
			}
		}
		ops = append(ops, patchOp{"add", "/template/spec/containers/0/env/0", map[string]any{"name": "HOOK", "value": "1"}})
	case "Widget":
		if set, _, _ := unstructured.NestedSlice(o, "spec", "set"); len(set) > 0 && set[len(set)-1] != "hooked" {
			ops = append(ops, patchOp{"add", "/spec/hooked", true})
		}
	}
	return ops
}

// SSA-28, SSA-31…36, SSA-38: what is proved or remembered as unchanged, the
// server's dry-run finds unchanged, after any mutation of the desired object,
// of the live one, of managedFields, by whomever, in whatever version, with a
// webhook that meddles. GITOPS_KIT_LONG=1 makes more than 10,000 mutations.
func TestProofAgainstServer(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	group := e.ns + ".example.com"
	definitions := append(e.objects(crd(group, widgetSchema)), gadgets(e, group))
	e.apply(definitions, ssa.PlanOptions{})
	t.Cleanup(func() { e.cleanup(definitions) })
	cfg := config(t)
	cfg.WarningHandler = rest.NoWarnings{}
	client, err := dynamic.NewForConfig(cfg)
	g.Expect(err).NotTo(HaveOccurred())
	e.webhook(&hook{change: meddle}, "/configmaps", "/podtemplates", group+"/widgets")
	var base []*unstructured.Unstructured
	for i := range 8 {
		for _, u := range e.objects(replaceGroup(moreMutationKinds, group)) {
			u.SetName(u.GetName() + strconv.Itoa(i))
			if u.GetKind() == "StatefulSet" || u.GetKind() == "Deployment" {
				_ = unstructured.SetNestedField(u.Object, int64(0), "spec", "replicas")
			}
			base = append(base, u)
		}
	}
	t.Cleanup(func() {
		for _, u := range base {
			if u.GetNamespace() == "" {
				e.delete(u)
			}
		}
	})
	e.apply(base, ssa.PlanOptions{})
	r := rand.New(rand.NewPCG(seed(t), 1))
	past := make([][]map[string]any, len(base))
	// On the bare cluster: behind a recorder managedFields come decoded, not as
	// the text that is read in production.
	fast, err := ssa.NewManager(e.cluster, ssa.Options{Owner: e.owner, Memo: ssa.NewMemo(ssa.MemoOptions{})})
	g.Expect(err).NotTo(HaveOccurred())
	objects := base
	var total, proved, remembered int
	for round := range scaled(7, 74) {
		if round%4 == 0 { // back to what was meant
			objects = objects[:0:0]
			for _, u := range base {
				objects = append(objects, u.DeepCopy())
			}
		}
		seeds := make([]uint64, len(objects))
		for i := range seeds {
			if seeds[i] = r.Uint64(); seeds[i]%4 != 0 {
				total++
			}
		}
		parallel(8, len(objects), func(i int) {
			if seeds[i]%4 == 0 {
				return // a plan that finds the object as it left it
			}
			m := &mutator{e: e, dynamic: client, r: rand.New(rand.NewPCG(seeds[i], 2)), past: &past[i]}
			if m.r.IntN(3) == 0 {
				m.object(objects[i])
			} else {
				m.live(objects[i])
			}
		})
		o := ssa.PlanOptions{VerifyEvery: 1 << 30, VerifyMaxAge: 1000 * time.Hour, Verified: ssa.Verification{Version: "1", Pass: -1 << 30, At: time.Now()}}
		switch round % 5 {
		case 1:
			o.SyncOwnership = true
		case 2:
			o.FailOnConflict = true
		case 3:
			o.Ignore = []ssa.PathRule{{Paths: []string{"/data/a", "/spec/replicas", "/template/spec/containers/0/env", "/spec/keyed/0/v"}}}
		}
		p, _ := fast.Plan(t.Context(), objects, o)
		n, m := e.contradict(p, objects, o)
		proved, remembered = proved+n, remembered+m
		t.Logf("round %d: %d mutations, %d proved, %d remembered", round, total, proved, remembered)
		if round%3 == 2 {
			_, _ = fast.Apply(t.Context(), p, ssa.ApplyOptions{ContinueOnError: true})
		}
	}
	g.Expect(proved).To(BeNumerically(">", total/10))
	g.Expect(remembered).To(BeNumerically(">", total/200))
}

// contradict asks the server about every object that p found unchanged without
// asking, and fails the test when it says otherwise.
func (e *env) contradict(p *ssa.Plan, objects []*unstructured.Unstructured, o ssa.PlanOptions) (proved, remembered int) {
	e.t.Helper()
	byID := map[ssa.ID]*unstructured.Unstructured{}
	for _, u := range objects {
		byID[ssa.IDOf(u)] = u
	}
	why := map[ssa.ID]ssa.Why{}
	var doubtful []*unstructured.Unstructured
	for i := range p.Entries {
		en := &p.Entries[i]
		switch en.Why {
		case ssa.WhyProved:
			proved++
		case ssa.WhyRemembered:
			remembered++
		default:
			continue
		}
		why[en.ID] = en.Why
		doubtful = append(doubtful, byID[en.ID])
	}
	o.VerifyEvery = 1
	full, _ := e.m.Plan(e.t.Context(), doubtful, o)
	for i := range full.Entries {
		en := &full.Entries[i]
		if en.Decision == ssa.DecisionUnchanged {
			continue
		}
		d, _ := json.Marshal(byID[en.ID])
		l, _ := json.Marshal(e.live(byID[en.ID]))
		e.t.Errorf("%s is %s, but the server says %s (%v %v)\ndesired %s\nlive %s", en.ID, why[en.ID], en.Decision, en.Changes, en.Err, d, l)
	}
	if e.t.Failed() {
		e.t.FailNow()
	}
	return proved, remembered
}

// parallel calls f for 0..n-1 from workers goroutines.
func parallel(workers, n int, f func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range workers {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}
