// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"

	"github.com/gitops-kit/sdk/testserver/internal/listen"
	"github.com/gitops-kit/sdk/testserver/record"
)

// Handler records the requests to an HTTP handler and applies fault plans to
// them. All fields but Route must be set. Its methods are safe for concurrent use.
type Handler struct {
	// Context ends delays and stalls, besides the requests' own.
	Context context.Context //nolint:containedctx // the server's life
	// Next handles requests.
	Next http.Handler
	// Plans are the faults.
	Plans *Set
	// Log records.
	Log *record.Log
	// Route names a request; nil: no names.
	Route func(*http.Request) string
}

type (
	connKey  struct{}
	entryKey struct{}
)

// ConnContext is for [http.Server.ConnContext]: it gives requests the number of
// their connection, if the listener is one of this module's.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if cc := listen.Find(c); cc != nil {
		return context.WithValue(ctx, connKey{}, cc.ID)
	}
	return ctx
}

// Update changes the log entry of the request with this context.
func Update(ctx context.Context, f func(*record.Request)) {
	if e, ok := ctx.Value(entryKey{}).(*record.Entry); ok {
		e.Update(f)
	}
}

// ServeHTTP records and serves one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route := ""
	if h.Route != nil {
		route = h.Route(r)
	}
	plan := h.Plans.Pick(r.Method, r.URL.Path, route)
	id, _ := r.Context().Value(connKey{}).(int64)
	req := record.Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), Route: route, Header: r.Header, Host: r.Host, Conn: id}
	if plan != nil {
		req.Fault = plan.String()
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		req.User = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	e := h.Log.Begin(req)
	defer e.End()
	body := &countedBody{ReadCloser: r.Body}
	r.Body = body
	ow := &observer{ResponseWriter: w, e: e}
	defer func() {
		e.Update(func(q *record.Request) { q.BodySize, q.Bytes = body.n, ow.n })
	}()
	r = r.WithContext(context.WithValue(r.Context(), entryKey{}, e))
	serve(h.Context, ow, r, plan, h.Next)
}

type countedBody struct {
	io.ReadCloser
	n int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	return n, err
}

// observer records status and size of a reply, also of one that a fault plan
// writes to the connection itself.
type observer struct {
	http.ResponseWriter
	e     *record.Entry
	begun bool
	n     int64
}

func (o *observer) observe(status int) {
	if !o.begun {
		o.begun = true
		o.e.Update(func(r *record.Request) { r.Status = status })
	}
}

func (o *observer) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		o.observe(status)
	}
	o.ResponseWriter.WriteHeader(status)
}

func (o *observer) Write(p []byte) (int, error) {
	o.observe(http.StatusOK)
	n, err := o.ResponseWriter.Write(p)
	o.n += int64(n)
	return n, err
}

func (o *observer) Flush() {
	o.observe(http.StatusOK)
	_ = http.NewResponseController(o.ResponseWriter).Flush()
}

func (o *observer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(o.ResponseWriter).Hijack()
}

func (o *observer) Unwrap() http.ResponseWriter { return o.ResponseWriter }
