// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gittest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
)

// Server is a server under test: an empty repository that may be written to.
type Server struct {
	// URL of the repository.
	URL string
	// Options that reach it, credentials included.
	Options git.Options
	// NoAnySHA1 says that the server gives out advertised objects only.
	NoAnySHA1 bool
}

// RunServer runs the client against a server: first push, every kind of
// reference, checkout, clone, a race.
func RunServer(t *testing.T, newServer func(testing.TB) Server) {
	s := newServer(t)
	c, err := git.New(s.URL, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{}); !errors.Is(err, git.ErrEmptyRepository) {
		t.Fatalf("empty repository: %v", err)
	}
	first := change(t, c, "main", "one")
	second := change(t, c, "main", "two")
	push(t, c, first, "refs/tags/v1.0.0", "refs/pull/1/head")
	push(t, c, second, "refs/tags/v1.2.0")
	cases := map[string]struct {
		ref  git.Reference
		want string
		text string
	}{
		"Branch": {git.Reference{Branch: "main"}, second, "two"}, "Tag": {git.Reference{Tag: "v1.0.0"}, first, "one"},
		"SemVer": {git.Reference{SemVer: "1.x"}, second, "two"}, "Name": {git.Reference{Name: "refs/tags/v1.0.0"}, first, "one"},
		"PullRequest": {git.Reference{Name: "refs/pull/1/head"}, first, "one"}, "Commit": {git.Reference{Commit: first}, first, "one"},
		"CommitOnBranch": {git.Reference{Commit: first, Branch: "main"}, first, "one"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			r, err := c.Resolve(t.Context(), tc.ref, git.ResolveOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if r.Commit.String() != tc.want {
				t.Fatalf("resolved to %s, want %s", r.Commit, tc.want)
			}
			dir := filepath.Join(t.TempDir(), "out")
			out, err := c.Checkout(t.Context(), r, dir, git.CheckoutOptions{})
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(dir, "dir", "file"))
			if err != nil || string(b) != tc.text {
				t.Fatalf("file holds %q, %v", b, err)
			}
			t.Logf("%s over %s: %d requests, %d bytes, notes %v", name, r.Protocol, out.Stats.Requests, out.Stats.Received, out.Notes)
		})
	}
	t.Run("Sparse", func(t *testing.T) {
		r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "out")
		if _, err := c.Checkout(t.Context(), r, dir, git.CheckoutOptions{Sparse: []string{"dir"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "top")); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("a file outside the set: %v", err)
		}
	})
	t.Run("Missing", func(t *testing.T) {
		for _, ref := range []git.Reference{{Branch: "nope"}, {Tag: "nope"}, {Name: "refs/x/nope"}} {
			if _, err := c.Resolve(t.Context(), ref, git.ResolveOptions{}); !errors.Is(err, git.ErrRefNotFound) {
				t.Errorf("%s: %v", ref, err)
			}
		}
		r, err := c.Resolve(t.Context(), git.Reference{Commit: strings.Repeat("1", len(first))}, git.ResolveOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Checkout(t.Context(), r, filepath.Join(t.TempDir(), "out"), git.CheckoutOptions{}); !errors.Is(err, git.ErrCommitNotFound) {
			t.Errorf("unknown commit: %v", err)
		}
	})
	t.Run("NonFastForward", func(t *testing.T) { race(t, c) })
}

var author = git.Signature{Name: "A", Email: "a@example.com"} //nolint:gochecknoglobals // a table that never changes

// change commits and pushes one change and returns the commit.
func change(t testing.TB, c *git.Client, branch, text string) string {
	t.Helper()
	r := clone(t, c, branch)
	if err := r.Root().MkdirAll("dir", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"dir/file", "top"} {
		if err := r.Root().WriteFile(f, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	commit, err := r.Commit(t.Context(), git.CommitOptions{Message: text, Author: author})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Push(t.Context(), git.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	return commit.Hash.String()
}

func clone(t testing.TB, c *git.Client, branch string) *git.Repository {
	t.Helper()
	r, err := c.Clone(t.Context(), git.Reference{Branch: branch}, filepath.Join(t.TempDir(), "w"), git.CloneOptions{Depth: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// push makes references at a commit of the main branch.
func push(t testing.TB, c *git.Client, commit string, refs ...string) {
	t.Helper()
	r := clone(t, c, "main")
	var o git.PushOptions
	for _, ref := range refs {
		o.Updates = append(o.Updates, git.RefUpdate{Src: commit, Dst: ref})
	}
	if _, err := r.Push(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func race(t *testing.T, c *git.Client) {
	slow := clone(t, c, "main")
	theirs := change(t, c, "main", "theirs")
	if err := slow.Root().WriteFile("mine", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := slow.Commit(t.Context(), git.CommitOptions{Message: "mine", Author: author}); err != nil {
		t.Fatal(err)
	}
	for _, lease := range []bool{false, true} {
		if _, err := slow.Push(t.Context(), git.PushOptions{Lease: lease}); !errors.Is(err, git.ErrNonFastForward) {
			t.Fatalf("lease %t: %v", lease, err)
		}
	}
	r, err := c.Resolve(t.Context(), git.Reference{Branch: "main"}, git.ResolveOptions{})
	if err != nil || r.Commit.String() != theirs {
		t.Fatal(fmt.Errorf("their commit is gone: %w", err))
	}
}
