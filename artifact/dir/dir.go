// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/artifact"
)

// Options control a [Driver]. The zero value writes and does not wait.
type Options struct {
	// ReadOnly opens without the lock; everything that writes then fails with
	// artifact.ErrReadOnly.
	ReadOnly bool
	// LockTimeout is how long New waits for another process to give up the
	// lock. Zero: not at all.
	LockTimeout time.Duration
}

// Driver keeps files below a local directory. It is safe for concurrent use.
type Driver struct {
	base     string
	root     *os.Root
	lock     *os.File
	readOnly bool
	hook     func(op, name string) error // tests: called before each operation that changes something

	mu      sync.Mutex
	objects map[string]*object
	temps   map[string]struct{} // temporary files of this process
	closed  bool
}

// object serialises the changes of one object's directory.
type object struct {
	mu    sync.Mutex
	users int
	index *index
	stamp string // identity of the index file that was read
}

var (
	_ artifact.Driver      = (*Driver)(nil)
	_ artifact.Linker      = (*Driver)(nil)
	_ artifact.Quarantiner = (*Driver)(nil)
	_ artifact.Spacer      = (*Driver)(nil)
	_ artifact.Sweeper     = (*Driver)(nil)
)

const (
	lockName       = ".lock"
	quarantineName = ".quarantine"
	indexName      = ".index.json"
	dirMode        = 0o700
	fileMode       = 0o600
)

// New opens the directory base, which is made if it is not there, and takes
// its lock, which lasts until Close or the end of the process. If another
// process has it, the error is artifact.ErrLocked.
func New(base string, o Options) (*Driver, error) {
	if !o.ReadOnly {
		if err := os.MkdirAll(base, dirMode); err != nil {
			return nil, fmt.Errorf("open storage: %w", err)
		}
	}
	abs, err := filepath.Abs(base)
	if err != nil {
		return nil, fmt.Errorf("open storage: %w", err)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("open storage: %w", err)
	}
	d := &Driver{base: abs, root: root, readOnly: o.ReadOnly, objects: map[string]*object{}, temps: map[string]struct{}{}}
	if !o.ReadOnly {
		if err := d.acquire(o.LockTimeout); err != nil {
			_ = root.Close()
			return nil, fmt.Errorf("open storage: %w", err)
		}
	}
	return d, nil
}

// acquire takes the lock file.
func (d *Driver) acquire(timeout time.Duration) error {
	f, err := d.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE|openFlags, fileMode)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(timeout); ; {
		err = tryLock(f)
		if err == nil {
			d.lock = f
			return nil
		}
		if !errors.Is(err, artifact.ErrLocked) || !time.Now().Before(deadline) {
			_ = f.Close()
			return err
		}
		<-time.After(10 * time.Millisecond)
	}
}

// Close gives up the lock. Files that are open stay readable.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	var err error
	if d.lock != nil {
		err = d.lock.Close()
	}
	return errors.Join(err, d.root.Close())
}

// do asks the hook before an operation.
func (d *Driver) do(op, name string) error {
	if d.hook != nil {
		return d.hook(op, name)
	}
	return nil
}

// hold locks an object.
func (d *Driver) hold(dir string) *object {
	d.mu.Lock()
	o, ok := d.objects[dir]
	if !ok {
		o = &object{}
		d.objects[dir] = o
	}
	o.users++
	d.mu.Unlock()
	o.mu.Lock()
	return o
}

const maxIdleObjects = 4096

func (d *Driver) letGo(dir string, o *object) {
	o.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	o.users--
	if o.users == 0 && len(d.objects) > maxIdleObjects {
		delete(d.objects, dir)
	}
}

// real checks that every directory on the way to an object is a directory
// and not a link. Missing ones are fs.ErrNotExist.
func (d *Driver) real(dir string) error {
	for i := 0; i <= len(dir); i++ {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		info, err := d.root.Lstat(dir[:i])
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%w: %q is not a directory", artifact.ErrCorrupt, dir[:i])
		}
	}
	return nil
}

// file is an open stored file.
type file struct {
	*os.File
	identity string
}

// Identity implements artifact.Identified.
func (f *file) Identity() string { return f.identity }

// OSFile gives the server the file itself, so that the kernel can send it.
func (f *file) OSFile() *os.File { return f.File }

// Get implements [artifact.Driver].
func (d *Driver) Get(ctx context.Context, key artifact.Key) (io.ReadSeekCloser, artifact.Stat, error) {
	if err := ctx.Err(); err != nil {
		return nil, artifact.Stat{}, err
	}
	if err := key.Validate(); err != nil {
		return nil, artifact.Stat{}, err
	}
	// A file may be replaced between two looks at it. Only the last attempt
	// keeps writers out: they hold the object during an fsync.
	for range 2 {
		f, st, err := d.get(key, nil)
		if !errors.Is(err, errRaced) {
			return f, st, err
		}
	}
	dir := key.Object().String()
	o := d.hold(dir)
	defer d.letGo(dir, o)
	return d.get(key, o)
}

