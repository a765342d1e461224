// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package apis

//go:generate controller-gen object:headerFile=header.go.txt paths=./meta/... paths=./...
//go:generate controller-gen crd paths=./... output:crd:dir=../controllers/config/crd/bases
