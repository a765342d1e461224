// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const ticks = 100 // USER_HZ of Linux

// serverSeconds is the processor time so far of everything that runs below
// this process: the control plane, while no variant runs.
func serverSeconds() float64 {
	parent, used := map[int]int{}, map[int]float64{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		var pid int
		_, _ = fmt.Sscan(string(b), &pid)
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(f) < 13 {
			continue
		}
		parent[pid], _ = strconv.Atoi(f[1])
		user, _ := strconv.ParseFloat(f[11], 64)
		system, _ := strconv.ParseFloat(f[12], 64)
		used[pid] = (user + system) / ticks
	}
	var sum float64
	for pid, s := range used {
		for p := parent[pid]; p > 1; p = parent[p] {
			if p == os.Getpid() {
				sum += s
				break
			}
		}
	}
	return sum
}
