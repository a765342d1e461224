// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Bounds of the stored form.
const (
	MaxChunk   = 900 << 10 // bytes of one encoded chunk
	MaxText    = 64 << 20  // bytes of text that Decode inflates
	MaxEntries = 1_000_000 // ids that Decode accepts
)

// ErrCorrupt reports a stored inventory that is not what was written: a chunk
// missing, its bytes changed, its text malformed or over a bound.
var ErrCorrupt = errors.New("inventory is corrupt")

// Encoded is a Set in stored form.
type Encoded struct {
	Digest  string   // "sha256:" and hex, over the uncompressed text
	Entries int      // number of lines
	Chunks  [][]byte // gzip members, each of whole lines, each at most MaxChunk
}

// Encode returns the stored form: lines "<id> <version>\n" sorted by bytes,
// compressed, in chunks. Equal sets give equal digests and, with one release
// of Go, equal bytes. UIDs and the order of items are not stored.
func Encode(s Set) (*Encoded, error) {
	lines := make([]string, 0, s.Len())
	for id, v := range s.Entries() {
		if strings.ContainsAny(id, "\n\r") || strings.ContainsAny(v, " \n\r") {
			return nil, fmt.Errorf("encode inventory: entry %q: %w", id, ErrCorrupt)
		}
		lines = append(lines, id+" "+v+"\n")
	}
	slices.Sort(lines)
	out, sum := &Encoded{Entries: len(lines)}, sha256.New()
	var buf bytes.Buffer
	zw := gzip.NewWriter(&buf)
	const step = 64 << 10 // flushed input between two looks at the size
	pending := 0
	closeChunk := func() error {
		if err := zw.Close(); err != nil {
			return fmt.Errorf("encode inventory: %w", err)
		}
		out.Chunks = append(out.Chunks, bytes.Clone(buf.Bytes()))
		buf.Reset()
		zw.Reset(&buf)
		pending = 0
		return nil
	}
	for _, l := range lines {
		_, _ = io.WriteString(sum, l)
		if buf.Len()+pending+len(l) > MaxChunk-step {
			if err := zw.Flush(); err != nil {
				return nil, fmt.Errorf("encode inventory: %w", err)
			}
			pending = 0
			if buf.Len()+len(l) > MaxChunk-step {
				if err := closeChunk(); err != nil {
					return nil, err
				}
			}
		}
		if _, err := io.WriteString(zw, l); err != nil {
			return nil, fmt.Errorf("encode inventory: %w", err)
		}
		pending += len(l)
	}
	if err := closeChunk(); err != nil {
		return nil, err
	}
	out.Digest = "sha256:" + hex.EncodeToString(sum.Sum(nil))
	return out, nil
}

// Decode reads chunks and verifies digest before any id is used. Every
// failure is [ErrCorrupt].
func Decode(chunks [][]byte, digest string) (Set, error) {
	var text bytes.Buffer
	for i, c := range chunks {
		if len(c) > MaxChunk {
			return Set{}, fmt.Errorf("decode inventory: chunk %d is %d bytes: %w", i, len(c), ErrCorrupt)
		}
		zr, err := gzip.NewReader(bytes.NewReader(c))
		if err != nil {
			return Set{}, fmt.Errorf("decode inventory: chunk %d: %w: %w", i, ErrCorrupt, err)
		}
		n, err := io.Copy(&text, io.LimitReader(zr, int64(MaxText-text.Len())+1))
		if err != nil {
			return Set{}, fmt.Errorf("decode inventory: chunk %d: %w: %w", i, ErrCorrupt, err)
		}
		if n > 0 && text.Len() > MaxText {
			return Set{}, fmt.Errorf("decode inventory: more than %d bytes: %w", MaxText, ErrCorrupt)
		}
	}
	sum := sha256.Sum256(text.Bytes())
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != digest {
		return Set{}, fmt.Errorf("decode inventory: digest is %s, want %s: %w", got, digest, ErrCorrupt)
	}
	out := Set{index: make(map[ID]int32)}
	for line := range strings.Lines(text.String()) {
		if out.Len() >= MaxEntries {
			return Set{}, fmt.Errorf("decode inventory: more than %d ids: %w", MaxEntries, ErrCorrupt)
		}
		line, ok := strings.CutSuffix(line, "\n")
		at := strings.LastIndexByte(line, ' ')
		if !ok || at <= 0 {
			return Set{}, fmt.Errorf("decode inventory: line %d: %w", out.Len()+1, ErrCorrupt)
		}
		out.AddEntry(line[:at], line[at+1:])
	}
	return out, nil
}
