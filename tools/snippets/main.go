// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command snippets writes the code of examples into the Markdown pages that
// show it.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/gitops-kit/sdk/tools/internal/repo"
	"github.com/gitops-kit/sdk/tools/internal/snippets"
)

func main() {
	write := flag.Bool("write", false, "rewrite the pages")
	flag.Parse()
	root, err := repo.Root()
	if err == nil {
		var changed []string
		changed, err = snippets.Sync(root, *write)
		for _, name := range changed {
			fmt.Println(name)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "snippets:", err)
		os.Exit(1)
	}
}
