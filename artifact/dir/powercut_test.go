// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dir_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/dir"
	"github.com/gitops-kit/sdk/testserver/fault"
)

// mirror repeats the operations of a driver on a recording file system. The
// driver asks before each operation, so that each is repeated when the next
// one is asked for.
type mirror struct {
	t       testing.TB
	base    string
	fs      *fault.FS
	open    map[string]fault.File
	op      string
	name    string
	pending bool
}

func newMirror(t testing.TB, d *dir.Driver, base string) *mirror {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	f, err := fault.NewFS(root)
	if err != nil {
		t.Fatal(err)
	}
	m := &mirror{t: t, base: base, fs: f, open: map[string]fault.File{}}
	dir.SetHook(d, func(op, name string) error {
		m.flush()
		m.op, m.name, m.pending = op, name, true
		return nil
	})
	return m
}

// count is the number of operations so far.
func (m *mirror) count() int {
	m.flush()
	return len(m.fs.Ops())
}

func (m *mirror) flush() {
	m.t.Helper()
	if !m.pending {
		return
	}
	m.pending = false
	if err := m.repeat(); err != nil {
		m.t.Fatalf("%s %q: %v", m.op, m.name, err)
	}
}

func (m *mirror) repeat() (err error) {
	switch m.op {
	case "mkdir":
		return m.fs.Mkdir(m.name, 0o700)
	case "create":
		m.open[m.name], err = m.fs.OpenFile(m.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	case "write":
		data, err := os.ReadFile(filepath.Join(m.base, m.name))
		if err != nil {
			return err
		}
		at, err := m.open[m.name].Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		_, err = m.open[m.name].Write(data[at:])
		return err
	case "sync":
		return m.open[m.name].Sync()
	case "syncdir":
		f, err := m.fs.Open(m.name)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	case "rename":
		from, to, _ := strings.Cut(m.name, "\x00")
		if f := m.open[from]; f != nil {
			delete(m.open, from)
			_ = f.Close()
		}
		return m.fs.Rename(from, to)
	case "symlink":
		target, err := os.Readlink(filepath.Join(m.base, m.name))
		if err != nil {
			return err
		}
		return m.fs.Symlink(target, m.name)
	case "remove":
		return m.fs.Remove(m.name)
	case "statfs":
		return nil
	}
	return errors.ErrUnsupported
}

// change is something that was done to a name between two operations.
type change struct {
	file       string
	texts      []string // what the name may hold from begin on; "" is nothing
	begin, ack int
	durable    bool // from ack on what was there before has gone
}

func powerCutRun(t testing.TB, base string) (*mirror, []change) {
	t.Helper()
	d := open(t, base)
	m := newMirror(t, d, base)
	s, err := artifact.NewStore(d, artifact.Options{BaseURL: "h", Limits: artifact.Limits{
		Records: 1, TTL: -1, Free: artifact.Free{Percent: -1, Bytes: -1},
	}})
	if err != nil {
		t.Fatal(err)
	}
	var changes []change
	do := func(file string, durable bool, run func() error, texts ...string) {
		t.Helper()
		c := change{file: file, texts: texts, durable: durable, begin: m.count()}
		if err := run(); err != nil {
			t.Fatal(err)
		}
		c.ack = m.count()
		changes = append(changes, c)
	}
	at := func(file string) artifact.Key { k := key; k.File = file; return k }
	var last *meta.Artifact
	write := func(file, text string) {
		do(file, true, func() (err error) {
			last, err = s.Write(t.Context(), at(file), "r", func(w io.Writer) error {
				_, err := io.WriteString(w, text)
				return err
			}, artifact.WriteOptions{})
			return err
		}, text)
	}
	link := func(file string, texts ...string) {
		do("latest", true, func() error {
			_, err := s.Link(t.Context(), at(file), "latest")
			return err
		}, texts...)
	}
	write("a", "one")
	write("a", strings.Repeat("two", 100_000)) // several writes
	link("a", strings.Repeat("two", 100_000))
	write("b", "three")
	link("b", "three")
	write("b", "four")
	four := changes[len(changes)-1] // the link names b: it changes with it
	four.file = "latest"
	changes = append(changes, four)
	do("a", false, func() error {
		c, err := s.Collect(t.Context(), at(""), last)
		if err == nil && len(c.Removed) != 1 {
			err = errors.New("a was not collected")
		}
		return err
	}, "")
	write("c", "five")
	dir.SetHook(d, nil)
	return m, changes
}

// allowed is what a name may hold when the power failed after n operations.
func allowed(changes []change, file string, n int) []string {
	out := []string{""}
	for _, c := range changes {
		switch {
		case c.file != file || c.begin >= n && c.ack > c.begin:
			continue
		case c.ack <= n && c.durable:
			out = nil
		}
		out = append(out, c.texts...)
	}
	return out
}

// CR-4, F30, N29, ART-18: for every prefix of the operations, what is on the
// disk after a power cut is old or new, as a whole; what was acknowledged is
// there; nothing is left after a sweep; and writing goes on.
func TestPowerCut(t *testing.T) {
	m, changes := powerCutRun(t, t.TempDir())
	total := m.count()
	if total < 60 {
		t.Fatalf("only %d operations were recorded", total)
	}
	for n := range total + 1 {
		for _, mode := range []fault.CutMode{fault.LoseEntries, fault.KeepEntries} {
			g := NewWithT(t)
			base := t.TempDir()
			g.Expect(m.fs.PowerCut(n, mode, base)).To(Succeed())
			d := open(t, base)
			for _, file := range []string{"a", "b", "c", "latest"} {
				want := allowed(changes, file, n)
				got := content(t, d, file)
				g.Expect(slices.Contains(want, got)).To(BeTrue(), "after operation %d of %d, mode %d: %s holds %.20q, not one of %.20q", n, total, mode, file, got, want)
			}
			s, err := artifact.NewStore(d, artifact.Options{BaseURL: "h", Limits: artifact.Limits{Free: artifact.Free{Percent: -1, Bytes: -1}}})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = s.Sweep(t.Context(), nil)
			g.Expect(err).NotTo(HaveOccurred())
			k := key
			k.File = "after"
			a, err := s.Write(t.Context(), k, "r", func(w io.Writer) error {
				_, err := io.WriteString(w, "after")
				return err
			}, artifact.WriteOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(s.Check(t.Context(), a, artifact.Full)).To(Succeed())
			g.Expect(filepath.Glob(filepath.Join(base, "*/*/*/.*.tmp"))).To(BeEmpty(), "after operation %d", n)
			g.Expect(s.Close()).To(Succeed())
		}
	}
}

// content is what a name holds; "" for nothing.
func content(t testing.TB, d *dir.Driver, file string) string {
	t.Helper()
	k := key
	k.File = file
	r, _, err := d.Get(t.Context(), k)
	if errors.Is(err, artifact.ErrNotFound) {
		return ""
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	defer r.Close() //nolint:errcheck // opened for reading
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return string(b)
}
