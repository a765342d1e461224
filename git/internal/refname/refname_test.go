// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package refname_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git/internal/refname"
)

// GIT-29, GIT-33: the verdicts of git check-ref-format.
func TestAgainstGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("git is missing: apt-get install git")
		}
		t.Skip("git is missing: apt-get install git")
	}
	for _, n := range []string{
		"refs/heads/main", "refs/heads/a/b", "refs/heads/.a", "refs/heads/a.lock", "refs/heads/a.lock/b", "refs/heads/a..b", "refs/heads/a.", "refs/heads/a/", "refs/heads//a",
		"refs/heads/a b", "refs/heads/a~", "refs/heads/a^", "refs/heads/a:", "refs/heads/a?", "refs/heads/a*", "refs/heads/a[", `refs/heads/a\`, "refs/heads/a@{b", "refs/heads/@", "refs/heads/a@",
		"refs/heads/\x7f", "refs/heads/\x01", "refs/heads/ü", "refs/heads/-a", "refs/heads/a.b", "refs/heads/{a}", "refs/pull/1/head", "refs/x",
	} {
		want := exec.Command("git", "check-ref-format", n).Run() == nil
		if got := refname.Valid(n); got != want {
			t.Errorf("%q: %t, git says %t", n, got, want)
		}
		if got := refname.ValidBytes([]byte(n)); got != want {
			t.Errorf("%q as bytes: %t, git says %t", n, got, want)
		}
	}
}

// FuzzValid checks that both forms agree.
func FuzzValid(f *testing.F) {
	f.Add("refs/heads/main")
	f.Add("refs/heads/a..b")
	f.Fuzz(func(t *testing.T, s string) {
		if refname.Valid(s) != refname.ValidBytes([]byte(s)) {
			t.Fatalf("%q", s)
		}
		if refname.Valid(s) && strings.Contains(s, "..") {
			t.Fatalf("%q", s)
		}
	})
}
