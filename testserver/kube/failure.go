// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"encoding/json"
	"errors"
	"strings"
)

// Errors of a control plane that does not start; a [*StartError] says more.
var (
	// ErrStart is what every [*StartError] unwraps to.
	ErrStart = errors.New("control plane did not start")
	// ErrNotReady says that something was not ready within three minutes.
	ErrNotReady = errors.New("control plane is not ready in time")
	// ErrDiskFull says that there was no room for its data: on the disk, or by
	// a quota or a limit on the size of files.
	ErrDiskFull = errors.New("no room for the control plane's data")
)

// StartError says why the control plane program ended before it was ready.
type StartError struct {
	// Component that failed, such as "etcd", or "" for the program itself.
	Component string
	// Message is what it said, in one line.
	Message string
	// Log is the end of its log, at most 16 KiB; it may be "".
	Log string
	// Err is ErrNotReady, ErrDiskFull or the exit status.
	Err error

	reason string
}

// Error is the message, and the log in the lines below.
func (e *StartError) Error() string {
	text := "control plane ended before it was ready: " + e.Message
	if e.Log != "" {
		text += "\n" + e.Log
	}
	return text
}

// Unwrap returns ErrStart and the cause.
func (e *StartError) Unwrap() []error { return []error{ErrStart, e.Err} }

// Reason is a word for conditions and reports: "NotReady", "DiskFull" or
// "Failed".
func (e *StartError) Reason() string { return e.reason }

// Terminal reports whether trying again is pointless: it may be for a wrong
// flag, but nobody can tell.
func (e *StartError) Terminal() bool { return false }

// failedWord begins the line with which the program says why it ends.
const failedWord = "FAILED"

// startError puts together what the program left.
func startError(line, stderr string, exit error) *StartError {
	var said struct{ Reason, Component, Message string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, failedWord)), &said); err != nil {
		// It was killed, or could not say it.
		return &StartError{Message: exit.Error(), Log: stderr, Err: exit, reason: "Failed"}
	}
	e := &StartError{Component: said.Component, Message: said.Message, Err: exit, reason: said.Reason}
	switch said.Reason {
	case "NotReady":
		e.Err = ErrNotReady
	case "DiskFull":
		e.Err = ErrDiskFull
	}
	// The last line is the message once more.
	if end := strings.LastIndex(stderr, "controlplane: "); end >= 0 {
		e.Log = strings.TrimSpace(stderr[:end])
	}
	return e
}
