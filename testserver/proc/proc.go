// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/testserver/internal/pstate"
)

// Defaults of [Options], and limits.
const (
	DefaultReadyTimeout = 30 * time.Second
	DefaultStopTimeout  = 10 * time.Second
	// MaxOutput is how much of the output is kept.
	MaxOutput = 1 << 20
	probeEach = 20 * time.Millisecond
)

// Options of a program. The zero value runs it in the working directory with
// this process's environment and does not wait.
type Options struct {
	// Dir is the working directory. "": this process's.
	Dir string
	// Env is added to this process's environment.
	Env []string
	// Stdin is the program's input. nil: empty.
	Stdin io.Reader
	// ReadyLine is matched against each line of output; the program is ready
	// at the first match. nil: no such condition.
	ReadyLine *regexp.Regexp
	// Ready is called every 20 ms until it returns nil; then the program is
	// ready. nil: no such condition.
	Ready func(ctx context.Context) error
	// ReadyTimeout bounds both. 0: [DefaultReadyTimeout].
	ReadyTimeout time.Duration
	// Output also receives the output, as it comes. nil: nobody.
	Output io.Writer
	// StopTimeout is the time between SIGTERM and SIGKILL. 0:
	// [DefaultStopTimeout].
	StopTimeout time.Duration
	// Pprof is the base URL of the program's profiles, such as
	// "http://127.0.0.1:6060/debug/pprof". "": samples have no goroutines.
	Pprof string
}

// ErrExited says that a program ended, although it was expected to run.
var ErrExited = errors.New("program exited")

// ExitError describes the end of a program.
type ExitError struct {
	// Program is its name.
	Program string
	// Status is how it ended, such as "exit status 1" or "signal: killed".
	Status string
	// Output is the end of what it printed.
	Output string
}

// Error names the program and its status, and shows the last lines it printed.
func (e *ExitError) Error() string {
	return fmt.Sprintf("%s: %s: %s", e.Program, e.Status, lastLines(e.Output, 5))
}

// Unwrap returns ErrExited.
func (e *ExitError) Unwrap() error { return ErrExited }

// Reason is a word for reports.
func (e *ExitError) Reason() string { return "ProgramExited" }

// Terminal reports that trying again is not known to be pointless.
func (e *ExitError) Terminal() bool { return false }

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

// Process is a running program.
type Process struct {
	name  string
	opts  Options
	cmd   *exec.Cmd
	out   *output
	done  chan struct{}
	state *os.ProcessState // valid when done is closed

	mu      sync.Mutex
	stopped bool
}

// Start runs args[0] with the other args for the length of a test, and returns
// when it is ready. Its output is logged if the test fails.
func Start(tb testing.TB, args []string, o Options) *Process {
	tb.Helper()
	p, err := Run(tb.Context(), args, o)
	if err != nil {
		tb.Fatalf("proc: %v", err)
	}
	tb.Cleanup(func() {
		p.Stop()
		if tb.Failed() {
			tb.Logf("output of %s:\n%s", p.name, p.tail(64<<10))
		}
	})
	return p
}

// Run is Start without a test: the program runs until [Process.Stop] or the end
// of ctx.
func Run(ctx context.Context, args []string, o Options) (*Process, error) {
	if len(args) == 0 {
		return nil, errors.New("no program given")
	}
	p := &Process{name: args[0], opts: o, done: make(chan struct{})}
	p.out = &output{next: o.Output, line: o.ReadyLine, matched: make(chan struct{})}
	p.cmd = exec.Command(args[0], args[1:]...) //nolint:noctx // the test's program; its end is Stop
	p.cmd.Dir, p.cmd.Stdin = o.Dir, o.Stdin
	p.cmd.Env = append(os.Environ(), o.Env...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.WaitDelay = time.Second // what it started may hold the output open
	p.cmd.SysProcAttr = attributes()
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	context.AfterFunc(ctx, p.Stop)
	if err := p.awaitReady(ctx); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// run starts the program and waits for it on one thread: the system takes the
// end of the thread that started a process for the end of its parent.
func (p *Process) run(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	started <- nil
	_ = p.cmd.Wait() // the state says it all
	p.state = p.cmd.ProcessState
	close(p.done)
}

func (p *Process) awaitReady(ctx context.Context) error {
	limit := p.opts.ReadyTimeout
	if limit <= 0 {
		limit = DefaultReadyTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if p.opts.ReadyLine != nil {
		select {
		case <-p.out.matched:
		case <-p.done:
			return p.exitError()
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to print %q: %w: %s", p.name, p.opts.ReadyLine, ctx.Err(), lastLines(p.Output(), 5))
		}
	}
	if p.opts.Ready == nil {
		return nil
	}
	tick := time.NewTicker(probeEach)
	defer tick.Stop()
	for {
		last := p.opts.Ready(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return p.exitError()
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", p.name, errors.Join(ctx.Err(), last))
		}
	}
}

func (p *Process) exitError() error {
	return &ExitError{Program: p.name, Status: p.state.String(), Output: p.tail(16 << 10)}
}

// PID is the process's id and its group's.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output returns what the program printed, both streams as they came; of more
// than [MaxOutput] the end.
func (p *Process) Output() string { return p.out.String() }

func (p *Process) tail(n int) string {
	s := p.Output()
	return s[max(0, len(s)-n):]
}

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the program and returns its exit code, -1 if a
// signal ended it, or ctx's error.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.done:
		return p.state.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for the end of %s: %w", p.name, ctx.Err())
	}
}

// Signal sends a signal to the process group. A program that has ended gets
// none, which is no error.
func (p *Process) Signal(s syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := syscall.Kill(-p.PID(), s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return os.NewSyscallError("kill", err)
	}
	return nil
}

// Pause stops the group as it is (SIGSTOP). Where the system tells, it returns
// when the program has stopped: the signal takes effect a moment after it was
// sent.
func (p *Process) Pause() error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	return pstate.AwaitStop(func() []int {
		select {
		case <-p.done:
			return nil // it has ended, which is no error, as with Signal
		default:
			return pstate.Self(p.PID())()
		}
	})
}

// Resume lets a paused group go on (SIGCONT).
func (p *Process) Resume() error { return p.Signal(syscall.SIGCONT) }

// Kill ends the group at once (SIGKILL) and waits for it.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// Stop asks the group to end (SIGTERM), kills it after [Options.StopTimeout],
// and waits. What the program left running in its group is killed, too.
func (p *Process) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped {
		return
	}
	p.stopped = true
	limit := p.opts.StopTimeout
	if limit <= 0 {
		limit = DefaultStopTimeout
	}
	_ = p.Signal(syscall.SIGTERM)
	_ = p.Signal(syscall.SIGCONT) // a paused program cannot end
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	}
	_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	<-p.done
}

// output keeps the end of what is written to it and looks for a line.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	next    io.Writer
	line    *regexp.Regexp
	part    []byte
	matched chan struct{}
	found   bool
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p)
	if extra := o.buf.Len() - MaxOutput; extra > 0 {
		o.buf.Next(extra)
	}
	if o.line != nil && !o.found {
		o.search(p)
	}
	if o.next != nil {
		_, _ = o.next.Write(p) // the program's output does not depend on it
	}
	return len(p), nil
}

func (o *output) search(p []byte) {
	o.part = append(o.part, p...)
	for {
		i := bytes.IndexByte(o.part, '\n')
		if i < 0 {
			o.part = o.part[max(0, len(o.part)-MaxOutput):]
			return
		}
		if o.line.Match(o.part[:i]) {
			o.found = true
			o.part = nil
			close(o.matched)
			return
		}
		o.part = o.part[i+1:]
	}
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
