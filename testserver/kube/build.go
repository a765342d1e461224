// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	progressEvery = 15 * time.Second
	lockPoll      = 200 * time.Millisecond
	// reserveTime is what must be left of a deadline after building.
	reserveTime = 60 * time.Second
	// keepUnused is the age at which builds that nobody used are removed.
	keepUnused = 30 * 24 * time.Hour
	usedFile   = "used"
	lockName   = "build.lock"
	tempPrefix = "tmp-"
)

// cacheTag is the content by which backup programs know a cache.
const cacheTag = "Signature: 8a477f597d28d172789f06886806bc55\n# Builds of the gitops-kit control plane; may be removed at any time.\n"

// cacheDir returns the directory of all builds.
func cacheDir() (string, error) {
	user, err := os.UserCacheDir()
	if err != nil {
		return "", &UnavailableError{Why: "there is no cache directory", Err: err}
	}
	return filepath.Join(user, "gitops-kit", programName), nil
}

// cached returns the program of s from the cache, or builds it there. One
// process builds; the others wait for it.
func (s *source) cached(ctx context.Context, progress io.Writer) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, s.key, programName)
	if s.hit(file) {
		return file, nil
	}
	if os.Getenv("GITOPS_KIT_CONTROLPLANE_BUILD") == "0" {
		return "", &UnavailableError{Why: "it is not built, and building is off", Command: "unset GITOPS_KIT_CONTROLPLANE_BUILD"}
	}
	if _, err := exec.LookPath("go"); err != nil {
		return "", &UnavailableError{Why: "there is no go command to build it", Err: err}
	}
	if deadline, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-reserveTime))
		defer cancel()
		if ctx.Err() != nil {
			return "", s.late(ctx.Err())
		}
	}
	if err := prepareCache(dir); err != nil {
		return "", &UnavailableError{Why: "the cache cannot be written", Err: err}
	}
	p := newTicker(progress)
	defer p.stop()
	unlock, err := lockFileAt(ctx, filepath.Join(dir, lockName), func() { p.say("waiting for another build of the control plane") })
	if err != nil {
		return "", s.late(err)
	}
	defer unlock()
	if s.hit(file) {
		return file, nil
	}
	cleanCache(dir, s.key)
	p.say("building the control plane, once on this machine; minutes the first time")
	if err := s.build(ctx, dir, file); err != nil {
		if ctx.Err() != nil {
			return "", s.late(ctx.Err())
		}
		return "", err
	}
	return file, nil
}

// hit says whether file is there, and notes that it was used.
func (s *source) hit(file string) bool {
	if executable(file) != nil {
		return false
	}
	now := time.Now()
	// A cache that cannot be written still serves.
	_ = os.Chtimes(filepath.Dir(file), now, now)
	return true
}

func (s *source) late(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &UnavailableError{Why: "building it takes longer than the test's deadline", Command: s.command(), Err: err}
}

// command builds the program without a deadline.
func (s *source) command() string {
	if s.checkout {
		return "make controlplane"
	}
	return "go run github.com/gitops-kit/sdk/testserver/kube/cmd/build@" + Version
}

func prepareCache(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tag := filepath.Join(dir, "CACHEDIR.TAG")
	if _, err := os.Stat(tag); err == nil {
		return nil
	}
	return os.WriteFile(tag, []byte(cacheTag), 0o644)
}

// cleanCache removes what interrupted builds left and builds that nobody used
// for long. The caller holds the lock.
func cleanCache(dir, keep string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || e.Name() == keep {
			continue
		}
		if strings.HasPrefix(e.Name(), tempPrefix) || time.Since(info.ModTime()) > keepUnused {
			_ = os.RemoveAll(filepath.Join(dir, e.Name()))
		}
	}
}

// build compiles into a directory of its own and moves the result in place, so
// that an interrupted build leaves no half program.
func (s *source) build(ctx context.Context, dir, file string) error {
	if s.dir == "" {
		m, err := download(ctx)
		if err != nil {
			return err
		}
		s.dir = m.Dir
	}
	temp, err := os.MkdirTemp(dir, tempPrefix)
	if err != nil {
		return &UnavailableError{Why: "the cache cannot be written", Err: err}
	}
	defer func() { _ = os.RemoveAll(temp) }()
	out := filepath.Join(temp, programName)
	cmd := exec.CommandContext(ctx, "go", "build", "-C", s.dir, buildTrim, buildLD, "-o", out, ".")
	cmd.Dir = temp
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0", "GOOS=", "GOARCH=", "PWD="+temp)
	var stderr tailBuffer
	stderr.limit = stderrTail
	cmd.Stdout, cmd.Stderr = &stderr, &stderr
	ownGroup(cmd)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return &UnavailableError{Why: "it cannot be built", Command: s.command(), Err: errors.Join(lastError(stderr.String()), err)}
	}
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Dir(file)); err != nil {
		return &UnavailableError{Why: "the cache cannot be written", Err: err}
	}
	return nil
}

// lastError picks the line of a failed build that says most: the first that
// is no heading.
func lastError(output string) error {
	for line := range strings.SplitSeq(output, "\n") {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "go: downloading") {
			return errors.New(line)
		}
	}
	return nil
}

// lockFileAt takes the lock of file, waiting for whoever has it; the system
// frees it when its holder ends in whatever way.
func lockFileAt(ctx context.Context, file string, waiting func()) (unlock func(), err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	ticker := time.NewTicker(lockPoll)
	defer ticker.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %q: %w", filepath.Base(file), err), f.Close())
		}
		waiting()
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-ticker.C:
		}
	}
}
