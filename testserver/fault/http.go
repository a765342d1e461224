// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/testserver/internal/listen"
)

// serve handles one request with next and applies p to it. A plan of nil is no
// fault. ctx ends delays and stalls, besides the request's own context.
//
// Faults that break framing need HTTP/1; over HTTP/2 the stream is reset
// instead, and WrongLength has no effect.
func serve(ctx context.Context, w http.ResponseWriter, r *http.Request, p *Plan, next http.Handler) {
	if p == nil {
		next.ServeHTTP(w, r)
		return
	}
	rctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	defer stop()
	r = r.WithContext(rctx)
	if sleep(rctx, p.Delay) != nil {
		abort(w, false)
		return
	}
	switch {
	case p.RST && p.CutAfter == 0 && !p.Drop:
		abort(w, true)
		return
	case p.Redirect != "":
		redirect(w, r, p)
		return
	}
	if p.Status != 0 {
		next = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.WriteHeader(p.Status)
			_, _ = io.WriteString(w, http.StatusText(p.Status)+"\n")
		})
	}
	if p.Drop {
		next.ServeHTTP(&discard{h: http.Header{}}, r)
		abort(w, p.RST)
		return
	}
	fw := &writer{ResponseWriter: w, ctx: rctx, plan: *p, head: r.Method == http.MethodHead}
	next.ServeHTTP(fw, r)
	fw.finish()
}

func redirect(w http.ResponseWriter, r *http.Request, p *Plan) {
	status := p.Status
	if status < 300 || status > 399 {
		status = http.StatusTemporaryRedirect
	}
	w.Header().Set("Location", strings.ReplaceAll(p.Redirect, "{path}", r.URL.RequestURI()))
	w.WriteHeader(status)
}

// abort ends the connection of w now, with a reset if rst is set.
func abort(w http.ResponseWriter, rst bool) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		listen.CloseConn(c, rst)
		return
	}
	panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to reset an HTTP/2 stream
}

// Close ends c as a cut does: below TLS, so that no alert is sent, and with a
// reset if rst is set.
func Close(c net.Conn, rst bool) { listen.CloseConn(c, rst) }

type discard struct{ h http.Header }

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

// writer applies a plan to a reply. It takes the connection over when the
// framing has to be wrong.
type writer struct {
	http.ResponseWriter
	ctx    context.Context //nolint:containedctx // lives as long as one reply
	plan   Plan
	head   bool
	begun  bool
	status int
	held   *bytes.Buffer // body kept until its length is known
	out    io.Writer     // where body bytes go
	gz     *gzip.Writer
	raw    net.Conn
	buf    *bufio.Writer
	chunks io.WriteCloser
}

func (w *writer) needsRaw() bool {
	return w.plan.CutAfter > 0 || w.plan.WrongLength != 0
}

// WriteHeader sends the status with the plan's changes to the headers.
func (w *writer) WriteHeader(status int) {
	if w.begun {
		return
	}
	if status >= 100 && status < 200 {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.begun, w.status = true, status
	h := w.Header()
	if w.plan.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((w.plan.RetryAfter+time.Second-1)/time.Second), 10))
	}
	if w.plan.WrongDigest && !spoilDigest(h) && w.plan.FlipAt == 0 {
		w.plan.FlipAt = 1
	}
	if w.plan.Encoding != "" {
		h.Set("Content-Encoding", w.plan.Encoding)
		if w.plan.Encoding == "gzip" {
			h.Del("Content-Length")
		}
	}
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil && w.plan.Extra > 0 {
		h.Set("Content-Length", strconv.FormatInt(n+w.plan.Extra, 10))
	}
	if w.plan.WrongLength != 0 && h.Get("Content-Length") == "" {
		w.held = &bytes.Buffer{}
		w.out = w.held
	} else {
		w.open()
	}
	if w.plan.Encoding == "gzip" {
		w.gz = gzip.NewWriter(w.out)
	}
}

