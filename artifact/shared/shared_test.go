// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package shared_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/shared"
	"github.com/gitops-kit/sdk/untar/digest"
)

func key(file string) artifact.Key {
	return artifact.Key{Kind: "test", Namespace: "default", Name: "a.b", File: file}
}

func store(t testing.TB, m *memory, o shared.Options) *artifact.Store {
	t.Helper()
	s, err := artifact.NewStore(driver(t, m, o), artifact.Options{BaseURL: "h"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(ctx context.Context, s *artifact.Store, file, text string) (*meta.Artifact, error) {
	return s.Write(ctx, key(file), "r", func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	}, artifact.WriteOptions{})
}

func text(t testing.TB, s *artifact.Store, a *meta.Artifact) string {
	t.Helper()
	r, err := s.Open(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// D13, ART-31, ART-32: what one replica wrote, the other serves through its
// own cache; known blobs are not sent again; a leader that stops half-way
// leaves nothing that is seen.
func TestReplicas(t *testing.T) {
	g := NewWithT(t)
	m := newMemory()
	leader := store(t, m, shared.Options{Fresh: -1})
	other := store(t, m, shared.Options{Fresh: -1, ReadOnly: true})
	var all []*meta.Artifact
	for i := range 50 {
		a, err := write(t.Context(), leader, fmt.Sprintf("f%d", i), fmt.Sprint(i%10))
		g.Expect(err).NotTo(HaveOccurred())
		all = append(all, a)
	}
	g.Expect(m.pushes).To(Equal(10), "blobs that are known are not sent again")
	for i, a := range all {
		g.Expect(text(t, other, a)).To(Equal(fmt.Sprint(i % 10)))
	}
	g.Expect(m.pulls).To(Equal(10), "one pull for each blob")
	_, err := write(t.Context(), other, "x", "x")
	g.Expect(errors.Is(err, artifact.ErrReadOnly)).To(BeTrue())
	ctx, stop := context.WithCancel(t.Context())
	m.before = func(op string) error {
		if op == "push" {
			stop() // the lease is lost between the blob and the index
		}
		return nil
	}
	_, err = write(ctx, leader, "lost", "lost content")
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue(), "%v", err)
	m.before = nil
	_, err = other.Lookup(t.Context(), key("lost"))
	g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue())
	next := store(t, m, shared.Options{Fresh: -1})
	a, err := write(t.Context(), next, "lost", "lost content")
	g.Expect(err).NotTo(HaveOccurred(), "a new leader goes on")
	g.Expect(text(t, other, a)).To(Equal("lost content"))
}

// ART-33: another writer in between is merged; one that never ends is not.
func TestConflicts(t *testing.T) {
	g := NewWithT(t)
	m := newMemory()
	a, b := store(t, m, shared.Options{Fresh: -1}), store(t, m, shared.Options{Fresh: -1})
	n := 0
	m.before = func(op string) error {
		if op == "put-index" && n < 3 {
			n++
			m.mu.Lock()
			hook := m.before
			m.before = nil
			m.mu.Unlock()
			_, err := write(context.Background(), b, fmt.Sprintf("b%d", n), "b") //nolint:forbidigo // another writer
			m.mu.Lock()
			m.before = hook
			m.mu.Unlock()
			return err
		}
		return nil
	}
	art, err := write(t.Context(), a, "a", "a")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(text(t, b, art)).To(Equal("a"))
	m.before = nil
	list, err := driver(t, m, shared.Options{}).List(t.Context(), key(""))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(list).To(HaveLen(4))
	puts := 0
	m.before = func(op string) error {
		if op == "put-index" {
			puts++
			return shared.ErrConflict
		}
		return nil
	}
	_, err = write(t.Context(), a, "c", "c")
	g.Expect(errors.Is(err, shared.ErrConflict)).To(BeTrue())
	g.Expect(puts).To(Equal(5))
}

// ART-31: an index that was read while this process replaced it is not
// remembered: what was written is found at once.
func TestReadDuringWrite(t *testing.T) {
	g := NewWithT(t)
	m := newMemory()
	s := store(t, m, shared.Options{Fresh: time.Hour})
	_, err := write(t.Context(), store(t, m, shared.Options{}), "f", "old")
	g.Expect(err).NotTo(HaveOccurred())
	var now *meta.Artifact
	m.before = func(op string) error {
		if op != "got-index" {
			return nil
		}
		m.mu.Lock()
		m.before = nil
		m.mu.Unlock()
		now, err = write(t.Context(), s, "f", "new")
		return err
	}
	look := func() string {
		b, err := s.Lookup(t.Context(), key("f"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(b.Close()).To(Succeed())
		return b.Stat.Digest
	}
	look()
	g.Expect(now).NotTo(BeNil(), "the write came between")
	g.Expect(look()).To(Equal(now.Digest))
}

// ART-31: blobs that nobody names go after the garbage time, others stay.
func TestGarbage(t *testing.T) {
	g := NewWithT(t)
	m := newMemory()
	d := driver(t, m, shared.Options{Fresh: -1, Garbage: time.Nanosecond})
	for f, content := range map[string]string{"a": "same", "b": "same", "c": "other"} {
		_, err := d.Put(t.Context(), key(f), strings.NewReader(content))
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(d.Delete(t.Context(), key("a"), key("c"))).To(Succeed())
	g.Expect(d.Sweep(t.Context())).To(Succeed())
	g.Expect(m.blobs).To(HaveLen(1), "the blob that b names stays")
	g.Expect(d.Delete(t.Context(), key("b"))).To(Succeed())
	g.Expect(d.Sweep(t.Context())).To(Succeed())
	g.Expect(m.blobs).To(BeEmpty())
	g.Expect(m.indexes).To(BeEmpty())
}

// ART-32, R5: a blob that is not what the index says, a changed file in the
// cache, and documents that are too large or hostile.
func TestHostileRegistry(t *testing.T) {
	g := NewWithT(t)
	m := newMemory()
	cache := t.TempDir()
	s := store(t, m, shared.Options{Fresh: -1, Cache: cache})
	a, err := write(t.Context(), s, "a", "content")
	g.Expect(err).NotTo(HaveOccurred())
	p := filepath.Join(cache, strings.Replace(a.Digest, ":", "-", 1))
	g.Expect(os.WriteFile(p, []byte("tampere"), 0o600)).To(Succeed())
	_, err = s.Open(t.Context(), a)
	g.Expect(errors.Is(err, artifact.ErrCorrupt)).To(BeTrue(), "%v", err)
	g.Expect(text(t, s, a)).To(Equal("content"), "pulled again")
	g.Expect(os.Remove(p)).To(Succeed())
	m.blobs[a.Digest] = []byte("another")
	_, err = s.Open(t.Context(), a)
	g.Expect(errors.Is(err, artifact.ErrCorrupt)).To(BeTrue(), "%v", err)
	for _, bad := range []string{
		"{", `{"last":1,"entries":[{"file":"../x","digest":"` + a.Digest + `","seq":1}]}`, `{"last":1,"entries":[{"file":"a","digest":"sha256:../../x","seq":1}]}`,
		`{"last":0,"entries":[{"file":"a","digest":"` + a.Digest + `","seq":9}]}`, `{"links":{"x":"../y"}}`, `{"garbage":[{"digest":"x"}]}`, strings.Repeat(" ", 70<<10),
	} {
		m.indexes["test.default.a.b"] = []byte(bad)
		_, err := s.Open(t.Context(), a)
		g.Expect(err).To(HaveOccurred(), bad)
		g.Expect(errors.Is(err, artifact.ErrCorrupt) || errors.Is(err, artifact.ErrLimit)).To(BeTrue(), "%v", err)
	}
}

func ExampleNew() {
	cache, _ := os.MkdirTemp("", "")
	defer os.RemoveAll(cache)
	d, err := shared.New(newMemory(), shared.Options{Cache: cache})
	if err != nil {
		fmt.Println(err)
		return
	}
	st, err := d.Put(context.Background(), key("app.tar.gz"), strings.NewReader("content"))
	fmt.Println(st.Key, st.Size, err)
	// Output: test/default/a.b/app.tar.gz 7 <nil>
}

// ART-31, R5: whatever an index document of the registry says, no name or
// digest that is none comes out of it, and reading it fails as corrupt or too
// long, or gives files that are what they claim to be.
func FuzzIndex(f *testing.F) {
	sum := "sha256:" + strings.Repeat("0", 64)
	for _, s := range []string{
		"", "{}", `{"last":1,"entries":[{"file":"a","digest":"` + sum + `","size":1,"seq":1,"written":"2026-01-01T00:00:00Z"}]}`,
		`{"last":1,"entries":[{"file":"../a","digest":"` + sum + `","size":1,"seq":1}]}`, `{"entries":[{"file":"a","digest":"sha256:../../x"}]}`,
		`{"links":{"latest":"../../x"}}`, `{"garbage":[{"digest":"x"}]}`, `{"last":1,"entries":[{"file":"a","digest":"` + sum + `","size":-1,"seq":2}]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		m := newMemory()
		m.indexes["test.default.a.b"] = body
		d := driver(t, m, shared.Options{Fresh: -1, ReadOnly: true})
		list, err := d.List(t.Context(), key(""))
		var le *artifact.LimitError
		if err != nil {
			if !errors.Is(err, artifact.ErrCorrupt) && !errors.As(err, &le) {
				t.Fatal(err)
			}
			return
		}
		for _, st := range list {
			if st.Key.Validate() != nil || st.Key.Object() != key("") || st.Size < 0 {
				t.Fatalf("%+v", st)
			}
			if _, err := digest.Parse(st.Digest); err != nil {
				t.Fatal(err)
			}
			r, _, err := d.Get(t.Context(), st.Key)
			if err == nil {
				_ = r.Close()
				t.Fatal("a blob that is nowhere was opened")
			}
		}
	})
}
