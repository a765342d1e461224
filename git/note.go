// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"fmt"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/git/internal/wire"
)

// NoteKind says what was unusual.
type NoteKind string

// The notes. None is an error; each names something that was slower or other
// than it could be.
const (
	// ProtocolV0 says that the server does not speak version 2.
	ProtocolV0 NoteKind = "ProtocolV0"
	// FilterUnsupported says that everything was fetched for a sparse checkout.
	FilterUnsupported NoteKind = "FilterUnsupported"
	// ExactFetchRefused says that the commit was found by way of a reference.
	ExactFetchRefused NoteKind = "ExactFetchRefused"
	// ShallowUnsupported says that the whole history was fetched.
	ShallowUnsupported NoteKind = "ShallowUnsupported"
	// RefMoved says that the reference moved between listing and fetch, and the new commit was taken.
	RefMoved NoteKind = "RefMoved"
	// RefsDropped says that the server listed names that cannot be.
	RefsDropped NoteKind = "RefsDropped"
	// LinkRefused says that symbolic links were left out.
	LinkRefused NoteKind = "LinkRefused"
	// MirrorMiss says that the mirror was damaged and not used.
	MirrorMiss NoteKind = "MirrorMiss"
)

// Note is something worth knowing about a result.
type Note struct {
	Kind NoteKind
	Text string // one line, safe to show
}

// String returns kind and text.
func (n Note) String() string { return string(n.Kind) + ": " + n.Text }

func droppedNote(d wire.Dropped) []Note {
	if d.Count == 0 {
		return nil
	}
	quoted := make([]string, len(d.Names))
	for i, n := range d.Names {
		quoted[i] = fmt.Sprintf("%q", n)
	}
	return []Note{{RefsDropped, fmt.Sprintf("%d references with invalid names: %s", d.Count, strings.Join(quoted, ", "))}}
}

// Stats measure an operation.
type Stats struct {
	Requests  int           // HTTP requests or ssh sessions
	Received  int64         // bytes of the protocol
	Objects   int           // in the pack
	Files     int64         // written, links included
	Written   int64         // bytes written
	PackTime  time.Duration // request, transfer, ids
	WriteTime time.Duration // walk and files
}

func (s *Stats) add(o Stats) {
	s.Requests += o.Requests
	s.Received += o.Received
	s.Objects += o.Objects
}
