// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifacttest_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/artifacttest"
	"github.com/gitops-kit/sdk/artifact/dir"
)

// broken is a driver with one defect.
type broken struct {
	*dir.Driver
	defect string
	base   string
}

func (b *broken) Put(ctx context.Context, k artifact.Key, r io.Reader) (artifact.Stat, error) {
	switch b.defect {
	case "torn": // writes in place
		if k.Validate() == nil {
			if f, err := os.OpenFile(b.base+"/"+k.String(), os.O_WRONLY|os.O_TRUNC, 0o600); err == nil {
				_, _ = io.Copy(f, io.TeeReader(r, io.Discard))
				_ = f.Close()
				return artifact.Stat{Key: k, Seq: 1}, nil
			}
		}
	case "order":
		st, err := b.Driver.Put(ctx, k, r)
		st.Seq = 1
		return st, err
	}
	return b.Driver.Put(ctx, k, r)
}

func (b *broken) Delete(ctx context.Context, keys ...artifact.Key) error {
	if b.defect == "delete" {
		return nil
	}
	return b.Driver.Delete(ctx, keys...)
}

// ART-34: the suite finds drivers that break the contract.
func TestFindsBrokenDrivers(t *testing.T) {
	if defect := os.Getenv("ARTIFACTTEST_DEFECT"); defect != "" {
		artifacttest.Run(t, func(tb testing.TB) artifact.Driver {
			base := tb.TempDir()
			d, err := dir.New(base, dir.Options{})
			if err != nil {
				tb.Fatal(err)
			}
			return &broken{Driver: d, defect: defect, base: base}
		})
		return
	}
	for defect, want := range map[string]string{"torn": "AtomicReplace", "order": "Order", "delete": "Contract", "none": ""} {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestFindsBrokenDrivers$", "-test.short", "-test.v")
		cmd.Env = append(os.Environ(), "ARTIFACTTEST_DEFECT="+defect)
		out, err := cmd.CombinedOutput()
		found := strings.Contains(string(out), "--- FAIL: TestFindsBrokenDrivers/"+want)
		if want == "" && err != nil || want != "" && (err == nil || !found) {
			t.Errorf("%s: %v\n%s", defect, err, out)
		}
	}
}

func ExampleRun() {
	// In the driver's test file:
	_ = func(t *testing.T) {
		artifacttest.Run(t, func(tb testing.TB) artifact.Driver {
			d, err := dir.New(tb.TempDir(), dir.Options{})
			if err != nil {
				tb.Fatal(err)
			}
			return d
		})
	}
	fmt.Println("one call")
	// Output: one call
}
