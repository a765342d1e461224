// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"errors"
	"io/fs"

	"github.com/gitops-kit/sdk/apis/meta"
	v1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/sign"
)

// Step names the part of a run in which an error happened; the same error
// means different things in different steps.
type Step string

// The steps that have conditions of their own.
const (
	StepStorage Step = "storage"
	StepFetch   Step = "fetch"
	StepVerify  Step = "verify"
	StepInclude Step = "include"
	StepStore   Step = "store"
)

// Class says what happens after an error.
type Class int

// Generic errors are retried with backoff, waiting ones when the object they
// wait for changes, stalling ones when the spec or a watched object changes.
const (
	Generic Class = iota
	Waiting
	Stalling
)

// RunError is an error that has been assigned its condition, reason and class.
// It hides the engine's own verdict on whether a retry is pointless: here
// Class decides.
type RunError struct {
	Condition string // type of the condition that tells it
	Why       string // reason
	Class     Class
	Text      string
	Err       error
}

// Error returns the text that becomes the condition's message.
func (e *RunError) Error() string { return e.Text }

// Is reports whether the cause matches target. There is no Unwrap: an error
// in the cause must not overrule Class.
func (e *RunError) Is(target error) bool { return errors.Is(e.Err, target) }

// Reason returns the condition's reason.
func (e *RunError) Reason() string { return e.Why }

// Terminal reports whether the object stalls.
func (e *RunError) Terminal() bool { return e.Class == Stalling }

type reasoner interface{ Reason() string }

// reasonOf returns the reason the engine gave an error, or fallback.
func reasonOf(err error, fallback string) string {
	var r reasoner
	if errors.As(err, &r) && r.Reason() != "" {
		return r.Reason()
	}
	return fallback
}

// Reason assigns condition type, reason and class to an error of a step, by
// type and never by text.
func Reason(step Step, err error) (condition, reason string, class Class) {
	if f, ok := errors.AsType[*RunError](err); ok {
		return f.Condition, f.Why, f.Class
	}
	switch step {
	case StepStorage, StepStore:
		return v1.StorageOperationFailedCondition, storageReason(step, err), Generic
	case StepInclude:
		if errors.Is(err, artifact.ErrNotFound) {
			return v1.IncludeUnavailableCondition, "NoArtifact", Waiting
		}
		return v1.StorageOperationFailedCondition, "CopyFailure", Generic
	default:
	}
	return gitReason(err)
}

func gitReason(err error) (condition, reason string, class Class) {
	var verify *git.VerificationError
	switch {
	case errors.Is(err, git.ErrNotATag):
		return v1.SourceVerifiedCondition, v1.InvalidVerificationModeReason, Stalling
	case errors.As(err, &verify) && verify.Step == "tag" && errors.Is(err, sign.ErrUnsigned):
		return v1.SourceVerifiedCondition, v1.InvalidGitObjectReason, Generic
	case errors.Is(err, git.ErrVerificationFailed), errors.Is(err, git.ErrTagNameMismatch):
		return v1.SourceVerifiedCondition, reasonOf(err, v1.VerificationError), Generic
	case errors.Is(err, git.ErrInvalidURL):
		return v1.FetchFailedCondition, v1.URLInvalidReason, Stalling
	}
	reason = reasonOf(err, v1.GitOperationFailedReason)
	switch reason {
	case v1.AuthenticationFailedReason, "EmptyGitRepository", meta.LimitExceededReason, "AddressBlocked":
	default:
		reason = v1.GitOperationFailedReason
	}
	return v1.FetchFailedCondition, reason, Generic
}

func storageReason(step Step, err error) string {
	var limit interface{ Limit() string }
	switch {
	case errors.Is(err, artifact.ErrStorageFull):
		return "StorageFull"
	case errors.As(err, &limit):
		return meta.LimitExceededReason
	case errors.Is(err, artifact.ErrInvalidKey):
		return "InvalidPath"
	case errors.Is(err, artifact.ErrLocked):
		return "AcquireLockFailed"
	case step == StepStorage && errors.Is(err, fs.ErrNotExist):
		return "DirectoryCreationFailed"
	case step == StepStorage:
		return "StatOperationFailed"
	}
	return "ArchiveOperationFailed"
}
