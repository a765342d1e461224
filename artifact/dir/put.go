// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dir

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/internal/fail"
	"github.com/gitops-kit/sdk/untar/digest"
)

// Put implements [artifact.Driver]: a temporary file in the same directory,
// fsync, rename, fsync of the directory.
func (d *Driver) Put(ctx context.Context, key artifact.Key, r io.Reader) (artifact.Stat, error) {
	if d.readOnly {
		return artifact.Stat{}, artifact.ErrReadOnly
	}
	if err := key.Validate(); err != nil {
		return artifact.Stat{}, err
	}
	dir := key.Object().String()
	tmp, f, err := d.begin(dir, key.File)
	if err != nil {
		return artifact.Stat{}, err
	}
	defer d.forget(tmp)
	st, err := d.fill(ctx, f, tmp, r)
	if err == nil {
		st.Key = key
		err = d.publish(key, tmp, f, &st)
	}
	if cerr := f.Close(); err == nil && cerr != nil {
		err = cerr
	}
	if err != nil {
		d.abandon(dir, tmp)
		return artifact.Stat{}, err
	}
	return st, nil
}

// begin makes the directory and the temporary file in it.
func (d *Driver) begin(dir, name string) (string, *os.File, error) {
	o := d.hold(dir)
	defer d.letGo(dir, o)
	for try := 1; ; try++ {
		// Whoever removes the last object beside this one removes directories
		// that both are in.
		err := d.mkdirs(dir)
		if errors.Is(err, fs.ErrNotExist) && try < 10 {
			continue
		}
		if err != nil {
			return "", nil, err
		}
		return d.temp(dir, name)
	}
}

