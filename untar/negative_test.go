// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/untar"
)

type refusal struct {
	reason  string
	archive []byte
	want    error
	limit   string
	policy  untar.LinkPolicy
}

// refused asserts that each archive is refused with its error, that Walk
// agrees, and that nothing is left.
func refused(t *testing.T, cases map[string]refusal) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			for _, o := range []untar.Options{
				{Links: tc.policy}, {Links: tc.policy, Filter: func(untar.Entry) bool { return false }},
			} {
				got := extract(t, gz(tc.archive), o)
				g.Expect(got.err).To(HaveOccurred(), tc.reason)
				g.Expect(got.tree).To(BeEmpty())
				if tc.limit != "" {
					g.Expect(limit(got.err)).To(Equal(tc.limit), "%v", got.err)
				} else {
					g.Expect(errors.Is(got.err, tc.want)).To(BeTrue(), "%s: got %v", tc.reason, got.err)
				}
				var terminal interface{ Terminal() bool }
				g.Expect(errors.As(got.err, &terminal) && terminal.Terminal()).To(BeTrue(), "the same bytes are always refused")
				g.Expect(got.err.Error()).NotTo(ContainSubstring("\n"))
			}
			_, err := untar.Walk(t.Context(), bytes.NewReader(tc.archive), nil, untar.Options{Compression: untar.None, Links: tc.policy})
			g.Expect(err).To(HaveOccurred(), "Walk has the same checks")
		})
	}
}

// N08, TAR-7, TAR-11, TAR-12
func TestN08Paths(t *testing.T) {
	outside := t.TempDir()
	file := func(name string) []byte { return new(raw).pax("path", name).file("x", "evil").end() }
	cases := map[string]refusal{
		"BelowSkippedLink":  {reason: "a link left out hides what is below it", archive: new(raw).symlink("link", outside).file("link/x", "evil").end(), want: untar.ErrPathEscape},
		"BelowInsideLink":   {reason: "also a link that is created", archive: new(raw).dir("d").symlink("link", "d").file("link/x", "evil").end(), want: untar.ErrPathEscape, policy: untar.Inside},
		"LongComponent":     {reason: "a component of 300 bytes", archive: file("d/" + strings.Repeat("a", 300)), limit: "tar-component"},
		"NUL":               {reason: "NUL", archive: file("a\x00b"), want: untar.ErrInvalidArchive},
		"EmptyName":         {reason: "empty", archive: new(raw).header(head{name: "", flag: '0'}).end(), want: untar.ErrInvalidArchive},
		"FileInPlaceOfRoot": {reason: "the root is no file", archive: new(raw).header(head{name: "./", flag: '7'}).end(), want: untar.ErrInvalidArchive},
	}
	for _, name := range []string{"a/../../x", "/abs", "..", "a/..", "../x", `a\..\x`, `..\x`, `\abs`, `C:\x`, "C:x", "c:/x", "./../x", ".//../x", "a/b/../../../x", "a/./../x", `a/b\..`} {
		cases["Name"+name] = refusal{reason: name, archive: file(name), want: untar.ErrPathEscape}
	}
	refused(t, cases)
	if left := tree(t, outside); len(left) != 0 {
		t.Fatalf("files outside: %v", left)
	}
}

