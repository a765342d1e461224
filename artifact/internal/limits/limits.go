// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package limits holds the one error that every exceeded limit becomes, and
// the rule that turns an option into an effective bound.
package limits

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// ErrLimit is matched by every [*LimitError].
var ErrLimit = errors.New("limit exceeded")

// LimitError reports which limit an input exceeded.
type LimitError struct {
	Name string // as in the limits table of the security page, "tar-entries"
	Max  int64  // the bound in force
	Got  int64  // what was seen; Max+1 when the reader stopped there
	Wait bool   // the bound is one of time or rate, so trying again may help
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("limit %s exceeded: %d is more than %d", e.Name, e.Got, e.Max)
}

// Is matches [ErrLimit].
func (e *LimitError) Is(target error) bool { return target == ErrLimit }

// Limit returns the parts; other modules recognise a limit error by this method.
func (e *LimitError) Limit() (name string, max, got int64) { return e.Name, e.Max, e.Got }

// Reason returns the condition reason.
func (e *LimitError) Reason() string { return "LimitExceeded" }

// Terminal reports whether the same input can never pass.
func (e *LimitError) Terminal() bool { return !e.Wait }

// Or returns the effective bound of an option: def for 0, no bound for a
// negative value.
func Or(v, def int64) int64 {
	switch {
	case v == 0:
		return def
	case v < 0:
		return 1<<63 - 1
	}
	return v
}

// Check returns a [*LimitError] when got is more than max.
func Check(name string, max, got int64) error {
	if got <= max {
		return nil
	}
	return &LimitError{Name: name, Max: max, Got: got}
}

// Unlimited lists the fields of a Limits struct that are set negative, in
// order of declaration, so that whoever logs can say so once.
func Unlimited(limits any) []string {
	v := reflect.ValueOf(limits)
	if v.Kind() != reflect.Struct {
		return nil
	}
	var out []string
	for i := range v.NumField() {
		if f := v.Field(i); f.CanInt() && f.Int() < 0 {
			out = append(out, strings.ToLower(v.Type().Field(i).Name))
		}
	}
	return out
}
