// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gitops-kit/sdk/ssa/internal/jsonx"
	"github.com/gitops-kit/sdk/ssa/internal/limits"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"
)

const (
	defaultRequestTimeout = 30 * time.Second
	listTimeout           = 60 * time.Second
	defaultPage           = 500
	maxBody               = 1 << 30 // bytes of one reply
	fallbackQPS           = 50
	fallbackBurst         = 300
)

// ClusterOptions configure [NewCluster]. The zero value is ready to use.
type ClusterOptions struct {
	// Mapper shares what is known about kinds between the identities of one
	// server. nil: own discovery, one request per group version. A mapper
	// with a method HasStatus(schema.GroupVersionResource) bool saves those.
	Mapper meta.RESTMapper
	// RequestTimeout bounds one request; a page of a LIST gets 60 s. 0: 30 s.
	RequestTimeout time.Duration
	// Concurrency bounds the requests in flight. 0: 16, or what the most
	// demanding Manager on this cluster asks for.
	Concurrency int
	// Limits bound what the server may send.
	Limits Limits
	// Observe, when set, is called after every attempt of a request.
	Observe func(RequestInfo)
}

// RequestInfo describes one attempt of a request to the API server.
type RequestInfo struct {
	Verb      string // get, list, watch, apply, jsonpatch, create, update, delete, discovery
	Resource  Resource
	Namespace string
	DryRun    bool
	Metadata  bool // a LIST of metadata only
	Attempt   int  // from 1
	Status    int  // 0 when no reply came
	Took      time.Duration
}

// restCluster talks HTTP to an API server.
type restCluster struct {
	UnimplementedCluster
	base    *url.URL
	http    *http.Client
	o       ClusterOptions
	limiter *limiter
	kinds   *kindCache
	watches watchShare
	id      string
	refused *refusals

	fair atomic.Bool // the server has priority and fairness
	qps  atomic.Pointer[flowcontrol.RateLimiter]
}

// NewCluster returns the cluster that cfg names, with cfg's identity. It makes
// no request. The client-side rate limits of cfg are not used: requests in
// flight are bounded instead, and the server's wishes are honoured.
func NewCluster(cfg *rest.Config, o ClusterOptions) (Cluster, error) {
	if cfg == nil {
		return nil, fmt.Errorf("new cluster: no configuration: %w", ErrInvalidObject)
	}
	cfg = rest.CopyConfig(cfg)
	cfg.Timeout = 0 // each request has its own
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("new cluster: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("new cluster: %w", err)
	}
	if o.RequestTimeout <= 0 {
		o.RequestTimeout = defaultRequestTimeout
	}
	c := &restCluster{
		base: base, http: client, o: o, limiter: newLimiter(o.Concurrency),
		watches: watchShare{running: map[watchKey]*stream{}}, id: base.Host + base.Path, refused: newRefusals(),
	}
	c.kinds = newKindCache(c)
	return c, nil
}

// clusterID tells clusters apart for the memo and for plans.
func (c *restCluster) clusterID() string { return c.id }

func (c *restCluster) refusals() *refusals { return c.refused }

func (c *restCluster) raiseConcurrency(n int) { c.limiter.raise(n) }

// pathOf returns the URL path of a resource or, with a name, of an object.
func pathOf(r Resource, namespace, name string) string {
	p := "/api/" + r.GVR.Version
	if r.GVR.Group != "" {
		p = "/apis/" + r.GVR.Group + "/" + r.GVR.Version
	}
	if namespace != "" && r.Namespaced {
		p += "/namespaces/" + url.PathEscape(namespace)
	}
	p += "/" + r.GVR.Resource
	if name != "" {
		p += "/" + url.PathEscape(name)
	}
	return p
}

// checkPath refuses what would be another path: a server or a proxy on the way
// to it may resolve dots.
func checkPath(segments ...string) error {
	for _, s := range segments {
		if s == "." || s == ".." || strings.ContainsAny(s, "/%") {
			return fmt.Errorf("%w: %q is not a name in a path", ErrInvalidObject, oneLine(s))
		}
	}
	return nil
}

