// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/artifact/fetch"
	"github.com/gitops-kit/sdk/artifact/internal/limits"
	"github.com/gitops-kit/sdk/untar/digest"
)

// Options control a [Store]. The zero value needs a BaseURL only.
type Options struct {
	// BaseURL is the address under which the store is served: scheme, host and
	// optional path. Without a scheme, "http://" is put in front.
	BaseURL string
	// Algorithm is the digest algorithm of new files. Zero: sha256.
	Algorithm string
	// Limits bound what is stored. The zero value has the defaults.
	Limits Limits
	// VerifyEvery makes every n-th quick check of a file a full one. Zero: 10.
	// The first check of a file in the life of a Store is always full.
	VerifyEvery int
	// Grace is how long [Store.Sweep] keeps the files of an object that is not
	// wanted any more. Zero: 1 h; negative: none.
	Grace time.Duration
	// Observe is told what happens. It must not block. Nil: nobody is told.
	Observe func(Event)
}

// Limits bound a store. In each field 0 is the default.
type Limits struct {
	// Artifact bounds one file in bytes. Default 2 GiB (artifact); negative:
	// unlimited.
	Artifact int64
	// Records is how many files of an object are kept at least, the current
	// one included. Default 2; negative: all.
	Records int
	// TTL is how long a file is kept at least after it was written. Default
	// 60 s; negative: no time.
	TTL time.Duration
	// Free is the space that must stay free.
	Free Free
}

// Free is an amount of space: the larger of the two. The zero value is 5 %
// and 256 MiB; negative numbers mean none.
type Free struct {
	Percent int
	Bytes   int64
}

// Unlimited lists the names of the limits that are switched off.
func (l Limits) Unlimited() []string {
	var out []string
	if l.Artifact < 0 {
		out = append(out, limitArtifact)
	}
	if l.Records < 0 {
		out = append(out, "artifact-records")
	}
	if l.Free.Percent < 0 && l.Free.Bytes < 0 {
		out = append(out, "storage-free")
	}
	return out
}

const limitArtifact = "artifact"

func (l Limits) artifact() int64 { return limits.Or(l.Artifact, 2<<30) }
func (l Limits) records() int64  { return limits.Or(int64(l.Records), 2) }

func (l Limits) ttl() time.Duration {
	if l.TTL == 0 {
		return time.Minute
	}
	return max(l.TTL, 0)
}

// least is the number of bytes that must stay free of total.
func (f Free) least(total int64) int64 {
	percent, bytes := int64(f.Percent), f.Bytes
	if percent == 0 && bytes == 0 {
		percent, bytes = 5, 256<<20
	}
	return max(max(percent, 0)*(total/100), bytes, 0)
}

// EventType says what happened.
type EventType int

// The events.
const (
	Written   EventType = iota // a file was stored
	Unchanged                  // the same content was there already
	Corrupt                    // a file was not what was stored, and put aside
	Removed                    // a file was removed
	Evicted                    // a file was removed early to make space
	Restored                   // a file that the storage had lost was stored again from a cache
)

// Event is what [Options.Observe] is told.
type Event struct {
	Type EventType
	Key  Key
	Size int64
	Err  error
}

// Store keeps immutable files by key. It is safe for concurrent use.
type Store struct {
	d     Driver
	o     Options
	base  string
	locks keyLocks

	mu       sync.Mutex
	verdicts map[Key]verdict
	open     map[Key]int              // files opened by readers of this process
	current  map[Key]Key              // by object: the file that is in use
	seen     map[Key]map[string]sight // by object and file: when it was first seen
	orphans  map[Key]time.Time        // first sight of an unwanted object
	ready    bool
}

// NewStore returns a Store over a driver. It does no I/O.
func NewStore(d Driver, o Options) (*Store, error) {
	if d == nil {
		return nil, errors.New("artifact store: no driver")
	}
	if _, err := digest.New(o.Algorithm); err != nil {
		return nil, fmt.Errorf("artifact store: %w", err)
	}
	base, err := parseBase(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("artifact store: %w", err)
	}
	if o.VerifyEvery <= 0 {
		o.VerifyEvery = 10
	}
	if o.Grace == 0 {
		o.Grace = time.Hour
	}
	return &Store{
		d: d, o: o, base: base, verdicts: map[Key]verdict{}, open: map[Key]int{},
		current: map[Key]Key{}, seen: map[Key]map[string]sight{}, orphans: map[Key]time.Time{},
	}, nil
}

// parseBase brings a base URL into its one form.
func parseBase(s string) (string, error) {
	if s == "" {
		return "", errors.New("no base URL")
	}
	if !strings.Contains(s, "://") {
		if ip := net.ParseIP(s); ip != nil && ip.To4() == nil {
			s = "[" + s + "]"
		}
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		u.Scheme != "http" && u.Scheme != "https" {
		return "", errors.New("malformed base URL")
	}
	return strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), nil
}

// URL is the address of a file.
func (s *Store) URL(k Key) string {
	parts := strings.Split(k.String(), "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return s.base + "/" + strings.Join(parts, "/")
}

// RefOf is what a fetcher needs to know of an artifact.
func RefOf(a *meta.Artifact) fetch.Ref {
	if a == nil {
		return fetch.Ref{}
	}
	r := fetch.Ref{URL: a.URL, Digest: a.Digest, Revision: a.Revision}
	if a.Size != nil {
		r.Size = *a.Size
	}
	return r
}

// Close releases the driver, for the local one its lock.
func (s *Store) Close() error {
	if c, ok := s.d.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// Ready reports whether the first [Store.Sweep] is done.
func (s *Store) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready
}

func (s *Store) observe(e Event) {
	if s.o.Observe != nil {
		s.o.Observe(e)
	}
}

// setCurrent notes which file of an object is in use.
func (s *Store) setCurrent(k Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current[k.Object()] = k
}

// keyLocks serialises writers by key.
type keyLocks struct {
	mu   sync.Mutex
	held map[Key]chan struct{}
}

func (l *keyLocks) lock(ctx context.Context, k Key) error {
	for {
		l.mu.Lock()
		wait, taken := l.held[k]
		if !taken {
			if l.held == nil {
				l.held = map[Key]chan struct{}{}
			}
			l.held[k] = make(chan struct{})
			l.mu.Unlock()
			return nil
		}
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wait:
		}
	}
}

func (l *keyLocks) unlock(k Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.held[k])
	delete(l.held, k)
}