// open sends the headers and makes the body stream.
func (w *writer) open() {
	if w.needsRaw() {
		if c, b, err := http.NewResponseController(w.ResponseWriter).Hijack(); err == nil {
			w.raw, w.buf = c, b.Writer
			w.rawHeader()
			w.out = NewStream(w.ctx, w.body(), w.plan, func() { _ = w.buf.Flush(); listen.CloseConn(c, w.plan.RST) })
			return
		}
	}
	w.ResponseWriter.WriteHeader(w.status)
	w.out = NewStream(w.ctx, w.ResponseWriter, w.plan, func() {
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to reset an HTTP/2 stream
	})
}

func (w *writer) rawHeader() {
	h := w.Header()
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil {
		h.Set("Content-Length", strconv.FormatInt(max(0, n+w.plan.WrongLength), 10))
	} else if !w.head && w.status != http.StatusNoContent && w.status != http.StatusNotModified {
		h.Set("Transfer-Encoding", "chunked")
	}
	if h.Get("Date") == "" {
		h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	h.Set("Connection", "close")
	_, _ = fmt.Fprintf(w.buf, "HTTP/1.1 %03d %s\r\n", w.status, http.StatusText(w.status))
	_ = h.Write(w.buf)
	_, _ = w.buf.WriteString("\r\n")
	if o, ok := w.ResponseWriter.(*observer); ok {
		o.observe(w.status)
	}
}

// body returns the writer for raw body bytes.
func (w *writer) body() io.Writer {
	var dst io.Writer = w.buf
	if w.Header().Get("Transfer-Encoding") == "chunked" {
		w.chunks = httputil.NewChunkedWriter(w.buf)
		dst = w.chunks
	}
	return &observed{w: dst, buf: w.buf, to: w.ResponseWriter}
}

type observed struct {
	w   io.Writer
	buf *bufio.Writer
	to  http.ResponseWriter
}

func (o *observed) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	if ob, ok := o.to.(*observer); ok {
		ob.n += int64(n)
	}
	return n, err
}

func (o *observed) Flush() { _ = o.buf.Flush() }

// Write sends body bytes.
func (w *writer) Write(p []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	if w.head {
		return len(p), nil
	}
	if w.gz != nil {
		return w.gz.Write(p)
	}
	return w.out.Write(p)
}

// Unwrap lets a handler take the connection over, away from the plan.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Flush sends what is buffered.
func (w *writer) Flush() {
	switch {
	case w.held != nil:
	case w.buf != nil:
		_ = w.buf.Flush()
	default:
		if !w.begun {
			w.WriteHeader(http.StatusOK)
		}
		_ = http.NewResponseController(w.ResponseWriter).Flush()
	}
}

// finish sends what the handler did not: the end of a compressed or held body,
// extra bytes, the end of a raw reply.
func (w *writer) finish() {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	if w.gz != nil && !w.head {
		_ = w.gz.Close()
	}
	if w.held != nil {
		body := append(w.held.Bytes(), bytes.Repeat([]byte("x"), int(w.plan.Extra))...)
		w.plan.Extra = 0
		w.held = nil
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.open()
		if !w.head {
			_, _ = w.out.Write(body)
		}
	}
	if w.plan.Extra > 0 && !w.head {
		_, _ = w.out.Write(bytes.Repeat([]byte("x"), int(w.plan.Extra)))
	}
	st, _ := w.out.(*Stream)
	if w.raw == nil {
		if st != nil && st.err != nil { // stalled or gone: this is no proper end
			panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to end a connection
		}
		return
	}
	if w.chunks != nil && st != nil && st.err == nil {
		_ = w.chunks.Close()
		_, _ = w.buf.WriteString("\r\n")
	}
	_ = w.buf.Flush()
	_ = w.raw.Close()
}

// spoilDigest changes the digest headers and says whether there was one.
func spoilDigest(h http.Header) bool {
	found := false
	for _, k := range []string{"Docker-Content-Digest", "Digest", "Content-Digest", "Repr-Digest"} {
		v := h.Get(k)
		if v == "" {
			continue
		}
		found = true
		last := v[len(v)-1]
		repl := byte('0')
		if last == '0' {
			repl = '1'
		}
		h.Set(k, v[:len(v)-1]+string(repl))
	}
	return found
}
