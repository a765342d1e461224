// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/fail"
)

// proof says that a commit descends from another one, which stays true.
type proof struct{ tip, ancestor Hash }

// maxProofs bounds those of a repository; one more, and they begin anew.
const maxProofs = 4096

// readProofs reads what earlier processes proved. A line that is torn is none.
func readProofs(name string) (map[proof]struct{}, error) {
	out := map[proof]struct{}{}
	b, err := os.ReadFile(name) //nolint:gosec // a name this process made
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		tip, ancestor, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		if !ok || len(out) >= maxProofs {
			continue
		}
		t, terr := driver.ParseHash(tip)
		a, aerr := driver.ParseHash(ancestor)
		if terr == nil && aerr == nil {
			out[proof{t, a}] = struct{}{}
		}
	}
	return out, nil
}

// proofs opens what the mirror knows of ancestry; nil without a mirror. It
// answers only who knows both ids, and what it answers allows nothing by itself.
func (c *Client) proofs(ctx context.Context, f driver.Format) (*mirrorUse, error) {
	if c.opts.Mirror == nil {
		return nil, nil //nolint:nilnil // its methods take that
	}
	cred, err := c.credential(ctx, false)
	if err != nil {
		return nil, err
	}
	m := c.mirrored(cred)
	if m == nil {
		return nil, nil //nolint:nilnil // its methods take that
	}
	u, err := m.use(ctx, c, cred.identity(), f)
	if errors.Is(err, errMirrorDamaged) {
		return nil, nil //nolint:nilnil,nilerr // dropped; the fetch says so
	}
	return u, err
}

// done is release for one that may be nil.
func (u *mirrorUse) done() error {
	if u == nil {
		return nil
	}
	return u.release()
}

func (u *mirrorUse) has(tip, ancestor Hash) bool {
	if u == nil {
		return false
	}
	u.repo.mu.Lock()
	defer u.repo.mu.Unlock()
	_, ok := u.repo.proofs[proof{tip, ancestor}]
	return ok
}

// add remembers a proof. Where that fails it is made again.
func (u *mirrorUse) add(tip, ancestor Hash) {
	if u == nil {
		return
	}
	r, p := u.repo, proof{tip, ancestor}
	name := filepath.Join(r.dir, "proofs")
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.proofs[p]; ok {
		return
	}
	if len(r.proofs) >= maxProofs {
		clear(r.proofs)
		_ = os.Remove(name)
	}
	r.proofs[p] = struct{}{}
	fail.Point(fpMirrorBeforeLog)
	_ = appendLine(name, tip.String()+" "+ancestor.String())
	fail.Point(fpMirrorLogged)
}