// N09, TAR-5, TAR-6
func TestN09Types(t *testing.T) {
	kinds := func(flag byte) []byte {
		return new(raw).header(head{name: "x", flag: flag, link: "target"}).end()
	}
	sparse := "0.0 does not matter"
	refused(t, map[string]refusal{
		"HardLink":        {reason: "hard link", archive: kinds('1'), want: untar.ErrUnsupportedEntry},
		"CharDevice":      {reason: "device", archive: kinds('3'), want: untar.ErrUnsupportedEntry},
		"BlockDevice":     {reason: "device", archive: kinds('4'), want: untar.ErrUnsupportedEntry},
		"FIFO":            {reason: "FIFO", archive: kinds('6'), want: untar.ErrUnsupportedEntry},
		"Unknown":         {reason: "unknown type", archive: kinds('Z'), want: untar.ErrUnsupportedEntry},
		"HighByte":        {reason: "unknown type", archive: kinds(0xff), want: untar.ErrUnsupportedEntry},
		"OldSparse":       {reason: "GNU sparse of 1 TiB in 1 KiB", archive: new(raw).header(head{name: "x", flag: 'S', sizeField: "\x80\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00", magic: "ustar  \x00"}).body(sparse).end(), want: untar.ErrUnsupportedEntry},
		"PAXSparse":       {reason: "PAX sparse", archive: new(raw).pax("GNU.sparse.major", "1", "GNU.sparse.realsize", "1099511627776").file("x", sparse).end(), want: untar.ErrUnsupportedEntry},
		"GlobalPath":      {reason: "readers differ", archive: new(raw).meta('g', record("path", "evil")).file("x", "y").end(), want: untar.ErrUnsupportedEntry},
		"GlobalSize":      {reason: "readers differ", archive: new(raw).meta('g', record("size", "1")).file("x", "y").end(), want: untar.ErrUnsupportedEntry},
		"GlobalLink":      {reason: "readers differ", archive: new(raw).meta('g', record("linkpath", "1")).file("x", "y").end(), want: untar.ErrUnsupportedEntry},
		"GlobalCharset":   {reason: "readers differ", archive: new(raw).meta('g', record("hdrcharset", "BINARY")).file("x", "y").end(), want: untar.ErrUnsupportedEntry},
		"GlobalSparse":    {reason: "readers differ", archive: new(raw).meta('g', record("GNU.sparse.size", "1")).file("x", "y").end(), want: untar.ErrUnsupportedEntry},
		"FailPolicy":      {reason: "links are refused by policy", archive: new(raw).symlink("x", "y").end(), want: untar.ErrUnsupportedEntry, policy: untar.Fail},
		"AbsoluteLink":    {reason: "absolute target", archive: new(raw).symlink("x", "/etc").end(), want: untar.ErrPathEscape, policy: untar.Inside},
		"EscapingLink":    {reason: "target above the root", archive: new(raw).symlink("d/x", "../../etc").end(), want: untar.ErrPathEscape, policy: untar.Inside},
		"EmptyLink":       {reason: "empty target", archive: new(raw).symlink("x", "").end(), want: untar.ErrInvalidArchive, policy: untar.Inside},
		"ThroughLink":     {reason: "target through another link", archive: new(raw).dir("d/e").symlink("l", "d").symlink("m", "l/e/../../..").end(), want: untar.ErrPathEscape, policy: untar.Inside},
		"LinkLoop":        {reason: "links that chain for ever", archive: new(raw).symlink("a", "b").symlink("b", "a").end(), limit: "link hops", policy: untar.Inside},
		"ContentOfDir":    {reason: "readers differ", archive: new(raw).header(head{name: "d", flag: '5', size: 3}).body("abc").end(), want: untar.ErrInvalidArchive},
		"ContentOfLink":   {reason: "readers differ", archive: new(raw).header(head{name: "l", flag: '2', link: "x", size: 3}).body("abc").end(), want: untar.ErrInvalidArchive},
		"TwoPAX":          {reason: "two headers for one entry", archive: new(raw).pax("path", "a").pax("path", "b").file("x", "y").end(), want: untar.ErrInvalidArchive},
		"TwoLongNames":    {reason: "two long names for one entry", archive: new(raw).meta('L', "a\x00").meta('L', "b\x00").file("x", "y").end(), want: untar.ErrInvalidArchive},
		"PAXAndLongName":  {reason: "readers differ", archive: new(raw).pax("path", "a").meta('L', "b\x00").file("x", "y").end(), want: untar.ErrInvalidArchive},
		"MetadataAtEnd":   {reason: "metadata without an entry", archive: new(raw).pax("path", "a").end(), want: untar.ErrInvalidArchive},
		"PAXRecordLength": {reason: "malformed record", archive: new(raw).meta('x', "99 path=a\n").file("x", "y").end(), want: untar.ErrInvalidArchive},
		"PAXRecordNoLF":   {reason: "malformed record", archive: new(raw).meta('x', "9 path=ab").file("x", "y").end(), want: untar.ErrInvalidArchive},
		"Checksum":        {reason: "checksum", archive: new(raw).header(head{name: "x", flag: '0', sum: "000001\x00 "}).end(), want: untar.ErrInvalidArchive},
		"NegativeSize":    {reason: "size -1", archive: new(raw).header(head{name: "x", flag: '0', sizeField: strings.Repeat("\xff", 12)}).end(), want: untar.ErrInvalidArchive},
		"SizeNotOctal":    {reason: "size with a 9", archive: new(raw).header(head{name: "x", flag: '0', sizeField: "00000000009"}).end(), want: untar.ErrInvalidArchive},
		"FileThenBelow":   {reason: "a file, then something below it", archive: new(raw).file("a", "x").file("a/b", "y").end(), want: untar.ErrInvalidArchive},
		"DirThenFile":     {reason: "a file in place of a directory", archive: new(raw).file("a/b", "y").file("a", "x").end(), want: untar.ErrInvalidArchive},
		"FileThenDir":     {reason: "a directory in place of a file", archive: new(raw).file("a", "y").dir("a").end(), want: untar.ErrInvalidArchive},
		"AfterEnd":        {reason: "data after the end marker", archive: append(new(raw).file("a", "y").end(), new(raw).file("b", "z").end()...), want: untar.ErrInvalidArchive},
		"Truncated":       {reason: "content cut", archive: new(raw).file("a", strings.Repeat("y", 600)).Bytes()[:1024], want: io.ErrUnexpectedEOF},
		"DeclaredTooMuch": {reason: "declares more than there is", archive: new(raw).header(head{name: "x", flag: '0', size: 5000}).body("abc").end(), want: untar.ErrInvalidArchive},
	})
	g := NewWithT(t)
	got := extract(t, gz(new(raw).meta('g', record("comment", strings.Repeat("a", 40))+record("mtime", "1")+record("uname", "x")+record("vendor.key", "v")).end()), untar.Options{})
	g.Expect(got.err).NotTo(HaveOccurred(), "a global header is metadata")
	g.Expect(got.tree).To(BeEmpty(), "and never a file")
	g.Expect(got.rep.Files).To(BeZero())
}

