// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/artifact/internal/fail"
)

// Collected says what a clean-up did. It is returned also with an error.
type Collected struct {
	// Removed are the files that went.
	Removed []Key
	// Bytes is their size together.
	Bytes int64
	// Kept counts the files that stayed.
	Kept int
	// Failed lists what could not be removed.
	Failed []Failure
}

// Failure is a file or object that could not be removed.
type Failure struct {
	Key Key
	Err error
}

func (c *Collected) err() error {
	var errs []error
	for _, f := range c.Failed {
		errs = append(errs, opError("remove", f.Key, f.Err))
	}
	return errors.Join(errs...)
}

// sight is when this process wrote or first saw the bytes that a file has.
type sight struct {
	seq uint64
	at  time.Time // monotonic
}

// sighted notes that a file was written just now.
func (s *Store) sighted(k Key, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.look(k, seq)
}

// look returns when the bytes of a file were first seen: now, if they were
// not. The caller holds the lock.
func (s *Store) look(k Key, seq uint64) time.Time {
	files := s.seen[k.Object()]
	if files == nil {
		files = map[string]sight{}
		s.seen[k.Object()] = files
	}
	f, ok := files[k.File]
	if !ok || f.seq != seq {
		f = sight{seq: seq, at: time.Now()}
		files[k.File] = f
	}
	return f.at
}

// forget drops what was noted of a file. The caller holds the lock.
func (s *Store) forget(k Key) {
	delete(s.verdicts, k)
	files := s.seen[k.Object()]
	if delete(files, k.File); len(files) == 0 {
		delete(s.seen, k.Object())
	}
}

// forgetOthers drops what was noted of files of an object that are not there
// any more: somebody else removed them, or they were put aside.
func (s *Store) forgetOthers(object Key, files []Stat) {
	there := make(map[string]bool, len(files))
	for _, f := range files {
		there[f.Key.File] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.seen[object] {
		if !there[name] {
			k := object
			k.File = name
			s.forget(k)
		}
	}
}

// forgetObjects drops what was noted of objects that are not there any more.
func (s *Store) forgetObjects(objects []Key) {
	there := make(map[Key]bool, len(objects))
	for _, k := range objects {
		there[k] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.seen {
		if !there[k] {
			delete(s.seen, k)
		}
	}
	for k := range s.orphans {
		if !there[k] {
			delete(s.orphans, k)
		}
	}
}

// Link gives a file a stable name in its directory and returns the address
// of that name. A driver without stable names fails with
// [errors.ErrUnsupported].
func (s *Store) Link(ctx context.Context, k Key, name string) (string, error) {
	k = k.normal()
	link := k.Object()
	link.File = name
	if err := errors.Join(k.Validate(), link.Validate()); err != nil {
		return "", opError("link", k, err)
	}
	l, ok := s.d.(Linker)
	if !ok {
		return "", opError("link", k, errors.ErrUnsupported)
	}
	if err := l.Link(ctx, k, name); err != nil {
		return "", opError("link", k, err)
	}
	return s.URL(link), nil
}

// Collect removes old files of the object that k names. A file goes when it
// is both older than [Limits.TTL] and not among the newest [Limits.Records],
// in the order of writing. The current artifact's file stays in any case, by
// path and by digest, and so do files that a reader of this process has
// open. Ages are measured by this process's monotonic clock, so that a clock
// that jumps removes nothing early. Without a current artifact nothing is
// removed and the error is [ErrNoCurrent].
func (s *Store) Collect(ctx context.Context, k Key, current *meta.Artifact) (*Collected, error) {
	k = k.Object().normal()
	c := &Collected{}
	if err := k.ValidateObject(); err != nil {
		return c, opError("collect", k, err)
	}
	if current == nil || current.Path == "" {
		return c, opError("collect", k, ErrNoCurrent)
	}
	cur, err := ParseKey(current.Path)
	if err != nil {
		return c, opError("collect", k, err)
	}
	if cur.Object() != k {
		return c, opError("collect", k, ErrNoCurrent)
	}
	s.setCurrent(cur)
	files, err := s.d.List(ctx, k)
	if err != nil {
		return c, opError("collect", k, err)
	}
	s.forgetOthers(k, files)
	keep := s.o.Limits.records()
	newestFirst(files)
	var gone []Stat
	for i, f := range files {
		if int64(i) < keep || f.Key == cur || f.Digest != "" && f.Digest == current.Digest || !s.removable(f) {
			c.Kept++
			continue
		}
		gone = append(gone, f)
	}
	fail.Point(failBeforeGC)
	s.delete(ctx, gone, c, Removed)
	return c, c.err()
}

func newestFirst(files []Stat) {
	slices.SortFunc(files, func(a, b Stat) int {
		switch {
		case a.Seq != b.Seq && a.Seq > b.Seq:
			return -1
		case a.Seq != b.Seq:
			return 1
		}
		return b.Written.Compare(a.Written)
	})
}

// removable reports whether a file is old enough and not open. The age is
// the time since this process wrote or first saw it.
func (s *Store) removable(f Stat) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.look(f.Key, f.Seq)) >= s.o.Limits.ttl() && s.open[f.Key] == 0
}

