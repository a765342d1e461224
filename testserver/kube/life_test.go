// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/kube"
)

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func createConfigMap(ctx context.Context, client kubernetes.Interface, name string) error {
	_, err := client.CoreV1().ConfigMaps("default").Create(ctx, configMap(name), metav1.CreateOptions{})
	return err
}

// refused is what a client sees while nothing listens.
func refused(g Gomega, c *kube.Cluster) {
	u, err := url.Parse(c.Config().Host)
	g.Expect(err).NotTo(HaveOccurred())
	conn, err := net.Dial("tcp", u.Host)
	if err == nil {
		_ = conn.Close()
	}
	g.Expect(errors.Is(err, syscall.ECONNREFUSED)).To(BeTrue(), "%v", err)
}

// TestOfItsOwn is about a control plane that a test may do anything to; a new
// one for each would take long.
func TestOfItsOwn(t *testing.T) {
	t.Parallel()
	c := kube.Private(t, kube.Options{})
	t.Run("NoAuditNoRecorder", func(t *testing.T) { noAuditNoRecorder(t, c) })
	t.Run("AggregatedAPIDown", func(t *testing.T) { aggregatedAPIDown(t, c) })
	t.Run("CompactForcesGone", func(t *testing.T) { compactForcesGone(t, c) })
	t.Run("StopAndStartAPIServer", func(t *testing.T) { stopAndStartAPIServer(t, c) })
}

// TST-53
func noAuditNoRecorder(t *testing.T, c *kube.Cluster) {
	f := &fatal{TB: t}
	NewWithT(t).Expect(func() { c.Requests(f, kube.Filter{}) }).To(PanicWith(f))
}

//nolint:gochecknoglobals // a constant
var apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

// aggregated registers an API whose backend does not exist.
func aggregated(ctx context.Context, dyn dynamic.Interface, group string) error {
	_, err := dyn.Resource(apiServices).Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": map[string]any{"name": "v1." + group},
		"spec": map[string]any{
			"group": group, "version": "v1", "groupPriorityMinimum": int64(10), "versionPriority": int64(10),
			"insecureSkipTLSVerify": true, "service": map[string]any{"namespace": "default", "name": "nowhere"},
		},
	}}, metav1.CreateOptions{})
	return err
}

// TST-35
func aggregatedAPIDown(t *testing.T, c *kube.Cluster) {
	g := NewWithT(t)
	client := clientOf(t, c.Config())
	dyn, err := dynamic.NewForConfig(c.Config())
	g.Expect(err).NotTo(HaveOccurred())
	const group = "down.example.test"
	g.Expect(aggregated(t.Context(), dyn, group)).To(Succeed())
	g.Eventually(t.Context(), func() error {
		return client.Discovery().RESTClient().Get().AbsPath("/apis/" + group + "/v1").Do(t.Context()).Error()
	}).WithTimeout(soon).Should(Satisfy(apierrors.IsServiceUnavailable))
	g.Expect(dyn.Resource(apiServices).Delete(t.Context(), "v1."+group, metav1.DeleteOptions{})).To(Succeed())
}

// TST-54
func stopAndStartAPIServer(t *testing.T, c *kube.Cluster) {
	g := NewWithT(t)
	client := clientOf(t, c.Config())
	g.Expect(createConfigMap(t.Context(), client, "before")).To(Succeed())
	watch, err := client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	address := c.Config().Host

	rounds := 2 // with the compaction, as many as it takes until it is a process of its own
	if long() {
		rounds = 6
	}
	for i := range rounds {
		g.Expect(c.StopAPIServer()).To(Succeed())
		g.Eventually(watch.ResultChan()).WithTimeout(soon).Should(BeClosed(), "a stopped server ends its watches")
		refused(g, c)
		g.Expect(c.StartAPIServer()).To(Succeed())
		g.Expect(c.Config().Host).To(Equal(address))
		live, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "before", metav1.GetOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(createConfigMap(t.Context(), client, "after"+string(rune('a'+i)))).To(Succeed())
		watch, err = client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: live.ResourceVersion})
		g.Expect(err).NotTo(HaveOccurred())
		g.Eventually(watch.ResultChan()).WithTimeout(soon).Should(Receive(), "a watch resumes where it was")
	}
	watch.Stop()
}