// N10, TAR-1, TAR-2: a destination that is not empty, and a swapper that
// exchanges a directory and a link while files are written below it.
func TestN10Destination(t *testing.T) {
	g := NewWithT(t)
	outside, parent := t.TempDir(), t.TempDir()
	dst := filepath.Join(parent, "dst")
	g.Expect(os.Mkdir(dst, 0o755)).To(Succeed())
	g.Expect(os.Symlink(outside, filepath.Join(dst, "sub"))).To(Succeed())
	archive := gz(new(raw).file("sub/x", "evil").end())
	_, err := untar.Extract(t.Context(), bytes.NewReader(archive), dst, untar.Options{})
	g.Expect(errors.Is(err, untar.ErrNotEmpty)).To(BeTrue(), "%v", err)
	g.Expect(tree(t, outside)).To(BeEmpty())
	_, err = untar.Extract(t.Context(), bytes.NewReader(archive), dst, untar.Options{AllowExisting: true})
	g.Expect(err).NotTo(HaveOccurred(), "the link is replaced")
	g.Expect(tree(t, outside)).To(BeEmpty(), "and never written through")
	g.Expect(tree(t, dst)).To(Equal(map[string]string{"sub/": "", "sub/x": "evil"}))
	for _, bad := range []string{"file", "link"} {
		p := filepath.Join(parent, bad)
		if bad == "file" {
			g.Expect(os.WriteFile(p, []byte("safe"), 0o600)).To(Succeed())
		} else {
			g.Expect(os.Symlink(outside, p)).To(Succeed())
		}
		for _, existing := range []bool{false, true} {
			_, err := untar.Extract(t.Context(), bytes.NewReader(archive), p, untar.Options{AllowExisting: existing})
			g.Expect(errors.Is(err, untar.ErrNotEmpty)).To(BeTrue(), "%s: %v", bad, err)
		}
	}
	g.Expect(tree(t, outside)).To(BeEmpty())
}

// N10
func TestN10SwapperConcurrentSafe(t *testing.T) {
	var b raw
	for i := range 40 {
		b.file("d/f"+string(rune('a'+i%26))+string(rune('a'+i/26)), strings.Repeat("x", 100))
	}
	archive := gz(b.end())
	for _, existing := range []bool{true, false} {
		outside, parent := t.TempDir(), t.TempDir()
		dst := filepath.Join(parent, "dst")
		if err := os.MkdirAll(filepath.Join(dst, "d"), 0o755); err != nil {
			t.Fatal(err)
		}
		var stop atomic.Bool
		done := make(chan struct{})
		go func() { // exchanges d and a link, wherever the tree is just now
			defer close(done)
			for !stop.Load() {
				dirs, _ := filepath.Glob(filepath.Join(parent, "*"))
				hidden, _ := filepath.Glob(filepath.Join(parent, ".*", "tree"))
				for _, dir := range append(dirs, hidden...) {
					d, aside := filepath.Join(dir, "d"), filepath.Join(dir, "aside")
					_ = os.Rename(d, aside)
					_ = os.Symlink(outside, d)
					_ = os.Remove(d)
					_ = os.Rename(aside, d)
				}
			}
		}()
		for deadline := time.Now().Add(2500 * time.Millisecond); time.Now().Before(deadline); {
			_, _ = untar.Extract(t.Context(), bytes.NewReader(archive), dst, untar.Options{AllowExisting: existing})
			if !existing {
				_ = os.RemoveAll(dst)
			}
			if left := tree(t, outside); len(left) != 0 {
				t.Fatalf("files outside: %v", names(left))
			}
		}
		stop.Store(true)
		<-done
	}
}

