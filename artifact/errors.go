// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"errors"
	"fmt"

	"github.com/gitops-kit/sdk/artifact/fetch"
	"github.com/gitops-kit/sdk/artifact/internal/limits"
	"github.com/gitops-kit/sdk/untar/digest"
)

// sentinel is an error with a fixed reason.
type sentinel struct {
	text, reason string
	terminal     bool
}

func (s *sentinel) Error() string  { return s.text }
func (s *sentinel) Reason() string { return s.reason }
func (s *sentinel) Terminal() bool { return s.terminal }

// What an operation can fail for. Test with errors.Is.
var (
	// ErrNotFound: no such file.
	ErrNotFound = fetch.ErrNotFound
	// ErrDigestMismatch: the bytes are not those of the digest. Details are in
	// a [*DigestError].
	ErrDigestMismatch = fetch.ErrDigestMismatch
	// ErrSizeMismatch: the length is not the expected one.
	ErrSizeMismatch = fetch.ErrSizeMismatch
	// ErrUnsupportedDigest: malformed digest or unknown algorithm.
	ErrUnsupportedDigest = digest.ErrUnsupported
	// ErrStorageFull: too little space is left, also after collection.
	ErrStorageFull error = &sentinel{"storage is full", "StorageFull", false} //nolint:gochecknoglobals // sentinel
	// ErrCorrupt: a stored file is not what was stored. It was moved away.
	ErrCorrupt error = &sentinel{"stored file is corrupt", "StorageError", false} //nolint:gochecknoglobals // sentinel
	// ErrConflict: the key holds other content and the write was Immutable.
	ErrConflict error = &sentinel{"key holds other content", "StorageError", true} //nolint:gochecknoglobals // sentinel
	// ErrInvalidKey: a key that is not of the grammar.
	ErrInvalidKey error = &sentinel{"invalid key", "StorageError", true} //nolint:gochecknoglobals // sentinel
	// ErrLocked: another process writes to this storage.
	ErrLocked error = &sentinel{"storage is locked by another process", "StorageError", false} //nolint:gochecknoglobals // sentinel
	// ErrReadOnly: the store was opened for reading.
	ErrReadOnly error = &sentinel{"storage is read-only", "StorageError", false} //nolint:gochecknoglobals // sentinel
	// ErrNoCurrent: Collect was called without the current artifact.
	ErrNoCurrent = errors.New("no current artifact given")
)

// DigestError has the digests of a mismatch.
type DigestError = fetch.DigestError

// LimitError names the limit that was exceeded.
type LimitError = limits.LimitError

// ErrLimit matches every [LimitError].
var ErrLimit = limits.ErrLimit //nolint:errname // a sentinel shared by all modules

// Error says which operation failed on which key.
type Error struct {
	// Op is the operation: write, open, check, link, collect, remove, sweep.
	Op string
	// Key is the file or object.
	Key Key
	// Err is the reason.
	Err error
}

// Error names operation and key.
func (e *Error) Error() string { return fmt.Sprintf("%s %q: %v", e.Op, e.Key.String(), e.Err) }

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Reason is the condition reason of the cause; "StorageError" if it has
// none.
func (e *Error) Reason() string {
	var r interface{ Reason() string }
	if errors.As(e.Err, &r) {
		return r.Reason()
	}
	return "StorageError"
}

// Terminal reports whether trying again is pointless.
func (e *Error) Terminal() bool {
	var t interface{ Terminal() bool }
	return errors.As(e.Err, &t) && t.Terminal()
}

func opError(op string, k Key, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Op: op, Key: k, Err: err}
}
