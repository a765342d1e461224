// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
)

const rawWorkers = 16 // what ours may have in flight

// raw sends the requests that the work takes and does nothing else: objects
// are encoded before the clock starts to matter, replies are thrown away. It
// is the floor that this server sets.
type raw struct {
	c        *http.Client
	host, ns string
}

func newRaw(cfg *rest.Config, ns string) (*raw, error) {
	c, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, err
	}
	return &raw{c: c, host: cfg.Host, ns: ns}, nil
}

func (r *raw) path(u *unstructured.Unstructured) string {
	if u.GetKind() == "Deployment" {
		return r.host + "/apis/apps/v1/namespaces/" + r.ns + "/deployments"
	}
	return r.host + "/api/v1/namespaces/" + r.ns + "/configmaps"
}

// send makes one request and reads the reply to its end.
func (r *raw) send(ctx context.Context, method, url, contentType string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if method == http.MethodGet {
		req.Header.Set("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := r.c.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %s", method, url, resp.Status)
	}
	if method == http.MethodGet {
		return io.ReadAll(resp.Body)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return nil, err
}

func (r *raw) each(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	errs := make([]error, n)
	next := make(chan int)
	for range rawWorkers {
		wg.Go(func() {
			for i := range next {
				errs[i] = f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return errors.Join(errs...)
}

func (r *raw) apply(ctx context.Context, objects []*unstructured.Unstructured, direct bool) (int, error) {
	queries := []string{"?fieldManager=bench&force=true&fieldValidation=Ignore&dryRun=All", "?fieldManager=bench&force=true&fieldValidation=Ignore"}
	if direct {
		queries = queries[1:]
	}
	bodies := make([][]byte, len(objects))
	for i, u := range objects {
		labels := u.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[group+"/name"], labels[group+"/namespace"] = r.ns, r.ns
		u.SetLabels(labels)
		bodies[i], _ = u.MarshalJSON()
	}
	for _, q := range queries {
		if err := r.each(len(objects), func(i int) error {
			_, err := r.send(ctx, http.MethodPatch, r.path(objects[i])+"/"+objects[i].GetName()+q, "application/apply-patch+yaml", bodies[i])
			return err
		}); err != nil {
			return 0, err
		}
	}
	return len(objects), nil
}

func (r *raw) wait(context.Context, []*unstructured.Unstructured) error {
	return errors.New("raw does not wait")
}

func (r *raw) remove(ctx context.Context, objects []*unstructured.Unstructured) (int, error) {
	type meta struct{ Name, UID, ResourceVersion string }
	var list struct {
		Items []struct{ Metadata meta }
	}
	b, err := r.send(ctx, http.MethodGet, r.path(objects[0]), "", nil)
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(b, &list); err != nil {
		return 0, err
	}
	err = r.each(len(list.Items), func(i int) error {
		m := list.Items[i].Metadata
		body := fmt.Sprintf(`{"kind":"DeleteOptions","apiVersion":"v1","propagationPolicy":"Background","preconditions":{"uid":%q,"resourceVersion":%q}}`, m.UID, m.ResourceVersion)
		_, err := r.send(ctx, http.MethodDelete, r.path(objects[0])+"/"+m.Name, "application/json", []byte(body))
		return err
	})
	return len(list.Items), err
}
