// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/gitops-kit/sdk/runtime/acl"
	"github.com/gitops-kit/sdk/runtime/client"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/features"
	"github.com/gitops-kit/sdk/runtime/logger"
	"github.com/gitops-kit/sdk/runtime/metrics"
	"github.com/gitops-kit/sdk/runtime/probes"
	"github.com/gitops-kit/sdk/runtime/web"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
	ctrlconfig "sigs.k8s.io/controller-runtime/pkg/client/config"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// process is what all controllers of the process share.
type process struct {
	boots    []*boot
	log      logr.Logger
	config   *rest.Config // fenced
	raw      *rest.Config
	scheme   *runtime.Scheme
	mgr      ctrl.Manager
	pool     *client.Pool
	recorder *events.Recorder
	metrics  *metrics.Recorder
	leases   *leases
	ready    *probes.Set
}

// newProcess makes everything that needs no started cache.
func newProcess(boots []*boot, own bool) (*process, error) {
	first := boots[0]
	lo := first.groups.log.Options()
	lo.Out = first.o.Stderr
	p := &process{boots: boots, log: logger.New(lo), leases: newLeases(first.groups.election.RenewDeadline), ready: &probes.Set{}}
	ctrl.SetLogger(p.log)
	if own {
		klog.SetLogger(p.log.WithName("klog"))
	}
	for _, b := range boots {
		p.log.Info("starting", "name", b.o.Name, "version", b.o.Version, "flags", b.effective(), "gates", b.gates.Snapshot())
	}
	var err error
	if p.raw = first.o.Config; p.raw == nil {
		if p.raw, err = ctrlconfig.GetConfig(); err != nil {
			return nil, fmt.Errorf("find the API server: %w", err)
		}
	}
	p.raw = rest.CopyConfig(p.raw)
	p.raw.UserAgent = first.o.Name + "/" + first.version()
	p.config = client.Fence(p.raw, p.leases.fence)
	p.config.QPS, p.config.Burst = first.groups.client.QPS, first.groups.client.Burst
	p.scheme = runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(p.scheme); err != nil {
		return nil, err
	}
	for _, b := range boots {
		if err := b.o.Scheme.AddToScheme(p.scheme); err != nil {
			return nil, fmt.Errorf("register types of %s: %w", b.o.Name, err)
		}
	}
	if p.metrics, err = metrics.New(ctrlmetrics.Registry, first.groups.metrics.Options()); err != nil {
		return nil, err
	}
	if p.mgr, err = p.manager(); err != nil {
		return nil, fmt.Errorf("make manager: %w", err)
	}
	if err := p.share(); err != nil {
		return nil, err
	}
	for _, b := range boots {
		if err := p.setup(b); err != nil {
			return nil, fmt.Errorf("set up %s: %w", b.o.Name, err)
		}
	}
	return p, nil
}

func (b *boot) version() string {
	if b.o.Version == "" {
		return "dev"
	}
	return b.o.Version
}

// manager makes the controller-runtime manager: cache, listeners, probes.
func (p *process) manager() (ctrl.Manager, error) {
	first := p.boots[0]
	grace := max(first.o.Grace-5*time.Second, first.o.Grace/2)
	mo := metricsserver.Options{BindAddress: first.groups.flags.MetricsAddr}
	if first.groups.flags.Pprof {
		mo.ExtraHandlers = web.DebugHandlers()
	}
	co := cache.Options{DefaultTransform: cache.TransformStripManagedFields(), ByObject: map[ctrlclient.Object]cache.ByObject{}}
	if !first.groups.watch.AllNamespaces {
		co.DefaultNamespaces = map[string]cache.Config{first.o.Namespace: {}}
	}
	for _, b := range p.boots {
		sel, err := labels.Parse(b.groups.watch.Selector)
		if err != nil {
			return nil, err
		}
		if sel.Empty() {
			continue
		}
		for _, k := range b.o.Kinds {
			co.ByObject[k] = cache.ByObject{Label: sel}
		}
	}
	cl := ctrlclient.Options{Cache: &ctrlclient.CacheOptions{}}
	if !first.gates.Enabled(features.CacheSecretsAndConfigMaps) {
		// Only metadata of what is labelled is cached; contents are read live.
		sel, err := labels.Parse(first.groups.watch.ConfigSelector)
		if err != nil {
			return nil, err
		}
		co.ByObject[&corev1.Secret{}] = cache.ByObject{Label: sel}
		co.ByObject[&corev1.ConfigMap{}] = cache.ByObject{Label: sel}
		cl.Cache.DisableFor = []ctrlclient.Object{&corev1.Secret{}, &corev1.ConfigMap{}, &corev1.ServiceAccount{}}
	}
	m, err := ctrl.NewManager(p.config, ctrl.Options{
		Scheme: p.scheme, Logger: p.log, Metrics: mo, HealthProbeBindAddress: first.groups.flags.HealthAddr,
		GracefulShutdownTimeout: &grace, Cache: co, Client: cl,
	})
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		m.AddHealthzCheck("healthz", checker(&probes.Set{})),
		m.AddReadyzCheck("readyz", checker(p.ready)),
	)
	return m, err
}

