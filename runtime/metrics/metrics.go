// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Options of [New]. The zero value records no state.
type Options struct {
	// State also records conditions and suspension of every object.
	State bool
}

// Flags is the flag group of the package.
type Flags struct {
	// State is --state-metrics.
	State bool
}

// AddFlags registers the flags with their defaults.
func (f *Flags) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&f.State, "state-metrics", false, "Record the conditions and the suspension of every object as metrics, too.")
}

// Options returns the options of [New].
func (f *Flags) Options() Options { return Options{State: f.State} }

// Recorder holds the series. Use [New]. A nil Recorder records nothing.
type Recorder struct {
	state        bool
	duration     *prometheus.HistogramVec
	condition    *prometheus.GaugeVec
	suspended    *prometheus.GaugeVec
	tokenEvents  *prometheus.CounterVec
	tokenItems   prometheus.Gauge
	tokenReqs    *prometheus.CounterVec
	tokenEvicted prometheus.Counter
	cacheEvents  *prometheus.CounterVec
	inventory    *prometheus.GaugeVec
	step         *prometheus.HistogramVec
	queueWait    *prometheus.HistogramVec
	parked       *prometheus.GaugeVec
	statusWrites *prometheus.CounterVec
	events       *prometheus.CounterVec
	poolSize     prometheus.Gauge
	poolHits     prometheus.Counter
	poolDisc     prometheus.Counter
	panics       *prometheus.CounterVec
	decisions    *prometheus.CounterVec
}

// New registers the series with reg and returns a Recorder that feeds them. A
// nil reg returns a Recorder whose series nobody sees.
func New(reg prometheus.Registerer, o Options) (*Recorder, error) {
	b := &builder{reg: reg}
	object := []string{"kind", "name", "namespace"}
	r := &Recorder{
		state: o.State,
		duration: b.histogram("gotk_reconcile_duration_seconds", "The duration in seconds of a GitOps Toolkit resource reconciliation.",
			prometheus.ExponentialBucketsRange(0.01, 1800, 10), object...),
		condition: b.gauge("gotk_reconcile_condition", "The current condition status of a GitOps Toolkit resource reconciliation.",
			"kind", "name", "namespace", "type", "status"),
		suspended: b.gauge("gotk_suspend_status", "The current suspend status of a GitOps Toolkit resource.", object...),
		tokenEvents: b.counter("gotk_token_cache_events_total", "Total number of cache retrieval events for one object.",
			"event_type", "kind", "name", "namespace", "operation"),
		tokenReqs:   b.counter("gotk_token_cache_requests_total", "Total number of cache requests by status.", "status"),
		cacheEvents: b.counter("gotk_cache_events_total", "Total number of cache retrieval events for one object.", "event_type", "name", "namespace"),
		inventory:   b.gauge("gotk_inventory_bytes", "Size in bytes of the inventory of an object.", object...),
		step: b.histogram("gotk_reconcile_step_duration_seconds", "The duration in seconds of one step of a run.",
			prometheus.ExponentialBucketsRange(0.001, 1800, 10), "kind", "step"),
		queueWait: b.histogram("gotk_queue_wait_seconds", "The time in seconds that an object waited in the queue.",
			prometheus.ExponentialBucketsRange(0.001, 1800, 10), "kind", "class"),
		parked:       b.gauge("gotk_parked", "The number of runs that wait without a worker.", "kind"),
		statusWrites: b.counter("gotk_status_writes_total", "Total number of status writes by result.", "kind", "result"),
		events:       b.counter("gotk_events_total", "Total number of events by sink and result.", "sink", "result"),
		panics:       b.counter("gotk_panics_total", "Total number of recovered panics.", "kind"),
		decisions:    b.counter("gotk_ssa_decisions_total", "Total number of apply decisions.", "kind", "decision", "why"),
	}
	r.tokenItems = b.gauge("gotk_token_cached_items", "Total number of items in the cache.").WithLabelValues()
	r.tokenEvicted = b.counter("gotk_token_cache_evictions_total", "Total number of cache evictions.").WithLabelValues()
	r.poolSize = b.gauge("gotk_client_pool_size", "The number of clients in the pool.").WithLabelValues()
	r.poolHits = b.counter("gotk_client_pool_hits_total", "Total number of clients taken from the pool.").WithLabelValues()
	r.poolDisc = b.counter("gotk_client_pool_discovery_total", "Total number of discovery requests of the pool.").WithLabelValues()
	if b.err != nil {
		return nil, b.err
	}
	return r, nil
}

// builder registers series and keeps the first error.
type builder struct {
	reg prometheus.Registerer
	err error
}

func register[C prometheus.Collector](b *builder, name string, c C) C {
	if b.reg == nil {
		return c
	}
	err := b.reg.Register(c)
	var have prometheus.AlreadyRegisteredError
	if errors.As(err, &have) {
		if same, ok := have.ExistingCollector.(C); ok {
			return same
		}
	}
	if err != nil && b.err == nil {
		b.err = fmt.Errorf("register %s: %w", name, err)
	}
	return c
}

func (b *builder) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return register(b, name, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels))
}

func (b *builder) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return register(b, name, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))
}

