// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command untar measures extraction, packing and ignore matching side by side
// with the established modules. Each variant runs in a process of its own;
// rounds alternate between the variants; the table shows medians and ratios.
//
//	go run . [-rounds 5] [-dir /dev/shm] [-only pack]
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
	Bytes   int64
	Count   int
}

// task is one operation with the input it runs on and the ratio to reach.
type task struct {
	name, op, input string
	target          float64
}

func tasks() []task {
	return []task{
		{"untar 10,000 small files", "untar", "small.peer.tar.gz", 0.45},
		{"untar 10,000 small files, our archive", "untar", "small.ours.tar.gz", 0.45},
		{"untar 20 x 10 MB", "untar", "large.peer.tar.gz", 0.7},
		{"untar 20 x 10 MB, our archive", "untar", "large.ours.tar.gz", 0.45},
		{"pack 10,000 small files", "pack", "small", 0.2},
		{"pack 20 x 10 MB", "pack", "large", 0.27},
		{"ignore, 50,000 paths", "ignore", "paths", 0.15},
	}
}

func main() {
	rounds := flag.Int("rounds", 5, "rounds per task")
	dir := flag.String("dir", "/dev/shm", "directory for inputs and outputs, best on tmpfs")
	only := flag.String("only", "", "run only tasks whose name contains this")
	child := flag.String("child", "", "internal: variant to run")
	flag.Parse()
	var err error
	if *child != "" {
		err = runChild(*child, flag.Arg(0), flag.Arg(1), flag.Arg(2))
	} else {
		err = runAll(*rounds, *dir, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runAll(rounds int, base, only string) error {
	dir, err := os.MkdirTemp(base, "bench-untar-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := generate(dir); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "task\tours s\tpeer s\tratio\ttarget\tCPU ratio\tours MiB\tpeer MiB\tsize ratio\t")
	for _, t := range tasks() {
		if !strings.Contains(t.name, only) {
			continue
		}
		samples := map[string][]sample{}
		for range rounds {
			for _, variant := range []string{"ours", "peer"} {
				s, err := spawn(self, variant, t, dir)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", t.name, variant, err)
				}
				samples[variant] = append(samples[variant], s)
			}
		}
		o, p := median(samples["ours"]), median(samples["peer"])
		size := ""
		if p.Bytes > 0 {
			size = fmt.Sprintf("%.3f", float64(o.Bytes)/float64(p.Bytes))
		}
		fmt.Fprintf(table, "%s\t%.3f\t%.3f\t%.3f\t%.2f\t%.3f\t%.0f\t%.0f\t%s\t\n", t.name, o.Seconds, p.Seconds, o.Seconds/p.Seconds, t.target, o.CPU/p.CPU, o.PeakMiB, p.PeakMiB, size)
		if o.Count != p.Count {
			fmt.Fprintf(table, "  counts differ: %d and %d\t\n", o.Count, p.Count)
		}
	}
	return table.Flush()
}

func spawn(self, variant string, t task, dir string) (s sample, err error) {
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return s, err
	}
	defer os.RemoveAll(out)
	cmd := exec.Command(self, "-child", variant, t.op, filepath.Join(dir, t.input), out)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

func median(s []sample) sample {
	slices.SortFunc(s, func(a, b sample) int {
		if a.Seconds < b.Seconds {
			return -1
		}
		return 1
	})
	return s[len(s)/2]
}
