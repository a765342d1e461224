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
	"sync"
	"time"

	"github.com/gitops-kit/sdk/ssa/internal/jsonx"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// Watch implements [Cluster]. The server ends a watch after some minutes;
// callers resume it from the last resourceVersion.
func (c *restCluster) Watch(ctx context.Context, r Resource, o ListOptions) (watch.Interface, error) {
	if err := checkPath(o.Namespace); err != nil {
		return nil, err
	}
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
	resp, err := c.openWatch(wctx, c.url(pathOf(r, o.Namespace, ""), q))
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
	w := &httpWatch{body: resp.Body, cancel: cancel, events: make(chan watch.Event), done: make(chan struct{})}
	go w.run(r)
	return w, nil
}

func (c *restCluster) openWatch(ctx context.Context, address string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	return c.http.Do(req)
}

type httpWatch struct {
	body   io.ReadCloser
	cancel context.CancelFunc
	events chan watch.Event
	done   chan struct{}
	stop   sync.Once
}

// ResultChan implements [watch.Interface].
func (w *httpWatch) ResultChan() <-chan watch.Event { return w.events }

// Stop implements [watch.Interface].
func (w *httpWatch) Stop() {
	w.stop.Do(func() {
		close(w.done)
		w.cancel()
	})
}

func (w *httpWatch) run(r Resource) {
	defer close(w.events)
	defer w.body.Close() //nolint:errcheck // nothing is written
	defer w.cancel()
	dec := json.NewDecoder(bufio.NewReaderSize(w.body, 32<<10))
	var d jsonx.Decoder
	for {
		var frame struct {
			Type   watch.EventType `json:"type"`
			Object json.RawMessage `json:"object"`
		}
		if err := dec.Decode(&frame); err != nil {
			return
		}
		var object runtime.Object
		if frame.Type == watch.Error {
			var st metav1.Status
			if err := json.Unmarshal(frame.Object, &st); err != nil {
				return
			}
			object = &st
		} else {
			v, err := d.Value(string(frame.Object))
			m, ok := v.(map[string]any)
			if err != nil || !ok {
				return
			}
			u := &unstructured.Unstructured{Object: m}
			if u.GetKind() == "" {
				u.SetGroupVersionKind(r.GVK)
			}
			object = u
		}
		select {
		case w.events <- watch.Event{Type: frame.Type, Object: object}:
		case <-w.done:
			return
		}
	}
}
