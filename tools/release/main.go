// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command release checks that what is committed could be tagged: -dry-run
// publishes it to a proxy made of files and compiles a fresh consumer of every
// module against it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/gitops-kit/sdk/tools/internal/release"
	"github.com/gitops-kit/sdk/tools/internal/repo"
)

func main() {
	dry := flag.Bool("dry-run", false, "check, change nothing")
	flag.Parse()
	if err := start(*dry); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func start(dry bool) error {
	if !dry {
		return errors.New("tags are made by hand so far; use -dry-run")
	}
	root, err := repo.Root()
	if err != nil {
		return err
	}
	return release.DryRun(context.Background(), root, func(format string, args ...any) { fmt.Printf(format+"\n", args...) })
}
