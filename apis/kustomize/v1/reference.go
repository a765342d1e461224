// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package v1

import "github.com/gitops-kit/sdk/apis/meta"

// CrossNamespaceSourceReference names the source of a Kustomization.
type CrossNamespaceSourceReference struct {
	// APIVersion of the source.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the source.
	// +kubebuilder:validation:Enum=OCIRepository;GitRepository;Bucket;ExternalArtifact
	// +required
	Kind string `json:"kind"`

	// Name of the source.
	// +required
	Name string `json:"name"`

	// Namespace of the source; that of the Kustomization when not given.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// String returns "Kind/namespace/name", or "Kind/name" without a namespace.
func (s *CrossNamespaceSourceReference) String() string {
	if s.Namespace != "" {
		return s.Kind + "/" + s.Namespace + "/" + s.Name
	}
	return s.Kind + "/" + s.Name
}

// ResourceInventory lists the objects that a Kustomization applied.
type ResourceInventory = meta.Inventory

// ResourceRef is one object of a [ResourceInventory].
type ResourceRef = meta.InventoryEntry

// DependencyReference names an object that must be ready first.
type DependencyReference = meta.DependencyReference
