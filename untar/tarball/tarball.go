// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tarball

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"

	"github.com/gitops-kit/sdk/untar/ignore"
	"github.com/gitops-kit/sdk/untar/internal/deflate"
	"github.com/gitops-kit/sdk/untar/internal/limits"
)

// Compression is the outer format.
type Compression int

// The formats.
const (
	Gzip Compression = iota // gzip in independent members, layout gkz1
	None                    // plain tar
)

// Level says how hard to compress.
type Level int

// The levels.
const (
	Default Level = iota // about gzip -6
	Fast                 // about gzip -2
	Store                // no compression, inside gzip
)

// ModePolicy says which modes are written.
type ModePolicy int

// The policies.
const (
	Normalised ModePolicy = iota // 0600, 0700 with any x bit, directories 0750
	Portable                     // 0644, 0755 with any x bit, directories 0755
	Keep                         // the permission bits as given
)

// Options control packing. The zero value packs everything with gzip,
// normalised modes and a sha256 digest.
type Options struct {
	// Compression is the outer format. Zero: Gzip.
	Compression Compression
	// Level is the effort. Zero: Default.
	Level Level
	// Ignore leaves out what it ignores. Nil: nothing.
	Ignore *ignore.Matcher
	// Skip leaves out paths for which it returns true; a directory then with
	// all its content. It is not called concurrently. Nil: nothing.
	Skip func(path string, dir bool) bool
	// Modes is the policy for modes. Zero: Normalised.
	Modes ModePolicy
	// Digests are the algorithms of package digest to compute over the output.
	// Empty: sha256.
	Digests []string
	// Jobs bounds the concurrent compressors. Zero: the number of cores, at
	// most 4. The output does not depend on it.
	Jobs int
	// Limits bound the tree. The zero value has the defaults.
	Limits Limits
}

// Result describes an archive.
type Result struct {
	// Digests are the digests of the output, "<algorithm>:<hex>", by algorithm.
	Digests map[string]string
	// DiffID is the sha256 digest of the tar stream inside.
	DiffID string
	// Size and Expanded count the bytes of the output and of the tar stream.
	Size, Expanded int64
	// Files and Dirs count the entries.
	Files, Dirs int
	// Skipped are the first 1,000 paths that were left out because they are
	// neither files nor directories, as links.
	Skipped []string
}

const maxSkipped = 1000

// What adding an entry can be refused for, in an [*EntryError].
var (
	// ErrOrder: out of order, twice, or below a directory that was not added.
	ErrOrder = errors.New("entry out of order")
	// ErrChanged: the content has another length than was announced.
	ErrChanged = errors.New("file changed while it was read")
	// ErrName: the path is not clean and relative.
	ErrName = errors.New("invalid entry name")
	// ErrClosed: the writer was closed.
	ErrClosed = errors.New("writer is closed")
)

// EntryError names the entry that could not be added.
type EntryError struct {
	// Path is the entry, escaped and cut to 256 bytes.
	Path string
	// Err is the reason.
	Err error
}

// Error names the entry and the reason.
func (e *EntryError) Error() string { return fmt.Sprintf("pack %s: %v", e.Path, e.Err) }

// Unwrap returns the reason.
func (e *EntryError) Unwrap() error { return e.Err }

// Reason is the condition reason of the cause; "ArchiveOperationFailed" if
// it has none.
func (e *EntryError) Reason() string {
	var r interface{ Reason() string }
	if errors.As(e.Err, &r) {
		return r.Reason()
	}
	return "ArchiveOperationFailed"
}

// Terminal reports whether the same tree would be refused again.
func (e *EntryError) Terminal() bool {
	var t interface{ Terminal() bool }
	return errors.As(e.Err, &t) && t.Terminal()
}

func entryError(path string, err error) error {
	if len(path) > 256 {
		path = path[:256]
	}
	q := fmt.Sprintf("%+q", path)
	if len(q) > 256 {
		q = q[:252] + `…"`
	}
	return &EntryError{Path: q, Err: err}
}

// LimitError names the limit that a tree exceeded.
type LimitError = limits.LimitError

// ErrLimit matches every [LimitError].
var ErrLimit = limits.ErrLimit //nolint:errname // a sentinel shared by all modules

// Limits bound what is packed. In each field 0 is the default and a negative
// number is unlimited. The names and defaults are those of extraction.
type Limits struct {
	// Expanded bounds the tar stream in bytes. Default 1 GiB (tar-expanded).
	Expanded int64
	// Compressed bounds the output in bytes. Default 256 MiB (tar-compressed).
	Compressed int64
	// File bounds one file in bytes. Default 512 MiB (tar-file).
	File int64
	// Entries bounds the entries. Default 100,000 (tar-entries).
	Entries int64
	// Depth bounds the components of a path. Default 128 (tar-depth).
	Depth int64
	// Path bounds a path in bytes. Default 4,096 (tar-path).
	Path int64
	// Component bounds one name in bytes. Default 255 (tar-component).
	Component int64
}

// Unlimited lists the names of the limits that are switched off.
func (l Limits) Unlimited() []string { return limits.Unlimited(l) }

func (l Limits) expanded() int64   { return limits.Or(l.Expanded, 1<<30) }
func (l Limits) compressed() int64 { return limits.Or(l.Compressed, 256<<20) }
func (l Limits) file() int64       { return limits.Or(l.File, 512<<20) }
func (l Limits) entries() int64    { return limits.Or(l.Entries, 100_000) }
func (l Limits) depth() int64      { return limits.Or(l.Depth, 128) }
func (l Limits) path() int64       { return limits.Or(l.Path, 4096) }
func (l Limits) component() int64  { return limits.Or(l.Component, 255) }

func (o Options) jobs() int {
	if o.Jobs > 0 {
		return o.Jobs
	}
	return min(4, runtime.GOMAXPROCS(0))
}

func (l Level) deflate() deflate.Level {
	switch l {
	case Fast:
		return deflate.Fast
	case Store:
		return deflate.Store
	}
	return deflate.Default
}

// mode applies the policy.
func (p ModePolicy) mode(m fs.FileMode) int64 {
	exec := m&0o111 != 0
	switch {
	case p == Keep:
		return int64(m.Perm())
	case p == Portable && (m.IsDir() || exec):
		return 0o755
	case p == Portable:
		return 0o644
	case m.IsDir():
		return 0o750
	case exec:
		return 0o700
	}
	return 0o600
}
