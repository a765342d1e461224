// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/runtime/acl"
	"github.com/gitops-kit/sdk/runtime/features"
	"github.com/gitops-kit/sdk/runtime/reconcile"
	"github.com/gitops-kit/sdk/runtime/telemetry"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
)

// Kit is what a controller's Setup gets.
type Kit = reconcile.Kit

// Options describe a controller program.
type Options struct {
	// Name of the controller, such as "app-controller". Required.
	Name string
	// Version is shown in the first log line and in the user agent.
	Version string
	// Scheme adds the API types of the controller; client-go's are there.
	Scheme runtime.SchemeBuilder
	// Kinds are the controller's own kinds: --watch-label-selector applies to
	// them.
	Kinds []ctrlclient.Object
	// Groups are the flag groups to register; nil is all of them.
	Groups []FlagGroup
	// Flags registers further flags.
	Flags func(*pflag.FlagSet)
	// Defaults replaces the defaults of flags, by name.
	Defaults map[string]string
	// Profile holds the defaults of the multi-tenant security profile, by flag.
	Profile map[string]string
	// Env holds the flags whose default comes from an environment variable, by
	// name of the variable.
	Env map[string]string
	// Prefixed lists flags that, in a process of several controllers, count only
	// with the controller's prefix.
	Prefixed []string
	// Validate checks the further flags; joined errors are printed one per line.
	Validate func() error
	// Setup registers the controllers. Required.
	Setup func(Kit) error
	// Gates are the feature gates beside the common ones.
	Gates []features.Gate
	// Finalizer is its name; "" is the usual one.
	Finalizer string
	// Args are the arguments; nil is those of the process.
	Args []string
	// Grace is how long the process may take to end; 0 is 60 s.
	Grace time.Duration
	// Telemetry starts spans.
	Telemetry telemetry.Hook
	// Config reaches the API server; nil finds it in the cluster or in KUBECONFIG.
	Config *rest.Config
	// Namespace is that of the controller; "" is the variable RUNTIME_NAMESPACE.
	Namespace string
	// Stderr gets the log and errors; nil is os.Stderr.
	Stderr io.Writer
	// Ready, when set, is called once when the caches are synced.
	Ready func(ctx context.Context)
}

// boot is one controller of the process before it is set up.
type boot struct {
	o      Options
	fs     *pflag.FlagSet
	groups *groups
	gates  features.Set
}

func (o *Options) complete() error {
	if o.Name == "" || o.Setup == nil {
		return errors.New("name and setup are required")
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	if o.Grace <= 0 {
		o.Grace = time.Minute
	}
	if o.Namespace == "" {
		o.Namespace = os.Getenv("RUNTIME_NAMESPACE")
	}
	return nil
}

// newBoot registers the flags of a controller with their defaults.
func newBoot(o Options) (*boot, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("controller %q: %w", o.Name, err)
	}
	b := &boot{o: o, fs: pflag.NewFlagSet(o.Name, pflag.ContinueOnError), groups: newGroups(o.Groups)}
	b.fs.SortFlags = true
	b.fs.SetOutput(io.Discard)
	b.groups.register(b.fs, o.Groups)
	if o.Flags != nil {
		o.Flags(b.fs)
	}
	for name, v := range o.Defaults {
		if err := setDefault(b.fs, name, v); err != nil {
			return nil, err
		}
	}
	for env, name := range o.Env {
		if v, ok := os.LookupEnv(env); ok && v != "" {
			if err := setDefault(b.fs, name, v); err != nil {
				return nil, err
			}
		}
	}
	return b, nil
}

// setDefault changes value and default of a flag without marking it as given.
func setDefault(fs *pflag.FlagSet, name, value string) error {
	f := fs.Lookup(name)
	if f == nil {
		return fmt.Errorf("default of unknown flag --%s", name)
	}
	if err := f.Value.Set(value); err != nil {
		return fmt.Errorf("default of flag --%s: %w", name, err)
	}
	f.DefValue = value
	return nil
}

// finish applies the profile and validates everything; the error joins all.
func (b *boot) finish() error {
	var errs []error
	if b.groups.acl.Profile == acl.MultiTenant {
		for name, v := range b.o.Profile {
			f := b.fs.Lookup(name)
			if f == nil {
				errs = append(errs, fmt.Errorf("profile of unknown flag --%s", name))
				continue
			}
			if f.Changed {
				continue
			}
			if err := f.Value.Set(v); err != nil {
				errs = append(errs, fmt.Errorf("profile of flag --%s: %w", name, err))
			}
		}
	}
	list := b.groups.all()
	for _, x := range b.o.Groups {
		if !contains(list, x) {
			list = append(list, x)
		}
	}
	for _, x := range list {
		if v, ok := x.(interface{ Validate() error }); ok {
			errs = append(errs, v.Validate())
		}
	}
	var err error
	b.gates, err = b.groups.gates.Set(append(features.Common(), b.o.Gates...))
	errs = append(errs, err)
	if b.o.Validate != nil {
		errs = append(errs, b.o.Validate())
	}
	if !b.groups.watch.AllNamespaces && b.o.Namespace == "" {
		errs = append(errs, errors.New("watching one namespace needs the variable RUNTIME_NAMESPACE"))
	}
	if b.groups.election.Enable && b.o.Namespace == "" {
		errs = append(errs, errors.New("leader election needs the variable RUNTIME_NAMESPACE"))
	}
	return errors.Join(errs...)
}

// effective lists the flags and their values for the start line, secrets masked.
func (b *boot) effective() map[string]string {
	out := map[string]string{}
	b.fs.VisitAll(func(f *pflag.Flag) {
		v := f.Value.String()
		if name := strings.ToLower(f.Name); v != "" && (strings.HasSuffix(name, "token") || strings.Contains(name, "password")) {
			v = "***"
		}
		out[f.Name] = v
	})
	return out
}

// short is the prefix of the controller's flags in a combined process.
func (o Options) short() string { return strings.TrimSuffix(o.Name, "-controller") }
