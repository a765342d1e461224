// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package eventserver

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/record"
	"github.com/gitops-kit/sdk/testserver/serve"
)

// maxBody bounds an event.
const maxBody = 4 << 20

// Request is an entry of the server's log.
type Request = record.Request

// Match selects entries of the log and requests for fault plans.
type Match = record.Match

// Event is a payload of the event wire format.
type Event struct {
	InvolvedObject      ObjectReference   `json:"involvedObject"`
	Severity            string            `json:"severity"`
	Timestamp           time.Time         `json:"timestamp"`
	Message             string            `json:"message"`
	Reason              string            `json:"reason"`
	Metadata            map[string]string `json:"metadata,omitempty"`
	ReportingController string            `json:"reportingController"`
	ReportingInstance   string            `json:"reportingInstance,omitempty"`

	// Raw is the body as it came, Header the request's headers with secrets
	// replaced, Received when it came.
	Raw      []byte      `json:"-"`
	Header   http.Header `json:"-"`
	Received time.Time   `json:"-"`
}

// ObjectReference names the object an event is about.
type ObjectReference struct {
	Kind            string `json:"kind,omitempty"`
	Namespace       string `json:"namespace,omitempty"`
	Name            string `json:"name,omitempty"`
	UID             string `json:"uid,omitempty"`
	APIVersion      string `json:"apiVersion,omitempty"`
	ResourceVersion string `json:"resourceVersion,omitempty"`
	FieldPath       string `json:"fieldPath,omitempty"`
}

// Key identifies an event for deduplication: object, reason, severity, message
// and metadata.
func Key(e Event) string {
	m, _ := json.Marshal(e.Metadata) // a map of strings; keys are sorted
	o := e.InvolvedObject
	return strings.Join([]string{o.APIVersion, o.Kind, o.Namespace, o.Name, e.Severity, e.Reason, e.Message, string(m)}, "\x00")
}

// Options configure a [Server]. The zero value accepts everything over plain HTTP.
type Options struct {
	// TLS serves HTTPS; RequireClientCert demands client certificates and implies TLS.
	TLS, RequireClientCert bool
	// HTTP2 offers HTTP/2 over TLS.
	HTTP2 bool
	// IPv6 listens on ::1 instead of 127.0.0.1.
	IPv6 bool
	// Token, if set, must come as a bearer token; else 401.
	Token string
	// Dedup gives events with an equal key only one record; repetitions are
	// answered 429. Nil: no deduplication. [Key] is the usual choice.
	Dedup func(Event) string
	// Strict refuses events without a required field with 400.
	Strict bool
	// Status answers accepted events; zero: 202.
	Status int
	// Faults are the plans to begin with. Every request has the route "event".
	Faults []fault.Plan
}

// Server is an event sink. It is safe for concurrent use.
type Server struct {
	*serve.Server
	opts    Options
	mu      sync.Mutex
	events  []Event
	keys    map[string]bool
	changed chan struct{}
}

// Start runs a server for the length of a test.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := Run(context.WithoutCancel(tb.Context()), o)
	if err != nil {
		tb.Fatalf("start event server: %v", err)
	}
	serve.Cleanup(tb, s.Stop, s.Tail)
	return s
}

// Run starts a server that ends with ctx or Stop.
func Run(ctx context.Context, o Options) (*Server, error) {
	s := &Server{opts: o, keys: map[string]bool{}, changed: make(chan struct{})}
	h, err := serve.Listen(ctx, http.HandlerFunc(s.serve), serve.Options{
		TLS: o.TLS, RequireClientCert: o.RequireClientCert, HTTP2: o.HTTP2, IPv6: o.IPv6,
		Faults: o.Faults, Route: func(*http.Request) string { return "event" },
	})
	if err != nil {
		return nil, err
	}
	s.Server = h
	h.Serve()
	return s, nil
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if s.opts.Token != "" && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+s.opts.Token)) != 1 {
		http.Error(w, "unauthorized", http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)) //nolint:forbidigo // limited
	if err != nil {
		http.Error(w, "body too large or cut", http.StatusRequestEntityTooLarge)
		return
	}
	e := Event{Raw: body, Header: r.Header.Clone(), Received: time.Now()}
	if err := json.Unmarshal(body, &e); err != nil || (s.opts.Strict && missing(e) != "") {
		http.Error(w, "malformed event", http.StatusBadRequest)
		return
	}
	for _, k := range []string{"Authorization", "Cookie"} {
		if v := e.Header.Get(k); v != "" {
			e.Header.Set(k, s.Recorder().HMAC(v))
		}
	}
	if !s.add(e) {
		http.Error(w, "duplicate", http.StatusTooManyRequests)
		return
	}
	status := s.opts.Status
	if status == 0 {
		status = http.StatusAccepted
	}
	w.WriteHeader(status)
}

// missing returns the first required field that is empty.
func missing(e Event) string {
	for _, f := range [][2]string{
		{"involvedObject.kind", e.InvolvedObject.Kind},
		{"involvedObject.name", e.InvolvedObject.Name},
		{"severity", e.Severity},
		{"message", e.Message},
		{"reason", e.Reason},
		{"reportingController", e.ReportingController},
	} {
		if f[1] == "" {
			return f[0]
		}
	}
	if e.Timestamp.IsZero() {
		return "timestamp"
	}
	return ""
}

func (s *Server) add(e Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opts.Dedup != nil {
		k := s.opts.Dedup(e)
		if s.keys[k] {
			return false
		}
		s.keys[k] = true
	}
	s.events = append(s.events, e)
	close(s.changed)
	s.changed = make(chan struct{})
	return true
}

// Events returns the accepted events in order of arrival.
func (s *Server) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Reset forgets all events.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = nil
	clear(s.keys)
}

// Wait returns the first event, past or future, that match accepts, or an
// error when ctx ends.
func (s *Server) Wait(ctx context.Context, match func(Event) bool) (Event, error) {
	for seen := 0; ; {
		s.mu.Lock()
		events, changed := s.events, s.changed
		s.mu.Unlock()
		seen = min(seen, len(events))
		for _, e := range events[seen:] {
			if match(e) {
				return e, nil
			}
		}
		seen = len(events)
		select {
		case <-changed:
		case <-ctx.Done():
			return Event{}, fmt.Errorf("wait for event, saw %d: %w", seen, context.Cause(ctx))
		}
	}
}
