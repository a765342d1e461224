// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitops-kit/sdk/testserver/kube"
	"github.com/gitops-kit/sdk/testserver/proc"
)

// TestMain runs this binary as a test program that ends in a certain way when
// asked to.
func TestMain(m *testing.M) {
	mode := os.Getenv("KUBE_HELPER")
	if mode == "" {
		goleak.VerifyTestMain(m, sharedControlPlane...)
		return
	}
	os.Exit(helper(mode)) //nolint:forbidigo // this is the program under test
}

func helper(mode string) int {
	ctx := context.Background() //nolint:forbidigo // there is no test
	c, err := kube.Run(ctx, kube.Options{Flags: kube.Flags{Split: os.Getenv("KUBE_SPLIT") != ""}})
	if err != nil {
		_, _ = fmt.Fprintln(os.Stdout, err)
		return 3
	}
	_, _ = fmt.Fprintln(os.Stdout, "pid", c.PID())
	switch mode {
	case "panic":
		panic("as asked")
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "wait":
		select {}
	}
	return 0
}

// sharedControlPlane is what lasts as long as the test binary.
var sharedControlPlane = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/gitops-kit/sdk/testserver/kube.(*process).read"),
	goleak.IgnoreAnyFunction("os/exec.(*Cmd).Start.func2"),
	goleak.IgnoreAnyFunction("net/http.(*http2ClientConn).readLoop"),
	goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"),
	goleak.IgnoreAnyFunction("golang.org/x/net/internal/httpcommon"),
	goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"),
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// TST-38, TST-51
func TestNoOrphanHoweverTheParentEnds(t *testing.T) {
	skipWithoutProgram(t)
	for _, mode := range []string{"exit", "panic", "kill", "split-kill", "interrupt"} {
		t.Run(mode, func(t *testing.T) {
			g := NewWithT(t)
			temp := t.TempDir()
			env := []string{"TMPDIR=" + temp, "KUBE_HELPER=" + strings.TrimPrefix(mode, "split-")}
			if mode == "split-kill" {
				env = append(env, "KUBE_SPLIT=1")
			}
			if mode == "interrupt" {
				env[1] = "KUBE_HELPER=wait"
			}
			p, err := proc.Run(t.Context(), []string{os.Args[0]}, proc.Options{Env: env})
			g.Expect(err).NotTo(HaveOccurred())
			defer p.Stop()
			var pid int
			g.Eventually(t.Context(), func(g Gomega) {
				_, err := fmt.Sscanf(p.Output(), "pid %d\n", &pid)
				g.Expect(err).NotTo(HaveOccurred(), p.Output())
			}).WithTimeout(time.Minute).Should(Succeed())
			if mode == "interrupt" {
				g.Expect(p.Signal(syscall.SIGINT)).To(Succeed())
			}
			_, err = p.Wait(t.Context())
			g.Expect(err).NotTo(HaveOccurred())
			g.Eventually(t.Context(), func() bool { return alive(pid) }).WithTimeout(10 * time.Second).Should(BeFalse())
			g.Eventually(t.Context(), func() []string {
				left, _ := filepath.Glob(filepath.Join(temp, "*"))
				return left
			}).WithTimeout(10 * time.Second).Should(BeEmpty())
		})
	}
}

// TST-38
func TestNothingLeftWhenStoppedBeforeReady(t *testing.T) {
	g := NewWithT(t)
	skipWithoutProgram(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	for _, after := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond, 900 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		_, err := kube.Run(ctx, kube.Options{})
		cancel()
		g.Expect(errors.Is(err, context.DeadlineExceeded)).To(BeTrue(), "%v", err)
		left, _ := filepath.Glob(filepath.Join(temp, "*"))
		g.Expect(left).To(BeEmpty())
	}
}

