// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/git/internal/redact"
	"github.com/gitops-kit/sdk/git/internal/worktree"
)

// Sink takes the entries of an export in bytewise order of their paths, a
// directory before its content. size is that of the content; the reader is
// valid during the call only and need not be read. The reader of a link gives
// its target, that of a directory is empty. fs.SkipDir for a directory skips
// what is below it. A gitlink is an empty directory.
type Sink func(path string, mode fs.FileMode, size int64, r io.Reader) error

// Export hands the files of the resolved commit to a Sink, without a
// directory on disk. open is called once, after everything was fetched and
// verified, with the commit's tree for whoever wants to read ignore files
// first.
func (c *Client) Export(ctx context.Context, r *Resolved, open func(tree fs.FS) (Sink, error), o CheckoutOptions) (*Checkout, error) {
	out, err := c.export(ctx, r, open, o)
	return out, c.wrap(ctx, "export", refText(r), err)
}

func (c *Client) export(ctx context.Context, r *Resolved, open func(tree fs.FS) (Sink, error), o CheckoutOptions) (out *Checkout, err error) {
	if open == nil {
		return nil, fmt.Errorf("%w: no sink", ErrInvalidOption)
	}
	err = c.withSnapshot(ctx, r, o, 1, func(s *snapshot) error {
		out = s.out
		sink, err := open(newTreeFS(s))
		if err != nil {
			return err
		}
		start := time.Now()
		err = s.export(ctx, sink, o)
		s.out.Stats.WriteTime = time.Since(start)
		c.observe(Event{Kind: "write", Bytes: s.out.Stats.Written, Duration: time.Since(start), Err: err})
		return err
	})
	return out, err
}

func (s *snapshot) export(ctx context.Context, sink Sink, o CheckoutOptions) error {
	w, err := worktree.NewWalker(s.source(s.pack.NewReader()), s.commit.Tree, s.sparse, s.c.opts.Limits.tree())
	if err != nil {
		return err
	}
	x := &exporter{s: s, sink: sink, links: o.Symlinks, r: s.pack.NewReader(), maxLink: s.c.opts.Limits.tree().Fill().LinkTarget}
	defer x.done()
	var step worktree.Step
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		more, err := w.Next(&step)
		if err != nil || !more {
			return err
		}
		switch step.Kind {
		case worktree.Leave:
			continue
		case worktree.Enter:
			err = sink(step.Path(), fs.ModeDir|0o755, 0, bytes.NewReader(nil))
			if errors.Is(err, fs.SkipDir) {
				w.Skip()
				err = nil
			}
		default:
			err = x.entry(&step)
		}
		if err != nil {
			return fmt.Errorf("export %q: %w", redact.Text(step.Path(), 256), err)
		}
	}
}

// exporter hands out single entries.
type exporter struct {
	s       *snapshot
	sink    Sink
	links   LinkPolicy
	r       *packfile.Reader
	maxLink int64
	refused []string
	body    lazyBlob
}

func (x *exporter) entry(step *worktree.Step) error {
	e, path := step.Entry, step.Path()
	switch e.Mode {
	case object.ModeGitlink:
		err := x.sink(path, fs.ModeDir|0o755, 0, bytes.NewReader(nil))
		if errors.Is(err, fs.SkipDir) {
			return nil
		}
		return err
	case object.ModeSymlink:
		return x.link(step)
	}
	mode := fs.FileMode(0o644)
	if e.Mode == object.ModeExec {
		mode = 0o755
	}
	i, err := findBlob(x.s.pack, e.Hash)
	if err != nil {
		return err
	}
	size := x.s.pack.ObjectSize(i)
	x.body = lazyBlob{r: x.r, i: i}
	if err := x.sink(path, mode, size, &x.body); err != nil {
		return err
	}
	x.s.out.Stats.Files++
	x.s.out.Stats.Written += x.body.n
	return x.body.close()
}

func (x *exporter) link(step *worktree.Step) error {
	switch x.links {
	case LinksSkip:
		return nil
	case LinksFail:
		return ErrLink
	}
	i, err := findBlob(x.s.pack, step.Entry.Hash)
	if err != nil {
		return err
	}
	size := x.s.pack.ObjectSize(i)
	if size > x.maxLink || size == 0 {
		x.refused = append(x.refused, step.Path())
		return nil
	}
	target, err := x.r.Get(i)
	if err != nil {
		return err
	}
	if bytes.IndexByte(target, 0) >= 0 {
		x.refused = append(x.refused, step.Path())
		return nil
	}
	x.s.out.Stats.Files++
	return x.sink(step.Path(), fs.ModeSymlink|0o777, size, bytes.NewReader(target))
}

func (x *exporter) done() {
	if len(x.refused) > 0 {
		x.s.out.Notes = append(x.s.out.Notes, linkNote(x.refused))
	}
}

// lazyBlob inflates on the first Read.
type lazyBlob struct {
	r *packfile.Reader
	i int
	n int64
	b io.ReadCloser
}

// Read implements io.Reader.
func (l *lazyBlob) Read(p []byte) (int, error) {
	if l.b == nil {
		b, err := l.r.Open(l.i)
		if err != nil {
			return 0, err
		}
		l.b = b
	}
	n, err := l.b.Read(p)
	l.n += int64(n)
	return n, err
}

func (l *lazyBlob) close() error {
	if l.b == nil {
		return nil
	}
	return l.b.Close()
}
