//go:build failpoints

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package fail marks the places where a crash test may end the process. The
// environment variable GITOPS_KIT_FAIL holds "name[@n]=action", separated by
// semicolons, with the actions kill, stop, panic, error, sleep(d), wait(file)
// and, for the name "*", trace(file).
package fail

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrInjected is what the action error returns.
var ErrInjected = errors.New("injected failure")

type rule struct {
	name, action, arg string
	nth               int
}

var (
	mu   sync.Mutex
	hits = map[string]int{}
	plan = sync.OnceValue(func() []rule { return parse(os.Getenv("GITOPS_KIT_FAIL")) })
)

// Point marks a step.
func Point(name string) { _ = Err(name) }

// Err marks a step that can be made to return an error.
func Err(name string) error {
	rules := plan()
	if len(rules) == 0 {
		return nil
	}
	mu.Lock()
	hits[name]++
	n := hits[name]
	mu.Unlock()
	for _, r := range rules {
		if r.name != "*" && r.name != name || r.nth != 0 && r.nth != n {
			continue
		}
		if err := r.do(name, n); err != nil {
			return err
		}
	}
	return nil
}

func (r rule) do(name string, n int) error {
	switch r.action {
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "panic":
		panic("failpoint " + name)
	case "error":
		return fmt.Errorf("failpoint %s: %w", name, ErrInjected)
	case "sleep":
		d, _ := time.ParseDuration(r.arg)
		<-time.After(d)
	case "wait":
		for {
			if _, err := os.Stat(r.arg); err == nil {
				return nil
			}
			<-time.After(5 * time.Millisecond)
		}
	case "trace":
		f, err := os.OpenFile(r.arg, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(f, "%s %d\n", name, n)
		return errors.Join(err, f.Close())
	}
	return nil
}

func parse(s string) []rule {
	var out []rule
	for part := range strings.SplitSeq(s, ";") {
		name, action, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			continue
		}
		r := rule{name: name}
		if at, nth, ok := strings.Cut(name, "@"); ok {
			r.name = at
			r.nth, _ = strconv.Atoi(nth)
		}
		r.action = action
		if open := strings.IndexByte(action, '('); open > 0 && strings.HasSuffix(action, ")") {
			r.action, r.arg = action[:open], action[open+1:len(action)-1]
		}
		out = append(out, r)
	}
	return out
}
