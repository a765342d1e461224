// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ocisign signs artifacts in a test registry as cosign and notation
// do, with keys made at run time.
//
// # Concepts
//
// An [Authority] is everything that signatures come from: a certificate
// authority for identities, a transparency log, a timestamp authority, and a
// certificate authority for notation. It has nothing to do with those of the
// world, and no Authority trusts another. [Authority.Sign] attaches a
// signature of a [Format] to an artifact: good ones, and with [Options] those
// that no verifier may accept: of another payload, of a certificate that had
// expired, out of another log. What verifiers have to trust is in
// [Authority.TrustedRoot], [Authority.NotationRootPEM] and the like.
//
// It is no signing tool: whoever holds an Authority signs as anybody.
//
// # Errors
//
// Errors fail the test, or are returned by [Authority.Err] without one:
// [ErrOptions] for options that contradict each other.
//
// # Limits
//
// Keys are ECDSA on P-256. Certificates for identities last ten minutes, those
// of notation a year. There is no log of certificates.
//
// # Concurrency
//
// An Authority is safe for concurrent use.
package ocisign
