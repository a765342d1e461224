// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Command git measures checkouts and listings through this SDK, through the
// peer's Go module and through the git program, each in a process of its own,
// in turn, against one server that replays the answers of git http-backend.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	peer "github.com/fluxcd/pkg/git"
	peergogit "github.com/fluxcd/pkg/git/gogit"
	"github.com/fluxcd/pkg/git/repository"

	"github.com/gitops-kit/sdk/git"
)

func main() {
	child := flag.String("child", "", "variant and case to run in this process")
	rounds := flag.Int("rounds", 5, "measurements of each variant")
	dir := flag.String("dir", "/dev/shm", "where repositories and worktrees go")
	replay := flag.Bool("replay", true, "replay the server's answers; false: ask git http-backend each time")
	flag.Parse()
	if *child != "" {
		if err := runChild(*child, flag.Arg(0), flag.Arg(1)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if err := runAll(*dir, *rounds, *replay); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runChild does one piece of work and prints the peak memory of this process.
func runChild(what, url, dir string) error {
	ctx := context.Background()
	variant, job, _ := strings.Cut(what, ":")
	var err error
	switch variant + ":" + job {
	case "ours:checkout":
		err = ours(ctx, url, func(c *git.Client, r *git.Resolved) error {
			_, err := c.Checkout(ctx, r, dir, git.CheckoutOptions{})
			return err
		})
	case "ours:list":
		err = ours(ctx, url, func(*git.Client, *git.Resolved) error { return nil })
	case "ours:clone":
		var c *git.Client
		if c, err = git.New(url, git.Options{TempDir: filepath.Dir(dir)}); err == nil {
			_, err = c.Clone(ctx, git.Reference{Branch: "main"}, dir, git.CloneOptions{Depth: -1})
		}
	case "peer:checkout":
		err = theirs(ctx, url, dir, repository.CloneConfig{ShallowClone: true, CheckoutStrategy: repository.CheckoutStrategy{Branch: "main"}})
	case "peer:clone":
		err = theirs(ctx, url, dir, repository.CloneConfig{CheckoutStrategy: repository.CheckoutStrategy{Branch: "main"}})
	case "peer:list":
		err = theirs(ctx, url, dir, repository.CloneConfig{ShallowClone: true, CheckoutStrategy: repository.CheckoutStrategy{Branch: "main"}, LastObservedCommit: os.Getenv("BENCH_LAST")})
	default:
		err = fmt.Errorf("no such job %q", what)
	}
	if err != nil {
		return err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			fmt.Println(strings.Fields(v)[0])
		}
	}
	return nil
}

func ours(ctx context.Context, url string, f func(*git.Client, *git.Resolved) error) error {
	c, err := git.New(url, git.Options{TempDir: os.Getenv("BENCH_TMP")})
	if err != nil {
		return err
	}
	r, err := c.Resolve(ctx, git.Reference{Branch: "main"}, git.ResolveOptions{})
	if err != nil {
		return err
	}
	return f(c, r)
}

func theirs(ctx context.Context, url, dir string, cfg repository.CloneConfig) error {
	c, err := peergogit.NewClient(dir, &peer.AuthOptions{Transport: peer.HTTP}, peergogit.WithDiskStorage())
	if err != nil {
		return err
	}
	_, err = c.Clone(ctx, url, cfg)
	return err
}

// sample is one measurement.
type sample struct {
	took time.Duration
	peak int64 // KiB
}

func measure(variant, job, url, tmp, last string) (sample, error) {
	work, err := os.MkdirTemp(tmp, "work-*")
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = os.RemoveAll(work) }()
	dir := filepath.Join(work, "out")
	var cmd *exec.Cmd
	if variant == "git" {
		cmd = map[string]*exec.Cmd{
			"checkout": exec.Command("git", "clone", "-q", "--depth", "1", "--branch", "main", url, dir),
			"clone":    exec.Command("git", "clone", "-q", "--single-branch", "--branch", "main", url, dir),
			"list":     exec.Command("git", "ls-remote", "-q", url, "refs/heads/main"),
		}[job]
	} else {
		if variant == "peer" {
			if err := os.Mkdir(dir, 0o755); err != nil {
				return sample{}, err
			}
		}
		cmd = exec.Command(os.Args[0], "-child", variant+":"+job, url, dir)
	}
	cmd.Env = append(os.Environ(), "BENCH_TMP="+work, "TMPDIR="+work, "BENCH_LAST="+last, "GIT_CONFIG_GLOBAL=/dev/null")
	cmd.Stderr = os.Stderr
	start := time.Now()
	out, err := cmd.Output()
	s := sample{took: time.Since(start)}
	if err != nil {
		return s, fmt.Errorf("%s %s: %w", variant, job, err)
	}
	if variant == "git" {
		s.peak = cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss
	} else if s.peak, err = strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64); err != nil {
		return s, err
	}
	return s, nil
}

