// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package shared_test

import (
	"bytes"
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

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/shared"
)

// late calls then once, after an index was read, and deletes nothing while it
// has a reason to fail.
type late struct {
	*memory
	then func()
	fail error
}

func (l *late) Delete(ctx context.Context, digest string) error {
	if l.fail != nil {
		return l.fail
	}
	return l.memory.Delete(ctx, digest)
}

func (l *late) GetIndex(ctx context.Context, name string) ([]byte, string, error) {
	body, version, err := l.memory.GetIndex(ctx, name)
	if then := l.then; then != nil {
		l.then = nil
		then()
	}
	return body, version, err
}

// A blob that is garbage of one object, and is named by another while Sweep
// has read the indexes already, stays.
func TestSweepWhileABlobIsNamed(t *testing.T) {
	g := NewWithT(t)
	m := &late{memory: newMemory()}
	d, err := shared.New(m, shared.Options{Cache: t.TempDir(), Garbage: 1, Fresh: -1})
	g.Expect(err).NotTo(HaveOccurred())
	one := artifact.Key{Kind: "kind", Namespace: "ns", Name: "one", File: "f"}
	two := artifact.Key{Kind: "kind", Namespace: "ns", Name: "two", File: "f"}
	st, err := d.Put(t.Context(), one, strings.NewReader("content"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(d.Delete(t.Context(), one)).To(Succeed())
	m.then = func() {
		_, err := d.Put(t.Context(), two, strings.NewReader("content"))
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(d.Sweep(t.Context())).To(Succeed())
	g.Expect(m.then).To(BeNil())
	g.Expect(m.Has(t.Context(), st.Digest)).To(BeTrue())
	elsewhere, err := shared.New(m, shared.Options{Cache: t.TempDir()})
	g.Expect(err).NotTo(HaveOccurred())
	r, _, err := elsewhere.Get(t.Context(), two)
	g.Expect(err).NotTo(HaveOccurred())
	defer r.Close()
	g.Expect(io.ReadAll(r)).To(BeEquivalentTo("content"))
	// What nobody names goes the next time, also when that fails at first.
	g.Expect(d.Delete(t.Context(), two)).To(Succeed())
	m.fail = io.ErrClosedPipe
	err = d.Sweep(t.Context())
	g.Expect(errors.Is(err, io.ErrClosedPipe)).To(BeTrue(), "%v", err)
	g.Expect(m.Has(t.Context(), st.Digest)).To(BeTrue())
	m.fail = nil
	g.Expect(d.Sweep(t.Context())).To(Succeed())
	g.Expect(m.Has(t.Context(), st.Digest)).To(BeFalse())
}

// An object that changes all the time has an index that stays small enough to
// be written: of its garbage the newest wait, and none that is young goes.
func TestGarbageOfABusyObject(t *testing.T) {
	g := NewWithT(t)
	m := newMemory()
	key := artifact.Key{Kind: "kind", Namespace: "ns", Name: "busy", File: "f"}
	index := func(age time.Duration) []byte {
		var list []string
		for i := range 300 {
			sum := fmt.Sprintf("sha256:%064x", i)
			m.blobs[sum] = []byte("x")
			list = append(list, fmt.Sprintf(`{"digest":%q,"since":%q}`, sum, time.Now().Add(-age).UTC().Format(time.RFC3339)))
		}
		return []byte(`{"last":300,"garbage":[` + strings.Join(list, ",") + `]}`)
	}
	for age, left := range map[time.Duration]int{time.Hour: 200, time.Minute: 300, 25 * time.Hour: 0} {
		m.blobs = map[string][]byte{}
		m.indexes["kind.ns.busy"], m.version["kind.ns.busy"] = index(age), 1
		d, err := shared.New(m, shared.Options{Cache: t.TempDir()})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(d.Sweep(t.Context())).To(Succeed())
		g.Expect(m.blobs).To(HaveLen(left), "%s", age)
		if left > 0 {
			g.Expect(m.blobs).To(HaveKey(fmt.Sprintf("sha256:%064x", 299)), "the newest stays")
		}
	}
	// Content that comes and goes is noted once.
	m = newMemory()
	d, err := shared.New(m, shared.Options{Cache: t.TempDir()})
	g.Expect(err).NotTo(HaveOccurred())
	for i := range 6 {
		_, err := d.Put(t.Context(), key, strings.NewReader(fmt.Sprint("content ", i%2)))
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(bytes.Count(m.indexes["kind.ns.busy"], []byte("since"))).To(BeNumerically("<=", 2))
}

// What is not of the cache stays in its directory.
func TestCacheDirectoryOfOthers(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	for name, stays := range map[string]bool{"work.tmp": true, "notes": true, ".blob-1.tmp": false} {
		g.Expect(os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600)).To(Succeed())
		_, err := shared.New(newMemory(), shared.Options{Cache: dir})
		g.Expect(err).NotTo(HaveOccurred())
		if stays {
			g.Expect(filepath.Join(dir, name)).To(BeARegularFile())
		} else {
			g.Expect(filepath.Join(dir, name)).NotTo(BeAnExistingFile())
		}
	}
}
