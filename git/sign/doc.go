// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sign verifies and makes the signatures of commits and tags: OpenPGP
// and SSH, over raw bytes.
//
// # Concepts
//
// [Keys] is what a caller trusts; [Keys.Verify] judges one detached signature
// over one payload. [NewPGP] and [NewSSH] make a [Signer].
//
// # Errors
//
// [ErrUnsigned], [ErrNoMatchingKey], [ErrInvalidKey], [ErrBadSignature] and
// [ErrUnsupportedSignature] say what is wrong; all match
// [ErrVerificationFailed]. [ErrKeyPassphrase] reports a private key that
// cannot be opened.
//
// # Limits
//
// A signature may have 64 KiB and a set of keys 1,000 keys unless [Keys] says
// otherwise; more is a [*LimitError].
//
// # Concurrency
//
// Keys and Signers are safe for concurrent use while nobody changes them.
//
// # Telemetry
//
// None.
package sign
