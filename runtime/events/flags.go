// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import "github.com/spf13/pflag"

// Flags is the flag group of the package.
type Flags struct {
	// Address is --events-addr: the URL of the sink, empty for none.
	Address string
	// Noop is --noop-events: also emit events of runs that changed nothing, and
	// every repeated failure.
	Noop bool
}

// AddFlags registers the flags with their defaults.
func (f *Flags) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&f.Address, "events-addr", "", "The address of the events receiver.")
	fs.BoolVar(&f.Noop, "noop-events", false,
		"Emit events of runs that changed nothing, and every repeated failure, too.")
}

// Validate returns [ErrAddress] for an address that is no http or https URL.
func (f *Flags) Validate() error {
	if f.Address == "" {
		return nil
	}
	h, err := NewHTTP(f.Address, HTTPOptions{})
	if err == nil {
		h.Close()
	}
	return err
}
