// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	. "github.com/onsi/gomega"
)

// process is a running manager.
type process struct {
	log    *syncBuffer
	cmd    *exec.Cmd
	exited chan struct{}
}

// launch runs a manager that keeps its files in dir, until the test ends or
// stop is called. It returns when the manager is ready.
func (w *world) launch(dir string, args ...string) *process {
	w.t.Helper()
	bin, err := binary()
	w.Expect(err).NotTo(HaveOccurred())
	tmp := filepath.Join(dir, "tmp")
	w.Expect(os.MkdirAll(tmp, 0o700)).To(Succeed())
	config := filepath.Join(dir, "kubeconfig")
	w.Expect(os.WriteFile(config, w.cluster.Kubeconfig(), 0o600)).To(Succeed())
	metrics, health := freePort(w), freePort(w)
	p := &process{log: &syncBuffer{}, exited: make(chan struct{})}
	p.cmd = exec.Command(bin, append([]string{
		"--watch-all-namespaces=false", "--storage-path=" + filepath.Join(dir, "storage"),
		"--metrics-addr=" + metrics, "--health-addr=" + health, "--interval-jitter-percentage=0", "--log-level=debug",
	}, args...)...)
	p.cmd.Env = append(os.Environ(), "KUBECONFIG="+config, "RUNTIME_NAMESPACE="+w.ns, "TMPDIR="+tmp)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	w.Expect(p.cmd.Start()).To(Succeed())
	go func() { _ = p.cmd.Wait(); close(p.exited) }()
	w.t.Cleanup(func() {
		p.stop()
		if w.t.Failed() {
			w.t.Logf("manager log:\n%s", p.log.tail(24<<10))
		}
	})
	w.Eventually(w.ctx, func() error {
		select {
		case <-p.exited:
			return StopTrying("the manager ended: " + p.log.tail(4000))
		default:
		}
		resp, err := http.Get("http://" + health + "/readyz") //nolint:gosec // loopback
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", resp.StatusCode)
		}
		return nil
	}).WithTimeout(patience).WithPolling(50 * time.Millisecond).Should(Succeed())
	return p
}

// stop ends the manager as Kubernetes would and returns its exit code.
func (p *process) stop() int {
	select {
	case <-p.exited:
	default:
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(30 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.exited
		}
	}
	return p.cmd.ProcessState.ExitCode()
}

var ports atomic.Uint32

// freePort returns an address for a manager to listen on. Its port is below
// those that are given to whoever asks for any, so that no other test gets it
// while the manager starts.
func freePort(w *world) string {
	w.t.Helper()
	for range 1000 {
		port := 10_000 + (uint32(os.Getpid())*131+ports.Add(1))%20_000 //nolint:gosec // any number will do
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			continue
		}
		w.Expect(l.Close()).To(Succeed())
		return l.Addr().String()
	}
	w.t.Fatal("no free port")
	return ""
}
