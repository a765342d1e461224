// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package acl

import (
	"context"
	"errors"
	"fmt"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/spf13/pflag"
)

// ErrDenied is matched by every refused reference.
var ErrDenied = errors.New("access denied")

// DeniedError reports a reference that was refused.
type DeniedError struct {
	// Reference is "Kind/namespace/name".
	Reference string
	// Blocked is true when all references to other namespaces are off.
	Blocked bool
}

// Error is the established text.
func (e *DeniedError) Error() string {
	if e.Blocked {
		return fmt.Sprintf("can't access '%s', cross-namespace references have been blocked", e.Reference)
	}
	return fmt.Sprintf("can't access '%s', access denied or object not found", e.Reference)
}

// Unwrap returns [ErrDenied].
func (e *DeniedError) Unwrap() error { return ErrDenied }

// Reason returns AccessDenied.
func (e *DeniedError) Reason() string { return meta.AccessDeniedReason }

// Terminal returns true: flags, labels and lists are watched.
func (e *DeniedError) Terminal() bool { return true }

// Options of a [Checker]. The zero value follows every reference.
type Options struct {
	// NoCrossNamespaceRefs refuses every reference to another namespace, before
	// and independently of access lists.
	NoCrossNamespaceRefs bool
	// EnableSourceACL requires the referenced object's access list to allow the
	// namespace of the referrer.
	EnableSourceACL bool
}

// Labels returns the labels of a namespace.
type Labels func(ctx context.Context, namespace string) (map[string]string, error)

// Checker decides about references. A nil Checker, and one without labels,
// refuses what only a list could allow.
type Checker struct {
	labels Labels
	o      Options
}

// New returns a Checker. labels is asked at most once per check; it reads from
// a cache.
func New(labels func(ctx context.Context, namespace string) (map[string]string, error), o Options) *Checker {
	return &Checker{labels: labels, o: o}
}

// Check returns nil when an object of namespace from may refer to the object
// to. Its own namespace, also when to has none, is always allowed. list is the
// access list of the referenced object, nil when it has none or does not
// exist; it counts only with EnableSourceACL. The error matches [ErrDenied], or is that of the look-up.
func (c *Checker) Check(ctx context.Context, from string, to meta.NamespacedObjectKindReference, list *meta.AccessFrom) error {
	if to.Namespace == "" || to.Namespace == from {
		return nil
	}
	if c == nil {
		return &DeniedError{Reference: to.String()}
	}
	if c.o.NoCrossNamespaceRefs {
		return &DeniedError{Reference: to.String(), Blocked: true}
	}
	if !c.o.EnableSourceACL {
		return nil
	}
	return c.Enforce(ctx, from, to, list)
}

// Blocked returns an error when to is in another namespace and all such
// references are off. It needs no access list, so that it can be asked before
// the object is read.
func (c *Checker) Blocked(from string, to meta.NamespacedObjectKindReference) error {
	if c != nil && c.o.NoCrossNamespaceRefs && to.Namespace != "" && to.Namespace != from {
		return &DeniedError{Reference: to.String(), Blocked: true}
	}
	return nil
}

// Enforce is [Checker.Check] for kinds whose list always counts.
func (c *Checker) Enforce(ctx context.Context, from string, to meta.NamespacedObjectKindReference, list *meta.AccessFrom) error {
	if to.Namespace == "" || to.Namespace == from {
		return nil
	}
	if err := c.Blocked(from, to); err != nil {
		return err
	}
	denied := &DeniedError{Reference: to.String()}
	if list == nil || len(list.NamespaceSelectors) == 0 || c == nil || c.labels == nil {
		return denied
	}
	labels, err := c.labels(ctx, from)
	if err != nil {
		return fmt.Errorf("read labels of namespace %q: %w", from, err)
	}
	if !list.Matches(labels) {
		return denied
	}
	return nil
}

// Flags is the flag group of the package.
type Flags struct {
	// NoCrossNamespaceRefs is --no-cross-namespace-refs.
	NoCrossNamespaceRefs bool
	// EnableSourceACL is --enable-source-acl.
	EnableSourceACL bool
	// Profile is --security-profile: single-tenant or multi-tenant.
	Profile string
}

// Security profiles.
const (
	// SingleTenant keeps the established defaults.
	SingleTenant = "single-tenant"
	// MultiTenant changes defaults for clusters shared by tenants.
	MultiTenant = "multi-tenant"
)

// AddFlags registers the flags with their defaults.
func (f *Flags) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&f.NoCrossNamespaceRefs, "no-cross-namespace-refs", false,
		"When set to true, references between custom resources are allowed only if the reference and the referee are in the same namespace.")
	fs.BoolVar(&f.EnableSourceACL, "enable-source-acl", false,
		"When set to true, sources in other namespaces can be used only if their accessFrom list allows it.")
	fs.StringVar(&f.Profile, "security-profile", SingleTenant,
		"Set of defaults, one of: single-tenant, multi-tenant. Flags that are given win.")
}

// Validate returns an error for an unknown profile.
func (f *Flags) Validate() error {
	if f.Profile != SingleTenant && f.Profile != MultiTenant {
		return fmt.Errorf("security profile %q: want %s or %s", f.Profile, SingleTenant, MultiTenant)
	}
	return nil
}

// Options returns the options of a [Checker].
func (f *Flags) Options() Options {
	return Options{NoCrossNamespaceRefs: f.NoCrossNamespaceRefs, EnableSourceACL: f.EnableSourceACL}
}
