// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Files in a control plane's data directory.
const (
	auditFile = "audit.jsonl"
	logFile   = "controlplane.log"
)

const (
	// stopWait bounds an orderly end of the process.
	stopWait = 30 * time.Second
	// commandWait bounds a command to the process: a little more than the
	// process takes for it at most.
	commandWait = 200 * time.Second
	// groupWait bounds the wait for killed children to be gone.
	groupWait = 2 * time.Second
	// stderrTail is how much of the process's error output is kept.
	stderrTail = 16 << 10
)

// process is one run of the control plane program.
type process struct {
	cmd        *exec.Cmd
	stdin      io.WriteCloser
	stderr     *tailBuffer
	server     string
	kubeconfig string
	done       chan struct{}
	err        error  // valid when done is closed
	failed     string // why it ended by itself; likewise

	mu      sync.Mutex // one command at a time
	answers chan string
}

// newDataDir returns the path of a directory that does not exist yet. The
// program makes it and removes it, also when this process is killed. The name
// is short: so is the path of a socket, which is elsewhere if it is not, where
// this process cannot remove it for a program that died.
func newDataDir() string {
	return filepath.Join(os.TempDir(), "gitops-kit-"+strings.ToLower(rand.Text()[:nameChars]))
}

// nameChars of base32 make a name that nobody else has.
const nameChars = 13

// startProcess runs the program until it is ready. Its standard input is held
// open by this process: whichever way this one ends, that one does.
func startProcess(ctx context.Context, binary string, args []string, env map[string]string) (*process, error) {
	cmd := exec.Command(binary, args...) //nolint:noctx // ends by its standard input, see above
	cmd.Env = os.Environ()
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	p := &process{cmd: cmd, stderr: &tailBuffer{limit: stderrTail}, done: make(chan struct{}), answers: make(chan string, 1)}
	cmd.Stderr = p.stderr
	ownGroup(cmd)
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start control plane: %w", err)
	}
	ready := make(chan string, 1)
	go p.read(out, ready)
	select {
	case line := <-ready:
		p.parseReady(line)
		return p, nil
	case <-p.done:
		return nil, startError(p.failed, p.stderr.String(), p.err)
	case <-ctx.Done():
		p.stop()
		return nil, fmt.Errorf("wait for control plane: %w", ctx.Err())
	}
}

func (p *process) read(out io.Reader, ready chan<- string) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line := lines.Text()
		switch word, _, _ := strings.Cut(line, " "); word {
		case "READY":
			ready <- line
		case failedWord:
			p.failed = line
		case "OK", "ERR":
			select {
			case p.answers <- line:
			default: // nobody waits for it any more
			}
		}
	}
	err := p.cmd.Wait()
	if err == nil {
		err = errors.New("exit status 0")
	}
	p.err = err
	close(p.done)
}

func (p *process) parseReady(line string) {
	for field := range strings.FieldsSeq(line) {
		switch key, value, _ := strings.Cut(field, "="); key {
		case "server":
			p.server = value
		case "kubeconfig":
			p.kubeconfig = value
		}
	}
}

// command sends one command and waits for its answer.
func (p *process) command(ctx context.Context, line string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	select {
	case <-p.answers: // of a command that was given up
	default:
	}
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	select {
	case answer := <-p.answers:
		if answer == "OK "+line {
			return nil
		}
		return errors.New(strings.TrimPrefix(answer, "ERR "))
	case <-p.done:
		return fmt.Errorf("%s: control plane ended: %w\n%s", line, p.err, p.stderr.String())
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", line, ctx.Err())
	}
}

// stop ends the process in order, and by force if that takes too long.
func (p *process) stop() {
	_ = p.stdin.Close()
	timer := time.NewTimer(stopWait)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.kill()
	}
}

// kill ends the process and its children at once.
func (p *process) kill() {
	group := -p.cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGKILL)
	<-p.done
	// The children die at the same time, but nobody here waits for them.
	for deadline := time.Now().Add(groupWait); time.Now().Before(deadline); {
		if errors.Is(syscall.Kill(group, 0), syscall.ESRCH) {
			return
		}
		pause := time.NewTimer(time.Millisecond)
		<-pause.C
	}
}

// tailBuffer keeps the last bytes written to it.
type tailBuffer struct {
	mu    sync.Mutex
	limit int
	buf   bytes.Buffer
}

func (b *tailBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Write(p)
	if extra := b.buf.Len() - b.limit; extra > 0 {
		b.buf.Next(extra)
	}
	return len(p), nil
}

func (b *tailBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
