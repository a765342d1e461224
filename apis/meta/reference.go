// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta

import "strings"

// LocalObjectReference names an object in the namespace of the referrer.
type LocalObjectReference struct {
	// Name of the referent.
	// +required
	Name string `json:"name"`
}

// NamespacedObjectReference names an object of a known kind in any namespace.
type NamespacedObjectReference struct {
	// Name of the referent.
	// +required
	Name string `json:"name"`

	// Namespace of the referent; when not given, that of the referrer.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// String returns "namespace/name", or "name" without a namespace.
func (r NamespacedObjectReference) String() string { return join(r.Namespace, r.Name) }

// NamespacedObjectKindReference names an object of any kind in any namespace.
type NamespacedObjectKindReference struct {
	// API version of the referent; when not given, the preferred one is used.
	// +optional
	APIVersion string `json:"apiVersion,omitempty"`

	// Kind of the referent.
	// +required
	Kind string `json:"kind"`

	// Name of the referent.
	// +required
	Name string `json:"name"`

	// Namespace of the referent; when not given, that of the referrer.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// String returns "Kind/namespace/name", or "Kind/name" without a namespace.
func (r NamespacedObjectKindReference) String() string {
	return r.Kind + "/" + join(r.Namespace, r.Name)
}

// SecretKeyReference names a key of a Secret in the namespace of the referrer.
type SecretKeyReference struct {
	// Name of the Secret.
	// +required
	Name string `json:"name"`

	// Key in the Secret; when not given, a default of the field that refers.
	// +optional
	Key string `json:"key,omitempty"`
}

// DependencyReference names an object that must be ready first.
type DependencyReference struct {
	// Name of the referent.
	// +required
	Name string `json:"name"`

	// Namespace of the referent; when not given, that of the referrer.
	// +optional
	Namespace string `json:"namespace,omitempty"`

	// Kind of the referent; when not given, the kind of the referrer.
	// +kubebuilder:validation:Enum=Kustomization;HelmRelease
	// +optional
	Kind string `json:"kind,omitempty"`

	// ReadyExpr is a CEL expression over 'self' and 'dep' that decides whether
	// the referent is ready.
	// +optional
	ReadyExpr string `json:"readyExpr,omitempty"`
}

// String returns "[namespace/]name[@readyExpr]". The kind is not part of it.
func (r DependencyReference) String() string {
	s := join(r.Namespace, r.Name)
	if r.ReadyExpr != "" {
		s += "@" + r.ReadyExpr
	}
	return s
}

// ParseDependencyReference reads what [DependencyReference.String] writes: it
// splits at the first '@', then at the first '/'. A missing name, or an empty
// namespace before a '/', is [ErrReference].
func ParseDependencyReference(s string) (DependencyReference, error) {
	var r DependencyReference
	object, expr, hasExpr := strings.Cut(s, "@")
	if hasExpr && expr == "" {
		return r, wrapped(ErrReference, s, "empty expression")
	}
	namespace, name, ok := strings.Cut(object, "/")
	if !ok {
		namespace, name = "", object
	} else if namespace == "" {
		return r, wrapped(ErrReference, s, "empty namespace")
	}
	if name == "" {
		return r, wrapped(ErrReference, s, "empty name")
	}
	return DependencyReference{Name: name, Namespace: namespace, ReadyExpr: expr}, nil
}

// KubeConfigReference tells where the access to a remote cluster is described.
//
// +kubebuilder:validation:XValidation:rule="has(self.configMapRef) || has(self.secretRef)",message="exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"
// +kubebuilder:validation:XValidation:rule="!has(self.configMapRef) || !has(self.secretRef)",message="exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified"
type KubeConfigReference struct {
	// ConfigMapRef names a ConfigMap with the keys 'provider' (aws, azure, gcp,
	// generic), and optionally 'cluster', 'address', 'ca.crt', 'audiences',
	// 'serviceAccountName'.
	// +optional
	ConfigMapRef *LocalObjectReference `json:"configMapRef,omitempty"`

	// SecretRef names a Secret with a kubeconfig under the given key, or under
	// 'value' or 'value.yaml'.
	// +optional
	SecretRef *SecretKeyReference `json:"secretRef,omitempty"`
}

// ValuesReference names a ConfigMap or Secret with Helm values.
type ValuesReference struct {
	// Kind of the referent, Secret or ConfigMap.
	// +kubebuilder:validation:Enum=Secret;ConfigMap
	// +required
	Kind string `json:"kind"`

	// Name of the referent, in the namespace of the referrer.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +required
	Name string `json:"name"`

	// ValuesKey is the data key with the values; 'values.yaml' when not given.
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[\-._a-zA-Z0-9]+$`
	// +optional
	ValuesKey string `json:"valuesKey,omitempty"`

	// TargetPath is the path in the values at which the value is merged; when
	// not given, the value is merged at the root.
	// +kubebuilder:validation:MaxLength=250
	// +kubebuilder:validation:Pattern=`^([a-zA-Z0-9_\-.\\\/]|\[[0-9]{1,5}\])+$`
	// +optional
	TargetPath string `json:"targetPath,omitempty"`

	// Literal takes the value verbatim instead of parsing it. Only with
	// targetPath.
	// +optional
	Literal bool `json:"literal,omitempty"`

	// Optional tolerates a missing referent or key.
	// +optional
	Optional bool `json:"optional,omitempty"`
}

// DefaultValuesKey is the data key of a [ValuesReference] without one.
const DefaultValuesKey = "values.yaml"

// GetValuesKey returns the data key, [DefaultValuesKey] when none is given.
func (r ValuesReference) GetValuesKey() string {
	if r.ValuesKey == "" {
		return DefaultValuesKey
	}
	return r.ValuesKey
}

func join(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}
