// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// BucketKind is the kind of a Bucket.
const BucketKind = "Bucket"

// Providers of bucket credentials and of STS.
const (
	// BucketProviderGeneric is any S3-compatible server.
	BucketProviderGeneric = "generic"
	// BucketProviderAmazon is AWS S3.
	BucketProviderAmazon = "aws"
	// BucketProviderGoogle is Google Cloud Storage.
	BucketProviderGoogle = "gcp"
	// BucketProviderAzure is Azure Blob Storage.
	BucketProviderAzure = "azure"
	// STSProviderAmazon is the AWS security token service.
	STSProviderAmazon = "aws"
	// STSProviderLDAP is an LDAP-backed security token service.
	STSProviderLDAP = "ldap"
)

// BucketSpec describes an object store and what to fetch from it.
//
// +kubebuilder:validation:XValidation:rule="self.provider == 'aws' || self.provider == 'generic' || !has(self.sts)",message="STS configuration is only supported for the 'aws' and 'generic' Bucket providers"
// +kubebuilder:validation:XValidation:rule="self.provider != 'aws' || !has(self.sts) || self.sts.provider == 'aws'",message="'aws' is the only supported STS provider for the 'aws' Bucket provider"
// +kubebuilder:validation:XValidation:rule="self.provider != 'generic' || !has(self.sts) || self.sts.provider == 'ldap'",message="'ldap' is the only supported STS provider for the 'generic' Bucket provider"
// +kubebuilder:validation:XValidation:rule="!has(self.sts) || self.sts.provider != 'aws' || !has(self.sts.secretRef)",message="spec.sts.secretRef is not required for the 'aws' STS provider"
// +kubebuilder:validation:XValidation:rule="!has(self.sts) || self.sts.provider != 'aws' || !has(self.sts.certSecretRef)",message="spec.sts.certSecretRef is not required for the 'aws' STS provider"
// +kubebuilder:validation:XValidation:rule="self.provider != 'generic' || !has(self.serviceAccountName)",message="ServiceAccountName is not supported for the 'generic' Bucket provider"
// +kubebuilder:validation:XValidation:rule="!has(self.secretRef) || !has(self.serviceAccountName)",message="cannot set both .spec.secretRef and .spec.serviceAccountName"
type BucketSpec struct {
	// Provider of the object store.
	// +kubebuilder:validation:Enum=generic;aws;gcp;azure
	// +kubebuilder:default:=generic
	// +optional
	Provider string `json:"provider,omitempty"`

	// BucketName is the name of the bucket.
	// +required
	BucketName string `json:"bucketName"`

	// Endpoint is the address of the object store, without scheme.
	// +required
	Endpoint string `json:"endpoint"`

	// STS describes a security token service for credentials.
	// +optional
	STS *BucketSTSSpec `json:"sts,omitempty"`

	// Insecure allows plain HTTP.
	// +optional
	Insecure bool `json:"insecure,omitempty"`

	// Region of the endpoint.
	// +optional
	Region string `json:"region,omitempty"`

	// Prefix of the objects to fetch.
	// +optional
	Prefix string `json:"prefix,omitempty"`

	// SecretRef names a Secret with credentials of the provider.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// ServiceAccountName is the account whose cloud identity is used.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$"
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// CertSecretRef names a Secret with 'ca.crt', or 'tls.crt' and 'tls.key'.
	// Only for the generic provider.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`

	// ProxySecretRef names a Secret with the keys 'address', 'username' and
	// 'password' of a proxy.
	// +optional
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// Interval at which the bucket is listed.
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

	// Ignore holds exclusion patterns in the format of .gitignore.
	// +optional
	Ignore *string `json:"ignore,omitempty"`

	// Suspend stops reconciliation of this object.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// AccessFrom lists the namespaces that may refer to this object.
	// +optional
	AccessFrom *meta.AccessFrom `json:"accessFrom,omitempty"`
}

// BucketSTSSpec describes a security token service.
type BucketSTSSpec struct {
	// Provider of the service.
	// +kubebuilder:validation:Enum=aws;ldap
	// +required
	Provider string `json:"provider"`

	// Endpoint is the address of the service.
	// +kubebuilder:validation:Pattern="^(http|https)://.*$"
	// +required
	Endpoint string `json:"endpoint"`

	// SecretRef names a Secret with 'username' and 'password'. Only for ldap.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// CertSecretRef names a Secret with 'ca.crt', or 'tls.crt' and 'tls.key'.
	// Only for ldap.
	// +optional
	CertSecretRef *meta.LocalObjectReference `json:"certSecretRef,omitempty"`
}

// BucketStatus is the observed state of a Bucket.
type BucketStatus struct {
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

	meta.ReconcileRequestStatus `json:",inline"`
}

// Bucket produces an artifact from the objects of a bucket.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=buckets,scope=Namespaced,categories=all;fluxcd;fluxcd-sources
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:printcolumn:name="Endpoint",type=string,JSONPath=`.spec.endpoint`
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description=""
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description=""
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message",description=""
type Bucket struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec BucketSpec `json:"spec,omitempty"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status BucketStatus `json:"status,omitempty"`
}

// BucketList is a list of Bucket objects.
//
// +kubebuilder:object:root=true
type BucketList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Bucket `json:"items"`
}

// GetConditions returns the conditions of the status.
func (in *Bucket) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions replaces the conditions of the status.
func (in *Bucket) SetConditions(c []metav1.Condition) { in.Status.Conditions = c }

// GetArtifact returns the artifact, nil when there is none.
func (in *Bucket) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// GetRequeueAfter returns the interval.
func (in *Bucket) GetRequeueAfter() time.Duration { return in.Spec.Interval.Duration }

// ObservedGeneration returns the place of the status field.
func (in *Bucket) ObservedGeneration() *int64 { return &in.Status.ObservedGeneration }

// HandledRequest returns the place of the last handled request token.
func (in *Bucket) HandledRequest() *string { return &in.Status.LastHandledReconcileAt }

// Suspended reports whether reconciliation is suspended.
func (in *Bucket) Suspended() bool { return in.Spec.Suspend }

// RequeueInterval returns the interval as it is stored.
func (in *Bucket) RequeueInterval() meta.Duration { return in.Spec.Interval }
