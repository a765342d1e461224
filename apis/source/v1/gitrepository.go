// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package v1

import (
	"strings"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GitRepositoryKind is the kind of a GitRepository.
const GitRepositoryKind = "GitRepository"

// Providers of Git credentials.
const (
	// GitProviderGeneric authenticates with a Secret.
	GitProviderGeneric = "generic"
	// GitProviderAWS authenticates with AWS workload identity.
	GitProviderAWS = "aws"
	// GitProviderAzure authenticates with Azure workload identity.
	GitProviderAzure = "azure"
	// GitProviderGitHub authenticates as a GitHub App.
	GitProviderGitHub = "github"
)

// GitVerificationMode says which Git objects must be signed.
//
// +kubebuilder:validation:Enum=head;HEAD;Tag;TagAndHEAD
type GitVerificationMode string

// Modes of verification.
const (
	// ModeGitHEAD verifies the checked-out commit.
	ModeGitHEAD GitVerificationMode = "HEAD"
	// ModeGitTag verifies the tag that was asked for.
	ModeGitTag GitVerificationMode = "Tag"
	// ModeGitTagAndHEAD verifies the tag and the commit.
	ModeGitTagAndHEAD GitVerificationMode = "TagAndHEAD"
)

// GitRepositorySpec describes a Git repository and what to check out.
//
// +kubebuilder:validation:XValidation:rule="!has(self.serviceAccountName) || (has(self.provider) && (self.provider == 'azure' || self.provider == 'aws'))",message="serviceAccountName can only be set when provider is 'azure' or 'aws'"
type GitRepositorySpec struct {
	// URL of the repository, HTTP(S) or SSH.
	// +kubebuilder:validation:Pattern="^(http|https|ssh)://.*$"
	// +required
	URL string `json:"url"`

	// SecretRef names a Secret with credentials: 'username' and 'password', or
	// 'bearerToken', for HTTP(S); 'identity' and 'known_hosts' for SSH; the
	// keys of a GitHub App for the provider github.
	// +optional
	SecretRef *meta.LocalObjectReference `json:"secretRef,omitempty"`

	// Provider of credentials; 'generic' when not given.
	// +kubebuilder:validation:Enum=generic;aws;azure;github
	// +optional
	Provider string `json:"provider,omitempty"`

	// ServiceAccountName is the account whose cloud identity is used. Only for
	// the providers aws and azure.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern="^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$"
	// +optional
	ServiceAccountName string `json:"serviceAccountName,omitempty"`

	// Interval at which the upstream is checked for a new revision.
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

	// Reference to check out; branch master when not given.
	// +optional
	Reference *GitRepositoryRef `json:"ref,omitempty"`

	// Verification of signatures, off when not given.
	// +optional
	Verification *GitRepositoryVerification `json:"verify,omitempty"`

	// ProxySecretRef names a Secret with the keys 'address', 'username' and
	// 'password' of a proxy.
	// +optional
	ProxySecretRef *meta.LocalObjectReference `json:"proxySecretRef,omitempty"`

	// Ignore holds exclusion patterns in the format of .gitignore; they replace
	// the default ones.
	// +optional
	Ignore *string `json:"ignore,omitempty"`

	// Suspend stops reconciliation of this object.
	// +optional
	Suspend bool `json:"suspend,omitempty"`

	// RecurseSubmodules checks out submodules, too.
	// +optional
	RecurseSubmodules bool `json:"recurseSubmodules,omitempty"`

	// Include lists repositories whose artifacts become part of this one.
	// +optional
	Include []GitRepositoryInclude `json:"include,omitempty"`

	// SparseCheckout lists the directories to check out; all when empty.
	// +optional
	SparseCheckout []string `json:"sparseCheckout,omitempty"`

	// AccessFrom lists the namespaces that may refer to this object.
	// +optional
	AccessFrom *meta.AccessFrom `json:"accessFrom,omitempty"`
}

// GitRepositoryInclude is another repository whose artifact is included.
type GitRepositoryInclude struct {
	// GitRepositoryRef names the included GitRepository.
	// +required
	GitRepositoryRef meta.LocalObjectReference `json:"repository"`

	// FromPath is the path to copy from the included artifact; its root when
	// not given.
	// +optional
	FromPath string `json:"fromPath,omitempty"`

	// ToPath is the path to copy to; the name of the repository when not given.
	// +optional
	ToPath string `json:"toPath,omitempty"`
}

// GetFromPath returns FromPath, "/" when it is empty.
func (in GitRepositoryInclude) GetFromPath() string {
	if in.FromPath == "" {
		return "/"
	}
	return in.FromPath
}

// GetToPath returns ToPath, the name of the repository when it is empty.
func (in GitRepositoryInclude) GetToPath() string {
	if in.ToPath == "" {
		return in.GitRepositoryRef.Name
	}
	return in.ToPath
}

// GitRepositoryRef says what to check out. The order of precedence is commit,
// name, semver, tag, branch.
type GitRepositoryRef struct {
	// Branch to check out; master when nothing is given.
	// +optional
	Branch string `json:"branch,omitempty"`

	// Tag to check out; beats branch.
	// +optional
	Tag string `json:"tag,omitempty"`

	// SemVer is a range of tags to check out the greatest of; beats tag.
	// +optional
	SemVer string `json:"semver,omitempty"`

	// Name of a reference to check out, such as refs/pull/1/head; beats semver.
	// +optional
	Name string `json:"name,omitempty"`

	// Commit to check out; beats everything. With branch it must be reachable
	// from that branch.
	// +optional
	Commit string `json:"commit,omitempty"`
}

// GitRepositoryVerification says what must be signed, and by whom.
type GitRepositoryVerification struct {
	// Mode is what must be signed: HEAD, Tag or TagAndHEAD; 'head' is HEAD.
	// +kubebuilder:default="HEAD"
	// +optional
	Mode GitVerificationMode `json:"mode,omitempty"`

	// SecretRef names a Secret with the public keys of trusted signers.
	// +required
	SecretRef meta.LocalObjectReference `json:"secretRef"`
}

// GetMode returns the mode with 'head' and the empty mode read as HEAD.
func (v *GitRepositoryVerification) GetMode() GitVerificationMode {
	if v.Mode == "" || strings.EqualFold(string(v.Mode), string(ModeGitHEAD)) {
		return ModeGitHEAD
	}
	return v.Mode
}

// VerifyTag reports whether the tag must be signed.
func (v *GitRepositoryVerification) VerifyTag() bool {
	m := v.GetMode()
	return m == ModeGitTag || m == ModeGitTagAndHEAD
}

// VerifyHEAD reports whether the commit must be signed.
func (v *GitRepositoryVerification) VerifyHEAD() bool {
	m := v.GetMode()
	return m == ModeGitHEAD || m == ModeGitTagAndHEAD
}

// GitRepositoryStatus is the observed state of a GitRepository.
type GitRepositoryStatus struct {
	// ObservedGeneration is the last generation that ended Ready or Stalled.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Conditions of the object.
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Artifact of the last successful run.
	// +optional
	Artifact *meta.Artifact `json:"artifact,omitempty"`

	// IncludedArtifacts are the artifacts that were included.
	// +optional
	IncludedArtifacts []*meta.Artifact `json:"includedArtifacts,omitempty"`

	// ObservedIgnore is the ignore field the artifact was made with.
	// +optional
	ObservedIgnore *string `json:"observedIgnore,omitempty"`

	// ObservedRecurseSubmodules is the recurseSubmodules field the artifact was
	// made with.
	// +optional
	ObservedRecurseSubmodules bool `json:"observedRecurseSubmodules,omitempty"`

	// ObservedInclude is the include field the artifact was made with.
	// +optional
	ObservedInclude []GitRepositoryInclude `json:"observedInclude,omitempty"`

	// ObservedSparseCheckout is the sparseCheckout field the artifact was made
	// with.
	// +optional
	ObservedSparseCheckout []string `json:"observedSparseCheckout,omitempty"`

	// SourceVerificationMode is the mode that was verified.
	// +optional
	SourceVerificationMode *GitVerificationMode `json:"sourceVerificationMode,omitempty"`

	meta.ReconcileRequestStatus `json:",inline"`
}

// GitRepository produces an artifact from a Git repository.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=gitrepositories,scope=Namespaced,shortName=gitrepo,categories=all;fluxcd;fluxcd-sources
// +kubebuilder:subresource:status
// +kubebuilder:metadata:annotations="kustomize.toolkit.fluxcd.io/substitute=disabled"
// +kubebuilder:printcolumn:name="URL",type=string,JSONPath=`.spec.url`
// +kubebuilder:printcolumn:name="Age",type="date",JSONPath=".metadata.creationTimestamp",description=""
// +kubebuilder:printcolumn:name="Ready",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].status",description=""
// +kubebuilder:printcolumn:name="Status",type="string",JSONPath=".status.conditions[?(@.type==\"Ready\")].message",description=""
type GitRepository struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec GitRepositorySpec `json:"spec,omitempty"`
	// +kubebuilder:default={"observedGeneration":-1}
	Status GitRepositoryStatus `json:"status,omitempty"`
}