// share makes pool and event queue.
func (p *process) share() error {
	first := p.boots[0]
	var err error
	p.pool, err = client.NewPool(client.Options{
		Config: p.raw, Scheme: p.scheme, QPS: first.groups.client.QPS, Burst: first.groups.client.Burst, UserAgent: p.raw.UserAgent,
		Fence: p.leases.fence, OnHit: p.metrics.PoolHit, OnDiscovery: p.metrics.PoolDiscovery, OnSize: p.metrics.PoolSize,
	})
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = first.o.Name
	}
	sinks := []events.Sink{events.NewKubernetes(eventWriter{p.mgr.GetClient()})}
	if addr := p.eventsAddress(); addr != "" {
		h, err := events.NewHTTP(addr, events.HTTPOptions{TokenFile: events.TokenFile})
		if err != nil {
			return err
		}
		sinks = append(sinks, h)
	}
	p.recorder = events.New(events.Options{
		Controller: first.o.Name, Instance: host, Scheme: p.scheme, Sinks: sinks,
		Repeat: first.groups.events.Noop, Logger: p.log.WithName("events"), Observe: p.metrics.Event,
	})
	return errors.Join(p.mgr.Add(everyReplica(p.sweep)), p.mgr.Add(everyReplica(p.synced)))
}

// eventsAddress is the sink of the first controller that is an emitter.
func (p *process) eventsAddress() string {
	for _, b := range p.boots {
		prefixed := false
		for _, f := range b.o.Prefixed {
			prefixed = prefixed || f == "events-addr"
		}
		if !prefixed && b.groups.events.Address != "" {
			return b.groups.events.Address
		}
	}
	return ""
}

// setup calls a controller's Setup with its own kit.
func (p *process) setup(b *boot) error {
	m := &electedManager{Manager: p.mgr, lease: p.lease(b)}
	if m.lease != nil {
		if err := p.mgr.Add(m.lease); err != nil {
			return err
		}
	}
	return b.o.Setup(Kit{
		Manager: m, Client: p.mgr.GetClient(), APIReader: p.mgr.GetAPIReader(), Pool: p.pool, Events: p.recorder.For(b.o.Name),
		Metrics: p.metrics, Telemetry: b.o.Telemetry, Gates: b.gates, ACL: acl.New(p.labels(b), b.groups.acl.Options()),
		Jitter: b.groups.jitter.Interval(), Namespace: b.o.Namespace, Name: b.o.Name, Config: b.groups.config(b.o),
	})
}

// labels reads the labels of namespaces: from a metadata cache, or live when
// only one namespace is watched.
func (p *process) labels(b *boot) acl.Labels {
	return func(ctx context.Context, namespace string) (map[string]string, error) {
		ns := &metav1.PartialObjectMetadata{}
		ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
		var r ctrlclient.Reader = p.mgr.GetClient()
		if !b.groups.watch.AllNamespaces {
			r = p.mgr.GetAPIReader()
		}
		if err := r.Get(ctx, types.NamespacedName{Name: namespace}, ns); err != nil {
			return nil, err
		}
		return ns.Labels, nil
	}
}

// run runs everything until ctx is done.
func (p *process) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	p.leases.lost = cancel
	defer p.pool.Close()
	// Events are delivered until everything that emits has ended.
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	sent := make(chan struct{})
	go func() { defer close(sent); _ = p.recorder.Start(sending) }()
	err := p.mgr.Start(ctx)
	stop()
	<-sent
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// sweep evicts idle clients once a minute.
func (p *process) sweep(ctx context.Context) error {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			p.pool.Sweep()
		}
	}
}

// synced makes the process ready when the caches are.
func (p *process) synced(ctx context.Context) error {
	if !p.mgr.GetCache().WaitForCacheSync(ctx) {
		return nil
	}
	for _, b := range p.boots {
		if b.o.Ready != nil {
			b.o.Ready(ctx)
		}
	}
	return nil
}
