// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pstate asks the system in what state processes are.
package pstate

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// ErrRunning says that processes that were told to stop went on.
var ErrRunning = errors.New("still running")

const (
	stopWait = 30 * time.Second
	poll     = time.Millisecond
)

// AwaitStop returns when one of the processes has stopped with all its threads:
// a signal takes effect a moment after it was sent. pids is asked again each
// time. Where the system has no /proc, it returns at once; with no process to
// wait for, too.
func AwaitStop(pids func() []int) error {
	for deadline := time.Now().Add(stopWait); ; {
		all := pids()
		if len(all) == 0 {
			return nil
		}
		for _, pid := range all {
			if stopped(pid) {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v after %s: %w", all, stopWait, ErrRunning)
		}
		timer := time.NewTimer(poll)
		<-timer.C
	}
}

// Self is pid if /proc tells of it.
func Self(pid int) func() []int {
	return func() []int {
		if _, _, ok := stat(filepath.Join("/proc", strconv.Itoa(pid), "stat")); !ok {
			return nil
		}
		return []int{pid}
	}
}

// Children are the processes started by pid.
func Children(pid int) func() []int {
	return func() []int {
		files, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			return nil
		}
		var pids []int
		for _, file := range files {
			child, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if _, parent, ok := stat(file); err == nil && ok && parent == pid {
				pids = append(pids, child)
			}
		}
		return pids
	}
}

// stopped says whether every thread of pid is stopped.
func stopped(pid int) bool {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		return false
	}
	for _, file := range threads {
		if state, _, ok := stat(file); ok && state != 'T' {
			return false
		}
	}
	return true
}

// stat reads the state and the parent from a stat file. The name before them
// is in parentheses and may contain anything.
func stat(file string) (state byte, parent int, ok bool) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, 0, false
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 2 || len(fields[0]) != 1 {
		return 0, 0, false
	}
	parent, err = strconv.Atoi(string(fields[1]))
	return fields[0][0], parent, err == nil
}
