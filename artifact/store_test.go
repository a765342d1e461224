// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/dir"
)

// noSpace switches the check for free space off, so that tests do not depend
// on the machine.
var noSpace = artifact.Free{Percent: -1, Bytes: -1}

func newStore(t testing.TB, base string, o artifact.Options) *artifact.Store {
	t.Helper()
	d, err := dir.New(base, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if o.BaseURL == "" {
		o.BaseURL = "host"
	}
	if o.Limits.Free == (artifact.Free{}) {
		o.Limits.Free = noSpace
	}
	s, err := artifact.NewStore(d, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func key(file string) artifact.Key {
	return artifact.Key{Kind: "GitRepository", Namespace: "default", Name: "app", File: file}
}

func fill(text string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}
}

func write(t testing.TB, s *artifact.Store, file, text string) *meta.Artifact {
	t.Helper()
	a, err := s.Write(t.Context(), key(file), "r", fill(text), artifact.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func path(base string, a *meta.Artifact) string {
	return filepath.Join(base, filepath.FromSlash(a.Path))
}

func leftovers(t testing.TB, base string) []string {
	t.Helper()
	var out []string
	_ = filepath.WalkDir(base, func(p string, d os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(p, ".tmp") {
			out = append(out, p)
		}
		return nil
	})
	return out
}

// ART-15, ART-16
func TestWrite(t *testing.T) {
	g := NewWithT(t)
	base := t.TempDir()
	var events []artifact.EventType
	s := newStore(t, base, artifact.Options{Observe: func(e artifact.Event) { events = append(events, e.Type) }, Limits: artifact.Limits{Artifact: 100}})
	a := write(t, s, "a.tar.gz", "one")
	g.Expect(a.Path).To(Equal("gitrepository/default/app/a.tar.gz"))
	g.Expect(a.URL).To(Equal("http://host/gitrepository/default/app/a.tar.gz"))
	g.Expect(a.LastUpdateTime.Nanosecond()).To(BeZero())
	again := write(t, s, "a.tar.gz", "one")
	g.Expect(again).To(Equal(a), "the same content has the time of its first writing")
	other := write(t, s, "a.tar.gz", "two")
	g.Expect(other.Digest).NotTo(Equal(a.Digest))
	g.Expect(events).To(Equal([]artifact.EventType{artifact.Written, artifact.Unchanged, artifact.Written}))
	_, err := s.Write(t.Context(), key("a.tar.gz"), "r", fill("three"), artifact.WriteOptions{Immutable: true})
	g.Expect(errors.Is(err, artifact.ErrConflict)).To(BeTrue(), "%v", err)
	mine := errors.New("mine")
	_, err = s.Write(t.Context(), key("a.tar.gz"), "r", func(w io.Writer) error { _, _ = w.Write([]byte("x")); return mine }, artifact.WriteOptions{})
	g.Expect(errors.Is(err, mine)).To(BeTrue())
	_, err = s.Write(t.Context(), key("b"), "r", fill(strings.Repeat("x", 101)), artifact.WriteOptions{})
	var limit *artifact.LimitError
	g.Expect(errors.As(err, &limit)).To(BeTrue(), "%v", err)
	g.Expect(limit.Name).To(Equal("artifact"))
	_, err = s.Write(t.Context(), key("b"), "r", fill(strings.Repeat("x", 100)), artifact.WriteOptions{})
	g.Expect(err).NotTo(HaveOccurred(), "the limit itself")
	g.Expect(errors.Is(s.Check(t.Context(), a, artifact.Quick), artifact.ErrNotFound)).To(BeTrue(), "replaced is not corrupt")
	data, err := os.ReadFile(path(base, other))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(data)).To(Equal("two"), "what failed changed nothing")
	g.Expect(leftovers(t, base)).To(BeEmpty())
}

// ART-10, ART-11
func TestKeysAndURLs(t *testing.T) {
	g := NewWithT(t)
	for _, bad := range []string{"", "a", "a/b/c", "a/b/c/d/e", "/a/b/c/d", "A/b/c/d", "a/B/c/d", "a/b/../d", "a/b/c/..", "a/b/c/.d", "a/b/c/d.lock", "a/b/c/d.tmp", "a//c/d", "a/b/c/", "1a/b/c/d", "a/-b/c/d", "a/b/c-/d", "a/b/c..d/e", "a/b/c/" + strings.Repeat("x", 256), "a/b/c/ä", "a/b/c/d\n", `a/b/c/d\e`, "a/b.c/d/e"} {
		_, err := artifact.ParseKey(bad)
		g.Expect(errors.Is(err, artifact.ErrInvalidKey)).To(BeTrue(), "%q", bad)
		g.Expect(err.Error()).NotTo(ContainSubstring("\n"))
	}
	k, err := artifact.ParseKey("ocirepository/ns/a.b-c/v1.0.0+build@sha256:00=.tar.gz")
	g.Expect(err).NotTo(HaveOccurred())
	for base, want := range map[string]string{
		"host": "http://host/", "host:9090/": "http://host:9090/", "https://h/x/": "https://h/x/", "fd00::1": "http://[fd00::1]/", "[fd00::1]:80": "http://[fd00::1]:80/",
	} {
		s, err := artifact.NewStore(nopDriver{}, artifact.Options{BaseURL: base})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(s.URL(k)).To(HavePrefix(want + "ocirepository/ns/a.b-c/v1.0.0+build@sha256:00=.tar.gz"))
	}
	for _, bad := range []string{"", "ftp://h", "http://u:p@h", "http://h?x", "http://", "http://h#f"} {
		_, err := artifact.NewStore(nopDriver{}, artifact.Options{BaseURL: bad})
		g.Expect(err).To(HaveOccurred(), bad)
	}
	_, err = artifact.NewStore(nopDriver{}, artifact.Options{BaseURL: "h", Algorithm: "md5"})
	g.Expect(errors.Is(err, artifact.ErrUnsupportedDigest)).To(BeTrue())
	_, err = artifact.NewStore(nil, artifact.Options{BaseURL: "h"})
	g.Expect(err).To(HaveOccurred())
}

type nopDriver struct{ artifact.Driver }

// ART-20, F31: a changed byte is never handed out, the file is put aside,
// and the next write heals.
func TestCorruption(t *testing.T) {
	base := t.TempDir()
	s := newStore(t, base, artifact.Options{})
	text := strings.Repeat("0123456789", 20_000)
	for i := range 20 {
		g := NewWithT(t)
		a := write(t, s, "a", text)
		g.Expect(s.Check(t.Context(), a, artifact.Quick)).To(Succeed())
		p := path(base, a)
		info, err := os.Stat(p)
		g.Expect(err).NotTo(HaveOccurred())
		f, err := os.OpenFile(p, os.O_WRONLY, 0)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = f.WriteAt([]byte{'X'}, int64(i)*(info.Size()-1)/19)
		g.Expect(errors.Join(err, f.Close(), os.Chtimes(p, info.ModTime(), info.ModTime()))).To(Succeed())
		if i%2 == 0 {
			err = s.Check(t.Context(), a, artifact.Quick)
		} else {
			_, err = s.Open(t.Context(), a)
		}
		g.Expect(errors.Is(err, artifact.ErrCorrupt)).To(BeTrue(), "byte %d: %v", i, err)
		var de *artifact.DigestError
		g.Expect(errors.As(err, &de)).To(BeTrue())
		g.Expect(de.Want).To(Equal(a.Digest))
		g.Expect(errors.Is(s.Check(t.Context(), a, artifact.Exists), artifact.ErrNotFound)).To(BeTrue(), "put aside")
	}
	g := NewWithT(t)
	aside, err := os.ReadDir(filepath.Join(base, ".quarantine"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(aside).To(HaveLen(10), "bounded")
	a := write(t, s, "a", text)
	g.Expect(os.Truncate(path(base, a), 5)).To(Succeed())
	err = s.Check(t.Context(), a, artifact.Exists)
	g.Expect(errors.Is(err, artifact.ErrCorrupt) && errors.Is(err, artifact.ErrSizeMismatch)).To(BeTrue(), "%v", err)
	a = write(t, s, "a", text)
	g.Expect(os.Remove(path(base, a))).To(Succeed())
	g.Expect(os.Symlink("/etc/passwd", path(base, a))).To(Succeed())
	_, err = s.Open(t.Context(), a)
	g.Expect(errors.Is(err, artifact.ErrCorrupt)).To(BeTrue(), "a link is never followed: %v", err)
	g.Expect(s.Check(t.Context(), write(t, s, "a", text), artifact.Full)).To(Succeed())
}

// ART-20: an artifact that states another size, or another digest, than its
// file has is not there; the file is intact, stays, and serves those who know
// better.
func TestWrongStatement(t *testing.T) {
	g := NewWithT(t)
	base := t.TempDir()
	var events []artifact.EventType
	s := newStore(t, base, artifact.Options{Observe: func(e artifact.Event) { events = append(events, e.Type) }})
	good := write(t, s, "a", "content")
	for _, size := range []int64{0, 6, 8, -1, 1 << 60} {
		for _, restarted := range []bool{false, true} {
			if restarted {
				g.Expect(s.Close()).To(Succeed())
				s = newStore(t, base, artifact.Options{Observe: func(e artifact.Event) { events = append(events, e.Type) }})
			}
			wrong := good.DeepCopy()
			wrong.Size = &size
			for _, depth := range []artifact.Depth{artifact.Exists, artifact.Quick, artifact.Full} {
				err := s.Check(t.Context(), wrong, depth)
				g.Expect(errors.Is(err, artifact.ErrNotFound) && errors.Is(err, artifact.ErrSizeMismatch)).To(BeTrue(), "%v", err)
				g.Expect(errors.Is(err, artifact.ErrCorrupt)).To(BeFalse(), "%v", err)
			}
			_, err := s.Open(t.Context(), wrong)
			g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)
			g.Expect(s.Check(t.Context(), good, artifact.Full)).To(Succeed())
		}
	}
	g.Expect(filepath.Join(base, ".quarantine")).NotTo(BeADirectory())
	healed := write(t, s, "a", "content")
	g.Expect(*healed.Size).To(Equal(int64(7)), "the next write states it right")
	g.Expect(events).To(Equal([]artifact.EventType{artifact.Written, artifact.Unchanged}))
}

// ART-22, ART-23, F32
func TestCollect(t *testing.T) {
	g := NewWithT(t)
	base := t.TempDir()
	s := newStore(t, base, artifact.Options{Limits: artifact.Limits{TTL: -1}})
	var all []*meta.Artifact
	for i := range 6 {
		all = append(all, write(t, s, fmt.Sprintf("f%d", i), fmt.Sprint(i)))
	}
	_, err := s.Link(t.Context(), key("f5"), "latest.tar.gz")
	g.Expect(err).NotTo(HaveOccurred())
	c, err := s.Collect(t.Context(), key(""), nil)
	g.Expect(errors.Is(err, artifact.ErrNoCurrent)).To(BeTrue())
	g.Expect(c.Removed).To(BeEmpty(), "no current, nothing is removed")
	_, err = s.Collect(t.Context(), key(""), &meta.Artifact{Path: "gitrepository/default/other/f0"})
	g.Expect(err).To(HaveOccurred(), "current of another object")
	same := write(t, s, "copy-of-0", "0")
	all = append(all, same)
	r, err := s.Open(t.Context(), all[1])
	g.Expect(err).NotTo(HaveOccurred())
	for _, f := range all { // clocks and times on disk play no role
		g.Expect(os.Chtimes(path(base, f), time.Unix(0, 0), time.Unix(0, 0))).To(Succeed())
	}
	c, err = s.Collect(t.Context(), key(""), all[0])
	g.Expect(err).NotTo(HaveOccurred())
	var gone []string
	for _, k := range c.Removed {
		gone = append(gone, k.File)
	}
	g.Expect(gone).To(ConsistOf("f2", "f3", "f4"), "kept: the newest two, the current, one of its digest, the open one")
	g.Expect(r.Close()).To(Succeed())
	c, err = s.Collect(t.Context(), key(""), all[0])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.Removed).To(HaveLen(1), "the open one went after it was closed")
	g.Expect(s.Check(t.Context(), all[0], artifact.Full)).To(Succeed())
	c, err = s.Remove(t.Context(), artifact.Key{Kind: "GitRepository", Namespace: "default"})
	g.Expect(errors.Is(err, artifact.ErrInvalidKey)).To(BeTrue(), "an incomplete key is never everything")
	g.Expect(c.Removed).To(BeEmpty())
	_, err = s.Remove(t.Context(), key(""))
	g.Expect(err).NotTo(HaveOccurred())
	entries, err := os.ReadDir(base)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(HaveLen(1), "only the lock file is left: %v", entries)
}

// ART-22: nothing goes before its time, measured by the monotonic clock.
func TestCollectTTL(t *testing.T) {
	base := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		s := newStore(t, base, artifact.Options{Limits: artifact.Limits{Records: 1}})
		write(t, s, "old", "1")
		cur := write(t, s, "new", "2")
		<-time.After(59 * time.Second)
		c, err := s.Collect(t.Context(), key(""), cur)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(c.Removed).To(BeEmpty())
		<-time.After(2 * time.Second)
		c, err = s.Collect(t.Context(), key(""), cur)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(c.Removed).To(HaveLen(1))
	})
}

// ART-23: objects that nobody wants go after the grace, others stay.
func TestSweepGrace(t *testing.T) {
	base := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		s := newStore(t, base, artifact.Options{})
		g.Expect(s.Ready()).To(BeFalse())
		wanted := write(t, s, "a", "1")
		other := key("b")
		other.Name = "orphan"
		orphan, err := s.Write(t.Context(), other, "r", fill("2"), artifact.WriteOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		keep := func(k artifact.Key) bool { return k.Name == "app" }
		for _, wait := range []time.Duration{0, 59 * time.Minute} {
			<-time.After(wait)
			c, err := s.Sweep(t.Context(), keep)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(c.Removed).To(BeEmpty())
		}
		<-time.After(2 * time.Minute)
		c, err := s.Sweep(t.Context(), keep)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(c.Removed).To(HaveLen(1))
		g.Expect(errors.Is(s.Check(t.Context(), orphan, artifact.Exists), artifact.ErrNotFound)).To(BeTrue())
		g.Expect(s.Check(t.Context(), wanted, artifact.Full)).To(Succeed())
		g.Expect(s.Ready()).To(BeTrue())
	})
}

