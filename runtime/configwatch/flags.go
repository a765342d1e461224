// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package configwatch

import (
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/labels"
)

// DefaultSelector selects the Secrets and ConfigMaps that are watched.
const DefaultSelector = "reconcile.fluxcd.io/watch=Enabled"

// Flags is the flag group of the package.
type Flags struct {
	// AllNamespaces is --watch-all-namespaces.
	AllNamespaces bool
	// Selector is --watch-label-selector.
	Selector string
	// ConfigSelector is --watch-configs-label-selector.
	ConfigSelector string
}

// AddFlags registers the flags with their defaults.
func (f *Flags) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&f.AllNamespaces, "watch-all-namespaces", true,
		"Watch for resources in all namespaces, if set to false it will only watch the runtime namespace.")
	fs.StringVar(&f.Selector, "watch-label-selector", "", "Watch for resources with matching labels e.g. 'sharding.fluxcd.io/key=shard1'.")
	fs.StringVar(&f.ConfigSelector, "watch-configs-label-selector", DefaultSelector,
		"Watch for ConfigMaps and Secrets with matching labels.")
}

// Validate returns the error of a malformed selector.
func (f *Flags) Validate() error {
	if _, err := labels.Parse(f.Selector); err != nil {
		return fmt.Errorf("watch label selector: %w", err)
	}
	if _, err := labels.Parse(f.ConfigSelector); err != nil {
		return fmt.Errorf("watch configs label selector: %w", err)
	}
	return nil
}
