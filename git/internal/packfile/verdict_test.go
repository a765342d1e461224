// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/objhash"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

// GIT-T15: over packs that were changed a little and sealed anew, what we
// accept git index-pack accepts, with the same ids, and the other way round.
func TestVerdictsOfIndexPack(t *testing.T) {
	dir := t.TempDir()
	repo := filepath.Join(dir, "repo")
	program(t, nil, "init", "-q", "--bare", repo)
	r := rand.New(rand.NewPCG(42, 15))
	accepted, refused := 0, 0
	seeds := packs()
	for range 200 {
		seeds = append(seeds, generated(r))
	}
	for i, seed := range seeds {
		changes := 20
		if i >= len(packs()) {
			changes = 1
		}
		for n := range changes {
			b := seed
			if n > 0 {
				b = damaged(r, seed)
			}
			raw := sealed(b)
			file := filepath.Join(dir, fmt.Sprintf("%d-%d.pack", i, n))
			if err := os.WriteFile(file, raw, 0o600); err != nil {
				t.Fatal(err)
			}
			idx := strings.TrimSuffix(file, ".pack") + ".idx"
			out, gitErr := exec.CommandContext(t.Context(), "git", "-C", repo, "index-pack", "-o", idx, file).CombinedOutput()
			p, err := packfile.Receive(t.Context(), bytes.NewReader(raw), packfile.Options{Format: driver.SHA1, Limits: small, Dir: dir})
			if (err == nil) != (gitErr == nil) {
				t.Errorf("pack %d, change %d (%x): %v here, %v in git: %s", i, n, b, err, gitErr, out)
			}
			if err != nil {
				refused++
				continue
			}
			accepted++
			if gitErr == nil {
				ids := make([]string, p.Len())
				for k := range ids {
					ids[k] = p.ID(k).String()
				}
				slices.Sort(ids)
				if got := listed(t, repo, idx); !slices.Equal(got, ids) {
					t.Errorf("pack %d, change %d: %v here, %v in git", i, n, ids, got)
				}
			}
			_ = p.Close()
		}
	}
	if accepted < 50 || refused < 150 {
		t.Errorf("%d accepted, %d refused: the changes are not what they should be", accepted, refused)
	}
	t.Logf("%d accepted, %d refused", accepted, refused)
}

// listed returns the ids in an index.
func listed(t *testing.T, repo, idx string) []string {
	t.Helper()
	b, err := os.ReadFile(idx)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for line := range strings.Lines(program(t, bytes.NewReader(b), "-C", repo, "show-index")) {
		ids = append(ids, strings.Fields(line)[1])
	}
	return ids
}

// generated returns a pack of a few objects and deltas, most of them right.
func generated(r *rand.Rand) []byte {
	wrong := func() bool { return r.IntN(25) == 0 }
	b := gitserver.BuildPack(gitserver.SHA1, func(b *gitserver.PackBuilder) {
		var offsets []int64
		var contents [][]byte
		n := 1 + r.IntN(8)
		for k := range n {
			var at int64
			var now []byte
			switch kind := r.IntN(4); {
			case k == 0 || kind == 0:
				now = bytes.Repeat([]byte{byte('a' + r.IntN(26)), byte(k)}, r.IntN(200))
				size := int64(len(now))
				if wrong() {
					size += int64(r.IntN(5)) - 2
				}
				at = b.Entry(3, max(size, 0), nil, now)
			default:
				j := r.IntN(len(offsets))
				delta, result := deltaOf(r, contents[j], wrong)
				now = result
				if base := offsets[j]; kind == 1 {
					if wrong() {
						base += int64(r.IntN(3)) - 1
					}
					at = b.OfsDelta(base, delta)
				} else {
					id, _ := objhash.Of(driver.SHA1, driver.Blob, contents[j])
					name := []byte(id.String())
					if wrong() {
						name[r.IntN(len(name))] = '0'
					}
					at = b.RefDelta(gitserver.Hash(name), delta)
				}
			}
			offsets, contents = append(offsets, at), append(contents, now)
		}
		if wrong() {
			b.Count(uint32(n + r.IntN(3) - 1))
		}
	})
	return b[:len(b)-20]
}

// deltaOf makes instructions over a base, and what they give.
func deltaOf(r *rand.Rand, base []byte, wrong func() bool) (delta, result []byte) {
	var ops [][]byte
	for range r.IntN(4) {
		if len(base) > 0 && r.IntN(2) == 0 {
			at := r.IntN(len(base))
			n := 1 + r.IntN(len(base)-at)
			if wrong() {
				at += r.IntN(len(base))
			}
			ops = append(ops, gitserver.DeltaCopy(at, n))
			result = append(result, base[min(at, len(base)):min(at+n, len(base))]...)
			continue
		}
		text := bytes.Repeat([]byte{byte('A' + r.IntN(26))}, 1+r.IntN(100))
		ops = append(ops, gitserver.DeltaInsert(text))
		result = append(result, text...)
	}
	from, to := uint64(len(base)), uint64(len(result))
	if wrong() {
		from++
	}
	if wrong() {
		to++
	}
	return gitserver.Delta(from, to, ops...), result
}

// damaged returns b with one to three small changes.
func damaged(r *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + r.IntN(3) {
		at := r.IntN(len(b))
		switch r.IntN(5) {
		case 0, 1:
			b[at] ^= 1 << r.IntN(8)
		case 2:
			b[at] = byte(r.IntN(256))
		case 3:
			b = slices.Insert(b, at, byte(r.IntN(256)))
		case 4:
			b = slices.Delete(b, at, at+1)
		}
		if len(b) < 13 {
			return b
		}
	}
	return b
}
