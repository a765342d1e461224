//go:build failpoints

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/ssa/inventory"
	. "github.com/onsi/gomega"
	"k8s.io/client-go/tools/clientcmd"
)

// The crash tests run this binary again as a child that applies two revisions
// of a set, kill it at a failpoint, start it once more without one, and look
// at what the cluster has then.

func revision(n int) string {
	var b strings.Builder
	add := func(name, extra, value string) {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: NS}\ndata: {v: %s}\n%s", name, value, extra)
	}
	from, to := 0, 4
	if n == 2 {
		from, to = 2, 6
	}
	for i := from; i < to; i++ {
		add(fmt.Sprintf("a%d", i), "", "x")
	}
	add("im", "immutable: true\n", fmt.Sprintf("rev%d", n))
	add("cs", "", "x")
	return b.String()
}

// TestCrashChild is the body of the child; it does nothing in the parent.
func TestCrashChild(t *testing.T) {
	ns := os.Getenv("SSA_CRASH_NS")
	if ns == "" {
		return
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", os.Getenv("SSA_CRASH_KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ssa.NewCluster(cfg, ssa.ClusterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ssa.NewManager(c, ssa.Options{Owner: ssa.Owner{FieldManager: testManager, LabelGroup: "test.gitops-kit.github.io", Name: ns, Namespace: "sets"}})
	if err != nil {
		t.Fatal(err)
	}
	store, err := ssa.NewSecretStore(c, ssa.SecretStoreOptions{Namespace: ns, UID: "crash"})
	if err != nil {
		t.Fatal(err)
	}
	for rev := 1; rev <= 2; rev++ {
		if os.Getenv("SSA_CRASH_REV") == "2" && rev == 1 {
			continue
		}
		if err := crashRun(t, m, inventory.NewLedger(store), ns, rev); err != nil {
			t.Fatal(err)
		}
	}
}

func crashRun(t *testing.T, m *ssa.Manager, ledger *inventory.Ledger, ns string, rev int) error {
	t.Helper()
	objects, err := ssa.ReadObjects(strings.NewReader(strings.ReplaceAll(revision(rev), "NS", ns)), ssa.ReadOptions{})
	if err != nil {
		return err
	}
	p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{Force: true, Takeover: ssa.Takeover{Managers: []ssa.ManagerMatch{{Name: "kubectl"}}}})
	if err != nil {
		return err
	}
	r, err := m.Apply(t.Context(), p, ssa.ApplyOptions{Ledger: ledger})
	if err != nil {
		return err
	}
	if err := ledger.Load(t.Context()); err != nil {
		return err
	}
	dp, err := m.PlanPrune(t.Context(), ledger.Set(), r, ssa.PruneOptions{})
	if err != nil {
		return err
	}
	if _, err = m.Delete(t.Context(), dp, ssa.DeleteOptions{Ledger: ledger}); err != nil {
		return err
	}
	_, err = m.Wait(t.Context(), r.Targets(), ssa.WaitOptions{})
	return err
}

// crashChild runs the child; killed reports whether it died by the failpoint.
func crashChild(t *testing.T, kubeconfig, ns, fail, rev string) (killed bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
	cmd.Env = append(os.Environ(), "SSA_CRASH_NS="+ns, "SSA_CRASH_KUBECONFIG="+kubeconfig, "GITOPS_KIT_FAIL="+fail, "SSA_CRASH_REV="+rev)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == -1 {
		return true
	}
	if err != nil {
		t.Fatalf("child with %q in %s: %v\n%s", fail, ns, err, out)
	}
	return false
}

type crashWorld struct {
	*env
	kubeconfig string
}

func newCrashWorld(t *testing.T) *crashWorld {
	e := newEnv(t, ssa.Options{})
	w := &crashWorld{env: e, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	if err := os.WriteFile(w.kubeconfig, server(t).Kubeconfig(), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, manager := range map[string]string{"cs": "kubectl", "bystander": "someone"} {
		e.createAs(manager, e.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + ", namespace: NS}\ndata: {v: x, stale: z}\n")[0])
	}
	return w
}

// state returns the UIDs of the ConfigMaps of the set, by name.
func (w *crashWorld) state() map[string]string {
	out := map[string]string{}
	for u, err := range w.cluster.List(w.t.Context(), w.resource("", "v1", "ConfigMap"), ssa.ListOptions{Namespace: w.ns, LabelSelector: "test.gitops-kit.github.io/name=" + w.ns}) {
		w.g.Expect(err).NotTo(HaveOccurred())
		out[u.GetName()] = string(u.GetUID())
	}
	return out
}

// check asserts I2, I12 and I14 on the state after the restart.
func (w *crashWorld) check(before map[string]string, what string) {
	w.t.Helper()
	after := w.state()
	var names []string
	for n := range after {
		names = append(names, n)
	}
	slices.Sort(names)
	w.g.Expect(names).To(Equal([]string{"a2", "a3", "a4", "a5", "cs", "im"}), "%s: orphans or wrong deletes", what)
	for _, n := range []string{"a2", "a3", "a4", "a5", "cs"} {
		if uid, ok := before[n]; ok {
			w.g.Expect(after[n]).To(Equal(uid), "%s: %s was deleted in between", what, n)
		}
	}
	w.g.Expect(w.live(w.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bystander, namespace: NS}\n")[0])).NotTo(BeNil(), what)
	store, err := ssa.NewSecretStore(w.cluster, ssa.SecretStoreOptions{Namespace: w.ns, UID: "crash"})
	w.g.Expect(err).NotTo(HaveOccurred())
	set, _, err := store.Load(w.t.Context())
	w.g.Expect(err).NotTo(HaveOccurred(), what)
	w.g.Expect(set.Len()).To(Equal(6), what)
	im := w.live(w.objects("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: im, namespace: NS}\n")[0])
	w.g.Expect(im.Object["data"]).To(Equal(map[string]any{"v": "rev2"}), what)
}

// crashHits runs the scenario once and returns how often each point is hit.
func crashHits(t *testing.T) map[string]int {
	w := newCrashWorld(t)
	trace := filepath.Join(t.TempDir(), "trace")
	crashChild(t, w.kubeconfig, w.ns, "*=trace("+trace+")", "")
	w.check(nil, "no crash")
	f, err := os.Open(trace)
	w.g.Expect(err).NotTo(HaveOccurred())
	defer f.Close()
	hits := map[string]int{}
	for s := bufio.NewScanner(f); s.Scan(); {
		name, n, _ := strings.Cut(s.Text(), " ")
		k, _ := strconv.Atoi(n)
		hits[name] = max(hits[name], k)
	}
	return hits
}

// failpointNames reads the constants of failpoints.go, and fp calls of all files.
func failpointNames(t *testing.T) (declared map[string]string, used map[string]int) {
	t.Helper()
	declared, used = map[string]string{}, map[string]int{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if name, rest, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.HasPrefix(name, "fp") && f == "failpoints.go" {
				value, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(rest), `"`), `"`)
				declared[strings.TrimSpace(name)] = value
			}
			if _, rest, ok := strings.Cut(line, "fail.Point("); ok {
				name, _, _ := strings.Cut(rest, ")")
				used[name]++
			}
		}
	}
	return declared, used
}

