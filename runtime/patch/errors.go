// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package patch

import (
	"errors"
	"fmt"
	"strings"
)

// ErrSuperseded reports that the object has a newer generation than the one
// the status was computed for. Nothing was written; run again.
var ErrSuperseded = errors.New("object was changed during the run")

// ErrConflict reports that every try met a newer version of the object.
var ErrConflict = errors.New("object keeps changing")

// StatusConflictError reports status fields that another writer changed to
// something else than we want.
type StatusConflictError struct {
	// Fields are the paths of the fields below status, such as "artifact".
	Fields []string
}

// Error names at most five fields.
func (e *StatusConflictError) Error() string {
	fields := e.Fields
	if len(fields) > 5 {
		fields = append(append([]string{}, fields[:5]...), fmt.Sprintf("%d more", len(e.Fields)-5))
	}
	return "write status: changed by another writer: " + strings.Join(fields, ", ")
}

// Reason returns Failed.
func (e *StatusConflictError) Reason() string { return "Failed" }

// Terminal returns false: the next run starts from the other writer's state.
func (e *StatusConflictError) Terminal() bool { return false }
