// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package features

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
)

// Stage of a gate's life.
type Stage string

// Stages.
const (
	// Alpha gates are off by default and may vanish.
	Alpha Stage = "alpha"
	// Beta gates are complete and may change.
	Beta Stage = "beta"
	// GA gates are on and stay.
	GA Stage = "ga"
)

// Gate names of every controller.
const (
	// ObjectLevelWorkloadIdentity allows cloud identities per object.
	ObjectLevelWorkloadIdentity = "ObjectLevelWorkloadIdentity"
	// CacheSecretsAndConfigMaps keeps Secrets and ConfigMaps in memory.
	CacheSecretsAndConfigMaps = "CacheSecretsAndConfigMaps"
	// DisableConfigWatchers stops watching labelled Secrets and ConfigMaps.
	DisableConfigWatchers = "DisableConfigWatchers"
	// CancelHealthCheckOnNewRevision ends health checks when a new revision arrives.
	CancelHealthCheckOnNewRevision = "CancelHealthCheckOnNewRevision"
)

// Common returns the gates that every controller declares.
func Common() []Gate {
	return []Gate{
		{Name: ObjectLevelWorkloadIdentity, Stage: Beta, Description: "workload identity per object"},
		{Name: CacheSecretsAndConfigMaps, Stage: Beta, Description: "keep Secrets and ConfigMaps in memory"},
	}
}

// ErrSyntax reports text that is not a list of name=bool.
var ErrSyntax = errors.New("want <gate>=<true|false>")

// UnsupportedError reports a gate that is not declared.
type UnsupportedError struct {
	// Name of the gate.
	Name string
}

// Error is the established text.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("feature-gate '%s' not supported", e.Name)
}

// Reason returns FeatureGateDisabled.
func (e *UnsupportedError) Reason() string { return "FeatureGateDisabled" }

// Terminal returns true: gates do not change while the process runs.
func (e *UnsupportedError) Terminal() bool { return true }

// Gate is a declared feature.
type Gate struct {
	// Name as in --feature-gates.
	Name string
	// Default is its value when it is not set.
	Default bool
	// Stage of its life; "" is Alpha.
	Stage Stage
	// Description is one line for --help and documentation.
	Description string
}

// Set holds the value of every declared gate. The zero value has none.
type Set struct {
	values map[string]bool
}

// New returns the set of gates with the given values. A value for a gate that
// is not declared is an [*UnsupportedError]. Of two gates of one name the
// later counts.
func New(gates []Gate, values map[string]bool) (Set, error) {
	s := Set{values: make(map[string]bool, len(gates))}
	for _, g := range gates {
		s.values[g.Name] = g.Default
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, ok := s.values[name]; !ok {
			return Set{}, &UnsupportedError{Name: name}
		}
		s.values[name] = values[name]
	}
	return s, nil
}

// Enabled reports whether the gate is on; false when it is not declared.
func (s Set) Enabled(name string) bool { return s.values[name] }

// Check reports whether the gate is on; a gate that is not declared is an
// [*UnsupportedError].
func (s Set) Check(name string) (bool, error) {
	v, ok := s.values[name]
	if !ok {
		return false, &UnsupportedError{Name: name}
	}
	return v, nil
}

// Snapshot returns a copy of all values.
func (s Set) Snapshot() map[string]bool { return maps.Clone(s.values) }

// String returns "A=true,B=false" in order of the names.
func (s Set) String() string {
	parts := make([]string, 0, len(s.values))
	for _, k := range slices.Sorted(maps.Keys(s.values)) {
		parts = append(parts, k+"="+strconv.FormatBool(s.values[k]))
	}
	return strings.Join(parts, ",")
}

// Parse reads "A=true,B=false". Empty text is an empty map. The error wraps
// [ErrSyntax].
func Parse(text string) (map[string]bool, error) {
	out := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		v, err := strconv.ParseBool(strings.TrimSpace(value))
		name = strings.TrimSpace(name)
		if !ok || name == "" || err != nil {
			return nil, fmt.Errorf("feature gate %q: %w", part, ErrSyntax)
		}
		out[name] = v
	}
	return out, nil
}

// Flags is the flag group of the package.
type Flags struct {
	values gates
}

// AddFlags registers --feature-gates, which may be repeated.
func (f *Flags) AddFlags(fs *pflag.FlagSet) {
	f.values = gates{}
	fs.Var(f.values, "feature-gates",
		"A comma separated list of key=value pairs defining the state of experimental features.")
}

// Set returns the set of the declared gates with the values of the flag.
func (f *Flags) Set(declared []Gate) (Set, error) { return New(declared, f.values) }

// gates is a pflag.Value that accumulates.
type gates map[string]bool

// String returns the values in order of the names.
func (g gates) String() string { return Set{values: g}.String() }

// Set adds the pairs of text.
func (g gates) Set(text string) error {
	m, err := Parse(text)
	if err != nil {
		return err
	}
	maps.Copy(g, m)
	return nil
}

// Type is the type shown by --help.
func (g gates) Type() string { return "mapStringBool" }
