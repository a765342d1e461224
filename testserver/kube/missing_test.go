// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/testserver/kube"
)

// outcome is how a test ended that could not go on.
type outcome struct {
	testing.TB
	skipped, failed string
}

func (o *outcome) Skip(a ...any)            { o.skipped = fmt.Sprint(a...); panic(o) }
func (o *outcome) Skipf(f string, a ...any) { o.skipped = fmt.Sprintf(f, a...); panic(o) }
func (o *outcome) Fatalf(f string, a ...any) {
	o.failed = fmt.Sprintf(f, a...)
	panic(o)
}

// private is what a test sees that asks for a control plane.
func private(t *testing.T) *outcome {
	t.Helper()
	o := &outcome{TB: t}
	NewWithT(t).Expect(func() { kube.Private(o, kube.Options{}) }).To(PanicWith(o))
	return o
}

// TST-43: one clear message, a skip at home and a failure where nobody would
// notice a skip.
func TestMissingProgram(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir()) // where other systems have it
	for _, name := range []string{"GITOPS_KIT_CONTROLPLANE", "KUBEBUILDER_ASSETS", "TEST_ASSET_KUBE_APISERVER", "CI", "GITOPS_KIT_NO_SKIP", "USE_EXISTING_CLUSTER"} {
		t.Setenv(name, "")
	}
	t.Setenv("GITOPS_KIT_CONTROLPLANE_BUILD", "0")
	const message = "kube: no control plane: it is not built, and building is off; run: unset GITOPS_KIT_CONTROLPLANE_BUILD"
	g.Expect(private(t).skipped).To(Equal(message))
	for _, name := range []string{"CI", "GITOPS_KIT_NO_SKIP"} {
		value := map[string]string{"CI": "true", "GITOPS_KIT_NO_SKIP": "1"}[name]
		t.Setenv(name, value)
		g.Expect(private(t).failed).To(Equal(message))
		t.Setenv(name, "")
	}

	// No go command.
	t.Setenv("GITOPS_KIT_CONTROLPLANE_BUILD", "1")
	t.Setenv("PATH", t.TempDir())
	g.Expect(private(t).skipped).To(And(HavePrefix("kube: no control plane: there is no go command to build it"), Not(ContainSubstring("\n"))))

	// A wrong setting is nobody's machine's fault.
	t.Setenv("GITOPS_KIT_CONTROLPLANE", filepath.Join(t.TempDir(), "none"))
	g.Expect(private(t).failed).To(HavePrefix("kube: GITOPS_KIT_CONTROLPLANE: "))
}

// TST-43: with -short nothing is looked for: neither the setting, which is
// wrong, nor the cache.
func TestShortLooksForNothing(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("GITOPS_KIT_CONTROLPLANE", filepath.Join(t.TempDir(), "none"))
	before := flag.Lookup("test.short").Value.String()
	g.Expect(flag.Set("test.short", "true")).To(Succeed())
	defer func() { g.Expect(flag.Set("test.short", before)).To(Succeed()) }()
	for range 2 {
		g.Expect(private(t).skipped).To(Equal("kube: no control plane with -short"))
		t.Setenv("CI", "true") // asked for by who runs the tests: no failure either
	}
	_, err := os.Stat(os.Getenv("GITOPS_KIT_CONTROLPLANE"))
	g.Expect(os.IsNotExist(err)).To(BeTrue())
}
