// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package capture

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"testing"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/record"
	"github.com/gitops-kit/sdk/testserver/serve"
)

const maxBody = 16 << 20

// Request is an entry of the server's log.
type Request = record.Request

// Match selects entries of the log and requests for fault plans.
type Match = record.Match

// Call is one request with its body.
type Call struct {
	Method, Path string
	Query        url.Values
	// Header holds the request's headers as they came, secrets included: a test
	// compares them. They are never printed.
	Header http.Header
	Body   []byte
	// JSON is the decoded body; nil if it is not JSON.
	JSON any
}

// Reply answers matching requests.
type Reply struct {
	// Match selects requests; the zero value selects all.
	Match Match
	// Status; zero: 200.
	Status int
	// Header are the reply's headers.
	Header http.Header
	// Body is the reply's body.
	Body string
	// Func, if set, answers instead of the fields above.
	Func func(w http.ResponseWriter, c Call)
	// Times ends the reply after this many uses. 0: never.
	Times int
}

// Options configure a [Server]. The zero value answers 200 over plain HTTP.
type Options struct {
	// TLS serves HTTPS; RequireClientCert demands client certificates and implies TLS.
	TLS, RequireClientCert bool
	// HTTP2 offers HTTP/2 over TLS.
	HTTP2 bool
	// IPv6 listens on ::1 instead of 127.0.0.1.
	IPv6 bool
	// Hosts are further names in the TLS certificate.
	Hosts []string
	// Replies are tried in order.
	Replies []Reply
	// Faults are the plans to begin with.
	Faults []fault.Plan
}

// Server captures requests. It is safe for concurrent use.
type Server struct {
	*serve.Server
	mu      sync.Mutex
	replies []Reply
	used    []int
	calls   []Call
	changed chan struct{}
}

// Start runs a server for the length of a test.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := Run(context.WithoutCancel(tb.Context()), o)
	if err != nil {
		tb.Fatalf("start capture server: %v", err)
	}
	serve.Cleanup(tb, s.Stop, s.Tail)
	return s
}

// Run starts a server that ends with ctx or Stop.
func Run(ctx context.Context, o Options) (*Server, error) {
	s := &Server{changed: make(chan struct{})}
	s.SetReplies(o.Replies...)
	h, err := serve.Listen(ctx, http.HandlerFunc(s.serve), serve.Options{
		TLS: o.TLS, RequireClientCert: o.RequireClientCert, HTTP2: o.HTTP2, IPv6: o.IPv6, Hosts: o.Hosts, Faults: o.Faults,
	})
	if err != nil {
		return nil, err
	}
	s.Server = h
	h.Serve()
	return s, nil
}

// SetReplies replaces the replies.
func (s *Server) SetReplies(r ...Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replies, s.used = slices.Clone(r), make([]int, len(r))
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)) //nolint:forbidigo // limited
	if err != nil {
		http.Error(w, "body too large or cut", http.StatusRequestEntityTooLarge)
		return
	}
	c := Call{Method: r.Method, Path: r.URL.Path, Query: r.URL.Query(), Header: r.Header.Clone(), Body: body}
	_ = json.Unmarshal(body, &c.JSON) // nil if it is none
	s.mu.Lock()
	s.calls = append(s.calls, c)
	close(s.changed)
	s.changed = make(chan struct{})
	reply := s.pick(r)
	s.mu.Unlock()
	if reply.Func != nil {
		reply.Func(w, c)
		return
	}
	for k, v := range reply.Header {
		w.Header()[http.CanonicalHeaderKey(k)] = v
	}
	if reply.Status == 0 {
		reply.Status = http.StatusOK
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(reply.Status)
	_, _ = io.WriteString(w, reply.Body)
}

// pick returns the reply for a request; the lock is held.
func (s *Server) pick(r *http.Request) Reply {
	for i, p := range s.replies {
		if p.Match.Match(r.Method, r.URL.Path, "") && (p.Times <= 0 || s.used[i] < p.Times) {
			s.used[i]++
			return p
		}
	}
	return Reply{Body: "{}"}
}

// Calls returns all calls in order of arrival.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Reset forgets all calls.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
}

// Wait returns the first call, past or future, that match accepts, or an error
// when ctx ends.
func (s *Server) Wait(ctx context.Context, match func(Call) bool) (Call, error) {
	for {
		s.mu.Lock()
		calls, changed := slices.Clone(s.calls), s.changed
		s.mu.Unlock()
		if i := slices.IndexFunc(calls, match); i >= 0 {
			return calls[i], nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Call{}, fmt.Errorf("wait for call, saw %d: %w", len(calls), context.Cause(ctx))
		}
	}
}
