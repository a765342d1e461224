// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"runtime"
	"time"
)

// Compression says what form of input is accepted.
type Compression int

// The accepted forms.
const (
	Gzip Compression = iota // gzip only; plain data is ErrNotCompressed
	Auto                    // gzip or plain, told apart by magic
	None                    // plain tar
	Zstd                    // zstd, window ≤ 8 MiB, no dictionaries
)

// LinkPolicy says what happens to symbolic links.
type LinkPolicy int

// The policies. An entry below a link is refused under each of them.
const (
	Skip   LinkPolicy = iota // leave links out and count them
	Inside                   // create links that stay inside, refuse others
	Fail                     // refuse the archive
)

// Type is the type of an entry.
type Type int

// The types of entries.
const (
	File Type = iota
	Dir
	Link
)

// Entry is one entry of an archive, after every check.
type Entry struct {
	// Path is slash-separated, cleaned, relative to what StripPrefix left.
	Path string
	// Type is the kind of entry.
	Type Type
	// Mode is the mode that the file gets before the umask: 0644 or 0755,
	// with fs.ModeDir or fs.ModeSymlink.
	Mode fs.FileMode
	// Size is the number of content bytes of a file.
	Size int64
	// Target is the target of a link.
	Target string
	// Time is the modification time that the archive states; the zero value
	// if it states none.
	Time time.Time
}

// Options control extraction. The zero value accepts gzip, leaves links out,
// keeps all entries and has the default limits.
type Options struct {
	// Compression is the accepted form. Zero: Gzip.
	Compression Compression
	// Links is the policy for symbolic links. Zero: Skip.
	Links LinkPolicy
	// Filter tells which entries are kept (true). It is called after every
	// check, so that a hostile entry fails also when it would be left out, and
	// not concurrently. Nil keeps all.
	Filter func(Entry) bool
	// StripPrefix is a directory of the archive that becomes its root; what is
	// outside it is left out. Empty: none.
	StripPrefix string
	// Verify runs when the input was read to its end and before anything is
	// published; its error is returned and nothing is left. Nil: no check.
	Verify func() error
	// AllowExisting writes into an existing directory, file by file, instead
	// of publishing a fresh one.
	AllowExisting bool
	// KeepTimes sets the modification times of files, clamped to the years
	// from 1980 to now. The zero value leaves the time of extraction.
	KeepTimes bool
	// Jobs bounds the file writers and decoders that run at once. Zero: the
	// number of cores, at most 4.
	Jobs int
	// Limits bound the archive. The zero value has the defaults.
	Limits Limits
}

// Report says what was read and written. It is returned also with an error;
// it then describes how far reading came.
type Report struct {
	// Compressed and Expanded count input bytes and decompressed bytes.
	Compressed, Expanded int64
	// Files and Dirs count what was written (Walk: passed on).
	Files, Dirs int
	// Links counts link entries, created or not.
	Links int
	// Skipped counts entries left out: links under Skip, filtered ones, and
	// those outside StripPrefix.
	Skipped int
	// SkippedPaths are the first 16 of them.
	SkippedPaths []string
}

const maxSkippedPaths = 16

func (r *Report) skip(path string) {
	r.Skipped++
	if len(r.SkippedPaths) < maxSkippedPaths {
		r.SkippedPaths = append(r.SkippedPaths, path)
	}
}

// Extract unpacks the archive r into the directory dir, which must be absent
// or empty unless [Options.AllowExisting] is set; its parent must exist. The
// directory appears by one rename after r was read to its end and
// [Options.Verify] returned nil. On an error or when ctx ends nothing is
// left.
//
// When the content of r is refused, the rest of r is still read, up to its
// limit, so that a digest computed around r is that of all its bytes. Extract
// reads from r in another goroutine, which ends before it returns.
func Extract(ctx context.Context, r io.Reader, dir string, o Options) (*Report, error) {
	rep := &Report{}
	d, err := openDestination(dir, o.AllowExisting)
	if err != nil {
		return rep, err
	}
	w, err := newTree(d, o, rep)
	if err != nil {
		return rep, d.close(err)
	}
	err = run(ctx, r, o, rep, w)
	if cerr := w.finish(); err == nil {
		err = cerr
	}
	if err == nil && o.Verify != nil {
		err = o.Verify()
	}
	if err == nil {
		err = ctx.Err()
	}
	return rep, d.close(err)
}

// Walk reads the archive r under the same checks as [Extract] and calls fn
// for each entry that would be written, in the order of the archive; the
// reader gives a file's content and is valid during the call. If fn returns
// [fs.SkipAll], it is not called again, and the rest is checked all the same.
// Any other error ends the walk and is returned as it is. A nil fn only
// checks.
func Walk(ctx context.Context, r io.Reader, fn func(Entry, io.Reader) error, o Options) (*Report, error) {
	rep := &Report{}
	err := run(ctx, r, o, rep, &visitor{fn: fn, rep: rep})
	if err == nil && o.Verify != nil {
		err = o.Verify()
	}
	return rep, err
}

// sink receives the kept entries of an archive.
type sink interface {
	// add handles an entry; body gives exactly e.Size bytes or an error. What
	// it leaves unread is skipped. again: it was given this file before.
	add(e *Entry, body *body, again bool) error
	// end is called after the last entry, with all links.
	end(l *links) error
}

// run reads the whole of r into the sink.
func run(ctx context.Context, r io.Reader, o Options, rep *Report, s sink) error {
	src := newSource(ctx, r, o.Limits.compressed())
	in, err := openStream(src, o)
	if err == nil {
		a := &archive{in: in, o: o, rep: rep, sink: s, seen: map[pathKey]state{}, seeds: newSeeds(), links: newLinks(o.Limits)}
		err = a.read(ctx)
		in.close()
		rep.Expanded = in.total
	}
	if err != nil && isContent(err) {
		src.drain()
	}
	rep.Compressed = src.n
	return err
}

func isContent(err error) bool {
	return errors.Is(err, ErrInvalidArchive) || errors.Is(err, ErrPathEscape) ||
		errors.Is(err, ErrUnsupportedEntry) || errors.Is(err, ErrNotCompressed) || errors.Is(err, ErrLimit)
}

func jobs(n int) int {
	if n > 0 {
		return n
	}
	return min(4, runtime.GOMAXPROCS(0))
}

// visitor is the sink of Walk.
type visitor struct {
	fn   func(Entry, io.Reader) error
	rep  *Report
	done bool
}

func (v *visitor) add(e *Entry, b *body, _ bool) error {
	switch e.Type {
	case Dir:
		v.rep.Dirs++
	case File:
		v.rep.Files++
	}
	if v.done || v.fn == nil {
		return nil
	}
	err := v.fn(*e, b)
	if errors.Is(err, fs.SkipAll) {
		v.done = true
		return nil
	}
	return err
}

func (v *visitor) end(*links) error { return nil }
