// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
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
		moreAtOnce()
		goleak.VerifyTestMain(m, sharedControlPlane...)
		return
	}
	os.Exit(helper(mode)) //nolint:forbidigo // this is the program under test
}

// moreAtOnce lets more tests run at once than there are processors, unless it
// is said how many: they wait for control planes most of the time.
func moreAtOnce() {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if parallel := flag.Lookup("test.parallel"); !said && runtime.GOMAXPROCS(0) < 4 {
		_ = parallel.Value.Set("4") // a number
	}
}

func helper(mode string) int {
	ctx := context.Background() //nolint:forbidigo // there is no test
	if mode == "offline" {
		if code, err := offline(ctx, os.Stdout); err != nil {
			_, _ = fmt.Fprintln(os.Stdout, err)
			return code
		}
		return 0
	}
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

// sharedControlPlane is what lasts as long as the test binary: the two that
// read what the process writes, and the connections that clients keep: client-go
// has one transport per configuration and does not let go of it.
var sharedControlPlane = []goleak.Option{
	goleak.IgnoreAnyFunction("github.com/gitops-kit/sdk/testserver/kube.(*process).read"),
	goleak.IgnoreAnyFunction("os/exec.(*Cmd).Start.func2"),
	goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"),
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// TST-38, TST-51
func TestNoOrphanHoweverTheParentEnds(t *testing.T) {
	shared(t)
	for _, mode := range []string{"exit", "panic", "kill", "split-kill", "interrupt"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
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
			}).WithTimeout(soon).Should(Succeed())
			if mode == "interrupt" {
				g.Expect(p.Signal(syscall.SIGINT)).To(Succeed())
			}
			_, err = p.Wait(t.Context())
			g.Expect(err).NotTo(HaveOccurred())
			g.Eventually(t.Context(), func() bool { return alive(pid) }).WithTimeout(soon).Should(BeFalse())
			g.Eventually(t.Context(), func() []string {
				left, _ := filepath.Glob(filepath.Join(temp, "*"))
				return left
			}).WithTimeout(soon).Should(BeEmpty())
		})
	}
}

// TST-38
func TestNothingLeftWhenStoppedBeforeReady(t *testing.T) {
	g := NewWithT(t)
	shared(t)
	// Long, so that a socket has no room in the data directory under its own name.
	temp := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	g.Expect(os.Mkdir(temp, 0o700)).To(Succeed())
	t.Setenv("TMPDIR", temp)
	var all sync.WaitGroup
	for _, after := range []time.Duration{20 * time.Millisecond, 300 * time.Millisecond, 900 * time.Millisecond} {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			c, err := kube.Run(ctx, kube.Options{})
			if err == nil { // on a fast machine
				c.Stop()
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	g.Expect(filepath.Glob(filepath.Join(temp, "*"))).To(BeEmpty())
}

// program runs the control plane program itself.
func program(t *testing.T, args ...string) (string, int) {
	t.Helper()
	return programIn(t, os.TempDir(), args...)
}

// programIn is program with a directory for temporary files.
func programIn(t *testing.T, temp string, args ...string) (string, int) {
	t.Helper()
	shared(t)
	file, err := kube.Find(t.Context(), kube.FindOptions{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	cmd := exec.CommandContext(t.Context(), file, args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	out, _ := cmd.CombinedOutput()
	return string(out), cmd.ProcessState.ExitCode()
}

// TST-34, TST-33
func TestProgramReportsItsErrors(t *testing.T) {
	t.Parallel()
	shared(t)
	cases := map[string]struct{ flag, want string }{
		"UnknownFlag":          {"--nonsense", "unknown flag: --nonsense"},
		"Argument":             {"nonsense", `unexpected argument "nonsense"`},
		"Components":           {"--components=some", "neither all nor apiserver"},
		"NotLoopback":          {"--listen=0.0.0.0", "not a loopback address"},
		"APIServerFlag":        {"--apiserver-flag=--nonsense=1", "unknown flag: --nonsense"},
		"ControllerManager":    {"--controller-manager-flag=--nonsense", "unknown flag: --nonsense"},
		"APIServerFlagValue":   {"--apiserver-flag=--service-cluster-ip-range=x", "service-cluster-ip-range"},
		"FeatureGate":          {"--feature-gates=Nonsense=true", "unrecognized feature gate: Nonsense"},
		"ReadyTimeout":         {"--ready-timeout=0s", "not positive"},
		"KubeconfigUnwritable": {"--kubeconfig=" + filepath.Join(t.TempDir(), "none", "file"), "no such file"},
	}
	var all sync.WaitGroup
	for name, tc := range cases {
		all.Go(func() {
			t.Run(name, func(t *testing.T) {
				g := NewWithT(t)
				temp := t.TempDir()
				out, code := programIn(t, temp, tc.flag)
				g.Expect(code).To(Equal(1))
				g.Expect(out).To(ContainSubstring(tc.want))
				left, _ := filepath.Glob(filepath.Join(temp, "*"))
				g.Expect(left).To(BeEmpty())
			})
		})
	}
	all.Wait()
}

// TST-35
func TestPortTaken(t *testing.T) {
	g := NewWithT(t)
	c := shared(t)
	address := c.Config().Host
	out, code := program(t, "--port="+address[strings.LastIndexByte(address, ':')+1:])
	g.Expect(code).To(Equal(1))
	g.Expect(out).To(ContainSubstring("address already in use"))
}

// TST-35
func TestLongDataDirectoryAndKeep(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	shared(t)
	file, err := kube.Find(t.Context(), kube.FindOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 200))
	run := func(args ...string) *proc.Process {
		return proc.Start(t, append([]string{file, "--data-dir=" + dir, "--components=apiserver"}, args...), proc.Options{ReadyLine: ready, ReadyTimeout: soon})
	}
	p := run("--keep")
	if runtime.GOOS == "linux" { // there is a short name for a long path
		g.Expect(filepath.Join(dir, "run", "etcd")).To(BeAnExistingFile())
	}
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
	g.Expect(filepath.Join(dir, "run")).NotTo(BeADirectory())
	g.Expect(filepath.Join(dir, "etcd")).To(BeADirectory())

	p = run()
	_, err = clientOf(t, use().Config()).CoreV1().ConfigMaps("default").Get(t.Context(), "kept", metav1.GetOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	p.Stop()
	g.Expect(filepath.Join(dir, "etcd")).NotTo(BeADirectory())
}

// TST-33, TST-1: they don't see each other, and end with their context.
func TestMoreAtOnce(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	shared(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 2
	if long() {
		n = 4
	}
	clusters := make(chan *kube.Cluster, n)
	for range cap(clusters) {
		go func() {
			c, err := kube.Run(ctx, kube.Options{})
			if err != nil {
				t.Error(err)
			}
			clusters <- c
		}()
	}
	hosts := map[string]*kube.Cluster{}
	for range cap(clusters) {
		if c := <-clusters; c != nil {
			hosts[c.Config().Host] = c
		}
	}
	g.Expect(hosts).To(HaveLen(n))
	cancel()
	for _, c := range hosts {
		g.Eventually(func(g Gomega) { refused(g, c) }).WithTimeout(soon).Should(Succeed())
		c.Stop()
	}
}

var ready = regexp.MustCompile(`^READY server=https://127\.0\.0\.1:\d+ kubeconfig=\S+ pid=\d+ after=\d+\.\d+$`)
