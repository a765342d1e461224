// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"time"

	"github.com/gitops-kit/sdk/kustomize/internal/limits"
)

// LimitError reports a limit that the input exceeded. It matches [ErrLimit].
type LimitError = limits.LimitError

// ErrLimit is matched by every [*LimitError].
var ErrLimit = limits.ErrLimit

// Limits bound what a tree may cost. Zero means the default in the comment, a
// negative value no bound. Builds that bring a schema have lower bounds where a
// second number is given, because nothing can run beside them.
type Limits struct {
	// File bounds the bytes of one file ("build-file"): 10 MiB.
	File int64
	// Files bounds how many files one build reads ("build-files"): 10,000.
	Files int64
	// Total bounds the bytes of all files of one build ("build-total"): 64 MiB,
	// 16 MiB with a schema.
	Total int64
	// Time bounds one build ("build-time"): 120 s, 30 s with a schema.
	Time time.Duration
	// BaseDepth bounds the nesting of kustomizations ("base-depth"): 64.
	BaseDepth int64
	// DocExpanded bounds the bytes of one YAML document after its aliases are
	// expanded ("doc-expanded"): 16 MiB.
	DocExpanded int64
	// Depth bounds the nesting inside one YAML document ("yaml-depth"): 256.
	Depth int64
	// Docs bounds the YAML documents of one build ("docs"): 50,000.
	Docs int64
	// Objects bounds the objects of one build ("objects"): 20,000, 2,000 with a
	// schema.
	Objects int64
	// Components bounds the component entries of one build
	// ("build-components"): 1,000.
	Components int64
	// Patches bounds the patches of one build ("build-patches"): 5,000.
	Patches int64
	// PatchPath bounds the bytes of a JSON patch path ("json-patch-path"): 1,024.
	PatchPath int64
	// PatchIndex bounds an array index in a JSON patch path
	// ("json-patch-index"): 65,536.
	PatchIndex int64
	// Schema bounds the bytes of an OpenAPI schema ("build-schema"): 8 MiB.
	Schema int64
	// Remotes bounds the distinct remote entries of one build
	// ("build-remotes"): 20.
	Remotes int64
	// RemoteDepth bounds how deep remote trees refer to further remote trees
	// ("remote-depth"): 4.
	RemoteDepth int64
	// Vars bounds the number of variables ("substitution-vars"): 10,000.
	Vars int64
	// Value bounds the bytes of one variable ("substitution-value"): 1 MiB.
	Value int64
	// Object bounds the bytes of one object after substitution
	// ("substitution-object"): 16 MiB.
	Object int64
	// Substituted bounds the bytes of all objects after substitution
	// ("substitution-total"): 64 MiB.
	Substituted int64
}

// Unlimited lists the fields that are set negative, so that a caller who logs
// can say so once.
func (l Limits) Unlimited() []string { return limits.Unlimited(l) }

const (
	kib = 1 << 10
	mib = 1 << 20
)

// effective returns the bounds in force, for a build in the schema lane if lane
// is set.
func (l Limits) effective(lane bool) Limits {
	total, objects, wait := int64(64*mib), int64(20_000), 120*time.Second
	if lane {
		total, objects, wait = 16*mib, 2_000, 30*time.Second
	}
	return Limits{
		File:        limits.Or(l.File, 10*mib),
		Files:       limits.Or(l.Files, 10_000),
		Total:       limits.Or(l.Total, total),
		Time:        time.Duration(limits.Or(int64(l.Time), int64(wait))),
		BaseDepth:   limits.Or(l.BaseDepth, 64),
		DocExpanded: limits.Or(l.DocExpanded, 16*mib),
		Depth:       limits.Or(l.Depth, 256),
		Docs:        limits.Or(l.Docs, 50_000),
		Objects:     limits.Or(l.Objects, objects),
		Components:  limits.Or(l.Components, 1_000),
		Patches:     limits.Or(l.Patches, 5_000),
		PatchPath:   limits.Or(l.PatchPath, 1_024),
		PatchIndex:  limits.Or(l.PatchIndex, 65_536),
		Schema:      limits.Or(l.Schema, 8*mib),
		Remotes:     limits.Or(l.Remotes, 20),
		RemoteDepth: limits.Or(l.RemoteDepth, 4),
		Vars:        limits.Or(l.Vars, 10_000),
		Value:       limits.Or(l.Value, mib),
		Object:      limits.Or(l.Object, 16*mib),
		Substituted: limits.Or(l.Substituted, 64*mib),
	}
}
