// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kubeconfig

import (
	"fmt"

	"github.com/spf13/pflag"
)

// Flags is the flag group of the package.
type Flags struct {
	// Exec is --insecure-kubeconfig-exec.
	Exec bool
	// TLS is --insecure-kubeconfig-tls.
	TLS bool
	// Unsupported is --kubeconfig-unsupported: error or drop.
	Unsupported string
}

// AddFlags registers the flags with their defaults.
func (f *Flags) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&f.Exec, "insecure-kubeconfig-exec", false, "Allow use of the user.exec section in kubeconfigs provided for remote apply.")
	fs.BoolVar(&f.TLS, "insecure-kubeconfig-tls", false, "Allow that kubeconfigs provided for remote apply can disable TLS verification.")
	fs.StringVar(&f.Unsupported, "kubeconfig-unsupported", string(Refuse),
		"What to do with the exec section and with disabled TLS verification when they are not allowed, one of: error, drop.")
}

// Validate returns an error for an unknown value.
func (f *Flags) Validate() error {
	if u := Unsupported(f.Unsupported); u != Refuse && u != Drop {
		return fmt.Errorf("kubeconfig unsupported %q: want %s or %s", f.Unsupported, Refuse, Drop)
	}
	return nil
}

// Options returns the options of [Parse].
func (f *Flags) Options() Options {
	return Options{AllowExec: f.Exec, AllowInsecureTLS: f.TLS, Unsupported: Unsupported(f.Unsupported)}
}
