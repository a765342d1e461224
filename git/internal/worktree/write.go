// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package worktree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/newfile"
	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/internal/redact"
)

// LinkPolicy says what happens to symbolic links.
type LinkPolicy uint8

const (
	// LinksKeep writes them unchanged.
	LinksKeep LinkPolicy = iota
	// LinksSkip leaves them out.
	LinksSkip
	// LinksFail makes one an error.
	LinksFail
)

// ErrLink reports a symbolic link where the policy is to fail.
var ErrLink = errors.New("symbolic link refused by policy")

// Blobs writes the content of blobs; each worker has one of its own.
type Blobs interface {
	WriteBlob(id driver.Hash, w io.Writer) error
}

// Writer writes one tree below a root that is fresh and empty.
type Writer struct {
	Source  Source
	Open    func() Blobs // one per worker
	Limits  Limits
	Links   LinkPolicy
	Workers int // zero: the number of processors, at most 4
	// Replace is asked for each file: a not-nil function writes the content
	// instead of the blob. Nil: blobs only.
	Replace func(path string) func(w io.Writer) error
	// Wrote is told the state of each regular file written, by several
	// goroutines. Nil: nobody is.
	Wrote func(path string, info fs.FileInfo)
}

// Report tells what Write did.
type Report struct {
	Files, Bytes int64
	Refused      []string // links left out because the system would not have them
}

// batch is a run of files of one directory.
type batch struct {
	dir   *handle
	path  string
	items []object.Entry
}

const batchSize = 48

// handle is a directory that closes when its last user is done.
type handle struct {
	root  *os.Root
	place newfile.Dir // for files; opened with the first of them
	ready bool
	refs  atomic.Int32
}

// forFiles makes files possible. Only the walk calls it, before the first of
// them is handed out.
func (h *handle) forFiles() (err error) {
	if !h.ready {
		h.place, err = newfile.Open(h.root)
		h.ready = err == nil
	}
	return err
}

func (h *handle) release() {
	if h.refs.Add(-1) == 0 {
		if h.ready {
			_ = h.place.Close()
		}
		_ = h.root.Close()
	}
}

type link struct {
	path string
	id   driver.Hash
}

type writing struct {
	*Writer
	ctx    context.Context //nolint:containedctx // one call's state
	cancel context.CancelCauseFunc
	jobs   chan batch
	idle   chan []object.Entry // of batches that are done
	links  []link
	files  atomic.Int64
	bytes  atomic.Int64
}

// Write writes the tree below root. What it wrote before an error stays; the
// caller removes it.
func (w *Writer) Write(ctx context.Context, root *os.Root, tree driver.Hash, sparse *Sparse) (Report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := &writing{Writer: w, ctx: ctx, cancel: cancel, jobs: make(chan batch, 16)}
	n := w.Workers
	if n <= 0 {
		n = min(runtime.GOMAXPROCS(0), 4)
	}
	s.idle = make(chan []object.Entry, cap(s.jobs)+n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(s.work)
	}
	err := s.walk(root, tree, sparse)
	if err != nil {
		cancel(err)
	}
	close(s.jobs)
	wg.Wait()
	if ctx.Err() != nil {
		return s.report(nil), context.Cause(ctx)
	}
	refused, err := s.writeLinks(root)
	return s.report(refused), err
}

func (s *writing) report(refused []string) Report {
	return Report{Files: s.files.Load(), Bytes: s.bytes.Load(), Refused: refused}
}

// walk makes the directories and hands the files out.
func (s *writing) walk(root *os.Root, tree driver.Hash, sparse *Sparse) error {
	w, err := NewWalker(s.Source, tree, sparse, s.Limits)
	if err != nil {
		return err
	}
	top, err := root.OpenRoot(".")
	if err != nil {
		return err
	}
	stack := []*dirState{newDirState(top, "")}
	defer func() {
		for _, d := range stack {
			d.handle.release()
		}
	}()
	var step Step
	for {
		more, err := w.Next(&step)
		if err != nil {
			return err
		}
		d := stack[len(stack)-1]
		if !more {
			return s.flush(d)
		}
		switch step.Kind {
		case Enter:
			sub, err := makeDir(d.handle.root, &step)
			if err != nil {
				return err
			}
			stack = append(stack, newDirState(sub, step.Path()+"/"))
		case Leave:
			if err := s.flush(d); err != nil {
				return err
			}
			d.handle.release()
			stack = stack[:len(stack)-1]
		default:
			if err := s.file(d, &step); err != nil {
				return err
			}
		}
	}
}

type dirState struct {
	handle *handle
	path   string
	items  []object.Entry
}

func newDirState(r *os.Root, path string) *dirState {
	d := &dirState{handle: &handle{root: r}, path: path}
	d.handle.refs.Store(1)
	return d
}

func makeDir(parent *os.Root, step *Step) (*os.Root, error) {
	name := string(step.Entry.Name)
	if err := parent.Mkdir(name, 0o755); err != nil {
		return nil, collision(step.Path(), err)
	}
	r, err := parent.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("open directory %q: %w", redact.Text(step.Path(), 256), err)
	}
	return r, nil
}