// N11, TAR-8, T5: bombs end at the limit, with little written and little
// memory.
func TestN11Bombs(t *testing.T) {
	huge := new(raw).header(head{name: "x", flag: '0', sizeField: "\x80\x00\x00\x00\x00\x00\x00\x02\x80\x00\x00\x00"}).Bytes() // 10 GiB
	// The limits are those of the defaults, or a sixteenth of them.
	size, small := int64(1<<26), untar.Limits{Expanded: 1 << 26}
	if long() {
		size, small = 1<<30, untar.Limits{}
	}
	many := new(raw).header(head{name: "x", flag: '0', size: 400 << 20})
	cases := map[string]struct {
		reason  string
		archive []byte
		limit   string
		limits  untar.Limits
	}{
		"Zeros":       {reason: "zeros after the end marker", archive: bomb(new(raw).end(), size+1), limit: "tar-expanded", limits: small},
		"DeclaredBig": {reason: "one file of 10 GiB", archive: bomb(huge, 1<<20), limit: "tar-file"},
		"Members":     {reason: "many members", archive: bytes.Repeat(bomb(nil, size/16), 17), limit: "tar-expanded", limits: small},
		"File":        {reason: "content up to the expanded limit", archive: bomb(many.Bytes(), 100<<20), limit: "tar-expanded", limits: untar.Limits{Expanded: 40 << 20}},
		"Compressed":  {reason: "input", archive: gz(new(raw).file("x", strings.Repeat("y", 5000)).end()), limit: "tar-compressed", limits: untar.Limits{Compressed: 100}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			got := extract(t, tc.archive, untar.Options{Limits: tc.limits})
			runtime.ReadMemStats(&after)
			g.Expect(limit(got.err)).To(Equal(tc.limit), "%s: %v", tc.reason, got.err)
			if after.Sys > before.Sys {
				g.Expect(after.Sys-before.Sys).To(BeNumerically("<", 64<<20), "memory")
			}
		})
	}
	// One declared byte, much more content: the rest is not a header.
	g := NewWithT(t)
	got := extract(t, gz(new(raw).header(head{name: "x", flag: '0', size: 1}).body(strings.Repeat("A", 4096)).end()), untar.Options{})
	g.Expect(errors.Is(got.err, untar.ErrInvalidArchive)).To(BeTrue(), "%v", got.err)
}

// N12, T6
func TestN12Counts(t *testing.T) {
	g := NewWithT(t)
	// Up to 5,000,000 empty entries, made as they are read.
	one := new(raw).header(head{name: "x", flag: '0'}).Bytes()
	var made int
	entries := &repeating{block: one, n: 500_000}
	if long() {
		entries.n = 5_000_000
	}
	_, err := untar.Walk(t.Context(), entries, func(untar.Entry, io.Reader) error { made++; return nil },
		untar.Options{Compression: untar.None, Limits: untar.Limits{Compressed: -1, Expanded: -1}})
	g.Expect(limit(err)).To(Equal("tar-entries"))
	g.Expect(made).To(BeNumerically("<=", 100_001))
	deep := func(n int) []byte {
		return gz(new(raw).pax("path", strings.TrimSuffix(strings.Repeat("a/", n), "/")).file("x", "y").end())
	}
	g.Expect(limit(extract(t, deep(129), untar.Options{}).err)).To(Equal("tar-depth"))
	g.Expect(limit(extract(t, deep(100_000), untar.Options{}).err)).To(Equal("tar-path"))
	g.Expect(limit(extract(t, gz(new(raw).pax("path", strings.Repeat("a", 10<<20)).file("x", "y").end()), untar.Options{}).err)).To(Equal("tar-pax"))
	g.Expect(limit(extract(t, gz(new(raw).meta('L', strings.Repeat("a", 2<<20)).file("x", "y").end()), untar.Options{}).err)).To(Equal("tar-pax"))
}

type repeating struct {
	block []byte
	n, at int
}

func (r *repeating) Read(p []byte) (int, error) {
	if r.n == 0 {
		return 0, io.EOF
	}
	k := copy(p, r.block[r.at:])
	if r.at += k; r.at == len(r.block) {
		r.at = 0
		r.n--
	}
	return k, nil
}

