// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/fail"
	"github.com/gitops-kit/sdk/git/internal/wire"
)

// proofAge is how long a listing that a Resolve made vouches for its commit.
const proofAge = time.Minute

// list shares one listing among callers that ask for the same.
func (m *Mirror) list(ctx context.Context, c *Client, w *want) (*listing, error) {
	cred, err := c.credential(ctx, false)
	if err != nil {
		return nil, err
	}
	identity := cred.identity()
	key := fmt.Sprint(c.mirrorKey(identity), w.kind, w.name, w.prefixes)
	l, err := join(ctx, m, m.lists, key, m.o.ListReuse, func(ctx context.Context) (*listing, error) { return c.listNow(ctx, w) })
	if err != nil {
		return nil, err
	}
	mine := *l
	mine.seen.client = c // the same principal: the key says so
	return &mine, nil
}

// mirrorUse is a repository of the mirror while a snapshot reads it.
type mirrorUse struct {
	ctx  context.Context //nolint:containedctx // of the operation that reads
	m    *Mirror
	repo *mirrorRepo
	s    mirrorStore
}

func (u *mirrorUse) release() error { return u.m.release(u.repo) }

// fetch returns a commit from the mirror, fetched first when it is not there.
// A nil result without error means: not by the mirror. sparse callers do not
// make the mirror fetch everything.
func (m *Mirror) fetch(ctx context.Context, c *Client, r *Resolved, sparse bool) (*fetched, *mirrorUse, error) {
	cred, err := c.credential(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	identity := cred.identity()
	f := &fetched{resolved: r}
	shown, err := c.provenShown(ctx, f, identity)
	if err != nil {
		return nil, nil, err
	}
	repo := m.acquire(c.mirrorKey(identity))
	use := &mirrorUse{ctx: ctx, m: m, repo: repo}
	if use.s, err = repo.open(ctx, f.resolved.Commit.Format()); err != nil {
		return nil, nil, errors.Join(err, use.release())
	}
	want := f.resolved.Commit
	if t := f.resolved.Tag; !t.IsZero() {
		want = t
	}
	if repo.has(want) {
		if !shown {
			err = c.admits(ctx, f, want)
		}
		if err == nil {
			return f, use, nil
		}
		return nil, nil, errors.Join(err, use.release())
	}
	if sparse {
		return nil, nil, use.release()
	}
	_, err = join(ctx, m, repo.flights, want, 0, func(ctx context.Context) (Hash, error) { return want, c.fill(ctx, f, repo, use.s, want) })
	if err != nil {
		if rerr := use.release(); errors.Is(err, errRefused) {
			return nil, nil, rerr // the ladder of a plain fetch goes on
		}
		return nil, nil, err
	}
	return f, use, nil
}

// provenShown reports whether the server showed the commit to the credential just
// now: by the listing that resolved it, or by one made here.
func (c *Client) provenShown(ctx context.Context, f *fetched, identity string) (bool, error) {
	r := f.resolved
	if p := r.seen; p.client == c && p.identity == identity && time.Since(p.at) < proofAge {
		return true, nil
	}
	if r.Reference.Commit != "" {
		return false, nil
	}
	again, err := c.resolve(ctx, r.Reference, ResolveOptions{})
	if err != nil {
		return false, err
	}
	f.requests++
	return again.Commit == r.Commit && again.Tag == r.Tag, nil
}

// admits asks the server for an object that we have: it answers with an empty
// pack, or refuses.
func (c *Client) admits(ctx context.Context, f *fetched, id Hash) error {
	s, err := c.open(ctx, uploadPack, nil)
	if err != nil {
		return err
	}
	defer s.close()
	dir, remove, err := c.tempDir()
	if err != nil {
		return err
	}
	p, err := c.fetchPack(ctx, s, wire.Fetch{Wants: []Hash{id}, Haves: []Hash{id}, Shallow: []Hash{id}, Depth: s.depth(1)}, dir)
	f.count(s)
	if err == nil {
		err = p.Close()
	}
	return errors.Join(err, remove())
}

// fill fetches one commit into the mirror, as a difference to what is there.
func (c *Client) fill(ctx context.Context, f *fetched, repo *mirrorRepo, store mirrorStore, want Hash) error {
	if repo.has(want) {
		return nil
	}
	s, err := c.open(ctx, uploadPack, nil)
	if err != nil {
		return err
	}
	defer s.close()
	req := wire.Fetch{Wants: []Hash{want}, Depth: s.depth(1)}
	if req.Depth == 1 {
		for _, id := range repo.newest(16) {
			if t, _, err := store.Stat(id); err == nil && t == driver.Commit {
				req.Haves, req.Shallow = append(req.Haves, id), append(req.Shallow, id)
			}
		}
		req.Thin = len(req.Haves) > 0
	}
	start := time.Now()
	n, err := c.fillStore(ctx, s, req, store)
	f.count(s)
	f.about(s)
	c.observe(Event{Kind: "fetch", Protocol: s.protocol(), Bytes: n, Duration: time.Since(start), Err: err})
	if err != nil {
		return err
	}
	if _, _, err := store.Stat(want); err != nil {
		return fmt.Errorf("pack lacks %s: %w", want, ErrMismatch)
	}
	fail.Point("mirror-after-fetch")
	if err := repo.add(want); err != nil {
		return err
	}
	fail.Point("mirror-after-add")
	if t := f.resolved; !t.Tag.IsZero() {
		return repo.add(t.Commit)
	}
	return nil
}

func (c *Client) fillStore(ctx context.Context, s *session, req wire.Fetch, store mirrorStore) (int64, error) {
	a, r, err := s.fetch(ctx, req)
	if err != nil {
		var remote *RemoteError
		if errors.As(err, &remote) || errors.Is(err, io.ErrUnexpectedEOF) || s.believed && surprising(err) {
			err = fmt.Errorf("%w: %w", errRefused, err)
		}
		return 0, err
	}
	defer r.close()
	_, err = store.Receive(ctx, a.Pack, c.opts.Limits.pack(), req.Thin)
	n := r.body.received()
	s.received += n
	return n, s.failed(err)
}

// reader implements objectDB.
func (u *mirrorUse) reader() objectReader { return mirrorReader{u} }

type mirrorReader struct{ u *mirrorUse }

// judge drops the mirror when its objects are not what they were; what it says
// to have, it has as a whole.
func (r mirrorReader) judge(err error) error {
	if errors.Is(err, ErrMalformedObject) || errors.Is(err, ErrMalformedPack) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, driver.ErrObjectNotFound) {
		r.u.m.drop(r.u.repo)
		return fmt.Errorf("%w: %w", errMirrorDamaged, err)
	}
	return err
}

func (r mirrorReader) stat(id driver.Hash) (driver.Type, int64, error) {
	t, n, err := r.u.s.Stat(id)
	return t, n, r.judge(err)
}

func (r mirrorReader) get(id driver.Hash) (driver.Type, []byte, error) {
	t, b, err := r.u.s.Get(r.u.ctx, id)
	return t, b, r.judge(err)
}

func (r mirrorReader) open(id driver.Hash) (io.ReadCloser, error) {
	_, b, err := r.get(id)
	return io.NopCloser(bytes.NewReader(b)), err
}

func (r mirrorReader) copyTo(id driver.Hash, w io.Writer) error {
	_, b, err := r.get(id)
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}
