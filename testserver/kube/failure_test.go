// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitops-kit/sdk/testserver/kube"
	"github.com/gitops-kit/sdk/testserver/proc"
)

// wrapped is a shell script that runs the control plane program after what is in
// the variable FIRST, with what is in LAST as further arguments.
func wrapped(t *testing.T) string {
	t.Helper()
	script := filepath.Join(t.TempDir(), "controlplane")
	text := "#!/bin/sh\neval \"$FIRST\"\nexec '" + binary(t) + "' \"$@\" $LAST\n"
	NewWithT(t).Expect(os.WriteFile(script, []byte(text), 0o700)).To(Succeed())
	return script
}

// TST-38, TST-33, TST-34: whatever keeps a control plane from starting is one
// clear, typed error, and nothing is left. A long directory for temporary files
// has room for no socket: it is removed with everything else nevertheless.
func TestStartErrors(t *testing.T) {
	script := wrapped(t)
	temp := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	NewWithT(t).Expect(os.Mkdir(temp, 0o700)).To(Succeed())
	t.Setenv("TMPDIR", temp)
	t.Setenv("GITOPS_KIT_CONTROLPLANE", script)
	var all sync.WaitGroup
	for _, tc := range []struct {
		name            string
		first, last     string
		flags           kube.Flags
		component       string
		reason, message string
		is              error
	}{
		{"FullDisk", "ulimit -f 100", "", kube.Flags{}, "etcd", "DiskFull", "etcd: failed to create WAL: file too large", kube.ErrDiskFull},
		{"FullDiskSplit", "ulimit -f 100", "", kube.Flags{Split: true}, "etcd", "DiskFull", "etcd: failed to create WAL: file too large", kube.ErrDiskFull},
		{"NotReady", "", "--ready-timeout=1ms", kube.Flags{}, "", "NotReady", "etcd is not ready after 1ms", kube.ErrNotReady},
		{"Flag", "", "", kube.Flags{APIServer: []string{"--nonsense=1"}}, "kube-apiserver", "Failed", "kube-apiserver: unknown flag: --nonsense", nil},
		{"FlagSplit", "", "", kube.Flags{APIServer: []string{"--nonsense=1"}, Split: true}, "kube-apiserver", "Failed", "kube-apiserver: unknown flag: --nonsense", nil},
		{"FlagOfTheProgram", "", "--nonsense", kube.Flags{}, "", "Failed", "unknown flag: --nonsense", nil},
		{"Killed", "kill -9 $$", "", kube.Flags{}, "", "Failed", "signal: killed", nil},
	} {
		all.Go(func() {
			t.Run(tc.name, func(t *testing.T) {
				g := NewWithT(t)
				o := kube.Options{Flags: tc.flags, Env: map[string]string{"FIRST": tc.first, "LAST": tc.last}}
				_, err := kube.Run(t.Context(), o)
				g.Expect(errors.Is(err, kube.ErrStart)).To(BeTrue(), "%v", err)
				var e *kube.StartError
				g.Expect(errors.As(err, &e)).To(BeTrue())
				g.Expect(e.Component).To(Equal(tc.component))
				g.Expect(e.Reason()).To(Equal(tc.reason))
				g.Expect(e.Terminal()).To(BeFalse())
				g.Expect(e.Message).To(Equal(tc.message))
				g.Expect(e.Error()).To(HavePrefix("control plane ended before it was ready: " + tc.message))
				g.Expect(errors.Is(err, kube.ErrDiskFull)).To(Equal(errors.Is(tc.is, kube.ErrDiskFull)))
				g.Expect(errors.Is(err, kube.ErrNotReady)).To(Equal(errors.Is(tc.is, kube.ErrNotReady)))
			})
		})
	}
	all.Wait()
	NewWithT(t).Expect(filepath.Glob(filepath.Join(temp, "*"))).To(BeEmpty())
}

// TST-33, TST-38: a disk that fills up while the control plane runs ends it with
// the same error, and the program itself removes what it made.
func TestDiskFillsUp(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	script := wrapped(t)
	dir := filepath.Join(t.TempDir(), "data")
	p := proc.Start(t, []string{script, "--data-dir=" + dir, "--components=apiserver"}, proc.Options{
		Env:       []string{"FIRST=ulimit -f 9000"}, // 4.5 MB; an empty cluster has less
		ReadyLine: ready, ReadyTimeout: soon,
	})
	c, err := kube.Run(t.Context(), kube.Options{Kubeconfig: filepath.Join(dir, "kubeconfig")})
	g.Expect(err).NotTo(HaveOccurred())
	client := clientOf(t, c.Config())
	written := 0
	for ; written < 20; written++ {
		big := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "big-"}, BinaryData: map[string][]byte{"a": make([]byte, 800_000)}}
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		_, err := client.CoreV1().ConfigMaps("default").Create(ctx, big, metav1.CreateOptions{})
		cancel()
		if err != nil {
			break
		}
	}
	g.Expect(written).To(BeNumerically("<", 20))
	code, err := p.Wait(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(code).To(Equal(1))
	g.Expect(p.Output()).To(MatchRegexp(`controlplane: etcd: failed to [^\n]*file too large\n$`))
	g.Expect(dir).NotTo(BeADirectory())
}
