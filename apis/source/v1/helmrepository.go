// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// HelmRepositoryKind is the kind of a HelmRepository.
const HelmRepositoryKind = "HelmRepository"

// Types of a HelmRepository.
const (
	// HelmRepositoryTypeDefault is an HTTP(S) repository with an index.
	HelmRepositoryTypeDefault = "default"
	// HelmRepositoryTypeOCI is an OCI registry; such an object is static.
	HelmRepositoryTypeOCI = "oci"
)

// HelmRepositorySpec describes a Helm chart repository.
type HelmRepositorySpec struct {
	// URL of the repository, HTTP(S) or OCI.
	// +kubebuilder:validation:Pattern="^(http|https|oci)://.*$"
	// +required
	URL string `json:"url"`

	// SecretRef names a Secret with 'username' and 'password', or of type
	// kubernetes.io/dockerconfigjson for OCI. TLS keys in it are deprecated:
	// use certSecretRef.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// CertSecretRef names a Secret with 'ca.crt', or 'tls.crt' and 'tls.key'.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`

	// PassCredentials sends the credentials to other hosts named by the index,
	// too.
	// +optional
	PassCredentials bool `json:"passCredentials,omitempty"`

	// Interval at which the index is fetched; one minute when not given.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('8760h')",message="must be between 1s and 8760h"
	// +optional
	Interval meta.Duration `json:"interval,omitempty,omitzero"`

	// Insecure allows plain HTTP to an OCI registry.
	// +optional
	Insecure bool `json:"insecure,omitempty"`

	// Timeout of each network operation; one minute when not given.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('8760h')",message="must be between 1s and 8760h"
	// +optional
	Timeout *meta.Duration `json:"timeout,omitempty"`

	// Suspend stops reconciliation of this object.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// AccessFrom lists the namespaces that may refer to this object.
	// +optional
	AccessFrom *meta.AccessFrom `json:"accessFrom,omitempty"`

	// Type of the repository, default or oci; default when not given.
	// +kubebuilder:validation:Enum=default;oci
	// +optional
	Type string `json:"type,omitempty"`

	// Provider of credentials; only for OCI.
	// +kubebuilder:validation:Enum=generic;aws;azure;gcp
	// +kubebuilder:default:=generic
	// +optional
	Provider string `json:"provider,omitempty"`
}

// HelmRepositoryStatus is the observed state of a HelmRepository.
type HelmRepositoryStatus struct {
	// ObservedGeneration is the last generation that ended Ready or Stalled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions of the object.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// URL is the stable address of the current artifact.
	// +optional
	URL string `json:"url,omitempty"`

	// Artifact of the last successful run.
	// +optional
	Artifact *meta.Artifact `json:"artifact,omitempty"`

	meta.ReconcileRequestStatus `json:",inline"`
}

// HelmRepository produces an artifact from the index of a Helm repository.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=helmrepositories,scope=Namespaced,shortName=helmrepo,categories=all;fluxcd;fluxcd-sources
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description=""
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description=""
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message",description=""
type HelmRepository struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec HelmRepositorySpec `json:"spec,omitempty"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status HelmRepositoryStatus `json:"status,omitempty"`
}

// HelmRepositoryList is a list of HelmRepository objects.
//
// +kubebuilder:object:root=true
type HelmRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []HelmRepository `json:"items"`
}

// GetConditions returns the conditions of the status.
func (in *HelmRepository) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions replaces the conditions of the status.
func (in *HelmRepository) SetConditions(c []metav1.Condition) { in.Status.Conditions = c }

// GetArtifact returns the artifact, nil when there is none.
func (in *HelmRepository) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// GetRequeueAfter returns the interval.
func (in *HelmRepository) GetRequeueAfter() time.Duration { return in.RequeueInterval().Duration }

// ObservedGeneration returns the place of the status field.
func (in *HelmRepository) ObservedGeneration() *int64 { return &in.Status.ObservedGeneration }

// HandledRequest returns the place of the last handled request token.
func (in *HelmRepository) HandledRequest() *string { return &in.Status.LastHandledReconcileAt }

// Suspended reports whether reconciliation is suspended.
func (in *HelmRepository) Suspended() bool { return in.Spec.Suspend }

// RequeueInterval returns the interval as it is stored, one minute when it is not given.
func (in *HelmRepository) RequeueInterval() meta.Duration {
	if in.Spec.Interval == (meta.Duration{}) {
		return meta.Duration{Duration: time.Minute}
	}
	return in.Spec.Interval
}

// GetTimeout returns the timeout, one minute when it is not given.
func (in *HelmRepository) GetTimeout() time.Duration {
	if in.Spec.Timeout == nil || in.Spec.Timeout.Duration <= 0 {
		return time.Minute
	}
	return in.Spec.Timeout.Duration
}
