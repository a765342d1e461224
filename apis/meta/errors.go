// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"errors"
	"fmt"
	"time"
)

// ErrDigest reports text that is not "<algorithm>:<value>".
var ErrDigest error = invalid("not a digest")

// ErrRevision reports text that cannot be a revision: empty, longer than
// 4,096 bytes, or with control characters.
var ErrRevision error = invalid("not a revision")

// ErrReference reports text that is not a reference.
var ErrReference error = invalid("not a reference")

// invalid is a sentinel that carries the behaviour of an invalid spec.
type invalid string

func (e invalid) Error() string  { return string(e) }
func (e invalid) Reason() string { return InvalidSpecReason }
func (e invalid) Terminal() bool { return true }

// DurationError reports a duration that cannot be used: text that is not a
// duration, or a value outside its bounds.
//
// +kubebuilder:object:generate=false
type DurationError struct {
	// Field is the path of the field, such as "spec.interval"; empty when the
	// error comes from [Duration.Err].
	Field string
	// Raw is the stored text.
	Raw string
	// Min and Max are the bounds; both are zero when the text is no duration.
	Min, Max time.Duration
}

// Error names the field, the stored text (at most 64 bytes of it) and the bounds.
func (e *DurationError) Error() string {
	field := e.Field
	if field == "" {
		field = "duration"
	}
	if e.Min == 0 && e.Max == 0 {
		return fmt.Sprintf("%s: %q is not a duration", field, clip(e.Raw, 64))
	}
	return fmt.Sprintf("%s: %q must be between %s and %s", field, clip(e.Raw, 64), short(e.Min), short(e.Max))
}

// Reason returns [InvalidSpecReason].
func (e *DurationError) Reason() string { return InvalidSpecReason }

// Terminal returns true: only a new spec changes the value.
func (e *DurationError) Terminal() bool { return true }

// ObjectIDError reports an inventory id that does not name an object.
//
// +kubebuilder:object:generate=false
type ObjectIDError struct {
	// Raw is the id as it was read.
	Raw string
	// Why says what is wrong with it.
	Why string
}

// Error quotes at most 128 bytes of the id.
func (e *ObjectIDError) Error() string {
	return fmt.Sprintf("parse object id %q: %s", clip(e.Raw, 128), e.Why)
}

// Reason returns [InvalidSpecReason].
func (e *ObjectIDError) Reason() string { return InvalidSpecReason }

// Terminal returns true: the id stays what it is.
func (e *ObjectIDError) Terminal() bool { return true }

// EventError reports an event that must not be sent.
//
// +kubebuilder:object:generate=false
type EventError struct {
	// Field is the JSON name of the field that is missing or too large.
	Field string
	// Why says what is wrong with it.
	Why string
}

// Error names the field and the cause, never its value.
func (e *EventError) Error() string { return fmt.Sprintf("event field %q: %s", e.Field, e.Why) }

// Reason returns [InvalidSpecReason].
func (e *EventError) Reason() string { return InvalidSpecReason }

// Terminal returns true: sending it again does not help.
func (e *EventError) Terminal() bool { return true }

var (
	_ error = (*DurationError)(nil)
	_ error = (*ObjectIDError)(nil)
	_ error = (*EventError)(nil)
)

// wrapped joins a sentinel with the text it is about.
func wrapped(sentinel error, text, why string) error {
	return fmt.Errorf("parse %q: %s: %w", clip(text, 128), why, sentinel)
}

// IsInvalid reports whether err says that a value of a spec cannot be used.
func IsInvalid(err error) bool {
	var t interface{ Reason() string }
	return errors.As(err, &t) && t.Reason() == InvalidSpecReason
}

// short prints whole hours as "8760h", seconds as "1s".
func short(d time.Duration) string {
	if d >= time.Hour && d%time.Hour == 0 {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return d.String()
}

// clip cuts s to at most n bytes at a rune boundary.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}
