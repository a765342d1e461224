// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/testserver/kube"
)

// checkout makes a directory that looks like a checkout whose program is main,
// and a cache of its own. It builds in a second.
func checkout(t *testing.T, name, body string) string {
	t.Helper()
	g := NewWithT(t)
	temp := t.TempDir()
	root := filepath.Join(temp, name)
	dir := filepath.Join(root, "testserver", "controlplane")
	g.Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module github.com/gitops-kit/sdk/testserver/controlplane\n\ngo 1.26\n"), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() {\n"+body+"\n}\n"), 0o600)).To(Succeed())
	goCache, err := exec.CommandContext(t.Context(), "go", "env", "GOCACHE").Output()
	g.Expect(err).NotTo(HaveOccurred())
	t.Setenv("GOCACHE", strings.TrimSpace(string(goCache)))
	t.Setenv("XDG_CACHE_HOME", filepath.Join(temp, "cache"))
	for _, name := range []string{"GITOPS_KIT_CONTROLPLANE", "KUBEBUILDER_ASSETS", "TEST_ASSET_KUBE_APISERVER", "GITOPS_KIT_CONTROLPLANE_BUILD"} {
		t.Setenv(name, "")
	}
	return root
}

func find(t *testing.T, dir string) (string, string, error) {
	t.Helper()
	var progress bytes.Buffer
	file, err := kube.Find(t.Context(), kube.FindOptions{Dir: dir, Progress: &progress})
	return file, progress.String(), err
}

const hello = `println("hello")`

// TST-40, TST-41
func TestBuildAndCache(t *testing.T) {
	g := NewWithT(t)
	root := checkout(t, "with space", hello)
	t.Setenv("GOFLAGS", "-mod=mod")
	t.Setenv("GOWORK", filepath.Join(root, "go.work")) // does not exist
	deep := filepath.Join(root, "controllers", "x")
	g.Expect(os.MkdirAll(deep, 0o755)).To(Succeed())
	file, said, err := find(t, deep)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(said).To(ContainSubstring("building"))
	out, err := exec.CommandContext(t.Context(), file).CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(out)).To(Equal("hello\n"))
	cache := filepath.Dir(filepath.Dir(file))
	tag, err := os.ReadFile(filepath.Join(cache, "CACHEDIR.TAG"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(tag)).To(HavePrefix("Signature: 8a477f597d28d172789f06886806bc55"))

	// Warm: nothing is built, go is not needed, and building may be off.
	t.Setenv("PATH", t.TempDir())
	t.Setenv("GITOPS_KIT_CONTROLPLANE_BUILD", "0")
	again, said, err := find(t, root)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again).To(Equal(file))
	g.Expect(said).To(BeEmpty())

	// Other code is another program; without go it cannot be had.
	main := filepath.Join(root, "testserver", "controlplane", "main.go")
	g.Expect(os.WriteFile(main, []byte("package main\n\nfunc main() {}\n"), 0o600)).To(Succeed())
	_, _, err = find(t, root)
	_ = unavailable(g, err, "building is off")
	t.Setenv("GITOPS_KIT_CONTROLPLANE_BUILD", "1")
	_, _, err = find(t, root)
	_ = unavailable(g, err, "no go command")
}

func unavailable(g Gomega, err error, why string) *kube.UnavailableError {
	var e *kube.UnavailableError
	g.Expect(errors.Is(err, kube.ErrUnavailable)).To(BeTrue(), "%v", err)
	g.Expect(errors.As(err, &e)).To(BeTrue())
	g.Expect(e.Why).To(ContainSubstring(why))
	g.Expect(e.Error()).NotTo(ContainSubstring("\n"))
	return e
}

