// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package testserver is the front page of a toolkit for testing GitOps
// controllers: everything a controller talks to, on loopback, with faults on
// request, and a real Kubernetes control plane, with nothing to download but Go
// modules. It has no code of its own.
//
// # Concepts
//
// Each server is a package; a test imports those it needs:
//
//   - gitserver: Git over HTTP(S) and SSH, in process or by the git program
//   - ociserver: an OCI registry
//   - ocisign: signatures in it, as cosign and notation make them
//   - helmserver: a Helm chart repository
//   - artifactserver: archives with digests, honest and hostile ones
//   - eventserver: a sink for events
//   - capture: records what is sent to chat and forge APIs
//   - oidc, s3, clouds: identity provider, bucket, cloud token endpoints
//   - proxy: HTTP CONNECT and SOCKS5 proxies
//   - kube: a Kubernetes control plane; source: source objects in it
//
// All servers have the same life: Start(t, Options) for tests, Run(ctx,
// Options) for programs; URL, Log, Count, SetFaults, Pause, Resume, Restart and
// Stop come from package serve. Faults are described by package fault, which
// also has a proxy, a failing file system and a clock. Packages crash and history
// kill processes at every step and judge what was recorded.
//
// # Concurrency
//
// Servers do not know each other; hundreds can run in parallel tests.
package testserver
