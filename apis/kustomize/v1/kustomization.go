// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names of the kind.
const (
	// KustomizationKind is the kind of a Kustomization.
	KustomizationKind = "Kustomization"
	// KustomizationFinalizer is put on a Kustomization before its first run.
	KustomizationFinalizer = meta.Finalizer
	// MaxConditionMessageLength is the greatest length of a condition message.
	MaxConditionMessageLength = meta.MaxConditionMessage
	// DisabledValue switches a feature off for an object, in its annotations.
	DisabledValue = "disabled"
	// EnabledValue switches a feature on for an object, in its annotations.
	EnabledValue = "enabled"
	// MergeValue is the value of the annotation for merging field managers.
	MergeValue = "Merge"
	// IfNotPresentValue is the value of the annotation for creating only.
	IfNotPresentValue = "IfNotPresent"
	// IgnoreValue is the value of the annotation for leaving an object alone.
	IgnoreValue = "Ignore"
	// OverrideValue is the value of the annotation for taking fields over.
	OverrideValue = "Override"
)

// Policies for the applied objects when the Kustomization is deleted.
const (
	// DeletionPolicyMirrorPrune deletes them if spec.prune is true.
	DeletionPolicyMirrorPrune = "MirrorPrune"
	// DeletionPolicyDelete deletes them.
	DeletionPolicyDelete = "Delete"
	// DeletionPolicyWaitForTermination deletes them and waits until they are gone.
	DeletionPolicyWaitForTermination = "WaitForTermination"
	// DeletionPolicyOrphan leaves them.
	DeletionPolicyOrphan = "Orphan"
)

// Strategies of substitution.
const (
	// SubstituteStrategyWithVariables substitutes only when there are variables.
	SubstituteStrategyWithVariables = "WithVariables"
	// SubstituteStrategyAlways substitutes even without variables.
	SubstituteStrategyAlways = "Always"
)

// DecryptionProviderSOPS is the only provider of decryption.
const DecryptionProviderSOPS = "sops"

// minTimeout is the least time a Kustomization has for its health checks.
const minTimeout = 30 * time.Second

