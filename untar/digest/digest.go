// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"

	"github.com/gitops-kit/sdk/untar/internal/blake3"
)

// The algorithms, as they are written in front of the colon.
const (
	SHA256 = "sha256"
	SHA384 = "sha384"
	SHA512 = "sha512"
	BLAKE3 = "blake3"
)

// ErrUnsupported reports an unknown algorithm or a malformed digest. It
// comes wrapped in an [*Error].
var ErrUnsupported = errors.New("unsupported digest")

// Error says what was refused.
type Error struct {
	// Digest is the text that was refused, escaped and cut to 160 bytes.
	Digest string
}

// Error names the refused text.
func (e *Error) Error() string { return fmt.Sprintf("%v %s", ErrUnsupported, e.Digest) }

// Unwrap returns [ErrUnsupported].
func (e *Error) Unwrap() error { return ErrUnsupported }

// Reason is the condition reason for the error.
func (e *Error) Reason() string { return "VerificationFailed" }

// Terminal reports that the same text is always refused.
func (e *Error) Terminal() bool { return true }

// Digest is a parsed digest. The zero value is "no digest".
type Digest struct {
	// Algorithm is one of the constants of this package.
	Algorithm string
	// Hex is the checksum in lower case, of exactly the algorithm's length.
	Hex string
}

// String is "<algorithm>:<hex>", empty for the zero value.
func (d Digest) String() string {
	if d.Algorithm == "" {
		return ""
	}
	return d.Algorithm + ":" + d.Hex
}

// IsZero reports whether d is the zero value.
func (d Digest) IsZero() bool { return d == Digest{} }

// Parse reads "<algorithm>:<lower-case hex>" of the exact length. Bare 64
// hex digits are read as sha256. Everything else is [ErrUnsupported].
func Parse(s string) (Digest, error) {
	algorithm, sum, ok := strings.Cut(s, ":")
	if !ok {
		algorithm, sum = SHA256, s
	}
	size := length(algorithm)
	if size == 0 || len(sum) != 2*size || !lowerHex(sum) {
		return Digest{}, refused(s)
	}
	return Digest{Algorithm: algorithm, Hex: sum}, nil
}

func refused(s string) error {
	if len(s) > 128 {
		s = s[:128] + "…"
	}
	q := fmt.Sprintf("%+q", s)
	if len(q) > 160 {
		q = q[:160]
	}
	return &Error{Digest: q}
}

func lowerHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func length(algorithm string) int {
	switch algorithm {
	case SHA256:
		return sha256.Size
	case SHA384:
		return sha512.Size384
	case SHA512:
		return sha512.Size
	case BLAKE3:
		return blake3.Size
	}
	return 0
}

// Algorithms lists the supported algorithms, the default first.
func Algorithms() []string { return []string{SHA256, SHA384, SHA512, BLAKE3} }

// New returns the hash of an algorithm; "" is sha256.
func New(algorithm string) (hash.Hash, error) {
	switch algorithm {
	case "", SHA256:
		return sha256.New(), nil
	case SHA384:
		return sha512.New384(), nil
	case SHA512:
		return sha512.New(), nil
	case BLAKE3:
		return blake3.New(), nil
	}
	return nil, refused(algorithm)
}

// Sum is the digest that h has computed so far under the algorithm's name;
// "" is sha256.
func Sum(algorithm string, h hash.Hash) Digest {
	if algorithm == "" {
		algorithm = SHA256
	}
	return Digest{Algorithm: algorithm, Hex: hex.EncodeToString(h.Sum(nil))}
}

// FromBytes is the digest of b; "" is sha256.
func FromBytes(algorithm string, b []byte) (Digest, error) {
	h, err := New(algorithm)
	if err != nil {
		return Digest{}, err
	}
	_, _ = h.Write(b)
	return Sum(algorithm, h), nil
}
