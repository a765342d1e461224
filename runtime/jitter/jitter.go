// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package jitter

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spf13/pflag"
)

// ErrPercent reports a percentage outside 0 ≤ p < 100.
var ErrPercent = errors.New("percentage must be at least 0 and below 100")

// Interval adds jitter to requeue intervals. Never use it for retries. The
// zero value adds none.
type Interval struct {
	// Percent is the greatest deviation in percent, 0 ≤ p < 100.
	Percent int
}

// New returns an Interval; a percentage out of range is [ErrPercent].
func New(percent int) (Interval, error) {
	if percent < 0 || percent >= 100 {
		return Interval{}, fmt.Errorf("interval jitter %d: %w", percent, ErrPercent)
	}
	return Interval{Percent: percent}, nil
}

// Apply returns d plus or minus up to Percent percent, uniformly distributed,
// and at least one second. Zero and negative durations are returned unchanged.
func (i Interval) Apply(d time.Duration) time.Duration {
	if d <= 0 {
		return d
	}
	if i.Percent > 0 && i.Percent < 100 {
		f := float64(i.Percent) / 100
		d = time.Duration(float64(d) * (1 - f + 2*f*rand.Float64())) //nolint:gosec // jitter, not a secret
	}
	return max(d, time.Second)
}

// Flags is the flag group of the package.
type Flags struct {
	// Percent is --interval-jitter-percentage, 5 by default.
	Percent int
}

// AddFlags registers the flags with their defaults.
func (f *Flags) AddFlags(fs *pflag.FlagSet) {
	fs.IntVar(&f.Percent, "interval-jitter-percentage", 5,
		"Percentage of jitter to apply to interval durations. A value of 10 will apply a jitter of +/-10% to the interval duration. It cannot be negative, and must be less than 100.")
}

// Validate returns [ErrPercent] for a percentage out of range.
func (f *Flags) Validate() error {
	_, err := New(f.Percent)
	return err
}

// Interval returns the configured value.
func (f *Flags) Interval() Interval { return Interval{Percent: f.Percent} }