// program runs the control plane program itself.
func program(t *testing.T, args ...string) (string, int) {
	t.Helper()
	g := NewWithT(t)
	skipWithoutProgram(t)
	file, err := kube.Find(t.Context(), kube.FindOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	cmd := exec.CommandContext(t.Context(), file, args...)
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// TST-34, TST-33
func TestProgramReportsItsErrors(t *testing.T) {
	g := NewWithT(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	cases := map[string]struct {
		args []string
		want string
	}{
		"UnknownFlag":          {args: []string{"--nonsense"}, want: "unknown flag: --nonsense"},
		"Argument":             {args: []string{"nonsense"}, want: `unexpected argument "nonsense"`},
		"Components":           {args: []string{"--components=some"}, want: "neither all nor apiserver"},
		"NotLoopback":          {args: []string{"--listen=0.0.0.0"}, want: "not a loopback address"},
		"APIServerFlag":        {args: []string{"--apiserver-flag=--nonsense=1"}, want: "unknown flag: --nonsense"},
		"APIServerFlagValue":   {args: []string{"--apiserver-flag=--service-cluster-ip-range=x"}, want: "service-cluster-ip-range"},
		"FeatureGate":          {args: []string{"--feature-gates=Nonsense=true"}, want: "unrecognized feature gate: Nonsense"},
		"ControllerManager":    {args: []string{"--controller-manager-flag=--nonsense"}, want: "unknown flag: --nonsense"},
		"KubeconfigUnwritable": {args: []string{"--kubeconfig=" + filepath.Join(temp, "none", "file")}, want: "no such file"},
	}
	for name, tc := range cases {
		out, code := program(t, tc.args...)
		g.Expect(code).To(Equal(1), name)
		g.Expect(out).To(ContainSubstring(tc.want), name)
		left, _ := filepath.Glob(filepath.Join(temp, "*"))
		g.Expect(left).To(BeEmpty(), name)
	}
}

// TST-35
func TestPortTaken(t *testing.T) {
	g := NewWithT(t)
	c := kube.Start(t, kube.Options{})
	address := c.Config().Host
	out, code := program(t, "--port="+address[strings.LastIndexByte(address, ':')+1:])
	g.Expect(code).To(Equal(1))
	g.Expect(out).To(ContainSubstring("address already in use"))
}

// TST-35
func TestLongDataDirectoryAndKeep(t *testing.T) {
	g := NewWithT(t)
	skipWithoutProgram(t)
	file, err := kube.Find(t.Context(), kube.FindOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 200))
	run := func(args ...string) *proc.Process {
		return proc.Start(t, append([]string{file, "--data-dir=" + dir, "--components=apiserver"}, args...), proc.Options{ReadyLine: ready, ReadyTimeout: time.Minute})
	}
	p := run("--keep")
	kubeconfig := filepath.Join(dir, "kubeconfig")
	use := func() *kube.Cluster {
		c, err := kube.Run(t.Context(), kube.Options{Kubeconfig: kubeconfig})
		g.Expect(err).NotTo(HaveOccurred())
		return c
	}
	g.Expect(createConfigMap(t.Context(), clientOf(t, use().Config()), "kept")).To(Succeed())
	info, err := os.Stat(kubeconfig)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o600)))
	out, code := program(t, "--data-dir="+dir)
	g.Expect(code).To(Equal(1))
	g.Expect(out).To(ContainSubstring("in use"))
	p.Stop()
	g.Expect(kubeconfig).NotTo(BeAnExistingFile())
	g.Expect(filepath.Join(dir, "etcd")).To(BeADirectory())

	p = run()
	_, err = clientOf(t, use().Config()).CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	p.Stop()
	g.Expect(filepath.Join(dir, "etcd")).NotTo(BeADirectory())
}

// TST-33, TST-39
func TestThreeAtOnce(t *testing.T) {
	g := NewWithT(t)
	skipWithoutProgram(t)
	clusters := make(chan *kube.Cluster, 3)
	for range cap(clusters) {
		go func() {
			c, err := kube.Run(t.Context(), kube.Options{})
			if err != nil {
				t.Error(err)
			}
			clusters <- c
		}()
	}
	hosts := map[string]bool{}
	for range cap(clusters) {
		if c := <-clusters; c != nil {
			hosts[c.Config().Host] = true
			c.Stop()
		}
	}
	g.Expect(hosts).To(HaveLen(3))
}

var ready = regexp.MustCompile(`^READY server=https://127\.0\.0\.1:\d+ kubeconfig=\S+ pid=\d+ after=\d+\.\d+$`)
