// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"time"

	peer "github.com/fluxcd/pkg/git"
	peergogit "github.com/fluxcd/pkg/git/gogit"
	"github.com/fluxcd/pkg/git/repository"
	peertar "github.com/fluxcd/pkg/tar"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/untar/tarball"
)

// listings is how often a process asks, as one that runs for long does.
const listings = 20

// runChild does one piece of work and prints a sample. With BENCH_PROFILE set
// to a directory the work is repeated for five seconds and the profile left there.
func runChild(what, remote, dir, known string) error {
	variant, job, _ := strings.Cut(what, ":")
	run := map[string]func(context.Context, string, string, string, string) error{"ours": ours, "peer": theirs, "git": program, "git2go": libgit2, "floor": floor}[variant]
	if run == nil {
		return fmt.Errorf("no such variant %q", variant)
	}
	ctx := context.Background()
	if out := os.Getenv("BENCH_PROFILE"); out != "" && variant != "git" {
		f, err := os.Create(filepath.Join(out, variant+"-"+job+".pprof"))
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
		for n, begun := 0, time.Now(); time.Since(begun) < 5*time.Second; n++ {
			if err := run(ctx, job, remote, dir+strconv.Itoa(n), known); err != nil {
				return err
			}
		}
	}
	start, cpu := time.Now(), used(variant)
	if err := run(ctx, job, remote, dir, known); err != nil {
		return err
	}
	s := sample{Seconds: time.Since(start).Seconds(), CPU: used(variant) - cpu}
	var err error
	if s.PeakMiB, err = peak(variant); err != nil {
		return err
	}
	if job == "list" {
		s.Seconds, s.CPU = s.Seconds/listings, s.CPU/listings
	}
	return json.NewEncoder(os.Stdout).Encode(s)
}

// who is whose resources count: those of the git program are its parent's children.
func who(variant string) int {
	if variant == "git" {
		return syscall.RUSAGE_CHILDREN
	}
	return syscall.RUSAGE_SELF
}

func used(variant string) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(who(variant), &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
}

// peak is the greatest resident size: of this process by its own account, for
// what the system says of it includes the process that forked it; of the git
// program by the system's, as this process is small.
func peak(variant string) (float64, error) {
	if variant == "git" {
		var u syscall.Rusage
		err := syscall.Getrusage(who(variant), &u)
		return float64(u.Maxrss) / 1024, err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.ParseFloat(strings.Fields(v)[0], 64)
			return kib / 1024, err
		}
	}
	return 0, nil
}

// key reads one of the files that the ssh server was set up with.
func key(name string) []byte {
	b, err := os.ReadFile(filepath.Join(os.Getenv("BENCH_KEYS"), name))
	if err != nil {
		return nil
	}
	return b
}

func ours(ctx context.Context, job, remote, dir, known string) error {
	o := git.Options{}
	if strings.HasPrefix(remote, "ssh:") {
		o.SSH.KnownHosts = key("known_hosts")
		o.Credentials = git.Static(git.Credential{SSHKey: git.NewSecret(string(key("client")))})
	}
	c, err := git.New(remote, o)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	ref := git.Reference{Branch: "main"}
	if job == "clone" {
		_, err := c.Clone(ctx, ref, dir, git.CloneOptions{Depth: -1})
		return err
	}
	if job == "list" {
		rev, err := git.ParseRevision(known)
		if err != nil {
			return err
		}
		for range listings {
			r, err := c.Resolve(ctx, ref, git.ResolveOptions{Known: rev})
			if err != nil {
				return err
			}
			if !r.Unchanged {
				return fmt.Errorf("changed to %s", r.Revision)
			}
		}
		return nil
	}
	r, err := c.Resolve(ctx, ref, git.ResolveOptions{})
	if err != nil {
		return err
	}
	if job == "artifact" {
		f, err := os.Create(dir + ".tar.gz")
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		w := tarball.NewWriter(f, tarball.Options{})
		if _, err := c.Export(ctx, r, func(fs.FS) (git.Sink, error) { return w.Add, nil }, git.CheckoutOptions{}); err != nil {
			return err
		}
		_, err = w.Close()
		return err
	}
	_, err = c.Checkout(ctx, r, dir, git.CheckoutOptions{})
	return err
}

