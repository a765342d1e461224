// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/ssa/internal/limits"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The cases a caller may have to tell apart, for use with [errors.Is].
var (
	// ErrKindUnknown: a healthy server does not know the kind.
	ErrKindUnknown = errors.New("kind is unknown to the server")
	// ErrDiscovery: the server could not say whether it knows the kind. Transient.
	ErrDiscovery = errors.New("discovery is unavailable")
	// ErrDuplicateObject: two objects of the set have the same identity.
	ErrDuplicateObject = errors.New("object is in the set more than once")
	// ErrInvalidObject: an object lacks what every object must have.
	ErrInvalidObject = errors.New("object is invalid")
	// ErrForeignPlan: the plan was made for another owner or cluster.
	ErrForeignPlan = errors.New("plan belongs to another owner or cluster")
	// ErrPlanStale: the plan is older than ApplyOptions.MaxPlanAge.
	ErrPlanStale = errors.New("plan is too old")
	// ErrPlanDigest: the plan is not the approved one.
	ErrPlanDigest = errors.New("plan digest differs")
	// ErrLiveNotSynced: a LiveReader has not seen the cluster yet.
	ErrLiveNotSynced = errors.New("live state is not synced yet")
	// ErrInventory: the inventory could not be stored; nothing was written.
	ErrInventory error = &reasonedError{text: "inventory could not be stored", reason: reasonInventory}
	// ErrConflict: another field manager or writer is in the way.
	ErrConflict = errors.New("conflict")
	// ErrThrottled: the server asked to slow down more often than we try.
	ErrThrottled = errors.New("throttled by the server")
	// ErrFailed: a wait ended because an object failed.
	ErrFailed = errors.New("object failed")
	// ErrTimeout: a wait ended because its time was over.
	ErrTimeout = errors.New("timeout")
	// ErrUnknownOutcome: a write was sent and its reply did not arrive.
	ErrUnknownOutcome = errors.New("outcome of the request is unknown")
	// ErrLimit is matched by every *LimitError.
	ErrLimit = limits.ErrLimit
)

// LimitError reports which limit an input exceeded.
type LimitError = limits.LimitError

// reasonedError is a sentinel with a reason.
type reasonedError struct{ text, reason string }

func (e *reasonedError) Error() string  { return e.text }
func (e *reasonedError) Reason() string { return e.reason }

// errKindGone: the server served the kind before and does not any more.
var errKindGone = errors.New("the resource is gone")

const (
	reasonFailed    = "ReconciliationFailed"
	reasonHealth    = "HealthCheckFailed"
	reasonPrune     = "PruneFailed"
	reasonBlocked   = "PruneBlocked"
	reasonInventory = "InventoryFailed"

	maxErrorText = 1024 // bytes of one object's error text
	maxListed    = 20   // objects named in an aggregate's text
)

// Operations of an [ObjectError].
const (
	OpDryRun = "dry-run"
	OpRead   = "read"
	OpDecode = "decode"
	OpLimit  = "limit"
	OpApply  = "apply"
	OpDelete = "delete"
)

// ObjectError is what went wrong with one object. Text that an API server
// said about a Secret or another sensitive object is replaced by its reason
// and field paths, and is not reachable through Unwrap either.
type ObjectError struct {
	ID        ID
	Op        string   // one of the Op constants
	Fields    []string // field paths the server named
	Source    string   // "file:line" when PlanOptions.Provenance knows it
	APIReason string   // the API server's reason, if any
	Message   string   // what Error prints after the operation; safe to show
	Err       error
}

// Error implements error; the text is one line of at most 1 KiB.
func (e *ObjectError) Error() string {
	var b strings.Builder
	b.WriteString(e.ID.Display())
	switch {
	case e.Op == OpDryRun && strings.HasPrefix(e.Message, "namespace not specified: "), e.Op == OpDryRun && strings.HasPrefix(e.Message, "not found: "):
		b.WriteString(" " + e.Message)
	case e.Op == OpDryRun && e.APIReason != "":
		fmt.Fprintf(&b, " dry-run failed (%s): %s", e.APIReason, e.Message)
	case e.Op == OpDryRun:
		fmt.Fprintf(&b, " dry-run failed: %s", e.Message)
	default:
		fmt.Fprintf(&b, " %s: %s", e.Op, e.Message)
	}
	if e.Source != "" {
		b.WriteString(" (from " + e.Source + ")")
	}
	return oneLine(b.String())
}

// Unwrap returns the cause.
func (e *ObjectError) Unwrap() error { return e.Err }

// Reason returns the API server's reason, else that of the cause, else
// ReconciliationFailed.
func (e *ObjectError) Reason() string {
	if e.APIReason != "" {
		return e.APIReason
	}
	return reasonOf(e.Err, reasonFailed)
}

// Terminal reports whether trying again without a change is pointless.
func (e *ObjectError) Terminal() bool {
	return errors.Is(e.Err, ErrInvalidObject) || errors.Is(e.Err, ErrDuplicateObject) || terminal(e.Err)
}

