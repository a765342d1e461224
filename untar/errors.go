// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"errors"
	"fmt"
)

// contentError is a verdict about content: it stays the same however often
// the same bytes are tried.
type contentError string

func (e contentError) Error() string { return string(e) }

// Reason is the condition reason for the error.
func (e contentError) Reason() string { return "InvalidArchive" }

// Terminal reports that the same bytes are always refused.
func (e contentError) Terminal() bool { return true }

// What an archive can be refused for. Details come as an [*EntryError]
// around them.
var (
	// ErrUnsupportedEntry: a hard link, device, FIFO, sparse file or unknown
	// type, a link under the Fail policy, or a foreign compression format.
	ErrUnsupportedEntry error = contentError("unsupported entry") //nolint:gochecknoglobals // sentinel
	// ErrPathEscape: a name or link that leaves the root, or an entry below a
	// link.
	ErrPathEscape error = contentError("path escapes the root") //nolint:gochecknoglobals // sentinel
	// ErrInvalidArchive: malformed, truncated or contradictory data.
	ErrInvalidArchive error = contentError("invalid archive") //nolint:gochecknoglobals // sentinel
	// ErrNotCompressed: plain data where gzip is required.
	ErrNotCompressed error = contentError("not compressed with gzip") //nolint:gochecknoglobals // sentinel
)

// ErrNotEmpty reports a destination that is neither absent nor an empty
// directory.
var ErrNotEmpty = errors.New("destination is not an empty directory")

// EntryError says which entry of an archive was refused, or could not be
// written.
type EntryError struct {
	// Index counts the entries of the archive from 0, without metadata.
	Index int
	// Name is the entry's name, escaped and cut to 256 bytes.
	Name string
	// Err is the reason.
	Err error
}

// Error names the entry and the reason.
func (e *EntryError) Error() string { return fmt.Sprintf("entry %d %s: %v", e.Index, e.Name, e.Err) }

// Unwrap returns the reason.
func (e *EntryError) Unwrap() error { return e.Err }

// Reason is the condition reason of the cause; "StorageError" if the file
// system refused.
func (e *EntryError) Reason() string {
	var r interface{ Reason() string }
	if errors.As(e.Err, &r) {
		return r.Reason()
	}
	return "StorageError"
}

// Terminal reports whether the same bytes would be refused again.
func (e *EntryError) Terminal() bool {
	var t interface{ Terminal() bool }
	return errors.As(e.Err, &t) && t.Terminal()
}

const maxShownName = 256

func entryError(index int, name string, err error) error {
	if len(name) > maxShownName {
		name = name[:maxShownName]
	}
	q := fmt.Sprintf("%+q", name)
	if len(q) > maxShownName {
		q = q[:maxShownName-4] + `…"`
	}
	return &EntryError{Index: index, Name: q, Err: err}
}

// invalid is an ErrInvalidArchive with a detail.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrInvalidArchive, fmt.Errorf(format, args...))
}

func unsupported(what string) error { return fmt.Errorf("%w: %s", ErrUnsupportedEntry, what) }

func escapes(what string) error { return fmt.Errorf("%w: %s", ErrPathEscape, what) }
