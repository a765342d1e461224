// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta

import (
	"bytes"
	"encoding/json"
	"time"
)

// Duration is a duration field of a spec or status. Its zero value is zero
// seconds without an error.
//
// Decoding never fails: a string that is not a duration, or a JSON value that
// is not a string, is kept as it is, has the value 0 and a non-nil
// [Duration.Err], and is encoded back byte for byte. A null is the zero value.
//
// +kubebuilder:validation:Type=string
// +kubebuilder:object:generate=false
type Duration struct {
	time.Duration
	// raw is the JSON text of a value that is no duration, empty otherwise.
	raw string
}

// NewDuration returns a pointer to a Duration of d, for optional fields.
func NewDuration(d time.Duration) *Duration { return &Duration{Duration: d} }

// Err returns a [*DurationError] when the stored value is not a duration.
func (d Duration) Err() error {
	if d.raw == "" {
		return nil
	}
	return &DurationError{Raw: d.Raw()}
}

// Raw returns the stored text: of a string its value, of any other JSON value
// its JSON text, of a valid duration what [time.Duration.String] returns.
func (d Duration) Raw() string {
	if d.raw == "" {
		return d.Duration.String()
	}
	var s string
	if err := json.Unmarshal([]byte(d.raw), &s); err == nil {
		return s
	}
	return d.raw
}

// DeepCopy returns a copy of d, nil for nil.
func (d *Duration) DeepCopy() *Duration {
	if d == nil {
		return nil
	}
	c := *d
	return &c
}

// DeepCopyInto copies d to out.
func (d *Duration) DeepCopyInto(out *Duration) { *out = *d }

// MarshalJSON writes a duration as a string, or what was read when that was
// none.
func (d Duration) MarshalJSON() ([]byte, error) {
	if d.raw != "" {
		return []byte(d.raw), nil
	}
	return json.Marshal(d.Duration.String())
}

// UnmarshalJSON accepts any JSON value and never returns an error.
func (d *Duration) UnmarshalJSON(data []byte) error {
	data = bytes.TrimSpace(data)
	*d = Duration{}
	if len(data) == 0 || bytes.Equal(data, []byte("null")) {
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err == nil {
		if v, err := time.ParseDuration(s); err == nil {
			d.Duration = v
			return nil
		}
	}
	d.raw = string(data)
	return nil
}

// OpenAPISchemaType tells schema generators that a Duration is a string.
func (Duration) OpenAPISchemaType() []string { return []string{"string"} }

// OpenAPISchemaFormat is empty: the pattern of each field is its format.
func (Duration) OpenAPISchemaFormat() string { return "" }

// DurationBounds is the closed range a duration field may have.
//
// +kubebuilder:object:generate=false
type DurationBounds struct {
	// Min is the least value; zero is one second.
	Min time.Duration
	// Max is the greatest value; zero is 8,760 hours.
	Max time.Duration
}

// Check returns nil when d is nil or inside the bounds, else a
// [*DurationError] that names field.
func (b DurationBounds) Check(field string, d *Duration) error {
	if d == nil {
		return nil
	}
	if d.Err() != nil {
		return &DurationError{Field: field, Raw: d.Raw()}
	}
	lo, hi := b.Min, b.Max
	if lo <= 0 {
		lo = time.Second
	}
	if hi <= 0 {
		hi = 8760 * time.Hour
	}
	if d.Duration < lo || d.Duration > hi {
		return &DurationError{Field: field, Raw: d.Raw(), Min: lo, Max: hi}
	}
	return nil
}
