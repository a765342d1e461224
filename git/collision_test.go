//go:build failpoints

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/objhash"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
)

// attack puts the blocks of a real collision before what is hashed for objects
// of a type and size, until the test ends or stop is called.
func attack(t testing.TB, typ driver.Type, size int) (stop func()) {
	t.Helper()
	half, err := os.ReadFile("internal/objhash/testdata/shattered-1.bin")
	if err != nil {
		t.Fatal(err)
	}
	objhash.Attack(func(got driver.Type, n int64) []byte {
		if got == typ && n == int64(size) {
			return half
		}
		return nil
	})
	t.Cleanup(func() { objhash.Attack(nil) })
	return func() { objhash.Attack(nil) }
}

// below lists what is below a directory, without directories.
func below(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// GIT-28: a collision in any object, however it came, ends the operation with
// ErrMalformedObject and leaves nothing. What the hash meets is the published
// collision, found by the detection itself. It is put in front of the object's
// own bytes, for no object that collides is known: so this proves that every id
// of every kind of entry comes from the hash with detection, and that its
// verdict is heard; TestCollision of internal/objhash proves the hash alone.
func TestCollision(t *testing.T) {
	text := strings.Repeat("some lines\n", 50)
	contents := gitserver.Files{"base": text, "delta": text + "more", "small": "1234567", "large": strings.Repeat("0123456789abcdef", 20<<10)}
	e := start(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	id := repo.Commit("main", contents, gitserver.CommitOptions{})
	_, commit, err := repo.Object(id)
	if err != nil {
		t.Fatal(err)
	}
	_, root, err := repo.Object(gitserver.Hash(strings.Fields(string(commit))[1]))
	if err != nil {
		t.Fatal(err)
	}
	pack := gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) {
		b.Object(gitserver.CommitObject, commit)
		b.Object(gitserver.TreeObject, root)
		base := b.Object(gitserver.BlobObject, []byte(text))
		b.OfsDelta(base, gitserver.Delta(uint64(len(text)), uint64(len(text)+4), gitserver.DeltaCopy(0, len(text)), gitserver.DeltaInsert([]byte("more"))))
		b.Object(gitserver.BlobObject, []byte(contents["small"]))
		b.Object(gitserver.BlobObject, []byte(contents["large"]))
	})
	repo.ServePack(func(w io.Writer) error { _, err := w.Write(pack); return err })
	for name, tc := range map[string]struct {
		typ  driver.Type
		size int
	}{
		"Commit": {driver.Commit, len(commit)}, "Tree": {driver.Tree, len(root)}, "Small": {driver.Blob, 7},
		"Large": {driver.Blob, len(contents["large"])}, "Base": {driver.Blob, len(text)}, "Delta": {driver.Blob, len(text) + 4},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			stop := attack(t, tc.typ, tc.size)
			o := e.options(t, false)
			_ = refuse(t, repo, git.Reference{Branch: "main"}, o, git.ErrMalformedObject)
			o.Mirror, _ = newMirror(t, git.MirrorOptions{})
			_ = refuse(t, repo, git.Reference{Branch: "main"}, o, git.ErrMalformedObject)
			o.Mirror = nil
			c := client(t, repo.URL(), o)
			r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			_, err = c.Export(t.Context(), r, func(fs.FS) (git.Sink, error) {
				t.Error("something is exported")
				return nil, errors.New("never")
			}, git.CheckoutOptions{})
			g.Expect(errors.Is(err, git.ErrMalformedObject)).To(BeTrue(), "%v", err)
			for driverName, d := range drivers() {
				dir := t.TempDir()
				s, err := d.Open(t.Context(), dir, driver.OpenOptions{})
				g.Expect(err).NotTo(HaveOccurred())
				_, err = s.AddPack(t.Context(), bytes.NewReader(pack), driver.PackOptions{Size: int64(len(pack))})
				g.Expect(errors.Is(err, driver.ErrMalformedObject)).To(BeTrue(), "%s: %v", driverName, err)
				g.Expect(below(t, dir)).To(BeEmpty())
				g.Expect(s.Close()).To(Succeed())
				o.Driver = d
				parent := t.TempDir()
				_, err = client(t, repo.URL(), o).Clone(t.Context(), git.Reference{Branch: "main"}, filepath.Join(parent, "w"), git.CloneOptions{})
				g.Expect(errors.Is(err, git.ErrMalformedObject)).To(BeTrue(), "%s: %v", driverName, err)
				g.Expect(leftovers(t, parent)).To(BeEmpty())
			}
			stop()
			_, err = c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{})
			g.Expect(err).NotTo(HaveOccurred(), "without the collision")
		})
	}
}

// GIT-28, GIT-93: a change whose content, tree or commit would be half of a
// collision is not stored.
func TestCollisionInCommit(t *testing.T) {
	e, o := writable(t, gitserver.Options{})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	for name, d := range drivers() {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o.Driver = d
			dir := filepath.Join(t.TempDir(), "w")
			r, err := client(t, repo.URL(), o).Clone(t.Context(), git.Reference{Branch: "main"}, dir, git.CloneOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			defer func() { g.Expect(r.Close()).To(Succeed()) }()
			before := below(t, filepath.Join(dir, ".git"))
			_, head := r.Head()
			writeFile(t, r, "a", "23")
			stop := attack(t, driver.Blob, 2)
			_, err = r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "m"})
			g.Expect(errors.Is(err, git.ErrMalformedObject)).To(BeTrue(), "%v", err)
			g.Expect(below(t, filepath.Join(dir, ".git"))).To(Equal(before))
			_, now := r.Head()
			g.Expect(now).To(Equal(head))
			stop()
			store, err := d.Open(t.Context(), t.TempDir(), driver.OpenOptions{})
			g.Expect(err).NotTo(HaveOccurred())
			for _, typ := range []driver.Type{driver.Commit, driver.Tree, driver.Tag} {
				stop := attack(t, typ, 5)
				_, err = store.Put(t.Context(), typ, []byte("12345"))
				g.Expect(errors.Is(err, driver.ErrMalformedObject)).To(BeTrue(), "%v", err)
				stop()
			}
			g.Expect(store.Close()).To(Succeed())
			commit, err := r.Commit(t.Context(), git.CommitOptions{Author: ann, Message: "m"})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(commit.Hash).NotTo(Equal(head))
		})
	}
}