var errRaced = errors.New("replaced while it was opened")

// get opens a file. held is its object when the caller holds that, else nil.
func (d *Driver) get(key artifact.Key, held *object) (io.ReadSeekCloser, artifact.Stat, error) {
	dir := key.Object().String()
	if err := d.real(dir); err != nil {
		return nil, artifact.Stat{}, notFound(err)
	}
	info, err := d.root.Lstat(key.String())
	if err != nil {
		return nil, artifact.Stat{}, notFound(err)
	}
	if info.Mode().Type() == fs.ModeSymlink {
		if key, err = d.resolve(key); err != nil {
			return nil, artifact.Stat{}, err
		}
		if info, err = d.root.Lstat(key.String()); err != nil {
			return nil, artifact.Stat{}, notFound(err)
		}
	}
	if !info.Mode().IsRegular() {
		return nil, artifact.Stat{}, fmt.Errorf("%w: %q is not a regular file", artifact.ErrCorrupt, key)
	}
	f, err := d.root.OpenFile(key.String(), os.O_RDONLY|openFlags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, artifact.Stat{}, errRaced
	}
	if err != nil {
		return nil, artifact.Stat{}, err
	}
	now, err := f.Stat()
	if err == nil && !os.SameFile(info, now) {
		err = errRaced
	}
	var st artifact.Stat
	if err == nil {
		st, err = d.stat(key, now, held)
	}
	if err != nil {
		_ = f.Close()
		return nil, artifact.Stat{}, err
	}
	return &file{File: f, identity: identity(now)}, st, nil
}

func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return artifact.ErrNotFound
	}
	return err
}

// resolve reads a link. Only a name in the same directory is accepted, also
// in the form that the established storage writes: the absolute path of a
// file in that directory.
func (d *Driver) resolve(key artifact.Key) (artifact.Key, error) {
	target, err := d.root.Readlink(key.String())
	if err != nil {
		return key, notFound(err)
	}
	if i := strings.LastIndexByte(target, '/'); i >= 0 {
		if !filepath.IsAbs(target) || !strings.HasSuffix(target[:i], "/"+key.Object().String()) {
			return key, fmt.Errorf("%w: %q is a foreign link", artifact.ErrCorrupt, key)
		}
		target = target[i+1:]
	}
	to := key
	to.File = target
	if to.Validate() != nil {
		return key, fmt.Errorf("%w: %q is a foreign link", artifact.ErrCorrupt, key)
	}
	return to, nil
}

// stat combines an open file with its record. A file that its name does not
// stand for any more has none: the record of the name is another file's.
func (d *Driver) stat(key artifact.Key, info fs.FileInfo, o *object) (artifact.Stat, error) {
	dir := key.Object().String()
	if o == nil {
		o = d.hold(dir)
		defer d.letGo(dir, o)
	}
	if now, err := d.root.Lstat(key.String()); errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(now, info) {
		return artifact.Stat{}, errRaced
	} else if err != nil {
		return artifact.Stat{}, err
	}
	if err := d.load(dir, o); err != nil {
		return artifact.Stat{}, err
	}
	e, ok := o.index.find(key.File, inode(info))
	if !ok {
		// Not recorded: the whole directory decides about the order.
		all, err := d.list(key.Object(), o)
		if err != nil {
			return artifact.Stat{}, err
		}
		for _, st := range all {
			if st.Key == key {
				return st, nil
			}
		}
		return artifact.Stat{}, errRaced
	}
	return artifact.Stat{Key: key, Size: info.Size(), Digest: e.Digest, Seq: e.Seq, Written: e.Written}, nil
}

// List implements [artifact.Driver].
func (d *Driver) List(ctx context.Context, key artifact.Key) ([]artifact.Stat, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := key.ValidateObject(); err != nil {
		return nil, err
	}
	key = key.Object()
	dir := key.String()
	o := d.hold(dir)
	defer d.letGo(dir, o)
	if err := d.real(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, err
	}
	if err := d.load(dir, o); err != nil {
		return nil, err
	}
	return d.list(key, o)
}

// list reads the directory of an object that is held.
func (d *Driver) list(key artifact.Key, o *object) ([]artifact.Stat, error) {
	entries, err := d.readDir(key.String())
	if err != nil {
		return nil, err
	}
	var out []artifact.Stat
	var unknown []int
	for _, e := range entries {
		key.File = e.Name()
		if !e.Type().IsRegular() || key.Validate() != nil {
			continue
		}
		info, err := d.root.Lstat(key.String())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		st := artifact.Stat{Key: key, Size: info.Size(), Written: info.ModTime()}
		if r, ok := o.index.find(key.File, inode(info)); ok {
			st.Digest, st.Seq, st.Written = r.Digest, r.Seq, r.Written
		} else {
			unknown = append(unknown, len(out))
		}
		out = append(out, st)
	}
	o.index.number(out, unknown)
	return out, nil
}

func (d *Driver) readDir(name string) ([]fs.DirEntry, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	return f.ReadDir(-1)
}
