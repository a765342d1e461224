// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build failpoints

package artifact_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/untar/digest"
)

// crashRun writes, replaces, links, collects, removes and sweeps.
func crashRun(t *testing.T, base string) {
	s := newStore(t, base, artifact.Options{Limits: artifact.Limits{TTL: -1, Records: 1}})
	write(t, s, "a", "one")
	a := write(t, s, "a", "two")
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
	_ = a
	if _, err := s.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

// N29, F29, CR-1, ART-18: killed at every hit of every failpoint, each name
// holds nothing or one of the contents that was written to it, as a whole;
// nothing is left after a sweep; and writing goes on.
func TestCrash(t *testing.T) {
	if base := os.Getenv("ARTIFACT_CRASH"); base != "" {
		crashRun(t, base)
		return
	}
	run := func(base, fail string) error {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestCrash$")
		cmd.Env = append(os.Environ(), "ARTIFACT_CRASH="+base, "GITOPS_KIT_FAIL="+fail)
		return cmd.Run()
	}
	trace := filepath.Join(t.TempDir(), "trace")
	if err := run(t.TempDir(), "*=trace("+trace+")"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	points := map[string]bool{}
	for _, hit := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		name, n, _ := strings.Cut(hit, " ")
		if !strings.HasPrefix(name, "artifact/") {
			continue
		}
		points[name] = true
		base := t.TempDir()
		err := run(base, name+"@"+n+"=kill")
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%s: not killed: %v", hit, err)
		}
		afterCrash(t, base, hit)
	}
	for _, p := range []string{"after-temp", "after-sync", "after-rename", "after-dirsync", "after-link", "before-gc", "gc/after-delete", "sweep"} {
		if !points["artifact/"+p] {
			t.Errorf("failpoint artifact/%s is never hit", p)
		}
	}
}

func afterCrash(t *testing.T, base, hit string) {
	t.Helper()
	valid := map[string][]string{"a": {"one", "two"}, "b": {"three"}, "latest.tar.gz": {"two", "three"}}
	s := newStore(t, base, artifact.Options{Limits: artifact.Limits{TTL: -1, Records: 1}})
	for file, contents := range valid {
		b, err := s.Lookup(t.Context(), key(file))
		if errors.Is(err, artifact.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatalf("%s: %s: %v", hit, file, err)
		}
		ok := false
		for _, c := range contents {
			sum, _ := digest.FromBytes(digest.SHA256, []byte(c))
			a := &meta.Artifact{Path: b.Stat.Key.String(), Digest: sum.String()}
			ok = ok || s.Check(t.Context(), a, artifact.Full) == nil
		}
		if err := b.Verify(t.Context()); err != nil || !ok {
			t.Fatalf("%s: %s holds something else: %v", hit, file, err)
		}
		_ = b.Close()
	}
	if _, err := s.Sweep(t.Context(), nil); err != nil {
		t.Fatalf("%s: %v", hit, err)
	}
	if left := leftovers(t, base); len(left) != 0 {
		t.Fatalf("%s: left after the sweep: %v", hit, left)
	}
	if err := s.Check(t.Context(), write(t, s, "c", fmt.Sprint(hit)), artifact.Full); err != nil {
		t.Fatalf("%s: %v", hit, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
