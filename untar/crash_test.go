// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build failpoints

package untar_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gitops-kit/sdk/untar"
)

// CR-2, CR-3, CR-5, TAR-2: killed at every hit of every failpoint, and killed
// again by chance, the destination is absent or complete, and the next
// extraction works.
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
	after := func(dst string, hits ...string) {
		for _, h := range hits {
			name, n, _ := strings.Cut(h, " ")
			points[name] = true
			err := run(dst, name+"@"+n+"=kill")
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("%v: not killed: %v", hits, err)
			}
			if _, err := os.Lstat(dst); err == nil {
				t.Fatalf("%v: the destination is there before everything was done", hits)
			}
		}
		if _, err := untar.Extract(t.Context(), bytes.NewReader(archive), dst, untar.Options{}); err != nil {
			t.Fatalf("%v: %v", hits, err)
		}
		if got := tree(t, dst); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("%v: %v", hits, names(got))
		}
	}
	for _, h := range hits {
		after(filepath.Join(t.TempDir(), "dst"), h)
	}
	doubles := 10
	if long() {
		doubles = 100
	}
	rng := rand.New(rand.NewPCG(3, 3))
	for range doubles {
		after(filepath.Join(t.TempDir(), "dst"), hits[rng.IntN(len(hits))], hits[rng.IntN(len(hits))])
	}
	for _, p := range []string{"untar/after-mkdir", "untar/after-entry", "untar/before-publish"} {
		if !points[p] {
			t.Errorf("failpoint %s is never hit", p)
		}
	}
}