func theirs(ctx context.Context, job, remote, dir, known string) error {
	u, err := url.Parse(remote)
	if err != nil {
		return err
	}
	auth := &peer.AuthOptions{Transport: peer.HTTP}
	if u.Scheme == "ssh" {
		auth = &peer.AuthOptions{Transport: peer.SSH, Host: u.Host, Username: u.User.Username(), Identity: key("client"), KnownHosts: key("known_hosts")}
	}
	clone := func(dir, last string, shallow bool) error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		c, err := peergogit.NewClient(dir, auth, peergogit.WithDiskStorage())
		if err != nil {
			return err
		}
		defer c.Close()
		commit, err := c.Clone(ctx, remote, repository.CloneConfig{ShallowClone: shallow, CheckoutStrategy: repository.CheckoutStrategy{Branch: "main"}, LastObservedCommit: last})
		if err == nil && last != "" && !commitIsKnown(commit, last) {
			err = fmt.Errorf("changed to %s", commit.Hash)
		}
		return err
	}
	switch job {
	case "clone":
		return clone(dir, "", false)
	case "list":
		for n := range listings {
			if err := clone(dir+strconv.Itoa(n), known, true); err != nil {
				return err
			}
		}
		return nil
	case "artifact":
		if err := clone(dir, "", true); err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
			return err
		}
		f, err := os.Create(dir + ".tar.gz")
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		_, err = peertar.Tar(dir, f)
		return err
	}
	return clone(dir, "", true)
}

// floor is the least that listing costs: the request of version 2 that asks for
// one branch, sent on one connection, the answer unread but for its end. There
// is no greeting, and nothing is parsed.
func floor(ctx context.Context, _, remote, _, known string) error {
	var body string
	for _, line := range []string{"command=ls-refs\n", "agent=floor\n", "object-format=sha1\n", "", "peel\n", "symrefs\n", "ref-prefix refs/heads/main\n"} {
		if line == "" {
			body += "0001"
			continue
		}
		body += fmt.Sprintf("%04x%s", len(line)+4, line)
	}
	body += "0000"
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for range listings {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, remote+"/git-upload-pack", strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		req.Header.Set("Git-Protocol", "version=2")
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return err
		}
		if _, id, _ := strings.Cut(known, ":"); !strings.Contains(string(text), id+" refs/heads/main") {
			return fmt.Errorf("status %s", resp.Status)
		}
	}
	return nil
}

func commitIsKnown(c *peer.Commit, last string) bool {
	return strings.HasSuffix(last, c.Hash.String())
}

// program runs the git program.
func program(ctx context.Context, job, remote, dir, _ string) error {
	do := func(name string, args ...string) error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Env = append(os.Environ(), "GIT_SSH_COMMAND=ssh -F none -i "+filepath.Join(os.Getenv("BENCH_KEYS"), "client")+
			" -o UserKnownHostsFile="+filepath.Join(os.Getenv("BENCH_KEYS"), "known_hosts"))
		cmd.Stderr = os.Stderr
		return cmd.Run()
	}
	switch job {
	case "clone":
		return do("git", "clone", "-q", "--single-branch", "--branch", "main", remote, dir)
	case "list":
		for range listings {
			if err := do("git", "ls-remote", "-q", remote, "refs/heads/main"); err != nil {
				return err
			}
		}
		return nil
	}
	err := do("git", "clone", "-q", "--depth", "1", "--branch", "main", remote, dir)
	if err == nil && job == "artifact" {
		err = do("tar", "-C", dir, "--exclude=.git", "-czf", dir+".tar.gz", ".")
	}
	return err
}
