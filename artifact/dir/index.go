// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dir

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/untar/digest"
)

// index is the record of one object's files: what the file system itself
// does not keep. A lost index is rebuilt from names and times; the digests
// in it are then unknown.
type index struct {
	Entries []entry `json:"entries"`
}

// entry records one writing of a file. While a file is replaced there are
// two of its name; the inode tells them apart.
type entry struct {
	File    string    `json:"file"`
	Inode   uint64    `json:"inode"`
	Digest  string    `json:"digest"`
	Seq     uint64    `json:"seq"`
	Written time.Time `json:"written"`
}

const maxIndex = 16 << 20

// find returns the record of a file: the one of its inode, or, if the files
// were copied since, the newest of its name.
func (x *index) find(name string, inode uint64) (entry, bool) {
	var best entry
	found := false
	for _, e := range x.Entries {
		if e.File != name {
			continue
		}
		if e.Inode == inode {
			return e, true
		}
		if !found || e.Seq > best.Seq {
			best, found = e, true
		}
	}
	return best, found
}

// only drops the records of a name that are not the file's own.
func (x *index) only(name string, inode uint64) {
	if own, ok := x.find(name, inode); ok {
		x.Entries = slices.DeleteFunc(x.Entries, func(e entry) bool { return e.File == name && e != own })
	}
}

func (x *index) last() (seq uint64) {
	for _, e := range x.Entries {
		seq = max(seq, e.Seq)
	}
	return seq
}

// number gives files without a record a place behind all others, by time and
// name.
func (x *index) number(all []artifact.Stat, unknown []int) {
	slices.SortFunc(unknown, func(a, b int) int {
		if c := all[a].Written.Compare(all[b].Written); c != 0 {
			return c
		}
		if all[a].Key.File < all[b].Key.File {
			return -1
		}
		return 1
	})
	seq := x.last()
	for _, i := range unknown {
		seq++
		all[i].Seq = seq
	}
}

// load reads the index of a held object unless it is known.
func (d *Driver) load(dir string, o *object) error {
	name := dir + "/" + indexName
	info, err := d.root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxIndex {
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			o.index, o.stamp = &index{}, ""
			return nil
		}
		return err
	}
	if stamp := identity(info); o.index != nil && o.stamp == stamp {
		return nil
	}
	f, err := d.root.OpenFile(name, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return err
	}
	defer f.Close()                                      //nolint:errcheck // opened for reading
	data, err := io.ReadAll(io.LimitReader(f, maxIndex)) //nolint:forbidigo // bounded
	if err != nil {
		return err
	}
	x := &index{}
	if json.Unmarshal(data, x) != nil {
		x = &index{} // torn by a power cut: rebuilt from the files
	}
	x.Entries = slices.DeleteFunc(x.Entries, func(e entry) bool {
		_, err := digest.Parse(e.Digest)
		return err != nil || e.File == ""
	})
	o.index, o.stamp = x, identity(info)
	return nil
}

// save writes the index of a held object. Without sync it may be lost in a
// power cut, which costs a hash of each file.
func (d *Driver) save(dir string, o *object, sync bool) error {
	data, err := json.Marshal(o.index)
	if err != nil {
		return err
	}
	o.stamp = ""
	tmp, f, err := d.temp(dir, indexName)
	if err != nil {
		return err
	}
	defer d.forget(tmp)
	if err = d.do("write", tmp); err == nil {
		_, err = f.Write(data)
	}
	if err == nil && sync {
		if err = d.do("sync", tmp); err == nil {
			err = f.Sync()
		}
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = d.rename(tmp, dir+"/"+indexName)
	}
	if err != nil {
		_ = d.root.Remove(tmp)
		o.index = nil
		return err
	}
	if info, err := d.root.Lstat(dir + "/" + indexName); err == nil {
		o.stamp = identity(info)
	}
	return nil
}
