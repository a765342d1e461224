// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build failpoints

package untar_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gitops-kit/sdk/untar"
)

// CR-3, TAR-2: killed at every hit of every failpoint, the destination is
// absent or complete, and the next extraction works.
func TestCrash(t *testing.T) {
	var b raw
	for i := range 5 {
		b.file(fmt.Sprintf("d/f%d", i), strings.Repeat("x", 1000*i))
	}
	archive := gz(b.end())
	if dst := os.Getenv("UNTAR_CRASH"); dst != "" {
		if _, err := untar.Extract(t.Context(), bytes.NewReader(archive), dst, untar.Options{Jobs: 1}); err != nil {
			t.Fatal(err)
		}
		return
	}
	run := func(dst, fail string) error {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestCrash$")
		cmd.Env = append(os.Environ(), "UNTAR_CRASH="+dst, "GITOPS_KIT_FAIL="+fail)
		return cmd.Run()
	}
	trace := filepath.Join(t.TempDir(), "trace")
	if err := run(filepath.Join(t.TempDir(), "dst"), "*=trace("+trace+")"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	hits := strings.Split(strings.TrimSpace(string(text)), "\n")
	want := extract(t, archive, untar.Options{}).tree
	points := map[string]bool{}
	for _, h := range hits {
		name, n, _ := strings.Cut(h, " ")
		points[name] = true
		parent := t.TempDir()
		dst := filepath.Join(parent, "dst")
		err := run(dst, name+"@"+n+"=kill")
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%s: not killed: %v", h, err)
		}
		if _, err := os.Lstat(dst); err == nil {
			t.Fatalf("%s: the destination is there before everything was done", h)
		}
		if _, err := untar.Extract(t.Context(), bytes.NewReader(archive), dst, untar.Options{}); err != nil {
			t.Fatalf("%s: %v", h, err)
		}
		if got := tree(t, dst); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%s: %v", h, names(got))
		}
	}
	for _, p := range []string{"untar/after-mkdir", "untar/after-entry", "untar/before-publish"} {
		if !points[p] {
			t.Errorf("failpoint %s is never hit", p)
		}
	}
}
