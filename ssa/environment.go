// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// EnvironmentWatcher is an [Environment] that follows, by watches, the
// definitions of kinds and the configuration of mutating admission.
type EnvironmentWatcher struct {
	c      Cluster
	synced chan struct{}

	mu      sync.Mutex
	version string
	kinds   []*envKind
	broken  chan struct{} // a watch ended: the server may be another one
}

var _ Environment = (*EnvironmentWatcher)(nil)

// envKind is what is known of one kind of configuration.
type envKind struct {
	gvk     schema.GroupVersionKind
	known   bool // listed at least once, or not served
	blind   bool // may not be read
	objects map[string]envObject
}

// envObject is what matters of one configuration object.
type envObject struct {
	hash    string
	rules   []envRule         // what it applies to
	schemas map[string]string // of a definition, by version
	gr      schema.GroupResource
	policy  string // of a binding
	changed time.Time
}

type envRule struct{ groups, resources []string }

const (
	envRetry   = 10 * time.Second // between attempts to read the configuration
	envVersion = 10 * time.Minute // between readings of the server's version
)

// WatchEnvironment follows the configuration of the cluster until ctx ends.
// One is enough for all identities of a server; it needs get, list and watch
// on CustomResourceDefinitions and on the mutating admission kinds. What it
// may not read makes its tokens empty.
func WatchEnvironment(ctx context.Context, c Cluster) *EnvironmentWatcher {
	const admission = "admissionregistration.k8s.io"
	w := &EnvironmentWatcher{c: c, synced: make(chan struct{}), broken: make(chan struct{}, 1)}
	for _, gvk := range []schema.GroupVersionKind{
		{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"},
		{Group: admission, Version: "v1", Kind: "MutatingWebhookConfiguration"},
		{Group: admission, Kind: "MutatingAdmissionPolicy"},
		{Group: admission, Kind: "MutatingAdmissionPolicyBinding"},
	} {
		w.kinds = append(w.kinds, &envKind{gvk: gvk, objects: map[string]envObject{}})
	}
	for _, k := range w.kinds {
		go w.follow(ctx, k)
	}
	go w.readVersion(ctx)
	return w
}

// Synced is closed when everything was read once, or found unreadable.
func (w *EnvironmentWatcher) Synced() <-chan struct{} { return w.synced }

// Token implements [Environment].
func (w *EnvironmentWatcher) Token(ctx context.Context, gvr schema.GroupVersionResource) (Token, error) {
	if err := ctx.Err(); err != nil {
		return Token{}, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var t Token
	newer := func(at time.Time) {
		if at.After(t.Changed) {
			t.Changed = at
		}
	}
	crds := w.kinds[0]
	if !crds.known || crds.blind {
		return Token{}, nil
	}
	if !strings.Contains(gvr.Group, ".") || strings.HasSuffix(gvr.Group, ".k8s.io") {
		t.Schema = w.version
	}
	for _, o := range crds.objects {
		if o.gr == gvr.GroupResource() {
			t.Schema = o.schemas[gvr.Version]
			newer(o.changed)
		}
	}
	h := newHasher()
	matched := map[string]bool{}
	for i, k := range w.kinds[1:] {
		if !k.known || k.blind {
			return Token{Schema: t.Schema, Changed: t.Changed}, nil
		}
		for _, name := range slices.Sorted(maps.Keys(k.objects)) {
			o := k.objects[name]
			binding := i == 2
			if binding && !matched[o.policy] || !binding && !o.matches(gvr) {
				continue
			}
			matched[name] = true
			h.text('n', name)
			h.text('h', o.hash)
			newer(o.changed)
		}
	}
	sum := h.sum()
	t.Admission = hex.EncodeToString(sum[:])
	return t, nil
}

func (o *envObject) matches(gvr schema.GroupVersionResource) bool {
	return slices.ContainsFunc(o.rules, func(r envRule) bool {
		group := slices.Contains(r.groups, "*") || slices.Contains(r.groups, gvr.Group)
		return group && slices.ContainsFunc(r.resources, func(s string) bool {
			s, _, _ = strings.Cut(s, "/")
			return s == "*" || s == gvr.Resource
		})
	})
}

// readVersion asks for the server's version until it has it, and again when a
// watch broke, as the restart for an upgrade does, and now and then.
func (w *EnvironmentWatcher) readVersion(ctx context.Context) {
	rc, ok := w.c.(interface {
		serverVersion(ctx context.Context) (string, error)
	})
	if !ok {
		return
	}
	for {
		pause, broken := envVersion, w.broken
		if v, err := rc.serverVersion(ctx); err == nil {
			w.mu.Lock()
			w.version = v
			w.done()
			w.mu.Unlock()
		} else {
			pause, broken = jitter(envRetry), nil
		}
		t := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-broken:
			t.Stop()
		case <-t.C:
		}
	}
}

// serverVersion returns the server's gitVersion.
func (c *restCluster) serverVersion(ctx context.Context) (string, error) {
	body, err := c.do(ctx, request{verb: "discovery", method: http.MethodGet, path: "/version"})
	if err != nil {
		return "", err
	}
	var v struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := json.Unmarshal(body, &v); err != nil || v.GitVersion == "" {
		return "", fmt.Errorf("%w: version: %w", ErrDiscovery, errors.Join(err))
	}
	return v.GitVersion, nil
}

// done closes synced when all is known. The caller holds mu.
func (w *EnvironmentWatcher) done() {
	for _, k := range w.kinds {
		if !k.known {
			return
		}
	}
	if _, ok := w.c.(interface {
		serverVersion(ctx context.Context) (string, error)
	}); ok && w.version == "" {
		return
	}
	select {
	case <-w.synced:
	default:
		close(w.synced)
	}
}

// follow lists and watches one kind until ctx ends.
func (w *EnvironmentWatcher) follow(ctx context.Context, k *envKind) {
	for ctx.Err() == nil {
		r, err := w.c.Resource(ctx, k.gvk)
		if err == nil {
			var rv string
			if rv, err = w.list(ctx, k, r); err == nil {
				w.watch(ctx, k, r, rv)
				continue
			}
		}
		w.mu.Lock()
		switch {
		case isUnknownKind(err):
			k.objects, k.known, k.blind = map[string]envObject{}, true, false
		case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
			k.known, k.blind = true, true
		}
		w.done()
		w.mu.Unlock()
		if sleep(ctx, jitter(envRetry)) != nil {
			return
		}
	}
}

func (w *EnvironmentWatcher) list(ctx context.Context, k *envKind, r Resource) (rv string, err error) {
	objects := map[string]envObject{}
	for u, err := range w.c.List(ctx, r, ListOptions{PageSize: 50, OnPage: func(_ int, v string) { rv = v }}) {
		if err != nil {
			return "", err
		}
		objects[u.GetName()] = digestConfig(u)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	k.objects, k.known, k.blind = objects, true, false
	w.done()
	return rv, nil
}

// watch follows changes until the list must be read again.
func (w *EnvironmentWatcher) watch(ctx context.Context, k *envKind, r Resource, rv string) {
	for ctx.Err() == nil {
		wi, err := w.c.Watch(ctx, r, ListOptions{ResourceVersion: rv})
		if err != nil {
			w.ended()
			_ = sleep(ctx, jitter(time.Second))
			return
		}
		for ev := range wi.ResultChan() {
			u, ok := ev.Object.(*unstructured.Unstructured)
			if !ok {
				wi.Stop()
				w.ended()
				return
			}
			rv = u.GetResourceVersion()
			w.mu.Lock()
			switch ev.Type {
			case watch.Added, watch.Modified:
				k.objects[u.GetName()] = digestConfig(u)
			case watch.Deleted:
				delete(k.objects, u.GetName())
			case watch.Bookmark, watch.Error:
			}
			w.mu.Unlock()
		}
		w.ended()
		if sleep(ctx, rewatchPause) != nil {
			return
		}
	}
}

// ended has the version read again.
func (w *EnvironmentWatcher) ended() {
	select {
	case w.broken <- struct{}{}:
	default:
	}
}

// digestConfig reduces a configuration object to what matters.
func digestConfig(u *unstructured.Unstructured) envObject {
	o := envObject{changed: lastChange(u)}
	spec := nestedMap(u.Object, "spec")
	switch u.GetKind() {
	case "CustomResourceDefinition":
		o.gr = schema.GroupResource{Group: nestedString(spec, "group"), Resource: nestedString(spec, "names", "plural")}
		o.schemas = map[string]string{}
		versions, _ := spec["versions"].([]any)
		for _, v := range versions {
			v, _ := v.(map[string]any)
			name, _ := v["name"].(string)
			h := newHasher()
			h.value(v)
			h.text('c', nestedString(spec, "conversion", "strategy"))
			sum := h.sum()
			o.schemas[name] = hex.EncodeToString(sum[:])
		}
	case "MutatingWebhookConfiguration":
		hooks, _ := u.Object["webhooks"].([]any)
		c, _ := clone(hooks).([]any)
		h := newHasher()
		for _, hook := range c {
			hook, _ := hook.(map[string]any)
			delete(nestedMap(hook, "clientConfig"), "caBundle")
			rules, _ := hook["rules"].([]any)
			o.addRules(rules)
			h.value(hook)
		}
		sum := h.sum()
		o.hash = hex.EncodeToString(sum[:])
	default: // policies and bindings
		o.policy = nestedString(spec, "policyName")
		rules, _ := nestedMap(spec, "matchConstraints")["resourceRules"].([]any)
		o.addRules(rules)
		h := newHasher()
		h.value(spec)
		sum := h.sum()
		o.hash = hex.EncodeToString(sum[:])
	}
	return o
}

func (o *envObject) addRules(rules []any) {
	for _, r := range rules {
		r, _ := r.(map[string]any)
		o.rules = append(o.rules, envRule{groups: stringsOf(r["apiGroups"]), resources: stringsOf(r["resources"])})
	}
}

func stringsOf(v any) []string {
	list, _ := v.([]any)
	out := make([]string, 0, len(list))
	for _, e := range list {
		if s, ok := e.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// lastChange is the newest time at which the object itself, not its status,
// was written.
func lastChange(u *unstructured.Unstructured) time.Time {
	newest := u.GetCreationTimestamp().Time
	managers := (&liveObject{u: u}).managers()
	for i := range managers {
		at, err := time.Parse(time.RFC3339, managers[i].Time)
		if err == nil && managers[i].Subresource == "" && at.After(newest) {
			newest = at
		}
	}
	return newest
}
