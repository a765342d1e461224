// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package manager_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/features"
	"github.com/gitops-kit/sdk/runtime/internal/testapi"
	"github.com/gitops-kit/sdk/runtime/manager"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/testserver/kube"
	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const crd = "../internal/testapi/crd.yaml"

// output is a writer for logs.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func nothing(manager.Kit) error { return nil }

// RT-140, WIRE §2: every flag with its default.
func TestFlagDefaults(t *testing.T) {
	g := NewWithT(t)
	out := &output{}
	code := manager.Run(t.Context(), manager.Options{Name: "app-controller", Setup: nothing, Args: []string{"--help"}, Stderr: out})
	g.Expect(code).To(BeZero())
	want := map[string]string{
		"metrics-addr": `":8080"`, "health-addr": `":9440"`, "concurrent": "4", "requeue-dependency": "30s", "pprof": "true",
		"events-addr": "", "noop-events": "", "kube-api-qps": "50", "kube-api-burst": "300", "default-service-account": "",
		"insecure-kubeconfig-exec": "", "insecure-kubeconfig-tls": "", "kubeconfig-unsupported": `"error"`, "log-encoding": `"json"`,
		"log-level": `"info"`, "enable-leader-election": "", "leader-election-release-on-cancel": "true", "leader-election-lease-duration": "35s",
		"leader-election-renew-deadline": "30s", "leader-election-retry-period": "5s", "min-retry-delay": "750ms", "max-retry-delay": "15m0s",
		"status-flush-interval": "1h0m0s", "interval-jitter-percentage": "5", "watch-all-namespaces": "true", "watch-label-selector": "",
		"watch-configs-label-selector": `"reconcile.fluxcd.io/watch=Enabled"`, "no-cross-namespace-refs": "", "enable-source-acl": "",
		"security-profile": `"single-tenant"`, "feature-gates": "", "state-metrics": "", "insecure-allow-http": "true", "allow-cidr": "",
		"deny-cidr": "", "http-credentials": `"cluster"`, "proxy-from-environment": "true", "token-cache-max-size": "100",
		"token-cache-max-duration": "1h0m0s", "controllers": "",
	}
	got := map[string]string{}
	for line := range strings.Lines(out.String()) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(name, "--") {
			continue
		}
		_, def, _ := strings.Cut(rest, "(default ")
		got[strings.TrimPrefix(name, "--")] = strings.TrimSuffix(strings.TrimSpace(def), ")")
	}
	g.Expect(got).To(Equal(want))
}

// WIRE-11, RT-141: every error on its own line, exit 1, nothing is contacted.
func TestBadFlags(t *testing.T) {
	cases := map[string]struct {
		args []string
		want string
	}{
		"Unknown":   {[]string{"--nope"}, "unknown flag: --nope"},
		"Gate":      {[]string{"--feature-gates=X=true"}, "feature-gate 'X' not supported"},
		"Jitter":    {[]string{"--interval-jitter-percentage=100"}, "interval jitter 100: percentage must be at least 0 and below 100"},
		"Selector":  {[]string{"--watch-label-selector=a in"}, "watch label selector: "},
		"Level":     {[]string{"--log-level=loud"}, `log level "loud": want one of trace, debug, info, error`},
		"Profile":   {[]string{"--security-profile=x"}, `security profile "x"`},
		"CIDR":      {[]string{"--allow-cidr=10.0.0.0"}, `address range "10.0.0.0"`},
		"Events":    {[]string{"--events-addr=notification"}, "event sink address must be an absolute http or https URL"},
		"Namespace": {[]string{"--watch-all-namespaces=false"}, "RUNTIME_NAMESPACE"},
		"Lease":     {[]string{"--enable-leader-election", "--leader-election-lease-duration=1s"}, "leader election: want lease duration > renew deadline"},
		"Argument":  {[]string{"extra"}, `unknown argument "extra"`},
		"Several":   {[]string{"--concurrent=0", "--log-encoding=xml"}, "concurrent 0: must be at least 1"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			t.Setenv("RUNTIME_NAMESPACE", "")
			var dials atomic.Int32
			out := &output{}
			code := manager.Run(t.Context(), manager.Options{
				Name: "app-controller", Setup: nothing, Args: tc.args, Stderr: out,
				Config: &rest.Config{Host: "http://127.0.0.1:1", WrapTransport: func(rt http.RoundTripper) http.RoundTripper { dials.Add(1); return rt }},
			})
			g.Expect(code).To(Equal(1))
			g.Expect(out.String()).To(ContainSubstring(tc.want))
			g.Expect(dials.Load()).To(BeZero())
			if name == "Several" {
				g.Expect(strings.Count(strings.TrimSpace(out.String()), "\n")).To(Equal(1), "two errors, two lines")
			}
		})
	}
}

