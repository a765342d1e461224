// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/gitops-kit/sdk/testserver/kube"
)

// socket is a line of /proc/net/tcp and its like.
type socket struct{ table, local, remote string }

// sockets lists what a process has open.
func sockets(t *testing.T, pid int) []socket {
	t.Helper()
	g := NewWithT(t)
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	g.Expect(err).NotTo(HaveOccurred())
	own := map[string]bool{}
	for _, file := range files {
		if target, err := os.Readlink(file); err == nil {
			own[strings.TrimSuffix(strings.TrimPrefix(target, "socket:["), "]")] = true
		}
	}
	var all []socket
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if errors.Is(err, os.ErrNotExist) {
			continue // a machine without IPv6
		}
		g.Expect(err).NotTo(HaveOccurred())
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if fields := strings.Fields(lines.Text()); len(fields) > 9 && own[fields[9]] {
				all = append(all, socket{table, address(fields[1]), address(fields[2])})
			}
		}
		g.Expect(f.Close()).To(Succeed())
	}
	return all
}

// address drops the port.
func address(s string) string {
	host, _, _ := strings.Cut(s, ":")
	return host
}

// loopback are 127.0.0.1, ::1 and ::ffff:127.0.0.1 as the kernel writes them.
func loopback(host string) bool {
	return host == "0100007F" || host == "00000000000000000000000001000000" || host == "0000000000000000FFFF00000100007F"
}

// TST-2: the control plane listens on the loopback interface and talks to
// nobody else.
func TestOnlyLoopback(t *testing.T) {
	g := NewWithT(t)
	c := shared(t)
	client := clientOf(t, c.Config())
	_, err := client.CoreV1().ConfigMaps(c.Namespace(t)).Create(t.Context(), configMap("a"), metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	all := sockets(t, c.PID())
	g.Expect(all).NotTo(BeEmpty())
	for _, s := range all {
		g.Expect(loopback(s.local)).To(BeTrue(), "%v", s)
		g.Expect(loopback(s.remote) || strings.Trim(s.remote, "0") == "").To(BeTrue(), "%v", s)
	}
}

// TST-2, TST-39: and it needs nobody else, nor much memory or disk. A network namespace of its own has no route
// to anywhere; where making one is not permitted, TestOnlyLoopback is the proof.
func TestWithoutNetwork(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	shared(t)
	file, err := kube.Find(t.Context(), kube.FindOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	info, err := os.Stat(file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Size()).To(BeNumerically("<=", 220<<20))
	flags := []uintptr{syscall.CLONE_NEWNET, syscall.CLONE_NEWNET | syscall.CLONE_NEWUSER}
	for i, flag := range flags {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "KUBE_HELPER=offline", "GITOPS_KIT_CONTROLPLANE="+file, "TMPDIR="+t.TempDir())
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flag}
		if flag&syscall.CLONE_NEWUSER != 0 {
			cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		}
		out, err := cmd.CombinedOutput()
		if forbidden(err) || cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == exitForbidden {
			t.Logf("way %d to a network namespace is not permitted: %v %s", i, err, out)
			continue
		}
		g.Expect(err).NotTo(HaveOccurred(), string(out))
		g.Expect(string(out)).To(ContainSubstring("1 pod of web is available"))
		var rss int
		_, err = fmt.Sscanf(string(out), "resident MiB: %d\n", &rss)
		g.Expect(err).NotTo(HaveOccurred(), string(out))
		g.Expect(rss).To(BeNumerically("<=", mostResident))
		t.Logf("in a namespace without routes, by way %d, with %d MiB", i, rss)
		return
	}
}

// exitForbidden is the exit code of a helper that may not do what it has to.
const exitForbidden = 4

// forbidden says whether the system does not permit it, here or at all.
func forbidden(err error) bool {
	for _, no := range []error{syscall.EPERM, syscall.EACCES, syscall.ENOSYS, syscall.EINVAL, syscall.ENOSPC} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

// offline runs in a network namespace of its own.
func offline(ctx context.Context, out io.Writer) (int, error) {
	if err := loopbackUp(); forbidden(err) {
		return exitForbidden, err
	} else if err != nil {
		return 1, fmt.Errorf("loopback interface: %w", err)
	}
	return 1, offlineUse(ctx, out)
}

func offlineUse(ctx context.Context, out io.Writer) error {
	dialer := net.Dialer{Timeout: time.Second}
	if _, err := dialer.DialContext(ctx, "tcp", "192.0.2.1:80"); !errors.Is(err, syscall.ENETUNREACH) {
		return fmt.Errorf("there is a network: %w", err)
	}
	c, err := kube.Run(ctx, kube.Options{Components: kube.Full})
	if err != nil {
		return err
	}
	defer c.Stop()
	rss, err := settled(ctx, c.PID())
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "resident MiB: %d\n", rss); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	if _, err := client.AppsV1().Deployments("default").Create(ctx, deployment(1, nil), metav1.CreateOptions{}); err != nil {
		return err
	}
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		d, err := client.AppsV1().Deployments("default").Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if d.Status.AvailableReplicas == 1 {
			_, err := fmt.Fprintln(out, "1 pod of web is available")
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

const mostResident = 450 // MiB

// settled is the memory of a control plane in MiB, once it is within its bound
// or did not get there: a garbage collection that gets no time on a busy machine
// comes two minutes after the last one.
func settled(ctx context.Context, pid int) (int, error) {
	for end := time.Now().Add(5 * time.Minute); ; {
		rss, err := resident(pid)
		if err != nil {
			return 0, err
		}
		if rss>>20 <= mostResident || time.Now().After(end) {
			return rss >> 20, nil
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// resident is the memory of a process, in bytes.
func resident(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	var total, pages int
	_, err = fmt.Sscan(string(b), &total, &pages)
	return pages * os.Getpagesize(), err
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
