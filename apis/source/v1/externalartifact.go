// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ExternalArtifactKind is the kind of an ExternalArtifact.
const ExternalArtifactKind = "ExternalArtifact"

// ExternalArtifactSpec says where an external artifact comes from.
type ExternalArtifactSpec struct {
	// SourceRef names the object that produces the artifact.
	// +optional
	SourceRef *meta.NamespacedObjectKindReference `json:"sourceRef,omitempty"`

	// AccessFrom lists the namespaces that may refer to this object.
	// +optional
	AccessFrom *meta.AccessFrom `json:"accessFrom,omitempty"`
}

// ExternalArtifactStatus is the observed state of an ExternalArtifact, written
// by its producer.
type ExternalArtifactStatus struct {
	// Artifact is the output of the producer.
	// +optional
	Artifact *meta.Artifact `json:"artifact,omitempty"`

	// Conditions of the object.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// ExternalArtifact is an artifact that another controller produces.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=externalartifacts,scope=Namespaced,shortName=ea,categories=all;fluxcd;fluxcd-sources
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description=""
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description=""
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message",description=""
// +kubebuilder:printcolumn:name="Source",type=string,JSONPath=`.spec.sourceRef.name`
type ExternalArtifact struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ExternalArtifactSpec   `json:"spec,omitempty"`
	Status ExternalArtifactStatus `json:"status,omitempty"`
}

// ExternalArtifactList is a list of ExternalArtifact objects.
//
// +kubebuilder:object:root=true
type ExternalArtifactList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ExternalArtifact `json:"items"`
}

// GetConditions returns the conditions of the status.
func (in *ExternalArtifact) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions replaces the conditions of the status.
func (in *ExternalArtifact) SetConditions(c []metav1.Condition) { in.Status.Conditions = c }

// GetArtifact returns the artifact, nil when there is none.
func (in *ExternalArtifact) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// GetRequeueAfter returns one minute: nothing here reconciles the kind.
func (in *ExternalArtifact) GetRequeueAfter() time.Duration { return time.Minute }
