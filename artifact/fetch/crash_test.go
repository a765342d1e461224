// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build failpoints

package fetch_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/artifact/fetch"
	"github.com/gitops-kit/sdk/testserver/crash"
)

const (
	crashURL    = "FETCH_CRASH_URL"
	crashDigest = "FETCH_CRASH_DIGEST"
)

// TestCacheCrashHelper is what the children of TestCacheCrash run.
func TestCacheCrashHelper(t *testing.T) {
	dir, ok := crash.Dir()
	if !ok {
		return
	}
	c := fetch.NewCache(fetch.CacheOptions{Dir: dir})
	l, err := c.Tree(t.Context(), fetch.Ref{URL: os.Getenv(crashURL), Digest: os.Getenv(crashDigest)})
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(l.Path())
	if err != nil || len(entries) != 12 {
		t.Fatalf("%d files: %v", len(entries), err)
	}
	l.Release()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// ART-61, ART-63, CR-1, CR-3, CR-5: a process that is killed at any step of an
// extraction, and again while it starts, leaves nothing under the name of a
// digest, nothing that blocks the next one, and nothing else.
func TestCacheCrash(t *testing.T) {
	data, sum := archive(t, 12, 50)
	o := serve(t, content(data, sum))
	doubles := 3
	if os.Getenv("GITOPS_KIT_LONG") == "1" {
		doubles = 100
	}
	crash.Each(t, crash.Options{
		Helper: "TestCacheCrashHelper",
		Points: []string{"untar/after-mkdir", "untar/after-entry", "untar/before-publish"},
		Env:    []string{crashURL + "=" + o.URL, crashDigest + "=" + sum},
		CheckKilled: func(tb testing.TB, dir string, killed []crash.Point) {
			if p, _ := filepath.Glob(filepath.Join(dir, "sha256-*")); len(p) != 0 {
				tb.Fatalf("%v: %v is there before it is complete", killed, p)
			}
		},
		Check: func(tb testing.TB, dir string, killed []crash.Point) {
			entries, err := os.ReadDir(dir)
			if err != nil {
				tb.Fatal(err)
			}
			var names []string
			for _, e := range entries {
				if e.IsDir() {
					names = append(names, e.Name())
				}
			}
			if len(names) != 1 || names[0] != strings.Replace(sum, ":", "-", 1) {
				tb.Fatalf("%v: the cache holds %v", killed, names)
			}
		},
		Doubles: doubles,
		Seed:    2,
	})
}
