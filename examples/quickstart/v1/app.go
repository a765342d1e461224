// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1 is the API of the quickstart's controller: an App is what a
// directory of a Git repository describes.
//
// +kubebuilder:object:generate=true
// +groupName=example.com
package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitops-kit/sdk/apis/meta"
)

// GroupVersion of the package.
var GroupVersion = schema.GroupVersion{Group: "example.com", Version: "v1"}

// AddToScheme registers the types.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &App{}, &AppList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// AppSpec says what to deploy.
type AppSpec struct {
	// Repository is the name of a GitRepository in the same namespace.
	// +required
	Repository string `json:"repository"`

	// Path inside the repository. Empty is its root.
	// +optional
	Path string `json:"path,omitempty"`

	// ServiceAccount in the same namespace as which objects are applied. Empty
	// is the controller itself.
	// +optional
	ServiceAccount string `json:"serviceAccount,omitempty"`

	// Suspend stops reconciling.
	// +optional
	Suspend bool `json:"suspend,omitempty"`
}

// AppStatus says what is deployed.
type AppStatus struct {
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// +optional
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Revision that was applied last.
	// +optional
	Revision string `json:"revision,omitempty"`

	meta.ReconcileRequestStatus `json:",inline"`
}

// App deploys a directory of a Git repository.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
type App struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AppSpec   `json:"spec,omitempty"`
	Status AppStatus `json:"status,omitempty"`
}

// AppList is a list of Apps.
//
// +kubebuilder:object:root=true
type AppList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []App `json:"items"`
}

// Source is the GitRepository.
func (a *App) Source() types.NamespacedName {
	return types.NamespacedName{Namespace: a.Namespace, Name: a.Spec.Repository}
}

// Account is the ServiceAccount, or nothing.
func (a *App) Account() types.NamespacedName {
	if a.Spec.ServiceAccount == "" {
		return types.NamespacedName{}
	}
	return types.NamespacedName{Namespace: a.Namespace, Name: a.Spec.ServiceAccount}
}

// The methods below are what the reconcile harness asks for.

// GetConditions returns the conditions.
func (a *App) GetConditions() []metav1.Condition { return a.Status.Conditions }

// SetConditions replaces the conditions.
func (a *App) SetConditions(c []metav1.Condition) { a.Status.Conditions = c }

// ObservedGeneration is where the harness records the generation it handled.
func (a *App) ObservedGeneration() *int64 { return &a.Status.ObservedGeneration }

// HandledRequest is where the harness records the request it handled.
func (a *App) HandledRequest() *string { return &a.Status.LastHandledReconcileAt }

// Suspended stops reconciling.
func (a *App) Suspended() bool { return a.Spec.Suspend }

// RequeueInterval is how often drift is looked for.
func (a *App) RequeueInterval() meta.Duration { return meta.Duration{Duration: 10 * time.Minute} }
