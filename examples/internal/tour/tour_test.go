// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tour_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/gitops-kit/sdk/examples/internal/tour"
	"github.com/gitops-kit/sdk/testserver/kube"
)

const patience = time.Minute

func TestMain(m *testing.M) {
	log.SetLogger(logr.Discard()) // of the clients, as the demo does
	os.Exit(m.Run())
}

// The whole loop, end to end: every step of the demo verifies what it shows.
// WIRE-16, KUS-4, KUS-20
func TestTour(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane")
	}
	before := demoDirs(t)
	t.Run("both", func(t *testing.T) { // ends when its parallel tests have ended
		t.Run("own control plane", func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			out := &output{}
			err := tour.Run(t.Context(), tour.Options{Out: out})
			t.Log(out.String())
			g.Expect(err).NotTo(HaveOccurred())
			verified(g, out.String())
			g.Expect(out.String()).To(ContainSubstring("kubectl --kubeconfig "))
		})
		t.Run("existing cluster, kept", func(t *testing.T) {
			t.Parallel()
			onExistingCluster(t)
		})
	})
	NewWithT(t).Expect(demoDirs(t)).To(Equal(before), "nothing is left behind")
}

func verified(g *WithT, text string) {
	for _, line := range []string{
		"commit found", "artifact stored", "planned and applied", "HorizontalPodAutoscaler", "rollout healthy",
		"drift corrected", "refused", "nothing changed", "healthy again", "pruned", "the rest untouched", "Timeline",
	} {
		g.Expect(text).To(ContainSubstring(line))
	}
	g.Expect(text).NotTo(ContainSubstring("\x1b"), "plain output when not a terminal")
}

// onExistingCluster runs the tour as KUBECONFIG=… make demo KEEP=1 does, looks
// around while it stays up, and checks that nothing remains in the cluster.
func onExistingCluster(t *testing.T) {
	t.Helper()
	g := NewWithT(t)
	cluster := kube.Start(t, kube.Options{Components: kube.Full})
	file := filepath.Join(t.TempDir(), "kubeconfig")
	g.Expect(os.WriteFile(file, cluster.Kubeconfig(), 0o600)).To(Succeed())
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out, ended := &output{}, make(chan error, 1)
	go func() {
		// A list of files, as KUBECONFIG may be; one of them is missing.
		ended <- tour.Run(ctx, tour.Options{Out: out, Keep: true, Kubeconfig: file + string(filepath.ListSeparator) + file + ".missing"})
	}()
	g.Eventually(ctx, func() string {
		select {
		case err := <-ended:
			ended <- err
			StopTrying("the tour ended: " + out.String()).Now()
		default:
		}
		return out.String()
	}).WithTimeout(8 * time.Minute).WithPolling(100 * time.Millisecond).Should(ContainSubstring("manager log: "))
	verified(g, out.String())

	c, err := client.New(cluster.Config(), client.Options{Scheme: clientgoscheme.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.Get(ctx, types.NamespacedName{Namespace: "shop-production", Name: "frontend"}, &appsv1.Deployment{})).To(Succeed(), "it stays up")
	interrupt()
	var end error
	g.Eventually(t.Context(), ended).WithTimeout(3 * patience).Should(Receive(&end))
	g.Expect(end).NotTo(HaveOccurred(), "an interrupted tour that verified everything succeeded")
	for _, name := range []string{"gitops-demo", "shop-production"} {
		g.Eventually(t.Context(), func() bool {
			return apierrors.IsNotFound(c.Get(t.Context(), types.NamespacedName{Name: name}, &corev1.Namespace{}))
		}).WithTimeout(patience).Should(BeTrue(), name)
	}
	crd := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"}}
	g.Eventually(t.Context(), func() bool {
		return apierrors.IsNotFound(c.Get(t.Context(), types.NamespacedName{Name: "kustomizations.kustomize.toolkit.fluxcd.io"}, crd))
	}).WithTimeout(patience).Should(BeTrue(), "definitions that the tour created are gone")
}

// A tour that cannot be verified is an error, and leaves nothing behind.
func TestNoCluster(t *testing.T) {
	g := NewWithT(t)
	before := demoDirs(t)
	out := &output{}
	err := tour.Run(t.Context(), tour.Options{Out: out, Kubeconfig: filepath.Join(t.TempDir(), "missing")})
	g.Expect(err).To(MatchError(ContainSubstring("Starting: control plane: ")))
	g.Expect(out.String()).NotTo(ContainSubstring("verified"))
	g.Expect(demoDirs(t)).To(Equal(before))
}

// A namespace that the demo did not create is neither used nor removed.
func TestNamespaceTaken(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane")
	}
	g := NewWithT(t)
	cluster := kube.Start(t, kube.Options{Components: kube.Full})
	file := filepath.Join(t.TempDir(), "kubeconfig")
	g.Expect(os.WriteFile(file, cluster.Kubeconfig(), 0o600)).To(Succeed())
	c, err := client.New(cluster.Config(), client.Options{Scheme: clientgoscheme.Scheme})
	g.Expect(err).NotTo(HaveOccurred())
	taken := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "gitops-demo"}}
	g.Expect(c.Create(t.Context(), taken)).To(Succeed())
	t.Cleanup(func() { g.Expect(c.Delete(context.Background(), taken)).To(Succeed()) })
	out := &output{}
	err = tour.Run(t.Context(), tour.Options{Out: out, Kubeconfig: file})
	g.Expect(err).To(MatchError(ContainSubstring("namespace gitops-demo exists")))
	live := &corev1.Namespace{}
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(taken), live)).To(Succeed())
	g.Expect(live.UID).To(Equal(taken.UID))
	g.Expect(live.DeletionTimestamp).To(BeNil())
}

func demoDirs(t *testing.T) int {
	t.Helper()
	g := NewWithT(t)
	entries, err := os.ReadDir(os.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	n := 0
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "gitops-kit-demo-") {
			n++
		}
	}
	return n
}

// output is a buffer that is read while the tour writes.
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
