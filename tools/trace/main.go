// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command trace reports, per page of docs/spec, how many requirements are
// named by a test; with -missing it lists those that are not.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/gitops-kit/sdk/tools/internal/repo"
	"github.com/gitops-kit/sdk/tools/internal/trace"
)

func main() {
	missing := flag.Bool("missing", false, "list the requirements without a test")
	flag.Parse()
	if err := run(*missing); err != nil {
		fmt.Fprintln(os.Stderr, "trace:", err)
		os.Exit(1)
	}
}

func run(missing bool) error {
	root, err := repo.Root()
	if err != nil {
		return err
	}
	pages, err := trace.Pages(root)
	if err != nil {
		return err
	}
	tests, err := trace.Tests(root)
	if err != nil {
		return err
	}
	total, proved := 0, 0
	for _, p := range pages {
		if len(p.IDs) == 0 {
			continue
		}
		var without []string
		for _, id := range p.IDs {
			if len(tests[id]) == 0 {
				without = append(without, id)
			}
		}
		n := len(p.IDs) - len(without)
		total, proved = total+len(p.IDs), proved+n
		fmt.Printf("%-32s %4d of %4d requirements named by a test\n", p.Name, n, len(p.IDs))
		if missing && len(without) > 0 {
			fmt.Printf("    without: %s\n", strings.Join(without, " "))
		}
	}
	fmt.Printf("%-32s %4d of %4d\n", "all pages", proved, total)
	return nil
}
