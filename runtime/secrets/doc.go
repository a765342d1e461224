// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package secrets turns Secrets into typed credentials, and credentials into
// Secrets.
//
// # Concepts
//
// A [Reader] belongs to one run and reads each Secret at most once, from the
// object's own namespace unless a reference says otherwise. [Reader.Get] takes
// what a consumer [Want]s and returns [Material] whose secret values are of type
// [Secret]: no formatting verb, encoder or logger shows them. Material knows no
// host; its consumer binds it to the configured origin. [RegistryCredential] finds
// the entry of one repository in a Docker configuration that is a file.
//
// # Errors
//
// [*SecretNotFoundError] is transient. [*SecretKeyError] names the key that is
// missing or malformed. [ErrAmbiguous] and [ErrNoCredentials], in a
// [*CredentialsError], name the keys found. No error holds a value.
//
// # Limits
//
// A token has at most 16 KiB and one line, a registry configuration 1 MiB, a
// proxy address 2,048 characters.
//
// # Concurrency
//
// A Reader is safe for concurrent use, Material is read-only.
//
// # Telemetry
//
// None.
package secrets
