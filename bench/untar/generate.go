// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// generate makes the inputs: manifests of one to four KiB, files of 10 MB,
// archives of both by both, and a path list.
func generate(dir string) error {
	r := rand.New(rand.NewPCG(1, 2))
	if err := small(filepath.Join(dir, "small"), r); err != nil {
		return err
	}
	if err := large(filepath.Join(dir, "large")); err != nil {
		return err
	}
	for _, name := range []string{"small", "large"} {
		tree := filepath.Join(dir, name)
		if _, err := oursPack(tree, tree+".ours.tar.gz"); err != nil {
			return err
		}
		if _, err := peerPack(tree, tree+".peer.tar.gz"); err != nil {
			return err
		}
	}
	var b strings.Builder
	for i := range 50_000 {
		ext := []string{"yaml", "md", "png", "go", "txt", "json"}[i%6]
		fmt.Fprintf(&b, "apps/team%d/service%d/base/f%d.%s\n", i/2500, i/50, i, ext)
	}
	return os.WriteFile(filepath.Join(dir, "paths"), []byte(b.String()), 0o644)
}

func small(dir string, r *rand.Rand) error {
	for i := range 10_000 {
		d := filepath.Join(dir, fmt.Sprintf("apps/team%d/service%d", i/500, i/20))
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
		var b bytes.Buffer
		for range 1 + r.IntN(6) {
			fmt.Fprintf(&b, "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: service-%d\n  namespace: team-%d\n  labels: {app.kubernetes.io/name: s%d, checksum: %016x}\nspec:\n  replicas: %d\n  template:\n    spec:\n      containers:\n      - name: main\n        image: registry.example.com/team/service:%d.%d.%d@sha256:%016x%016x\n        resources: {requests: {cpu: %dm, memory: %dMi}}\n---\n",
				i, i/500, i, r.Uint64(), r.IntN(9), r.IntN(20), r.IntN(20), r.IntN(20), r.Uint64(), r.Uint64(), r.IntN(1000), r.IntN(4000))
		}
		if err := os.WriteFile(filepath.Join(d, fmt.Sprintf("f%d.yaml", i)), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// large makes 20 files of 10 MB each from what is on every machine that can
// run this: the sources of the Go distribution and its programs.
func large(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	root := strings.TrimSpace(string(goroot))
	text, err := collect(filepath.Join(root, "src"), ".go", 120_000_000)
	if err != nil {
		return err
	}
	programs, err := collect(filepath.Join(root, "pkg", "tool"), "", 80_000_000)
	if err != nil {
		return err
	}
	const size = 10_000_000
	for i := range 20 {
		from := text
		if i%5 == 4 {
			from = programs
		}
		at := (i * size) % max(len(from)-size, 1)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%02d.bin", i)), from[at:min(at+size, len(from))], 0o644); err != nil {
			return err
		}
	}
	return nil
}

// collect reads the files below dir whose names end in suffix, at most limit
// bytes.
func collect(dir, suffix string, limit int) ([]byte, error) {
	var out []byte
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, suffix) {
			return err
		}
		if len(out) >= limit {
			return fs.SkipAll
		}
		data, err := os.ReadFile(path)
		out = append(out, data...)
		return err
	})
	return out, err
}
