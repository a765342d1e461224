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
		if err := s.intact(ctx); err != nil {
			return err
		}
		s.settled = true
		sink, err := open(newTreeFS(ctx, s))
		if err != nil {
			return err
		}
		start := time.Now()
		err = s.export(ctx, "", sink, o)
		s.out.Stats.WriteTime = time.Since(start)
		c.observe(Event{Kind: "write", Bytes: s.out.Stats.Written, Duration: time.Since(start), Err: err})
		return err
	})
	return out, err
}

func (s *snapshot) export(ctx context.Context, prefix string, sink Sink, o CheckoutOptions) error {
	w, err := worktree.NewWalker(source{s.db.reader()}, s.commit.Tree, s.sparse, s.c.opts.Limits.tree())
	if err != nil {
		return err
	}
	x := &exporter{ctx: ctx, s: s, prefix: prefix, sink: sink, o: o, r: source{s.db.reader()}, maxLink: s.c.opts.Limits.tree().Fill().LinkTarget}
	defer x.done()
	var step worktree.Step
	late := []lateLinks{{}}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		more, err := w.Next(&step)
		if err != nil {
			return err
		}
		top := &late[len(late)-1]
		if err := top.before(&step, more, x.entry); err != nil || !more {
			return exportError(err, top.at)
		}
		switch {
		case step.Kind == worktree.Leave:
			late = late[:len(late)-1]
		case step.Kind == worktree.Enter:
			err = sink(prefix+step.Path(), fs.ModeDir|0o755, 0, bytes.NewReader(nil))
			if errors.Is(err, fs.SkipDir) {
				w.Skip()
				err = nil
			} else {
				late = append(late, lateLinks{})
			}
		case step.Entry.Mode == object.ModeGitlink:
			top.list = append(top.list, step)
		default:
			err = x.entry(&step)
		}
		if err != nil {
			return exportError(err, step.Path())
		}
	}
}

func exportError(err error, path string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("export %q: %w", redact.Text(path, 256), err)
}

// lateLinks are the gitlinks of a directory that wait for their turn: Git
// sorts them as files, and they become directories.
type lateLinks struct {
	list []worktree.Step // each one sorts before those in front of it
	at   string
}

// before hands out those that sort before the next step of the directory: all,
// when it ends.
func (l *lateLinks) before(next *worktree.Step, more bool, entry func(*worktree.Step) error) error {
	for len(l.list) > 0 {
		last := &l.list[len(l.list)-1]
		name, dir := string(next.Entry.Name), next.Entry.IsTree() || next.Entry.Mode == object.ModeGitlink
		if more && next.Kind != worktree.Leave && object.Less(name, dir, string(last.Entry.Name), true) {
			return nil
		}
		l.at = last.Path()
		if err := entry(last); err != nil {
			return err
		}
		l.list = l.list[:len(l.list)-1]
	}
	return nil
}

// exporter hands out single entries.
type exporter struct {
	ctx     context.Context //nolint:containedctx // one call's state
	s       *snapshot
	prefix  string // path of the submodule, with a slash
	sink    Sink
	o       CheckoutOptions
	r       source
	maxLink int64
	refused []string
	body    lazyBlob
}

func (x *exporter) entry(step *worktree.Step) error {
	e, path := step.Entry, x.prefix+step.Path()
	switch e.Mode {
	case object.ModeGitlink:
		err := x.sink(path, fs.ModeDir|0o755, 0, bytes.NewReader(nil))
		if errors.Is(err, fs.SkipDir) {
			return nil
		}
		if sub := x.s.subs[step.Path()]; err == nil && sub != nil {
			return sub.export(x.ctx, path+"/", x.sink, x.o)
		}
		return err
	case object.ModeSymlink:
		return x.link(step)
	}
	mode := fs.FileMode(0o644)
	if e.Mode == object.ModeExec {
		mode = 0o755
	}
	if x.s.lfs != nil {
		if f := x.s.lfs.files[step.Path()]; f != nil {
			return x.large(path, mode, f)
		}
	}
	size, err := x.r.BlobSize(e.Hash)
	if err != nil {
		return err
	}
	x.body = lazyBlob{r: x.r.r, id: e.Hash}
	if err := x.sink(path, mode, size, &x.body); err != nil {
		return err
	}
	x.s.root.out.Stats.Files++
	x.s.root.out.Stats.Written += x.body.n
	return x.body.close()
}

func (x *exporter) link(step *worktree.Step) error {
	switch x.o.Symlinks {
	case LinksSkip:
		return nil
	case LinksFail:
		return ErrLink
	}
	size, err := x.r.BlobSize(step.Entry.Hash)
	if err != nil {
		return err
	}
	if size > x.maxLink || size == 0 {
		x.refused = append(x.refused, step.Path())
		return nil
	}
	target, err := x.r.blob(step.Entry.Hash)
	if err != nil {
		return err
	}
	if bytes.IndexByte(target, 0) >= 0 {
		x.refused = append(x.refused, step.Path())
		return nil
	}
	x.s.root.out.Stats.Files++
	return x.sink(x.prefix+step.Path(), fs.ModeSymlink|0o777, size, bytes.NewReader(target))
}

func (x *exporter) done() {
	if len(x.refused) > 0 {
		x.s.root.out.Notes = append(x.s.root.out.Notes, linkNote(x.refused))
	}
}

// lazyBlob inflates on the first Read.
type lazyBlob struct {
	r  objectReader
	id Hash
	n  int64
	b  io.ReadCloser
}

// Read implements io.Reader.
func (l *lazyBlob) Read(p []byte) (int, error) {
	if l.b == nil {
		b, err := l.r.open(l.id)
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
