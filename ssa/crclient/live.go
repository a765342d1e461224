// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package crclient

import (
	"context"
	"errors"
	"fmt"

	"github.com/gitops-kit/sdk/ssa"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Live returns a reader of live objects from a cache. Objects are copied
// before they are handed on only if the cache does that; ssa never changes
// them.
func Live(r client.Reader) ssa.LiveReader { return live{r} }

type live struct{ r client.Reader }

// Live implements ssa.LiveReader.
func (l live) Live(ctx context.Context, r ssa.Resource, namespace, name string) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(r.GVK)
	err := l.r.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, u)
	if _, ok := errors.AsType[*cache.ErrCacheNotStarted](err); ok {
		return nil, fmt.Errorf("%w: %w", ssa.ErrLiveNotSynced, err)
	}
	if err != nil {
		return nil, err
	}
	return u, nil
}
