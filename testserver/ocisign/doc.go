// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package ocisign signs artifacts in a test registry as cosign and notation
// do, with keys made at run time.
//
// An [Authority] is everything that signatures come from: a certificate
// authority for identities, a transparency log, a timestamp authority, and a
// certificate authority for notation. It has nothing to do with those of the
// world, and no other Authority trusts it.
//
// # What it is for
//
// Tests of programs that verify signatures: good ones of each form, and with
// [Options] those that must not be accepted: of another payload, by another
// key, by a certificate that had expired, out of another log.
//
// # What it is not
//
// It is no signing tool: whoever has the Authority in hand can sign as anybody.
package ocisign
