// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pki makes certificate authorities and certificates that live as long
// as a test.
//
// # Concepts
//
// A [CA] is made by [NewCA] and issues server and client certificates as PEM
// [KeyPair] values. Keys are ECDSA P-256; everything is valid for an hour and
// nothing is ever stored.
//
// # Errors
//
// Only the system's random source can make a function fail.
//
// # Concurrency
//
// All types are safe for concurrent use.
package pki
