// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/internal/fail"
)

const (
	maxQuarantine = 10
	quarantineAge = 24 * time.Hour
)

// Delete implements [artifact.Driver].
func (d *Driver) Delete(ctx context.Context, keys ...artifact.Key) error {
	if d.readOnly {
		return artifact.ErrReadOnly
	}
	byObject := map[string][]artifact.Key{}
	for _, k := range keys {
		if err := k.ValidateObject(); err != nil {
			return err
		}
		if k.File != "" {
			if err := k.Validate(); err != nil {
				return err
			}
		}
		byObject[k.Object().String()] = append(byObject[k.Object().String()], k)
	}
	var errs []error
	for dir, list := range byObject {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, d.delete(dir, list))
	}
	return errors.Join(errs...)
}

// delete removes files of one object.
func (d *Driver) delete(dir string, keys []artifact.Key) error {
	o := d.hold(dir)
	defer d.letGo(dir, o)
	if err := d.real(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := d.load(dir, o); err != nil {
		return err
	}
	var errs []error
	for _, k := range keys {
		if k.File == "" {
			continue
		}
		if err := d.remove(k.String()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("delete %q: %w", k, err))
			continue
		}
		fail.Point(failGCAfterDelete)
		o.index.Entries = slices.DeleteFunc(o.index.Entries, func(e entry) bool { return e.File == k.File })
	}
	if gone := d.prune(dir); !gone {
		errs = append(errs, d.save(dir, o, false))
	} else {
		o.index = nil
	}
	return errors.Join(errs...)
}

func (d *Driver) remove(name string) error {
	if err := d.do("remove", name); err != nil {
		return err
	}
	return d.root.Remove(name)
}

// prune removes the directory of an object without files, with its links and
// records, and the directories above it that become empty. It reports
// whether the object is gone.
func (d *Driver) prune(dir string) bool {
	entries, err := d.readDir(dir)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	for _, e := range entries {
		hidden := strings.HasPrefix(e.Name(), ".")
		if hidden && e.Name() != indexName || !hidden && e.Type() != fs.ModeSymlink && !strings.HasSuffix(e.Name(), ".lock") {
			return false
		}
	}
	for _, e := range entries {
		if d.remove(dir+"/"+e.Name()) != nil {
			return false
		}
	}
	for name := dir; ; {
		if d.remove(name) != nil {
			return name != dir
		}
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			_ = d.syncDir(".")
			return true
		}
		name = name[:i]
		_ = d.syncDir(name)
	}
}

// Quarantine implements [artifact.Quarantiner]: at most ten files are kept,
// for a day.
func (d *Driver) Quarantine(ctx context.Context, key artifact.Key) error {
	if d.readOnly {
		return artifact.ErrReadOnly
	}
	if err := errors.Join(ctx.Err(), key.Validate()); err != nil {
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
		return d.remove(key.String()) // a link or special file is worth nothing
	}
	if err := d.root.Mkdir(quarantineName, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	name := fmt.Sprintf("%020d-%s", time.Now().UnixNano(), strings.ReplaceAll(key.String(), "/", "_"))
	if len(name) > 255 {
		name = name[:255]
	}
	if err := d.rename(key.String(), quarantineName+"/"+name); err != nil {
		return notFound(err)
	}
	return errors.Join(d.syncDir(dir), d.trimQuarantine())
}

// trimQuarantine keeps the newest files only.
func (d *Driver) trimQuarantine() error {
	entries, err := d.readDir(quarantineName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	slices.Sort(names) // they begin with the time
	oldest := fmt.Sprintf("%020d", time.Now().Add(-quarantineAge).UnixNano())
	var errs []error
	for i, n := range names {
		if len(names)-i > maxQuarantine || n < oldest {
			errs = append(errs, d.remove(quarantineName+"/"+n))
		}
	}
	return errors.Join(errs...)
}

// Space implements [artifact.Spacer].
func (d *Driver) Space(context.Context) (free, total int64, err error) {
	if err := d.do("statfs", "."); err != nil {
		return 0, 0, err
	}
	return space(d.base)
}

// Objects implements [artifact.Sweeper].
func (d *Driver) Objects(ctx context.Context) ([]artifact.Key, error) {
	var out []artifact.Key
	err := d.each(ctx, func(k artifact.Key) error {
		out = append(out, k)
		return nil
	})
	return out, err
}

// each calls fn for every object directory. Unreadable ones do not stop the
// others.
func (d *Driver) each(ctx context.Context, fn func(artifact.Key) error) error {
	var errs []error
	level := func(name string, next func(string)) {
		entries, err := d.readDir(name)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			return
		}
		for _, e := range entries {
			if e.IsDir() && e.Name()[0] != '.' && ctx.Err() == nil {
				next(e.Name())
			}
		}
	}
	level(".", func(kind string) {
		level(kind, func(ns string) {
			level(kind+"/"+ns, func(name string) {
				k := artifact.Key{Kind: kind, Namespace: ns, Name: name}
				if k.ValidateObject() == nil && k.String() == kind+"/"+ns+"/"+name {
					errs = append(errs, fn(k))
				}
			})
		})
	})
	return errors.Join(append(errs, ctx.Err())...)
}

// Sweep implements [artifact.Sweeper]: temporary files that are not of this
// process, lock files of the established storage, old quarantine.
func (d *Driver) Sweep(ctx context.Context) error {
	if d.readOnly {
		return nil
	}
	err := d.each(ctx, func(k artifact.Key) error {
		dir := k.String()
		o := d.hold(dir)
		defer d.letGo(dir, o)
		entries, err := d.readDir(dir)
		if err != nil {
			return err
		}
		var errs []error
		for _, e := range entries {
			name := dir + "/" + e.Name()
			d.mu.Lock()
			_, ours := d.temps[name]
			d.mu.Unlock()
			if !ours && !e.IsDir() && (strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".lock")) {
				errs = append(errs, d.remove(name))
			}
		}
		d.prune(dir)
		return errors.Join(errs...)
	})
	return errors.Join(err, d.trimQuarantine())
}