// mkdirs makes the directories of an object, each durably.
func (d *Driver) mkdirs(dir string) error {
	up := "."
	for i := 0; i <= len(dir); i++ {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		name := dir[:i]
		info, err := d.root.Lstat(name)
		switch {
		case err == nil && info.IsDir():
		case err == nil:
			return fmt.Errorf("%w: %q is not a directory", artifact.ErrCorrupt, name)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		default:
			if err := d.do("mkdir", name); err != nil {
				return err
			}
			if err := d.root.Mkdir(name, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			if err := d.syncDir(up); err != nil {
				return err
			}
		}
		up = name
	}
	return nil
}

// temp creates a temporary file in dir.
func (d *Driver) temp(dir, name string) (string, *os.File, error) {
	if len(name) > 200 {
		name = name[:200]
	}
	if name[0] != '.' {
		name = "." + name
	}
	for range 10 {
		var random [8]byte
		_, _ = rand.Read(random[:])
		tmp := dir + "/" + name + "." + hex.EncodeToString(random[:]) + ".tmp"
		if err := d.do("create", tmp); err != nil {
			return "", nil, err
		}
		d.mu.Lock()
		d.temps[tmp] = struct{}{}
		d.mu.Unlock()
		f, err := d.root.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
		if err == nil {
			return tmp, f, nil
		}
		d.forget(tmp)
		if !errors.Is(err, fs.ErrExist) {
			return "", nil, err
		}
	}
	return "", nil, fs.ErrExist
}

func (d *Driver) forget(tmp string) {
	d.mu.Lock()
	delete(d.temps, tmp)
	d.mu.Unlock()
}

const copyBuffer = 128 << 10

// fill copies r to the file and makes it durable.
func (d *Driver) fill(ctx context.Context, f *os.File, tmp string, r io.Reader) (artifact.Stat, error) {
	var h hash.Hash
	if _, ok := r.(artifact.Content); !ok {
		var err error
		if h, err = digest.New(digest.SHA256); err != nil {
			return artifact.Stat{}, err
		}
	}
	var st artifact.Stat
	buf := make([]byte, copyBuffer)
	for {
		if err := ctx.Err(); err != nil {
			return st, err
		}
		n, rerr := r.Read(buf)
		if n > 0 {
			if err := d.do("write", tmp); err != nil {
				return st, err
			}
			if _, err := f.Write(buf[:n]); err != nil {
				return st, err
			}
			if h != nil {
				_, _ = h.Write(buf[:n])
			}
			st.Size += int64(n)
		}
		if errors.Is(rerr, io.EOF) {
			break
		}
		if rerr != nil {
			return st, rerr
		}
	}
	fail.Point(failAfterTemp)
	if err := d.do("sync", tmp); err != nil {
		return st, err
	}
	if err := f.Sync(); err != nil {
		return st, err
	}
	fail.Point(failAfterSync)
	if c, ok := r.(artifact.Content); ok {
		st.Digest = c.Digest()
	} else {
		st.Digest = digest.Sum(digest.SHA256, h).String()
	}
	return st, nil
}

// publish records the file and renames it into place. The record comes
// first: with the inode in it, it is right before and after the rename.
func (d *Driver) publish(key artifact.Key, tmp string, f *os.File, st *artifact.Stat) error {
	dir := key.Object().String()
	o := d.hold(dir)
	defer d.letGo(dir, o)
	if err := d.load(dir, o); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	names, err := d.names(key.Object())
	if err != nil {
		return err
	}
	_, replaces := names[key.File]
	st.Seq, st.Written = o.adopt(names)+1, time.Now().UTC().Round(0)
	ino := inode(info)
	o.index.Entries = slices.DeleteFunc(o.index.Entries, func(e entry) bool { return e.File == key.File && e.Inode == ino })
	if old, err := d.root.Lstat(key.String()); err == nil {
		o.index.only(key.File, inode(old))
	}
	o.index.Entries = append(o.index.Entries, entry{File: key.File, Inode: ino, Digest: st.Digest, Seq: st.Seq, Written: st.Written})
	if err := d.save(dir, o, replaces); err != nil {
		return err
	}
	if err := d.rename(tmp, key.String()); err != nil {
		return err
	}
	fail.Point(failAfterRename)
	if err := d.syncDir(dir); err != nil {
		return err
	}
	fail.Point(failAfterDirSync)
	return nil
}

// names lists the files of an object by one read of its directory.
func (d *Driver) names(k artifact.Key) (map[string]struct{}, error) {
	entries, err := d.readDir(k.String())
	if err != nil {
		return nil, err
	}
	names := make(map[string]struct{}, len(entries))
	for _, e := range entries {
		if k.File = e.Name(); e.Type().IsRegular() && k.Validate() == nil {
			names[k.File] = struct{}{}
		}
	}
	return names, nil
}

// adopt drops the records of files that are gone. It returns the highest
// sequence number in use; files without a record have one of their own each.
func (o *object) adopt(there map[string]struct{}) uint64 {
	seq := o.index.last()
	recorded := map[string]struct{}{}
	o.index.Entries = slices.DeleteFunc(o.index.Entries, func(e entry) bool {
		_, ok := there[e.File]
		if ok {
			recorded[e.File] = struct{}{}
		}
		return !ok
	})
	return seq + uint64(len(there)-len(recorded))
}

func (d *Driver) rename(from, to string) error {
	if err := d.do("rename", from+"\x00"+to); err != nil {
		return err
	}
	return d.root.Rename(from, to)
}

func (d *Driver) syncDir(name string) error {
	if err := d.do("syncdir", name); err != nil {
		return err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// abandon removes a temporary file, and the directories if they are empty.
func (d *Driver) abandon(dir, tmp string) {
	o := d.hold(dir)
	defer d.letGo(dir, o)
	_ = d.root.Remove(tmp)
	d.prune(dir)
}

// Link implements [artifact.Linker].
func (d *Driver) Link(ctx context.Context, key artifact.Key, name string) error {
	if d.readOnly {
		return artifact.ErrReadOnly
	}
	link := key
	link.File = name
	if err := errors.Join(ctx.Err(), key.Validate(), link.Validate()); err != nil {
		return err
	}
	dir := key.Object().String()
	o := d.hold(dir)
	defer d.letGo(dir, o)
	if err := d.real(dir); err != nil {
		return notFound(err)
	}
	if info, err := d.root.Lstat(key.String()); err != nil {
		return notFound(err)
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %q is not a regular file", artifact.ErrCorrupt, key)
	}
	switch info, err := d.root.Lstat(link.String()); {
	case err == nil && info.Mode().Type() != fs.ModeSymlink:
		return fmt.Errorf("%w: %q is a file", artifact.ErrConflict, link)
	case err == nil:
		if target, err := d.root.Readlink(link.String()); err == nil && target == key.File {
			return nil
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return d.symlink(dir, key.File, link)
}

func (d *Driver) symlink(dir, target string, link artifact.Key) error {
	var random [8]byte
	_, _ = rand.Read(random[:])
	tmp := dir + "/.link." + hex.EncodeToString(random[:]) + ".tmp"
	if err := d.do("symlink", tmp); err != nil {
		return err
	}
	if err := d.root.Symlink(target, tmp); err != nil {
		return err
	}
	err := d.rename(tmp, link.String())
	if err != nil {
		_ = d.root.Remove(tmp)
		return err
	}
	fail.Point(failAfterLink)
	return d.syncDir(dir)
}
