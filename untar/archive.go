// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
)

// archive reads the entries of a tar stream and checks each of them.
type archive struct {
	in   *stream
	o    Options
	rep  *Report
	sink sink

	seen   map[pathKey]state // every path, parents included
	seeds  seeds
	links  *links
	index  int    // entries so far
	tacit  int64  // directories that no entry was for when they were needed
	dir    string // parent of the last entry, checked
	dirKey pathKey
	key    pathKey // of the entry
	before state   // what was at its path
	prefix string
	hdr    header
	meta   meta
}

// read handles all entries and what follows them.
func (a *archive) read(ctx context.Context) error {
	if p := a.o.StripPrefix; p != "" {
		prefix, err := clean(p, Limits{})
		if err != nil {
			return err
		}
		if prefix != "." {
			a.prefix = prefix
		}
	}
	for {
		b, err := a.in.next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			break // no end marker: accepted on a block boundary
		}
		if err != nil {
			return err
		}
		if b[0] == 0 && allZero(b) {
			if err := a.padding(); err != nil {
				return err
			}
			break
		}
		if err := a.block(b); err != nil {
			return err
		}
	}
	if !a.meta.empty() {
		return invalid("metadata without an entry")
	}
	if err := a.links.check(ctx); err != nil {
		return err
	}
	return a.sink.end(a.links)
}

// padding reads the zeros from the end marker to the end of the input.
func (a *archive) padding() error {
	for {
		if err := a.in.fill(); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if !allZero(a.in.cur.buf[a.in.at:]) {
			return invalid("data after the end marker")
		}
		a.in.at = len(a.in.cur.buf)
	}
}

// block handles one header and what belongs to it.
func (a *archive) block(b []byte) error {
	if !checksumOK(b) {
		return entryError(a.index, text(b[:lenName]), invalid("header checksum does not match"))
	}
	if err := a.hdr.parse(b); err != nil {
		return entryError(a.index, text(b[:lenName]), err)
	}
	switch a.hdr.flag {
	case 'x', 'g', 'L', 'K':
		if err := a.metadata(); err != nil {
			return entryError(a.index, a.hdr.name, err)
		}
		return nil
	}
	if err := a.meta.apply(&a.hdr); err != nil {
		return entryError(a.index, a.hdr.name, err)
	}
	name := a.hdr.name
	if err := a.entry(); err != nil {
		var named *EntryError
		if errors.As(err, &named) {
			return err
		}
		if p := (passed{}); errors.As(err, &p) {
			return p.error
		}
		return entryError(a.index, name, err)
	}
	a.index++
	return nil
}

// passed is an error that is returned as it is, without the entry's name.
type passed struct{ error }

func (p passed) Unwrap() error { return p.error }

// metadata reads the body of an x, g, L or K header.
func (a *archive) metadata() error {
	size := a.hdr.size
	if limit := a.o.Limits.pax(); size > limit {
		return &LimitError{Name: limitPAX, Max: limit, Got: size}
	}
	var buf []byte
	for left := size; left > 0; {
		b, err := a.in.next()
		if err != nil {
			return unexpected(err)
		}
		n := min(left, blockSize)
		buf = append(buf, b[:n]...)
		left -= n
	}
	switch a.hdr.flag {
	case 'x':
		return a.meta.local(buf)
	case 'g':
		return global(buf)
	}
	return a.meta.long(a.hdr.flag, buf)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return invalid("%w", io.ErrUnexpectedEOF)
	}
	return err
}

// entry checks one entry, passes it on, and moves past its content.
func (a *archive) entry() error {
	h := &a.hdr
	path, err := clean(h.name, a.o.Limits)
	if err != nil {
		return err
	}
	e := Entry{Path: path, Time: h.time}
	if err := a.classify(&e); err != nil {
		return err
	}
	if err := a.place(&e); err != nil {
		return err
	}
	if limit := a.o.Limits.entries(); int64(a.index)+1 > limit {
		return &LimitError{Name: limitEntries, Max: limit, Got: int64(a.index) + 1}
	}
	if limit := a.o.Limits.file(); h.size > limit {
		return &LimitError{Name: limitFile, Max: limit, Got: h.size}
	}
	if left := a.in.limit - a.in.total + int64(len(a.in.cur.buf)-a.in.at); h.size > left {
		return &LimitError{Name: limitExpanded, Max: a.in.limit, Got: a.in.limit + 1}
	}
	e.Size = h.size
	content := &body{s: a.in, left: h.size}
	if err := a.pass(&e, content); err != nil {
		return err
	}
	return a.in.skip(content.left + (-h.size & (blockSize - 1)))
}

