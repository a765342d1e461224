// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// MaxPairs is the number of pairs that are all tried.
	MaxPairs = 400
	// hitsBeyond is how many hits, besides the first and last, are tried of
	// each failpoint when there are more pairs.
	hitsBeyond = 8

	failVariable = "GITOPS_KIT_FAIL"
	dirVariable  = "GITOPS_KIT_CRASH_DIR"
)

// Point is a failpoint and the number of a hit, from 1.
type Point struct {
	Name string
	Hit  int
}

// String returns "name@hit".
func (p Point) String() string { return fmt.Sprintf("%s@%d", p.Name, p.Hit) }

// Options configure [Each]. Helper and Check are required.
type Options struct {
	// Helper is the name of the test function that a child runs. It must
	// succeed on an empty directory and on whatever a killed run left there.
	Helper string
	// Prepare fills the directory before each first run; nil: it is empty.
	Prepare func(tb testing.TB, dir string)
	// Check judges the directory after the restart. killed are the points at
	// which earlier runs died.
	Check func(tb testing.TB, dir string, killed []Point)
	// CheckKilled, if set, judges the directory right after a kill, before the
	// restart.
	CheckKilled func(tb testing.TB, dir string, killed []Point)
	// Points are failpoints that the helper must hit; a missing one fails the
	// test. They do not restrict what is tried.
	Points []string
	// Only restricts the failpoints tried; nil: all.
	Only []string
	// Times restricts the hits tried of each failpoint to the first ones. 0: no
	// restriction.
	Times int
	// Doubles is the number of runs in which the restart is killed, too, at a
	// point chosen by Seed, followed by three restarts.
	Doubles int
	// Seed chooses hits and double kills.
	Seed uint64
	// Env are further variables of the children.
	Env []string
	// Timeout bounds each child; zero: a minute.
	Timeout time.Duration
}

// Dir returns the directory the helper works in, and whether this process is a
// child of [Each] at all.
func Dir() (string, bool) {
	dir := os.Getenv(dirVariable)
	return dir, dir != ""
}

// Each runs the whole programme of Options and returns the points it killed at.
// In a build without the tag failpoints the helper hits nothing, which fails
// the test.
func Each(t *testing.T, o Options) []Point {
	t.Helper()
	if o.Timeout <= 0 {
		o.Timeout = time.Minute
	}
	hits := trace(t, o)
	for _, want := range o.Points {
		if hits[want] == 0 {
			t.Errorf("failpoint %q is never hit by %s", want, o.Helper)
		}
	}
	points := Select(hits, o)
	if len(points) == 0 {
		t.Fatalf("%s hits no failpoint; is the test built with -tags failpoints?", o.Helper)
	}
	for _, p := range points {
		t.Run(p.String(), func(t *testing.T) { single(t, o, p) })
	}
	rng := rand.New(rand.NewPCG(o.Seed, 1))
	for i := range o.Doubles {
		first, second := points[rng.IntN(len(points))], points[rng.IntN(len(points))]
		t.Run(fmt.Sprintf("double-%d/%s/%s", i, first, second), func(t *testing.T) { double(t, o, first, second) })
	}
	return points
}

// trace runs the helper without a fault and counts the hits of each failpoint.
func trace(t *testing.T, o Options) map[string]int {
	t.Helper()
	dir := workDir(t, o)
	file := filepath.Join(t.TempDir(), "trace")
	out, killed, err := child(t, o, dir, "*=trace("+file+")")
	if err != nil || killed {
		t.Fatalf("%s does not succeed without a fault: %v\n%s", o.Helper, err, out)
	}
	if o.Check != nil {
		o.Check(t, dir, nil)
	}
	b, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	hits := map[string]int{}
	for line := range strings.Lines(string(b)) {
		if name, _, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			hits[name]++
		}
	}
	return hits
}

// Select returns the pairs that [Each] tries for these numbers of hits.
func Select(hits map[string]int, o Options) []Point {
	total := 0
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(hits)), func(n string) bool {
		return o.Only != nil && !slices.Contains(o.Only, n)
	})
	count := func(n string) int {
		if o.Times > 0 {
			return min(o.Times, hits[n])
		}
		return hits[n]
	}
	for _, n := range names {
		total += count(n)
	}
	rng := rand.New(rand.NewPCG(o.Seed, 0))
	var out []Point
	for _, n := range names {
		k := count(n)
		pick := map[int]bool{}
		for h := 1; h <= k; h++ {
			pick[h] = total <= MaxPairs || h == 1 || h == k
		}
		if total > MaxPairs && k > 2 {
			for _, h := range rng.Perm(k - 2)[:min(hitsBeyond, k-2)] {
				pick[h+2] = true
			}
		}
		for h := 1; h <= k; h++ {
			if pick[h] {
				out = append(out, Point{Name: n, Hit: h})
			}
		}
	}
	return out
}

func workDir(t *testing.T, o Options) string {
	t.Helper()
	dir := t.TempDir()
	if o.Prepare != nil {
		o.Prepare(t, dir)
	}
	return dir
}

func single(t *testing.T, o Options, p Point) {
	t.Helper()
	dir := workDir(t, o)
	out, killed, err := child(t, o, dir, p.String()+"=kill")
	if !killed {
		t.Fatalf("child was not killed at %s: %v\n%s", p, err, out)
	}
	at := []Point{p}
	if o.CheckKilled != nil {
		o.CheckKilled(t, dir, at)
	}
	restart(t, o, dir, at)
}

func double(t *testing.T, o Options, first, second Point) {
	t.Helper()
	dir := workDir(t, o)
	var at []Point
	for _, p := range []Point{first, second} {
		out, killed, err := child(t, o, dir, p.String()+"=kill")
		switch {
		case killed:
			at = append(at, p)
			if o.CheckKilled != nil {
				o.CheckKilled(t, dir, at)
			}
		case err != nil: // a restart may need fewer steps and end well instead
			t.Fatalf("child failed, armed at %s after %v: %v\n%s", p, at, err, out)
		}
	}
	for range 3 {
		restart(t, o, dir, at)
	}
}

func restart(t *testing.T, o Options, dir string, at []Point) {
	t.Helper()
	out, killed, err := child(t, o, dir, "")
	if err != nil || killed {
		t.Fatalf("restart after %v: %v\n%s", at, err, out)
	}
	if o.Check != nil {
		o.Check(t, dir, at)
	}
}

// child runs the helper. It reports whether the child died by SIGKILL; any
// other failure is an error.
func child(t *testing.T, o Options, dir, fail string) (string, bool, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), o.Timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+o.Helper+"$", "-test.count=1", "-test.v")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, failVariable+"=") }), o.Env...)
	cmd.Env = append(cmd.Env, dirVariable+"="+dir)
	if fail != "" {
		cmd.Env = append(cmd.Env, failVariable+"="+fail)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	text := out.String()
	if ctx.Err() != nil {
		return text, false, fmt.Errorf("child took longer than %s: %w", o.Timeout, ctx.Err())
	}
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL {
		return text, true, nil
	}
	if err == nil && !strings.Contains(text, "--- PASS: "+o.Helper) {
		err = errors.New("the helper did not run")
	}
	return text, false, err
}