// TST-54
func compactForcesGone(t *testing.T, c *kube.Cluster) {
	g := NewWithT(t)
	client := clientOf(t, c.Config())
	list, err := client.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(createConfigMap(t.Context(), client, "one")).To(Succeed())
	g.Expect(c.Compact()).To(Succeed())
	watch, err := client.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err == nil {
		defer watch.Stop()
		event := <-watch.ResultChan()
		err = apierrors.FromObject(event.Object)
	}
	g.Expect(apierrors.IsResourceExpired(err) || apierrors.IsGone(err)).To(BeTrue(), "%v", err)
	_, err = client.CoreV1().ConfigMaps("default").Get(t.Context(), "one", metav1.GetOptions{})
	g.Expect(err).NotTo(HaveOccurred(), "objects stay")
}

// TestSplit is about components that are processes.
func TestSplit(t *testing.T) {
	t.Parallel()
	c := kube.Private(t, kube.Options{Flags: kube.Flags{Split: true}})
	t.Run("PauseKeepsConnections", func(t *testing.T) { pauseKeepsConnections(t, c) })
	t.Run("KillAndStart", func(t *testing.T) { killAndStart(t, c) })
}

// TST-54
func pauseKeepsConnections(t *testing.T, c *kube.Cluster) {
	g := NewWithT(t)
	client := clientOf(t, c.Config())
	g.Expect(createConfigMap(t.Context(), client, "one")).To(Succeed())
	for range 3 {
		g.Expect(c.Pause()).To(Succeed())
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		err := createConfigMap(ctx, client, "two")
		cancel()
		g.Expect(errors.Is(err, context.DeadlineExceeded)).To(BeTrue(), "a paused server does not answer: %v", err)
		g.Expect(c.Resume()).To(Succeed())
	}
	_, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "one", metav1.GetOptions{})
	g.Expect(err).NotTo(HaveOccurred())
}

// TST-54, TST-38
func killAndStart(t *testing.T, c *kube.Cluster) {
	g := NewWithT(t)
	client := clientOf(t, c.Config())
	address := c.Config().Host
	g.Expect(c.Kill()).To(Succeed())
	refused(g, c)
	g.Expect(c.StartAPIServer()).To(Succeed())
	g.Expect(c.Config().Host).To(Equal(address))
	_, err := client.CoreV1().ConfigMaps("default").Get(t.Context(), "one", metav1.GetOptions{})
	g.Expect(err).NotTo(HaveOccurred(), "data survives")
}

// TST-54
func TestSharedIsNotStopped(t *testing.T) {
	g := NewWithT(t)
	shared(t)
	c := kube.Start(reporter{TB: t}, kube.Options{})
	for _, f := range []func() error{c.StopAPIServer, c.StartAPIServer, c.Restart, c.Pause, c.Resume, c.Compact, c.Kill} {
		g.Expect(f()).To(MatchError(ContainSubstring("kube.Private")))
	}
	_, err := clientOf(t, c.Config()).Discovery().ServerVersion()
	g.Expect(err).NotTo(HaveOccurred())
}

// reporter does not fail its test.
type reporter struct{ testing.TB }

func (reporter) Errorf(string, ...any) {}

