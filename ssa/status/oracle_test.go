// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/ssa/status"
	. "github.com/onsi/gomega"
)

// SSA-78: over a corpus of generated objects the verdict is that of the
// published library, but where ours differs on purpose.
func TestAgainstKstatus(t *testing.T) {
	if testing.Short() && os.Getenv("CI") == "" {
		t.Skip("builds a program")
	}
	g := NewWithT(t)
	prog := filepath.Join(t.TempDir(), "kstatus")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "testdata/kstatus", "-o", prog, ".")
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the published library; run go build -C ssa/status/testdata/kstatus -o /dev/null .\n%s", out)
	}
	r := rand.New(rand.NewPCG(42, 78))
	var in bytes.Buffer
	var objects []map[string]any
	for range 20_000 {
		o := random(r)
		line, err := json.Marshal(o)
		g.Expect(err).NotTo(HaveOccurred())
		in.Write(append(line, '\n'))
		objects = append(objects, o)
	}
	cmd := exec.CommandContext(t.Context(), prog)
	cmd.Stdin = &in
	out, err := cmd.Output()
	g.Expect(err).NotTo(HaveOccurred())
	verdicts := strings.Fields(string(out))
	g.Expect(verdicts).To(HaveLen(len(objects)))
	seen, excused := map[string]int{}, map[string]int{}
	for i, o := range objects {
		ours := status.Compute(o, status.Options{CompatOnDelete: true, CompatPodFailed: true, Now: time.Now()})
		theirs := verdicts[i]
		seen[fmt.Sprint(o["kind"], " ", theirs)]++
		if string(ours.Status) == theirs {
			continue
		}
		if why := deliberate(o, ours, theirs); why != "" {
			excused[why]++
			continue
		}
		line, _ := json.Marshal(o)
		t.Errorf("%s · %s here, %s there: %s", ours.Status, ours.Reason, theirs, line)
	}
	for _, kind := range []string{"Deployment Current", "StatefulSet Current", "DaemonSet Current", "Pod Failed", "Job Failed", "CustomResourceDefinition Failed"} {
		g.Expect(seen[kind]).To(BeNumerically(">", 0), "the corpus has no %s", kind)
	}
	different := 0
	for why, n := range excused {
		different += n
		t.Logf("%5d times: %s", n, why)
	}
	t.Logf("agreement: %d of %d", len(objects)-different, len(objects))
}