func (c *restCluster) url(p string, q url.Values) string {
	u := *c.base
	u.RawPath = ""
	raw := path.Join("/", c.base.Path, "/") // no trailing slash
	if raw == "/" {
		raw = ""
	}
	s := u.Scheme + "://" + u.Host + raw + p
	if len(q) > 0 {
		s += "?" + q.Encode()
	}
	return s
}

// Get implements [Cluster].
func (c *restCluster) Get(ctx context.Context, r Resource, namespace, name string) (*unstructured.Unstructured, error) {
	if err := checkPath(namespace, name); err != nil {
		return nil, err
	}
	body, err := c.do(ctx, request{verb: "get", method: http.MethodGet, path: pathOf(r, namespace, name), resource: r, namespace: namespace})
	if err != nil {
		return nil, err
	}
	return c.decode(body, r)
}

func (c *restCluster) decode(body []byte, r Resource) (*unstructured.Unstructured, error) {
	var d jsonx.Decoder
	v, err := d.Value(string(body))
	if err != nil {
		return nil, fmt.Errorf("decode reply: %w", err)
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("decode reply: %w: not an object", jsonx.ErrSyntax)
	}
	u := &unstructured.Unstructured{Object: m}
	if u.GetKind() == "" {
		u.SetGroupVersionKind(r.GVK)
	}
	return u, nil
}

// Send implements [Cluster].
func (c *restCluster) Send(ctx context.Context, w Write) (*unstructured.Unstructured, error) {
	if err := checkPath(w.Namespace, w.Name); err != nil {
		return nil, err
	}
	req := request{verb: string(w.Verb), resource: w.Resource, namespace: w.Namespace, dryRun: w.DryRun, mutating: !w.DryRun, drain: w.Drain, query: url.Values{}}
	req.path = pathOf(w.Resource, w.Namespace, w.Name)
	if w.DryRun {
		req.query.Set("dryRun", metav1.DryRunAll)
	}
	if w.FieldManager != "" && w.Verb != VerbDelete {
		req.query.Set("fieldManager", w.FieldManager)
	}
	var err error
	switch w.Verb {
	case VerbApply:
		req.method, req.contentType = http.MethodPatch, "application/apply-patch+yaml"
		// The server would parse the body a second time, to warn of keys that
		// are there twice; ours is made of a map. Unknown fields stay errors.
		req.query.Set("fieldValidation", metav1.FieldValidationIgnore)
		if w.Force {
			req.query.Set("force", "true")
		}
		req.body, err = json.Marshal(w.Object.Object)
	case VerbJSONPatch:
		req.method, req.contentType, req.body = http.MethodPatch, "application/json-patch+json", w.Patch
	case VerbCreate:
		req.method, req.contentType = http.MethodPost, "application/json"
		req.path = pathOf(w.Resource, w.Namespace, "")
		req.body, err = json.Marshal(w.Object.Object)
	case VerbUpdate:
		req.method, req.contentType = http.MethodPut, "application/json"
		req.body, err = json.Marshal(w.Object.Object)
	case VerbDelete:
		req.method, req.contentType = http.MethodDelete, "application/json"
		req.query.Del("dryRun")
		req.body, err = json.Marshal(deleteBody(w))
	default:
		return nil, fmt.Errorf("send %q: %w", w.Verb, errUnimplemented)
	}
	if err != nil {
		return nil, fmt.Errorf("encode object: %w", err)
	}
	body, err := c.do(ctx, req)
	if err != nil || w.Verb == VerbDelete {
		return nil, err
	}
	return c.decode(body, w.Resource)
}