// ART-24
func TestLock(t *testing.T) {
	g := NewWithT(t)
	base := t.TempDir()
	s := newStore(t, base, artifact.Options{})
	a := write(t, s, "a", "text")
	_, err := dir.New(base, dir.Options{})
	g.Expect(errors.Is(err, artifact.ErrLocked)).To(BeTrue())
	d, err := dir.New(base, dir.Options{ReadOnly: true})
	g.Expect(err).NotTo(HaveOccurred())
	ro, err := artifact.NewStore(d, artifact.Options{BaseURL: "h", Limits: artifact.Limits{Free: noSpace}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ro.Check(t.Context(), a, artifact.Full)).To(Succeed())
	_, err = ro.Write(t.Context(), key("b"), "r", fill("x"), artifact.WriteOptions{})
	g.Expect(errors.Is(err, artifact.ErrReadOnly)).To(BeTrue())
	g.Expect(ro.Close()).To(Succeed())
	g.Expect(s.Close()).To(Succeed())
	d, err = dir.New(base, dir.Options{})
	g.Expect(err).NotTo(HaveOccurred(), "the lock ends with its holder")
	g.Expect(d.Close()).To(Succeed())
}

// ART-25: a directory of the established layout is taken over as it is.
func TestTakeOver(t *testing.T) {
	g := NewWithT(t)
	base := t.TempDir()
	obj := filepath.Join(base, "ocirepository", "default", "app")
	g.Expect(os.MkdirAll(obj, 0o755)).To(Succeed())
	for i, name := range []string{"old.tar.gz", "new.tar.gz"} {
		p := filepath.Join(obj, name)
		at := time.Unix(int64(1_700_000_000+i), 0)
		g.Expect(errors.Join(os.WriteFile(p, []byte(name), 0o600), os.WriteFile(p+".lock", nil, 0o600), os.Chtimes(p, at, at))).To(Succeed())
	}
	g.Expect(os.Symlink(filepath.Join(obj, "new.tar.gz"), filepath.Join(obj, "latest.tar.gz"))).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(obj, "latest.tar.gz.tmp"), nil, 0o600)).To(Succeed())
	s := newStore(t, base, artifact.Options{Limits: artifact.Limits{Records: 1, TTL: -1}})
	_, err := s.Sweep(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	k := artifact.Key{Kind: "OCIRepository", Namespace: "default", Name: "app", File: "latest.tar.gz"}
	b, err := s.Lookup(t.Context(), k)
	g.Expect(err).NotTo(HaveOccurred(), "the link is served")
	g.Expect(b.Stat.Key.File).To(Equal("new.tar.gz"))
	size := b.Stat.Size
	cur := &meta.Artifact{Path: b.Stat.Key.String(), Digest: b.Stat.Digest, Size: &size}
	g.Expect(b.Close()).To(Succeed())
	g.Expect(s.Check(t.Context(), cur, artifact.Full)).To(Succeed())
	c, err := s.Collect(t.Context(), k, cur)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.Removed).To(HaveLen(1))
	g.Expect(c.Removed[0].File).To(Equal("old.tar.gz"))
	entries, err := os.ReadDir(obj)
	g.Expect(err).NotTo(HaveOccurred())
	for _, e := range entries {
		g.Expect(e.Name()).NotTo(HaveSuffix(".lock"))
		g.Expect(e.Name()).NotTo(HaveSuffix(".tmp"))
	}
}

