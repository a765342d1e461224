// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build failpoints

package artifact_test

import (
	"errors"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/dir"
	"github.com/gitops-kit/sdk/testserver/crash"
	"github.com/gitops-kit/sdk/untar/digest"
)

// TestCrashHelper is what the children of TestCrash run: it writes, replaces,
// links, collects and sweeps.
func TestCrashHelper(t *testing.T) {
	base, ok := crash.Dir()
	if !ok {
		return
	}
	s := newStore(t, base, artifact.Options{Limits: artifact.Limits{TTL: -1, Records: 1}})
	write(t, s, "a", "one")
	write(t, s, "a", "two")
	if _, err := s.Link(t.Context(), key("a"), "latest.tar.gz"); err != nil {
		t.Fatal(err)
	}
	b := write(t, s, "b", "three")
	if _, err := s.Link(t.Context(), key("b"), "latest.tar.gz"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(t.Context(), key(""), b); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// N29, F29, CR-1, CR-2, CR-3, CR-5, ART-18: killed at every hit of every
// failpoint of a write, and again during the restart, each name holds nothing
// or, as a whole, one of the contents that was written to it; the restart ends
// as if nothing had happened, and nothing is left of the runs that were killed.
func TestCrash(t *testing.T) {
	doubles := 6
	if os.Getenv("GITOPS_KIT_LONG") == "1" {
		doubles = 100
	}
	points := crash.Each(t, crash.Options{
		Helper: "TestCrashHelper",
		Points: crashPoints(),
		Only:   crashPoints(),
		CheckKilled: func(tb testing.TB, base string, killed []crash.Point) {
			valid := map[string][]string{"a": {"one", "two"}, "b": {"three"}, "latest.tar.gz": {"two", "three"}}
			for file, contents := range valid {
				if text, ok := stored(tb, base, file); ok && !slices.Contains(contents, text) {
					tb.Fatalf("%v: %s holds %q", killed, file, text)
				}
			}
		},
		Check: func(tb testing.TB, base string, killed []crash.Point) {
			for file, want := range map[string]string{"b": "three", "latest.tar.gz": "three"} {
				if text, _ := stored(tb, base, file); text != want {
					tb.Fatalf("%v: %s holds %q after the restart", killed, file, text)
				}
			}
			// Where b was there before a was written again, a is the newest and stays.
			if text, ok := stored(tb, base, "a"); ok && text != "two" {
				tb.Fatalf("%v: a holds %q after the restart", killed, text)
			}
			if left := leftovers(tb, base); len(left) != 0 {
				tb.Fatalf("%v: left after the restart: %v", killed, left)
			}
		},
		Doubles: doubles,
		Seed:    1,
	})
	if len(points) < len(crashPoints()) {
		t.Errorf("tried %v only", points)
	}
}

func crashPoints() []string {
	var out []string
	for _, p := range []string{"after-temp", "after-sync", "after-rename", "after-dirsync", "after-link", "before-gc", "gc/after-delete", "sweep"} {
		out = append(out, "artifact/"+p)
	}
	return out
}

// stored reads a file through a store that changes nothing, and checks it
// against the digest that a consumer would be given.
func stored(tb testing.TB, base, file string) (string, bool) {
	tb.Helper()
	d, err := dir.New(base, dir.Options{ReadOnly: true})
	if err != nil {
		tb.Fatal(err)
	}
	s, err := artifact.NewStore(d, artifact.Options{BaseURL: "host", Limits: artifact.Limits{Free: noSpace}})
	if err != nil {
		tb.Fatal(err)
	}
	defer s.Close() //nolint:errcheck // reads only
	r, st, err := d.Get(tb.Context(), key(file))
	if errors.Is(err, artifact.ErrNotFound) {
		return "", false
	}
	if err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	defer r.Close() //nolint:errcheck // reads only
	text, err := io.ReadAll(r)
	if err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	sum, err := digest.FromBytes(digest.SHA256, text)
	if err != nil {
		tb.Fatal(err)
	}
	if st.Digest != "" && st.Digest != sum.String() {
		tb.Fatalf("%s: %q is recorded as %s", file, text, st.Digest)
	}
	if err := s.Check(tb.Context(), &meta.Artifact{Path: st.Key.String(), Digest: sum.String()}, artifact.Full); err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	return string(text), true
}
