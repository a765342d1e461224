// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"k8s.io/apimachinery/pkg/runtime"
)

// Source is what the kinds of this package have in common.
//
// +kubebuilder:object:generate=false
type Source interface {
	runtime.Object
	// GetArtifact returns the artifact of the last successful run, nil when
	// there is none.
	GetArtifact() *meta.Artifact
	// GetRequeueAfter returns how long after a successful run the next one is due.
	GetRequeueAfter() time.Duration
}

var (
	_ Source = (*GitRepository)(nil)
	_ Source = (*OCIRepository)(nil)
	_ Source = (*HelmRepository)(nil)
	_ Source = (*HelmChart)(nil)
	_ Source = (*Bucket)(nil)
	_ Source = (*ExternalArtifact)(nil)
)

// Names of index fields and of the finalizer.
const (
	// SourceFinalizer is the finalizer of reconciled sources.
	SourceFinalizer = meta.Finalizer
	// SourceIndexKey is the field under which charts are indexed by their source.
	SourceIndexKey = ".metadata.source"
)
