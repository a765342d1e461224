// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifactserver

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// Pack makes a gzip-compressed archive of files: sorted, with directories,
// times at 1970, owner 0. The same files give the same bytes. A name that ends
// in "/" is an empty directory.
func Pack(files Files) []byte {
	dirs := map[string]bool{}
	for name := range files {
		for d := path.Dir(name); d != "." && d != "/"; d = path.Dir(d) {
			dirs[d+"/"] = true
		}
		if strings.HasSuffix(name, "/") {
			dirs[name] = true
		}
	}
	names := slices.AppendSeq(slices.Collect(maps.Keys(dirs)), func(yield func(string) bool) {
		for n := range files {
			if !dirs[n] && !yield(n) {
				return
			}
		}
	})
	slices.Sort(names)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, n := range names {
		h := &tar.Header{Name: n, Mode: 0o644, Size: int64(len(files[n])), Typeflag: tar.TypeReg, ModTime: time.Unix(0, 0)}
		if dirs[n] {
			h.Typeflag, h.Mode, h.Size = tar.TypeDir, 0o755, 0
		}
		_ = w.WriteHeader(h) // writing to memory
		if !dirs[n] {
			_, _ = io.WriteString(w, files[n])
		}
	}
	_ = w.Close()
	_ = z.Close()
	return b.Bytes()
}

// Gzip compresses b into one member.
func Gzip(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

// GzipRaw makes a gzip member with any checksum and length: sum and size are
// added to the right ones.
func GzipRaw(b []byte, sum, size uint32) []byte {
	out := Gzip(b)
	n := len(out)
	put := func(at int, v uint32) {
		for i := range 4 {
			out[at+i] = byte(v >> (8 * i))
		}
	}
	put(n-8, crc32.ChecksumIEEE(b)+sum)
	put(n-4, uint32(len(b))+size)
	return out
}

// Entry is one header of a tar archive with its body, every field as given.
type Entry struct {
	// Name and Link are written as they are, cut at 100 bytes.
	Name, Link string
	// Prefix is the ustar prefix field.
	Prefix string
	// Type is the type flag; 0 is written as NUL, which means a file in old archives.
	Type byte
	// Mode; zero: 0644.
	Mode int64
	// Body follows the header, padded to 512 bytes.
	Body []byte
	// Size is the declared size; 0 is the body's, below 0 a declared 0.
	Size int64
	// RawSize replaces the 12 bytes of the size field.
	RawSize string
	// Checksum replaces the 8 bytes of the checksum field.
	Checksum string
	// Magic replaces the 8 bytes of magic and version; zero: ustar.
	Magic string
	// NoPad leaves the padding after the body out.
	NoPad bool
}

// Builder writes tar archives byte by byte, right and wrong ones. Use [Tar]. It
// is not safe for concurrent use.
type Builder struct {
	buf   bytes.Buffer
	noEnd bool
}

// Tar returns the uncompressed archive that f builds. The end marker is added
// unless f called NoEnd.
func Tar(f func(*Builder)) []byte {
	var b Builder
	f(&b)
	if !b.noEnd {
		b.buf.Write(make([]byte, 1024))
	}
	return b.buf.Bytes()
}

// File adds a regular file.
func (b *Builder) File(name, content string) {
	b.Entry(Entry{Name: name, Type: '0', Body: []byte(content)})
}

// Dir adds a directory.
func (b *Builder) Dir(name string) {
	b.Entry(Entry{Name: name, Type: '5', Mode: 0o755})
}

// Symlink adds a symbolic link.
func (b *Builder) Symlink(name, target string) {
	b.Entry(Entry{Name: name, Type: '2', Link: target})
}

// Hardlink adds a hard link.
func (b *Builder) Hardlink(name, target string) {
	b.Entry(Entry{Name: name, Type: '1', Link: target})
}

// PAX adds an extended header ('x' for the next entry, 'g' for all) with
// records as key, value pairs. Lengths are right.
func (b *Builder) PAX(flag byte, pairs ...string) {
	var body strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		rec := fmt.Sprintf(" %s=%s\n", pairs[i], pairs[i+1])
		n := len(rec)
		for {
			s := fmt.Sprint(n)
			if len(s)+len(rec) == n {
				break
			}
			n = len(s) + len(rec)
		}
		fmt.Fprintf(&body, "%d%s", n, rec)
	}
	b.Entry(Entry{Name: "PaxHeaders/x", Type: flag, Body: []byte(body.String())})
}

// GNULong adds a GNU long name ('L') or long link ('K') for the next entry.
func (b *Builder) GNULong(flag byte, value string) {
	b.Entry(Entry{Name: "././@LongLink", Type: flag, Body: append([]byte(value), 0), Magic: "ustar  \x00"})
}

// Raw adds bytes.
func (b *Builder) Raw(p []byte) { b.buf.Write(p) }

// End adds the end marker here; what follows is trailing data.
func (b *Builder) End() {
	b.buf.Write(make([]byte, 1024))
	b.noEnd = true
}

// NoEnd leaves the end marker out.
func (b *Builder) NoEnd() { b.noEnd = true }

// Entry adds a header and its body.
func (b *Builder) Entry(e Entry) {
	var h [512]byte
	copy(h[0:100], e.Name)
	mode := e.Mode
	if mode == 0 {
		mode = 0o644
	}
	copy(h[100:108], fmt.Sprintf("%07o", mode&0o7777777))
	copy(h[108:116], "0000000")
	copy(h[116:124], "0000000")
	size := e.Size
	if size == 0 {
		size = int64(len(e.Body))
	}
	copy(h[124:136], sizeField(max(0, size)))
	if e.RawSize != "" {
		clear(h[124:136])
		copy(h[124:136], e.RawSize)
	}
	copy(h[136:148], "00000000000")
	h[156] = e.Type
	copy(h[157:257], e.Link)
	copy(h[257:265], "ustar\x0000")
	if e.Magic != "" {
		clear(h[257:265])
		copy(h[257:265], e.Magic)
	}
	copy(h[345:500], e.Prefix)
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	if e.Checksum != "" {
		clear(h[148:156])
		copy(h[148:156], e.Checksum)
	}
	b.buf.Write(h[:])
	b.buf.Write(e.Body)
	if n := len(e.Body) % 512; n != 0 && !e.NoPad {
		b.buf.Write(make([]byte, 512-n))
	}
}

// sizeField encodes a size in octal, or in base 256 if that does not fit.
func sizeField(n int64) string {
	if n < 1<<33 {
		return fmt.Sprintf("%011o\x00", n)
	}
	var f [12]byte
	f[0] = 0x80
	for i := 11; i > 3 && n > 0; i-- {
		f[i] = byte(n)
		n >>= 8
	}
	return string(f[:])
}
