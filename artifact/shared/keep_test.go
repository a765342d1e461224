// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package shared_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/shared"
)

// lost is a store whose registry has lost the blob of a file that is in the
// cache.
func lost(t *testing.T, algorithm string) (*memory, *artifact.Store, *meta.Artifact, string, *[]artifact.EventType) {
	t.Helper()
	g := NewWithT(t)
	m, cache := newMemory(), t.TempDir()
	var events []artifact.EventType
	s, err := artifact.NewStore(driver(t, m, shared.Options{Cache: cache, Fresh: time.Hour}), artifact.Options{
		BaseURL: "h", VerifyEvery: 3, Algorithm: algorithm, Observe: func(e artifact.Event) { events = append(events, e.Type) },
	})
	g.Expect(err).NotTo(HaveOccurred())
	a, err := write(t.Context(), s, "f", "content")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(m.Delete(t.Context(), a.Digest)).To(Succeed())
	events = nil
	return m, s, a, cache, &events
}

// elsewhere reads an artifact in a replica that has nothing in its cache.
func elsewhere(t *testing.T, m *memory, a *meta.Artifact) (string, error) {
	t.Helper()
	s := store(t, m, shared.Options{ReadOnly: true})
	r, err := s.Open(t.Context(), a)
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	return string(b), err
}

// ART-16, ART-32: content is unchanged only if the registry has it; that the
// cache of the one who writes does is not enough for the others.
func TestUnchangedButLost(t *testing.T) {
	for _, algorithm := range []string{"sha256", "blake3"} {
		g := NewWithT(t)
		m, s, a, _, events := lost(t, algorithm)
		_, err := elsewhere(t, m, a)
		g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)
		again, err := write(t.Context(), s, "f", "content")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(again.LastUpdateTime).To(Equal(a.LastUpdateTime))
		g.Expect(*events).To(Equal([]artifact.EventType{artifact.Restored, artifact.Unchanged}))
		g.Expect(elsewhere(t, m, again)).To(Equal("content"))
		g.Expect(m.version["test.default.a.b"]).To(Equal(2), "the index is written anew, so that the registry knows who needs the blob")

		// What is there costs one question, and nothing is written.
		*events = nil
		asked, pushes := m.asked, m.pushes
		_, err = write(t.Context(), s, "f", "content")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect([]int{m.asked - asked, m.pushes - pushes, m.version["test.default.a.b"]}).To(Equal([]int{1, 0, 2}))
		g.Expect(*events).To(Equal([]artifact.EventType{artifact.Unchanged}))
	}
}

// ART-20, ART-32: an artifact that nobody writes again comes back as well: a
// full check asks the registry, every third of these.
func TestCheckedButLost(t *testing.T) {
	g := NewWithT(t)
	m, s, a, _, events := lost(t, "")
	asked := m.asked
	for i := 1; len(*events) == 0; i++ {
		g.Expect(i).To(BeNumerically("<=", 3))
		g.Expect(s.Check(t.Context(), a, artifact.Quick)).To(Succeed())
	}
	g.Expect(m.asked - asked).To(Equal(1))
	g.Expect(*events).To(Equal([]artifact.EventType{artifact.Restored}))
	g.Expect(elsewhere(t, m, a)).To(Equal("content"))
	pushes := m.pushes
	g.Expect(s.Check(t.Context(), a, artifact.Full)).To(Succeed())
	g.Expect(m.pushes).To(Equal(pushes))
}

// ART-16, ART-32: a copy that is lost as well, or is not what it was, restores
// nothing: the content is written as if it were new.
func TestNoCopyLeft(t *testing.T) {
	for name, harm := range map[string]func(file string) error{
		"gone": os.Remove,
		"changed": func(file string) error {
			return errors.Join(os.WriteFile(file, []byte("tnetnoc"), 0o600), os.Chtimes(file, time.Time{}, time.Now()))
		},
	} {
		g := NewWithT(t)
		m, s, a, cache, _ := lost(t, "")
		d := driver(t, m, shared.Options{Cache: cache})
		blobs, err := filepath.Glob(filepath.Join(cache, "sha256-*"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(blobs).To(HaveLen(1))
		g.Expect(harm(blobs[0])).To(Succeed())
		restored, err := d.Keep(t.Context(), key("f"))
		g.Expect(restored).To(BeFalse())
		g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%s: %v", name, err)
		g.Expect(m.blobs).To(BeEmpty(), name)
		g.Expect(errors.Is(s.Check(t.Context(), a, artifact.Full), artifact.ErrNotFound)).To(BeTrue(), name)
		again, err := write(t.Context(), s, "f", "content")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(elsewhere(t, m, again)).To(Equal("content"), name)
	}
}

// ART-32: who may not write restores nothing, and what fails is said.
func TestKeepFails(t *testing.T) {
	g := NewWithT(t)
	m, s, a, cache, events := lost(t, "")
	d := driver(t, m, shared.Options{Cache: cache, ReadOnly: true})
	_, err := d.Keep(t.Context(), key("f"))
	g.Expect(errors.Is(err, artifact.ErrReadOnly)).To(BeTrue(), "%v", err)
	_, err = d.Keep(t.Context(), key("unknown"))
	g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)
	_, err = d.Keep(t.Context(), artifact.Key{})
	g.Expect(errors.Is(err, artifact.ErrInvalidKey)).To(BeTrue(), "%v", err)
	for _, op := range []string{"push", "put-index"} {
		m.before = func(o string) error {
			if o == op {
				return io.ErrClosedPipe
			}
			return nil
		}
		_, err := write(t.Context(), s, "f", "content")
		g.Expect(errors.Is(err, io.ErrClosedPipe)).To(BeTrue(), "%s: %v", op, err)
		m.before = nil
		m.blobs = map[string][]byte{}
	}
	g.Expect(*events).To(BeEmpty())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = driver(t, m, shared.Options{Cache: cache}).Keep(ctx, key("f"))
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue(), "%v", err)
	g.Expect(m.blobs).To(BeEmpty())
	_, err = write(t.Context(), s, "f", "content")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(elsewhere(t, m, a)).To(Equal("content"))
}

// ART-32: what an index does not name costs one look at it, and none while
// that is fresh; what a fresh one does not name costs another look.
func TestUnknownCostsOneRequest(t *testing.T) {
	g := NewWithT(t)
	m := newMemory()
	d := driver(t, m, shared.Options{Fresh: -1})
	absent := func(d *shared.Driver, k artifact.Key, cost int) {
		t.Helper()
		before := m.gets
		_, _, err := d.Get(t.Context(), k)
		g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)
		g.Expect(m.gets - before).To(Equal(cost))
	}
	absent(d, key("f"), 1)
	writer := store(t, m, shared.Options{})
	a, err := write(t.Context(), writer, "f", "content")
	g.Expect(err).NotTo(HaveOccurred())
	absent(d, key("other"), 1)
	fresh := driver(t, m, shared.Options{Fresh: time.Hour})
	absent(fresh, key("other"), 1)
	absent(fresh, key("other"), 1)
	_, err = write(t.Context(), writer, "other", "more")
	g.Expect(err).NotTo(HaveOccurred())
	before := m.gets
	r, _, err := fresh.Get(t.Context(), key("other"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(r.Close()).To(Succeed())
	g.Expect(m.gets - before).To(Equal(1))
	g.Expect(m.Delete(t.Context(), a.Digest)).To(Succeed())
	pulls := m.pulls
	absent(d, key("f"), 1)
	g.Expect(m.pulls - pulls).To(Equal(1))
}
