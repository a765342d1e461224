// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package proc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"github.com/gitops-kit/sdk/testserver/proc"
)

// TestMain runs this binary as the program under test when asked to.
func TestMain(m *testing.M) {
	mode := os.Getenv("PROC_HELPER")
	if mode == "" {
		goleak.VerifyTestMain(m)
		return
	}
	os.Exit(helper(mode)) //nolint:forbidigo // this is the program under test
}

func helper(mode string) int {
	say := func(text string) { _, _ = fmt.Fprintln(os.Stdout, text) }
	switch mode {
	case "serve":
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 3
		}
		say("starting")
		say("ready on " + l.Addr().String())
		_ = http.Serve(l, nil)
	case "fail":
		say("cannot open the thing")
		return 7
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		say("ready")
		select {}
	case "parent": // starts a program and dies by SIGKILL
		ctx := context.Background() //nolint:forbidigo // there is no test
		p, err := proc.Run(ctx, []string{os.Args[0]},
			proc.Options{Env: []string{"PROC_HELPER=stubborn"}, ReadyLine: regexp.MustCompile("ready")})
		if err != nil {
			return 3
		}
		_ = os.WriteFile(os.Getenv("PROC_FILE"), []byte(strconv.Itoa(p.PID())), 0o600)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return 0
}

func self(t *testing.T, helper string, o proc.Options) *proc.Process {
	t.Helper()
	o.Env = append(o.Env, "PROC_HELPER="+helper)
	return proc.Start(t, []string{os.Args[0]}, o)
}

func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
	}
	return strings.Contains(string(b), ") Z ")
}

var readyOn = regexp.MustCompile(`^ready on (.*)$`)

func TestStartAndSample(t *testing.T) {
	g := NewWithT(t)
	p := self(t, "serve", proc.Options{ReadyLine: readyOn})
	g.Expect(p.Output()).To(ContainSubstring("starting\nready on 127.0.0.1:"))
	s, err := p.Sample(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.RSS).To(BeNumerically(">", 1<<20))
	g.Expect(s.PeakRSS).To(BeNumerically(">=", s.RSS))
	g.Expect(s.FDs).To(BeNumerically(">", 2))
	g.Expect(s.Threads).To(BeNumerically(">", 0))
	g.Expect(s.Goroutines).To(Equal(-1))
	p.Stop()
	g.Expect(gone(p.PID())).To(BeTrue())
	_, err = p.Sample(t.Context())
	g.Expect(errors.Is(err, proc.ErrExited)).To(BeTrue(), "%v", err)
}

func TestGoroutines(t *testing.T) {
	g := NewWithT(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	srv := &http.Server{Handler: http.DefaultServeMux}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	defer func() { _ = srv.Close(); <-done }()
	p := self(t, "serve", proc.Options{ReadyLine: readyOn, Pprof: "http://" + l.Addr().String() + "/debug/pprof"})
	s, err := p.Sample(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Goroutines).To(BeNumerically(">", 1))
}

func TestReadyProbe(t *testing.T) {
	g := NewWithT(t)
	calls := 0
	self(t, "serve", proc.Options{Ready: func(context.Context) error {
		if calls++; calls < 3 {
			return errors.New("not yet")
		}
		return nil
	}})
	g.Expect(calls).To(Equal(3))
}

func TestExitBeforeReady(t *testing.T) {
	g := NewWithT(t)
	_, err := proc.Run(t.Context(), []string{os.Args[0]}, proc.Options{Env: []string{"PROC_HELPER=fail"}, ReadyLine: readyOn})
	var exit *proc.ExitError
	g.Expect(errors.As(err, &exit)).To(BeTrue(), "%v", err)
	g.Expect(errors.Is(err, proc.ErrExited)).To(BeTrue())
	g.Expect(exit.Status).To(Equal("exit status 7"))
	g.Expect(err.Error()).To(ContainSubstring("cannot open the thing"))
}

func TestNotReadyInTime(t *testing.T) {
	g := NewWithT(t)
	_, err := proc.Run(t.Context(), []string{os.Args[0]}, proc.Options{
		Env: []string{"PROC_HELPER=serve"}, ReadyLine: regexp.MustCompile("never"), ReadyTimeout: 300 * time.Millisecond,
	})
	g.Expect(errors.Is(err, context.DeadlineExceeded)).To(BeTrue(), "%v", err)
}

func TestPauseAndResume(t *testing.T) {
	g := NewWithT(t)
	p := self(t, "serve", proc.Options{ReadyLine: readyOn})
	address := readyOn.FindStringSubmatch(strings.Split(p.Output(), "\n")[1])[1]
	ask := func(limit time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/debug/pprof/cmdline", nil)
		g.Expect(err).NotTo(HaveOccurred())
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close()
		}
		return err
	}
	g.Expect(ask(10 * time.Second)).To(Succeed())
	g.Expect(p.Pause()).To(Succeed())
	g.Expect(errors.Is(ask(200*time.Millisecond), context.DeadlineExceeded)).To(BeTrue())
	g.Expect(p.Resume()).To(Succeed())
	g.Expect(ask(10 * time.Second)).To(Succeed())
	g.Expect(p.Pause()).To(Succeed())
	p.Stop() // a paused program ends, too
	code, err := p.Wait(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(code).To(Equal(-1))
}

func TestStopKillsTheStubborn(t *testing.T) {
	g := NewWithT(t)
	p := self(t, "stubborn", proc.Options{ReadyLine: regexp.MustCompile("ready"), StopTimeout: 100 * time.Millisecond})
	p.Stop()
	g.Expect(gone(p.PID())).To(BeTrue())
}

func TestGroupEndsWithItsLeader(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "child")
	p := proc.Start(t, []string{"sh", "-c", `sleep 1000 & echo $! > "$0"; echo ready; wait`, file}, proc.Options{ReadyLine: regexp.MustCompile("ready")})
	b, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	child, err := strconv.Atoi(strings.TrimSpace(string(b)))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(p.Kill()).To(Succeed())
	g.Eventually(func() bool { return gone(child) }).Should(BeTrue())
}

// TST-38
func TestEndsWithItsParent(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "pid")
	p, err := proc.Run(t.Context(), []string{os.Args[0]}, proc.Options{Env: []string{"PROC_HELPER=parent", "PROC_FILE=" + file}})
	g.Expect(err).NotTo(HaveOccurred())
	defer p.Stop()
	_, err = p.Wait(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	b, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	pid, err := strconv.Atoi(string(b))
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() bool { return gone(pid) }).WithTimeout(5 * time.Second).Should(BeTrue())
}

func ExampleRun() {
	p, err := proc.Run(context.Background(), []string{"sh", "-c", "echo listening; exec cat"}, proc.Options{ReadyLine: regexp.MustCompile("^listening$")})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Stop()
	fmt.Print(p.Output())
	// Output: listening
}
