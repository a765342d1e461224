// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package testapi holds the API type that the module's own tests reconcile.
package testapi

import (
	"github.com/gitops-kit/sdk/apis/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// GroupVersion of the test kinds.
var GroupVersion = schema.GroupVersion{Group: "test.gitops-kit.github.io", Version: "v1"} //nolint:gochecknoglobals // never written; as in packages of API types

// AddToScheme registers the test kinds.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &App{}, &AppList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

// AppSpec is the spec of an App.
type AppSpec struct {
	Interval meta.Duration  `json:"interval"`
	Timeout  *meta.Duration `json:"timeout,omitempty"`
	Suspend  bool           `json:"suspend,omitempty"`
	Source   string         `json:"source,omitempty"`
	Text     string         `json:"text,omitempty"`
}

// AppStatus is the status of an App.
type AppStatus struct {
	ObservedGeneration          int64              `json:"observedGeneration,omitempty"`
	Conditions                  []metav1.Condition `json:"conditions,omitempty"`
	Artifact                    *meta.Artifact     `json:"artifact,omitempty"`
	Revision                    string             `json:"revision,omitempty"`
	Applied                     string             `json:"applied,omitempty"`
	LastForce                   string             `json:"lastForce,omitempty"`
	Count                       int64              `json:"count,omitempty"`
	meta.ReconcileRequestStatus `json:",inline"`
}

// App is a kind with every optional ability.
type App struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              AppSpec   `json:"spec,omitempty"`
	Status            AppStatus `json:"status,omitempty"`
}

// AppList is a list of Apps.
type AppList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []App `json:"items"`
}

// GetConditions returns the conditions.
func (a *App) GetConditions() []metav1.Condition { return a.Status.Conditions }

// SetConditions replaces the conditions.
func (a *App) SetConditions(c []metav1.Condition) { a.Status.Conditions = c }

// ObservedGeneration returns the place of the field.
func (a *App) ObservedGeneration() *int64 { return &a.Status.ObservedGeneration }

// HandledRequest returns the place of the field.
func (a *App) HandledRequest() *string { return &a.Status.LastHandledReconcileAt }

// Suspended reports spec.suspend.
func (a *App) Suspended() bool { return a.Spec.Suspend }

// RequeueInterval returns spec.interval.
func (a *App) RequeueInterval() meta.Duration { return a.Spec.Interval }

// GetArtifact makes an App a source, too.
func (a *App) GetArtifact() *meta.Artifact { return a.Status.Artifact }

// SourceKey names the App that this one reads from.
func (a *App) SourceKey() types.NamespacedName {
	return types.NamespacedName{Namespace: a.Namespace, Name: a.Spec.Source}
}

// DeepCopyInto copies a.
func (a *App) DeepCopyInto(out *App) {
	*out = *a
	a.ObjectMeta.DeepCopyInto(&out.ObjectMeta)
	out.Spec.Timeout = a.Spec.Timeout.DeepCopy()
	out.Status.Artifact = a.Status.Artifact.DeepCopy()
	if a.Status.Conditions != nil {
		out.Status.Conditions = make([]metav1.Condition, len(a.Status.Conditions))
		for i := range a.Status.Conditions {
			a.Status.Conditions[i].DeepCopyInto(&out.Status.Conditions[i])
		}
	}
}

// DeepCopy returns a copy.
func (a *App) DeepCopy() *App {
	out := &App{}
	a.DeepCopyInto(out)
	return out
}

// DeepCopyObject returns a copy.
func (a *App) DeepCopyObject() runtime.Object {
	if a == nil {
		return nil
	}
	return a.DeepCopy()
}

// DeepCopyObject returns a copy.
func (l *AppList) DeepCopyObject() runtime.Object {
	if l == nil {
		return nil
	}
	out := &AppList{TypeMeta: l.TypeMeta}
	l.ListMeta.DeepCopyInto(&out.ListMeta)
	for i := range l.Items {
		var a App
		l.Items[i].DeepCopyInto(&a)
		out.Items = append(out.Items, a)
	}
	return out
}