// WIRE-10, WIRE-13, RT-140, RT-144: flags of several controllers in one process.
func TestCombinedFlags(t *testing.T) {
	g := NewWithT(t)
	seen := map[string]string{}
	option := func(name string) manager.Options {
		var own string
		return manager.Options{
			Name: name, Setup: nothing, Defaults: map[string]string{"concurrent": "2"},
			Profile: map[string]string{"no-cross-namespace-refs": "true", "own": "profile"}, Prefixed: []string{"special"},
			Flags: func(fs *pflag.FlagSet) { fs.StringVar(&own, "own", "default", ""); fs.String("special", "x", "") },
			Validate: func() error {
				seen[name] = own
				return fmt.Errorf("stop %s", name)
			},
		}
	}
	run := func(args ...string) map[string]string {
		clear(seen)
		a := option("a-controller")
		a.Args, a.Stderr = args, io.Discard
		g.Expect(manager.Run(t.Context(), a, option("b-controller"))).To(Equal(1))
		return seen
	}
	g.Expect(run()).To(Equal(map[string]string{"a-controller": "default", "b-controller": "default"}))
	g.Expect(run("--own", "x")).To(Equal(map[string]string{"a-controller": "x", "b-controller": "x"}))
	g.Expect(run("--b.own=y", "--own=x")).To(Equal(map[string]string{"a-controller": "x", "b-controller": "y"}), "the prefixed form wins")
	g.Expect(run("--controllers=b")).To(Equal(map[string]string{"b-controller": "default"}))
	g.Expect(run("--security-profile=multi-tenant", "--a.own=explicit")).To(Equal(map[string]string{"a-controller": "explicit", "b-controller": "profile"}))
	g.Expect(run("--nope.own=1")).To(BeEmpty())
	g.Expect(run("--controllers=c")).To(BeEmpty())
}

// author makes objects ready.
type author struct{ runs *atomic.Int32 }

func (a *author) Reconcile(context.Context, *testapi.App) (reconcile.Result, error) {
	a.runs.Add(1)
	return reconcile.Success("applied"), nil
}

// running is a started process.
type running struct {
	out  *output
	stop context.CancelFunc
	code chan int
	kit  manager.Kit
}