func reasonOf(err error, otherwise string) string {
	var r interface{ Reason() string }
	if err != nil && errors.As(err, &r) && r.Reason() != "" {
		return r.Reason()
	}
	return otherwise
}

func terminal(err error) bool {
	var t interface{ Terminal() bool }
	return err != nil && errors.As(err, &t) && t.Terminal()
}

// aggregate is the shared part of the errors that hold many.
type aggregate struct{ errs []error }

func (a *aggregate) text(head string) string {
	parts := make([]string, 0, min(len(a.errs), maxListed)+1)
	for i, err := range a.errs {
		if i == maxListed {
			parts = append(parts, fmt.Sprintf("… and %d more", len(a.errs)-maxListed))
			break
		}
		parts = append(parts, oneLine(err.Error()))
	}
	if len(parts) == 1 {
		return head + parts[0]
	}
	return head + strings.Join(parts, "\n")
}

// Unwrap returns every member.
func (a *aggregate) Unwrap() []error { return a.errs }

// Reason returns the reason of the first member that has one.
func (a *aggregate) Reason() string {
	for _, err := range a.errs {
		if r := reasonOf(err, ""); r != "" {
			return r
		}
	}
	return reasonFailed
}

// Terminal reports whether every member is terminal.
func (a *aggregate) Terminal() bool {
	for _, err := range a.errs {
		if !terminal(err) {
			return false
		}
	}
	return len(a.errs) > 0
}

// PlanError lists, in plan order, every object that could not be planned.
// Each member is an *ObjectError.
type PlanError struct{ aggregate }

// Error lists the first 20 members, one per line, and counts the others.
func (e *PlanError) Error() string { return e.text("") }

// Objects returns the members.
func (e *PlanError) Objects() []*ObjectError { return objectErrors(e.errs) }

// ApplyError lists what went wrong in [Manager.Apply].
type ApplyError struct{ aggregate }

// Error lists the first 20 members, one per line, and counts the others.
func (e *ApplyError) Error() string { return e.text("") }

// Objects returns the members that concern one object.
func (e *ApplyError) Objects() []*ObjectError { return objectErrors(e.errs) }

// DeleteError lists what went wrong in [Manager.PlanDelete], [Manager.PlanPrune]
// or [Manager.Delete].
type DeleteError struct{ aggregate }

// Error lists the first 20 members, one per line, and counts the others.
func (e *DeleteError) Error() string { return e.text("") }

// Reason returns PruneFailed.
func (e *DeleteError) Reason() string { return reasonPrune }

// Objects returns the members that concern one object.
func (e *DeleteError) Objects() []*ObjectError { return objectErrors(e.errs) }

func objectErrors(errs []error) []*ObjectError {
	var out []*ObjectError
	for _, err := range errs {
		if o, ok := errors.AsType[*ObjectError](err); ok {
			out = append(out, o)
		}
	}
	return out
}

// PruneBlockedError refuses a whole prune; nothing was deleted.
type PruneBlockedError struct {
	Why    string // Incomplete, Empty, Budget or Confirm
	IDs    []ID   // what would have been deleted, or for Confirm the marked ones
	Digest string // PruneOptions.Approved that allows exactly this
	Err    error  // the underlying failure, if any
}

// The reasons for which a prune is refused.
const (
	PruneIncomplete = "Incomplete" // something of the set was not applied
	PruneEmpty      = "Empty"      // the set is empty
	PruneBudget     = "Budget"     // too many deletions
	PruneConfirm    = "Confirm"    // an object wants a confirmation
)

// Error names at most 20 objects.
func (e *PruneBlockedError) Error() string {
	names := make([]string, 0, maxListed)
	for i, id := range e.IDs {
		if i == maxListed {
			names = append(names, fmt.Sprintf("… and %d more", len(e.IDs)-maxListed))
			break
		}
		names = append(names, id.Display())
	}
	return fmt.Sprintf("prune blocked (%s): %d objects, digest %s: [%s]", e.Why, len(e.IDs), e.Digest, strings.Join(names, ", "))
}

// Unwrap returns the underlying failure.
func (e *PruneBlockedError) Unwrap() error { return e.Err }

// Reason returns PruneBlocked.
func (e *PruneBlockedError) Reason() string { return reasonBlocked }

// Terminal reports true, except for an incomplete set.
func (e *PruneBlockedError) Terminal() bool { return e.Why != PruneIncomplete }

// ImmutableError says that only a recreation could make the change.
type ImmutableError struct {
	ID     ID
	Fields []string // as the server names them
	Why    string   // why it is not recreated
	Err    error    // the refusal of the replacement, if that is why
}

// Error implements error.
func (e *ImmutableError) Error() string {
	s := fmt.Sprintf("immutable fields changed: [%s]", strings.Join(e.Fields, ", "))
	if e.Why != "" {
		s += ": " + e.Why
	}
	return oneLine(s)
}

// Unwrap returns the refusal of the replacement, if any.
func (e *ImmutableError) Unwrap() error { return e.Err }

// Reason returns Invalid, as the API server does.
func (e *ImmutableError) Reason() string { return "Invalid" }

