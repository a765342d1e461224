// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package history_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/testserver/history"
)

type op = history.Operation[history.RegisterInput, history.RegisterOutput]

func write(start, end time.Duration) op {
	return op{Client: "a", Start: start, End: end, Input: history.RegisterInput{Write: true, Value: "x"}}
}

func read(c string, start, end time.Duration, v string) op {
	return op{Client: c, Start: start, End: end, Output: history.RegisterOutput{Value: v}}
}

func swap(c string, start, end time.Duration, to string, ok bool) op {
	return op{Client: c, Start: start, End: end, Input: history.RegisterInput{Swap: true, Value: to}, Output: history.RegisterOutput{OK: ok}}
}

// HIS-5
func TestLinearizable(t *testing.T) {
	cases := map[string]struct {
		reason string
		ops    []op
		want   bool
	}{
		"Empty":       {reason: "nothing happened", want: true},
		"Sequential":  {reason: "read what was written", ops: []op{write(1, 2), read("b", 3, 4, "x")}, want: true},
		"Stale":       {reason: "read of the old value after the write ended", ops: []op{write(1, 2), read("b", 3, 4, "")}},
		"Overlap":     {reason: "while the write runs both values are right", ops: []op{write(1, 5), read("b", 2, 3, ""), read("c", 3, 4, "x")}, want: true},
		"GoesBack":    {reason: "a later read may not see the older value", ops: []op{write(1, 9), read("b", 2, 3, "x"), read("b", 4, 5, "")}},
		"LostUpdate":  {reason: "two swaps from one value cannot both succeed", ops: []op{swap("a", 1, 4, "x", true), swap("b", 2, 5, "y", true)}},
		"OneSwap":     {reason: "one of them can", ops: []op{swap("a", 1, 4, "x", true), swap("b", 2, 5, "y", false)}, want: true},
		"UnknownDone": {reason: "an operation without reply may have happened", ops: []op{write(1, 0), read("b", 5, 6, "x")}, want: true},
		"UnknownNot":  {reason: "or not", ops: []op{write(1, 0), read("b", 5, 6, "")}, want: true},
		"UnknownLate": {reason: "or happen later", ops: []op{write(1, 0), read("b", 2, 3, ""), read("b", 5, 6, "x")}, want: true},
		"Future":      {reason: "but not before it was called", ops: []op{read("b", 1, 2, "x"), write(3, 0)}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			ok, why, err := history.Linearizable(history.Register(), tc.ops)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(ok).To(Equal(tc.want), "%s: %s", tc.reason, why)
		})
	}
}

// HIS-5: a real register passes, one that forgets a lock is caught.
func TestLinearizableConcurrentSafe(t *testing.T) {
	g := NewWithT(t)
	run := func(stale bool) []op {
		var mu sync.Mutex
		value := map[string]string{}
		var all []op
		var wg sync.WaitGroup
		begin := time.Now()
		for c := range 5 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(c), 1))
				for i := range 200 {
					key := fmt.Sprint(rng.IntN(4))
					o := op{Client: fmt.Sprint(c), Input: history.RegisterInput{Key: key}}
					if rng.IntN(2) == 0 {
						o.Input.Write, o.Input.Value = true, fmt.Sprintf("%d-%d", c, i)
					}
					o.Start = time.Since(begin) + 1
					mu.Lock()
					if o.Input.Write {
						value[key] = o.Input.Value
					} else {
						o.Output.Value = value[key]
					}
					if stale && i == 150 && !o.Input.Write {
						o.Output.Value = "never written"
					}
					mu.Unlock()
					o.End = time.Since(begin) + 2
					mu.Lock()
					all = append(all, o)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		return all
	}
	ok, why, err := history.Linearizable(history.Register(), run(false))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ok).To(BeTrue(), why)
	ok, why, err = history.Linearizable(history.Register(), append(run(false), op{Client: "x", Start: 1, End: time.Hour, Input: history.RegisterInput{Key: "0"}, Output: history.RegisterOutput{Value: "never"}}))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(ok).To(BeFalse())
	g.Expect(why).To(ContainSubstring(`partition "0"`))
	_, _, err = history.Linearizable(history.Register(), make([]op, history.MaxOperations+1))
	g.Expect(err).To(MatchError(history.ErrTooManyOperations))
}

