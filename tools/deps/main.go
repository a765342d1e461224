// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command deps writes deps.txt beside each go.mod: the third-party modules
// that production code compiles. A new line shows in review.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/gitops-kit/sdk/tools/internal/deps"
	"github.com/gitops-kit/sdk/tools/internal/repo"
)

func main() {
	write := flag.Bool("write", false, "write what changed")
	flag.Parse()
	if err := run(*write); err != nil {
		fmt.Fprintln(os.Stderr, "deps:", err)
		os.Exit(1)
	}
}

func run(write bool) error {
	root, err := repo.Root()
	if err != nil {
		return err
	}
	changed, err := deps.Sync(context.Background(), root, write)
	for _, name := range changed {
		fmt.Println(name)
	}
	if err == nil && !write && len(changed) > 0 {
		err = fmt.Errorf("%d file(s) are out of date; run: make generate", len(changed))
	}
	return err
}
