// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
)

var (
	// ErrObjectNotFound reports an id that the store does not hold.
	ErrObjectNotFound = errors.New("object not found")
	// ErrUnsupportedFormat reports a hash function the driver does not have.
	ErrUnsupportedFormat = errors.New("unsupported object format")
	// ErrMalformedPack reports a pack that is not what Git defines.
	ErrMalformedPack = errors.New("malformed pack")
	// ErrMalformedObject reports an object that is not what Git defines, or
	// whose bytes do not have its id.
	ErrMalformedObject = errors.New("malformed object")
)

// Type is the type of an object.
type Type uint8

// The object types, with their numbers in a pack.
const (
	Commit Type = 1
	Tree   Type = 2
	Blob   Type = 3
	Tag    Type = 4
)

// String returns Git's name of the type.
func (t Type) String() string {
	switch t {
	case Commit:
		return "commit"
	case Tree:
		return "tree"
	case Blob:
		return "blob"
	case Tag:
		return "tag"
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// ParseType reads Git's name of a type.
func ParseType(s string) (Type, error) {
	switch s {
	case "commit":
		return Commit, nil
	case "tree":
		return Tree, nil
	case "blob":
		return Blob, nil
	case "tag":
		return Tag, nil
	}
	return 0, fmt.Errorf("object type %q: %w", s, ErrMalformedObject)
}

// Driver opens object databases. Safe for concurrent use. It may not grow.
type Driver interface {
	// Name is short and constant, for notes and test names.
	Name() string
	// Formats lists the hash functions that Open accepts.
	Formats() []Format
	// Open opens the object database below gitDir/objects, and creates it
	// where it is missing. It reads no configuration, no alternates, no
	// environment. Without the format in o: ErrUnsupportedFormat.
	Open(ctx context.Context, gitDir string, o OpenOptions) (Store, error)
}

// OpenOptions say what to open.
type OpenOptions struct {
	// Format is the hash function. Zero: SHA-1.
	Format Format
	// MaxObject bounds what Get returns, in bytes. Zero: 256 MiB; negative: no bound.
	MaxObject int64
	// MaxDeltaDepth bounds delta chains. Zero: 4,095; negative: no bound.
	MaxDeltaDepth int64
}

// PackOptions say what a pack may be.
type PackOptions struct {
	// Size is the length of the pack in bytes, trailer included. The client
	// has checked the trailer and counted the objects. Zero: unknown.
	Size int64
	// Thin is set when delta bases may be objects that the store holds already.
	Thin bool
}

// PackStats tell what a pack held.
type PackStats struct {
	Objects int
	Deltas  int
	Bytes   int64
}

// Store is one object database. It may not grow: optional abilities are
// interfaces of their own.
type Store interface {
	// Get returns a whole object, or ErrObjectNotFound, or a limit error.
	Get(ctx context.Context, id Hash) (Type, []byte, error)
	// AddPack adds the objects of a pack. They are visible after it returned
	// nil and not before; after an error nothing of it is left.
	AddPack(ctx context.Context, r io.Reader, o PackOptions) (PackStats, error)
	// Put adds one object.
	Put(ctx context.Context, t Type, body []byte) (Hash, error)
	// Pack writes a pack of all objects reachable from want and not from have.
	// Objects of have that the store lacks are ignored, and so are parents
	// that it lacks.
	Pack(ctx context.Context, w io.Writer, want, have []Hash) (PackStats, error)
	// Close frees the store.
	Close() error
}

// BlobReader is an optional ability of a Store: streaming a blob.
type BlobReader interface {
	// Open returns the content of a blob and its size.
	Open(ctx context.Context, id Hash) (io.ReadCloser, int64, error)
}

// Unwrapper is an optional ability of a Store: the library object beneath.
type Unwrapper interface{ Unwrap() any }
