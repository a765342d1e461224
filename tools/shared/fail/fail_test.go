//go:build failpoints

// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fail_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/gitops-kit/sdk/tools/shared/fail"
)

func TestMain(m *testing.M) {
	if os.Getenv("FAIL_CHILD") != "" {
		fail.Point("demo/one")
		err := fail.Err("demo/two")
		fail.Point("demo/one")
		if errors.Is(err, fail.ErrInjected) {
			os.Exit(7)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, plan string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "FAIL_CHILD=1", "GITOPS_KIT_FAIL="+plan)
	_ = cmd.Run()
	return cmd
}

// FP-3
func TestActions(t *testing.T) {
	if got := child(t, "").ProcessState.ExitCode(); got != 0 {
		t.Errorf("no plan: exit %d", got)
	}
	if got := child(t, "demo/two=error").ProcessState.ExitCode(); got != 7 {
		t.Errorf("error: exit %d", got)
	}
	st, ok := child(t, "demo/one@2=kill").ProcessState.Sys().(syscall.WaitStatus)
	if !ok || st.Signal() != syscall.SIGKILL {
		t.Errorf("kill: %v", st)
	}
	if got := child(t, "demo/one@3=kill").ProcessState.ExitCode(); got != 0 {
		t.Errorf("a third hit that never comes: exit %d", got)
	}
	file := filepath.Join(t.TempDir(), "trace")
	child(t, "*=trace("+file+")")
	data, err := os.ReadFile(file)
	if want := "demo/one 1\ndemo/two 1\ndemo/one 2\n"; err != nil || string(data) != want {
		t.Errorf("trace: %q, %v", data, err)
	}
	if st := child(t, "demo/one=panic").ProcessState; st.ExitCode() != 2 || strings.Contains(st.String(), "signal") {
		t.Errorf("panic: %v", st)
	}
}
