// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/gitops-kit/sdk/runtime/acl"
	"github.com/gitops-kit/sdk/runtime/client"
	"github.com/gitops-kit/sdk/runtime/configwatch"
	"github.com/gitops-kit/sdk/runtime/events"
	"github.com/gitops-kit/sdk/runtime/features"
	"github.com/gitops-kit/sdk/runtime/internal/redact"
	"github.com/gitops-kit/sdk/runtime/jitter"
	"github.com/gitops-kit/sdk/runtime/kubeconfig"
	"github.com/gitops-kit/sdk/runtime/logger"
	"github.com/gitops-kit/sdk/runtime/metrics"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/spf13/pflag"
)

// FlagGroup is a set of flags that belong together. A group may also have
// Validate() error.
type FlagGroup interface {
	AddFlags(fs *pflag.FlagSet)
}

// Flags are the addresses and the size of a process.
type Flags struct {
	// MetricsAddr is --metrics-addr.
	MetricsAddr string
	// HealthAddr is --health-addr.
	HealthAddr string
	// Concurrent is --concurrent.
	Concurrent int
	// RequeueDependency is --requeue-dependency.
	RequeueDependency time.Duration
	// Pprof is --pprof.
	Pprof bool
	// Controllers is --controllers.
	Controllers []string
}

// AddFlags registers the flags with their defaults.
func (f *Flags) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.MetricsAddr, "metrics-addr", ":8080", "The address the metric endpoint binds to.")
	fs.StringVar(&f.HealthAddr, "health-addr", ":9440", "The address the health endpoint binds to.")
	fs.IntVar(&f.Concurrent, "concurrent", 4, "The number of concurrent reconciles per controller.")
	fs.DurationVar(&f.RequeueDependency, "requeue-dependency", 30*time.Second, "The interval at which failing dependencies are reevaluated.")
	fs.BoolVar(&f.Pprof, "pprof", true, "Serve profiles under /debug/pprof/ on the metrics address.")
	fs.StringSliceVar(&f.Controllers, "controllers", nil, "The controllers to run in this process; all of the program when empty.")
}

// Validate checks the numbers.
func (f *Flags) Validate() error {
	if f.Concurrent < 1 {
		return fmt.Errorf("concurrent %d: must be at least 1", f.Concurrent)
	}
	if f.RequeueDependency <= 0 {
		return fmt.Errorf("requeue dependency %s: must be positive", f.RequeueDependency)
	}
	return nil
}

// LeaderElection are the flags of the lease.
type LeaderElection struct {
	// Enable is --enable-leader-election.
	Enable bool
	// ReleaseOnCancel is --leader-election-release-on-cancel.
	ReleaseOnCancel bool
	// LeaseDuration is --leader-election-lease-duration.
	LeaseDuration time.Duration
	// RenewDeadline is --leader-election-renew-deadline.
	RenewDeadline time.Duration
	// RetryPeriod is --leader-election-retry-period.
	RetryPeriod time.Duration
}

// AddFlags registers the flags with their defaults.
func (f *LeaderElection) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&f.Enable, "enable-leader-election", false,
		"Enable leader election for controller manager. Enabling this will ensure there is only one active controller manager.")
	fs.BoolVar(&f.ReleaseOnCancel, "leader-election-release-on-cancel", true,
		"Defines if the leader should step down voluntarily on controller manager shutdown.")
	fs.DurationVar(&f.LeaseDuration, "leader-election-lease-duration", 35*time.Second,
		"Interval at which non-leader candidates will wait to force acquire leadership.")
	fs.DurationVar(&f.RenewDeadline, "leader-election-renew-deadline", 30*time.Second,
		"Duration that the leading controller manager will retry refreshing leadership before giving up.")
	fs.DurationVar(&f.RetryPeriod, "leader-election-retry-period", 5*time.Second,
		"Duration the LeaderElector clients should wait between tries of actions.")
}

// Validate checks that the durations are in order.
func (f *LeaderElection) Validate() error {
	if !f.Enable {
		return nil
	}
	if f.LeaseDuration <= f.RenewDeadline || f.RenewDeadline <= f.RetryPeriod*6/5 || f.RetryPeriod <= 0 {
		return errors.New("leader election: want lease duration > renew deadline > 1.2 × retry period > 0")
	}
	return nil
}

// Network are the flags of the outbound policy.
type Network struct {
	// AllowHTTP is --insecure-allow-http.
	AllowHTTP bool
	// AllowCIDR and DenyCIDR are --allow-cidr and --deny-cidr.
	AllowCIDR, DenyCIDR []string
	// HTTPCredentials is --http-credentials: cluster, never, always.
	HTTPCredentials string
	// ProxyFromEnvironment is --proxy-from-environment.
	ProxyFromEnvironment bool
}

// AddFlags registers the flags with their defaults.
func (f *Network) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&f.AllowHTTP, "insecure-allow-http", true, "Allow insecure HTTP connections.")
	fs.StringSliceVar(&f.AllowCIDR, "allow-cidr", nil, "Address ranges that may be connected to although the dial policy refuses them.")
	fs.StringSliceVar(&f.DenyCIDR, "deny-cidr", nil, "Address ranges that are never connected to.")
	fs.StringVar(&f.HTTPCredentials, "http-credentials", "cluster",
		"Where credentials may be sent over plain HTTP, one of: cluster, never, always.")
	fs.BoolVar(&f.ProxyFromEnvironment, "proxy-from-environment", true, "Use the proxy variables of the environment.")
}

