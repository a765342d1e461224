// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/gitops-kit/sdk/kustomize/internal/redact"
)

// Which case an error is; see the package documentation.
var (
	// ErrPathEscape reports a path that leaves its tree.
	ErrPathEscape = errors.New("path escapes the tree")
	// ErrRemote reports a remote entry where none is allowed.
	ErrRemote = errors.New("remote entries are not allowed")
	// ErrForbidden reports a plugin, Helm or function field.
	ErrForbidden = errors.New("field is not allowed")
	// ErrNoSuchFile reports a local entry that does not exist.
	ErrNoSuchFile = errors.New("no such file or directory")
	// ErrSchemaBusy reports that a build with a schema of its own, or a build
	// behind one, waited too long for its turn. Trying again helps.
	ErrSchemaBusy = errors.New("schema is in use by other builds")
	// ErrOpenAPIVersion reports an openapi version that is not built in.
	ErrOpenAPIVersion = errors.New("openapi version is not built in")
	// ErrDuplicateObject reports two objects of one identity.
	ErrDuplicateObject = errors.New("duplicate object")
	// ErrVariable reports a failed substitution.
	ErrVariable = errors.New("variable substitution")
	// ErrInvalid reports content that is not a kustomization or not a set of
	// Kubernetes objects.
	ErrInvalid = errors.New("invalid content")
	// ErrOptions reports options that contradict each other or lack a value.
	ErrOptions = errors.New("invalid options")
)

// BuildError says where a build failed.
type BuildError struct {
	File  string // slash path in the tree, "" if unknown
	Doc   int    // YAML document in File, from 1; 0 if unknown
	Line  int    // line in File, from 1; 0 if unknown
	Field string // field of the kustomization, "resources[2]"
	Err   error
}

// Error ends with the place in parentheses.
func (e *BuildError) Error() string {
	msg := redact.Text(e.Err.Error(), 4*kib)
	if e.Field != "" {
		msg = e.Field + ": " + msg
	}
	if e.File == "" {
		return msg
	}
	return msg + " (from " + place(e.File, e.Line) + ")"
}

// Unwrap returns Err.
func (e *BuildError) Unwrap() error { return e.Err }

// Reason returns the condition reason, "BuildFailed".
func (e *BuildError) Reason() string { return reasonOf(e.Err, "BuildFailed") }

// Terminal reports whether the same tree and options fail again. Errors of
// hooks, of a RemoteFunc and of the deadline are terminal only if they say so.
func (e *BuildError) Terminal() bool { return terminal(e.Err) }

// VariableError says which variable could not be replaced, and where.
type VariableError struct {
	Name   string // "" if the expression has none
	Object string // "apiVersion/Kind/name", as the files spell it
	File   string
	Line   int
	Path   string // JSON path of the field, "" if the error is about the object
	Why    string // never contains a value
}

// Error names the object and ends with the place in parentheses.
func (e *VariableError) Error() string {
	msg := e.Why
	if e.Path != "" {
		msg += " at " + e.Path
	}
	if e.Object != "" {
		msg = "post build failed for '" + e.Object + "': " + msg
	}
	if e.File == "" {
		return msg
	}
	return msg + " (from " + place(e.File, e.Line) + ")"
}

// Is matches [ErrVariable].
func (e *VariableError) Is(target error) bool { return target == ErrVariable }

// Reason returns the condition reason, "BuildFailed".
func (e *VariableError) Reason() string { return "BuildFailed" }

// Terminal reports true: the same tree and variables fail again.
func (e *VariableError) Terminal() bool { return true }

// PanicError is a panic inside an engine or hook.
type PanicError struct {
	Value any
	Stack []byte
}

// Error names the type of the value; Stack is for the log.
func (e *PanicError) Error() string {
	return "panic while building: " + redact.Text(strings.ReplaceAll(fmt.Sprint(e.Value), "\n", " "), 512)
}

// Reason returns the condition reason, "BuildFailed".
func (e *PanicError) Reason() string { return "BuildFailed" }

// Terminal reports true: the same tree panics again.
func (e *PanicError) Terminal() bool { return true }

// busyError is ErrSchemaBusy with the behaviour of a transient error.
type busyError struct{ lane bool }

func (e *busyError) Error() string {
	if e.lane {
		return ErrSchemaBusy.Error() + ": builds did not end in time"
	}
	return ErrSchemaBusy.Error() + ": a build with its own schema did not end in time"
}
func (e *busyError) Is(target error) bool { return target == ErrSchemaBusy }
func (e *busyError) Reason() string       { return "BuildFailed" }
func (e *busyError) Terminal() bool       { return false }

// external marks an error of a hook or RemoteFunc: transient unless it says
// otherwise.
type external struct{ error }

func (e external) Unwrap() error  { return e.error }
func (e external) Terminal() bool { return says(e.error) }

func says(err error) bool {
	var t interface{ Terminal() bool }
	return errors.As(err, &t) && t.Terminal()
}

func terminal(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return false
	}
	var t interface{ Terminal() bool }
	if errors.As(err, &t) {
		return t.Terminal()
	}
	return true
}

func reasonOf(err error, fallback string) string {
	var r interface{ Reason() string }
	if errors.As(err, &r) {
		return r.Reason()
	}
	return fallback
}

func place(file string, line int) string {
	if line <= 0 {
		return file
	}
	return file + ":" + strconv.Itoa(line)
}

func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}
