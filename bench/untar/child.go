// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fluxcd/pkg/sourceignore"
	"github.com/fluxcd/pkg/tar"
	"github.com/gitops-kit/sdk/untar"
	"github.com/gitops-kit/sdk/untar/ignore"
	"github.com/gitops-kit/sdk/untar/tarball"
)

func runChild(variant, op, input, out string) error {
	var s sample
	paths, err := prepare(op, input)
	if err != nil {
		return err
	}
	start, used := time.Now(), cpu()
	switch variant + " " + op {
	case "ours untar":
		err = oursUntar(input, filepath.Join(out, "tree"))
	case "peer untar":
		err = peerUntar(input, filepath.Join(out, "tree"))
	case "ours pack":
		s.Bytes, err = oursPack(input, filepath.Join(out, "a.tar.gz"))
	case "peer pack":
		s.Bytes, err = peerPack(input, filepath.Join(out, "a.tar.gz"))
	case "ours ignore":
		s.Count, err = oursIgnore(paths)
	case "peer ignore":
		s.Count = peerIgnore(paths)
	default:
		err = fmt.Errorf("unknown %s %s", variant, op)
	}
	s.Seconds, s.CPU = time.Since(start).Seconds(), cpu()-used
	if err != nil {
		return err
	}
	s.PeakMiB = peak()
	return json.NewEncoder(os.Stdout).Encode(s)
}

func prepare(op, input string) ([]string, error) {
	if op != "ignore" {
		return nil, nil
	}
	f, err := os.Open(input)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		out = append(out, sc.Text())
	}
	return out, nil
}

func oursUntar(input, out string) error {
	f, err := os.Open(input)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = untar.Extract(context.Background(), f, out, untar.Options{})
	return err
}

func peerUntar(input, out string) error {
	f, err := os.Open(input)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Mkdir(out, 0o755); err != nil {
		return err
	}
	return tar.Untar(f, out, tar.WithMaxUntarSize(-1))
}

func oursPack(input, out string) (int64, error) {
	f, err := os.Create(out)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	root, err := os.OpenRoot(input)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	res, err := tarball.Pack(context.Background(), f, root, tarball.Options{})
	if err != nil {
		return 0, err
	}
	return res.Size, nil
}

func peerPack(input, out string) (int64, error) {
	f, err := os.Create(out)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := tar.Tar(input, f); err != nil {
		return 0, err
	}
	info, err := f.Stat()
	return info.Size(), err
}

const rules = "*.md\n/build/\n!README.md\n**/testdata/\ndocs/**/*.txt\n*.log\nvendor/\n/hack\n*.tmp\n!/hack/keep\n"

func oursIgnore(paths []string) (int, error) {
	own, err := ignore.Parse(strings.NewReader(rules), "", ignore.Options{})
	if err != nil {
		return 0, err
	}
	m, err := ignore.New(slices.Concat(ignore.VCS(), ignore.Defaults(), own), ignore.Options{ReincludeBelow: true})
	if err != nil {
		return 0, err
	}
	w := m.Walker()
	kept := 0
	for _, p := range paths {
		if w.File(p) {
			kept++
		}
	}
	return kept, nil
}

func peerIgnore(paths []string) int {
	ps := sourceignore.VCSPatterns(nil)
	ps = append(ps, sourceignore.DefaultPatterns(nil)...)
	ps = append(ps, sourceignore.ReadPatterns(strings.NewReader(rules), nil)...)
	m := sourceignore.NewMatcher(ps)
	kept := 0
	for _, p := range paths {
		if !m.Match(strings.Split(p, "/"), false) {
			kept++
		}
	}
	return kept
}

// cpu is the user and system time of this process in seconds.
func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// peak is the largest resident set of this process in MiB.
func peak() float64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	var kib float64
	for _, line := range strings.Split(string(data), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			_, _ = fmt.Sscan(rest, &kib)
		}
	}
	return kib / 1024
}