// TST-38, TST-1
func TestRunLeavesNothing(t *testing.T) {
	g := NewWithT(t)
	shared(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	before := goleak.IgnoreCurrent()
	c, err := kube.Run(t.Context(), kube.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(temp, "kubeconfig")
	g.Expect(os.WriteFile(file, c.Kubeconfig(), 0o600)).To(Succeed())

	again, err := kube.Run(t.Context(), kube.Options{Kubeconfig: file})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again.Version()).To(Equal(c.Version()))
	g.Expect(again.StopAPIServer()).NotTo(Succeed(), "an existing cluster is left alone")
	again.Stop()
	_, err = clientOf(t, c.Config()).Discovery().ServerVersion()
	g.Expect(err).NotTo(HaveOccurred())

	begin := time.Now()
	c.Stop()
	t.Logf("stopped after %s", time.Since(begin).Round(time.Millisecond))
	refused(g, c)
	g.Expect(os.Remove(file)).To(Succeed())
	left, err := os.ReadDir(temp)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).To(BeEmpty())
	g.Expect(errors.Is(c.StopAPIServer(), kube.ErrStopped)).To(BeTrue())
	g.Eventually(func() error { return goleak.Find(before) }).WithTimeout(soon).Should(Succeed(), "no goroutine is left")
}

// TST-53, TST-34
func TestRequests(t *testing.T) {
	g := NewWithT(t)
	c := shared(t)
	ns := c.Namespace(t)
	client := clientOf(t, c.Config())
	all := c.Requests(t, kube.Filter{UserAgent: c.UserAgent()})
	creates := c.Requests(t, kube.Filter{Verb: "create", Resource: "configmaps", Namespace: ns, UserAgent: c.UserAgent()})
	for _, name := range []string{"a", "b", "c"} {
		_, err := client.CoreV1().ConfigMaps(ns).Create(t.Context(), configMap(name), metav1.CreateOptions{})
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(creates.Count()).To(Equal(3))
	got := creates.Requests()[2]
	g.Expect(got.Code).To(Equal(http.StatusCreated))
	g.Expect(got.User).To(Equal("admin"))
	g.Expect(string(got.RequestObject)).To(ContainSubstring(`"name":"c"`))
	g.Expect(string(got.ResponseObject)).To(ContainSubstring(`"uid"`))
	g.Expect(all.Count()).To(Equal(3))
	begin := time.Now()
	watch, err := client.CoreV1().ConfigMaps(ns).Watch(t.Context(), metav1.ListOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(all.Since(begin)).To(HaveLen(1), "a watch counts when it begins")
	watch.Stop()
	_, err = client.CoreV1().ConfigMaps(ns).Get(t.Context(), "none", metav1.GetOptions{})
	g.Expect(apierrors.IsNotFound(err)).To(BeTrue())
	g.Expect(all.Count()).To(Equal(5), "and not when it ends")
	g.Expect(creates.Count()).To(Equal(3))
	all.Reset()
	g.Expect(all.Count()).To(BeZero())
}

func TestProxy(t *testing.T) {
	g := NewWithT(t)
	c := shared(t)
	ns := c.Namespace(t)
	config, proxy := c.FaultProxy(t, fault.Plan{Match: fault.Match{Method: "POST"}, Nth: 1, Drop: true})
	client := clientOf(t, config)
	_, err := client.CoreV1().ConfigMaps(ns).Create(t.Context(), configMap("a"), metav1.CreateOptions{})
	g.Expect(errors.Is(err, io.EOF)).To(BeTrue(), "%v", err)
	_, err = client.CoreV1().ConfigMaps(ns).Get(t.Context(), "a", metav1.GetOptions{})
	g.Expect(err).NotTo(HaveOccurred(), "the request was carried out, only the reply was lost")
	g.Expect(proxy.Count(fault.Match{Method: "POST"})).To(Equal(1))
	proxy.SetFaults(fault.Plan{Match: fault.Match{Method: "GET"}, Status: http.StatusTooManyRequests})
	_, err = client.CoreV1().ConfigMaps(ns).Get(t.Context(), "a", metav1.GetOptions{})
	g.Expect(apierrors.IsTooManyRequests(err)).To(BeTrue(), "%v", err)
}