// TST-40
func TestKeyIsOfTheCodeOnly(t *testing.T) {
	g := NewWithT(t)
	one, two := checkout(t, "one", hello), checkout(t, "two", hello)
	key := func(dir string) string {
		k, err := kube.Key(t.Context(), dir)
		g.Expect(err).NotTo(HaveOccurred())
		return k
	}
	first := key(one)
	g.Expect(key(two)).To(Equal(first), "where it lies does not matter")
	module := filepath.Join(two, "testserver", "controlplane")
	for _, name := range []string{"x_test.go", "README.md", "testdata/y.go"} {
		file := filepath.Join(module, name)
		g.Expect(os.MkdirAll(filepath.Dir(file), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(file, []byte("package x\n"), 0o600)).To(Succeed())
		g.Expect(key(two)).To(Equal(first), name)
	}
	g.Expect(os.WriteFile(filepath.Join(module, "go.sum"), []byte("\n"), 0o600)).To(Succeed())
	g.Expect(key(two)).NotTo(Equal(first))
}

// TST-42
func TestOneBuildAtATime(t *testing.T) {
	g := NewWithT(t)
	root := checkout(t, "repo", hello)
	var builds int
	var mu sync.Mutex
	var all sync.WaitGroup
	files := map[string]bool{}
	for range 6 {
		all.Go(func() {
			file, said, err := find(t, root)
			mu.Lock()
			defer mu.Unlock()
			builds += strings.Count(said, "building")
			files[file] = true
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	g.Expect(builds).To(Equal(1))
	g.Expect(files).To(HaveLen(1))
}

// TST-42
func TestInterruptedBuild(t *testing.T) {
	g := NewWithT(t)
	root := checkout(t, "repo", hello)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := kube.Find(ctx, kube.FindOptions{Dir: root, Progress: &bytes.Buffer{}})
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue(), "%v", err)

	// What a killed build leaves is removed by the next, as are old programs.
	cache := filepath.Join(os.Getenv("XDG_CACHE_HOME"), "gitops-kit", "controlplane")
	for name, age := range map[string]time.Duration{"tmp-123": 0, "old": 40 * 24 * time.Hour, "young": time.Hour} {
		dir := filepath.Join(cache, name)
		g.Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(dir, "controlplane"), []byte("#!"), 0o600)).To(Succeed())
		then := time.Now().Add(-age)
		g.Expect(os.Chtimes(dir, then, then)).To(Succeed())
	}
	_, _, err = find(t, root)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(filepath.Join(cache, "tmp-123")).NotTo(BeADirectory())
	g.Expect(filepath.Join(cache, "old")).NotTo(BeADirectory())
	g.Expect(filepath.Join(cache, "young")).To(BeADirectory())
}

// TST-42
func TestDeadlineEndsTheBuildEarly(t *testing.T) {
	g := NewWithT(t)
	root := checkout(t, "repo", hello)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second) // less than is kept in reserve
	defer cancel()
	_, err := kube.Find(ctx, kube.FindOptions{Dir: root, Progress: &bytes.Buffer{}})
	e := unavailable(g, err, "deadline")
	g.Expect(e.Command).To(Equal("make controlplane"))
	g.Expect(errors.Is(err, context.DeadlineExceeded)).To(BeTrue())
}

// TST-41
func TestBrokenCode(t *testing.T) {
	g := NewWithT(t)
	root := checkout(t, "repo", "undefined()")
	_, _, err := find(t, root)
	_ = unavailable(g, err, "cannot be built")
	g.Expect(err.Error()).To(ContainSubstring("undefined"))
	left, err := filepath.Glob(filepath.Join(os.Getenv("XDG_CACHE_HOME"), "gitops-kit", "controlplane", "*", "*"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).To(BeEmpty(), "no half program is left")
}

func TestNamedProgram(t *testing.T) {
	g := NewWithT(t)
	root := checkout(t, "repo", hello)
	file := filepath.Join(root, "program")
	g.Expect(os.WriteFile(file, []byte("#!/bin/sh\n"), 0o600)).To(Succeed())
	t.Setenv("GITOPS_KIT_CONTROLPLANE", file)
	_, _, err := find(t, root)
	g.Expect(err).To(MatchError(ContainSubstring("not executable")))
	g.Expect(errors.Is(err, kube.ErrUnavailable)).To(BeFalse(), "a wrong setting is no reason to skip")
	g.Expect(os.Chmod(file, 0o700)).To(Succeed())
	got, _, err := find(t, root)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(Equal(file))

	// Assets are links to the program; those of other make are passed over.
	t.Setenv("GITOPS_KIT_CONTROLPLANE", "")
	program := filepath.Join(root, "controlplane")
	g.Expect(os.Rename(file, program)).To(Succeed())
	assets := t.TempDir()
	g.Expect(os.Symlink(program, filepath.Join(assets, "kube-apiserver"))).To(Succeed())
	t.Setenv("KUBEBUILDER_ASSETS", assets)
	got, _, err = find(t, root)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(Equal(program))
}