// I3: readers during rewrites and collections of one object see complete
// files only.
func TestReadersConcurrentSafe(t *testing.T) {
	s := newStore(t, t.TempDir(), artifact.Options{Limits: artifact.Limits{TTL: -1}})
	var mu sync.Mutex
	cur := write(t, s, "f0", "0")
	var group sync.WaitGroup
	stop := make(chan struct{})
	for range 3 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				mu.Lock()
				a := cur
				mu.Unlock()
				r, err := s.Open(t.Context(), a)
				if errors.Is(err, artifact.ErrNotFound) {
					continue // it was not the current one any more
				}
				if err != nil {
					t.Errorf("%s: %v", a.Path, err)
					return
				}
				b, err := io.ReadAll(r)
				_ = r.Close()
				if err != nil || int64(len(b)) != *a.Size {
					t.Errorf("%s: %d bytes: %v", a.Path, len(b), err)
				}
			}
		})
	}
	for i := range 150 {
		a := write(t, s, fmt.Sprintf("f%d", i%5), strings.Repeat("x", i))
		mu.Lock()
		cur = a
		mu.Unlock()
		if _, err := s.Collect(t.Context(), key(""), a); err != nil {
			t.Error(err)
		}
		if err := s.Check(t.Context(), a, artifact.Full); err != nil {
			t.Errorf("the current artifact: %v", err)
		}
	}
	close(stop)
	group.Wait()
}

