// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta

import "strings"

const maxObjectID = 1024

// ObjectID is the identity of an object in an inventory, independent of the
// version of its kind.
//
// +kubebuilder:object:generate=false
type ObjectID struct {
	// Namespace is empty for cluster-scoped objects.
	Namespace string
	// Name is the object's name; it may contain colons (RBAC).
	Name string
	// Group is empty for the core group.
	Group string
	// Kind is the object's kind.
	Kind string
}

// ParseObjectID reads "<namespace>_<name>_<group>_<kind>". The position of the
// underscores decides: the namespace ends at the first one, the kind starts
// after the last, the group after the last but one. In the name between them
// "__" stands for a colon and "%5F" for an underscore; a single underscore is
// one. The error is a [*ObjectIDError]; callers keep such an id and never act
// on it.
func ParseObjectID(s string) (ObjectID, error) {
	if len(s) > maxObjectID {
		return ObjectID{}, &ObjectIDError{Raw: s, Why: "longer than 1024 bytes"}
	}
	first, last := strings.IndexByte(s, '_'), strings.LastIndexByte(s, '_')
	if first < 0 || first == last {
		return ObjectID{}, &ObjectIDError{Raw: s, Why: "want <namespace>_<name>_<group>_<kind>"}
	}
	group := strings.LastIndexByte(s[:last], '_')
	if group <= first {
		return ObjectID{}, &ObjectIDError{Raw: s, Why: "want <namespace>_<name>_<group>_<kind>"}
	}
	id := ObjectID{Namespace: s[:first], Name: s[first+1 : group], Group: s[group+1 : last], Kind: s[last+1:]}
	if id.Kind == "" {
		return ObjectID{}, &ObjectIDError{Raw: s, Why: "empty kind"}
	}
	if id.Name == "" {
		return ObjectID{}, &ObjectIDError{Raw: s, Why: "empty name"}
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == '/' || s[i] >= 0x7f {
			return ObjectID{}, &ObjectIDError{Raw: s, Why: "character that no object has"}
		}
	}
	if strings.IndexByte(id.Name, '_') >= 0 || strings.IndexByte(id.Name, '%') >= 0 {
		id.Name = unescapeName(id.Name)
	}
	return id, nil
}

// String returns the id; [ParseObjectID] reads it back to the same value as
// long as group, kind and namespace contain no underscore, which the API
// guarantees.
func (o ObjectID) String() string {
	var b strings.Builder
	b.Grow(len(o.Namespace) + len(o.Name) + len(o.Group) + len(o.Kind) + 3 +
		strings.Count(o.Name, ":") + 2*strings.Count(o.Name, "_"))
	b.WriteString(o.Namespace)
	b.WriteByte('_')
	for i := range len(o.Name) {
		switch c := o.Name[i]; c {
		case ':':
			b.WriteString("__")
		case '_':
			b.WriteString("%5F")
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('_')
	b.WriteString(o.Group)
	b.WriteByte('_')
	b.WriteString(o.Kind)
	return b.String()
}

// unescapeName undoes the escapes of String in one pass.
func unescapeName(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '_' && i+1 < len(s) && s[i+1] == '_':
			b.WriteByte(':')
			i++
		case strings.HasPrefix(s[i:], "%5F"):
			b.WriteByte('_')
			i += 2
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
