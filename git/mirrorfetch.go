// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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
	if c.mirrored(cred) == nil {
		return c.listNow(ctx, w)
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

// mirrorUse is a repository of the mirror while somebody uses it.
type mirrorUse struct {
	ctx  context.Context //nolint:containedctx // of the operation that reads
	m    *Mirror
	repo *mirrorRepo
	s    mirrorStore
}

func (u *mirrorUse) release() error { return u.m.release(u.repo) }

// use opens the repository of a principal; nil: there is none to use now. One
// that cannot be opened or written is as good as damaged.
func (m *Mirror) use(ctx context.Context, c *Client, identity string, f driver.Format) (*mirrorUse, error) {
	repo := m.acquire(c.mirrorKey(identity))
	if repo == nil {
		return nil, nil //nolint:nilnil // see above
	}
	u := &mirrorUse{ctx: ctx, m: m, repo: repo}
	var err error
	if u.s, err = repo.open(ctx, f); err != nil {
		if ctx.Err() == nil {
			err = u.damaged(err)
		}
		return nil, errors.Join(err, u.release())
	}
	return u, nil
}

// damaged drops the repository.
func (u *mirrorUse) damaged(err error) error {
	u.m.drop(u.repo)
	return fmt.Errorf("%w: %w", errMirrorDamaged, err)
}

// broken reports errors of what is on disk: objects, or the files themselves.
func broken(err error) bool {
	var file *fs.PathError
	var link *os.LinkError
	return errors.Is(err, ErrMalformedObject) || errors.Is(err, ErrMalformedPack) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, driver.ErrObjectNotFound) || errors.As(err, &file) || errors.As(err, &link)
}

// fetch returns a commit from the mirror, fetched first when it is not there.
// A nil result without error means: not by the mirror. sparse callers do not
// make the mirror fetch everything.
func (m *Mirror) fetch(ctx context.Context, c *Client, r *Resolved, sparse bool) (*fetched, *mirrorUse, error) {
	cred, err := c.credential(ctx, false)
	if err != nil {
		return nil, nil, err
	}
	if c.mirrored(cred) == nil {
		return nil, nil, nil
	}
	identity := cred.identity()
	f := &fetched{resolved: r}
	shown, err := c.provenShown(ctx, f, identity)
	if err != nil {
		return nil, nil, err
	}
	use, err := m.use(ctx, c, identity, f.resolved.Commit.Format())
	if err != nil || use == nil {
		return nil, nil, err
	}
	repo, want := use.repo, f.resolved.tip().shown
	switch {
	case repo.has(want) && !shown:
		err = c.admits(ctx, f, want)
	case repo.has(want):
	case sparse:
		return nil, nil, use.release()
	default:
		_, err = join(ctx, m, repo.flights, want, 0, func(ctx context.Context) (Hash, error) { return want, c.fill(ctx, f, repo, use.s, want) })
	}
	switch {
	case err == nil:
		return f, use, nil
	case errors.Is(err, errRefused):
		err = nil // the ladder of a plain fetch goes on
	case ctx.Err() == nil && broken(err):
		err = use.damaged(err) // or the server is: without the mirror that shows
	}
	return nil, nil, errors.Join(err, use.release())
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
	fail.Point(fpMirrorFetched)
	if err := repo.add(want); err != nil {
		return err
	}
	fail.Point(fpMirrorAdded)
	if t := f.resolved; !t.Tag.IsZero() {
		return repo.add(t.Commit)
	}
	return nil
}

func (c *Client) fillStore(ctx context.Context, s *session, req wire.Fetch, store mirrorStore) (int64, error) {
	a, r, err := s.fetch(ctx, req)
	if err != nil {
		if s.believed && surprising(err) {
			err = fmt.Errorf("%w: %w", errRefused, err)
		}
		return 0, refusal(err)
	}
	defer r.close()
	_, err = store.Receive(ctx, a.Pack, c.opts.Limits.pack(), req.Thin)
	n := r.body.received()
	s.received += n
	return n, s.failed(err)
}
