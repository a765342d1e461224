// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// foreign copies the module of the foreign suites out of the repository and
// returns a function that runs go test there, on the links. It compiles as the
// control plane was, so that most of it is in the build cache.
func foreign(t *testing.T) func(args ...string) string {
	t.Helper()
	g := NewWithT(t)
	links := assets(t)
	dir := t.TempDir()
	for _, name := range []string{"go.mod", "go.sum", "suite_test.go", "foreign_test.go"} {
		b, err := os.ReadFile(filepath.Join("testdata", "envtest", name+".txt"))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(os.WriteFile(filepath.Join(dir, name), b, 0o600)).To(Succeed())
	}
	return func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "go", append([]string{"test", "-count=1", "-v", "-vet=off", "-ldflags=-s -w"}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "KUBEBUILDER_ASSETS="+links, "GOWORK=off", "GOFLAGS=-mod=readonly -trimpath", "CGO_ENABLED=0",
			"KUBEBUILDER_CONTROLPLANE_START_TIMEOUT=5m", "KUBEBUILDER_CONTROLPLANE_STOP_TIMEOUT=2m", // however busy the machine is
			"GOMEGA_DEFAULT_EVENTUALLY_TIMEOUT=1m")
		out, err := cmd.CombinedOutput()
		if err != nil && strings.Contains(string(out), "dial tcp: lookup") && os.Getenv("CI") != "true" {
			t.Skipf("the suite's modules cannot be had: %s", out)
		}
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), string(out))
		return string(out)
	}
}

// A suite as a stranger writes it.
// TST-30, TST-31, TST-55
func TestEnvtestSuite(t *testing.T) {
	t.Parallel()
	out := foreign(t)(".")
	NewWithT(t).Expect(out).To(ContainSubstring("--- PASS: TestSuite"))
	t.Log(out)
}

// Suites of others, as they are: those of controller-runtime itself, from the
// module cache. One of its tests downloads another Kubernetes and is left out.
// TST-31
func TestSuitesOfOthers(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	run := foreign(t)
	const pkg = "sigs.k8s.io/controller-runtime/pkg/"
	g.Expect(run("-run=TestLazyRestMapperProvider/aggregatedDiscovery=true", pkg+"client/apiutil")).To(ContainSubstring("--- PASS: TestLazyRestMapperProvider/aggregatedDiscovery=true"))
	if !long() {
		return
	}
	for _, name := range []string{"client", "cluster", "controller/controllerutil", "handler", "source"} {
		g.Expect(run(pkg+name)).To(ContainSubstring("SUCCESS!"), name)
	}
}
