// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command git measures checkouts, exports, clones and listings through this
// SDK, through the peer's Go module, through the git program and, with the
// build tag libgit2, through git2go; each in a process of its own, in turn,
// against one server.
//
//	go run . [-rounds 5] [-dir /dev/shm] [-only clone]
//	go run -tags libgit2 .    # needs pkg-config libgit2
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

// sample is what a child process reports.
type sample struct {
	Seconds float64
	CPU     float64 // user and system time
	PeakMiB float64
}

// repo describes a repository to generate.
type repo struct {
	name                       string
	files, size, refs, history int
}

// row is one operation.
type row struct {
	name, job string
	server    string // replay, http or ssh
	repo      repo
	target    float64 // of the peer's time
	variants  []string
}

func rows() []row {
	small := repo{"small", 10_000, 1_500, 0, 1}
	large := repo{"large", 2_000, 47_000, 0, 1}
	refs := repo{"refs", 10, 100, 20_000, 1}
	history := repo{"history", 1_000, 1_500, 0, 300}
	long := repo{"long", 4_000, 1_500, 0, 3_000}
	all := []string{"ours", "peer", "git", "git2go"}
	two := []string{"ours", "peer", "git"}
	floor := []string{"ours", "peer", "git", "floor"}
	return []row{
		{"checkout, 10,000 files", "checkout", "replay", small, 0.09, all},
		{"checkout, 94 MB pack", "checkout", "replay", large, 0.25, all},
		{"checkout, 10,000 files, real HTTP", "checkout", "http", small, 0.25, two},
		{"checkout, 10,000 files, real SSH", "checkout", "ssh", small, 0.25, two},
		{"commit to artifact, 10,000 files", "artifact", "replay", small, 0.08, two},
		{"no-op, 20,000 refs, HTTP, in one process", "list", "replay", refs, 0.12, floor},
		{"no-op, 20,000 refs, real HTTP, in one process", "list", "http", refs, 0.12, floor},
		{"no-op, 20,000 refs, real SSH, in one process", "list", "ssh", refs, 0.25, two},
		{"full clone, 300 commits", "clone", "replay", history, 0.25, all},
		{"full clone, 3,000 commits", "clone", "replay", long, 0.25, all},
	}
}

func main() {
	child := flag.String("child", "", "internal: variant to run")
	rounds := flag.Int("rounds", 5, "measurements of each variant")
	dir := flag.String("dir", "/dev/shm", "where repositories and worktrees go")
	only := flag.String("only", "", "run only rows whose name contains this")
	flag.Parse()
	var err error
	if *child != "" {
		err = runChild(*child, flag.Arg(0), flag.Arg(1), flag.Arg(2))
	} else {
		err = runAll(*dir, *rounds, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runAll(root string, rounds int, only string) error {
	tmp, err := os.MkdirTemp(root, "bench-git-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	srv, err := startServers(tmp)
	if err != nil {
		return err
	}
	defer srv.close()
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "row\tvariant\tms\tCPU ms\tpeak MiB\tours/this\tCPU\ttarget\t")
	for _, r := range rows() {
		if !strings.Contains(r.name, only) {
			continue
		}
		tip, err := r.repo.generate(tmp)
		if err != nil {
			return err
		}
		if err := compare(out, r, srv.url(r), tmp, "main@sha1:"+tip, rounds); err != nil {
			return err
		}
		_ = out.Flush()
	}
	return nil
}

// compare runs the variants in turn and prints medians and ratios.
func compare(out *tabwriter.Writer, r row, url, tmp, known string, rounds int) error {
	got := map[string][]sample{}
	var variants []string
	for _, v := range r.variants {
		if v != "git2go" || haveGit2go {
			variants = append(variants, v)
		}
	}
	for round := range rounds + 1 {
		for _, v := range variants {
			s, err := measure(v, r.job, url, tmp, known)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", r.name, v, err)
			}
			if round > 0 { // the first fills the server's memory
				got[v] = append(got[v], s)
			}
		}
	}
	ours := median(got["ours"])
	for _, v := range variants {
		m := median(got[v])
		target := ""
		if v == "peer" {
			target = fmt.Sprintf("%.2f", r.target)
		}
		fmt.Fprintf(out, "%s\t%s\t%.1f\t%.1f\t%.1f\t%.3f\t%.3f\t%s\t\n", r.name, v, m.Seconds*1e3, m.CPU*1e3, m.PeakMiB, ours.Seconds/m.Seconds, ours.CPU/m.CPU, target)
	}
	return nil
}

func median(s []sample) sample {
	mid := func(of func(sample) float64) float64 {
		var v []float64
		for _, x := range s {
			v = append(v, of(x))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	return sample{
		Seconds: mid(func(s sample) float64 { return s.Seconds }),
		CPU:     mid(func(s sample) float64 { return s.CPU }),
		PeakMiB: mid(func(s sample) float64 { return s.PeakMiB }),
	}
}

// measure runs one variant in a process of its own, which says what it took.
// The time to start the process of a library is not counted; that of the git
// program is, for nobody can have it without.
func measure(variant, job, url, tmp, known string) (s sample, err error) {
	work, err := os.MkdirTemp(tmp, "work-*")
	if err != nil {
		return s, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	cmd := exec.Command(os.Args[0], "-child", variant+":"+job, url, filepath.Join(work, "out"), known)
	cmd.Env = append(os.Environ(), "TMPDIR="+work, "BENCH_KEYS="+tmp, "GIT_CONFIG_GLOBAL=/dev/null")
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}
