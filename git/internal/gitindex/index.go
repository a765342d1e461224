// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gitindex writes the index file of a working copy, so that the git
// program finds it clean. It never reads one.
package gitindex

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // the format's checksum
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/gitops-kit/sdk/git/driver"
)

// Stat is what the index remembers of a file.
type Stat struct {
	CtimeSec, CtimeNsec uint32
	MtimeSec, MtimeNsec uint32
	Dev, Ino, UID, GID  uint32
	Size                uint32
}

// Entry is one path.
type Entry struct {
	Path   string
	Mode   uint32
	ID     driver.Hash
	Stat   Stat
	Absent bool // outside the sparse set: not in the worktree, and not missed
}

// StatOf converts what Lstat says.
func StatOf(i fs.FileInfo) Stat {
	s := system(i)
	s.MtimeSec, s.MtimeNsec = uint32(i.ModTime().Unix()), uint32(i.ModTime().Nanosecond()) //nolint:gosec // the format has 32 bits
	s.Size = uint32(i.Size())                                                              //nolint:gosec // the format has 32 bits
	return s
}

// Write writes the entries, which it sorts.
func Write(w io.Writer, f driver.Format, entries []Entry) error {
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path, b.Path) })
	version := uint32(2)
	for _, e := range entries {
		if e.Absent {
			version = 3
		}
	}
	var h hash.Hash = sha1.New() //nolint:gosec // see above
	if f == driver.SHA256 {
		h = sha256.New()
	}
	out := bufio.NewWriterSize(io.MultiWriter(w, h), 64<<10)
	b := append([]byte("DIRC"), 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b[4:], version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(entries))) //nolint:gosec // bounded by the limit on files
	_, _ = out.Write(b)
	for i := range entries {
		b = entries[i].append(b[:0])
		_, _ = out.Write(b)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	_, err := w.Write(h.Sum(nil))
	return err
}

func (e *Entry) append(b []byte) []byte {
	s := e.Stat
	for _, v := range []uint32{s.CtimeSec, s.CtimeNsec, s.MtimeSec, s.MtimeNsec, s.Dev, s.Ino, e.Mode, s.UID, s.GID, s.Size} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = e.ID.AppendBytes(b)
	flags := uint16(min(len(e.Path), 0xfff)) //nolint:gosec // at most 12 bits
	if e.Absent {
		b = binary.BigEndian.AppendUint16(b, flags|0x4000)
		b = binary.BigEndian.AppendUint16(b, 0x4000) // skip-worktree
	} else {
		b = binary.BigEndian.AppendUint16(b, flags)
	}
	b = append(b, e.Path...)
	for pad := 8 - len(b)%8; pad > 0; pad-- {
		b = append(b, 0)
	}
	return b
}
