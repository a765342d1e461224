// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/gitops-kit/sdk/testserver/controlplane/internal/component"
)

// command is a line of standard input.
type command struct {
	words  []string
	answer func(error)
}

// readCommands delivers the lines of standard input when commands are asked
// for, and calls stop at its end when that is.
func readCommands(o Options, stop func(error)) <-chan command {
	if !o.StopOnStdinEOF {
		return nil
	}
	commands := make(chan command)
	go func() {
		if !o.Control {
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop(errInput)
			return
		}
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			line := strings.TrimSpace(lines.Text())
			if line == "" {
				continue
			}
			answered := make(chan struct{})
			commands <- command{words: strings.Fields(line), answer: func(err error) {
				if err != nil {
					_, _ = fmt.Fprintf(os.Stdout, "ERR %s: %s\n", line, oneLine(err.Error()))
				} else {
					_, _ = fmt.Fprintf(os.Stdout, "OK %s\n", line)
				}
				close(answered)
			}}
			<-answered
		}
		stop(errInput)
	}()
	return commands
}

// execute carries out one command.
func (c *cluster) execute(ctx context.Context, words []string) error {
	switch {
	case len(words) == 1 && words[0] == "stop-apiserver":
		return c.stopAPIServer()
	case len(words) == 1 && words[0] == "start-apiserver":
		if c.part(nameAPIServer) != nil {
			return errors.New("it is running")
		}
		ctx, cancel := context.WithTimeout(ctx, c.o.ReadyTimeout)
		defer cancel()
		return c.startAPIServer(ctx)
	case len(words) == 1 && words[0] == "compact":
		return component.Compact(ctx, c.d.socket())
	case len(words) == 2 && words[0] == "pause":
		return c.signal(words[1], syscall.SIGSTOP)
	case len(words) == 2 && words[0] == "resume":
		return c.signal(words[1], syscall.SIGCONT)
	default:
		return errors.New("unknown command")
	}
}

func (c *cluster) part(name string) *part {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.parts[name]
}

// endLimit bounds the end of an API server that is to be started again.
const endLimit = 60 * time.Second

func (c *cluster) stopAPIServer() error {
	p := c.part(nameAPIServer)
	if p == nil {
		return errors.New("it is not running")
	}
	if !p.stop(endLimit) {
		return errors.New("it does not end")
	}
	c.mu.Lock()
	delete(c.parts, nameAPIServer)
	c.mu.Unlock()
	return nil
}

func (c *cluster) signal(name string, s syscall.Signal) error {
	p := c.part(name)
	if p == nil {
		return errors.New("no such component is running")
	}
	if p.pid == 0 {
		return errors.New("it is no process of its own: use --split")
	}
	return syscall.Kill(p.pid, s)
}