func FuzzParseKey(f *testing.F) {
	f.Add("gitrepository/default/app/a.tar.gz")
	f.Add("../../../etc")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := artifact.ParseKey(s)
		if err != nil {
			return
		}
		if k.String() != s || strings.Contains(s, "..") && strings.Contains("/"+s+"/", "/../") || strings.ContainsAny(s, "\\\x00 \n") {
			t.Fatalf("%q: %+v", s, k)
		}
	})
}

// ART-20: a file that was replaced since it was opened takes the blame for its
// bytes alone; its successor stays where it is.
func TestCorruptAfterReplacement(t *testing.T) {
	g := NewWithT(t)
	s := newStore(t, t.TempDir(), artifact.Options{})
	old := write(t, s, "a", "old")
	k, err := artifact.ParseKey(old.Path)
	g.Expect(err).NotTo(HaveOccurred())
	b, err := s.Lookup(t.Context(), k)
	g.Expect(err).NotTo(HaveOccurred())
	now := write(t, s, "a", "new")
	g.Expect(b.Corrupt(t.Context(), now.Digest)).To(MatchError(artifact.ErrCorrupt))
	g.Expect(b.Close()).To(Succeed())
	g.Expect(s.Check(t.Context(), now, artifact.Full)).To(Succeed(), "not put aside")
	g.Expect(s.Check(t.Context(), old, artifact.Full)).To(MatchError(artifact.ErrNotFound))

	b, err = s.Lookup(t.Context(), k)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(b.Corrupt(t.Context(), old.Digest)).To(MatchError(artifact.ErrCorrupt))
	g.Expect(b.Close()).To(Succeed())
	g.Expect(s.Check(t.Context(), now, artifact.Full)).To(MatchError(artifact.ErrNotFound), "the file itself is put aside")
}

// A name that is written again and again has one record.
func TestRecordsOfOneName(t *testing.T) {
	g := NewWithT(t)
	base := t.TempDir()
	s := newStore(t, base, artifact.Options{})
	var held []io.Closer // keeps inodes from being used again
	for i := range 20 {
		a := write(t, s, "a", fmt.Sprint(i))
		r, err := s.Open(t.Context(), a)
		g.Expect(err).NotTo(HaveOccurred())
		held = append(held, r)
	}
	var records int
	g.Expect(filepath.WalkDir(base, func(p string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && strings.HasPrefix(e.Name(), ".") {
			b, _ := os.ReadFile(p)
			records += strings.Count(string(b), `"inode"`)
		}
		return err
	})).To(Succeed())
	g.Expect(records).To(And(BeNumerically(">", 0), BeNumerically("<=", 2)), "the file's and its predecessor's")
	for _, c := range held {
		g.Expect(c.Close()).To(Succeed())
	}
}