// C04, TAR-8: each limit's value itself is accepted, one more is not.
func TestC04ExactLimits(t *testing.T) {
	files := func(n int) []byte {
		var b raw
		for i := range n {
			b.file("f"+string(rune('a'+i)), "x")
		}
		return b.end()
	}
	long := func(path string) []byte { return new(raw).pax("path", path).file("x", "y").end() }
	links := func(n int) []byte {
		var b raw
		b.file("a", "x")
		for i := range n {
			b.symlink("l"+string(rune('b'+i)), map[bool]string{true: "a", false: "l" + string(rune('a'+i))}[i == 0])
		}
		return b.end()
	}
	cases := map[string]struct {
		limits   untar.Limits
		ok, over []byte
		name     string
	}{
		"Entries":   {untar.Limits{Entries: 3}, files(3), files(4), "tar-entries"},
		"File":      {untar.Limits{File: 5}, new(raw).file("x", "12345").end(), new(raw).file("x", "123456").end(), "tar-file"},
		"Expanded":  {untar.Limits{Expanded: 2048}, new(raw).file("x", "1").end(), append(new(raw).file("x", "1").end(), 0), "tar-expanded"},
		"Depth":     {untar.Limits{Depth: 3}, long("a/b/c"), long("a/b/c/d"), "tar-depth"},
		"Path":      {untar.Limits{Path: 5}, long("a/bcd"), long("a/bcde"), "tar-path"},
		"Component": {untar.Limits{Component: 3}, long("abc/def"), long("abc/defg"), "tar-component"},
		"PAX":       {untar.Limits{PAX: 20}, new(raw).meta('x', record("path", "0123456789a")).file("x", "").end(), new(raw).meta('x', record("path", "0123456789ab")).file("x", "").end(), "tar-pax"},
		"Hops":      {untar.Limits{Hops: 3}, links(3), links(4), "link hops"},
		"Links":     {untar.Limits{Links: 9}, new(raw).symlink("a", "xyz").symlink("b", "1234").end(), new(raw).symlink("a", "xyz").symlink("b", "12345").end(), "tar-links"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := untar.Options{Limits: tc.limits, Links: untar.Inside}
			g.Expect(extract(t, gz(tc.ok), o).err).NotTo(HaveOccurred())
			g.Expect(limit(extract(t, gz(tc.over), o).err)).To(Equal(tc.name))
			v := tc.limits
			for _, f := range []*int64{&v.Entries, &v.File, &v.Expanded, &v.Depth, &v.Path, &v.Component, &v.PAX, &v.Hops, &v.Links} {
				if *f != 0 {
					*f = -1
				}
			}
			g.Expect(extract(t, gz(tc.over), untar.Options{Limits: v, Links: untar.Inside}).err).NotTo(HaveOccurred(), "unlimited")
			g.Expect(v.Unlimited()).To(Equal([]string{tc.name}))
		})
	}
	g := NewWithT(t)
	data := gz(files(2))
	g.Expect(extract(t, data, untar.Options{Limits: untar.Limits{Compressed: int64(len(data))}}).err).NotTo(HaveOccurred())
	g.Expect(limit(extract(t, data, untar.Options{Limits: untar.Limits{Compressed: int64(len(data)) - 1}}).err)).To(Equal("tar-compressed"))
}

// TAR-2, TAR-13: cancelled at any point, nothing is left.
func TestCancellation(t *testing.T) {
	var b raw
	for i := range 200 {
		b.file("d"+string(rune('a'+i%20))+"/f"+string(rune('a'+i/20)), strings.Repeat("content ", 700))
	}
	archive := b.end()
	_ = extract(t, gz(archive), untar.Options{}) // warm the pools
	goroutines, fds := runtime.NumGoroutine(), openFiles(t)
	for at := 0; at < len(archive); at += len(archive)/40 + 13 {
		parent := t.TempDir()
		ctx, cancel := context.WithCancel(t.Context())
		r := io.MultiReader(bytes.NewReader(archive[:at]), readerFunc(func([]byte) (int, error) { cancel(); return 0, nil }), bytes.NewReader(archive[at:]))
		_, err := untar.Extract(ctx, r, filepath.Join(parent, "dst"), untar.Options{Compression: untar.None})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("cancelled at %d: %v", at, err)
		}
		if left := tree(t, parent); len(left) != 0 {
			t.Fatalf("cancelled at %d: left %v", at, names(left))
		}
		cancel()
	}
	settle(t, goroutines, fds)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
