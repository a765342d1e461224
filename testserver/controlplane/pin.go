// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build pin

package main

// Never built: it keeps the requirements on staging modules that no compiled
// package imports, because k8s.io/kubernetes asks for them at v0.0.0.
import (
	_ "k8s.io/code-generator/pkg/namer"
	_ "k8s.io/cri-streaming/pkg/streaming"
	_ "k8s.io/sample-apiserver/pkg/apis/wardle"
)
