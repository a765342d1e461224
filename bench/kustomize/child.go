// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	peer "github.com/fluxcd/pkg/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/gitops-kit/sdk/kustomize"
)

// work is one build; it returns the number of objects and the engine.
type work func() (int, string, error)

var vars = map[string]string{"host": "example.com"}

func runChild(variant, op string, n int, root string) error {
	dir := "top"
	if op == "plain" || op == "substitute" {
		dir = "base"
	}
	f, err := worker(variant, op, root, dir)
	if err != nil {
		return err
	}
	var s sample
	switch op {
	case "substitute":
		var without work
		if without, err = worker(variant, "plain", root, dir); err == nil {
			s, err = added(without, f)
		}
	case "parallel":
		s, err = inParallel(variant, f)
	case "one":
		s, err = warm(f)
	default:
		s, err = once(f)
	}
	if err != nil {
		return err
	}
	s.PeakMiB = peak()
	return json.NewEncoder(os.Stdout).Encode(s)
}

// added measures what substitution adds to a build that is otherwise the same:
// the difference of the medians of both, which take turns in a warm process.
func added(without, with work) (sample, error) {
	const rounds = 7
	var seconds [2][]float64
	var last sample
	for i := range rounds + 1 {
		for which, f := range []work{without, with} {
			s, err := once(f)
			if err != nil {
				return s, err
			}
			if i > 0 { // the first of a process is not warm
				seconds[which] = append(seconds[which], s.Seconds)
			}
			last = s
		}
	}
	for _, list := range seconds {
		slices.Sort(list)
	}
	last.Seconds = seconds[1][rounds/2] - seconds[0][rounds/2]
	return last, nil
}

func worker(variant, op, root, dir string) (work, error) {
	ctx := context.Background()
	switch variant {
	case "ours":
		r, err := os.OpenRoot(root)
		if err != nil {
			return nil, err
		}
		b := kustomize.New(kustomize.BuilderOptions{})
		o := kustomize.Options{Root: r.FS(), Dir: dir}
		if op == "substitute" {
			o.Substitute = &kustomize.Substitution{Vars: map[string]kustomize.Var{"host": {Value: vars["host"]}}}
		}
		return func() (int, string, error) {
			res, err := b.Build(ctx, o)
			return len(res.Objects), res.Stats.Engine.String(), err
		}, nil
	case "krusty":
		return func() (int, string, error) {
			if err := generated(root, dir); err != nil {
				return 0, "", err
			}
			m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(root, dir))
			return size(m), "", err
		}, nil
	case "peer":
		return func() (int, string, error) { return peerBuild(ctx, op, root, dir) }, nil
	}
	return nil, fmt.Errorf("unknown variant %s", variant)
}

func peerBuild(ctx context.Context, op, root, dir string) (int, string, error) {
	obj := unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}}}
	if op == "substitute" {
		obj.Object["spec"] = map[string]any{"postBuild": map[string]any{"substitute": map[string]any{"host": vars["host"]}}}
	}
	at := filepath.Join(root, dir)
	if _, err := peer.NewGenerator(root, obj).WriteFile(at); err != nil {
		return 0, "", err
	}
	m, err := peer.SecureBuild(root, at, false)
	if err != nil {
		return 0, "", err
	}
	if op == "substitute" {
		for _, r := range m.Resources() {
			now, err := peer.SubstituteVariables(ctx, nil, obj, r)
			if err != nil {
				return 0, "", err
			}
			if now != nil {
				if _, err := m.Replace(now); err != nil {
					return 0, "", err
				}
			}
		}
	}
	return m.Size(), "", nil
}

// generated writes the kustomization that plain kustomize needs.
func generated(root, dir string) error {
	at := filepath.Join(root, dir, "kustomization.yaml")
	if _, err := os.Stat(at); err == nil {
		return nil
	}
	list, err := os.ReadDir(filepath.Dir(at))
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("resources:\n")
	for _, e := range list {
		b.WriteString("- " + e.Name() + "\n")
	}
	return os.WriteFile(at, []byte(b.String()), 0o644)
}

func size(m resmap.ResMap) int {
	if m == nil {
		return 0
	}
	return m.Size()
}

func once(f work) (sample, error) {
	start := time.Now()
	n, engine, err := f()
	return sample{Seconds: time.Since(start).Seconds(), Objects: n, Engine: engine}, err
}

// warm measures the tenth build of a process, as a controller sees it.
func warm(f work) (sample, error) {
	for range 9 {
		if _, _, err := f(); err != nil {
			return sample{}, err
		}
	}
	return once(f)
}

// inParallel gives the seconds per build of as many builds as there are cores,
// and of kustomize and the peer what they allow: one at a time.
func inParallel(variant string, f work) (sample, error) {
	if _, _, err := f(); err != nil {
		return sample{}, err
	}
	const builds = 8
	workers := runtime.GOMAXPROCS(0)
	if variant != "ours" {
		workers = 1 // they share one schema without a guard
	}
	start := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var s sample
	var failed error
	jobs := make(chan struct{}, builds)
	for range builds {
		jobs <- struct{}{}
	}
	close(jobs)
	for range workers {
		wg.Go(func() {
			for range jobs {
				n, engine, err := f()
				mu.Lock()
				s.Objects, s.Engine = n, engine
				if err != nil {
					failed = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	s.Seconds = time.Since(start).Seconds() / builds
	return s, failed
}

// peak is the process's own high-water mark.
func peak() float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64) //nolint:errcheck // the kernel's number
			return kib / 1024
		}
	}
	return 0
}