// delete removes files in batches and goes on after a failure.
func (s *Store) delete(ctx context.Context, files []Stat, c *Collected, event EventType) {
	for len(files) > 0 {
		batch := files[:min(len(files), 100)]
		files = files[len(batch):]
		keys := make([]Key, len(batch))
		for i, f := range batch {
			keys[i] = f.Key
		}
		if err := s.d.Delete(ctx, keys...); err == nil {
			for _, f := range batch {
				s.removed(f, c, event)
			}
			continue
		}
		for _, f := range batch {
			if err := s.d.Delete(ctx, f.Key); err != nil {
				c.Failed = append(c.Failed, Failure{f.Key, err})
				c.Kept++
				continue
			}
			s.removed(f, c, event)
		}
	}
}

func (s *Store) removed(f Stat, c *Collected, event EventType) {
	c.Removed = append(c.Removed, f.Key)
	c.Bytes += f.Size
	s.mu.Lock()
	s.forget(f.Key)
	s.mu.Unlock()
	s.observe(Event{Type: event, Key: f.Key, Size: f.Size})
}

// Remove deletes all files of an object. The key needs kind, namespace and
// name; its File is ignored.
func (s *Store) Remove(ctx context.Context, prefix Key) (*Collected, error) {
	k := prefix.Object().normal()
	c := &Collected{}
	if err := k.ValidateObject(); err != nil {
		return c, opError("remove", k, err)
	}
	files, err := s.d.List(ctx, k)
	if err != nil {
		return c, opError("remove", k, err)
	}
	s.delete(ctx, files, c, Removed)
	if len(files) == 0 {
		if err := s.d.Delete(ctx, k); err != nil {
			return c, opError("remove", k, err)
		}
	}
	s.mu.Lock()
	delete(s.current, k)
	delete(s.orphans, k)
	s.mu.Unlock()
	if len(c.Failed) == 0 {
		s.forgetOthers(k, nil)
	}
	return c, c.err()
}

// Sweep removes what a crash left behind, and the files of objects for which
// keep returns false, once they have been unwanted for [Options.Grace]. Call
// it at start and every hour. An object that cannot be removed does not stop
// the others. A nil keep keeps all.
func (s *Store) Sweep(ctx context.Context, keep func(Key) bool) (*Collected, error) {
	c := &Collected{}
	sw, ok := s.d.(Sweeper)
	if !ok {
		s.setReady()
		return c, nil
	}
	var errs []error
	if err := sw.Sweep(ctx); err != nil {
		errs = append(errs, opError("sweep", Key{}, err))
	}
	fail.Point(failSweep)
	objects, err := sw.Objects(ctx)
	if err != nil {
		return c, errors.Join(append(errs, opError("sweep", Key{}, err))...)
	}
	s.forgetObjects(objects)
	for _, k := range objects {
		if err := ctx.Err(); err != nil {
			return c, errors.Join(append(errs, err)...)
		}
		if keep == nil || keep(k) || !s.expired(k) {
			if keep != nil && keep(k) {
				s.wanted(k)
			}
			c.Kept++
			continue
		}
		one, err := s.Remove(ctx, k)
		c.Removed = append(c.Removed, one.Removed...)
		c.Bytes += one.Bytes
		c.Failed = append(c.Failed, one.Failed...)
		if err != nil {
			errs = append(errs, err)
		}
	}
	s.setReady()
	return c, errors.Join(errs...)
}

func (s *Store) setReady() {
	s.mu.Lock()
	s.ready = true
	s.mu.Unlock()
}

// expired notes the first sight of an unwanted object and reports whether
// its grace is over.
func (s *Store) expired(k Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, ok := s.orphans[k]
	if !ok {
		first = time.Now()
		s.orphans[k] = first
	}
	return time.Since(first) >= max(s.o.Grace, 0)
}

func (s *Store) wanted(k Key) {
	s.mu.Lock()
	delete(s.orphans, k)
	s.mu.Unlock()
}

// makeSpace removes files that nobody uses, oldest first, until there is
// enough space. It reports whether it removed any. Of an object whose current
// file this process does not know, since it started a while ago only, nothing
// goes: the newest need not be the one in use.
func (s *Store) makeSpace(ctx context.Context, writing Key) bool {
	sw, ok := s.d.(Sweeper)
	if !ok {
		return false
	}
	objects, err := sw.Objects(ctx)
	if err != nil {
		return false
	}
	var spare []Stat
	for _, k := range objects {
		files, err := s.d.List(ctx, k)
		if err != nil {
			continue
		}
		newestFirst(files)
		s.mu.Lock()
		cur, known := s.current[k]
		for i, f := range files {
			if known && i > 0 && f.Key != cur && f.Key != writing && s.open[f.Key] == 0 {
				spare = append(spare, f)
			}
		}
		s.mu.Unlock()
	}
	slices.SortFunc(spare, func(a, b Stat) int { return a.Written.Compare(b.Written) })
	c := &Collected{}
	for i := range spare {
		s.delete(ctx, spare[i:i+1], c, Evicted)
		if i%16 == 15 && s.space(ctx) == nil {
			break
		}
	}
	return len(c.Removed) > 0
}
