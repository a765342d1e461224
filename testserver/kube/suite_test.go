// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitops-kit/sdk/testserver/kube"
)

// assets writes the links and returns their directory.
func assets(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "assets")
	out, code := program(t, "assets", dir)
	NewWithT(t).Expect(code).To(BeZero(), out)
	return dir
}

// TST-30
func TestApplets(t *testing.T) {
	g := NewWithT(t)
	links := assets(t)
	run := func(name string, args ...string) (string, int) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(links, name), args...)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	for name, want := range map[string]string{
		"etcd": "etcd Version: 3.7.0", "kube-apiserver": "Kubernetes v1.37.2",
		"kube-controller-manager": "Kubernetes v1.37.2", "kube-scheduler": "Kubernetes v1.37.2",
	} {
		out, code := run(name, "--version")
		g.Expect(code).To(BeZero(), name)
		g.Expect(out).To(ContainSubstring(want), name)
	}
	out, code := run("kube-apiserver", "--help")
	g.Expect(code).To(BeZero())
	g.Expect(out).To(ContainSubstring("--etcd-servers"))
	_, code = run("kube-apiserver", "--nonsense")
	g.Expect(code).To(Equal(1))
	out, code = program(t, "version")
	g.Expect(code).To(BeZero())
	g.Expect(out).To(MatchRegexp(`^Kubernetes v1\.37\.2\netcd v3\.7\.0\nGo go1\.`))

	c := shared(t)
	ns := c.Namespace(t)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	g.Expect(os.WriteFile(file, c.Kubeconfig(), 0o600)).To(Succeed())
	kubectl := func(args ...string) string {
		out, code := run("kubectl", append([]string{"--kubeconfig=" + file, "-n", ns}, args...)...)
		g.ExpectWithOffset(1, code).To(BeZero(), out)
		return out
	}
	kubectl("create", "deployment", "web", "--image=example.test/web:1", "--replicas=2")
	g.Expect(kubectl("rollout", "status", "deployment/web", "--timeout=60s")).To(ContainSubstring("successfully rolled out"))
	kubectl("wait", "--for=condition=Available", "deployment/web", "--timeout=60s")
	manifest := filepath.Join(t.TempDir(), "cm.yaml")
	g.Expect(os.WriteFile(manifest, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n"), 0o600)).To(Succeed())
	g.Expect(kubectl("apply", "--server-side", "-f", manifest)).To(ContainSubstring("serverside-applied"))
	kubectl("delete", "deployment/web", "--cascade=foreground", "--timeout=60s")
	out, code = run("kubectl", "--kubeconfig="+file, "-n", ns, "get", "deployment/web")
	g.Expect(code).To(Equal(1), out)
}

// TST-52
func TestHundredInParallel(t *testing.T) {
	shared(t)
	rounds := 1
	if long() {
		rounds = 20
	}
	for range rounds {
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() { t.Run(fmt.Sprintf("test %d", i), oneOfMany) }) // t.Parallel would run as many as there are processors
		}
		all.Wait()
	}
}

// oneOfMany is a test that has to itself what it makes.
func oneOfMany(t *testing.T) {
	g := NewWithT(t)
	c := kube.Start(t, kube.Options{CRDObjects: []runtime.Object{widget("many.example.test")}})
	client := clientOf(t, c.Config())
	ns := c.Namespace(t)
	for _, name := range []string{"a", "b"} {
		_, err := client.CoreV1().ConfigMaps(ns).Create(t.Context(), configMap(name), metav1.CreateOptions{})
		g.Expect(err).NotTo(HaveOccurred())
	}
	wide := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.Name(t, "wide")}}
	_, err := client.CoreV1().Namespaces().Create(t.Context(), wide, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	requests := c.Requests(t, kube.Filter{UserAgent: c.UserAgent(), Verb: "list"})
	list, err := client.CoreV1().ConfigMaps(ns).List(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name!=kube-root-ca.crt"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(list.Items).To(HaveLen(2), "nobody else writes here")
	g.Expect(requests.Count()).To(Equal(1), "nobody else's requests are counted")
}

// failing is a test that records its failure instead of failing.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	panic(f)
}

// TST-52
func TestDefinitionsOfOneNameMustBeEqual(t *testing.T) {
	g := NewWithT(t)
	shared(t)
	c := kube.Start(t, kube.Options{CRDObjects: []runtime.Object{widget("equal.example.test")}})
	file := func(u *unstructured.Unstructured) string {
		b, err := u.MarshalJSON()
		g.Expect(err).NotTo(HaveOccurred())
		name := filepath.Join(t.TempDir(), "crd.json")
		g.Expect(os.WriteFile(name, b, 0o600)).To(Succeed())
		return name
	}
	c.InstallCRDs(t, filepath.Dir(file(widget("equal.example.test"))))
	other := widget("equal.example.test")
	g.Expect(unstructured.SetNestedField(other.Object, "Cluster", "spec", "scope")).To(Succeed())
	f := &failing{TB: t}
	g.Expect(func() { c.InstallCRDs(f, file(other)) }).To(PanicWith(f))
	g.Expect(f.message).To(And(ContainSubstring("two different definitions of widgets.equal.example.test"),
		ContainSubstring("CRDObjects[0]"), ContainSubstring("crd.json")))
}

// TST-57
func TestFailedTestGetsDiagnostics(t *testing.T) {
	g := NewWithT(t)
	shared(t)
	var logged strings.Builder
	t.Run("inner", func(t *testing.T) {
		f := &failed{TB: t, log: &logged}
		c := kube.Start(f, kube.Options{Components: kube.Full})
		ns := c.Namespace(f)
		client := clientOf(t, c.Config())
		_, err := client.AppsV1().Deployments(ns).Create(t.Context(), deployment(1, map[string]string{kube.Fail: "image"}), metav1.CreateOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Eventually(t.Context(), func() ([]corev1.Event, error) {
			events, err := client.CoreV1().Events(ns).List(t.Context(), metav1.ListOptions{})
			return events.Items, err
		}).WithTimeout(soon).Should(ContainElement(HaveField("Reason", "Scheduled")))
	})
	g.Expect(logged.String()).To(And(ContainSubstring("Scheduled"), ContainSubstring("not ready Deployment/web")))
	g.Expect(logged.Len()).To(BeNumerically("<=", 64<<10))
}

// failed says that it failed and keeps its log.
type failed struct {
	testing.TB
	log *strings.Builder
}

func (f *failed) Failed() bool                 { return true }
func (f *failed) Logf(format string, a ...any) { _, _ = fmt.Fprintf(f.log, format, a...) }

type fatal struct{ testing.TB }

func (f *fatal) Fatal(...any) { panic(f) }
