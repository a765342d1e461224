// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta

// Image replaces the name, tag or digest of a container image.
type Image struct {
	// Name of the image to replace, without tag.
	// +required
	Name string `json:"name"`

	// NewName replaces the name.
	// +optional
	NewName string `json:"newName,omitempty"`

	// NewTag replaces the tag.
	// +optional
	NewTag string `json:"newTag,omitempty"`

	// Digest replaces the tag; it beats newTag.
	// +optional
	Digest string `json:"digest,omitempty"`
}

// Selector chooses objects. All given fields must match; an empty Selector
// matches every object.
type Selector struct {
	// Group is an anchored regular expression on the API group.
	// +optional
	Group string `json:"group,omitempty"`

	// Version is an anchored regular expression on the API version.
	// +optional
	Version string `json:"version,omitempty"`

	// Kind is an anchored regular expression on the kind.
	// +optional
	Kind string `json:"kind,omitempty"`

	// Namespace is an anchored regular expression on the namespace.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Name is an anchored regular expression on the name.
	// +optional
	Name string `json:"name,omitempty"`

	// AnnotationSelector is a label selector expression on the annotations.
	// +optional
	AnnotationSelector string `json:"annotationSelector,omitempty"`

	// LabelSelector is a label selector expression on the labels.
	// +optional
	LabelSelector string `json:"labelSelector,omitempty"`
}

// Patch is an inline strategic merge or JSON6902 patch.
type Patch struct {
	// Patch is the patch document, a strategic merge patch or a list of
	// JSON6902 operations, as text.
	// +required
	Patch string `json:"patch"`

	// Target selects the objects to patch; when not given, the patch names them.
	// +optional
	Target *Selector `json:"target,omitempty"`
}

// CustomHealthCheck tells by CEL expressions how the status of a kind is read.
type CustomHealthCheck struct {
	// APIVersion of the kind; only its group is matched.
	// +required
	APIVersion string `json:"apiVersion"`

	// Kind that the expressions are for; when not given, every kind of the group.
	// +optional
	Kind string `json:"kind,omitempty"`

	HealthCheckExpressions `json:",inline"`
}

// HealthCheckExpressions are CEL expressions of type bool over the object.
type HealthCheckExpressions struct {
	// InProgress is true while the object has not reached its desired state.
	// +optional
	InProgress string `json:"inProgress,omitempty"`

	// Failed is true when the object will not reach its desired state by itself.
	// +optional
	Failed string `json:"failed,omitempty"`

	// Current is true when the object has reached its desired state.
	// +required
	Current string `json:"current"`
}