// KustomizationSpec describes what to build, how to apply it, and as whom.
type KustomizationSpec struct {
	// CommonMetadata is set on every applied object and wins over its own.
	// +optional
	CommonMetadata *CommonMetadata `json:"commonMetadata,omitempty"`

	// DependsOn lists objects that must be ready first.
	// +optional
	DependsOn []DependencyReference `json:"dependsOn,omitempty"`

	// Decryption of Secrets before they are applied.
	// +optional
	Decryption *Decryption `json:"decryption,omitempty"`

	// Interval at which the objects are compared with the cluster.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('8760h')",message="must be between 1s and 8760h"
	// +required
	Interval meta.Duration `json:"interval"`

	// RetryInterval after a failure; interval when not given.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('8760h')",message="must be between 1s and 8760h"
	// +optional
	RetryInterval *meta.Duration `json:"retryInterval,omitempty"`

	// KubeConfig describes the access to a remote cluster; this one when not
	// given.
	// +optional
	KubeConfig *meta.KubeConfigReference `json:"kubeConfig,omitempty"`

	// Path in the artifact; its root when not given.
	// +optional
	Path string `json:"path,omitempty"`

	// PostBuild describes what happens to the manifests after the build.
	// +optional
	PostBuild *PostBuild `json:"postBuild,omitempty"`

	// Prune deletes objects that are no longer part of the set.
	// +required
	Prune bool `json:"prune"`

	// DeletionPolicy says what happens to the objects when the Kustomization is
	// deleted; MirrorPrune when not given.
	// +kubebuilder:validation:Enum=MirrorPrune;Delete;WaitForTermination;Orphan
	// +optional
	DeletionPolicy string `json:"deletionPolicy,omitempty"`

	// HealthChecks lists objects that must become healthy.
	// +optional
	HealthChecks []meta.NamespacedObjectKindReference `json:"healthChecks,omitempty"`

	// NamePrefix is put before the name of every object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +optional
	NamePrefix string `json:"namePrefix,omitempty"`

	// NameSuffix is put after the name of every object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=200
	// +optional
	NameSuffix string `json:"nameSuffix,omitempty"`

	// Patches are applied to the built objects.
	// +optional
	Patches []meta.Patch `json:"patches,omitempty"`

	// Images replaces names, tags and digests of container images.
	// +optional
	Images []meta.Image `json:"images,omitempty"`

	// ServiceAccountName is the account that applies the objects.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$"
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// SourceRef names the source of the artifact.
	// +required
	SourceRef CrossNamespaceSourceReference `json:"sourceRef"`

	// Suspend stops reconciliation of this object.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// TargetNamespace is set as the namespace of every object.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	// +optional
	TargetNamespace string `json:"targetNamespace,omitempty"`

	// Timeout of apply and health checks; interval less 30 seconds when not
	// given, and never below 30 seconds.
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern="^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('8760h')",message="must be between 1s and 8760h"
	// +optional
	Timeout *meta.Duration `json:"timeout,omitempty"`

	// Force recreates objects of which an immutable field changed.
	// +kubebuilder:default:=false
	// +optional
	Force bool `json:"force,omitempty"`

	// Wait checks the health of everything that was applied; healthChecks are
	// ignored then.
	// +optional
	Wait bool `json:"wait,omitempty"`

	// Components lists kustomize components, local and relative to path.
	// +optional
	Components []string `json:"components,omitempty"`

	// IgnoreMissingComponents skips components that do not exist.
	// +optional
	IgnoreMissingComponents bool `json:"ignoreMissingComponents,omitempty"`

	// HealthCheckExprs tell by CEL how the health of custom kinds is read.
	// +optional
	HealthCheckExprs []meta.CustomHealthCheck `json:"healthCheckExprs,omitempty"`

	// BuildMetadata lists annotations that kustomize adds about the build.
	// +kubebuilder:validation:items:Enum=originAnnotations;transformerAnnotations
	// +optional
	BuildMetadata []string `json:"buildMetadata,omitempty"`

	// Ignore lists fields that are left to others.
	// +optional
	Ignore []IgnoreRule `json:"ignore,omitempty"`
}

// CommonMetadata is set on every applied object.
type CommonMetadata struct {
	// Annotations to set.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`

	// Labels to set.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
}

// Decryption says how Secrets are decrypted.
type Decryption struct {
	// Provider of the decryption.
	// +kubebuilder:validation:Enum=sops
	// +required
	Provider string `json:"provider"`

	// ServiceAccountName is the account whose cloud identity is used.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$"
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// SecretRef names a Secret with private keys or credentials.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`
}

// PostBuild describes what happens to the manifests after the build.
type PostBuild struct {
	// Substitute holds variables and their values; it wins over substituteFrom.
	// +optional
	Substitute map[string]string `json:"substitute,omitempty"`

	// SubstituteFrom lists ConfigMaps and Secrets with variables; later ones win.
	// +optional
	SubstituteFrom []SubstituteReference `json:"substituteFrom,omitempty"`

	// SubstituteStrategy says when substitution happens; WithVariables when not
	// given.
	// +kubebuilder:validation:Enum=WithVariables;Always
	// +optional
	SubstituteStrategy string `json:"substituteStrategy,omitempty"`
}

// SubstituteReference names a ConfigMap or Secret with variables.
type SubstituteReference struct {
	// Kind of the referent.
	// +kubebuilder:validation:Enum=Secret;ConfigMap
	// +required
	Kind string `json:"kind"`

	// Name of the referent, in the namespace of the Kustomization.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`

	// Optional tolerates a referent that does not exist.
	// +kubebuilder:default:=false
	// +optional
	Optional bool `json:"optional,omitempty"`
}

// IgnoreRule names fields that are left to others.
type IgnoreRule struct {
	// Paths are JSON pointers of the fields.
	// +required
	Paths []string `json:"paths"`

	// Target selects the objects; every object when not given.
	// +optional
	Target *meta.Selector `json:"target,omitempty"`
}

