// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package oidc is an OpenID Connect issuer for tests: discovery, keys, and
// tokens, right ones and wrong ones.
//
// # Concepts
//
// [Server.Token] signs claims with the current key; issuer, subject, audience
// and times are filled in unless given. [TokenOptions] bend the header, the
// algorithm and the key: every way to get a token wrong that a verifier must
// refuse. [Server.Rotate] makes a new key; the old one stays published until
// [Server.Retire].
//
// # Errors
//
// Signing fails only for an unknown algorithm.
//
// # Concurrency
//
// A Server is safe for concurrent use.
package oidc
