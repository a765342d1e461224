// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/gitops-kit/sdk/untar/digest"
)

// Lease keeps an extracted tree in place. It is safe for concurrent use.
type Lease struct {
	c    *Cache
	e    *entry
	root *os.Root
	path string
	once sync.Once
}

// Root is the tree, for reading only; who needs to write copies it. It is
// closed by Release.
func (l *Lease) Root() *os.Root { return l.root }

// Path is the directory of the tree, for consumers that need a path. The
// same rules hold as for Root.
func (l *Lease) Path() string { return l.path }

// Release ends the lease. Calls after the first do nothing.
func (l *Lease) Release() {
	l.once.Do(func() {
		_ = l.root.Close()
		l.c.release(l.e)
	})
}

// Digest is a digest over names and contents of the files at or below the
// given paths, so that a consumer can tell that its part did not change. No
// path stands for the whole tree. It is computed from what extraction
// recorded and kept with the tree.
func (l *Lease) Digest(paths ...string) string {
	clean := make([]string, len(paths))
	for i, p := range paths {
		clean[i] = strings.Trim(filepath.ToSlash(filepath.Clean(p)), "/")
	}
	slices.Sort(clean)
	clean = slices.Compact(clean)
	key := strings.Join(clean, "\x00")
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if sum, ok := l.e.sums[key]; ok {
		return sum
	}
	h := sha256.New()
	for _, r := range l.e.files {
		if !covered(r.Path, clean) {
			continue
		}
		_, _ = fmt.Fprintf(h, "%d:%s %d %s %t\n", len(r.Path), r.Path, r.Size, r.SHA256, r.Exec)
	}
	sum := digest.Sum(digest.SHA256, h).String()
	if l.e.sums == nil || len(l.e.sums) >= 1000 {
		l.e.sums = map[string]string{}
	}
	l.e.sums[key] = sum
	return sum
}

func covered(path string, roots []string) bool {
	if len(roots) == 0 {
		return true
	}
	for _, r := range roots {
		if r == "." || r == "" || path == r || strings.HasPrefix(path, r+"/") {
			return true
		}
	}
	return false
}

func (c *Cache) release(e *entry) {
	c.mu.Lock()
	e.leases--
	drop := e.private && e.leases == 0
	c.mu.Unlock()
	if drop {
		_ = removeTree(e.dir)
	}
}

const (
	treeName     = "tree"
	manifestName = "manifest.json"
	lockName     = ".lock"

	sampleFiles = 16
	fullEvery   = 100
)

// lease checks an entry, which the caller holds, and opens it. An entry that
// is not as it was extracted is dropped.
func (c *Cache) lease(ctx context.Context, e *entry) (*Lease, error) {
	c.mu.Lock()
	path := filepath.Join(e.dir, treeName)
	c.mu.Unlock()
	root, err := os.OpenRoot(path)
	if err == nil {
		if err = c.check(ctx, e, root); err == nil {
			return &Lease{c: c, e: e, root: root, path: path}, nil
		}
		_ = root.Close()
	}
	if ctx.Err() != nil {
		c.release(e)
		return nil, ctx.Err()
	}
	if c.drop(e) {
		c.observe(Event{Type: Corrupt, Digest: e.id.String()})
	}
	return nil, errors.Join(errDropped, err)
}

// drop takes an entry out of the cache; it goes with its last lease. It
// reports whether the entry was in use until now.
func (c *Cache) drop(e *entry) bool {
	c.mu.Lock()
	first := !e.dropped
	e.dropped = true
	if c.entries[e.id] == e {
		delete(c.entries, e.id)
		c.bytes -= e.bytes
	}
	e.private = true
	if first {
		e.moveAside()
	}
	c.mu.Unlock()
	c.release(e)
	return first
}

// fill downloads and extracts into a staging directory.
func (c *Cache) fill(ctx context.Context, r Ref, id digest.Digest) (*entry, *Result, error) {
	name := id.Algorithm + "-" + id.Hex
	staging := filepath.Join(c.dir, "."+name+"."+randomName()+".tmp")
	c.announce("mkdir", staging)
	if err := os.Mkdir(staging, 0o700); err != nil {
		return nil, nil, err
	}
	c.announce("tree", filepath.Join(staging, treeName))
	res, err := c.f.Dir(ctx, r, filepath.Join(staging, treeName))
	var e *entry
	if err == nil {
		e, err = c.seal(ctx, id, staging)
	}
	if err != nil {
		_ = removeTree(staging)
		return nil, res, err
	}
	return e, res, nil
}

// removeTree removes a tree whose directories may be read-only.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			_ = os.Chmod(path, 0o700) //nolint:gosec // our own directory
		}
		return nil
	})
	return os.RemoveAll(dir)
}

func randomName() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
