// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/testserver/crash"
)

var hits = map[string]int{}

// point is a failpoint as the code under test has them.
func point(name string) {
	hits[name]++
	for rule := range strings.SplitSeq(os.Getenv("GITOPS_KIT_FAIL"), ";") {
		n, action, _ := strings.Cut(rule, "=")
		if file, ok := strings.CutPrefix(action, "trace("); ok {
			f, err := os.OpenFile(strings.TrimSuffix(file, ")"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err == nil {
				fmt.Fprintf(f, "%s %d\n", name, hits[name])
				_ = f.Close()
			}
		}
		if n == fmt.Sprintf("%s@%d", name, hits[name]) && action == "kill" {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
}

// TestHelperGood replaces two files, each by a rename.
func TestHelperGood(t *testing.T) {
	dir, ok := crash.Dir()
	if !ok {
		return
	}
	for _, name := range []string{"a", "b"} {
		tmp := filepath.Join(dir, ".tmp")
		point("before")
		if err := os.WriteFile(tmp, []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		point("written")
		if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		point("renamed")
	}
}

func TestEach(t *testing.T) {
	g := NewWithT(t)
	var doubles int
	points := crash.Each(t, crash.Options{
		Helper: "TestHelperGood",
		Prepare: func(tb testing.TB, dir string) {
			tb.Helper()
			if err := os.WriteFile(filepath.Join(dir, "a"), []byte("old"), 0o600); err != nil {
				tb.Fatal(err)
			}
		},
		CheckKilled: func(tb testing.TB, dir string, _ []crash.Point) {
			tb.Helper()
			b, err := os.ReadFile(filepath.Join(dir, "a"))
			if err != nil || (string(b) != "old" && string(b) != "new") {
				tb.Errorf("a is %q, %v", b, err)
			}
		},
		Check: func(tb testing.TB, dir string, killed []crash.Point) {
			tb.Helper()
			doubles += len(killed) / 2
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 2 {
				tb.Errorf("%d entries, %v", len(entries), err)
			}
		},
		Points: []string{"before", "written", "renamed"}, Doubles: 4, Seed: 1,
	})
	g.Expect(points).To(HaveLen(6))
	g.Expect(doubles).To(BeNumerically(">", 0))
}

func TestSelect(t *testing.T) {
	g := NewWithT(t)
	few := crash.Select(map[string]int{"a": 2, "b": 1}, crash.Options{})
	g.Expect(few).To(Equal([]crash.Point{{Name: "a", Hit: 1}, {Name: "a", Hit: 2}, {Name: "b", Hit: 1}}))
	many := map[string]int{"a": 500, "b": 1, "c": 3}
	got := crash.Select(many, crash.Options{Seed: 3})
	g.Expect(got).To(HaveLen(10 + 1 + 3))
	g.Expect(got).To(ContainElements(crash.Point{Name: "a", Hit: 1}, crash.Point{Name: "a", Hit: 500}))
	g.Expect(crash.Select(many, crash.Options{Seed: 3})).To(Equal(got), "the seed decides")
	g.Expect(crash.Select(many, crash.Options{Only: []string{"b"}})).To(HaveLen(1))
	g.Expect(crash.Select(many, crash.Options{Times: 1})).To(HaveLen(3))
	g.Expect(slices.IsSortedFunc(got, func(a, b crash.Point) int { return strings.Compare(a.Name, b.Name) })).To(BeTrue())
}

func ExampleSelect() {
	fmt.Println(crash.Select(map[string]int{"store/after-rename": 2, "store/after-temp": 1}, crash.Options{}))
	// Output: [store/after-rename@1 store/after-rename@2 store/after-temp@1]
}
