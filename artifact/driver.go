// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"context"
	"io"
	"time"
)

// Driver keeps files. It is safe for concurrent use; the Store serialises
// writes to one key and validates keys before it calls. The interface does
// not grow: further abilities are interfaces of their own.
//
// A driver passes artifacttest.Run.
type Driver interface {
	// Put stores what r gives under key, atomically and durably: when it
	// returned nil, the file survives a power cut, and at no time did a reader
	// see a part of it. A file that was there is replaced as one step. When r
	// fails, nothing changes and Put returns r's error in its chain. When r is
	// a [Content], its Digest is recorded. Seq of the result is larger than
	// that of every file stored before in the same object.
	Put(ctx context.Context, key Key, r io.Reader) (Stat, error)
	// Get opens a file or what a link names; [ErrNotFound] if it is not there.
	// What was opened stays readable when the file is replaced or deleted. A
	// symbolic link or special file that the driver did not make is
	// [ErrCorrupt]. The reader may be an [Identified] and a [Filer].
	Get(ctx context.Context, key Key) (io.ReadSeekCloser, Stat, error)
	// List returns the files of an object, without links, in no order. An
	// object that is not there has none.
	List(ctx context.Context, object Key) ([]Stat, error)
	// Delete removes files and links. What is not there is no error. When the
	// last file of an object is gone, its links and its place are removed, too.
	Delete(ctx context.Context, keys ...Key) error
}

// Stat describes a stored file.
type Stat struct {
	// Key is the file; behind a link, the file it names.
	Key Key
	// Size is the length in bytes.
	Size int64
	// Digest is what was recorded when the file was written; empty if that
	// was lost or the file is not as it was written.
	Digest string
	// Seq orders the files of an object by their writing.
	Seq uint64
	// Written is the wall-clock time of writing.
	Written time.Time
}

// Content is the reader that a Store passes to [Driver.Put].
type Content interface {
	io.Reader
	// Digest is the digest of all bytes; valid after io.EOF.
	Digest() string
}

// Identified is a reader of [Driver.Get] that can tell whether it is the
// same unchanged file as before.
type Identified interface {
	// Identity changes whenever the file's bytes could have: inode, size,
	// time of change.
	Identity() string
}

// Linker is a driver that has stable names.
type Linker interface {
	// Link makes name, in the directory of key, stand for key. A link of that
	// name is replaced as one step.
	Link(ctx context.Context, key Key, name string) error
}

// Quarantiner is a driver that can put a file aside.
type Quarantiner interface {
	// Quarantine takes the file out of sight, to be looked at by a human.
	Quarantine(ctx context.Context, key Key) error
}

// Spacer is a driver that knows its free space.
type Spacer interface {
	// Space returns free and total bytes.
	Space(ctx context.Context) (free, total int64, err error)
}

// Keeper is a driver that reads through a cache.
type Keeper interface {
	// Keep makes sure that the file that Get gave is in the storage itself, not
	// in the cache alone: it asks, and stores what was lost again from the
	// cache. [ErrNotFound] if it cannot: then the file has to be written anew.
	// It may be called while Put reads.
	Keep(ctx context.Context, key Key) (restored bool, err error)
}

// Sweeper is a driver that can clean up after a crash and list objects.
type Sweeper interface {
	// Sweep removes what a crash left and old quarantine.
	Sweep(ctx context.Context) error
	// Objects lists the keys of all objects.
	Objects(ctx context.Context) ([]Key, error)
}
