// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/untar/digest"
)

// Depth says how thoroughly [Store.Check] looks.
type Depth int

// The depths.
const (
	Quick  Depth = iota // identity unchanged since the last full check, else Full
	Exists              // there, with the right size
	Full                // hash of all bytes
)

const (
	verdictAge  = time.Hour
	maxVerdicts = 10_000
)

// verdict says that the file of an identity was hashed and had the digest.
type verdict struct {
	identity string
	digest   string
	at       time.Time
	quick    int // checks since then that did not hash
}

// Blob is an open file of a store. Close it. It stays complete when the file
// is replaced or deleted.
type Blob struct {
	io.ReadSeekCloser
	// Stat describes the file; its Digest is never empty.
	Stat Stat

	s        *Store
	identity string
	recorded bool // the digest is from the record, not from the bytes
	closed   bool
}

// Lookup opens a file, or what a link names, without verifying it;
// [ErrNotFound] if there is none. Use [Store.Open] unless you verify
// yourself, as the server does.
func (s *Store) Lookup(ctx context.Context, k Key) (*Blob, error) {
	k = k.normal()
	if err := k.Validate(); err != nil {
		return nil, opError("open", k, err)
	}
	r, st, err := s.d.Get(ctx, k)
	if errors.Is(err, ErrCorrupt) {
		s.aside(ctx, k, err)
	}
	if err != nil {
		return nil, opError("open", k, err)
	}
	b := &Blob{ReadSeekCloser: r, Stat: st, s: s, recorded: st.Digest != ""}
	if id, ok := r.(Identified); ok {
		b.identity = id.Identity()
	}
	s.mu.Lock()
	s.open[st.Key]++
	s.mu.Unlock()
	if st.Digest == "" { // the record was lost: the file speaks for itself
		if b.Stat.Digest, err = b.sum(ctx, s.o.Algorithm); err != nil {
			_ = b.Close()
			return nil, opError("open", k, err)
		}
		b.Confirm()
	}
	return b, nil
}

// Close closes the file.
func (b *Blob) Close() error {
	if b.closed {
		return nil
	}
	b.closed = true
	b.s.mu.Lock()
	if b.s.open[b.Stat.Key]--; b.s.open[b.Stat.Key] <= 0 {
		delete(b.s.open, b.Stat.Key)
	}
	b.s.mu.Unlock()
	return b.ReadSeekCloser.Close()
}

// Verified reports whether these bytes were hashed within the last hour and
// did not change since.
func (b *Blob) Verified() bool {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	v, ok := b.s.verdicts[b.Stat.Key]
	return ok && b.identity != "" && v.identity == b.identity && v.digest == b.Stat.Digest && time.Since(v.at) < verdictAge
}

// Confirm records that all bytes were hashed and had the digest.
func (b *Blob) Confirm() { b.s.confirm(b.Stat.Key, b.identity, b.Stat.Digest) }

func (s *Store) confirm(k Key, identity, sum string) {
	if identity == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.verdicts) >= maxVerdicts {
		for old := range s.verdicts {
			delete(s.verdicts, old)
			break
		}
	}
	s.verdicts[k] = verdict{identity: identity, digest: sum, at: time.Now()}
}

// note records the verdict of a file that was just written.
func (s *Store) note(ctx context.Context, k Key, st Stat) {
	s.sighted(k, st.Seq)
	r, now, err := s.d.Get(ctx, k)
	if err != nil {
		return
	}
	defer r.Close() //nolint:errcheck // opened for reading
	if id, ok := r.(Identified); ok && now.Seq == st.Seq && now.Digest == st.Digest {
		s.confirm(k, id.Identity(), st.Digest)
	}
}

// Corrupt puts the file aside, since its bytes have another digest, and
// returns an [ErrCorrupt] with both. A file that was replaced meanwhile is
// left alone.
func (b *Blob) Corrupt(ctx context.Context, got string) error {
	err := fmt.Errorf("%w: %w", ErrCorrupt, &DigestError{Want: b.Stat.Digest, Got: got, Bytes: b.Stat.Size})
	if b.current(ctx) {
		b.s.aside(ctx, b.Stat.Key, err)
	}
	return err
}

// current reports whether the key still stands for this file, as far as the
// driver can tell.
func (b *Blob) current(ctx context.Context) bool {
	if b.identity == "" {
		return true
	}
	r, _, err := b.s.d.Get(context.WithoutCancel(ctx), b.Stat.Key)
	if err != nil {
		return !errors.Is(err, ErrNotFound)
	}
	defer r.Close() //nolint:errcheck // opened for reading
	now, ok := r.(Identified)
	return !ok || now.Identity() == b.identity
}

// aside quarantines a file and tells the observer.
func (s *Store) aside(ctx context.Context, k Key, err error) {
	s.mu.Lock()
	s.forget(k)
	s.mu.Unlock()
	if q, ok := s.d.(Quarantiner); ok {
		if qerr := q.Quarantine(context.WithoutCancel(ctx), k); qerr != nil && !errors.Is(qerr, ErrNotFound) {
			err = errors.Join(err, qerr)
		}
	}
	s.observe(Event{Type: Corrupt, Key: k, Err: err})
}

