// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command kustomize measures builds of this project beside those of
// github.com/fluxcd/pkg/kustomize and of plain kustomize. Each sample is a
// process of its own; the variants take turns; the median counts.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// sample is what a child measured.
type sample struct {
	Seconds float64 // of the work, without process start and, for warm runs, the schema
	Objects int
	PeakMiB float64
	Engine  string
}

func main() {
	child := flag.String("child", "", "internal: variant")
	op := flag.String("op", "", "internal: operation")
	n := flag.Int("n", 0, "internal: size")
	root := flag.String("root", "", "internal: tree")
	rounds := flag.Int("rounds", 5, "samples per variant")
	dir := flag.String("dir", "/dev/shm", "where trees are written; use a tmpfs")
	only := flag.String("only", "", "run operations that contain this text")
	flag.Parse()
	if err := run(*child, *op, *n, *root, *rounds, *dir, *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// scenario is a row of the table.
type scenario struct {
	op       string
	n        int
	variants []string
}

func run(child, op string, n int, root string, rounds int, dir, only string) error {
	if child != "" {
		return runChild(child, op, n, root)
	}
	all := []string{"ours", "krusty", "peer"}
	for _, s := range []scenario{
		{"one", 1, all}, {"overlay", 100, all}, {"overlay", 1000, all}, {"overlay", 2000, []string{"ours"}},
		{"plain", 1000, all}, {"substitute", 1000, []string{"ours", "peer"}}, {"parallel", 200, all},
	} {
		if !strings.Contains(s.op, only) {
			continue
		}
		if err := row(s, rounds, dir); err != nil {
			return err
		}
	}
	return nil
}

func row(s scenario, rounds int, dir string) error {
	tree, err := os.MkdirTemp(dir, "bench-kustomize-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree) //nolint:errcheck // scratch
	if err := writeTree(tree, s.op, s.n); err != nil {
		return err
	}
	got := map[string][]sample{}
	for range rounds {
		for _, v := range s.variants {
			out, err := measure(v, s, tree)
			if err != nil {
				return err
			}
			got[v] = append(got[v], out)
		}
	}
	ours := median(got["ours"])
	fmt.Printf("%-11s %5d", s.op, s.n)
	for _, v := range s.variants {
		m := median(got[v])
		fmt.Printf("  %s %.4fs (%d objects, %.0f MiB%s)", v, m.Seconds, m.Objects, m.PeakMiB, engine(m))
		if v != "ours" {
			fmt.Printf(" ratio %.4f", ours.Seconds/m.Seconds)
		}
	}
	fmt.Println()
	return nil
}

func engine(s sample) string {
	if s.Engine == "" {
		return ""
	}
	return ", " + s.Engine
}

func measure(variant string, s scenario, tree string) (sample, error) {
	// The peer writes a kustomization into the tree, so each run gets a copy.
	work, err := os.MkdirTemp(filepath.Dir(tree), "bench-kustomize-run-")
	if err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(work) //nolint:errcheck // scratch
	if err := os.CopyFS(work, os.DirFS(tree)); err != nil {
		return sample{}, err
	}
	cmd := exec.Command(os.Args[0], "-child", variant, "-op", s.op, "-n", strconv.Itoa(s.n), "-root", work)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return sample{}, fmt.Errorf("%s %s %d: %w", variant, s.op, s.n, err)
	}
	var got sample
	return got, json.Unmarshal(out, &got)
}

func median(list []sample) sample {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b sample) int {
		switch {
		case a.Seconds < b.Seconds:
			return -1
		case a.Seconds > b.Seconds:
			return 1
		}
		return 0
	})
	return list[len(list)/2]
}
