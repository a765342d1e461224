// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Sample is the state of a process at one time.
type Sample struct {
	// Time of the sample.
	Time time.Time
	// RSS is the resident memory in bytes, PeakRSS its maximum so far.
	RSS, PeakRSS int64
	// FDs is the number of open descriptors.
	FDs int
	// Threads is the number of threads.
	Threads int
	// CPU is the processor time used so far.
	CPU time.Duration
	// Goroutines is read from [Options.Pprof]; -1 without one.
	Goroutines int
}

// ErrUnsupported says that this system does not tell about processes.
var ErrUnsupported = errors.New("samples need a proc file system")

const (
	// clockTicks per second of the times in /proc; it is this on every Linux.
	clockTicks = 100
	maxPprof   = 64 << 10
)

// Sample reads the state of the program's first process.
func (p *Process) Sample(ctx context.Context) (Sample, error) {
	s := Sample{Time: time.Now(), Goroutines: -1}
	dir := fmt.Sprintf("/proc/%d", p.PID())
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		if _, statErr := os.Stat("/proc/self/status"); statErr != nil {
			return s, ErrUnsupported
		}
		select {
		case <-p.done:
			return s, p.exitError()
		default:
			return s, err
		}
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		key, value, _ := strings.Cut(line, ":")
		fields := strings.Fields(value)
		if len(fields) == 0 {
			continue
		}
		n, err := strconv.ParseInt(fields[0], 10, 64)
		if err != nil {
			continue
		}
		switch key {
		case "VmRSS":
			s.RSS = n << 10
		case "VmHWM":
			s.PeakRSS = n << 10
		case "Threads":
			s.Threads = int(n)
		}
	}
	if fds, err := os.ReadDir(dir + "/fd"); err == nil {
		s.FDs = len(fds)
	}
	s.CPU = cpuTime(dir)
	if p.opts.Pprof != "" {
		s.Goroutines, err = goroutines(ctx, p.opts.Pprof)
	}
	return s, err
}

// cpuTime adds the user and system time of /proc/<pid>/stat.
func cpuTime(dir string) time.Duration {
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return 0
	}
	text := string(b)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // the name may hold anything
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * time.Second / clockTicks
}

// goroutines reads the count from the first line of the goroutine profile.
func goroutines(ctx context.Context, pprof string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, pprof+"/goroutine?debug=1", nil)
	if err != nil {
		return -1, err
	}
	transport := &http.Transport{DisableKeepAlives: true} // no proxy: it is on this machine
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return -1, err
	}
	defer func() { _ = resp.Body.Close() }()
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxPprof)) //nolint:forbidigo // bounded
	if err != nil {
		return -1, err
	}
	var n int
	if _, err := fmt.Sscanf(string(head), "goroutine profile: total %d", &n); err != nil {
		return -1, fmt.Errorf("goroutine profile: status %d: %w", resp.StatusCode, err)
	}
	return n, nil
}