// sum hashes the file from its beginning and goes back there.
func (b *Blob) sum(ctx context.Context, algorithm string) (string, error) {
	h, err := digest.New(algorithm)
	if err != nil {
		return "", err
	}
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if _, err := io.Copy(h, &ctxReader{ctx, b.ReadSeekCloser}); err != nil {
		return "", err
	}
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	return digest.Sum(algorithm, h).String(), nil
}

type ctxReader struct {
	ctx context.Context //nolint:containedctx // lives for one read
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// Verify hashes the file unless there is a fresh verdict. A mismatch puts
// the file aside and is an [ErrCorrupt].
func (b *Blob) Verify(ctx context.Context) error {
	if b.Verified() {
		return nil
	}
	return b.full(ctx)
}

func (b *Blob) full(ctx context.Context) error {
	want, err := digest.Parse(b.Stat.Digest)
	if err != nil {
		return err
	}
	got, err := b.sum(ctx, want.Algorithm)
	if err != nil {
		return err
	}
	if got != b.Stat.Digest {
		return b.Corrupt(ctx, got)
	}
	b.Confirm()
	return nil
}

// Open opens the file of an artifact, verified against the artifact's digest
// and size. [ErrNotFound] if it is not there, [ErrCorrupt] if it is not what
// was stored.
func (s *Store) Open(ctx context.Context, a *meta.Artifact) (io.ReadSeekCloser, error) {
	b, err := s.blob(ctx, a)
	if err != nil {
		return nil, err
	}
	if err := b.Verify(ctx); err != nil {
		_ = b.Close()
		return nil, opError("open", b.Stat.Key, err)
	}
	return b, nil
}

// blob opens the file of an artifact and compares what is cheap.
func (s *Store) blob(ctx context.Context, a *meta.Artifact) (*Blob, error) {
	if a == nil {
		return nil, ErrNotFound
	}
	k, err := ParseKey(a.Path)
	if err != nil {
		return nil, err
	}
	want, err := digest.Parse(a.Digest)
	if err != nil {
		return nil, opError("open", k, err)
	}
	b, err := s.Lookup(ctx, k)
	if err != nil {
		return nil, err
	}
	if err := b.holds(ctx, want, a.Size); err != nil {
		_ = b.Close()
		return nil, opError("open", k, err)
	}
	return b, nil
}

// holds compares the file with what an artifact says of it. A file that is
// intact but another one, since the key was written again, or of another size
// than the artifact claims, is [ErrNotFound]: nothing is wrong with it.
func (b *Blob) holds(ctx context.Context, want digest.Digest, size *int64) error {
	if b.recorded && b.Stat.Digest == want.String() {
		if size == nil || *size == b.Stat.Size {
			return nil
		}
		err := b.Verify(ctx)
		if err == nil {
			err = ErrNotFound // what the artifact says is wrong, not the file
		}
		return fmt.Errorf("%w: %w: want %d bytes, got %d", err, ErrSizeMismatch, *size, b.Stat.Size)
	}
	own, err := digest.Parse(b.Stat.Digest)
	if err != nil {
		return err
	}
	got := own.String()
	if own.Algorithm != want.Algorithm {
		if got, err = b.sum(ctx, want.Algorithm); err != nil {
			return err
		}
	}
	switch {
	case got == want.String():
		b.Stat.Digest = got
		if b.Verified() || own.Algorithm == want.Algorithm {
			return nil
		}
		b.Confirm()
		return nil
	case b.recorded:
		if err := b.Verify(ctx); err != nil {
			return err
		}
		return fmt.Errorf("%w: the key holds other content", ErrNotFound)
	}
	b.Stat.Digest = want.String()
	return b.Corrupt(ctx, got)
}

// Check tells whether the file of an artifact is there and intact. A file
// that is not is put aside, and the error is an [ErrCorrupt]; the next write
// heals. A file that is not there is [ErrNotFound]. Whenever all bytes are
// hashed, a [Keeper] is asked, too, and stores what it lost again.
func (s *Store) Check(ctx context.Context, a *meta.Artifact, depth Depth) error {
	b, err := s.blob(ctx, a)
	if err != nil {
		return opError("check", Key{}, err)
	}
	defer b.Close() //nolint:errcheck // opened for reading
	s.setCurrent(b.Stat.Key)
	switch {
	case depth == Exists:
		return nil
	case depth == Quick && b.Verified() && !s.due(b.Stat.Key):
		return nil
	}
	if err := b.full(ctx); err != nil {
		return opError("check", b.Stat.Key, err)
	}
	return opError("check", b.Stat.Key, s.keep(ctx, b.Stat))
}

// due counts quick checks and reports whether this one must be full.
func (s *Store) due(k Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.verdicts[k]
	v.quick++
	s.verdicts[k] = v
	return v.quick >= s.o.VerifyEvery
}
