// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kustomize turns a directory of an untrusted tree into Kubernetes
// objects: it generates a kustomization where none exists, builds it, replaces
// variables, and says for every object from which file and line it came.
//
// # Concepts
//
// A [Builder] is made once per program. [Builder.Build] takes an [Options] with
// a tree ([fs.FS]), a directory in it and a few overrides ([Spec]), and returns
// a [Result]. The package reads nothing but that tree, writes nothing, starts no
// program and opens no connection; remote entries, decryption and variables are
// brought by the caller ([RemoteFunc], [Hooks], [Substitution]).
//
// Two engines do the work. [Krusty] is kustomize itself. [Indexed] covers the
// transformers that most repositories use, in time linear in the number of
// objects, and gives the same objects; [Auto] picks it whenever a tree stays
// inside what it covers.
//
// # Isolation
//
// kustomize keeps one OpenAPI schema per process. It is parsed once, and builds
// share it without a lock. A build whose kustomization brings a schema of its
// own (field openapi) runs alone: it waits for the running builds at most
// [BuilderOptions.SchemaWait], and the schema is restored before any other build
// goes on. Programs that call kustomize themselves take the same gate with
// [ShareSchema] and [LockSchema].
//
// # Errors
//
// [*BuildError] names file, line and field and wraps one of [ErrPathEscape],
// [ErrRemote], [ErrForbidden], [ErrNoSuchFile], [ErrOpenAPIVersion],
// [ErrDuplicateObject], [ErrInvalid] or the engine's own error. [*VariableError]
// wraps [ErrVariable]. [ErrSchemaBusy] is transient. [*LimitError] names the
// limit that was exceeded, [*PanicError] a bug in an engine. Reason and Terminal
// tell a controller what to do. No error contains the content of a file, a
// variable's value or a decrypted byte.
//
// # Limits
//
// [Limits] lists every bound and its default.
//
// # Concurrency
//
// A [Builder] is safe for concurrent use; a [Result] may be read concurrently.
//
// # Telemetry
//
// None by itself; [Result.Stats] and [Builder.Stats] hold the numbers.
package kustomize
