// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/runtime/conditions/check"
	"github.com/gitops-kit/sdk/runtime/internal/testapi"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/testserver/kube"
	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

const crd = "../internal/testapi/crd.yaml"

// world is a real API server with a manager that runs one author.
type world struct {
	c  client.WithWatch
	ns string
}

// start runs a manager with the author until the test ends.
func start(t *testing.T, a reconcile.Reconciler[*app], o reconcile.Options[*app], wrap func(client.WithWatch) client.Client) *world {
	t.Helper()
	g := NewWithT(t)
	cl := kube.Start(t, kube.Options{CRDs: []string{crd}})
	s := runtime.NewScheme()
	g.Expect(testapi.AddToScheme(s)).To(Succeed())
	w := &world{ns: cl.Namespace(t)}
	var err error
	w.c, err = client.NewWithWatch(cl.Config(), client.Options{Scheme: s})
	g.Expect(err).NotTo(HaveOccurred())
	skip := true
	m, err := ctrl.NewManager(cl.Config(), ctrl.Options{
		Scheme: s, Logger: logr.Discard(), Metrics: metricsserver.Options{BindAddress: "0"},
		Cache: cache.Options{DefaultNamespaces: map[string]cache.Config{w.ns: {}}}, Controller: config.Controller{SkipNameValidation: &skip},
	})
	g.Expect(err).NotTo(HaveOccurred())
	k := reconcile.Kit{Manager: m, Client: m.GetClient(), APIReader: m.GetAPIReader(), Name: "test-controller"}
	if wrap != nil {
		k.Client = cached{wrap(w.c), m.GetClient()}
	}
	g.Expect(reconcile.Setup(k, a, o)).To(Succeed())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		g.Expect(<-done).To(Succeed())
	})
	return w
}

// cached reads from a cache and writes through another client.
type cached struct {
	client.Client
	reader client.Reader
}

func (c cached) Get(ctx context.Context, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
	return c.reader.Get(ctx, key, o, opts...)
}

// saboteur makes status writes conflict, or loses their replies.
func saboteur(c client.WithWatch) client.Client {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(7, 7))
	return interceptor.NewClient(c, interceptor.Funcs{
		SubResourcePatch: func(ctx context.Context, inner client.Client, sub string, o client.Object, p client.Patch, opts ...client.SubResourcePatchOption) error {
			mu.Lock()
			dice := r.IntN(4)
			mu.Unlock()
			switch dice {
			case 0: // somebody else writes first
				other := &app{ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName()}}
				touch := fmt.Sprintf(`{"metadata":{"annotations":{"touched":"%d"}}}`, r.Uint64())
				if err := inner.Patch(ctx, other, client.RawPatch(types.MergePatchType, []byte(touch))); err != nil {
					return err
				}
			case 1: // the reply is lost
				if err := inner.SubResource(sub).Patch(ctx, o.DeepCopyObject().(client.Object), p, opts...); err != nil {
					return err
				}
				return io.ErrUnexpectedEOF
			}
			return inner.SubResource(sub).Patch(ctx, o, p, opts...)
		},
	})
}

// RT-20, RT-21, WIRE-21: no reader ever sees Ready, an observed generation or a
// handled token together with the artifact of an earlier run.
func TestStatusIsNeverTorn(t *testing.T) {
	g := NewWithT(t)
	changes := 500
	if testing.Short() {
		changes = 50
	}
	author := &author{run: func(_ context.Context, o *app) (reconcile.Result, error) {
		o.Status.Artifact = &meta.Artifact{Path: "p", URL: "http://x", Revision: o.Spec.Text, Digest: "sha256:x", LastUpdateTime: metav1.Now()}
		o.Status.Revision, o.Status.Applied = o.Spec.Text, o.Spec.Text
		return reconcile.Success("stored artifact for revision '%s'", o.Spec.Text), nil
	}}
	w := start(t, author, reconcile.Options[*app]{}, saboteur)
	events, err := w.c.Watch(t.Context(), &testapi.AppList{}, client.InNamespace(w.ns))
	g.Expect(err).NotTo(HaveOccurred())
	defer events.Stop()
	texts := map[int64]string{} // by generation
	var mu sync.Mutex
	var torn []string
	seen, last := 0, int64(0)
	var status testapi.AppStatus
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		for e := range events.ResultChan() {
			o, ok := e.Object.(*app)
			if !ok {
				continue
			}
			mu.Lock()
			texts[o.Generation] = o.Spec.Text
			seen++
			want := texts[o.Status.ObservedGeneration]
			if conditions.IsReady(o) && (o.Status.Revision != want || o.Status.Applied != want || !o.Status.Artifact.HasRevision(want)) {
				torn = append(torn, fmt.Sprintf("version %s: generation %d observed %d revision %s want %s", o.ResourceVersion, o.Generation,
					o.Status.ObservedGeneration, o.Status.Revision, want))
			}
			if token := o.Status.LastHandledReconcileAt; token != "" && token > o.Status.Revision {
				torn = append(torn, fmt.Sprintf("version %s: token %s with revision %s", o.ResourceVersion, token, o.Status.Revision))
			}
			if !reflect.DeepEqual(o.Status, status) { // a version that the controller wrote
				for _, f := range check.Errors(check.Object(o)) {
					torn = append(torn, o.ResourceVersion+" "+f.String())
				}
			}
			status = o.Status
			last = o.Status.ObservedGeneration
			mu.Unlock()
		}
	}()
	o := &app{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "app"},
		Spec:       testapi.AppSpec{Interval: meta.Duration{Duration: time.Hour}, Text: "r00000"},
	}
	g.Expect(w.c.Create(t.Context(), o)).To(Succeed())
	for i := range changes {
		text := fmt.Sprintf("r%05d", i+1)
		body := fmt.Sprintf(`{"metadata":{"annotations":{"%s":"%s"}},"spec":{"text":"%s"}}`, meta.ReconcileRequestAnnotation, text, text)
		g.Expect(w.c.Patch(t.Context(), o, client.RawPatch(types.MergePatchType, []byte(body)))).To(Succeed())
	}
	g.Eventually(func() int64 {
		mu.Lock()
		defer mu.Unlock()
		return last
	}, 2*time.Minute, 50*time.Millisecond).Should(Equal(o.Generation))
	events.Stop()
	<-finished
	g.Expect(torn).To(BeEmpty())
	g.Expect(seen).To(BeNumerically(">", changes), "every version was looked at")
	got := &app{}
	g.Expect(w.c.Get(t.Context(), client.ObjectKeyFromObject(o), got)).To(Succeed())
	g.Expect(conditions.IsReady(got)).To(BeTrue())
	g.Expect(got.Finalizers).To(Equal([]string{meta.Finalizer}))
}
