// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"fmt"
	"strings"

	"github.com/gitops-kit/sdk/artifact/internal/redact"
)

// Key names a file in a store: "<kind>/<namespace>/<name>/<file>". The zero
// value names nothing, never everything.
type Key struct {
	// Kind is the kind of the object that owns the file. It is written in
	// lower case.
	Kind string
	// Namespace and Name are those of the object.
	Namespace, Name string
	// File is the name of the file. Empty in the key of an object.
	File string
}

// String is the path of the file; of an object's key its directory.
func (k Key) String() string {
	s := strings.ToLower(k.Kind) + "/" + k.Namespace + "/" + k.Name
	if k.File != "" {
		s += "/" + k.File
	}
	return s
}

// Object is the key without the file.
func (k Key) Object() Key {
	k.File = ""
	return k
}

// normal is the key with the kind in lower case.
func (k Key) normal() Key {
	k.Kind = strings.ToLower(k.Kind)
	return k
}

// ParseKey reads the path of a file. Everything that is not exactly of the
// grammar is [ErrInvalidKey]: a kind of [a-z][a-z0-9]*, namespace and name as
// Kubernetes has them, and a file of 1 to 255 bytes of [A-Za-z0-9._+:@=-]
// that does not begin with a dot or end in ".lock" or ".tmp".
func ParseKey(path string) (Key, error) {
	parts := strings.Split(path, "/")
	if len(parts) != 4 {
		return Key{}, invalidKey(path)
	}
	k := Key{Kind: parts[0], Namespace: parts[1], Name: parts[2], File: parts[3]}
	if k.Kind != strings.ToLower(k.Kind) {
		return Key{}, invalidKey(path)
	}
	return k, k.Validate()
}

// Validate checks the key of a file.
func (k Key) Validate() error {
	if err := k.ValidateObject(); err != nil {
		return err
	}
	if !validFile(k.File) {
		return invalidKey(k.String())
	}
	return nil
}

// ValidateObject checks the key of an object; a file in it is ignored.
func (k Key) ValidateObject() error {
	if !validKind(strings.ToLower(k.Kind)) || !dns(k.Namespace, 63, false) || !dns(k.Name, 253, true) {
		return invalidKey(k.String())
	}
	return nil
}

func invalidKey(s string) error { return fmt.Errorf("%w: %s", ErrInvalidKey, redact.Text(s, 256)) }

func validKind(s string) bool {
	if s == "" || len(s) > 63 || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

// dns accepts a label of RFC 1123, or with dots a subdomain.
func dns(s string, limit int, dots bool) bool {
	if s == "" || len(s) > limit {
		return false
	}
	alnum := func(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }
	for i := range len(s) {
		c := s[i]
		switch {
		case alnum(c):
		case c == '-' && i > 0 && i < len(s)-1 && s[i-1] != '.' && s[i+1] != '.':
		case c == '.' && dots && i > 0 && i < len(s)-1 && alnum(s[i-1]) && alnum(s[i+1]):
		default:
			return false
		}
	}
	return true
}

func validFile(s string) bool {
	if s == "" || len(s) > 255 || s[0] == '.' || strings.HasSuffix(s, ".lock") || strings.HasSuffix(s, ".tmp") {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && !strings.ContainsRune("._+:@=-", rune(c)) {
			return false
		}
	}
	return true
}
