// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/gitops-kit/sdk/git/internal/limits"
)

// ErrVerificationFailed is matched by every failed verification.
var ErrVerificationFailed = errors.New("signature verification failed")

var (
	// ErrUnsigned reports that there is no signature.
	ErrUnsigned = fmt.Errorf("%w: no signature", ErrVerificationFailed)
	// ErrNoMatchingKey reports a signature by a key that is not trusted.
	ErrNoMatchingKey = fmt.Errorf("%w: no key matches", ErrVerificationFailed)
	// ErrInvalidKey reports a trusted key that cannot be read or may not be
	// used: expired, revoked, too weak, with an option that is not known.
	ErrInvalidKey = fmt.Errorf("%w: key not usable", ErrVerificationFailed)
	// ErrBadSignature reports a signature that does not fit the payload, or
	// is not well formed.
	ErrBadSignature = fmt.Errorf("%w: bad signature", ErrVerificationFailed)
	// ErrUnsupportedSignature reports a signature of another kind.
	ErrUnsupportedSignature = fmt.Errorf("%w: unsupported kind of signature", ErrVerificationFailed)
	// ErrKeyPassphrase reports a private key whose passphrase is missing or wrong.
	ErrKeyPassphrase = errors.New("private key passphrase missing or wrong")
)

// LimitError names the limit that an input exceeded.
type LimitError = limits.LimitError

// Format is a kind of signature.
type Format string

// The kinds.
const (
	PGP  Format = "pgp"
	SSH  Format = "ssh"
	X509 Format = "x509" // recognised, not supported
)

// Detect tells the kind of a signature by its first line. Nothing is ErrUnsigned.
func Detect(sig []byte) (Format, error) {
	if len(bytes.TrimSpace(sig)) == 0 {
		return "", ErrUnsigned
	}
	for _, f := range []struct {
		begin  string
		format Format
	}{{"-----BEGIN PGP SIGNATURE-----", PGP}, {"-----BEGIN SSH SIGNATURE-----", SSH}, {"-----BEGIN SIGNED MESSAGE-----", X509}} {
		if rest, ok := bytes.CutPrefix(sig, []byte(f.begin)); ok && (len(rest) == 0 || rest[0] == '\n' || rest[0] == '\r') {
			return f.format, nil
		}
	}
	return "", ErrUnsupportedSignature
}

// Keys is what is trusted. It must not be changed while in use.
type Keys struct {
	// PGP holds key rings, armored or binary, each with any number of keys.
	PGP [][]byte
	// SSH holds authorized_keys files: one key a line.
	SSH [][]byte
	// AllowedSigners holds OpenSSH allowed_signers files.
	AllowedSigners [][]byte
	// AcceptExpired judges the expiry of PGP keys at the time of the signature
	// instead of now.
	AcceptExpired bool
	// MaxKeys bounds the number of keys. Zero: 1,000; negative: no bound.
	MaxKeys int64
	// MaxSignature bounds a signature in bytes. Zero: 64 KiB; negative: no bound.
	MaxSignature int64
}

// Result says who signed.
type Result struct {
	Format Format
	// KeyID is the id of the primary PGP key, 16 upper-case hexadecimal digits,
	// or the fingerprint of the SSH key.
	KeyID string
	// Fingerprint is that of the key that signed.
	Fingerprint string
	// Principal is a user id of the PGP key, the principals of the allowed
	// signer, or the comment of the SSH key.
	Principal string
	// Created is when the signature says it was made; zero for SSH.
	Created time.Time
}

// Verify judges a detached signature over a payload. A panic below it is a
// failed verification.
func (k Keys) Verify(sig, payload []byte) (*Result, error) {
	return guarded(func() (*Result, error) { return k.verify(sig, payload) })
}

// guarded makes a panic of a parser a verdict; what it says is nobody's to read.
func guarded(verify func() (*Result, error)) (res *Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			res, err = nil, fmt.Errorf("%w: malformed beyond repair", ErrBadSignature)
		}
	}()
	return verify()
}

func (k Keys) verify(sig, payload []byte) (*Result, error) {
	if err := limits.Check("git-signature", limits.Or(k.MaxSignature, 64<<10), int64(len(sig))); err != nil {
		return nil, errors.Join(ErrVerificationFailed, err)
	}
	format, err := Detect(sig)
	if err != nil {
		return nil, err
	}
	switch format {
	case PGP:
		return k.verifyPGP(sig, payload)
	case SSH:
		return k.verifySSH(sig, payload)
	}
	return nil, fmt.Errorf("%w: %s", ErrUnsupportedSignature, format)
}

// PolicyDigest is a stable digest of everything that a verdict depends on, for
// caches of verdicts.
func (k Keys) PolicyDigest() string {
	h := sha256.New()
	for _, set := range [][][]byte{k.PGP, k.SSH, k.AllowedSigners} {
		_, _ = fmt.Fprintf(h, "%d;", len(set))
		for _, b := range set {
			_, _ = fmt.Fprintf(h, "%d:", len(b))
			_, _ = h.Write(b)
		}
	}
	_, _ = fmt.Fprintf(h, "%t", k.AcceptExpired)
	return hex.EncodeToString(h.Sum(nil))
}

func (k Keys) countKeys(n int) error {
	if err := limits.Check("keys", limits.Or(k.MaxKeys, 1000), int64(n)); err != nil {
		return errors.Join(ErrVerificationFailed, err)
	}
	return nil
}

// Signer makes signatures.
type Signer interface {
	// Sign returns the armored detached signature of a payload.
	Sign(ctx context.Context, payload []byte) ([]byte, error)
}
