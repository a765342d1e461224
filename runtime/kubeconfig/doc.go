// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubeconfig reads kubeconfig data that somebody else wrote, and takes
// from it only what an allow-list names.
//
// # Concepts
//
// [Parse] works on bytes, before any loader sees them, and builds a fresh REST
// configuration from the cluster and the user of the selected context. Files,
// programs and other identities named in the data are refused, never opened.
//
// # Errors
//
// [*KubeconfigFieldError], which matches [ErrUnsupportedKubeconfigField], names
// a field that is not accepted. [*SyntaxError] says what is malformed, without
// quoting the data. [*KeyError] names the Secret keys that were tried. All are
// terminal.
//
// # Limits
//
// 64 KiB, one document, 100 aliases, 32 levels.
//
// # Concurrency
//
// Functions and a [*Config] are safe for concurrent use.
//
// # Telemetry
//
// None.
package kubeconfig
