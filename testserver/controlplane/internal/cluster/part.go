// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/gitops-kit/sdk/testserver/controlplane/internal/component"
	"github.com/gitops-kit/sdk/testserver/controlplane/internal/kubelet"
	"github.com/gitops-kit/sdk/testserver/controlplane/internal/kubeversion"
	"github.com/gitops-kit/sdk/testserver/controlplane/internal/pki"
)

// Names of components, as in pause and resume commands.
const (
	nameEtcd              = "etcd"
	nameAPIServer         = "kube-apiserver"
	nameControllerManager = "kube-controller-manager"
	nameScheduler         = "kube-scheduler"
	nameKubelet           = "kubelet"
)

// spec is what one component needs to run, in this process or a child.
type spec struct {
	Name       string
	Args       []string
	Dir        string // etcd's data, or the certificates
	Socket     string
	Kubeconfig string
	Nodes      int
	RealDelays bool
}

// run runs a component until ctx ends; ready, where there is one to say it,
// is called once. What a component cannot go on with may be given to fail
// instead of being returned.
func (s spec) run(ctx context.Context, listener net.Listener, ready func(), fail func(error)) error {
	switch s.Name {
	case nameEtcd:
		return s.runEtcd(ctx, ready, fail)
	case nameAPIServer:
		return component.RunAPIServer(ctx, listener, s.Args)
	case nameControllerManager:
		return s.runControllers(ctx)
	case nameScheduler:
		return component.RunScheduler(ctx, s.Args)
	case nameKubelet:
		return s.runKubelet(ctx, ready)
	default:
		return fmt.Errorf("unknown component %q", s.Name)
	}
}

func (s spec) runEtcd(ctx context.Context, ready func(), fail func(error)) error {
	etcd, err := component.StartEtcd(ctx, s.Dir, s.Socket, fail)
	if err != nil {
		return err
	}
	defer etcd.Stop()
	ready()
	select {
	case <-ctx.Done():
		return nil
	case err := <-etcd.Failed():
		return err
	}
}

func (s spec) config() (*rest.Config, error) {
	c, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		return nil, err
	}
	c.QPS = -1
	c.ContentType = "application/vnd.kubernetes.protobuf"
	c.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	return c, nil
}

// runControllers runs the controller-manager and, unless the real delays are
// asked for, the two controllers that it leaves to this program.
func (s spec) runControllers(ctx context.Context) error {
	if s.RealDelays {
		return component.RunControllerManager(ctx, s.Args)
	}
	config, err := s.config()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	runs := []func() error{
		func() error { return component.RunControllerManager(ctx, s.Args) },
		func() error { return component.RunNamespaces(ctx, config) },
		func() error { return component.RunGarbageCollector(ctx, config) },
	}
	errs := make(chan error, len(runs))
	for _, run := range runs {
		go func() { errs <- run() }()
	}
	var all []error
	for range runs {
		all = append(all, <-errs)
		cancel()
	}
	return errors.Join(all...)
}

func (s spec) runKubelet(ctx context.Context, ready func()) error {
	config, err := s.config()
	if err != nil {
		return err
	}
	k, err := kubelet.New(kubelet.Options{
		Config: config, Nodes: s.Nodes, Version: kubeversion.Kubernetes(),
		CertFile: s.Dir + "/" + pki.Serving, KeyFile: s.Dir + "/" + pki.ServingKey,
	})
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-k.Ready():
			ready()
		case <-ctx.Done():
		}
	}()
	return k.Run(ctx)
}

// part is a running component.
type part struct {
	name string
	pid  int // of the child process, 0 in this one
	end  func()
	done chan struct{}
	err  error // valid when done is closed
}

// stop asks the component to end and waits at most limit.
func (p *part) stop(limit time.Duration) bool {
	p.end()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-p.done:
		return true
	case <-timer.C:
		return false
	}
}

// startHere runs a component in this process, until it is told to end: ctx ends
// for all of them at once, but they end one after the other. A panic of its main
// goroutine is an error like others.
func startHere(ctx context.Context, s spec, listener net.Listener, ready func(), fail func(error)) *part {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p := &part{name: s.Name, end: cancel, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		err := s.runSafely(ctx, listener, ready, func(err error) { fail(&partError{Name: s.Name, Err: err}) })
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errEnded
		}
		p.err = &partError{Name: s.Name, Err: err}
	}()
	return p
}

var errEnded = errors.New("it ended by itself")

func (s spec) runSafely(ctx context.Context, listener net.Listener, ready func(), fail func(error)) (err error) {
	defer func() {
		if v := recover(); v != nil {
			debug.PrintStack() // into the log
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return s.run(ctx, listener, ready, fail)
}

// childReady is the line that a child writes to its standard output when ready.
const childReady = "ready"

// readChild reads a child's standard output to its end, and returns the error
// that the child reports, if any.
func readChild(out io.Reader, ready func()) error {
	var said error
	for lines := bufio.NewScanner(out); lines.Scan(); {
		line := lines.Text()
		if line == childReady {
			ready()
		}
		if text, ok := strings.CutPrefix(line, failedWord+" "); ok {
			var r report
			if json.Unmarshal([]byte(text), &r) == nil {
				said = &childError{report: r}
			}
		}
	}
	_, _ = io.Copy(io.Discard, out) // what is left after a line that is too long
	return said
}

// startChild runs a component in a process of its own. The specification goes
// to the child by its standard input; an API server inherits its listener.
func startChild(s spec, listener *net.TCPListener, ready func()) (*part, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "component") //nolint:gosec,noctx // this very program, ended by its part
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if listener != nil {
		f, err := listener.File()
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		cmd.ExtraFiles = []*os.File{f}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &part{name: s.Name, pid: cmd.Process.Pid, done: make(chan struct{})}
	var asked sync.Once
	ending := make(chan struct{})
	p.end = func() {
		asked.Do(func() { close(ending) })
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Signal(syscall.SIGTERM)
	}
	if err := json.NewEncoder(in).Encode(s); err != nil {
		p.end()
	}
	go func() {
		defer close(p.done)
		said := readChild(out, ready)
		_ = cmd.Wait()
		select {
		case <-ending:
			return
		default:
		}
		if said == nil {
			said = fmt.Errorf("%w: %s", errEnded, cmd.ProcessState)
		}
		p.err = &partError{Name: s.Name, Err: said}
	}()
	return p, nil
}

// Child runs one component whose specification is on standard input, until
// SIGTERM, the end of standard input, the end of the parent, or that of ctx.
func Child(ctx context.Context) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	signal.Ignore(os.Interrupt, syscall.SIGHUP) // the parent decides
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchParent(cancel)
	var s spec
	if err := json.NewDecoder(os.Stdin).Decode(&s); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		<-signals
		cancel()
	}()
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		cancel()
	}()
	var listener net.Listener
	if s.Name == nameAPIServer {
		l, err := net.FileListener(os.NewFile(3, "listener"))
		if err != nil {
			_, _ = fmt.Fprintln(os.Stderr, err)
			return 1
		}
		listener = l
	}
	failed := newFailure()
	component.CatchExits(failed.set)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := s.runSafely(ctx, listener, func() { _, _ = os.Stdout.WriteString(childReady + "\n") }, failed.set)
		if err == nil {
			err = errEnded
		}
		if ctx.Err() == nil {
			failed.set(err)
		}
	}()
	select {
	case <-failed.done:
		_, _ = fmt.Fprintln(os.Stderr, failed.err)
		newReport(failed.err).write(os.Stdout)
		return 1
	case <-ctx.Done():
		<-ended
		return 0
	}
}