// Terminal reports false: the live object may be changed by others.
func (e *ImmutableError) Terminal() bool { return false }

// ConflictError lists fields that another manager owns.
type ConflictError struct {
	Manager string
	Fields  []string
}

// Error implements error.
func (e *ConflictError) Error() string {
	return oneLine(fmt.Sprintf("conflict with %q over [%s]", e.Manager, strings.Join(e.Fields, ", ")))
}

// Is matches [ErrConflict].
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// Reason returns Conflict.
func (e *ConflictError) Reason() string { return "Conflict" }

// Terminal reports false.
func (e *ConflictError) Terminal() bool { return false }

// OwnerConflictError names the set that owns an object already.
type OwnerConflictError struct{ Other Owner }

// Error implements error.
func (e *OwnerConflictError) Error() string {
	return oneLine(fmt.Sprintf("owned by %s/%s", e.Other.Namespace, e.Other.Name))
}

// Is matches [ErrConflict].
func (e *OwnerConflictError) Is(target error) bool { return target == ErrConflict }

// Reason returns OwnershipConflict.
func (e *OwnerConflictError) Reason() string { return "OwnershipConflict" }

// Terminal reports false: the other owner may go away.
func (e *OwnerConflictError) Terminal() bool { return false }

// UnknownKindError names a kind that the server does not serve.
type UnknownKindError struct{ GVK schema.GroupVersionKind }

// Error implements error.
func (e *UnknownKindError) Error() string {
	return fmt.Sprintf("no matches for kind %q in version %q", e.GVK.Kind, e.GVK.GroupVersion().String())
}

// Is matches [ErrKindUnknown].
func (e *UnknownKindError) Is(target error) bool { return target == ErrKindUnknown }

// Reason returns ReconciliationFailed.
func (e *UnknownKindError) Reason() string { return reasonFailed }

// Terminal reports false: the kind may be installed any time.
func (e *UnknownKindError) Terminal() bool { return false }

// DryRunUnsupportedError names an admission webhook that has side effects, so
// that the server refuses dry-runs that would call it.
type DryRunUnsupportedError struct{ Webhook string }

// Error implements error.
func (e *DryRunUnsupportedError) Error() string {
	return oneLine(fmt.Sprintf("admission webhook %q does not support dry-run", e.Webhook))
}

// Reason returns BadRequest, as the API server does.
func (e *DryRunUnsupportedError) Reason() string { return "BadRequest" }

// Terminal reports false.
func (e *DryRunUnsupportedError) Terminal() bool { return false }

// TerminatingError says that an object is being deleted and does not go away.
type TerminatingError struct {
	ID         ID
	Finalizers []string
}

// Error implements error.
func (e *TerminatingError) Error() string {
	return oneLine(fmt.Sprintf("still terminating, finalizers: [%s]", strings.Join(e.Finalizers, ", ")))
}

// Reason returns ReconciliationFailed.
func (e *TerminatingError) Reason() string { return reasonFailed }

// Terminal reports false.
func (e *TerminatingError) Terminal() bool { return false }

// CycleError lists objects that depend on each other in a circle.
type CycleError struct{ Members []ID }

// Error implements error.
func (e *CycleError) Error() string {
	names := make([]string, len(e.Members))
	for i, id := range e.Members {
		names[i] = id.Display()
	}
	return oneLine("dependency cycle: " + strings.Join(names, " → "))
}

// Reason returns ReconciliationFailed.
func (e *CycleError) Reason() string { return reasonFailed }

// Terminal reports true.
func (e *CycleError) Terminal() bool { return true }

// RuleError reports a malformed rule by its index.
type RuleError struct {
	Index int
	Err   error
}

// Error implements error.
func (e *RuleError) Error() string { return oneLine(fmt.Sprintf("rule %d: %v", e.Index, e.Err)) }

// Unwrap returns the cause.
func (e *RuleError) Unwrap() error { return e.Err }

// Reason returns ReconciliationFailed.
func (e *RuleError) Reason() string { return reasonFailed }

// Terminal reports true.
func (e *RuleError) Terminal() bool { return true }

// DecodeError reports a document that is not an object.
type DecodeError struct {
	Document int // from 0
	Line     int // first line of the document, from 1; 0 for JSON
	Err      error
}

// Error implements error.
func (e *DecodeError) Error() string {
	return oneLine(fmt.Sprintf("decode document %d (line %d): %v", e.Document, e.Line, e.Err))
}

// Unwrap returns the cause.
func (e *DecodeError) Unwrap() error { return e.Err }

// Reason returns that of the cause, else ReconciliationFailed.
func (e *DecodeError) Reason() string { return reasonOf(e.Err, reasonFailed) }

// Terminal reports true.
func (e *DecodeError) Terminal() bool { return true }

// throttledError is [ErrThrottled] with the server's wish.
type throttledError struct {
	after time.Duration
	err   error
}

func (e *throttledError) Error() string   { return fmt.Sprintf("%v: %v", ErrThrottled, e.err) }
func (e *throttledError) Unwrap() []error { return []error{ErrThrottled, e.err} }
