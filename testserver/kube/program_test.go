// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/gitops-kit/sdk/testserver/kube"
	"github.com/gitops-kit/sdk/testserver/proc"
)

// binary is the control plane program.
func binary(t *testing.T) string {
	t.Helper()
	shared(t)
	file, err := kube.Find(t.Context(), kube.FindOptions{})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return file
}

// stuck starts a control plane that cannot become ready, because this process
// holds its database, and returns when it has written its kubeconfig, which is
// outside its data directory.
func stuck(t *testing.T) (p *proc.Process, dataDir, kubeconfig string) {
	t.Helper()
	g := NewWithT(t)
	file := binary(t)
	dataDir = filepath.Join(t.TempDir(), "data")
	snap := filepath.Join(dataDir, "etcd", "member", "snap")
	g.Expect(os.MkdirAll(snap, 0o700)).To(Succeed())
	db, err := os.OpenFile(filepath.Join(snap, "db"), os.O_CREATE|os.O_RDWR, 0o600)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(db.Close()).To(Succeed()) })
	g.Expect(syscall.Flock(int(db.Fd()), syscall.LOCK_EX)).To(Succeed())

	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	p = proc.Start(t, []string{file, "--data-dir=" + dataDir, "--kubeconfig=" + kubeconfig, "--components=apiserver"}, proc.Options{StopTimeout: soon})
	g.Eventually(t.Context(), func() error {
		_, err := clientcmd.LoadFromFile(kubeconfig)
		return err
	}).WithTimeout(soon).Should(Succeed())
	info, err := os.Stat(kubeconfig)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o600)))
	return p, dataDir, kubeconfig
}

// endsBeforeReady waits for the end of a program that was never ready, and looks
// for what it left.
func endsBeforeReady(t *testing.T, p *proc.Process, code int, dataDir, kubeconfig string) {
	t.Helper()
	g := NewWithT(t)
	got, err := p.Wait(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(Equal(code), p.Output())
	g.Expect(p.Output()).NotTo(ContainSubstring("READY"))
	g.Expect(kubeconfig).NotTo(BeAnExistingFile())
	left, err := os.ReadDir(dataDir)
	g.Expect(err).NotTo(HaveOccurred(), "a directory that was there before stays")
	g.Expect(left).To(BeEmpty())
}

// TST-34: a kubeconfig outside the data directory is removed on every way out,
// also before the control plane is ready.
func TestKubeconfigElsewhere(t *testing.T) {
	t.Parallel()
	t.Run("Stopped", func(t *testing.T) {
		p, dataDir, kubeconfig := stuck(t)
		NewWithT(t).Expect(p.Signal(syscall.SIGTERM)).To(Succeed())
		endsBeforeReady(t, p, 0, dataDir, kubeconfig)
	})
	t.Run("StoppedTwice", func(t *testing.T) { // which does not wait for an orderly end
		g := NewWithT(t)
		p, dataDir, kubeconfig := stuck(t)
		g.Expect(p.Pause()).To(Succeed()) // so that both are there at once
		g.Expect(p.Signal(syscall.SIGTERM)).To(Succeed())
		g.Expect(p.Signal(syscall.SIGINT)).To(Succeed())
		g.Expect(p.Resume()).To(Succeed())
		endsBeforeReady(t, p, 130, dataDir, kubeconfig)
	})
	t.Run("Failed", func(t *testing.T) {
		g := NewWithT(t)
		temp, kubeconfig := t.TempDir(), filepath.Join(t.TempDir(), "kubeconfig")
		g.Expect(os.WriteFile(kubeconfig, []byte("of an earlier run"), 0o600)).To(Succeed())
		out, code := programIn(t, temp, "--kubeconfig="+kubeconfig, "--components=apiserver", "--apiserver-flag=--nonsense=1")
		g.Expect(code).To(Equal(1))
		g.Expect(out).To(ContainSubstring("unknown flag: --nonsense"))
		g.Expect(kubeconfig).NotTo(BeAnExistingFile())
		g.Expect(filepath.Glob(filepath.Join(temp, "*"))).To(BeEmpty())
	})
	t.Run("NotWritten", func(t *testing.T) { // then it is not the program's
		g := NewWithT(t)
		dir := t.TempDir()
		kubeconfig, file := filepath.Join(dir, "kubeconfig"), filepath.Join(dir, "file")
		for _, name := range []string{kubeconfig, file} {
			g.Expect(os.WriteFile(name, []byte("mine"), 0o600)).To(Succeed())
		}
		out, code := program(t, "--kubeconfig="+kubeconfig, "--data-dir="+file)
		g.Expect(code).To(Equal(1))
		g.Expect(out).To(ContainSubstring("not a directory"))
		g.Expect(os.ReadFile(kubeconfig)).To(BeEquivalentTo("mine"))
	})
}

var readyIPv6 = regexp.MustCompile(`^READY server=https://\[::1\]:\d+ kubeconfig=\S+ pid=\d+ after=\d+\.\d+$`)

// TST-2, TST-54: an API server on ::1 keeps its port while it is stopped, and
// has the same address, certificates and data afterwards.
func TestRestartOnIPv6(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	dir := filepath.Join(t.TempDir(), "data")
	stdin, commands, err := os.Pipe()
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = errors.Join(stdin.Close(), commands.Close()) }() // the second for a test that fails
	p := proc.Start(t, []string{binary(t), "--control", "--listen=::1", "--data-dir=" + dir, "--components=apiserver"}, proc.Options{Stdin: stdin, StopTimeout: soon})
	g.Eventually(t.Context(), func() bool {
		select {
		case <-p.Done():
			return true
		default:
			return hasLine(p.Output(), readyIPv6)
		}
	}).WithTimeout(soon).Should(BeTrue())
	if !hasLine(p.Output(), readyIPv6) { // only where there is no such address
		g.Expect(p.Output()).To(MatchRegexp(`FAILED \{"reason":"Failed","message":"(bind|socket)[^"]*: (cannot assign requested address|address family not supported by protocol)"\}`))
		g.Expect(dir).NotTo(BeADirectory())
		return
	}
	command := func(line string) {
		_, err := io.WriteString(commands, line+"\n")
		g.Expect(err).NotTo(HaveOccurred())
		g.Eventually(t.Context(), p.Output).WithTimeout(soon).Should(ContainSubstring(" " + line + "\n"))
		g.Expect(p.Output()).To(ContainSubstring("OK " + line + "\n"))
	}
	c, err := kube.Run(t.Context(), kube.Options{Kubeconfig: filepath.Join(dir, "kubeconfig")})
	g.Expect(err).NotTo(HaveOccurred())
	client := clientOf(t, c.Config())
	g.Expect(createConfigMap(t.Context(), client, "before")).To(Succeed())
	command("stop-apiserver")
	refused(g, c)
	command("start-apiserver")
	_, err = client.CoreV1().ConfigMaps("default").Get(t.Context(), "before", metav1.GetOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = io.WriteString(commands, "stop\n")
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(t.Context(), p.Output).WithTimeout(soon).Should(ContainSubstring("ERR stop: unknown command\n"))
	g.Expect(commands.Close()).To(Succeed())
	code, err := p.Wait(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(code).To(BeZero(), "the end of its input is an order to end")
	g.Expect(dir).NotTo(BeADirectory())
}

func hasLine(text string, line *regexp.Regexp) bool {
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if line.MatchString(lines.Text()) {
			return true
		}
	}
	return false
}
