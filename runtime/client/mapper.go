// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"net/url"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/restmapper"
)

const refreshEvery = time.Second

// discoveryResult is what a server serves.
type discoveryResult struct {
	mapper meta.RESTMapper
	failed map[string]error // per group
}

// mapper answers from the last discovery and asks again, at most once per
// second and group, when it does not know a kind.
type mapper struct {
	fetch func() (*discoveryResult, error)
	now   func() time.Time

	mu    sync.RWMutex
	state *discoveryResult

	load sync.Mutex // one discovery at a time
	last map[string]time.Time
	seq  uint64
}

var _ meta.RESTMapper = (*mapper)(nil)

func newMapper(fetch func() (*discoveryResult, error), now func() time.Time) *mapper {
	return &mapper{fetch: fetch, now: now, last: map[string]time.Time{}}
}

// Invalidate makes the next look-up in the group ask the server again.
func (m *mapper) Invalidate(group string) {
	m.load.Lock()
	defer m.load.Unlock()
	delete(m.last, group)
	m.mu.Lock()
	m.state = nil
	m.mu.Unlock()
}

func (m *mapper) current() (*discoveryResult, uint64, error) {
	m.mu.RLock()
	s, seq := m.state, m.seq
	m.mu.RUnlock()
	if s != nil {
		return s, seq, nil
	}
	return m.reload(seq)
}

// reload runs one discovery unless somebody else did since seq.
func (m *mapper) reload(seq uint64) (*discoveryResult, uint64, error) {
	m.load.Lock()
	defer m.load.Unlock()
	m.mu.RLock()
	s, now := m.state, m.seq
	m.mu.RUnlock()
	if s != nil && now != seq {
		return s, now, nil
	}
	s, err := m.fetch()
	if err != nil {
		return nil, now, err
	}
	m.mu.Lock()
	m.state, m.seq = s, m.seq+1
	now = m.seq
	m.mu.Unlock()
	return s, now, nil
}

// look runs f on the mapper; when it finds nothing, once more after a refresh.
func (m *mapper) look(group string, f func(meta.RESTMapper) error) error {
	s, seq, err := m.current()
	if err != nil {
		return err
	}
	err = f(s.mapper)
	if !meta.IsNoMatchError(err) {
		return err
	}
	if m.mayRefresh(group) {
		if s, _, err2 := m.reload(seq); err2 != nil {
			return err2
		} else if err = f(s.mapper); !meta.IsNoMatchError(err) {
			return err
		}
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.state != nil {
		if why := m.state.failed[group]; why != nil {
			return &GroupUnavailableError{Group: group, Err: why}
		}
	}
	return err
}

func (m *mapper) mayRefresh(group string) bool {
	m.load.Lock()
	defer m.load.Unlock()
	now := m.now()
	if now.Sub(m.last[group]) < refreshEvery {
		return false
	}
	if len(m.last) > 10000 {
		clear(m.last)
	}
	m.last[group] = now
	return true
}

// KindFor implements meta.RESTMapper.
func (m *mapper) KindFor(r schema.GroupVersionResource) (out schema.GroupVersionKind, err error) {
	err = m.look(r.Group, func(d meta.RESTMapper) (err error) { out, err = d.KindFor(r); return err })
	return out, err
}

// KindsFor implements meta.RESTMapper.
func (m *mapper) KindsFor(r schema.GroupVersionResource) (out []schema.GroupVersionKind, err error) {
	err = m.look(r.Group, func(d meta.RESTMapper) (err error) { out, err = d.KindsFor(r); return err })
	return out, err
}

// ResourceFor implements meta.RESTMapper.
func (m *mapper) ResourceFor(r schema.GroupVersionResource) (out schema.GroupVersionResource, err error) {
	err = m.look(r.Group, func(d meta.RESTMapper) (err error) { out, err = d.ResourceFor(r); return err })
	return out, err
}

// ResourcesFor implements meta.RESTMapper.
func (m *mapper) ResourcesFor(r schema.GroupVersionResource) (out []schema.GroupVersionResource, err error) {
	err = m.look(r.Group, func(d meta.RESTMapper) (err error) { out, err = d.ResourcesFor(r); return err })
	return out, err
}

// RESTMapping implements meta.RESTMapper.
func (m *mapper) RESTMapping(gk schema.GroupKind, versions ...string) (out *meta.RESTMapping, err error) {
	err = m.look(gk.Group, func(d meta.RESTMapper) (err error) { out, err = d.RESTMapping(gk, versions...); return err })
	return out, err
}

// RESTMappings implements meta.RESTMapper.
func (m *mapper) RESTMappings(gk schema.GroupKind, versions ...string) (out []*meta.RESTMapping, err error) {
	err = m.look(gk.Group, func(d meta.RESTMapper) (err error) { out, err = d.RESTMappings(gk, versions...); return err })
	return out, err
}

// ResourceSingularizer implements meta.RESTMapper.
func (m *mapper) ResourceSingularizer(resource string) (string, error) {
	s, _, err := m.current()
	if err != nil {
		return "", err
	}
	return s.mapper.ResourceSingularizer(resource)
}

// discoverAll asks for everything at once; a group that fails is recorded, not
// an error.
func discoverAll(ctx context.Context, dc *discovery.DiscoveryClient) (*discoveryResult, error) {
	groups, lists, err := discovery.ServerGroupsAndResourcesWithContext(ctx, dc)
	out := &discoveryResult{failed: map[string]error{}}
	var partial *discovery.ErrGroupDiscoveryFailed
	if errors.As(err, &partial) {
		for gv, why := range partial.Groups {
			out.failed[gv.Group] = redactURL(why)
		}
	} else if err != nil {
		return nil, redactURL(err)
	}
	byGV := map[string][]metav1.APIResource{}
	for _, l := range lists {
		byGV[l.GroupVersion] = l.APIResources
	}
	resources := make([]*restmapper.APIGroupResources, 0, len(groups))
	for _, g := range groups {
		r := &restmapper.APIGroupResources{Group: *g, VersionedResources: map[string][]metav1.APIResource{}}
		for _, v := range g.Versions {
			if list, ok := byGV[v.GroupVersion]; ok {
				r.VersionedResources[v.Version] = list
			}
		}
		resources = append(resources, r)
	}
	out.mapper = restmapper.NewDiscoveryRESTMapper(resources)
	return out, nil
}

// redactURL drops the URL of an HTTP client's error: it may hold credentials.
func redactURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}
