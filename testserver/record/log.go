// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package record

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Capacity is the number of requests a [Log] keeps. Older ones are overwritten.
const Capacity = 100_000

// Request is what a server saw of one request and did with it. Values of it
// are snapshots: they do not change later.
type Request struct {
	// Seq numbers the requests of one log from 1.
	Seq int64
	// Time is when the request's headers had been read.
	Time time.Time
	// Method is the HTTP method, or "SSH" for a command over SSH.
	Method string
	// Path is the URL path, or the command line of an SSH request.
	Path string
	// Host is the host the client named.
	Host string
	// Query holds the query parameters; secret ones as a keyed hash.
	Query url.Values
	// Route is the server's name for this kind of request.
	Route string
	// Header holds the request headers; secret ones as a keyed hash.
	Header http.Header
	// User is the authenticated name, if any; for a client certificate its
	// common name.
	User string
	// BodySize is the number of request body bytes the server read.
	BodySize int64
	// Status is the reply's status; 0 while there is none. An SSH command's
	// exit status is stored plus 1000, so that success differs from "none".
	Status int
	// Bytes is the number of reply body bytes written.
	Bytes int64
	// Conn numbers the connections of one server from 1.
	Conn int64
	// Fault describes the fault applied; empty if there was none.
	Fault string
	// Done reports that the request has been answered or abandoned.
	Done bool
	// Duration is the time from Time until Done.
	Duration time.Duration
}

// Log records requests. Use [NewLog]; the zero value is not usable.
type Log struct {
	mu      sync.Mutex
	key     []byte
	ring    []*Request
	next    int
	total   int64
	changed chan struct{}
}

// NewLog returns an empty log with a random key for [Log.HMAC].
func NewLog() *Log {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // crypto/rand.Read never returns an error
	return &Log{key: key}
}

// Entry is a request being served. Its methods may be called from any goroutine.
type Entry struct {
	log *Log
	req *Request
}

// Begin adds a request and gives it its number. Secret headers and query
// parameters of r are replaced; the maps of r are not modified.
func (l *Log) Begin(r Request) *Entry {
	r.Header = l.cleanHeader(r.Header)
	r.Query = l.cleanQuery(r.Query)
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	r.Seq = l.total
	p := &r
	if len(l.ring) < Capacity {
		l.ring = append(l.ring, p)
	} else {
		l.ring[l.next] = p
		l.next = (l.next + 1) % Capacity
	}
	l.signal()
	return &Entry{log: l, req: p}
}

// Update changes the recorded request under the log's lock.
func (e *Entry) Update(f func(*Request)) {
	e.log.mu.Lock()
	defer e.log.mu.Unlock()
	f(e.req)
	e.log.signal()
}

// End marks the request as done. Later calls do nothing.
func (e *Entry) End() {
	e.Update(func(r *Request) {
		if !r.Done {
			r.Done, r.Duration = true, time.Since(r.Time)
		}
	})
}

// signal wakes those who wait, if anybody does; the lock is held.
func (l *Log) signal() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// Requests returns the requests kept, oldest first.
func (l *Log) Requests() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Request, 0, len(l.ring))
	for i := range l.ring {
		out = append(out, *l.ring[(l.next+i)%len(l.ring)])
	}
	return out
}

// Total returns the number of requests ever recorded.
func (l *Log) Total() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

// Count returns how many of the requests kept match.
func (l *Log) Count(m Match) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count(m)
}

func (l *Log) count(m Match) int {
	n := 0
	for _, r := range l.ring {
		if m.Request(*r) {
			n++
		}
	}
	return n
}

// Wait returns when at least n requests match, or when ctx ends.
func (l *Log) Wait(ctx context.Context, m Match, n int) error {
	for {
		l.mu.Lock()
		have := l.count(m)
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed := l.changed
		l.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d requests, saw %d: %w", n, have, context.Cause(ctx))
		}
	}
}

// Reset forgets all requests. Numbers go on counting.
func (l *Log) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring, l.next = nil, 0
	l.signal()
}

// HMAC returns what the log stores in place of the secret s.
func (l *Log) HMAC(s string) string {
	h := hmac.New(sha256.New, l.key)
	h.Write([]byte(s))
	return "hmac:" + hex.EncodeToString(h.Sum(nil)[:12])
}

func (l *Log) cleanHeader(h http.Header) http.Header {
	out := make(http.Header, len(h))
	for k, vs := range h {
		if !secretHeader(http.CanonicalHeaderKey(k)) {
			out[k] = slices.Clone(vs)
			continue
		}
		for _, v := range vs {
			out[k] = append(out[k], l.HMAC(v))
		}
	}
	return out
}

func (l *Log) cleanQuery(q url.Values) url.Values {
	if len(q) == 0 {
		return nil
	}
	out := make(url.Values, len(q))
	for k, vs := range q {
		for _, v := range vs {
			if secretName(k) {
				v = l.HMAC(v)
			}
			out[k] = append(out[k], v)
		}
	}
	return out
}

func secretHeader(k string) bool {
	switch k {
	case "Accept", "Accept-Encoding", "Content-Length", "Content-Type", "Git-Protocol", "Host", "Range", "User-Agent": // most of all headers
		return false
	case "Authorization", "Proxy-Authorization", "Cookie":
		return true
	}
	return secretName(k)
}

func secretName(k string) bool {
	k = strings.ToLower(k)
	for _, part := range []string{"token", "secret", "password", "signature", "apikey", "api-key", "credential", "assertion"} {
		if strings.Contains(k, part) {
			return true
		}
	}
	return k == "sig" || k == "code" || k == "key"
}
