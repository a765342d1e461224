// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// OCIRepositoryKind is the kind of an OCIRepository.
const OCIRepositoryKind = "OCIRepository"

// OCIRepositoryPrefix is the scheme of OCI repository addresses.
const OCIRepositoryPrefix = "oci://"

// Providers of registry credentials.
const (
	// GenericOCIProvider authenticates with pull secrets.
	GenericOCIProvider = "generic"
	// AmazonOCIProvider authenticates with AWS workload identity.
	AmazonOCIProvider = "aws"
	// GoogleOCIProvider authenticates with Google Cloud workload identity.
	GoogleOCIProvider = "gcp"
	// AzureOCIProvider authenticates with Azure workload identity.
	AzureOCIProvider = "azure"
)

// Operations on the selected layer.
const (
	// OCILayerExtract extracts the layer and packs its content.
	OCILayerExtract = "extract"
	// OCILayerCopy stores the layer as it is.
	OCILayerCopy = "copy"
)

// OCIRepositorySpec describes an OCI artifact and how to use it.
type OCIRepositorySpec struct {
	// URL of the repository, oci://<host>/<path>, without tag or digest.
	// +kubebuilder:validation:Pattern="^oci://.*$"
	// +required
	URL string `json:"url"`

	// Reference to pull; tag latest when not given.
	// +optional
	Reference *OCIRepositoryRef `json:"ref,omitempty"`

	// LayerSelector says which layer is used; the first when not given.
	// +optional
	LayerSelector *OCILayerSelector `json:"layerSelector,omitempty"`

	// Provider of credentials.
	// +kubebuilder:validation:Enum=generic;aws;azure;gcp
	// +kubebuilder:default:=generic
	// +optional
	Provider string `json:"provider,omitempty"`

	// SecretRef names a Secret of type kubernetes.io/dockerconfigjson.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// Verify says how signatures are verified, off when not given.
	// +optional
	Verify *OCIRepositoryVerification `json:"verify,omitempty"`

	// ServiceAccountName is the account whose pull secrets, or whose cloud
	// identity, are used.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$"
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// CertSecretRef names a Secret with 'ca.crt', or 'tls.crt' and 'tls.key'.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`

	// ProxySecretRef names a Secret with the keys 'address', 'username' and
	// 'password' of a proxy.
	// +optional
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// Interval at which the registry is checked for a new revision.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('8760h')",message="must be between 1s and 8760h"
	// +required
	Interval meta.Duration `json:"interval"`

	// Timeout of each network operation.
	// +kubebuilder:default="60s"
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m))+$"
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('8760h')",message="must be between 1s and 8760h"
	// +optional
	Timeout *meta.Duration `json:"timeout,omitempty"`

	// Ignore holds exclusion patterns in the format of .gitignore; they replace
	// the default ones.
	// +optional
	Ignore *string `json:"ignore,omitempty"`

	// Insecure allows plain HTTP, or HTTPS without verification.
	// +optional
	Insecure bool `json:"insecure,omitempty"`

	// Suspend stops reconciliation of this object.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// AccessFrom lists the namespaces that may refer to this object.
	// +optional
	AccessFrom *meta.AccessFrom `json:"accessFrom,omitempty"`
}

// OCIRepositoryRef says what to pull. The order of precedence is digest,
// semver, tag.
type OCIRepositoryRef struct {
	// Digest of the manifest, sha256:<hex>; beats semver.
	// +optional
	Digest string `json:"digest,omitempty"`

	// SemVer is a range of tags to pull the greatest of; beats tag.
	// +optional
	SemVer string `json:"semver,omitempty"`

	// SemverFilter is a regular expression on the tags that semver chooses from.
	// +optional
	SemverFilter string `json:"semverFilter,omitempty"`

	// Tag to pull; latest when nothing is given.
	// +optional
	Tag string `json:"tag,omitempty"`
}

// OCILayerSelector says which layers are used, and how.
type OCILayerSelector struct {
	// MediaType of the layer; the first one of that type is used.
	// +optional
	MediaType string `json:"mediaType,omitempty"`

	// Operation on the layer: extract it, or store it as it is; extract when
	// not given.
	// +kubebuilder:validation:Enum=extract;copy
	// +optional
	Operation string `json:"operation,omitempty"`

	// Layers lists several layers and where each is extracted; mediaType is
	// ignored then.
	// +optional
	Layers []OCILayer `json:"layers,omitempty"`
}

