// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command modsync derives from versions.yaml and the go.mod files what would
// otherwise be kept by hand: go.work, the versions that siblings require of
// each other, the relative replaces that make a module testable before its
// first tag, and the copies of the shared sources.
//
//	modsync -write   bring everything up to date
//	modsync -check   fail on a difference, change nothing
//	modsync -drop    remove the sibling replaces (release commit)
//	modsync -bump    only raise the versions that siblings require
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/gitops-kit/sdk/tools/internal/modsync"
	"github.com/gitops-kit/sdk/tools/internal/repo"
)

func main() {
	write := flag.Bool("write", false, "bring everything up to date")
	check := flag.Bool("check", false, "fail on a difference, change nothing")
	drop := flag.Bool("drop", false, "remove the sibling replaces")
	bump := flag.Bool("bump", false, "only raise the versions that siblings require")
	flag.Parse()
	if err := run(modsync.Options{Write: *write || *drop || *bump, Drop: *drop, BumpOnly: *bump}, *check); err != nil {
		fmt.Fprintln(os.Stderr, "modsync:", err)
		os.Exit(1)
	}
}

func run(o modsync.Options, check bool) error {
	root, err := repo.Root()
	if err != nil {
		return err
	}
	changed, err := modsync.Sync(root, o)
	if err != nil {
		return err
	}
	for _, name := range changed {
		fmt.Println(name)
	}
	if check && len(changed) > 0 {
		return fmt.Errorf("%d file(s) are out of date; run: make modules", len(changed))
	}
	return nil
}
