// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver_test

import (
	"bytes"
	"testing"

	"github.com/gitops-kit/sdk/testserver/gitserver"
)

func FuzzPkt(f *testing.F) {
	f.Add([]byte("0009hello00000001fff0"))
	f.Add([]byte("zzzz"))
	f.Fuzz(func(_ *testing.T, b []byte) { gitserver.ReadPktForTest(b) })
}

func FuzzPack(f *testing.F) {
	f.Add(gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) {
		at := b.Object(gitserver.BlobObject, []byte("hello hello hello"))
		b.OfsDelta(at, gitserver.Delta(17, 5, gitserver.DeltaCopy(0, 5)))
	}))
	f.Add(gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) { b.Entry(3, 1<<62, nil, nil) }))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = gitserver.ParsePack(gitserver.SHA1, b) })
}

// A delta that is made from a to b gives b; any other bytes an error or a result
// of the declared size.
func FuzzDelta(f *testing.F) {
	f.Add([]byte("the quick brown fox jumps over the lazy dog"), []byte("the quick brown fox sleeps over the lazy dog"))
	f.Add(bytes.Repeat([]byte("a"), 70000), bytes.Repeat([]byte("a"), 140000))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if got, err := gitserver.ApplyDeltaForTest(a, gitserver.MakeDeltaForTest(a, b)); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%d bytes, want %d: %v", len(got), len(b), err)
		}
		_, _ = gitserver.ApplyDeltaForTest(a, b)
	})
}

func FuzzUploadPack(f *testing.F) {
	f.Add([]byte(pkt("command=ls-refs\n")+"0001"+pkt("peel\n")+"0000"), true)
	f.Add([]byte(pkt("command=fetch")+"0001"+pkt("deepen 1")+pkt("filter blob:none")+pkt("done")+"0000"), true)
	f.Add([]byte(pkt("want 0123456789012345678901234567890123456789 multi_ack")+"0000"+pkt("done")), false)
	s, err := gitserver.Run(f.Context(), gitserver.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Stop)
	r := s.Repo("app")
	seed(r)
	f.Fuzz(func(t *testing.T, b []byte, v2 bool) {
		version := 0
		if v2 {
			version = 2
		}
		gitserver.UploadForTest(t.Context(), r, version, b)
	})
}

// Whatever is pushed, a reference changes only by a well-formed push.
func FuzzReceivePack(f *testing.F) {
	zero, one := "0000000000000000000000000000000000000000", "1111111111111111111111111111111111111111"
	f.Add([]byte(pkt(zero+" "+one+" refs/heads/x\x00report-status") + "0000PACK"))
	f.Add([]byte(pkt(one+" "+zero+" refs/heads/main\x00report-status atomic push-options") + "0000" + pkt("a=b") + "0000"))
	s, err := gitserver.Run(f.Context(), gitserver.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Stop)
	r := s.Repo("app")
	seed(r)
	main := r.Head("main")
	f.Fuzz(func(t *testing.T, b []byte) {
		gitserver.ReceiveForTest(t.Context(), r, b)
		if r.Head("main") != main && !bytes.Contains(b, []byte(main)) {
			t.Fatal("main moved without its old id")
		}
	})
}