// Validate checks ranges and, without plain HTTP, the proxy variables.
func (f *Network) Validate() error {
	var errs []error
	for _, list := range [][]string{f.AllowCIDR, f.DenyCIDR} {
		if _, err := prefixes(list); err != nil {
			errs = append(errs, err)
		}
	}
	switch f.HTTPCredentials {
	case "cluster", "never", "always":
	default:
		errs = append(errs, fmt.Errorf("http credentials %q: want cluster, never or always", f.HTTPCredentials))
	}
	if !f.AllowHTTP {
		for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
			if u, err := url.Parse(os.Getenv(name)); err == nil && u.Scheme == "http" {
				errs = append(errs, fmt.Errorf("%s %q: insecure HTTP is not allowed", name, redact.URL(u.String())))
			}
		}
	}
	return errors.Join(errs...)
}

func prefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("address range %q: want <address>/<bits>", s)
		}
		out = append(out, p)
	}
	return out, nil
}

// TokenCache are the flags of the token cache.
type TokenCache struct {
	// MaxSize is --token-cache-max-size.
	MaxSize int
	// MaxDuration is --token-cache-max-duration.
	MaxDuration time.Duration
}

// AddFlags registers the flags with their defaults.
func (f *TokenCache) AddFlags(fs *pflag.FlagSet) {
	fs.IntVar(&f.MaxSize, "token-cache-max-size", 100, "The maximum size of the cache in number of tokens; 0 disables it.")
	fs.DurationVar(&f.MaxDuration, "token-cache-max-duration", time.Hour, "The maximum duration a token is cached.")
}

// Validate checks the numbers.
func (f *TokenCache) Validate() error {
	if f.MaxSize < 0 || f.MaxDuration < 0 {
		return errors.New("token cache: size and duration must not be negative")
	}
	return nil
}

// groups are the flag groups of one controller.
type groups struct {
	flags    *Flags
	events   *events.Flags
	client   *client.Flags
	kube     *kubeconfig.Flags
	log      *logger.Flags
	election *LeaderElection
	retry    *reconcile.Flags
	jitter   *jitter.Flags
	watch    *configwatch.Flags
	acl      *acl.Flags
	gates    *features.Flags
	metrics  *metrics.Flags
	network  *Network
	tokens   *TokenCache
}

// newGroups returns the groups: those of list where it has one of the type.
func newGroups(list []FlagGroup) *groups {
	g := &groups{
		&Flags{}, &events.Flags{}, &client.Flags{}, &kubeconfig.Flags{}, &logger.Flags{}, &LeaderElection{}, &reconcile.Flags{},
		&jitter.Flags{}, &configwatch.Flags{}, &acl.Flags{}, &features.Flags{}, &metrics.Flags{}, &Network{}, &TokenCache{},
	}
	for _, x := range list {
		switch f := x.(type) {
		case *Flags:
			g.flags = f
		case *events.Flags:
			g.events = f
		case *client.Flags:
			g.client = f
		case *kubeconfig.Flags:
			g.kube = f
		case *logger.Flags:
			g.log = f
		case *LeaderElection:
			g.election = f
		case *reconcile.Flags:
			g.retry = f
		case *jitter.Flags:
			g.jitter = f
		case *configwatch.Flags:
			g.watch = f
		case *acl.Flags:
			g.acl = f
		case *features.Flags:
			g.gates = f
		case *metrics.Flags:
			g.metrics = f
		case *Network:
			g.network = f
		case *TokenCache:
			g.tokens = f
		}
	}
	return g
}

// all lists the groups.
func (g *groups) all() []FlagGroup {
	return []FlagGroup{
		g.flags, g.events, g.client, g.kube, g.log, g.election, g.retry, g.jitter, g.watch, g.acl, g.gates, g.metrics,
		g.network, g.tokens,
	}
}

// register adds the flags of list, all when it is nil, and sets the defaults of
// the groups that are not in it.
func (g *groups) register(fs *pflag.FlagSet, list []FlagGroup) {
	hidden := pflag.NewFlagSet("", pflag.ContinueOnError)
	for _, x := range g.all() {
		if list == nil || contains(list, x) {
			x.AddFlags(fs)
			continue
		}
		x.AddFlags(hidden)
	}
	for _, x := range list {
		if !contains(g.all(), x) {
			x.AddFlags(fs)
		}
	}
}

func contains(list []FlagGroup, x FlagGroup) bool {
	for _, y := range list {
		if x == y {
			return true
		}
	}
	return false
}

// config collects the values that packages below need.
func (g *groups) config(o Options) reconcile.Config {
	allow, _ := prefixes(g.network.AllowCIDR) // validated
	deny, _ := prefixes(g.network.DenyCIDR)   // validated
	return reconcile.Config{
		Concurrent: g.flags.Concurrent, RequeueDependency: g.flags.RequeueDependency,
		MinRetryDelay: g.retry.MinRetryDelay, MaxRetryDelay: g.retry.MaxRetryDelay, StatusFlushInterval: g.retry.StatusFlushInterval,
		NoopEvents: g.events.Noop, DefaultServiceAccount: g.client.DefaultServiceAccount, MultiTenant: g.acl.Profile == acl.MultiTenant,
		NoCrossNamespaceRefs: g.acl.NoCrossNamespaceRefs, EnableSourceACL: g.acl.EnableSourceACL,
		AllowHTTP: g.network.AllowHTTP, AllowCIDR: allow, DenyCIDR: deny, HTTPCredentials: g.network.HTTPCredentials,
		ProxyFromEnvironment: g.network.ProxyFromEnvironment, TokenCacheSize: g.tokens.MaxSize, TokenCacheDuration: g.tokens.MaxDuration,
		Kubeconfig: g.kube.Options(), WatchAllNamespaces: g.watch.AllNamespaces, WatchLabelSelector: g.watch.Selector,
		WatchConfigsSelector: g.watch.ConfigSelector, GracePeriod: o.Grace,
	}
}
