// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package meta_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// API-1: the standard library and apimachinery only; 17 modules at most are compiled.
func TestDependencies(t *testing.T) {
	g := NewWithT(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", ".")
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	g.Expect(err).NotTo(HaveOccurred())
	modules := strings.Fields(string(out))
	slices.Sort(modules)
	modules = slices.Compact(modules)
	modules = slices.DeleteFunc(modules, func(m string) bool { return strings.HasPrefix(m, "github.com/gitops-kit/") })
	g.Expect(len(modules)).To(BeNumerically("<=", 17), "%v", modules)
	for _, m := range modules {
		g.Expect(m).NotTo(Or(Equal("k8s.io/api"), Equal("k8s.io/client-go"), HavePrefix("k8s.io/apiextensions"), HavePrefix("sigs.k8s.io/controller-runtime"), HavePrefix("github.com/onsi")))
	}
}