// pass hands a kept entry to the sink.
func (a *archive) pass(e *Entry, content *body) error {
	if e.Type == Link {
		a.rep.Links++
	}
	full := e.Path
	rel, ok := under(full, a.prefix)
	e.Path = rel
	switch {
	case !ok:
		a.rep.skip(full)
		return nil
	case rel == ".":
		if e.Type != Dir {
			return invalid("the root is not a directory")
		}
		return nil
	case e.Type == Link && a.o.Links == Fail:
		return unsupported("symbolic link")
	case e.Type == Link && a.o.Links == Inside:
		if err := checkTarget(e, a.o.Limits); err != nil {
			return err
		}
		if err := a.links.add(e); err != nil {
			return err
		}
	case e.Type == Link:
		a.rep.skip(full)
		return nil
	}
	if a.o.Filter != nil && !a.o.Filter(*e) {
		a.rep.skip(full)
		return nil
	}
	if e.Type == Link {
		a.links.keep(e)
	}
	if err := a.sink.add(e, content, a.before&written != 0); err != nil {
		if isContent(err) {
			return err
		}
		return passed{err}
	}
	if e.Type == File {
		a.seen[a.key] = present | state(File) | written
	}
	return nil
}

// classify takes the type from the flag alone.
func (a *archive) classify(e *Entry) error {
	h := &a.hdr
	switch h.flag {
	case '0', 0, '7':
		e.Type, e.Mode = File, 0o644
		if h.flag != '7' && strings.HasSuffix(h.name, "/") {
			e.Type = Dir
		} else if h.mode&0o111 != 0 {
			e.Mode = 0o755
		}
	case '5':
		e.Type = Dir
	case '2':
		e.Type, e.Mode, e.Target = Link, fs.ModeSymlink|0o777, h.link
	case '1':
		return unsupported("hard link")
	case '3', '4':
		return unsupported("device")
	case '6':
		return unsupported("FIFO")
	case 'S':
		return unsupported("sparse file")
	default:
		return unsupported("type flag " + escapeByte(h.flag))
	}
	if e.Type == Dir {
		e.Mode = fs.ModeDir | 0o755
	}
	if e.Type != File && h.size != 0 {
		return invalid("content in an entry that is no file")
	}
	if e.Type == File && (e.Path == "." || strings.HasSuffix(h.name, "/")) {
		return invalid("the name of a file ends in a slash")
	}
	return nil
}

func escapeByte(b byte) string {
	const hex = "0123456789abcdef"
	if b > ' ' && b < 0x7f {
		return string(rune(b))
	}
	return `\x` + string([]byte{hex[b>>4], hex[b&15]})
}

// place checks the entry's place among those before it.
func (a *archive) place(e *Entry) error {
	if e.Path == "." {
		if e.Type == Link {
			return escapes("a link in place of the root")
		}
		return nil
	}
	if dir := parent(e.Path); dir != a.dir {
		a.dir = dir
		if err := a.parents(dir); err != nil {
			return err
		}
	}
	a.key = a.seeds.child(a.dirKey, base(e.Path))
	a.before = a.seen[a.key]
	switch {
	case a.before == 0:
		a.seen[a.key] = present | state(e.Type)
	case a.before.kind() != e.Type:
		return invalid("the same path is a file and something else")
	}
	return nil
}

// parents checks that nothing above is a file or a link, and leaves the key of
// the directory.
func (a *archive) parents(dir string) error {
	a.dirKey = pathKey{}
	if dir == "." {
		return nil
	}
	for rest, more := dir, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, "/")
		a.dirKey = a.seeds.child(a.dirKey, name)
		switch t := a.seen[a.dirKey]; {
		case t == 0:
			a.seen[a.dirKey] = present | state(Dir)
			a.tacit++
			if limit := a.o.Limits.entries(); a.tacit > limit {
				return &LimitError{Name: limitEntries, Max: limit, Got: a.tacit}
			}
		case t.kind() == Link:
			return escapes("entry below a link")
		case t.kind() == File:
			return invalid("entry below a file")
		}
	}
	return nil
}
