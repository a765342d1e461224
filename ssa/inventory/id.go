// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"fmt"
	"strings"
)

// ID identifies an object independently of its API version. The zero value
// identifies nothing. An ID with a name but no kind stands for stored text
// that could not be parsed: it is carried along verbatim and never acted upon.
type ID struct {
	Namespace, Name, Group, Kind string
}

// IDError reports text that is not an ID.
type IDError struct {
	Raw string // the text
	Why string // what is wrong with it
}

// Error implements error.
func (e *IDError) Error() string { return fmt.Sprintf("parse inventory id %q: %s", e.Raw, e.Why) }

// Reason returns the condition reason.
func (e *IDError) Reason() string { return "InventoryFailed" }

// Terminal reports true: the same text never parses.
func (e *IDError) Terminal() bool { return true }

// String returns <namespace>_<name>_<group>_<kind>. In the name ":" is
// written "__" and "_" is written "%5F". An unparsed ID returns its text.
func (id ID) String() string {
	if !id.Parsed() {
		return id.Name
	}
	var b strings.Builder
	b.Grow(len(id.Namespace) + len(id.Name) + len(id.Group) + len(id.Kind) + 3)
	b.WriteString(id.Namespace)
	b.WriteByte('_')
	for i := range len(id.Name) {
		switch c := id.Name[i]; c {
		case ':':
			b.WriteString("__")
		case '_':
			b.WriteString("%5F")
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('_')
	b.WriteString(id.Group)
	b.WriteByte('_')
	b.WriteString(id.Kind)
	return b.String()
}

// Parsed reports whether the ID names an object, as opposed to text that
// could not be parsed.
func (id ID) Parsed() bool { return id.Kind != "" }

// Display returns Kind/namespace/name, or Kind/name without a namespace.
func (id ID) Display() string {
	switch {
	case !id.Parsed():
		return id.Name
	case id.Namespace == "":
		return id.Kind + "/" + id.Name
	}
	return id.Kind + "/" + id.Namespace + "/" + id.Name
}

// MarshalText encodes the ID as [ID.String] does.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText accepts what [Parse] accepts.
func (id *ID) UnmarshalText(text []byte) error {
	v, err := Parse(string(text))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

// Parse reads the form of [ID.String] by position: the namespace ends at the
// first "_", the kind starts after the last, the group after the last but
// one. In the name between them "__" is ":", then "%5F" is "_"; a single "_"
// stays. Returns [*IDError].
func Parse(s string) (ID, error) {
	bad := func(why string) (ID, error) { return ID{}, &IDError{Raw: s, Why: why} }
	ns := strings.IndexByte(s, '_')
	kind := strings.LastIndexByte(s, '_')
	if ns < 0 || kind <= ns {
		return bad("fewer than four parts")
	}
	group := strings.LastIndexByte(s[:kind], '_')
	if group <= ns {
		return bad("fewer than four parts")
	}
	id := ID{Namespace: s[:ns], Name: s[ns+1 : group], Group: s[group+1 : kind], Kind: s[kind+1:]}
	switch {
	case id.Kind == "":
		return bad("no kind")
	case id.Name == "":
		return bad("no name")
	case strings.ContainsAny(s, " \n\r\t\x00"):
		return bad("white space")
	}
	if strings.Contains(id.Name, "__") {
		id.Name = strings.ReplaceAll(id.Name, "__", ":")
	}
	if strings.Contains(id.Name, "%5F") {
		id.Name = strings.ReplaceAll(id.Name, "%5F", "_")
	}
	return id, nil
}
