// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"net/netip"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/runtime/acl"
	"github.com/gitops-kit/sdk/runtime/client"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/features"
	"github.com/gitops-kit/sdk/runtime/jitter"
	"github.com/gitops-kit/sdk/runtime/kubeconfig"
	"github.com/gitops-kit/sdk/runtime/metrics"
	"github.com/gitops-kit/sdk/runtime/secrets"
	"github.com/gitops-kit/sdk/runtime/telemetry"
	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// Object is a reconciled object: a pointer to an API type with conditions. It
// may also have any of the methods ObservedGeneration() *int64,
// HandledRequest() *string, Suspended() bool, RequeueInterval() meta.Duration,
// RetryInterval() meta.Duration.
type Object interface {
	ctrlclient.Object
	GetConditions() []metav1.Condition
	SetConditions([]metav1.Condition)
}

// Reconciler does the work of one kind. Reconcile must be idempotent, must not
// write the object, and must return soon after ctx is done.
type Reconciler[T Object] interface {
	Reconcile(ctx context.Context, obj T) (Result, error)
}

// Finalizer is the optional part of a [Reconciler] that cleans up after a
// deleted object. The finalizer is removed when it returns no error and the
// result is not parked.
type Finalizer[T Object] interface {
	Finalize(ctx context.Context, obj T) (Result, error)
}

// Kit is what a controller's Setup gets.
type Kit struct {
	// Manager runs the controllers.
	Manager ctrl.Manager
	// Client reads from the cache and writes to the API server.
	Client ctrlclient.Client
	// APIReader reads from the API server.
	APIReader ctrlclient.Reader
	// Pool has clients of other identities and clusters.
	Pool *client.Pool
	// Events emits events as this controller.
	Events *events.Recorder
	// Metrics records series; nil records nothing.
	Metrics *metrics.Recorder
	// Telemetry starts spans.
	Telemetry telemetry.Hook
	// Gates are the feature gates.
	Gates features.Set
	// ACL decides about references to other namespaces.
	ACL *acl.Checker
	// Jitter is applied to requeue intervals.
	Jitter jitter.Interval
	// Namespace and Name are those of the controller.
	Namespace, Name string
	// Config holds the values of the flags.
	Config Config
}

// Config holds the values of flags that several packages need. Its zero value
// has the documented defaults where one is named.
type Config struct {
	// Concurrent is the number of workers per kind; 0 is 4.
	Concurrent int
	// RequeueDependency is the delay after [Waiting]; 0 is 30 s.
	RequeueDependency time.Duration
	// MinRetryDelay and MaxRetryDelay bound the exponential delay after a
	// transient error; 0 is 750 ms and 15 min.
	MinRetryDelay, MaxRetryDelay time.Duration
	// StatusFlushInterval is how often counters of runs without change reach the
	// status; 0 is every run.
	StatusFlushInterval time.Duration
	// NoopEvents also emits events of runs that changed nothing.
	NoopEvents bool
	// DefaultServiceAccount is impersonated when an object names none.
	DefaultServiceAccount string
	// MultiTenant is true under the multi-tenant security profile.
	MultiTenant bool
	// NoCrossNamespaceRefs and EnableSourceACL are those of the ACL checker.
	NoCrossNamespaceRefs, EnableSourceACL bool
	// AllowHTTP allows plain HTTP.
	AllowHTTP bool
	// AllowCIDR and DenyCIDR are the exceptions of the dial policy.
	AllowCIDR, DenyCIDR []netip.Prefix
	// HTTPCredentials says where credentials may go over plain HTTP: cluster,
	// never, always.
	HTTPCredentials string
	// ProxyFromEnvironment uses the proxy variables of the environment.
	ProxyFromEnvironment bool
	// TokenCacheSize and TokenCacheDuration bound the cache of tokens.
	TokenCacheSize     int
	TokenCacheDuration time.Duration
	// Kubeconfig are the options for kubeconfigs of other clusters.
	Kubeconfig kubeconfig.Options
	// WatchAllNamespaces is false when only the own namespace is watched.
	WatchAllNamespaces bool
	// WatchLabelSelector selects the own objects of this shard.
	WatchLabelSelector string
	// WatchConfigsSelector selects the Secrets and ConfigMaps that are watched.
	WatchConfigsSelector string
	// GracePeriod is how long a run may go on after SIGTERM.
	GracePeriod time.Duration
}

// Flags is the flag group of the package.
type Flags struct {
	// MinRetryDelay is --min-retry-delay.
	MinRetryDelay time.Duration
	// MaxRetryDelay is --max-retry-delay.
	MaxRetryDelay time.Duration
	// StatusFlushInterval is --status-flush-interval.
	StatusFlushInterval time.Duration
}

// AddFlags registers the flags with their defaults.
func (f *Flags) AddFlags(fs *pflag.FlagSet) {
	fs.DurationVar(&f.MinRetryDelay, "min-retry-delay", minRetryDelay,
		"The minimum amount of time for which an object being reconciled will have to wait before a retry.")
	fs.DurationVar(&f.MaxRetryDelay, "max-retry-delay", maxRetryDelay,
		"The maximum amount of time for which an object being reconciled will have to wait before a retry.")
	fs.DurationVar(&f.StatusFlushInterval, "status-flush-interval", time.Hour,
		"How often counters of runs that changed nothing are written to the status; 0 writes them with every run.")
}

// optional abilities of an Object.
type (
	observed  interface{ ObservedGeneration() *int64 }
	requested interface{ HandledRequest() *string }
	suspender interface{ Suspended() bool }
	interval  interface{ RequeueInterval() meta.Duration }
	retrier   interface{ RetryInterval() meta.Duration }
	bounded   interface {
		DurationBounds() map[string]meta.DurationBounds
	}
)

func suspended(o any) bool {
	s, ok := o.(suspender)
	return ok && s.Suspended()
}

// handledField returns the place of the handled token, nil when the kind has none.
func handledField(o any) *string {
	if r, ok := o.(requested); ok {
		return r.HandledRequest()
	}
	return nil
}

func observedField(o any) *int64 {
	if r, ok := o.(observed); ok {
		return r.ObservedGeneration()
	}
	return nil
}

// pending returns the request token that has not been handled.
func pending(o ctrlclient.Object) (string, bool) {
	token, ok := meta.ReconcileRequested(o.GetAnnotations())
	handled := handledField(o)
	if !ok || handled == nil || *handled == token {
		return "", false
	}
	return token, true
}

// Secrets returns a reader of Secrets for one run about an object of namespace.
// Secrets are read from the API server, unless the process caches them.
func (k Kit) Secrets(namespace string) *secrets.Reader {
	s := client.NewSecrets(k.Client)
	return secrets.NewReader(secrets.Options{Source: s.Get, PullSecrets: s.PullSecrets, Namespace: namespace})
}
