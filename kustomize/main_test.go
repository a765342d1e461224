// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"bytes"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/gitops-kit/sdk/kustomize"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// files makes a tree from "-- path --" sections.
func files(text string) fstest.MapFS {
	out := fstest.MapFS{}
	var name string
	var body []string
	flush := func() {
		if name != "" {
			out[name] = &fstest.MapFile{Data: []byte(strings.Join(body, "\n") + "\n"), Mode: 0o644}
		}
		body = nil
	}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if n, ok := strings.CutPrefix(line, "-- "); ok {
			flush()
			name = strings.TrimSuffix(n, " --")
			continue
		}
		body = append(body, line)
	}
	flush()
	return out
}

type (
	fsys   = fs.FS
	fsFile = fs.File
)

func build(tb testing.TB, root fs.FS, o kustomize.Options) (*kustomize.Result, error) {
	tb.Helper()
	o.Root = root
	return kustomize.New(kustomize.BuilderOptions{}).Build(tb.Context(), o)
}

func mustBuild(tb testing.TB, root fs.FS, o kustomize.Options) *kustomize.Result {
	tb.Helper()
	res, err := build(tb, root, o)
	if err != nil {
		tb.Fatalf("build: %v", err)
	}
	return res
}

// text renders objects as kustomize prints them.
func text(tb testing.TB, res *kustomize.Result) string {
	tb.Helper()
	var b bytes.Buffer
	for i, u := range res.Unstructured() {
		if i > 0 {
			b.WriteString("---\n")
		}
		y, err := sigsyaml.Marshal(u.Object)
		if err != nil {
			tb.Fatal(err)
		}
		b.Write(y)
	}
	return b.String()
}
