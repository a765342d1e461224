// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import "github.com/gitops-kit/sdk/untar/internal/limits"

// LimitError names the limit that an archive exceeded.
type LimitError = limits.LimitError

// ErrLimit matches every [LimitError].
var ErrLimit = limits.ErrLimit //nolint:errname // a sentinel shared by all modules

const (
	limitCompressed = "tar-compressed"
	limitExpanded   = "tar-expanded"
	limitFile       = "tar-file"
	limitEntries    = "tar-entries"
	limitDepth      = "tar-depth"
	limitPath       = "tar-path"
	limitComponent  = "tar-component"
	limitPAX        = "tar-pax"
	limitHops       = "link hops"
	limitLinks      = "tar-links"
)

// Limits bound an archive. In each field 0 is the default and a negative
// number is unlimited. The value itself is accepted.
type Limits struct {
	// Compressed bounds the input in bytes. Default 256 MiB (tar-compressed).
	Compressed int64
	// Expanded bounds the decompressed bytes, headers and padding included.
	// Default 1 GiB (tar-expanded).
	Expanded int64
	// File bounds the content of one file in bytes. Default 512 MiB (tar-file).
	File int64
	// Entries bounds the entries, skipped ones included, and apart from them
	// the directories that are there only because an entry is below. Default
	// 100,000 (tar-entries).
	Entries int64
	// Depth bounds the components of a path. Default 128 (tar-depth).
	Depth int64
	// Path bounds a path in bytes. Default 4,096 (tar-path).
	Path int64
	// Component bounds one component in bytes. Default 255 (tar-component).
	Component int64
	// PAX bounds one metadata record (PAX, GNU long name) in bytes. Default
	// 1 MiB (tar-pax).
	PAX int64
	// Hops bounds a chain of links. Default 10 (link hops).
	Hops int64
	// Links bounds the paths and targets of all link entries together, in
	// bytes, where links are made (Inside). Default 8 MiB (tar-links).
	Links int64
}

// Unlimited lists the names of the limits that are switched off.
func (l Limits) Unlimited() []string {
	var out []string
	for _, f := range []struct {
		name string
		v    int64
	}{
		{limitCompressed, l.Compressed},
		{limitExpanded, l.Expanded},
		{limitFile, l.File},
		{limitEntries, l.Entries},
		{limitDepth, l.Depth},
		{limitPath, l.Path},
		{limitComponent, l.Component},
		{limitPAX, l.PAX},
		{limitHops, l.Hops},
		{limitLinks, l.Links},
	} {
		if f.v < 0 {
			out = append(out, f.name)
		}
	}
	return out
}

func (l Limits) compressed() int64 { return limits.Or(l.Compressed, 256<<20) }
func (l Limits) expanded() int64   { return limits.Or(l.Expanded, 1<<30) }
func (l Limits) file() int64       { return limits.Or(l.File, 512<<20) }
func (l Limits) entries() int64    { return limits.Or(l.Entries, 100_000) }
func (l Limits) depth() int64      { return limits.Or(l.Depth, 128) }
func (l Limits) path() int64       { return limits.Or(l.Path, 4096) }
func (l Limits) component() int64  { return limits.Or(l.Component, 255) }
func (l Limits) pax() int64        { return limits.Or(l.PAX, 1<<20) }
func (l Limits) hops() int64       { return limits.Or(l.Hops, 10) }
func (l Limits) links() int64      { return limits.Or(l.Links, 8<<20) }
