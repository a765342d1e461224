// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kube starts a real Kubernetes control plane for tests: etcd,
// kube-apiserver and, if asked for, kube-controller-manager, kube-scheduler and
// nodes whose pods become Ready.
//
// # Concepts
//
// [Start] gives the tests of a package one control plane; each takes a
// [Cluster.Namespace] of its own and runs in parallel with the others.
// [Private] gives a test a control plane to itself, [Run] is for programs that
// are no tests. The program that is run is built from Go modules on first use,
// see [Find]; nothing else is downloaded. With USE_EXISTING_CLUSTER=true the
// cluster of KUBECONFIG is used instead.
//
// # Errors
//
// [ErrUnavailable] says that there is nothing to run; an [*UnavailableError]
// says why and which command helps. Start and Private turn it into a skip,
// under CI=true or GITOPS_KIT_NO_SKIP=1 into a failure. A program that ends
// before it is ready is a [*StartError] with what it said, and [ErrNotReady] or
// [ErrDiskFull] where it was that; its files are gone then.
//
// # Limits
//
// A failed test's log gets at most 64 KiB. A control plane takes about 350 MiB
// of memory and lasts at most a day, the life of its certificates.
//
// # Concurrency
//
// Everything is safe for concurrent use.
//
// # Telemetry
//
// None; [Cluster.Requests] counts requests from the API server's audit log.
package kube