// HIS-2
func TestSaveAndLoad(t *testing.T) {
	g := NewWithT(t)
	r := history.NewRecorder()
	r.Add(history.Fact{Src: "audit", Verb: "patch", GVK: "apps/v1/Deployment", NS: "ns", Name: "app", Managers: []string{"m"}, Code: 200})
	r.Add(history.Fact{Src: "claim", Note: r.Secret("hunter2"), Digest: history.Body([]byte("x"))})
	h := r.History()
	dir := t.TempDir()
	g.Expect(h.Save(dir, map[string]int{"seed": 7}, nil)).To(Succeed())
	got, err := history.Load(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmp.Diff(h, got)).To(BeEmpty())
	g.Expect(h[1].Note).NotTo(ContainSubstring("hunter2"))
	_, err = history.Load(t.TempDir())
	g.Expect(err).To(HaveOccurred())
}

// HIS-3: each checker has a history that violates it and one that nearly does.
func TestCheckers(t *testing.T) {
	cases := map[string]struct {
		reason  string
		check   history.Checker
		h       history.History
		wantBad int
	}{
		"QuietBad": {"a write in the window", history.Quiet(10, 20, "kc"), history.History{{Seq: 1, T: 15, Src: "audit", Verb: "patch", Actor: "kc/leader"}}, 1},
		"QuietNear": {"reads, others, outside", history.Quiet(10, 20, "kc"), history.History{
			{T: 15, Src: "audit", Verb: "get", Actor: "kc"},
			{T: 15, Src: "audit", Verb: "patch", Actor: "user"},
			{T: 21, Src: "audit", Verb: "patch", Actor: "kc"},
			{T: 15, Src: "claim", Verb: "patch", Actor: "kc"},
		}, 0},
		"CanaryBad": {"plain, base64, hex and URL form", history.Canary("s3cret/value"), history.History{
			{Note: "has s3cret/value"}, {Note: "czNjcmV0L3ZhbHVl"}, {Note: "7333637265742f76616c7565"}, {Note: "s3cret%2Fvalue"},
		}, 4},
		"CanaryNear": {"a similar word", history.Canary("s3cret/value"), history.History{{Note: "s3cret value"}}, 0},
		"AtomicBad": {"unknown digest; going back", history.Atomic, history.History{
			{Verb: "publish", Name: "a", Digest: "1"},
			{Verb: "publish", Name: "a", Digest: "2"},
			{Verb: "download", Actor: "r", Name: "a", Digest: "2"},
			{Verb: "download", Actor: "r", Name: "a", Digest: "1"},
			{Verb: "download", Actor: "r", Name: "a", Digest: "3"},
		}, 2},
		"AtomicNear": {"another reader may be behind; another object too", history.Atomic, history.History{
			{Verb: "publish", Name: "a", Digest: "1"},
			{Verb: "publish", Name: "a", Digest: "2"},
			{Verb: "publish", Name: "b", Digest: "1"},
			{Verb: "download", Actor: "r", Name: "a", Digest: "2"},
			{Verb: "download", Actor: "q", Name: "a", Digest: "1"},
			{Verb: "download", Actor: "r", Name: "b", Digest: "1"},
		}, 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(tc.h.Check(tc.check)).To(HaveLen(tc.wantBad), tc.reason)
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("nonsense"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		_, _ = history.Read(bytes.NewReader(b)) // an error or a history, no panic
		_ = t
	})
}

func ExampleLinearizable() {
	ops := []op{
		{Client: "a", Start: 1, End: 2, Input: history.RegisterInput{Write: true, Value: "new"}},
		{Client: "b", Start: 3, End: 4, Output: history.RegisterOutput{Value: ""}},
	}
	ok, _, err := history.Linearizable(history.Register(), ops)
	fmt.Println(ok, err)
	// Output: false <nil>
}
