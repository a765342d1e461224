// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
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

// record is one file of a tree.
type record struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Exec   bool   `json:"exec,omitempty"`
}

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
	c.drop(e)
	c.observe(Event{Type: Corrupt, Digest: e.id.String()})
	return nil, errors.Join(errDropped, err)
}

// drop takes an entry out of the cache; it goes with its last lease.
func (c *Cache) drop(e *entry) {
	c.mu.Lock()
	if c.entries[e.id] == e {
		delete(c.entries, e.id)
		c.bytes -= e.bytes
	}
	e.private = true
	e.moveAside()
	c.mu.Unlock()
	c.release(e)
}

// moveAside frees the entry's place; who reads the tree has it open.
func (e *entry) moveAside() {
	aside := e.dir + "." + randomName() + ".tmp"
	if os.Rename(e.dir, aside) == nil {
		e.dir = aside
	}
}

// check compares a sample of the files, or all of them, with the manifest.
func (c *Cache) check(ctx context.Context, e *entry, root *os.Root) error {
	c.mu.Lock()
	full := e.served%fullEvery == 0
	c.mu.Unlock()
	n := len(e.files)
	if full || n <= sampleFiles {
		for i := range e.files {
			if err := e.files[i].check(ctx, root); err != nil {
				return err
			}
		}
		return nil
	}
	start := mathrand.IntN(n) //nolint:gosec // a sample, no secret
	for i := range sampleFiles {
		if err := e.files[(start+i*n/sampleFiles)%n].check(ctx, root); err != nil {
			return err
		}
	}
	return nil
}

func (r *record) check(ctx context.Context, root *os.Root) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	now, err := hashFile(root, r.Path)
	if err != nil {
		return err
	}
	if now != *r {
		return fmt.Errorf("%w: file of an extracted tree", ErrDigestMismatch)
	}
	return nil
}

// hashFile describes a file as it is.
func hashFile(root *os.Root, path string) (record, error) {
	info, err := root.Lstat(path)
	if err != nil {
		return record{}, err
	}
	if !info.Mode().IsRegular() {
		return record{}, fmt.Errorf("%w: not a regular file", ErrDigestMismatch)
	}
	f, err := root.Open(path)
	if err != nil {
		return record{}, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return record{}, err
	}
	return record{Path: path, Size: n, SHA256: hex.EncodeToString(h.Sum(nil)), Exec: info.Mode()&0o100 != 0}, nil
}

// fill downloads and extracts into a staging directory.
func (c *Cache) fill(ctx context.Context, r Ref, id digest.Digest) (*entry, *Result, error) {
	name := id.Algorithm + "-" + id.Hex
	staging := filepath.Join(c.dir, "."+name+"."+randomName()+".tmp")
	if err := os.Mkdir(staging, 0o700); err != nil {
		return nil, nil, err
	}
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

// seal hashes all files, writes the manifest and takes the write permissions
// away.
func (c *Cache) seal(ctx context.Context, id digest.Digest, staging string) (*entry, error) {
	root, err := os.OpenRoot(filepath.Join(staging, treeName))
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // opened for reading
	e := &entry{id: id, dir: staging}
	var dirs []string
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if d.IsDir() {
			dirs = append(dirs, path)
			return nil
		}
		r, err := hashFile(root, path)
		if err != nil {
			return err
		}
		e.files = append(e.files, r)
		e.bytes += r.Size
		mode := fs.FileMode(0o444)
		if r.Exec {
			mode = 0o555
		}
		return root.Chmod(path, mode)
	})
	if err != nil {
		return nil, err
	}
	if err := writeManifest(staging, e.files); err != nil {
		return nil, err
	}
	slices.Reverse(dirs)
	for _, d := range dirs {
		if err := root.Chmod(d, 0o555); err != nil {
			return nil, err
		}
	}
	return e, nil
}

func writeManifest(dir string, files []record) (err error) {
	f, err := os.OpenFile(filepath.Join(dir, manifestName), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	err = json.NewEncoder(w).Encode(files)
	if ferr := w.Flush(); err == nil {
		err = ferr
	}
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

const maxManifest = 256 << 20

// readManifest reads the marker of a complete entry.
func readManifest(dir string) (files []record, bytes int64, err error) {
	f, err := os.Open(filepath.Join(dir, manifestName))
	if err != nil {
		return nil, 0, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	if err := json.NewDecoder(io.LimitReader(f, maxManifest)).Decode(&files); err != nil {
		return nil, 0, err
	}
	for _, r := range files {
		bytes += r.Size
	}
	return files, bytes, nil
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
