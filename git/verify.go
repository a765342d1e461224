// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/sign"
)

// VerifyMode says which signatures are required.
type VerifyMode string

const (
	// VerifyHead requires a signature of the commit. It is the zero value's meaning.
	VerifyHead VerifyMode = "HEAD"
	// VerifyTag requires a signature of the annotated tag.
	VerifyTag VerifyMode = "Tag"
	// VerifyTagAndHead requires both.
	VerifyTagAndHead VerifyMode = "TagAndHEAD"
)

// VerifyPolicy says what must be signed, and by whom.
type VerifyPolicy struct {
	// Mode; zero: VerifyHead.
	Mode VerifyMode
	// Keys is what is trusted.
	Keys sign.Keys
}

// Verification lists what was verified.
type Verification struct {
	Objects []VerifiedObject
}

// VerifiedObject is one object with a valid signature.
type VerifiedObject struct {
	Type   driver.Type // Commit or Tag
	Hash   Hash
	Signed sign.Result
}

var (
	// ErrVerificationFailed is matched by every failed verification.
	ErrVerificationFailed = sign.ErrVerificationFailed
	// ErrNotATag reports that a tag signature was required of something that is no annotated tag.
	ErrNotATag = fmt.Errorf("%w: not an annotated tag", ErrVerificationFailed)
	// ErrTagNameMismatch reports a tag object that bears another name than its reference.
	ErrTagNameMismatch = fmt.Errorf("%w: tag object has another name", ErrVerificationFailed)
)

// VerificationError says which object failed.
type VerificationError struct {
	Step string // "commit", "tag" or "policy"
	Hash Hash
	Err  error
}

// Error implements error.
func (e *VerificationError) Error() string {
	return fmt.Sprintf("verify %s %s: %v", e.Step, e.Hash, e.Err)
}

// Unwrap returns [ErrVerificationFailed] and the cause.
func (e *VerificationError) Unwrap() []error { return []error{ErrVerificationFailed, e.Err} }

// Reason returns the condition reason.
func (e *VerificationError) Reason() string {
	switch {
	case errors.Is(e.Err, ErrMalformedObject):
		return "InvalidGitObject"
	case e.Step == "tag":
		return "InvalidTagSignature"
	}
	return "InvalidCommitSignature"
}

// Terminal is false: the next commit, or another key, may pass.
func (e *VerificationError) Terminal() bool { return false }

func (p *VerifyPolicy) check() error {
	switch p.Mode {
	case "", VerifyHead, VerifyTag, VerifyTagAndHead:
		return nil
	}
	return fmt.Errorf("%w: verification mode %q", ErrInvalidOption, p.Mode)
}

// malformed makes an object that is none a failed verification, where there is
// one to fail.
func (p *VerifyPolicy) malformed(step string, id Hash, err error) error {
	if p == nil || !errors.Is(err, ErrMalformedObject) || errors.Is(err, errMirrorDamaged) {
		return err
	}
	return &VerificationError{Step: step, Hash: id, Err: err}
}

// verify checks what the policy asks for, before anything is used.
func (s *snapshot) verify(p *VerifyPolicy, r *Resolved, tag *object.Tag) error {
	keys := p.Keys
	if keys.MaxKeys == 0 {
		keys.MaxKeys = s.c.opts.Limits.Keys
	}
	if keys.MaxSignature == 0 {
		keys.MaxSignature = s.c.opts.Limits.Signature
	}
	v := &Verification{}
	if p.Mode == VerifyTag || p.Mode == VerifyTagAndHead {
		o, err := verifyTag(keys, r, tag)
		if err != nil {
			return &VerificationError{Step: "tag", Hash: r.Tag, Err: err}
		}
		v.Objects = append(v.Objects, *o)
	}
	if p.Mode != VerifyTag {
		sig, payload := object.SignedCommit(s.commit)
		res, err := keys.Verify(sig, payload)
		if err != nil {
			return &VerificationError{Step: "commit", Hash: r.Commit, Err: err}
		}
		v.Objects = append(v.Objects, VerifiedObject{Type: driver.Commit, Hash: r.Commit, Signed: *res})
	}
	s.out.Verified = v
	return nil
}

func verifyTag(keys sign.Keys, r *Resolved, tag *object.Tag) (*VerifiedObject, error) {
	if tag == nil {
		return nil, ErrNotATag
	}
	name, ok := strings.CutPrefix(strings.TrimSuffix(r.Ref, "^{}"), "refs/tags/")
	if !ok || tag.Name != name {
		return nil, fmt.Errorf("%w: %q as %q", ErrTagNameMismatch, tag.Name, r.Ref)
	}
	if tag.Type != driver.Commit || tag.Target != r.Commit {
		return nil, fmt.Errorf("%w: tag does not point at the commit itself", ErrVerificationFailed)
	}
	sig, payload, err := object.SignedTag(tag)
	if err != nil {
		return nil, err
	}
	res, err := keys.Verify(sig, payload)
	if err != nil {
		return nil, err
	}
	return &VerifiedObject{Type: driver.Tag, Hash: tag.Hash, Signed: *res}, nil
}
