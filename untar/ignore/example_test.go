// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ignore_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gitops-kit/sdk/untar/ignore"
)

func Example() {
	own, err := ignore.Parse(strings.NewReader("*\n!*/\n!*.yaml\n"), "", ignore.Options{File: ".sourceignore"})
	if err != nil {
		fmt.Println(err)
		return
	}
	m, _ := ignore.New(slices.Concat(ignore.VCS(), own), ignore.Options{})
	for _, path := range []string{"apps/web.yaml", "apps/notes.txt"} {
		v := m.Match(path, false)
		fmt.Println(path, v.Ignored, v.Pattern.File, v.Pattern.Line, v.Pattern.Text)
	}
	// Output:
	// apps/web.yaml false .sourceignore 3 !*.yaml
	// apps/notes.txt true .sourceignore 1 *
}
