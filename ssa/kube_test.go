// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"testing"

	"github.com/gitops-kit/sdk/testserver/kube"
	"k8s.io/client-go/rest"
)

// server is the control plane that the tests of the package share.
func server(t testing.TB) *kube.Cluster {
	t.Helper()
	return kube.Start(t, kube.Options{Components: kube.Full})
}

func config(t testing.TB) *rest.Config { return server(t).Config() }

func namespace(t testing.TB) string { t.Helper(); return server(t).Namespace(t) }