// collision explains why something exists already: the directory was empty,
// so only a file system that ignores case can have made two names one.
func collision(path string, err error) error {
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%q: same name as another path on this file system: %w", redact.Text(path, 256), ErrUnsafePath)
	}
	return fmt.Errorf("write %q: %w", redact.Text(path, 256), err)
}

func (s *writing) file(d *dirState, step *Step) error {
	e := step.Entry
	switch e.Mode {
	case object.ModeGitlink:
		if err := d.handle.root.Mkdir(string(e.Name), 0o755); err != nil {
			return collision(step.Path(), err)
		}
		return nil
	case object.ModeSymlink:
		switch s.Links {
		case LinksSkip:
		case LinksFail:
			return fmt.Errorf("%q: %w", redact.Text(step.Path(), 256), ErrLink)
		default:
			s.links = append(s.links, link{path: step.Path(), id: e.Hash})
		}
		return nil
	}
	if d.items == nil {
		d.items = s.items()
	}
	d.items = append(d.items, e)
	if len(d.items) >= batchSize {
		return s.flush(d)
	}
	return nil
}

// items returns an empty slice, of a batch that is done where there is one.
func (s *writing) items() []object.Entry {
	select {
	case b := <-s.idle:
		return b
	default:
		return make([]object.Entry, 0, batchSize)
	}
}

func (s *writing) flush(d *dirState) error {
	if len(d.items) == 0 {
		return nil
	}
	if err := d.handle.forFiles(); err != nil {
		return fmt.Errorf("open directory %q: %w", redact.Text(d.path, 256), err)
	}
	d.handle.refs.Add(1)
	select {
	case s.jobs <- batch{dir: d.handle, path: d.path, items: d.items}:
		d.items = nil
		return nil
	case <-s.ctx.Done():
		d.handle.release()
		return context.Cause(s.ctx)
	}
}

func (s *writing) work() {
	blobs := s.Open()
	for b := range s.jobs {
		for i := range b.items {
			if s.ctx.Err() != nil {
				break
			}
			if err := s.write(blobs, b.dir, b.path, b.items[i]); err != nil {
				s.cancel(err)
			}
		}
		b.dir.release()
		clear(b.items)
		select {
		case s.idle <- b.items[:0]:
		default:
		}
	}
}

func (s *writing) write(blobs Blobs, dir *handle, path string, e object.Entry) error {
	name := string(e.Name)
	perm := fs.FileMode(0o644)
	if e.Mode == object.ModeExec {
		perm = 0o755
	}
	f, err := dir.place.Create(name, perm)
	if err != nil {
		return collision(path+name, err)
	}
	c := &counter{w: f}
	var fill func(io.Writer) error
	if s.Replace != nil {
		fill = s.Replace(path + name)
	}
	if fill != nil {
		err = fill(c)
	} else {
		err = blobs.WriteBlob(e.Hash, c)
	}
	if err == nil && s.Wrote != nil {
		var info fs.FileInfo
		if info, err = dir.root.Lstat(name); err == nil {
			s.Wrote(path+name, info)
		}
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", redact.Text(path+name, 256), err)
	}
	s.files.Add(1)
	s.bytes.Add(c.n)
	return nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}

// writeLinks comes last, so that no file is written through a link.
func (s *writing) writeLinks(root *os.Root) ([]string, error) {
	if len(s.links) == 0 {
		return nil, nil
	}
	blobs, lim := s.Open(), s.Limits.Fill().LinkTarget
	var refused []string
	for _, l := range s.links {
		if s.ctx.Err() != nil {
			return refused, context.Cause(s.ctx)
		}
		size, err := s.Source.BlobSize(l.id)
		if err != nil {
			return refused, err
		}
		var b strings.Builder
		if size <= lim {
			if err := blobs.WriteBlob(l.id, &b); err != nil {
				return refused, err
			}
		}
		target := b.String()
		if size > lim || target == "" || strings.IndexByte(target, 0) >= 0 {
			refused = append(refused, l.path)
			continue
		}
		if err := symlink(root, target, l.path); err != nil {
			if errors.Is(err, fs.ErrExist) {
				return refused, collision(l.path, err)
			}
			if !errors.Is(err, syscall.ENAMETOOLONG) && !errors.Is(err, syscall.EINVAL) {
				return refused, collision(l.path, err)
			}
			refused = append(refused, l.path)
			continue
		}
		s.files.Add(1)
	}
	return refused, nil
}

// symlink makes one link relative to its parent directory, so that a long
// target is not mistaken for a long path.
func symlink(root *os.Root, target, path string) error {
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return root.Symlink(target, path)
	}
	dir, err := root.OpenRoot(path[:i])
	if err != nil {
		return err
	}
	return errors.Join(dir.Symlink(target, path[i+1:]), dir.Close())
}