// GitRepositoryList is a list of GitRepositories.
//
// +kubebuilder:object:root=true
type GitRepositoryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []GitRepository `json:"items"`
}

// GetConditions returns the conditions of the status.
func (in *GitRepository) GetConditions() []metav1.Condition { return in.Status.Conditions }

// SetConditions replaces the conditions of the status.
func (in *GitRepository) SetConditions(c []metav1.Condition) { in.Status.Conditions = c }

// GetArtifact returns the artifact, nil when there is none.
func (in *GitRepository) GetArtifact() *meta.Artifact { return in.Status.Artifact }

// GetRequeueAfter returns the interval.
func (in *GitRepository) GetRequeueAfter() time.Duration { return in.Spec.Interval.Duration }

// ObservedGeneration returns the place of the status field.
func (in *GitRepository) ObservedGeneration() *int64 { return &in.Status.ObservedGeneration }

// HandledRequest returns the place of the last handled request token.
func (in *GitRepository) HandledRequest() *string { return &in.Status.LastHandledReconcileAt }

// Suspended reports whether reconciliation is suspended.
func (in *GitRepository) Suspended() bool { return in.Spec.Suspend }

// RequeueInterval returns the interval as it is stored.
func (in *GitRepository) RequeueInterval() meta.Duration { return in.Spec.Interval }
