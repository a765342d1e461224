// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package dir_test

import (
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/artifacttest"
	"github.com/gitops-kit/sdk/artifact/dir"
)

func open(t testing.TB, base string) *dir.Driver {
	t.Helper()
	d, err := dir.New(base, dir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// ART-34
func TestConformance(t *testing.T) {
	artifacttest.Run(t, func(tb testing.TB) artifact.Driver { return open(tb, tb.TempDir()) })
}

// ART-30: readers of another process need no lock, and see each write as soon
// as it is done.
func TestReadersNeedNoLock(t *testing.T) {
	g := NewWithT(t)
	base := t.TempDir()
	d := open(t, base)
	r, err := dir.New(base, dir.Options{ReadOnly: true})
	g.Expect(err).NotTo(HaveOccurred())
	defer r.Close() //nolint:errcheck // a test
	for _, text := range []string{"one", "two, longer", "3"} {
		_, err := d.Put(t.Context(), key, strings.NewReader(text))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(content(t, r, "file")).To(Equal(text))
	}
	_, err = r.Put(t.Context(), key, strings.NewReader("x"))
	g.Expect(errors.Is(err, artifact.ErrReadOnly)).To(BeTrue())
	g.Expect(content(t, d, "file")).To(Equal("3"))
}
