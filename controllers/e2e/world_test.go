// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	kustomizev1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/gitops-kit/sdk/testserver/kube"
)

// patience is long: two slow cores run a control plane and several managers
// under the race detector. It costs time only where a test fails.
const patience = 3 * time.Minute

// world is one namespace with a manager that watches it, and a Git server.
type world struct {
	*WithT
	t       *testing.T
	ctx     context.Context //nolint:containedctx // of the test
	cluster *kube.Cluster
	client.Client
	ns     string
	server *gitserver.Server
	repo   *gitserver.Repo
	dir    string
	*process

	storage string // address of the artifact server
}

var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "manager-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "manager")
	args := []string{"build", "-o", bin}
	if raceEnabled {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "../cmd/manager")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the manager: %w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	logf.SetLogger(logr.Discard()) // the tests' clients; managers are processes
	code := m.Run()
	if bin, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code) //nolint:forbidigo // of a test main
}

func testScheme(g *WithT) *runtime.Scheme {
	s := runtime.NewScheme()
	g.Expect(scheme.AddToScheme(s)).To(Succeed())
	g.Expect(sourcev1.AddToScheme(s)).To(Succeed())
	g.Expect(kustomizev1.AddToScheme(s)).To(Succeed())
	return s
}

// newWorld starts a manager for a fresh namespace and a Git server with one
// repository.
func newWorld(t *testing.T, o gitserver.Options, args ...string) *world {
	t.Helper()
	w := bareWorld(t)
	w.server = gitserver.Start(t, o)
	w.repo = w.server.Repo("app")
	w.start(args...)
	return w
}

func bareWorld(t *testing.T) *world {
	t.Helper()
	g := NewWithT(t)
	w := &world{WithT: g, t: t, ctx: t.Context(), dir: t.TempDir()}
	w.cluster = kube.Start(t, kube.Options{Components: kube.Full, CRDs: []string{"../config/crd/bases"}})
	var err error
	w.Client, err = client.New(w.cluster.Config(), client.Options{Scheme: testScheme(g)})
	g.Expect(err).NotTo(HaveOccurred())
	w.ns = w.cluster.Namespace(t)
	w.watchStatus()
	return w
}

// start runs the manager until the test ends or stop is called.
func (w *world) start(args ...string) {
	w.t.Helper()
	if w.storage == "" {
		w.storage = freePort(w) // artifact URLs hold it, it survives a restart
	}
	w.process = w.launch(w.dir, append([]string{
		"--controllers=source,kustomize", "--storage-addr=" + w.storage, "--storage-adv-addr=" + w.storage,
		"--requeue-dependency=2s",
	}, args...)...)
}

// gitRepository creates the GitRepository "app" on branch main.
func (w *world) gitRepository(change func(*sourcev1.GitRepository)) *sourcev1.GitRepository {
	w.t.Helper()
	o := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: w.ns}}
	o.Spec.Interval = *meta.NewDuration(time.Hour)
	o.Spec.Reference = &sourcev1.GitRepositoryRef{Branch: "main"}
	if w.repo != nil {
		o.Spec.URL = w.repo.URL()
	}
	if change != nil {
		change(o)
	}
	w.Expect(w.Create(w.ctx, o)).To(Succeed())
	return o
}

// kustomization creates the Kustomization "app" of GitRepository "app".
func (w *world) kustomization(change func(*kustomizev1.Kustomization)) *kustomizev1.Kustomization {
	w.t.Helper()
	o := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: w.ns}}
	o.Spec.Interval = *meta.NewDuration(time.Hour)
	o.Spec.RetryInterval = meta.NewDuration(2 * time.Second)
	o.Spec.Prune = true
	o.Spec.TargetNamespace = w.ns
	o.Spec.SourceRef = kustomizev1.CrossNamespaceSourceReference{Kind: "GitRepository", Name: "app"}
	if change != nil {
		change(o)
	}
	w.Expect(w.Create(w.ctx, o)).To(Succeed())
	return o
}

// conditioned is what the tests look at.
type conditioned interface {
	client.Object
	GetConditions() []metav1.Condition
	ObservedGeneration() *int64
}

// await waits until the condition has status and reason, and returns it. It
// reads o anew.
func (w *world) await(o conditioned, kind string, status metav1.ConditionStatus, reason string) *metav1.Condition {
	w.t.Helper()
	return w.awaitText(o, kind, status, reason)
}

