// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"bufio"
	"bytes"
	"context"
)

// ReadPktForTest reads pkt-lines until an error and returns how many there were.
func ReadPktForTest(b []byte) int {
	r := bytes.NewReader(b)
	for n := 0; ; n++ {
		if _, _, err := readPkt(r); err != nil {
			return n
		}
	}
}

// ApplyDeltaForTest applies a delta.
func ApplyDeltaForTest(base, delta []byte) ([]byte, error) { return applyDelta(base, delta) }

// MakeDeltaForTest makes a delta.
func MakeDeltaForTest(base, target []byte) []byte { return makeDelta(base, target) }

// UploadForTest runs upload-pack over bytes and returns the answer.
func UploadForTest(ctx context.Context, r *Repo, version int, in []byte) []byte {
	var out bytes.Buffer
	s := &session{ctx: ctx, repo: r, version: version, stateless: true, in: bufio.NewReader(bytes.NewReader(in)), out: newPktWriter(&out)}
	_ = s.run("git-upload-pack")
	return out.Bytes()
}

// ReceiveForTest runs receive-pack over bytes and returns the answer.
func ReceiveForTest(ctx context.Context, r *Repo, in []byte) []byte {
	var out bytes.Buffer
	s := &session{ctx: ctx, repo: r, stateless: true, in: bufio.NewReader(bytes.NewReader(in)), out: newPktWriter(&out)}
	_ = s.run("git-receive-pack")
	return out.Bytes()
}
