// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/gitops-kit/sdk/ssa/internal/jsonx"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// Watch implements [Cluster]. The server ends a watch after some minutes;
// callers resume it from the last resourceVersion. Watches of the same share
// one request while they last.
func (c *restCluster) Watch(ctx context.Context, r Resource, o ListOptions) (watch.Interface, error) {
	if err := checkPath(o.Namespace); err != nil {
		return nil, err
	}
	open := func(ctx context.Context) (*watchBody, error) { return c.openWatch(ctx, r, o) }
	key := watchKey{gvr: r.GVR, namespace: o.Namespace, labels: o.LabelSelector, fields: o.FieldSelector}
	return c.watches.watch(ctx, key, o.ResourceVersion, open)
}

// openWatch sends the request. The body ends when ctx does.
func (c *restCluster) openWatch(ctx context.Context, r Resource, o ListOptions) (*watchBody, error) {
	q := url.Values{"watch": {"true"}, "allowWatchBookmarks": {"true"}}
	for k, v := range map[string]string{"labelSelector": o.LabelSelector, "fieldSelector": o.FieldSelector, "resourceVersion": o.ResourceVersion} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if err := c.limiter.acquire(ctx); err != nil {
		return nil, err
	}
	start := time.Now()
	wctx, cancel := context.WithCancel(ctx)
	slow := time.AfterFunc(c.o.RequestTimeout, cancel)
	resp, err := c.send(wctx, c.url(pathOf(r, o.Namespace, ""), q))
	slow.Stop()
	req := request{verb: "watch", method: http.MethodGet, resource: r, namespace: o.Namespace}
	rep := &reply{}
	if err == nil {
		rep.status, rep.header = resp.StatusCode, resp.Header
	}
	took := time.Since(start)
	c.limiter.release(took, err == nil && suffered(rep, nil))
	c.observe(req, rep, 1, took)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("watch: %w", withoutURL(err))
	}
	if resp.StatusCode >= 300 {
		defer cancel()
		defer resp.Body.Close()                                     //nolint:errcheck // nothing is written
		rep.body, _ = io.ReadAll(io.LimitReader(resp.Body, 64<<10)) //nolint:forbidigo // bounded here
		return nil, statusError(rep, req)
	}
	return &watchBody{body: resp.Body, cancel: cancel, dec: json.NewDecoder(bufio.NewReaderSize(resp.Body, 32<<10)), r: r}, nil
}

func (c *restCluster) send(ctx context.Context, address string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	return c.http.Do(req)
}

// watchBody is the body of a watch. For one goroutine.
type watchBody struct {
	body   io.ReadCloser
	cancel context.CancelFunc
	dec    *json.Decoder
	d      jsonx.Decoder
	r      Resource
}

func (b *watchBody) close() {
	b.cancel()
	_ = b.body.Close()
}

// next reads one event and says how many bytes its object has. It fails when
// the watch ends.
func (b *watchBody) next() (ev watch.Event, size int, err error) {
	var frame struct {
		Type   watch.EventType `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := b.dec.Decode(&frame); err != nil {
		return ev, 0, err
	}
	var object runtime.Object
	if frame.Type == watch.Error {
		var st metav1.Status
		if err := json.Unmarshal(frame.Object, &st); err != nil {
			return ev, 0, err
		}
		object = &st
	} else {
		v, err := b.d.Value(string(frame.Object))
		if err != nil {
			return ev, 0, err
		}
		m, ok := v.(map[string]any)
		if !ok {
			return ev, 0, jsonx.ErrSyntax
		}
		u := &unstructured.Unstructured{Object: m}
		if u.GetKind() == "" {
			u.SetGroupVersionKind(b.r.GVK)
		}
		object = u
	}
	return watch.Event{Type: frame.Type, Object: object}, len(frame.Object), nil
}
