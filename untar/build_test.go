// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/untar"
)

// raw builds archives byte by byte, so that they can be wrong.
type raw struct{ bytes.Buffer }

// head is one header block; zero fields get harmless values.
type head struct {
	name, link, magic, prefix string
	flag                      byte
	mode                      string
	size                      int64
	sizeField                 string // instead of size
	sum                       string // instead of the right checksum
}

func (r *raw) header(h head) *raw {
	var b [512]byte
	copy(b[0:100], h.name)
	if h.mode == "" {
		h.mode = "0000644"
	}
	copy(b[100:108], h.mode)
	copy(b[108:116], "0000000")
	copy(b[116:124], "0000000")
	if h.sizeField == "" {
		h.sizeField = fmt.Sprintf("%011o", h.size)
	}
	copy(b[124:136], h.sizeField)
	copy(b[136:148], "00000000000")
	b[156] = h.flag
	copy(b[157:257], h.link)
	if h.magic == "" {
		h.magic = "ustar\x0000"
	}
	copy(b[257:], h.magic)
	copy(b[345:500], h.prefix)
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:156], fmt.Sprintf("%06o\x00 ", sum))
	if h.sum != "" {
		copy(b[148:156], h.sum)
	}
	r.Write(b[:])
	return r
}

// body writes content, padded to a block.
func (r *raw) body(s string) *raw {
	r.WriteString(s)
	r.Write(make([]byte, -len(s)&511))
	return r
}

func (r *raw) file(name, content string) *raw {
	return r.header(head{name: name, flag: '0', size: int64(len(content))}).body(content)
}

func (r *raw) dir(name string) *raw { return r.header(head{name: name, flag: '5', mode: "0000755"}) }

func (r *raw) symlink(name, target string) *raw {
	return r.header(head{name: name, flag: '2', link: target})
}

func (r *raw) meta(flag byte, content string) *raw {
	return r.header(head{name: "meta", flag: flag, size: int64(len(content))}).body(content)
}

func record(key, value string) string {
	n := len(key) + len(value) + 3
	total := n + len(fmt.Sprint(n))
	total = n + len(fmt.Sprint(total))
	return fmt.Sprintf("%d %s=%s\n", total, key, value)
}

func (r *raw) pax(pairs ...string) *raw {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString(record(pairs[i], pairs[i+1]))
	}
	return r.meta('x', b.String())
}

// end writes the end marker and returns the tar stream.
func (r *raw) end() []byte {
	r.Write(make([]byte, 1024))
	return r.Bytes()
}

func gz(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

// outcome is what an extraction left and returned.
type outcome struct {
	rep  *untar.Report
	err  error
	tree map[string]string // path: content; directories end in /, links have "-> "
	dst  string
}

// extract unpacks into a fresh place and asserts what holds for every input:
// nothing outside, nothing left after an error, and the input read to its
// end if it was accepted.
func extract(t testing.TB, data []byte, o untar.Options) outcome {
	t.Helper()
	parent := t.TempDir()
	if err := os.WriteFile(filepath.Join(parent, "canary"), []byte("safe"), 0o600); err != nil {
		t.Fatal(err)
	}
	dst := filepath.Join(parent, "dst")
	h := sha256.New()
	rep, err := untar.Extract(t.Context(), io.TeeReader(bytes.NewReader(data), h), dst, o)
	entries, derr := os.ReadDir(parent)
	if derr != nil {
		t.Fatal(derr)
	}
	for _, e := range entries {
		if e.Name() != "canary" && (e.Name() != "dst" || err != nil) {
			t.Fatalf("%q was left beside the destination (error: %v)", e.Name(), err)
		}
	}
	if canary, _ := os.ReadFile(filepath.Join(parent, "canary")); string(canary) != "safe" {
		t.Fatal("a file outside the destination was changed")
	}
	if rep == nil {
		t.Fatal("no report")
	}
	// TAR-4: a digest around the reader is that of all bytes.
	if want := sha256.Sum256(data); err == nil && !bytes.Equal(h.Sum(nil), want[:]) {
		t.Fatal("the input was not read to its end")
	}
	return outcome{rep: rep, err: err, tree: tree(t, dst), dst: dst}
}

func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p == dir {
			return fs.SkipAll
		}
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		switch {
		case d.IsDir():
			out[rel+"/"] = ""
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			out[rel] = "-> " + target
			return err
		default:
			b, err := os.ReadFile(p)
			out[rel] = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func names(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// limit is the name of the limit in an error, "" if there is none.
func limit(err error) string {
	var l *untar.LimitError
	if errors.As(err, &l) && errors.Is(err, untar.ErrLimit) {
		return l.Name
	}
	return ""
}

// settle waits until the goroutines and descriptors are back at a baseline.
func settle(t testing.TB, goroutines, fds int) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		runtime.GC()
		g, f := runtime.NumGoroutine(), openFiles(t)
		if g <= goroutines && f <= fds {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, were %d; %d descriptors, were %d", g, goroutines, f, fds)
		}
		runtime.Gosched()
	}
}

func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// bomb is a gzip stream of a prefix and n zero bytes.
func bomb(prefix []byte, n int64) []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	_, _ = w.Write(prefix)
	_, _ = io.CopyN(w, zeros{}, n)
	_ = w.Close()
	return out.Bytes()
}

// long reports that the big loops are wanted, which take minutes.
func long() bool { return os.Getenv("GITOPS_KIT_LONG") == "1" }