func (b *builder) counter(name, help string, labels ...string) *prometheus.CounterVec {
	return register(b, name, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

// Reconcile records the duration of a run.
func (r *Recorder) Reconcile(kind, namespace, name string, d time.Duration) {
	if r != nil {
		r.duration.WithLabelValues(kind, name, namespace).Observe(d.Seconds())
	}
}

// What State records.
var (
	stateTypes    = [...]string{"Ready", "Reconciling", "Stalled", "Healthy"}                                         //nolint:gochecknoglobals // never written
	stateStatuses = [...]metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown} //nolint:gochecknoglobals // never written
)

// State records conditions and suspension of an object, if the options say so.
func (r *Recorder) State(kind, namespace, name string, conditions []metav1.Condition, suspended bool) {
	if r == nil || !r.state {
		return
	}
	for _, typ := range stateTypes {
		now := metav1.ConditionUnknown
		for _, c := range conditions {
			if c.Type == typ {
				now = c.Status
			}
		}
		for _, s := range stateStatuses {
			r.condition.WithLabelValues(kind, name, namespace, typ, string(s)).Set(bit(s == now))
		}
	}
	r.suspended.WithLabelValues(kind, name, namespace).Set(bit(suspended))
}

// Delete removes all series of an object.
func (r *Recorder) Delete(kind, namespace, name string) {
	if r == nil {
		return
	}
	// By all labels where they are known: a partial match walks every series.
	r.duration.DeleteLabelValues(kind, name, namespace)
	r.inventory.DeleteLabelValues(kind, name, namespace)
	if r.state {
		r.suspended.DeleteLabelValues(kind, name, namespace)
		for _, typ := range stateTypes {
			for _, status := range stateStatuses {
				r.condition.DeleteLabelValues(kind, name, namespace, typ, string(status))
			}
		}
	}
	r.tokenEvents.DeletePartialMatch(prometheus.Labels{"kind": kind, "name": name, "namespace": namespace})
}

// DeleteCache removes the cache series of an object; they have no kind.
func (r *Recorder) DeleteCache(namespace, name string) {
	if r != nil {
		r.cacheEvents.DeletePartialMatch(prometheus.Labels{"name": name, "namespace": namespace})
	}
}

// Step records the duration of one step.
func (r *Recorder) Step(kind, step string, d time.Duration) {
	if r != nil {
		r.step.WithLabelValues(kind, step).Observe(d.Seconds())
	}
}

// QueueWait records how long an object waited in the queue.
func (r *Recorder) QueueWait(kind, class string, d time.Duration) {
	if r != nil {
		r.queueWait.WithLabelValues(kind, class).Observe(d.Seconds())
	}
}

// Parked changes the number of parked runs.
func (r *Recorder) Parked(kind string, delta int) {
	if r != nil {
		r.parked.WithLabelValues(kind).Add(float64(delta))
	}
}

// StatusWrite counts a status write: written, conflict, failed.
func (r *Recorder) StatusWrite(kind, result string) {
	if r != nil {
		r.statusWrites.WithLabelValues(kind, result).Inc()
	}
}

// Event counts what became of an event; its signature is that of the events
// package's Observe.
func (r *Recorder) Event(sink, result string) {
	if r != nil {
		r.events.WithLabelValues(sink, result).Inc()
	}
}

// Panic counts a recovered panic.
func (r *Recorder) Panic(kind string) {
	if r != nil {
		r.panics.WithLabelValues(kind).Inc()
	}
}

// PoolSize records the number of pooled clients.
func (r *Recorder) PoolSize(n int) {
	if r != nil {
		r.poolSize.Set(float64(n))
	}
}

// PoolHit counts a client taken from the pool.
func (r *Recorder) PoolHit() {
	if r != nil {
		r.poolHits.Inc()
	}
}

// PoolDiscovery counts a discovery request of the pool.
func (r *Recorder) PoolDiscovery() {
	if r != nil {
		r.poolDisc.Inc()
	}
}

// Decision counts an apply decision about an object of kind.
func (r *Recorder) Decision(kind, decision, why string) {
	if r != nil {
		r.decisions.WithLabelValues(kind, decision, why).Inc()
	}
}

// TokenCacheEvent counts a cache_hit or cache_miss for an object.
func (r *Recorder) TokenCacheEvent(event, kind, namespace, name, operation string) {
	if r != nil {
		r.tokenEvents.WithLabelValues(event, kind, name, namespace, operation).Inc()
	}
}

// TokenCacheItems records the number of cached tokens.
func (r *Recorder) TokenCacheItems(n int) {
	if r != nil {
		r.tokenItems.Set(float64(n))
	}
}

// TokenCacheRequest counts a request by status: success or failure.
func (r *Recorder) TokenCacheRequest(status string) {
	if r != nil {
		r.tokenReqs.WithLabelValues(status).Inc()
	}
}

// TokenCacheEviction counts an eviction.
func (r *Recorder) TokenCacheEviction() {
	if r != nil {
		r.tokenEvicted.Inc()
	}
}

// CacheEvent counts a cache_hit or cache_miss of an index.
func (r *Recorder) CacheEvent(event, namespace, name string) {
	if r != nil {
		r.cacheEvents.WithLabelValues(event, name, namespace).Inc()
	}
}

// InventoryBytes records the size of an object's inventory.
func (r *Recorder) InventoryBytes(kind, namespace, name string, n int) {
	if r != nil {
		r.inventory.WithLabelValues(kind, name, namespace).Set(float64(n))
	}
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
