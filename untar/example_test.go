// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gitops-kit/sdk/untar"
	"github.com/gitops-kit/sdk/untar/tarball"
)

func ExampleExtract() {
	var archive bytes.Buffer
	w := tarball.NewWriter(&archive, tarball.Options{})
	_ = w.Add("app.yaml", 0o644, 10, strings.NewReader("kind: Pod\n"))
	res, _ := w.Close()

	parent, _ := os.MkdirTemp("", "")
	defer os.RemoveAll(parent)
	report, err := untar.Extract(context.Background(), &archive, filepath.Join(parent, "tree"), untar.Options{
		Verify: func() error { // nothing is there before this returned nil
			if res.Digests["sha256"] == "" {
				return errors.New("unexpected digest")
			}
			return nil
		},
	})
	fmt.Println(report.Files, err)
	text, _ := os.ReadFile(filepath.Join(parent, "tree", "app.yaml"))
	fmt.Print(string(text))
	// Output:
	// 1 <nil>
	// kind: Pod
}

func ExampleWalk() {
	_, err := untar.Walk(context.Background(), strings.NewReader("PK\x03\x04"), nil, untar.Options{})
	fmt.Println(errors.Is(err, untar.ErrUnsupportedEntry), err)
	// Output: true unsupported entry: compression format zip
}
