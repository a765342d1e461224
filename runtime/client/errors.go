// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"

	"github.com/gitops-kit/sdk/apis/meta"
)

// TargetError reports a target that cannot be used.
type TargetError struct {
	// Field of the [Target].
	Field string
	// Why says what is wrong.
	Why string
}

// Error names field and cause.
func (e *TargetError) Error() string { return fmt.Sprintf("client target %s: %s", e.Field, e.Why) }

// Reason returns InvalidSpec.
func (e *TargetError) Reason() string { return meta.InvalidSpecReason }

// Terminal returns true: a target is made from a spec.
func (e *TargetError) Terminal() bool { return true }

// UnreachableError reports a server that does not answer.
type UnreachableError struct {
	// Server is its address.
	Server string
	// Err is what happened.
	Err error
}

// Error names server and cause.
func (e *UnreachableError) Error() string { return fmt.Sprintf("reach %q: %v", e.Server, e.Err) }

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Reason returns ReconciliationFailed.
func (e *UnreachableError) Reason() string { return meta.ReconciliationFailedReason }

// Terminal returns false.
func (e *UnreachableError) Terminal() bool { return false }

// Scope is the server: everything that needs it fails alike.
func (e *UnreachableError) Scope() string { return e.Server }

// GroupUnavailableError reports an API group whose discovery fails: its kinds
// are unknown, not absent.
type GroupUnavailableError struct {
	// Group is the API group.
	Group string
	// Err is what discovery said.
	Err error
}

// Error names group and cause.
func (e *GroupUnavailableError) Error() string {
	return fmt.Sprintf("discover API group %q: %v", e.Group, e.Err)
}

// Unwrap returns the cause.
func (e *GroupUnavailableError) Unwrap() error { return e.Err }

// Reason returns ReconciliationFailed.
func (e *GroupUnavailableError) Reason() string { return meta.ReconciliationFailedReason }

// Terminal returns false.
func (e *GroupUnavailableError) Terminal() bool { return false }

// FencedError reports a mutating request that was refused because the process
// may have lost its lease.
type FencedError struct{}

// Error says so.
func (*FencedError) Error() string { return "request refused: leadership may be lost" }

// Terminal returns false.
func (*FencedError) Terminal() bool { return false }
