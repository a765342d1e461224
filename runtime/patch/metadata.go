// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package patch

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Change of an object's metadata. A nil pointer in Annotations removes the key.
type Change struct {
	// AddFinalizer is added when it is missing.
	AddFinalizer string
	// RemoveFinalizer is removed when it is there.
	RemoveFinalizer string
	// Annotations to set or, with nil, to remove.
	Annotations map[string]*string
}

// Metadata applies c to obj in one JSON merge patch that touches nothing but
// finalizers and the named annotations and has obj's resource version as
// precondition. Nothing to change, no request. On success obj is what the
// server returned; on failure, conflicts included, it is unchanged.
func Metadata(ctx context.Context, cl client.Client, obj client.Object, c Change, o Options) (Result, error) {
	md := map[string]any{}
	finalizers := slices.Clone(obj.GetFinalizers())
	if c.AddFinalizer != "" && !slices.Contains(finalizers, c.AddFinalizer) {
		finalizers = append(finalizers, c.AddFinalizer)
	}
	if c.RemoveFinalizer != "" {
		finalizers = slices.DeleteFunc(finalizers, func(f string) bool { return f == c.RemoveFinalizer })
	}
	if !slices.Equal(finalizers, obj.GetFinalizers()) {
		md["finalizers"] = finalizers
	}
	have, annotations := obj.GetAnnotations(), map[string]any{}
	for k, v := range c.Annotations {
		old, ok := have[k]
		switch {
		case v == nil && ok:
			annotations[k] = nil
		case v != nil && (!ok || old != *v):
			annotations[k] = *v
		}
	}
	if len(annotations) > 0 {
		md["annotations"] = annotations
	}
	if len(md) == 0 {
		return Result{}, nil
	}
	md["resourceVersion"] = obj.GetResourceVersion()
	data, err := json.Marshal(map[string]any{"metadata": md})
	if err != nil {
		return Result{}, err
	}
	reply, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		return Result{}, fmt.Errorf("copy of %T is no object", obj)
	}
	var opts []client.PatchOption
	if o.FieldManager != "" {
		opts = append(opts, client.FieldOwner(o.FieldManager))
	}
	err = cl.Patch(ctx, reply, client.RawPatch(types.MergePatchType, data), opts...)
	if o.Observe != nil {
		o.Observe("patch", err)
	}
	if err != nil {
		return Result{Requests: 1}, fmt.Errorf("write metadata: %w", err)
	}
	copyInto(obj, reply)
	return Result{Written: true, Requests: 1}, nil
}
