// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
)

// Format is the hash function that names objects.
type Format uint8

const (
	// SHA1 is the format of nearly every repository.
	SHA1 Format = iota
	// SHA256 is the newer format.
	SHA256
)

// String returns Git's name of the format.
func (f Format) String() string {
	switch f {
	case SHA1:
		return "sha1"
	case SHA256:
		return "sha256"
	}
	return fmt.Sprintf("format(%d)", uint8(f))
}

// Size is the length of a hash in bytes.
func (f Format) Size() int {
	if f == SHA256 {
		return 32
	}
	return 20
}

// ParseFormat reads Git's name of a format.
func ParseFormat(s string) (Format, error) {
	switch s {
	case "sha1", "":
		return SHA1, nil
	case "sha256":
		return SHA256, nil
	}
	return 0, fmt.Errorf("object format %q: %w", s, ErrUnsupportedFormat)
}

// Hash names an object. It is comparable; the zero value is the zero hash of
// SHA-1.
type Hash struct {
	sum    [32]byte
	format Format
}

// ErrInvalidHash reports text or bytes that are no object id.
var ErrInvalidHash = errors.New("invalid object id")

// NewHash makes a Hash of raw bytes, which must be 20 or 32 long.
func NewHash(raw []byte) (Hash, error) {
	var h Hash
	switch len(raw) {
	case 20:
	case 32:
		h.format = SHA256
	default:
		return h, fmt.Errorf("%w: %d bytes", ErrInvalidHash, len(raw))
	}
	copy(h.sum[:], raw)
	return h, nil
}

// ParseHash reads 40 or 64 hexadecimal digits; upper case is folded.
func ParseHash(s string) (Hash, error) {
	var raw [32]byte
	if len(s) != 40 && len(s) != 64 {
		return Hash{}, fmt.Errorf("%w: %d characters, want 40 or 64", ErrInvalidHash, len(s))
	}
	n, err := hex.Decode(raw[:], []byte(s))
	if err != nil {
		return Hash{}, fmt.Errorf("%w: not hexadecimal", ErrInvalidHash)
	}
	return NewHash(raw[:n])
}

// Format returns the hash function.
func (h Hash) Format() Format { return h.format }

// IsZero reports whether every byte is zero.
func (h Hash) IsZero() bool { return h.sum == [32]byte{} }

// String returns lower-case hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h.Bytes()) }

// Digest returns the form "sha1:<hex>".
func (h Hash) Digest() string { return h.format.String() + ":" + h.String() }

// Bytes returns a copy of the raw bytes.
func (h Hash) Bytes() []byte { return bytes.Clone(h.sum[:h.format.Size()]) }

// AppendBytes appends the raw bytes to b.
func (h Hash) AppendBytes(b []byte) []byte { return append(b, h.sum[:h.format.Size()]...) }

// Compare orders by bytes.
func (h Hash) Compare(o Hash) int { return bytes.Compare(h.sum[:], o.sum[:]) }

// First returns the first byte, for fan-out tables.
func (h Hash) First() byte { return h.sum[0] }
