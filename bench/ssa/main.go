// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command ssa measures apply, no-op, small change, wait and delete side by
// side with the established module, against one real API server. Each variant
// runs in a process of its own; rounds alternate between the variants; the
// table shows medians and ratios. See README.md for what the columns mean.
//
//	go run . [-rounds 5] [-n 1000] [-only wait] [-variants ours,peer,peer4,raw]
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
	CPU     float64 // user and system seconds of the variant
	Server  float64 // of the control plane meanwhile
	PeakMiB float64
	Count   int
}

// variants in the order of the columns.
var variants = []string{"ours", "peer", "peer4", "raw"}

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
	which := flag.String("variants", strings.Join(variants, ","), "variants to run")
	profile := flag.String("cpuprofile", "", "folder for one CPU profile per operation of ours")
	child := flag.String("child", "", "internal: variant to run")
	flag.Parse()
	var err error
	if *child != "" {
		err = runChild(*child, *profile, flag.Args())
	} else {
		err = runAll(config{rounds: *rounds, n: *n, waits: *waits, only: *only, variants: strings.Split(*which, ","), profile: *profile})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type config struct {
	rounds, n, waits int
	only, profile    string
	variants         []string
}

// skip reports whether the task is not asked for. What makes or removes the
// objects of other tasks always runs.
func (c *config) skip(t task, variant string) bool {
	if variant == "raw" && t.op != "first" && t.op != "direct" && t.op != "delete" {
		return true
	}
	return c.only != "" && !strings.Contains(t.name, c.only) && t.op != "first" && t.op != "direct" && t.op != "delete"
}

func runAll(o config) error {
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
	for round := range o.rounds {
		for _, variant := range o.variants {
			for i, t := range tasks() {
				if o.skip(t, variant) {
					continue
				}
				count := o.n
				if t.op == "wait" {
					count = o.waits
				}
				s, err := spawn(variant, o.profile, t.op, kubeconfig, "bench-"+variant, count)
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
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(out, "seconds\tours\tpeer\tpeer4\traw\tours/peer\ttarget\traw/peer\tours/peer4\traw/peer4\tours/raw\t")
	each(samples, func(name string, target float64, m map[string]sample) {
		o, p, p4, r := m["ours"].Seconds, m["peer"].Seconds, m["peer4"].Seconds, m["raw"].Seconds
		row(out, name, number(o), number(p), number(p4), number(r), ratio(o, p), fmt.Sprint(target), ratio(r, p), ratio(o, p4), ratio(r, p4), ratio(o, r))
		for _, v := range variants {
			if s := m[v]; s.Count != 0 && s.Count != m["ours"].Count {
				row(out, fmt.Sprintf("counts differ: %s %d, ours %d", v, s.Count, m["ours"].Count))
			}
		}
	})
	row(out)
	fmt.Fprintln(out, "processor seconds: variant + control plane\tours\tpeer\tpeer4\traw\tours/peer\tours/raw\tMiB ours\tMiB peer\t")
	each(samples, func(name string, _ float64, m map[string]sample) {
		cells := []string{name}
		for _, v := range variants {
			if s := m[v]; s.Seconds == 0 {
				cells = append(cells, "-")
			} else {
				cells = append(cells, fmt.Sprintf("%.2f + %.2f", s.CPU, s.Server))
			}
		}
		sum := func(v string) float64 { return m[v].CPU + m[v].Server }
		cells = append(cells, ratio(sum("ours"), sum("peer")), ratio(sum("ours"), sum("raw")), fmt.Sprintf("%.0f", m["ours"].PeakMiB), fmt.Sprintf("%.0f", m["peer"].PeakMiB))
		row(out, cells...)
	})
	return out.Flush()
}

// each calls f with the medians of every task that ran.
func each(samples map[int]map[string][]sample, f func(name string, target float64, m map[string]sample)) {
	for i, t := range tasks() {
		if samples[i] == nil {
			continue
		}
		m := map[string]sample{}
		for _, v := range variants {
			m[v] = median(samples[i][v])
		}
		f(t.name, t.target, m)
	}
}

func row(w *tabwriter.Writer, cells ...string) {
	fmt.Fprintln(w, strings.Join(cells, "\t")+"\t")
}

func number(f float64) string {
	if f == 0 {
		return "-"
	}
	return strconv.FormatFloat(f, 'f', 3, 64)
}

func ratio(a, b float64) string {
	if a == 0 || b == 0 {
		return "-"
	}
	return strconv.FormatFloat(a/b, 'f', 3, 64)
}

func spawn(variant, profile, op, kubeconfig, ns string, n int) (s sample, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	cmd := exec.Command(self, "-cpuprofile", profile, "-child", variant, op, kubeconfig, ns, strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	before := serverSeconds()
	text, err := cmd.Output()
	if err != nil {
		return s, err
	}
	err = json.Unmarshal(text, &s)
	s.Server = serverSeconds() - before
	return s, err
}

// median is that of each number by itself.
func median(s []sample) sample {
	if len(s) == 0 {
		return sample{}
	}
	mid := func(f func(sample) float64) float64 {
		v := make([]float64, len(s))
		for i := range s {
			v[i] = f(s[i])
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	return sample{
		Seconds: mid(func(s sample) float64 { return s.Seconds }), CPU: mid(func(s sample) float64 { return s.CPU }),
		Server: mid(func(s sample) float64 { return s.Server }), PeakMiB: mid(func(s sample) float64 { return s.PeakMiB }),
		Count: s[0].Count,
	}
}
