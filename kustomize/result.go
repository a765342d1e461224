// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Result is what a build made. It is returned next to an error, too, with the
// Inputs and Warnings so far. Nothing in it is shared with other results.
type Result struct {
	// Objects in build order.
	Objects []Object
	// Warnings about deprecated fields, unknown keys, further schemas.
	Warnings []Warning
	// Inputs are the files the build read, and what it found absent.
	Inputs []Input
	// Digest identifies the build: equal digests mean equal objects. It is the
	// hex SHA-256 over Inputs, Spec, the options that matter, and versions.
	Digest string
	// Stats are the build's numbers.
	Stats Stats

	sources map[*unstructured.Unstructured]Origin
	byID    map[objectID]Origin
}

// Object is an object and where it came from.
type Object struct {
	*unstructured.Unstructured
	Origin Origin
}

// Origin is a place in the tree.
type Origin struct {
	// File is the slash path of the file, or of the kustomization whose
	// generator made the object. "" if unknown.
	File string
	// Doc is the YAML document in File, from 1. 0 if unknown.
	Doc int
	// Line is where the document starts, from 1. 0 if unknown.
	Line int
	// Generator is the field that made the object, "configMapGenerator".
	Generator string
	// Remote is the remote entry whose tree holds File, without credentials.
	Remote string
}

// String returns "file:line", "file" without a line, or "".
func (o Origin) String() string {
	if o.File == "" {
		return ""
	}
	s := o.File
	if o.Remote != "" {
		s = o.Remote + "//" + s
	}
	return place(s, o.Line)
}

// Warning is a remark about the tree that is not an error.
type Warning struct {
	Code WarningCode
	Text string
	File string
	Line int
}

// WarningCode says what a warning is about.
type WarningCode string

// Warning codes.
const (
	WarningDeprecated    WarningCode = "DeprecatedField"
	WarningUnknownKey    WarningCode = "UnknownKey"
	WarningDuplicateKey  WarningCode = "DuplicateKey"
	WarningSecondSchema  WarningCode = "SecondSchema"
	WarningSchemaForeign WarningCode = "SchemaForeign"
)

// Input is something the build read.
type Input struct {
	// Path is the slash path in the tree; in a remote tree it is preceded by
	// the entry and "//".
	Path string
	// Kind is file, dir (the names in it), link (its target), ignore (the
	// patterns of all ignore files) or absent.
	Kind InputKind
	// SHA256 is the hex digest of the content as read; "" for absent.
	SHA256 string
}

// InputKind says what an [Input] is.
type InputKind string

// Input kinds.
const (
	InputFile   InputKind = "file"
	InputDir    InputKind = "dir"
	InputAbsent InputKind = "absent"
	InputLink   InputKind = "link"
	InputIgnore InputKind = "ignore"
)

// Stats are numbers about one build.
type Stats struct {
	Engine   Engine // which one ran
	Lane     bool   // whether the build ran alone because of its schema
	Empty    bool   // nothing to build was found
	Files    int
	Bytes    int64
	Docs     int
	Load     time.Duration // reading, hooks, parsing
	Wait     time.Duration // for the gate
	Run      time.Duration // the engine
	Finish   time.Duration // objects, hooks, substitution
	Replaced int           // objects changed by substitution
}

// Unstructured returns the objects in build order.
func (r *Result) Unstructured() []*unstructured.Unstructured {
	out := make([]*unstructured.Unstructured, len(r.Objects))
	for i := range r.Objects {
		out[i] = r.Objects[i].Unstructured
	}
	return out
}

// Source returns "file:line" of an object of the result, or of a copy of one
// with the same identity; "" if it is unknown.
func (r *Result) Source(u *unstructured.Unstructured) string {
	if u == nil {
		return ""
	}
	if o, ok := r.sources[u]; ok {
		return o.String()
	}
	return r.byID[idOf(u)].String()
}

func (r *Result) index() {
	r.sources = make(map[*unstructured.Unstructured]Origin, len(r.Objects))
	r.byID = make(map[objectID]Origin, len(r.Objects))
	for i := range r.Objects {
		r.sources[r.Objects[i].Unstructured] = r.Objects[i].Origin
		r.byID[idOf(r.Objects[i].Unstructured)] = r.Objects[i].Origin
	}
}

// objectID identifies an object on a cluster.
type objectID struct{ group, kind, namespace, name string }

func idOf(u *unstructured.Unstructured) objectID {
	gvk := u.GroupVersionKind()
	return objectID{gvk.Group, gvk.Kind, u.GetNamespace(), u.GetName()}
}

// String returns "Kind.group/namespace/name" with the empty parts left out.
func (id objectID) String() string {
	s := id.kind
	if id.group != "" {
		s += "." + id.group
	}
	if id.namespace != "" {
		s += "/" + id.namespace
	}
	return s + "/" + id.name
}

// String returns "path: kind sha256".
func (i Input) String() string { return strconv.Quote(i.Path) + ": " + string(i.Kind) + " " + i.SHA256 }
