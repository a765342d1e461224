// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package testserver_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// goCommand runs the go command in a directory.
func goCommand(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0")
	out, err := cmd.Output()
	NewWithT(t).Expect(err).NotTo(HaveOccurred(), string(out))
	return string(out)
}

// TST-56: who needs no API server compiles nothing of Kubernetes, and nobody
// controller-runtime.
func TestOnlyKubeNeedsKubernetes(t *testing.T) {
	g := NewWithT(t)
	const module = "github.com/gitops-kit/sdk/testserver"
	packages := strings.Fields(goCommand(t, ".", "list", "./..."))
	g.Expect(len(packages)).To(BeNumerically(">", 15))
	for _, pkg := range packages {
		name := strings.TrimPrefix(strings.TrimPrefix(pkg, module), "/")
		if name == "internal/guide" { // tests only
			continue
		}
		for _, dep := range strings.Fields(goCommand(t, ".", "list", "-deps", pkg)) {
			g.Expect(dep).NotTo(HavePrefix("sigs.k8s.io/controller-runtime"), name)
			g.Expect(strings.HasPrefix(dep, "github.com/gitops-kit/") && !strings.HasPrefix(dep, module)).To(BeFalse(), "%s imports %s", name, dep)
			if !strings.HasPrefix(name, "kube") && name != "source" {
				g.Expect(dep).NotTo(Or(HavePrefix("k8s.io/"), HavePrefix("sigs.k8s.io/")), name)
			}
		}
	}
	list, err := os.ReadFile("deps.txt")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(list)).NotTo(ContainSubstring("controller-runtime"))
}

// goMod is what "go mod edit -json" prints.
type goMod struct {
	Require []struct{ Path, Version string }
	Replace []any
}

// TST-32: the module of the control plane needs no replace, so that it can be
// installed: every staging module of Kubernetes is required at its release.
func TestControlPlaneCanBeInstalled(t *testing.T) {
	g := NewWithT(t)
	const dir = "controlplane"
	var m goMod
	g.Expect(json.Unmarshal([]byte(goCommand(t, dir, "mod", "edit", "-json")), &m)).To(Succeed())
	g.Expect(m.Replace).To(BeEmpty())
	version := map[string]string{}
	for _, r := range m.Require {
		version[r.Path] = r.Version
	}
	g.Expect(version["k8s.io/kubernetes"]).To(Equal("v1.37.2"))
	g.Expect(version["go.etcd.io/etcd/server/v3"]).To(Equal("v3.7.0"))

	// What k8s.io/kubernetes itself asks for at v0.0.0.
	kubernetes := strings.TrimSpace(goCommand(t, dir, "list", "-m", "-f", "{{.GoMod}}", "k8s.io/kubernetes"))
	var k goMod
	g.Expect(json.Unmarshal([]byte(goCommand(t, dir, "mod", "edit", "-json", kubernetes)), &k)).To(Succeed())
	staging := 0
	for _, r := range k.Require {
		if r.Version == "v0.0.0" {
			staging++
			g.Expect(version).To(HaveKeyWithValue(r.Path, "v0.37.2"))
		}
	}
	g.Expect(staging).To(BeNumerically(">", 20))

	// Some are imported by a file that is never built, and by nothing else.
	pin, err := os.ReadFile(filepath.Join(dir, "pin.go"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(pin)).To(ContainSubstring("//go:build pin"))
	g.Expect(goCommand(t, dir, "list", "-f", "{{.GoFiles}}", ".")).NotTo(ContainSubstring("pin.go"))

	// The go.mod is complete: nothing would have to be added to build.
	g.Expect(goCommand(t, dir, "list", "-deps", ".")).To(ContainSubstring("k8s.io/kubernetes/cmd/kube-apiserver/app\n"))
}
