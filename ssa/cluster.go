// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"errors"
	"iter"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// Cluster is one API server as seen by one identity. It is an interface so
// that tests can record, fake and break it; package ssatest does. Its methods
// must be safe for concurrent use.
//
// The interface may grow: implementations embed [UnimplementedCluster].
type Cluster interface {
	// Resource finds the resource of a kind. An empty version asks for any
	// served version. [ErrKindUnknown] only when a healthy server does not
	// serve the kind, [ErrDiscovery] when it could not say.
	Resource(ctx context.Context, gvk schema.GroupVersionKind) (Resource, error)
	// List yields objects page by page. After an error it ends.
	List(ctx context.Context, r Resource, o ListOptions) iter.Seq2[*unstructured.Unstructured, error]
	// Get reads one object.
	Get(ctx context.Context, r Resource, namespace, name string) (*unstructured.Unstructured, error)
	// Send writes. It returns what the server replied; nil for a deletion.
	Send(ctx context.Context, w Write) (*unstructured.Unstructured, error)
	// Watch starts at ListOptions.ResourceVersion. Watches of the same may
	// share a request: do not modify the objects of events.
	Watch(ctx context.Context, r Resource, o ListOptions) (watch.Interface, error)
}

// Refresher is an optional ability of a [Cluster]: to forget what it knows
// about the kinds of a group.
type Refresher interface {
	// Refresh forgets the group's kinds; they are asked for again when needed.
	Refresh(group string)
}

// Resource is how a server serves a kind.
type Resource struct {
	GVR        schema.GroupVersionResource
	GVK        schema.GroupVersionKind
	Namespaced bool
	HasStatus  bool // status is a subresource
}

// ListOptions select what List and Watch return. The zero value selects
// everything.
type ListOptions struct {
	Namespace       string // "" = all namespaces, or a cluster-scoped resource
	LabelSelector   string
	FieldSelector   string
	ResourceVersion string // Watch: where to start
	MetadataOnly    bool   // List: objects carry nothing but their metadata
	PageSize        int64  // List: 0 = 500
	// OnPage, when set, is called after each page of a LIST and with the
	// resourceVersion of a LIST or of a bookmark of a WATCH.
	OnPage func(items int, resourceVersion string)
}

// Verb says what a [Write] does.
type Verb string

// The verbs of a Write.
const (
	VerbApply     Verb = "apply"     // server-side apply of Object
	VerbJSONPatch Verb = "jsonpatch" // Patch
	VerbCreate    Verb = "create"    // POST of Object
	VerbUpdate    Verb = "update"    // PUT of Object
	VerbDelete    Verb = "delete"
)

// Write is one mutating request, or its rehearsal.
type Write struct {
	Verb            Verb
	Resource        Resource
	Namespace, Name string
	Object          *unstructured.Unstructured
	Patch           []byte
	FieldManager    string
	Force           bool // apply: take fields from other managers
	DryRun          bool
	// UID and ResourceVersion are preconditions of a deletion.
	UID, ResourceVersion string
	Propagation          metav1.DeletionPropagation
	// Drain is how long a request that was sent may go on after ctx ended.
	Drain time.Duration
}

var errUnimplemented = errors.New("not implemented by this cluster")

// UnimplementedCluster answers every call with an error. Embed it, so that
// your implementation survives a new method.
type UnimplementedCluster struct{}

var _ Cluster = UnimplementedCluster{}

// Resource implements [Cluster].
func (UnimplementedCluster) Resource(context.Context, schema.GroupVersionKind) (Resource, error) {
	return Resource{}, errUnimplemented
}

// List implements [Cluster].
func (UnimplementedCluster) List(context.Context, Resource, ListOptions) iter.Seq2[*unstructured.Unstructured, error] {
	return func(yield func(*unstructured.Unstructured, error) bool) { yield(nil, errUnimplemented) }
}

// Get implements [Cluster].
func (UnimplementedCluster) Get(context.Context, Resource, string, string) (*unstructured.Unstructured, error) {
	return nil, errUnimplemented
}

// Send implements [Cluster].
func (UnimplementedCluster) Send(context.Context, Write) (*unstructured.Unstructured, error) {
	return nil, errUnimplemented
}

// Watch implements [Cluster].
func (UnimplementedCluster) Watch(context.Context, Resource, ListOptions) (watch.Interface, error) {
	return nil, errUnimplemented
}
