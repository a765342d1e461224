// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tour

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// manager is the process that runs the controllers.
type manager struct {
	cmd     *exec.Cmd
	logFile string
	exited  chan struct{}
}

// startManager builds the manager, which the Go build cache makes quick from
// the second time on, and starts it outside the cluster.
func (t *tour) startManager(ctx context.Context, update func(string, ...any)) (string, error) {
	update("building")
	dir, err := module(ctx, "controllers")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(t.dir, "manager")
	build := exec.CommandContext(ctx, "go", "build", "-o", bin, "./cmd/manager")
	build.Dir, build.Env = dir, append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the manager: %w\n%s", err, out)
	}
	ports, err := freePorts(3)
	if err != nil {
		return "", err
	}
	m := &manager{logFile: filepath.Join(t.dir, "manager.log"), exited: make(chan struct{})}
	log, err := os.Create(m.logFile)
	if err != nil {
		return "", err
	}
	m.cmd = exec.Command(bin, "--controllers=source,kustomize", "--watch-all-namespaces=false", //nolint:noctx // it ends by SIGTERM, not by kill
		"--storage-path="+filepath.Join(t.dir, "storage"), "--storage-addr="+ports[0], "--storage-adv-addr="+ports[0],
		"--metrics-addr="+ports[1], "--health-addr="+ports[2], "--log-encoding=console", "--log-level=info", "--interval-jitter-percentage=0")
	m.cmd.Env = append(os.Environ(), "KUBECONFIG="+t.kubeconfig, "RUNTIME_NAMESPACE="+namespace, "TMPDIR="+t.dir)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		return "", err
	}
	t.manager = m
	go func() { _ = m.cmd.Wait(); _ = log.Close(); close(m.exited) }()
	t.closers = append(t.closers, m.stop)
	update("waiting until it is ready")
	err = t.poll(ctx, func(ctx context.Context) (bool, error) {
		select {
		case <-m.exited:
			return false, errors.New("the manager ended: " + m.tail(2000))
		default:
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+ports[2]+"/readyz", nil)
		if err != nil {
			return false, err
		}
		resp, err := (&http.Client{Timeout: time.Second}).Do(req)
		if err != nil {
			return false, nil //nolint:nilerr // not yet
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK, nil
	})
	return "source and kustomize controllers ready", err
}

func (m *manager) stop() error {
	_ = m.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-m.exited:
		if code := m.cmd.ProcessState.ExitCode(); code != 0 {
			return fmt.Errorf("the manager ended with code %d: %s", code, m.tail(2000))
		}
		return nil
	case <-time.After(20 * time.Second):
		_ = m.cmd.Process.Kill()
		return errors.New("the manager did not end within 20 s of SIGTERM")
	}
}

// tail is the end of the manager's log, from a line's beginning.
func (m *manager) tail(n int) string {
	data, err := os.ReadFile(m.logFile)
	if err != nil {
		return err.Error()
	}
	if len(data) > n {
		data = data[len(data)-n:]
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			data = data[i+1:]
		}
	}
	return string(data)
}

// module finds the folder of a module of this repository, next to that of the
// examples.
func module(ctx context.Context, name string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	return filepath.Join(filepath.Dir(strings.TrimSpace(string(out))), name), nil
}

// freePorts returns loopback addresses that nothing listens on at the moment.
func freePorts(n int) ([]string, error) {
	var out []string
	for range n {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }()
		out = append(out, l.Addr().String())
	}
	return out, nil
}

// poll asks until it is done, fails, or patience ends.
func (t *tour) poll(ctx context.Context, done func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up after %s: %w", patience, ctx.Err())
		case <-tick.C:
		}
	}
}