// OCILayer is one layer of several.
type OCILayer struct {
	// MediaType of the layer.
	// +optional
	MediaType string `json:"mediaType,omitempty"`

	// Title is the value of the layer's title annotation.
	// +optional
	Title string `json:"title,omitempty"`

	// Path is the directory the layer is extracted to; the root when not given.
	// +optional
	Path string `json:"path,omitempty"`
}

// OCIRepositoryVerification says by whom an artifact must be signed.
type OCIRepositoryVerification struct {
	// Provider of the signatures, cosign or notation.
	// +kubebuilder:validation:Enum=cosign;notation
	// +kubebuilder:default:=cosign
	// +required
	Provider string `json:"provider"`

	// SecretRef names a Secret with the public keys of trusted signers.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// MatchOIDCIdentity lists the identities that may sign without a key.
	// +optional
	MatchOIDCIdentity []OIDCIdentityMatch `json:"matchOIDCIdentity,omitempty"`

	// TrustedRootSecretRef names a Secret with the key 'trusted_root.json'.
	// +optional
	TrustedRootSecretRef *meta.LocalObjectReference `json:"trustedRootSecretRef,omitempty"`
}

// OIDCIdentityMatch is an identity that may sign.
type OIDCIdentityMatch struct {
	// Issuer is a regular expression on the issuer.
	// +required
	Issuer string `json:"issuer"`

	// Subject is a regular expression on the subject.
	// +required
	Subject string `json:"subject"`
}

// OCIRepositoryStatus is the observed state of an OCIRepository.
type OCIRepositoryStatus struct {
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

	// ObservedIgnore is the ignore field the artifact was made with.
	// +optional
	ObservedIgnore *string `json:"observedIgnore,omitempty"`

	// ObservedLayerSelector is the layerSelector field the artifact was made
	// with.
	// +optional
	ObservedLayerSelector *OCILayerSelector `json:"observedLayerSelector,omitempty"`

	meta.ReconcileRequestStatus `json:",inline"`
}

// OCIRepository produces an artifact from an OCI registry.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=ocirepositories,scope=Namespaced,shortName=ocirepo,categories=all;fluxcd;fluxcd-sources
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description=""
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message",description=""
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description=""
type OCIRepository struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec OCIRepositorySpec `json:"spec,omitempty"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status OCIRepositoryStatus `json:"status,omitempty"`
}

// OCIRepositoryList is a list of OCIRepository objects.
//
// +kubebuilder:object:root=true
type OCIRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []OCIRepository `json:"items"`
}

// GetConditions returns the conditions of the status.
func (in *OCIRepository) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions replaces the conditions of the status.
func (in *OCIRepository) SetConditions(c []metav1.Condition) { in.Status.Conditions = c }

// GetArtifact returns the artifact, nil when there is none.
func (in *OCIRepository) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// GetRequeueAfter returns the interval.
func (in *OCIRepository) GetRequeueAfter() time.Duration { return in.Spec.Interval.Duration }

// ObservedGeneration returns the place of the status field.
func (in *OCIRepository) ObservedGeneration() *int64 { return &in.Status.ObservedGeneration }

// HandledRequest returns the place of the last handled request token.
func (in *OCIRepository) HandledRequest() *string { return &in.Status.LastHandledReconcileAt }

// Suspended reports whether reconciliation is suspended.
func (in *OCIRepository) Suspended() bool { return in.Spec.Suspend }

// RequeueInterval returns the interval as it is stored.
func (in *OCIRepository) RequeueInterval() meta.Duration { return in.Spec.Interval }

// GetLayerMediaType returns the media type of the layer selector, "" without
// one.
func (in *OCIRepository) GetLayerMediaType() string {
	if in.Spec.LayerSelector == nil {
		return ""
	}
	return in.Spec.LayerSelector.MediaType
}

// GetLayerOperation returns the operation of the layer selector,
// [OCILayerExtract] without one.
func (in *OCIRepository) GetLayerOperation() string {
	if in.Spec.LayerSelector == nil || in.Spec.LayerSelector.Operation == "" {
		return OCILayerExtract
	}
	return in.Spec.LayerSelector.Operation
}
