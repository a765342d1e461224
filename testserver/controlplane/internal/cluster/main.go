// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/gitops-kit/sdk/testserver/controlplane/internal/component"
)

// stopLimit bounds an orderly stop; after it the files are removed and the
// process ends as it is. While it is not ready yet there is nothing to end in
// order, and a component that starts does not listen.
const (
	stopLimit        = 4 * time.Second
	stopLimitUnready = 1500 * time.Millisecond
)

// exitInterrupted is the exit code after a second signal: 128 and the number of
// SIGINT, as shells have it.
const exitInterrupted = 130

// Main runs a control plane until it is told to stop or ctx ends, and returns
// the exit code. Whatever still runs then ends with the process.
func Main(ctx context.Context, args []string) int {
	started := time.Now()
	o, err := Parse(args)
	if errHelp(err) {
		_, _ = io.WriteString(os.Stdout, Usage())
		return 0
	}
	if err != nil {
		return fail(o, os.Stderr, "", err)
	}
	// Signals are caught before the parent's death can send one.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ) // whoever read the output may be gone; EFBIG says the same
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	watchParent(func() { stop(errParent) })
	d, err := newDir(o)
	if err != nil {
		return fail(o, os.Stderr, "", err)
	}
	defer d.remove()
	real, err := redirectStderr(d.log)
	if err != nil {
		return fail(o, os.Stderr, "", err)
	}
	// A panic is seen where errors are, too.
	_ = debug.SetCrashOutput(real, debug.CrashOptions{})

	c := newCluster(o, d)
	component.CatchExits(c.failed.set)
	commands := readCommands(o, stop)
	ended := make(chan error, 1)
	go func() {
		ended <- c.run(ctx, commands, func() {
			_, _ = fmt.Fprintf(os.Stdout, "READY server=%s kubeconfig=%s pid=%d after=%.2f\n",
				c.server, d.kubeconfig, os.Getpid(), time.Since(started).Seconds())
		})
	}()
	select {
	case err = <-ended:
	case <-signals:
		stop(errSignal)
		select {
		case err = <-ended:
		case <-signals: // a second one does not wait for an orderly end
			return exitInterrupted
		}
	}
	if err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return 0
	}
	return fail(o, real, tail(d.log), err)
}

// fail says why this program ends, on standard error for people and on standard
// output for a program that controls this one.
func fail(o Options, stderr io.Writer, log string, err error) int {
	err = explain(err, log)
	if log != "" {
		log += "\n"
	}
	_, _ = fmt.Fprintf(stderr, "%scontrolplane: %v\n", log, err)
	if o.Control {
		newReport(err).write(os.Stdout)
	}
	return 1
}

var (
	errSignal = errors.New("stopped by a signal")
	errParent = errors.New("the parent process ended")
	errInput  = errors.New("standard input ended")
)

// tailBytes is how much of the log an error message carries.
const tailBytes = 6 << 10

func tail(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		if _, err := f.Seek(-tailBytes, io.SeekEnd); err != nil {
			return ""
		}
	}
	b := make([]byte, tailBytes)
	n, _ := io.ReadFull(f, b)
	return string(b[:n])
}
