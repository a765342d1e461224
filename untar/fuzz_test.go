// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/untar"
	"github.com/gitops-kit/sdk/untar/tarball"
)

// seeds are small archives of every sort.
func seeds() [][]byte {
	var b bytes.Buffer
	w := tarball.NewWriter(&b, tarball.Options{Compression: tarball.None})
	_ = w.Add("a", 0o644, 3, strings.NewReader("abc"))
	_ = w.Add(strings.Repeat("ü", 80), 0o644, 0, nil)
	_, _ = w.Close()
	return [][]byte{
		b.Bytes(), new(raw).end(),
		new(raw).file("a", "x").dir("d").file("d/b", strings.Repeat("y", 700)).symlink("l", "a").end(),
		new(raw).pax("path", "p", "size", "1").file("x", "y").end(),
		new(raw).meta('L', "long\x00").file("x", "y").end(),
		new(raw).meta('g', record("comment", "c")).file("x", "y").end(),
		new(raw).header(head{name: "x", flag: 'S'}).end(),
		new(raw).header(head{name: "f", prefix: "a/b", flag: '0', size: 1}).body("x").end(),
		new(raw).file("../x", "y").end(),
	}
}

// FuzzTar: what is accepted, archive/tar reads with the same names and
// contents; nothing that is accepted leaves the root.
func FuzzTar(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		type entry struct{ name, content string }
		var got []entry
		_, err := untar.Walk(t.Context(), bytes.NewReader(data), func(e untar.Entry, r io.Reader) error {
			b, err := io.ReadAll(r)
			if e.Type == untar.File {
				got = append(got, entry{e.Path, string(b)})
			}
			for _, c := range strings.Split(e.Path, "/") {
				if c == ".." || c == "" || c == "." {
					return fmt.Errorf("bad path %q", e.Path)
				}
			}
			return err
		}, untar.Options{Compression: untar.None, Limits: untar.Limits{Expanded: 1 << 20}})
		if err != nil {
			if strings.Contains(err.Error(), "bad path") {
				t.Fatal(err)
			}
			return
		}
		r := tar.NewReader(bytes.NewReader(data))
		for i := 0; ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				if i != len(got) {
					t.Fatalf("%d files, archive/tar has %d", len(got), i)
				}
				return
			}
			if err != nil {
				return // stricter than we are, as about numbers that do not matter
			}
			if h.Typeflag != tar.TypeReg {
				continue
			}
			b, err := io.ReadAll(r)
			if err != nil {
				return
			}
			if name := path.Clean(h.Name); i >= len(got) || name != got[i].name || string(b) != got[i].content {
				t.Fatalf("file %d: archive/tar has %q", i, name)
			}
			i++
		}
	})
}

// FuzzGzip: what is accepted is what compress/gzip makes of it, and members
// decoded apart give the same as in sequence.
func FuzzGzip(f *testing.F) {
	for _, s := range seeds() {
		f.Add(gz(s))
		f.Add(append(gz(s[:len(s)/2]), gz(s[len(s)/2:])...))
	}
	var b bytes.Buffer
	w := tarball.NewWriter(&b, tarball.Options{})
	_ = w.Add("a", 0o644, 3, strings.NewReader("abc"))
	_, _ = w.Close()
	f.Add(b.Bytes())
	f.Add(append(bytes.Clone(b.Bytes()), b.Bytes()...))
	f.Fuzz(func(t *testing.T, data []byte) {
		list := func(data []byte, o untar.Options) (string, error) {
			var out strings.Builder
			_, err := untar.Walk(t.Context(), bytes.NewReader(data), func(e untar.Entry, r io.Reader) error {
				b, err := io.ReadAll(r)
				fmt.Fprintf(&out, "%q %d %q\n", e.Path, e.Type, b)
				return err
			}, o)
			return out.String(), err
		}
		o := untar.Options{Limits: untar.Limits{Expanded: 1 << 20}}
		got, err := list(data, o)
		// Without the letters GK nothing is decoded apart.
		plain := bytes.ReplaceAll(data, []byte("GK\x04\x00"), []byte("XX\x04\x00"))
		if bytes.Count(data, []byte("GK\x04\x00")) == bytes.Count(data, []byte("\x08\x00GK\x04\x00")) {
			seq, serr := list(plain, o)
			if (err == nil) != (serr == nil) || got != seq {
				t.Fatalf("apart: %v %q\nin sequence: %v %q", err, got, serr, seq)
			}
		}
		if err != nil {
			return
		}
		z, zerr := gzip.NewReader(bytes.NewReader(data))
		if zerr != nil {
			t.Fatalf("compress/gzip: %v", zerr)
		}
		all, zerr := io.ReadAll(z)
		if zerr != nil && !errors.Is(zerr, gzip.ErrHeader) && !errors.Is(zerr, io.ErrUnexpectedEOF) { // zeros behind the last member
			t.Fatalf("compress/gzip: %v", zerr)
		}
		same, err := list(all, untar.Options{Compression: untar.None, Limits: o.Limits})
		if err != nil || same != got {
			t.Fatalf("from compress/gzip: %v %q, from us %q", err, same, got)
		}
	})
}
