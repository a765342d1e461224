// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package kubeversion gives the Kubernetes code of this program its version.
//
// A module build leaves the version variables of k8s.io/component-base unset,
// because the official build sets them with linker flags. This package sets
// them from the build information instead, in its own init, and imports
// nothing but the version package: its import path sorts before k8s.io, so it
// runs before the metric kubernetes_build_info reads the variables.
package kubeversion

import (
	"runtime/debug"
	"strings"
	_ "unsafe" // for go:linkname

	"k8s.io/component-base/version"
)

// The official build sets these with linker flags; so does this package, by
// name.
//
//go:linkname gitVersion k8s.io/component-base/version.gitVersion
//go:linkname gitMajor k8s.io/component-base/version.gitMajor
//go:linkname gitMinor k8s.io/component-base/version.gitMinor
//go:linkname gitCommit k8s.io/component-base/version.gitCommit
//go:linkname gitTreeState k8s.io/component-base/version.gitTreeState
var gitVersion, gitMajor, gitMinor, gitCommit, gitTreeState string //nolint:gochecknoglobals // they are those of another package

func init() { //nolint:gochecknoinits // the metric reads them in an init of its own
	v := Kubernetes()
	if v == "" {
		return
	}
	parts := strings.SplitN(strings.TrimPrefix(v, "v"), ".", 3)
	if len(parts) != 3 {
		return
	}
	gitVersion, gitMajor, gitMinor = v, parts[0], parts[1]
	gitCommit, gitTreeState = "", "archive"
	// The error can only say that v is no version; the static one stays then.
	_ = version.SetDynamicVersion(v)
}

// Kubernetes returns the version of the k8s.io/kubernetes module in this
// program, such as "v1.37.2", or "" when the build information is missing.
func Kubernetes() string { return moduleVersion("k8s.io/kubernetes") }

// Etcd returns the version of the etcd server module in this program.
func Etcd() string { return moduleVersion("go.etcd.io/etcd/server/v3") }

// Self returns the version of this program's own module.
func Self() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, d := range info.Deps {
		if d.Path == path {
			return d.Version
		}
	}
	return ""
}
