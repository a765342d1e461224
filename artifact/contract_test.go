// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/dir"
	"github.com/gitops-kit/sdk/testserver/history"
	"github.com/gitops-kit/sdk/untar"
	"github.com/gitops-kit/sdk/untar/ignore"
	"github.com/gitops-kit/sdk/untar/tarball"
)

// ART-17: the same tree has the same digest, links are left out, ignore rules
// hold, and an export that writes entry by entry is the same file.
func TestPack(t *testing.T) {
	g := NewWithT(t)
	tree := func(perm os.FileMode) *os.Root {
		base := t.TempDir()
		g.Expect(os.MkdirAll(filepath.Join(base, "d"), 0o755)).To(Succeed())
		for _, f := range []string{"d/b.yaml", "a.yaml", "x.png"} {
			g.Expect(os.WriteFile(filepath.Join(base, f), []byte("text of "+f), perm)).To(Succeed())
		}
		g.Expect(os.Symlink("/etc", filepath.Join(base, "link"))).To(Succeed())
		root, err := os.OpenRoot(base)
		g.Expect(err).NotTo(HaveOccurred())
		t.Cleanup(func() { _ = root.Close() })
		return root
	}
	m, err := ignore.New(ignore.Defaults(), ignore.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	base := t.TempDir()
	s := newStore(t, base, artifact.Options{})
	var res tarball.Result
	first, err := s.Pack(t.Context(), key("one"), "r", tree(0o644), artifact.PackOptions{Ignore: m, Result: &res})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Skipped).To(Equal([]string{"link"}))
	second, err := s.Pack(t.Context(), key("two"), "r", tree(0o600), artifact.PackOptions{Ignore: m})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(second.Digest).To(Equal(first.Digest))
	third, err := s.Write(t.Context(), key("three"), "r", func(w io.Writer) error {
		tw := tarball.NewWriter(w, tarball.Options{})
		for _, f := range []string{"a.yaml", "d", "d/b.yaml"} {
			mode, text := os.FileMode(0o644), "text of "+f
			if f == "d" {
				mode, text = os.ModeDir|0o755, ""
			}
			if err := tw.Add(f, mode, int64(len(text)), strings.NewReader(text)); err != nil {
				return err
			}
		}
		_, err := tw.Close()
		return err
	}, artifact.WriteOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(third.Digest).To(Equal(first.Digest))
	r, err := s.Open(t.Context(), first)
	g.Expect(err).NotTo(HaveOccurred())
	defer r.Close() //nolint:errcheck // opened for reading
	var names []string
	_, err = untar.Walk(t.Context(), r, func(e untar.Entry, _ io.Reader) error {
		names = append(names, e.Path)
		return nil
	}, untar.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(names).To(Equal([]string{"a.yaml", "d", "d/b.yaml"}))
	g.Expect(leftovers(t, base)).To(BeEmpty())
}

// ART-19, R4: a link or a special file where a file, or a directory, should be
// is corrupt and never followed; links that the driver made are.
func TestNeverFollowed(t *testing.T) {
	g := NewWithT(t)
	base, outside := t.TempDir(), t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600)).To(Succeed())
	s := newStore(t, base, artifact.Options{})
	a := write(t, s, "a", "secret") // the right bytes: only what it is can be wrong
	url, err := s.Link(t.Context(), key("a"), "latest")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(url).To(HaveSuffix("/app/latest"))
	target, err := os.Readlink(filepath.Join(filepath.Dir(path(base, a)), "latest"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(target).To(Equal("a"))
	b, err := s.Lookup(t.Context(), key("latest"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(b.Stat.Key.File).To(Equal("a"))
	g.Expect(b.Close()).To(Succeed())
	for name, replace := range map[string]func(string) error{
		"Outside":   func(p string) error { return os.Symlink(filepath.Join(outside, "secret"), p) },
		"Above":     func(p string) error { return os.Symlink("../../../../secret", p) },
		"Directory": func(p string) error { return os.Mkdir(p, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(os.RemoveAll(path(base, a))).To(Succeed())
			g.Expect(replace(path(base, a))).To(Succeed())
			_, err := s.Open(t.Context(), a)
			g.Expect(errors.Is(err, artifact.ErrCorrupt)).To(BeTrue(), "%v", err)
			for _, depth := range []artifact.Depth{artifact.Exists, artifact.Quick, artifact.Full} {
				g.Expect(s.Check(t.Context(), a, depth)).NotTo(Succeed())
			}
		})
	}
	g.Expect(os.RemoveAll(filepath.Join(base, "gitrepository", "default"))).To(Succeed())
	g.Expect(os.Symlink(outside, filepath.Join(base, "gitrepository", "default"))).To(Succeed())
	_, err = s.Write(t.Context(), key("new"), "r", fill("x"), artifact.WriteOptions{})
	g.Expect(errors.Is(err, artifact.ErrCorrupt)).To(BeTrue(), "%v", err)
	entries, err := os.ReadDir(outside)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(HaveLen(1), "nothing was written outside")
}

// bare has nothing but what every driver has.
type bare struct{ artifact.Driver }

// ART-19: a driver without stable names says so.
func TestLinkUnsupported(t *testing.T) {
	g := NewWithT(t)
	d, err := dir.New(t.TempDir(), dir.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	defer d.Close() //nolint:errcheck // a test
	s, err := artifact.NewStore(bare{d}, artifact.Options{BaseURL: "h"})
	g.Expect(err).NotTo(HaveOccurred())
	write(t, s, "a", "text")
	_, err = s.Link(t.Context(), key("a"), "latest")
	g.Expect(errors.Is(err, errors.ErrUnsupported)).To(BeTrue())
}

// tight says how much space is free; what it deletes frees some.
type tight struct {
	*dir.Driver
	mu    sync.Mutex
	free  int64
	looks int
}

func (d *tight) Space(context.Context) (int64, int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.looks++
	return d.free, 1 << 40, nil
}

func (d *tight) Delete(ctx context.Context, keys ...artifact.Key) error {
	err := d.Driver.Delete(ctx, keys...)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.free += int64(len(keys)) * 100
	return err
}

// ART-21: below the reserve, files that nobody uses go first, the oldest
// before the others; then the write is refused and what is in use is still
// there; and space that comes back is enough to go on.
func TestFreeSpace(t *testing.T) {
	g := NewWithT(t)
	base := t.TempDir()
	d, err := dir.New(base, dir.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	small := &tight{Driver: d, free: 1000}
	var evicted []string
	s, err := artifact.NewStore(small, artifact.Options{
		BaseURL: "h", Limits: artifact.Limits{Free: artifact.Free{Bytes: 500, Percent: -1}},
		Observe: func(e artifact.Event) {
			if e.Type == artifact.Evicted {
				evicted = append(evicted, e.Key.File)
			}
		},
	})
	g.Expect(err).NotTo(HaveOccurred())
	defer s.Close() //nolint:errcheck // a test
	for _, f := range []string{"a", "b", "c"} {
		write(t, s, f, f)
	}
	small.free = 450
	d1 := write(t, s, "d", "d")
	g.Expect(evicted).NotTo(BeEmpty())
	g.Expect(evicted[0]).To(Equal("a"), "the oldest")
	g.Expect(evicted).NotTo(ContainElement("c"), "what is in use stays: %v", evicted)
	small.free = -1 << 40
	before := small.looks
	_, err = s.Write(t.Context(), key("e"), "r", fill("e"), artifact.WriteOptions{})
	g.Expect(errors.Is(err, artifact.ErrStorageFull)).To(BeTrue(), "%v", err)
	g.Expect(s.Check(t.Context(), d1, artifact.Full)).To(Succeed(), "the one in use")
	g.Expect(small.looks-before).To(BeNumerically("<=", 4), "one retry")
	small.free = 1000
	before = small.looks
	a, err := s.Write(t.Context(), key("e"), "r", fill(strings.Repeat("e", 40<<20)), artifact.WriteOptions{})
	g.Expect(err).NotTo(HaveOccurred(), "heals without a restart")
	g.Expect(s.Check(t.Context(), a, artifact.Full)).To(Succeed())
	g.Expect(small.looks-before).To(BeNumerically("~", 5, 1), "at most every 8 MiB")
	g.Expect(leftovers(t, base)).To(BeEmpty())
}

// ART-21, I3: the file in use is not always the newest: somebody went back to an older
// revision. A process that has just started does not know, and makes no
// space at its expense; when it was told, the others go.
func TestFreeSpaceAfterARestart(t *testing.T) {
	g := NewWithT(t)
	base := t.TempDir()
	start := func() (*artifact.Store, *tight) {
		d, err := dir.New(base, dir.Options{})
		g.Expect(err).NotTo(HaveOccurred())
		small := &tight{Driver: d, free: 1000}
		s, err := artifact.NewStore(small, artifact.Options{BaseURL: "h", Limits: artifact.Limits{Free: artifact.Free{Bytes: 500, Percent: -1}}})
		g.Expect(err).NotTo(HaveOccurred())
		return s, small
	}
	s, _ := start()
	used := write(t, s, "a", "a")
	for _, f := range []string{"b", "c"} {
		write(t, s, f, f)
	}
	g.Expect(write(t, s, "a", "a")).To(Equal(used), "back to the first")
	g.Expect(s.Close()).To(Succeed())

	s, small := start()
	defer s.Close() //nolint:errcheck // a test
	small.free = 450
	elsewhere := artifact.Key{Kind: "gitrepository", Namespace: "default", Name: "other", File: "f"}
	_, err := s.Write(t.Context(), elsewhere, "r", fill("f"), artifact.WriteOptions{})
	g.Expect(errors.Is(err, artifact.ErrStorageFull)).To(BeTrue(), "%v", err)
	g.Expect(path(base, used)).To(BeARegularFile(), "in use")
	g.Expect(s.Check(t.Context(), used, artifact.Quick)).To(Succeed())
	_, err = s.Write(t.Context(), elsewhere, "r", fill("f"), artifact.WriteOptions{})
	g.Expect(err).NotTo(HaveOccurred(), "heals without a restart")
	g.Expect(s.Check(t.Context(), used, artifact.Full)).To(Succeed())
	list, err := small.List(t.Context(), key(""))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(list).To(HaveLen(2), "one of the others went")
}

type registerOp struct {
	write bool
	text  string
}

// I3, HIS-5: writes and reads of one key by many at once are as if they had
// happened one after the other.
func TestLinearizable(t *testing.T) {
	s := newStore(t, t.TempDir(), artifact.Options{})
	write(t, s, "f", "-")
	start := time.Now()
	var mu sync.Mutex
	var ops []history.Operation[registerOp, string]
	record := func(client string, in registerOp, run func() (string, error)) {
		from := time.Since(start)
		out, err := run()
		if err != nil {
			t.Errorf("%s: %v", client, err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		ops = append(ops, history.Operation[registerOp, string]{Client: client, Start: from, End: time.Since(start), Input: in, Output: out})
	}
	var group sync.WaitGroup
	for c := range 4 {
		group.Go(func() {
			for i := range 25 {
				name := fmt.Sprintf("client %d", c)
				if c < 2 {
					text := fmt.Sprintf("%d-%d", c, i)
					record(name, registerOp{write: true, text: text}, func() (string, error) {
						_, err := s.Write(t.Context(), key("f"), "r", fill(text), artifact.WriteOptions{})
						return "", err
					})
					continue
				}
				record(name, registerOp{}, func() (string, error) { return readKey(t, s) })
			}
		})
	}
	group.Wait()
	ok, why, err := history.Linearizable(history.Model[string, registerOp, string]{
		Init: "-",
		Step: func(state string, in registerOp, out string, known bool) (bool, string) {
			if in.write {
				return true, in.text
			}
			return !known || out == state, state
		},
		Key: func(s string) string { return s },
	}, ops)
	if err != nil || !ok {
		t.Fatalf("%v\n%s", err, why)
	}
}

func readKey(t testing.TB, s *artifact.Store) (string, error) {
	b, err := s.Lookup(t.Context(), key("f"))
	if err != nil {
		return "", err
	}
	defer b.Close() //nolint:errcheck // opened for reading
	var out bytes.Buffer
	_, err = io.Copy(&out, b)
	return out.String(), err
}

// ART-46: a replica that cannot write serves as well; it is ready when the
// first sweep is done.
func TestReadOnlyReplica(t *testing.T) {
	g := NewWithT(t)
	base := t.TempDir()
	leader := newStore(t, base, artifact.Options{})
	a := write(t, leader, "a", "text")
	d, err := dir.New(base, dir.Options{ReadOnly: true})
	g.Expect(err).NotTo(HaveOccurred())
	other, err := artifact.NewStore(d, artifact.Options{BaseURL: "h"})
	g.Expect(err).NotTo(HaveOccurred())
	defer other.Close() //nolint:errcheck // a test
	for _, s := range []*artifact.Store{leader, other} {
		g.Expect(s.Ready()).To(BeFalse())
		_, err := s.Sweep(t.Context(), func(artifact.Key) bool { return true })
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(s.Ready()).To(BeTrue())
		var r io.ReadSeekCloser
		r, err = s.Open(t.Context(), a)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.Close()).To(Succeed())
	}
}