func runAll(root string, rounds int, replay bool) error {
	tmp, err := os.MkdirTemp(root, "bench-git-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	srv := httptest.NewServer(newServer(tmp, replay))
	defer srv.Close()
	for _, c := range []struct {
		name, job  string
		files      int
		size, refs int
		history    int
	}{
		{"10,000 files", "checkout", 10_000, 1_500, 0, 1},
		{"94 MB pack", "checkout", 2_000, 47_000, 0, 1},
		{"no-op, 20,000 refs", "list", 10, 100, 20_000, 1},
		{"full clone, 300 commits", "clone", 1_000, 1_500, 0, 300},
	} {
		name := strings.Map(func(r rune) rune {
			if r == ' ' || r == ',' {
				return '-'
			}
			return r
		}, c.name)
		last, err := generate(filepath.Join(tmp, name+".git"), c.files, c.size, c.refs, c.history)
		if err != nil {
			return err
		}
		if err := compare(c.name, c.job, srv.URL+"/"+name+".git", tmp, "main@sha1:"+last, rounds); err != nil {
			return err
		}
	}
	return nil
}

// compare runs the variants in turn and prints medians and ratios.
func compare(name, job, url, tmp, last string, rounds int) error {
	variants := []string{"ours", "peer", "git"}
	got := map[string][]sample{}
	for round := range rounds + 1 {
		for _, v := range variants {
			s, err := measure(v, job, url, tmp, last)
			if err != nil {
				return err
			}
			if round > 0 { // the first fills the server's memory
				got[v] = append(got[v], s)
			}
		}
	}
	mid := map[string]sample{}
	for v, s := range got {
		slices.SortFunc(s, func(a, b sample) int { return int(a.took - b.took) })
		m := s[len(s)/2]
		slices.SortFunc(s, func(a, b sample) int { return int(a.peak - b.peak) })
		m.peak = s[len(s)/2].peak
		mid[v] = m
	}
	fmt.Printf("%s (%s)\n", name, job)
	for _, v := range variants {
		fmt.Printf("  %-5s %8.1f ms %7.1f MB   time / peer %.3f  time / git %.3f\n", v, float64(mid[v].took)/1e6, float64(mid[v].peak)/1024,
			float64(mid[v].took)/float64(mid["peer"].took), float64(mid[v].took)/float64(mid["git"].took))
	}
	return nil
}

// generate makes a bare repository.
func generate(dir string, files, size, refs, history int) (string, error) {
	var in bytes.Buffer
	rng := rand.New(rand.NewPCG(1, 2))
	content := func() []byte {
		b := make([]byte, 0, size)
		for len(b) < size {
			b = fmt.Appendf(b, "key%d: %x\n", rng.IntN(100), rng.Uint64())
		}
		return b[:size]
	}
	for n := range history {
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter A <a@example.com> %d +0000\ndata 1\nx\n", 1700000000+n)
		for i := range files {
			if n > 0 && i%100 != n%100 {
				continue
			}
			b := content()
			fmt.Fprintf(&in, "M 100644 inline dir%d/sub%d/file%d.yaml\ndata %d\n%s\n", i%50, i%7, i, len(b), b)
		}
	}
	for i := range refs {
		fmt.Fprintf(&in, "reset refs/heads/branch-%d\nfrom refs/heads/main\n\n", i)
	}
	for _, args := range [][]string{{"init", "-q", "--bare", "-b", "main", dir}, {"-C", dir, "fast-import", "--quiet"}, {"-C", dir, "repack", "-q", "-a", "-d", "-f"}, {"-C", dir, "pack-refs", "--all"}} {
		cmd := exec.Command("git", args...)
		if args[len(args)-2] == "fast-import" {
			cmd.Stdin = &in
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("git %v: %w: %s", args, err, out)
		}
	}
	out, err := exec.Command("git", "-C", dir, "rev-parse", "main").Output()
	return strings.TrimSpace(string(out)), err
}

// server answers as git http-backend does, from memory where it was asked before.
type server struct {
	backend http.Handler
	replay  bool
	mu      sync.Mutex
	seen    map[[32]byte]*httptest.ResponseRecorder
}

func newServer(root string, replay bool) http.Handler {
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return http.NotFoundHandler()
	}
	return &server{replay: replay, seen: map[[32]byte]*httptest.ResponseRecorder{}, backend: &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}, InheritEnv: []string{"PATH"},
	}}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.replay {
		s.backend.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %s %s", r.Method, r.URL, r.Header.Get("Git-Protocol"), r.Header.Get("Content-Encoding"), body))
	s.mu.Lock()
	rec := s.seen[key]
	if rec == nil {
		rec = httptest.NewRecorder()
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.ContentLength = int64(len(body))
		s.backend.ServeHTTP(rec, r)
		s.seen[key] = rec
	}
	s.mu.Unlock()
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}
