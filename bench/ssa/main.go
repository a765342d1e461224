// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command ssa measures apply, no-op, small change, wait and delete side by
// side with the established module, against one real API server. Each variant
// runs in a process of its own; rounds alternate between the variants; the
// table shows medians and ratios. The established module (v0.78.0, the newest
// that builds with Go 1.26) runs without client-side rate limits and with its
// own default of one request at a time; -peer-concurrency 4 is what its
// controller sets.
//
//	go run . [-rounds 5] [-n 1000] [-only wait] [-peer-concurrency 1]
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/gitops-kit/sdk/testserver/kube"
)

// sample is what a child process reports.
type sample struct {
	Seconds float64
	PeakMiB float64
	Count   int
}

// task is one operation and the ratio to reach. Tasks run in order: each
// finds the objects as the one before left them.
type task struct {
	name, op string
	target   float64
}

func tasks() []task {
	return []task{
		{"first apply, validated", "first", 0.33},
		{"delete all", "delete", 0.17},
		{"first apply, direct", "direct", 0.2},
		{"nothing changed", "noop", 0.03},
		{"nothing changed, live state from a cache", "cached", 0.005},
		{"1 % changed", "change", 0.05},
		{"delete all again", "delete", 0.17},
		{"wait for ready objects", "wait", 0.05},
	}
}

func main() {
	rounds := flag.Int("rounds", 5, "rounds per task")
	n := flag.Int("n", 1000, "objects of a set")
	waits := flag.Int("waits", 5000, "objects of the set that is waited for")
	only := flag.String("only", "", "run only tasks whose name contains this, and those they need")
	parallel := flag.Int("peer-concurrency", 1, "requests in flight of the established module")
	child := flag.String("child", "", "internal: variant to run")
	flag.Parse()
	var err error
	if *child != "" {
		err = runChild(*child, *parallel, flag.Args())
	} else {
		err = runAll(*rounds, *n, *waits, *parallel, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runAll(rounds, n, waits, parallel int, only string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c, err := kube.Run(ctx, kube.Options{})
	if err != nil {
		return err
	}
	defer c.Stop()
	dir, err := os.MkdirTemp("", "bench-ssa-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, c.Kubeconfig(), 0o600); err != nil {
		return err
	}
	samples := map[int]map[string][]sample{}
	for round := range rounds {
		for _, variant := range []string{"ours", "peer"} {
			for i, t := range tasks() {
				if only != "" && !strings.Contains(t.name, only) && t.op != "first" && t.op != "direct" && t.op != "delete" {
					continue
				}
				count := n
				if t.op == "wait" {
					count = waits
				}
				s, err := spawn(variant, t.op, kubeconfig, "bench-"+variant, count, parallel)
				if err != nil {
					return fmt.Errorf("round %d: %s: %s: %w", round, t.name, variant, err)
				}
				if samples[i] == nil {
					samples[i] = map[string][]sample{}
				}
				samples[i][variant] = append(samples[i][variant], s)
			}
		}
	}
	return report(samples)
}

func report(samples map[int]map[string][]sample) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "task\tours s\tpeer s\tratio\ttarget\tours MiB\tpeer MiB\t")
	for i, t := range tasks() {
		if samples[i] == nil {
			continue
		}
		o, p := median(samples[i]["ours"]), median(samples[i]["peer"])
		fmt.Fprintf(table, "%s\t%.3f\t%.3f\t%.4f\t%.3f\t%.0f\t%.0f\t\n", t.name, o.Seconds, p.Seconds, o.Seconds/p.Seconds, t.target, o.PeakMiB, p.PeakMiB)
		if o.Count != p.Count {
			fmt.Fprintf(table, "  counts differ: %d and %d\t\n", o.Count, p.Count)
		}
	}
	return table.Flush()
}

func spawn(variant, op, kubeconfig, ns string, n, parallel int) (s sample, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	cmd := exec.Command(self, "-peer-concurrency", strconv.Itoa(parallel), "-child", variant, op, kubeconfig, ns, strconv.Itoa(n))
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
