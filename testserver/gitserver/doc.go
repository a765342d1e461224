// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gitserver is a Git server over HTTP(S) and SSH whose every answer can be
// steered: content, capabilities, authentication, timing, and lies.
//
// # Concepts
//
// A [Server] has repositories, made by [Server.Repo] and filled by methods such
// as [Repo.Commit], [Repo.AnnotatedTag] and [Repo.CopyDir]; ids are the same in
// each run. The backend [InProcess] implements protocols 0, 1 and 2 itself, with
// SHA-1 and SHA-256, shallow and partial fetches, deltas and pushes;
// [Capabilities] take each feature away. [Exec] has the git program and
// OpenSSH answer instead: the reference to compare with. [RepoOptions] hold
// hooks, policies and the hostile modes; [Repo.PutRaw], [BuildPack] and
// [Repo.ServePack] make content no honest server has.
//
// # Errors
//
// Methods that change content report an error through the test, or, under
// [Run], through [Server.Err]. [ErrNotFound] matches what does not exist.
//
// # Limits
//
// Objects are kept in memory, compressed. A pushed object is at most 1 GiB.
//
// # Concurrency
//
// All types are safe for concurrent use, except [PackBuilder].
package gitserver