func deleteBody(w Write) map[string]any {
	m := map[string]any{"kind": "DeleteOptions", "apiVersion": "v1"}
	pre := map[string]any{}
	if w.UID != "" {
		pre["uid"] = w.UID
	}
	if w.ResourceVersion != "" {
		pre["resourceVersion"] = w.ResourceVersion
	}
	if len(pre) > 0 {
		m["preconditions"] = pre
	}
	if w.Propagation != "" {
		m["propagationPolicy"] = string(w.Propagation)
	}
	if w.DryRun {
		m["dryRun"] = []string{metav1.DryRunAll}
	}
	return m
}

// List implements [Cluster].
func (c *restCluster) List(ctx context.Context, r Resource, o ListOptions) iter.Seq2[*unstructured.Unstructured, error] {
	return func(yield func(*unstructured.Unstructured, error) bool) {
		var d jsonx.Decoder
		err := c.pages(ctx, r, o, func(text string) error {
			v, err := d.Value(text)
			if err != nil {
				return fmt.Errorf("decode item: %w", err)
			}
			m, ok := v.(map[string]any)
			if !ok {
				return fmt.Errorf("decode item: %w: not an object", jsonx.ErrSyntax)
			}
			if !yield(withKind(m, r), nil) {
				return errStop
			}
			return nil
		})
		if err != nil && err != errStop { //nolint:errorlint // errStop is our own and never wrapped
			yield(nil, err)
		}
	}
}

// listSplit is List for the proof of no change: managedFields stay text.
func (c *restCluster) listSplit(ctx context.Context, r Resource, o ListOptions) iter.Seq2[*liveObject, error] {
	return func(yield func(*liveObject, error) bool) {
		var d jsonx.Decoder
		err := c.pages(ctx, r, o, func(text string) error {
			m, managed, err := d.Object(text)
			if err != nil {
				return fmt.Errorf("decode item: %w", err)
			}
			if !yield(&liveObject{u: withKind(m, r), managed: managed}, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && err != errStop { //nolint:errorlint // errStop is our own and never wrapped
			yield(nil, err)
		}
	}
}

// withKind gives items of a list the kind that servers leave out.
func withKind(m map[string]any, r Resource) *unstructured.Unstructured {
	m["apiVersion"] = r.GVK.GroupVersion().String()
	m["kind"] = r.GVK.Kind
	return &unstructured.Unstructured{Object: m}
}

// pages reads a list page by page and calls item for each item's text.
func (c *restCluster) pages(ctx context.Context, r Resource, o ListOptions, item func(string) error) error {
	if err := checkPath(o.Namespace); err != nil {
		return err
	}
	size := o.PageSize
	if size <= 0 {
		size = defaultPage
	}
	q := url.Values{"limit": {strconv.FormatInt(size, 10)}}
	if o.LabelSelector != "" {
		q.Set("labelSelector", o.LabelSelector)
	}
	if o.FieldSelector != "" {
		q.Set("fieldSelector", o.FieldSelector)
	}
	req := request{verb: "list", method: http.MethodGet, path: pathOf(r, o.Namespace, ""), query: q, resource: r, namespace: o.Namespace, timeout: max(listTimeout, c.o.RequestTimeout)}
	if o.MetadataOnly {
		req.metadata = true
		req.accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
	}
	var d jsonx.Decoder
	var total, pages int64
	for {
		if pages++; pages > c.o.Limits.listPages() {
			return &limits.LimitError{Name: "list-pages", Max: c.o.Limits.listPages(), Got: pages}
		}
		body, err := c.do(ctx, req)
		if err != nil {
			return err
		}
		n := 0
		page, err := d.List(body, func(text string) error {
			n++
			if total++; total > c.o.Limits.listItems() {
				return &limits.LimitError{Name: "list-items", Max: c.o.Limits.listItems(), Got: total}
			}
			return item(text)
		})
		if err != nil {
			return err
		}
		if o.OnPage != nil {
			o.OnPage(n, page.ResourceVersion)
		}
		if page.Continue == "" {
			return nil
		}
		q.Set("continue", page.Continue)
	}
}
