// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tarball_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"strings"

	"github.com/gitops-kit/sdk/untar/tarball"
)

func ExampleWriter() {
	var out bytes.Buffer
	w := tarball.NewWriter(&out, tarball.Options{})
	_ = w.Add("deploy", fs.ModeDir|0o755, 0, nil)
	_ = w.Add("deploy/app.yaml", 0o644, 10, strings.NewReader("kind: Pod\n"))
	res, err := w.Close()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(res.Files, res.Dirs, res.Expanded)
	fmt.Println(res.DiffID)
	// Output:
	// 1 1 2560
	// sha256:5d982ac556e015006f011b839e57a494e5cc53acb857cca0209ddf901a3b87a1
}