// FP-2: every point is declared once, used, and hit by the scenario.
// CR-1: SIGKILL at every point, at the first hit and, in long runs, at the
// last. D6: no orphan, no wrong deletion.
func TestCrashAtEveryPoint(t *testing.T) {
	t.Parallel()
	hits := crashHits(t)
	declared, used := failpointNames(t)
	g := NewWithT(t)
	values := map[string]bool{}
	for name, value := range declared {
		g.Expect(used).To(HaveKey(name), "declared and never used")
		g.Expect(hits).To(HaveKey(value), "never hit")
		g.Expect(values).NotTo(HaveKey(value), "declared twice")
		values[value] = true
	}
	for name := range used {
		g.Expect(declared).To(HaveKey(name), "used and not declared")
	}
	for name, n := range hits {
		at := []int{1}
		if long() && n > 1 {
			at = append(at, n)
		}
		for _, k := range at {
			t.Run(fmt.Sprintf("%s@%d", strings.ReplaceAll(name, "/", "-"), k), func(t *testing.T) {
				t.Parallel()
				crashOnce(t, fmt.Sprintf("%s@%d=kill", name, k), "")
			})
		}
	}
}

// crashOnce kills the child at a point, perhaps the restarted one at another,
// and checks what a run without a crash makes of it.
func crashOnce(t *testing.T, first, second string) {
	t.Helper()
	w := newCrashWorld(t)
	if !crashChild(t, w.kubeconfig, w.ns, first, "") && strings.HasSuffix(first, "@1=kill") {
		t.Errorf("%s was not reached", first)
	}
	before := w.state()
	if second != "" {
		crashChild(t, w.kubeconfig, w.ns, second, "2")
		maps.Copy(before, w.state())
	}
	crashChild(t, w.kubeconfig, w.ns, "", "2")
	w.check(before, first+" "+second)
}

// CR-2, CR-3: seeded double crashes; 200 of them with GITOPS_KIT_LONG=1.
func TestCrashSeeds(t *testing.T) {
	t.Parallel()
	hits := crashHits(t)
	var names []string
	for n := range hits {
		names = append(names, n)
	}
	slices.Sort(names)
	seeds, first := scaled(6, 200), seed(t)
	for seed := range seeds {
		r := rand.New(rand.NewPCG(first, uint64(seed)))
		pick := func() string {
			n := names[r.IntN(len(names))]
			return fmt.Sprintf("%s@%d=kill", n, r.IntN(hits[n])+1)
		}
		first, second := pick(), pick()
		t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			t.Parallel()
			crashOnce(t, first, second)
		})
	}
	t.Logf("%d seeds", seeds)
}
