// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kindsFresh is how long a known kind is believed without asking again.
const kindsFresh = 10 * time.Minute

// kindCache knows the kinds of the group versions that were asked for. A kind
// that is not known is asked for each time: it may have come meanwhile.
type kindCache struct {
	c *restCluster

	mu       sync.Mutex
	versions map[schema.GroupVersion]*versionKinds
}

type versionKinds struct {
	once  sync.Mutex // one request at a time for a group version
	at    time.Time
	kinds map[string]Resource
}

func newKindCache(c *restCluster) *kindCache {
	return &kindCache{c: c, versions: map[schema.GroupVersion]*versionKinds{}}
}

// Refresh implements [Refresher].
func (c *restCluster) Refresh(group string) {
	c.kinds.mu.Lock()
	defer c.kinds.mu.Unlock()
	for gv := range c.kinds.versions {
		if gv.Group == group {
			delete(c.kinds.versions, gv)
		}
	}
	if m, ok := c.o.Mapper.(meta.ResettableRESTMapper); ok {
		m.Reset()
	}
}

var _ Refresher = (*restCluster)(nil)

// Resource implements [Cluster].
func (c *restCluster) Resource(ctx context.Context, gvk schema.GroupVersionKind) (Resource, error) {
	if gvk.Version == "" {
		return c.kinds.anyVersion(ctx, gvk.GroupKind())
	}
	if r, ok := c.fromMapper(gvk); ok {
		return r, nil
	}
	return c.kinds.resource(ctx, gvk)
}

// fromMapper answers from the caller's mapper when it also knows whether
// status is a subresource.
func (c *restCluster) fromMapper(gvk schema.GroupVersionKind) (Resource, bool) {
	status, ok := c.o.Mapper.(interface {
		HasStatus(gvr schema.GroupVersionResource) bool
	})
	if !ok {
		return Resource{}, false
	}
	m, err := c.o.Mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return Resource{}, false // asked once more below, where the reason is told apart
	}
	return Resource{GVR: m.Resource, GVK: m.GroupVersionKind, Namespaced: m.Scope.Name() == meta.RESTScopeNameNamespace, HasStatus: status.HasStatus(m.Resource)}, true
}

func (k *kindCache) resource(ctx context.Context, gvk schema.GroupVersionKind) (Resource, error) {
	gv := gvk.GroupVersion()
	k.mu.Lock()
	v := k.versions[gv]
	if v == nil {
		v = &versionKinds{}
		k.versions[gv] = v
	}
	k.mu.Unlock()
	v.once.Lock()
	defer v.once.Unlock()
	if r, ok := v.kinds[gvk.Kind]; ok && time.Since(v.at) < kindsFresh {
		return r, nil
	}
	kinds, err := k.fetch(ctx, gv)
	if err != nil {
		return Resource{}, err
	}
	v.kinds, v.at = kinds, time.Now()
	if r, ok := kinds[gvk.Kind]; ok {
		return r, nil
	}
	return Resource{}, &UnknownKindError{GVK: gvk}
}

// fetch asks for the kinds of one group version. A version that is not served
// has no kinds; any failure to say so is ErrDiscovery.
func (k *kindCache) fetch(ctx context.Context, gv schema.GroupVersion) (map[string]Resource, error) {
	p := "/api/" + gv.Version
	if gv.Group != "" {
		p = "/apis/" + gv.Group + "/" + gv.Version
	}
	body, err := k.c.do(ctx, request{verb: "discovery", method: http.MethodGet, path: p})
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // a version that is not served has no kinds
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDiscovery, gv, err)
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrDiscovery, gv, err)
	}
	kinds := make(map[string]Resource, len(list.APIResources))
	for _, r := range list.APIResources {
		if strings.Contains(r.Name, "/") {
			continue
		}
		if _, ok := kinds[r.Kind]; ok && !canApply(r) {
			continue // a virtual resource of the same kind, such as a review
		}
		kinds[r.Kind] = Resource{GVR: gv.WithResource(r.Name), GVK: gv.WithKind(r.Kind), Namespaced: r.Namespaced}
	}
	for _, r := range list.APIResources {
		name, sub, _ := strings.Cut(r.Name, "/")
		if sub != "status" {
			continue
		}
		for kind, have := range kinds {
			if have.GVR.Resource == name {
				have.HasStatus = true
				kinds[kind] = have
			}
		}
	}
	return kinds, nil
}

func canApply(r metav1.APIResource) bool {
	return slices.Contains(r.Verbs, "patch")
}

// anyVersion finds the kind in the first of the group's versions, the
// server's preferred one first.
func (k *kindCache) anyVersion(ctx context.Context, gk schema.GroupKind) (Resource, error) {
	versions := []string{"v1"}
	if gk.Group != "" {
		body, err := k.c.do(ctx, request{verb: "discovery", method: http.MethodGet, path: "/apis/" + gk.Group})
		if apierrors.IsNotFound(err) {
			return Resource{}, &UnknownKindError{GVK: gk.WithVersion("")}
		}
		if err != nil {
			return Resource{}, fmt.Errorf("%w: %s: %w", ErrDiscovery, gk.Group, err)
		}
		var group metav1.APIGroup
		if err := json.Unmarshal(body, &group); err != nil {
			return Resource{}, fmt.Errorf("%w: %s: %w", ErrDiscovery, gk.Group, err)
		}
		versions = []string{group.PreferredVersion.Version}
		for _, v := range group.Versions {
			if v.Version != group.PreferredVersion.Version {
				versions = append(versions, v.Version)
			}
		}
	}
	for _, v := range versions {
		r, err := k.resource(ctx, gk.WithVersion(v))
		if err == nil {
			return r, nil
		}
		if !isUnknownKind(err) {
			return Resource{}, err
		}
	}
	return Resource{}, &UnknownKindError{GVK: gk.WithVersion("")}
}
