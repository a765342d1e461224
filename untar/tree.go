// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gitops-kit/sdk/untar/internal/fail"
	"github.com/gitops-kit/sdk/untar/internal/newfile"
)

const (
	smallFile = 1 << 20  // content that is handed over in a buffer
	budgetMax = 16 << 20 // all such content together
)

// tree writes entries below a root. Small files are written by workers while
// the archive is read on.
type tree struct {
	d    *destination
	o    Options
	rep  *Report
	dirs *dirs

	workers int
	running int
	queue   chan task
	group   sync.WaitGroup
	pending sync.WaitGroup
	budget  budget
	failed  atomic.Bool
	once    sync.Once
	err     error
	ended   bool
}

// task is a small file.
type task struct {
	dir   *handle
	base  string
	path  string
	index int
	mode  fs.FileMode
	time  time.Time
	data  *[]byte
	size  int
}

func newTree(d *destination, o Options, rep *Report) (*tree, error) {
	t := &tree{d: d, o: o, rep: rep, workers: jobs(o.Jobs)}
	t.dirs = newDirs(d.root, o.AllowExisting, rep, t.pending.Wait)
	t.queue = make(chan task, 64)
	t.budget.init(budgetMax)
	var err error
	t.dirs.root.place, err = newfile.Open(d.root)
	return t, err
}

func (t *tree) add(e *Entry, b *body, again bool) error {
	if t.failed.Load() {
		return t.drain()
	}
	defer fail.Point(failAfterEntry)
	switch e.Type {
	case Dir:
		h, err := t.dirs.get(e.Path)
		if err != nil {
			return t.wrap(e, err)
		}
		h.release()
		return nil
	case Link:
		return nil // made at the end
	}
	return t.file(e, b, again)
}

// wrap names the entry in an error of the file system.
func (t *tree) wrap(e *Entry, err error) error {
	if err == nil || isContent(err) {
		return err
	}
	return entryError(t.rep.Files, e.Path, err)
}

func (t *tree) file(e *Entry, b *body, again bool) error {
	if again {
		t.pending.Wait() // the earlier one is written before it is replaced
		if err := t.remove(e.Path); err != nil {
			return t.wrap(e, err)
		}
		t.rep.Files--
	}
	dir := parent(e.Path)
	base := e.Path
	if dir != "." {
		base = e.Path[len(dir)+1:]
	}
	h, err := t.dirs.get(dir)
	if err != nil {
		return t.wrap(e, err)
	}
	t.rep.Files++
	k := task{dir: h, base: base, path: e.Path, index: t.rep.Files - 1, mode: e.Mode, time: e.Time, size: int(e.Size)}
	if e.Size > smallFile {
		defer h.release()
		return t.wrap(e, t.write(&k, b))
	}
	t.budget.take(e.Size)
	k.data = getBuffer(e.Size)
	if _, err := io.ReadFull(b, (*k.data)[:k.size]); err != nil {
		h.release()
		t.budget.give(e.Size)
		putBuffer(k.data)
		return err
	}
	t.dispatch(k)
	return nil
}

// dispatch gives a task to a worker; workers start when there is work.
func (t *tree) dispatch(k task) {
	t.pending.Add(1)
	if t.running < t.workers {
		t.running++
		t.group.Go(func() {
			for k := range t.queue {
				t.run(&k)
			}
		})
	}
	t.queue <- k
}

func (t *tree) run(k *task) {
	defer t.pending.Done()
	if !t.failed.Load() {
		if err := t.write(k, nil); err != nil {
			t.fail(entryError(k.index, k.path, err))
		}
	}
	k.dir.release()
	t.budget.give(int64(k.size))
	putBuffer(k.data)
}

func (t *tree) fail(err error) {
	t.once.Do(func() { t.err = err; t.failed.Store(true) })
}

// write creates one file with its content, from the task or from b.
func (t *tree) write(k *task, b *body) error {
	name := k.base
	if t.o.AllowExisting {
		name = temporary()
	}
	f, err := k.dir.place.Create(name, k.mode)
	if err != nil {
		return err
	}
	if b != nil {
		_, err = b.WriteTo(f)
	} else {
		_, err = f.Write((*k.data)[:k.size])
	}
	if err == nil && t.o.KeepTimes && !k.time.IsZero() {
		err = f.SetTime(clamp(k.time))
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if t.o.AllowExisting && err == nil {
		err = replace(k.dir.root, name, k.base)
	}
	if err != nil && t.o.AllowExisting {
		_ = k.dir.root.Remove(name)
	}
	return err
}

// replace renames a finished file over what is in its way; of directories
// only an empty one.
func replace(dir *os.Root, name, base string) error {
	err := dir.Rename(name, base)
	if err == nil {
		return nil
	}
	if info, serr := dir.Lstat(base); serr != nil || !info.IsDir() {
		return err
	}
	if err := dir.Remove(base); err != nil {
		return err
	}
	return dir.Rename(name, base)
}

// clamp keeps a time within what every file system can hold.
func clamp(at time.Time) time.Time {
	if oldest := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC); at.Before(oldest) {
		return oldest
	}
	if now := time.Now(); at.After(now) {
		return now
	}
	return at
}

// remove unlinks a file that this extraction wrote.
func (t *tree) remove(path string) error {
	if t.failed.Load() {
		return t.err
	}
	h, err := t.dirs.get(parent(path))
	if err != nil {
		return err
	}
	defer h.release()
	return h.root.Remove(path[len(path)-len(base(path)):])
}

func base(path string) string {
	if dir := parent(path); dir != "." {
		return path[len(dir)+1:]
	}
	return path
}

// end makes the links, after all files.
func (t *tree) end(l *links) error {
	if err := t.drain(); err != nil {
		return err
	}
	for _, k := range l.list {
		if k.kept == "" {
			continue
		}
		e := &Entry{Path: k.path, Type: Link, Target: k.kept}
		if err := t.link(e); err != nil {
			return t.wrap(e, err)
		}
	}
	return nil
}

func (t *tree) link(e *Entry) error {
	h, err := t.dirs.get(parent(e.Path))
	if err != nil {
		return err
	}
	defer h.release()
	name := base(e.Path)
	if !t.o.AllowExisting {
		return h.root.Symlink(e.Target, name)
	}
	tmp := temporary()
	if err := h.root.Symlink(e.Target, tmp); err != nil {
		return err
	}
	if err := replace(h.root, tmp, name); err != nil {
		_ = h.root.Remove(tmp)
		return err
	}
	return nil
}

// drain waits for all workers and returns the first error.
func (t *tree) drain() error {
	if !t.ended {
		t.ended = true
		close(t.queue)
		t.group.Wait()
	}
	return t.err
}

// finish ends the workers and closes all directories.
func (t *tree) finish() error {
	err := t.drain()
	if cerr := t.dirs.close(); err == nil && cerr != nil {
		err = fmt.Errorf("extract: %w", cerr)
	}
	return err
}

// budget bounds the bytes of small files in memory.
type budget struct {
	mu   sync.Mutex
	cond *sync.Cond
	left int64
}

func (b *budget) init(n int64) {
	b.left = n
	b.cond = sync.NewCond(&b.mu)
}

func (b *budget) take(n int64) {
	b.mu.Lock()
	for b.left < n {
		b.cond.Wait()
	}
	b.left -= n
	b.mu.Unlock()
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	b.left += n
	b.mu.Unlock()
	b.cond.Signal()
}