// KustomizationStatus is the observed state of a Kustomization.
type KustomizationStatus struct {
	meta.ReconcileRequestStatus `json:",inline"`

	// ObservedGeneration is the last generation that ended Ready or Stalled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions of the object.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// LastAppliedRevision is the revision of the last successful run.
	// +optional
	LastAppliedRevision string `json:"lastAppliedRevision,omitempty"`

	// LastAppliedOriginRevision is the revision in the source that the artifact
	// of the last successful run was made from.
	// +optional
	LastAppliedOriginRevision string `json:"lastAppliedOriginRevision,omitempty"`

	// LastAttemptedRevision is the revision of the last run.
	// +optional
	LastAttemptedRevision string `json:"lastAttemptedRevision,omitempty"`

	// Inventory lists the applied objects.
	// +optional
	Inventory *ResourceInventory `json:"inventory,omitempty"`

	// History of the applied sets, newest first.
	// +optional
	History meta.History `json:"history,omitempty"`
}

// Kustomization applies the manifests of an artifact.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=kustomizations,scope=Namespaced,shortName=ks,categories=all;fluxcd;fluxcd-appliers
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description=""
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description=""
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message",description=""
type Kustomization struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec KustomizationSpec `json:"spec,omitempty"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status KustomizationStatus `json:"status,omitempty"`
}

// KustomizationList is a list of Kustomizations.
//
// +kubebuilder:object:root=true
type KustomizationList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Kustomization `json:"items"`
}

// GetConditions returns the conditions of the status.
func (in *Kustomization) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions replaces the conditions of the status.
func (in *Kustomization) SetConditions(c []metav1.Condition) { in.Status.Conditions = c }

// GetTimeout returns the timeout, interval less 30 seconds when it is not
// given; never below 30 seconds.
func (in *Kustomization) GetTimeout() time.Duration {
	d := in.Spec.Interval.Duration - minTimeout
	if in.Spec.Timeout != nil && in.Spec.Timeout.Err() == nil {
		d = in.Spec.Timeout.Duration
	}
	return max(d, minTimeout)
}

// GetRetryInterval returns the retry interval, the interval when it is not
// given.
func (in *Kustomization) GetRetryInterval() time.Duration { return in.RetryInterval().Duration }

// GetRequeueAfter returns the interval.
func (in *Kustomization) GetRequeueAfter() time.Duration { return in.Spec.Interval.Duration }

// GetDeletionPolicy returns the deletion policy with the default and
// MirrorPrune resolved to Delete or Orphan by spec.prune.
func (in *Kustomization) GetDeletionPolicy() string {
	switch in.Spec.DeletionPolicy {
	case "", DeletionPolicyMirrorPrune:
		if in.Spec.Prune {
			return DeletionPolicyDelete
		}
		return DeletionPolicyOrphan
	default:
		return in.Spec.DeletionPolicy
	}
}

// GetDependsOn returns the dependencies of the spec.
func (in *Kustomization) GetDependsOn() []DependencyReference { return in.Spec.DependsOn }

// ObservedGeneration returns the place of the status field.
func (in *Kustomization) ObservedGeneration() *int64 { return &in.Status.ObservedGeneration }

// HandledRequest returns the place of the last handled request token.
func (in *Kustomization) HandledRequest() *string { return &in.Status.LastHandledReconcileAt }

// Suspended reports whether reconciliation is suspended.
func (in *Kustomization) Suspended() bool { return in.Spec.Suspend }

// RequeueInterval returns the interval as it is stored.
func (in *Kustomization) RequeueInterval() meta.Duration { return in.Spec.Interval }

// RetryInterval returns the retry interval as it is stored, the interval when
// it is not given.
func (in *Kustomization) RetryInterval() meta.Duration {
	if in.Spec.RetryInterval != nil {
		return *in.Spec.RetryInterval
	}
	return in.Spec.Interval
}

// AppliedRevision returns the revision of the last successful run.
func (in *Kustomization) AppliedRevision() string { return in.Status.LastAppliedRevision }