func startProcess(t *testing.T, c *kube.Cluster, ns string, runs *atomic.Int32, args ...string) *running {
	t.Helper()
	r := &running{out: &output{}, code: make(chan int, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	ready := make(chan struct{})
	go func() {
		r.code <- manager.Run(ctx, manager.Options{
			Name: "app-controller", Version: "v1.2.3", Scheme: runtime.SchemeBuilder{testapi.AddToScheme}, Kinds: []client.Object{&testapi.App{}},
			Gates: []features.Gate{{Name: "Own"}}, Config: c.Config(), Namespace: ns, Stderr: r.out, Grace: 10 * time.Second,
			Args: append([]string{"--metrics-addr=0", "--health-addr=0", "--watch-all-namespaces=false", "--interval-jitter-percentage=0"}, args...),
			Setup: func(k manager.Kit) error {
				r.kit = k
				return reconcile.Setup(k, &author{runs}, reconcile.Options[*testapi.App]{})
			},
			Ready: func(context.Context) { close(ready) },
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-r.code:
		case <-time.After(20 * time.Second):
			t.Error("process does not end")
		}
		if t.Failed() {
			t.Log(r.out.String())
		}
	})
	select {
	case <-ready:
	case c := <-r.code:
		t.Fatalf("process ended with %d:\n%s", c, r.out)
	case <-time.After(60 * time.Second):
		t.Fatalf("process is not ready:\n%s", r.out)
	}
	return r
}

func reader(t *testing.T, c *kube.Cluster) client.Client {
	t.Helper()
	s := runtime.NewScheme()
	g := NewWithT(t)
	g.Expect(testapi.AddToScheme(s)).To(Succeed())
	g.Expect(clientgoscheme.AddToScheme(s)).To(Succeed())
	cl, err := client.New(c.Config(), client.Options{Scheme: s})
	g.Expect(err).NotTo(HaveOccurred())
	return cl
}

// RT-141, RT-142, RT-143, WIRE-9, WIRE-24, WIRE-30, WIRE-32: a whole process: lease,
// run, event, log, and a graceful end.
func TestProcess(t *testing.T) {
	g := NewWithT(t)
	c := kube.Start(t, kube.Options{CRDs: []string{crd}})
	ns := c.Namespace(t)
	cl := reader(t, c)
	var runs, standbyRuns atomic.Int32
	r := startProcess(t, c, ns, &runs, "--enable-leader-election", "--watch-label-selector=shard=a")
	o := &testapi.App{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "web", Labels: map[string]string{"shard": "a"}},
		Spec:       testapi.AppSpec{Interval: meta.Duration{Duration: time.Hour}},
	}
	g.Expect(cl.Create(t.Context(), o)).To(Succeed())
	other := o.DeepCopy()
	other.ResourceVersion, other.Name, other.Labels = "", "other", map[string]string{"shard": "b"}
	g.Expect(cl.Create(t.Context(), other)).To(Succeed())
	g.Eventually(func() bool {
		_ = cl.Get(t.Context(), client.ObjectKeyFromObject(o), o)
		return conditions.IsReady(o)
	}, "30s").Should(BeTrue())
	lease := &coordinationv1.Lease{}
	g.Expect(cl.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: manager.LeaseName("app-controller", "shard=a")}, lease)).To(Succeed())
	g.Expect(lease.Name).To(MatchRegexp(`^app-controller-leader-election-[0-9a-f]{8}$`))
	g.Expect(manager.LeaseName("app-controller", "")).To(Equal("app-controller-leader-election"))

	standby := startProcess(t, c, ns, &standbyRuns, "--enable-leader-election", "--watch-label-selector=shard=a")
	list := &corev1.EventList{}
	g.Eventually(func() int {
		_ = cl.List(t.Context(), list, client.InNamespace(ns))
		return len(list.Items)
	}, "20s").Should(Equal(1))
	e := list.Items[0]
	g.Expect(e.InvolvedObject.Kind + "/" + e.InvolvedObject.Name + " " + e.Reason + " " + e.Source.Component).To(Equal("App/web Succeeded app-controller"))
	g.Expect(standbyRuns.Load()).To(BeZero(), "a standby is ready and idle")

	r.stop()
	g.Eventually(r.code, "20s").Should(Receive(BeZero()), "exit 0")
	r.code <- 0
	g.Eventually(func() int32 { // the lease was released: the standby takes over at once
		_ = cl.Get(t.Context(), client.ObjectKeyFromObject(o), o)
		o.Annotations = map[string]string{meta.ReconcileRequestAnnotation: time.Now().String()}
		_ = cl.Update(t.Context(), o)
		return standbyRuns.Load()
	}, "30s", "500ms").Should(BeNumerically(">", 0))
	standby.stop()
	got := &testapi.App{}
	g.Expect(cl.Get(t.Context(), client.ObjectKeyFromObject(other), got)).To(Succeed())
	g.Expect(got.Finalizers).To(BeEmpty(), "another shard's object is not touched")

	sc := bufio.NewScanner(strings.NewReader(r.out.String()))
	lines, found := 0, false
	for sc.Scan() {
		var m map[string]any
		g.Expect(json.Unmarshal(sc.Bytes(), &m)).To(Succeed(), sc.Text())
		g.Expect(m).To(And(HaveKey("level"), HaveKey("ts"), HaveKey("msg")))
		if m["msg"] == "run finished" {
			found = true
			g.Expect(m).To(And(HaveKeyWithValue("controllerKind", "App"), HaveKeyWithValue("namespace", ns), HaveKeyWithValue("name", "web"), HaveKey("reconcileID")))
		}
		lines++
	}
	g.Expect(found).To(BeTrue())
	g.Expect(lines).To(BeNumerically(">", 3))
}
