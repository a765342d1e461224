// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/gitops-kit/sdk/testserver/artifactserver"
)

// ErrKind reports a kind that is no source.
var ErrKind = errors.New("not a kind of source")

// groupVersion of the objects.
const groupVersion = "source.toolkit.fluxcd.io/v1"

// kinds have a resource name and a spec that their definitions accept.
func kinds() map[string]kind {
	return map[string]kind{
		"GitRepository":    {"gitrepositories", map[string]any{"interval": "1m", "url": "https://git.example.com/org/app"}},
		"OCIRepository":    {"ocirepositories", map[string]any{"interval": "1m", "url": "oci://registry.example.com/org/app"}},
		"Bucket":           {"buckets", map[string]any{"interval": "1m", "bucketName": "app", "endpoint": "s3.example.com"}},
		"HelmRepository":   {"helmrepositories", map[string]any{"interval": "1m", "url": "https://charts.example.com"}},
		"HelmChart":        {"helmcharts", map[string]any{"interval": "1m", "chart": "app", "sourceRef": map[string]any{"kind": "HelmRepository", "name": "app"}}},
		"ExternalArtifact": {"externalartifacts", map[string]any{}},
	}
}

type kind struct {
	resource string
	spec     map[string]any
}

// Kinds returns the kinds this package knows, sorted.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds())) }

// Object describes a source object.
type Object struct {
	// Kind, Namespace and Name are required.
	Kind, Namespace, Name string
	// Labels and Annotations are set as given.
	Labels, Annotations map[string]string
	// Spec replaces the default one, which any definition of the kind accepts.
	Spec map[string]any
	// Artifact goes into the status; nil: none yet.
	Artifact *artifactserver.Artifact
	// Metadata of the artifact.
	Metadata map[string]string
	// Time of the last update; zero: now.
	Time time.Time
	// NotReady, if set, is the message of Ready=False; an artifact stays.
	NotReady string
	// Reason of the condition; zero: "Succeeded" or "Failed".
	Reason string
	// StaleGeneration writes an observed generation one behind.
	StaleGeneration bool
}

// Writer writes source objects. Use [New].
type Writer struct{ client dynamic.Interface }

// New returns a writer to the API server of a configuration.
func New(cfg *rest.Config) (*Writer, error) {
	c, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("source writer: %w", err)
	}
	return &Writer{client: c}, nil
}

func (w *Writer) resource(o Object) (dynamic.ResourceInterface, kind, error) {
	k, ok := kinds()[o.Kind]
	if !ok {
		return nil, k, fmt.Errorf("%q: %w", o.Kind, ErrKind)
	}
	gv, err := schema.ParseGroupVersion(groupVersion)
	if err != nil {
		return nil, k, err
	}
	return w.client.Resource(gv.WithResource(k.resource)).Namespace(o.Namespace), k, nil
}

// Apply creates the object or updates its spec, writes its status, and returns
// it as stored.
func (w *Writer) Apply(ctx context.Context, o Object) (*unstructured.Unstructured, error) {
	res, k, err := w.resource(o)
	if err != nil {
		return nil, fmt.Errorf("apply source: %w", err)
	}
	spec := o.Spec
	if spec == nil {
		spec = k.spec
	}
	obj, err := res.Get(ctx, o.Name, metav1.GetOptions{})
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return nil, fmt.Errorf("get %s %q: %w", o.Kind, o.Name, err)
	}
	if missing {
		obj = &unstructured.Unstructured{Object: map[string]any{"apiVersion": groupVersion, "kind": o.Kind}}
		obj.SetName(o.Name)
		obj.SetNamespace(o.Namespace)
	}
	obj.SetLabels(o.Labels)
	obj.SetAnnotations(o.Annotations)
	obj.Object["spec"] = spec
	if missing {
		obj, err = res.Create(ctx, obj, metav1.CreateOptions{})
	} else {
		obj, err = res.Update(ctx, obj, metav1.UpdateOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("write %s %q: %w", o.Kind, o.Name, err)
	}
	obj.Object["status"] = o.status(obj.GetGeneration())
	obj, err = res.UpdateStatus(ctx, obj, metav1.UpdateOptions{})
	if err != nil {
		return nil, fmt.Errorf("write status of %s %q: %w", o.Kind, o.Name, err)
	}
	return obj, nil
}

// Delete removes the object.
func (w *Writer) Delete(ctx context.Context, o Object) error {
	res, _, err := w.resource(o)
	if err == nil {
		err = res.Delete(ctx, o.Name, metav1.DeleteOptions{})
	}
	if err != nil {
		return fmt.Errorf("delete %s %q: %w", o.Kind, o.Name, err)
	}
	return nil
}

// status returns the status a source controller would have written.
func (o Object) status(generation int64) map[string]any {
	when := o.Time
	if when.IsZero() {
		when = time.Now()
	}
	stamp := when.UTC().Format(time.RFC3339)
	if o.StaleGeneration {
		generation--
	}
	ready, reason, message := "True", "Succeeded", "stored artifact"
	if o.Artifact != nil {
		message = fmt.Sprintf("stored artifact for revision '%s'", o.Artifact.Revision)
	}
	if o.NotReady != "" {
		ready, reason, message = "False", "Failed", o.NotReady
	}
	if o.Reason != "" {
		reason = o.Reason
	}
	status := map[string]any{"conditions": []any{map[string]any{
		"type": "Ready", "status": ready, "reason": reason, "message": message, "lastTransitionTime": stamp, "observedGeneration": generation,
	}}}
	if o.Kind != "ExternalArtifact" {
		status["observedGeneration"] = generation
	}
	if a := o.Artifact; a != nil {
		art := map[string]any{
			"path": a.Path, "url": a.URL, "revision": a.Revision, "digest": a.Digest, "size": a.Size, "lastUpdateTime": stamp,
		}
		if len(o.Metadata) > 0 {
			m := map[string]any{}
			for k, v := range o.Metadata {
				m[k] = v
			}
			art["metadata"] = m
		}
		status["artifact"] = art
	}
	return status
}