// awaitText is await for a message that contains all texts.
func (w *world) awaitText(o conditioned, kind string, status metav1.ConditionStatus, reason string, texts ...string) *metav1.Condition {
	w.t.Helper()
	var got *metav1.Condition
	w.Eventually(w.ctx, func(g Gomega) {
		g.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
		got = apimeta.FindStatusCondition(o.GetConditions(), kind)
		g.Expect(got).NotTo(BeNil(), "%s is missing in %v", kind, o.GetConditions())
		g.Expect(string(got.Status)+" "+got.Reason).To(Equal(string(status)+" "+reason), got.Message)
		for _, text := range texts {
			g.Expect(got.Message).To(ContainSubstring(text))
		}
		g.Expect(got.ObservedGeneration).To(Equal(o.GetGeneration()))
	}).WithTimeout(patience).WithPolling(50 * time.Millisecond).Should(Succeed())
	return got
}

func (w *world) awaitReady(o conditioned) {
	w.t.Helper()
	reason := meta.SucceededReason
	if _, ok := o.(*kustomizev1.Kustomization); ok {
		reason = meta.ReconciliationSucceededReason
	}
	w.await(o, meta.ReadyCondition, metav1.ConditionTrue, reason)
	w.Expect(*o.ObservedGeneration()).To(Equal(o.GetGeneration()))
}

// applied waits until the Kustomization has applied a commit of branch main.
func (w *world) applied(o *kustomizev1.Kustomization, id gitserver.Hash) {
	w.t.Helper()
	w.Eventually(w.ctx, func(g Gomega) {
		g.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
		g.Expect(o.Status.LastAppliedRevision).To(Equal("main@sha1:"+string(id)), "%v", o.Status.Conditions)
		g.Expect(apimeta.IsStatusConditionTrue(o.Status.Conditions, meta.ReadyCondition)).To(BeTrue())
	}).WithTimeout(patience).WithPolling(50 * time.Millisecond).Should(Succeed())
}

// request asks for a run now and returns the token.
func (w *world) request(o client.Object) string {
	w.t.Helper()
	token := time.Now().Format(time.RFC3339Nano)
	p := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, meta.ReconcileRequestAnnotation, token))
	w.Expect(w.Patch(w.ctx, o, p)).To(Succeed())
	return token
}

// awaitEvent waits for an event about o.
func (w *world) awaitEvent(o client.Object, kind, reason, text string) *corev1.Event {
	w.t.Helper()
	var found *corev1.Event
	w.Eventually(w.ctx, func(g Gomega) {
		var list corev1.EventList
		g.Expect(w.List(w.ctx, &list, client.InNamespace(w.ns))).To(Succeed())
		var seen []string
		for i := range list.Items {
			e := &list.Items[i]
			if e.InvolvedObject.UID != o.GetUID() {
				continue
			}
			seen = append(seen, e.Type+" "+e.Reason+": "+e.Message)
			if e.Type == kind && e.Reason == reason && strings.Contains(e.Message, text) {
				found = e
				return
			}
		}
		g.Expect(seen).To(ContainElement(HavePrefix(kind+" "+reason)), "none with %q", text)
		g.Expect(seen).To(ContainElement(ContainSubstring(text)))
	}).WithTimeout(patience).WithPolling(100 * time.Millisecond).Should(Succeed())
	return found
}

func (w *world) configMap(name string) *corev1.ConfigMap {
	w.t.Helper()
	var c corev1.ConfigMap
	w.Expect(w.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: name}, &c)).To(Succeed())
	return &c
}

func (w *world) gone(o client.Object) {
	w.t.Helper()
	w.Eventually(w.ctx, func() bool {
		return apierrors.IsNotFound(w.Get(w.ctx, client.ObjectKeyFromObject(o), o))
	}).WithTimeout(patience).WithPolling(50 * time.Millisecond).Should(BeTrue())
}

func (w *world) secret(name string, data map[string]string) {
	w.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.ns}, StringData: data}
	w.Expect(w.Create(w.ctx, s)).To(Succeed())
}

// commit pushes to main what replaces the whole tree.
func (w *world) commit(message string, files map[string]string) gitserver.Hash {
	w.t.Helper()
	return w.repo.Commit("main", gitserver.Files(files), gitserver.CommitOptions{Message: message, Replace: true})
}

func configMap(name, value string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  value: %q\n", name, value)
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func (s *syncBuffer) tail(n int) string {
	text := s.String()
	if len(text) > n {
		text = text[len(text)-n:]
	}
	return text
}
