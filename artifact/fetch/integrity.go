// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/gitops-kit/sdk/untar/digest"
)

// record is one file or directory of a tree.
type record struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Exec   bool   `json:"exec,omitempty"`
	Dir    bool   `json:"dir,omitempty"`
}

// check compares a sample of the files, or the whole tree, with the manifest.
// The manifest of a tree that an earlier process extracted survives more than
// its files, which nobody synced: the first check of such a tree is one of the
// whole, for which others wait.
func (c *Cache) check(ctx context.Context, e *entry, root *os.Root) error {
	full, proved, _ := c.state(e)
	if !proved {
		select {
		case e.first <- struct{}{}:
			defer func() { <-e.first }()
		case <-ctx.Done():
			return ctx.Err()
		}
		var dropped bool
		if _, proved, dropped = c.state(e); dropped {
			return errDropped
		}
	}
	if full || !proved {
		err := e.compare(ctx, root)
		if err == nil {
			c.mu.Lock()
			e.proved = true
			c.mu.Unlock()
		}
		return err
	}
	n := len(e.files)
	start := mathrand.IntN(max(n, 1)) //nolint:gosec // a sample, no secret
	for i := range min(n, sampleFiles) {
		if err := e.files[(start+i*max(n, sampleFiles)/sampleFiles)%n].check(ctx, root); err != nil {
			return err
		}
	}
	return nil
}

// state says whether this lease is one for a check of the whole tree, whether
// the tree had one in the life of this cache, and whether it was dropped.
func (c *Cache) state(e *entry) (full, proved, dropped bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return e.served%fullEvery == 0, e.proved, e.dropped
}

// compare walks the tree: everything that was recorded is there as it was, and
// nothing else.
func (e *entry) compare(ctx context.Context, root *os.Root) error {
	files, dirs := e.files, e.dirs
	err := fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if len(dirs) == 0 || dirs[0] != path {
				return errTree
			}
			dirs = dirs[1:]
			return ctx.Err()
		}
		if len(files) == 0 || files[0].Path != path {
			return errTree
		}
		err = files[0].check(ctx, root)
		files = files[1:]
		return err
	})
	if err == nil && len(files)+len(dirs) != 0 {
		err = errTree
	}
	return err
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
		return errTree
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

// seal hashes all files, writes the manifest and takes the write permissions
// away.
func (c *Cache) seal(ctx context.Context, id digest.Digest, staging string) (*entry, error) {
	root, err := os.OpenRoot(filepath.Join(staging, treeName))
	if err != nil {
		return nil, err
	}
	defer root.Close() //nolint:errcheck // opened for reading
	e := &entry{id: id, dir: staging, proved: true}
	err = fs.WalkDir(root.FS(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if d.IsDir() {
			e.dirs = append(e.dirs, path)
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
	if err := c.writeManifest(e); err != nil {
		return nil, err
	}
	for _, d := range slices.Backward(e.dirs) {
		if err := root.Chmod(d, 0o555); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// writeManifest makes what an entry holds durable, so that it can be compared
// after a power cut.
func (c *Cache) writeManifest(e *entry) (err error) {
	records := slices.Clone(e.files)
	for _, d := range e.dirs {
		records = append(records, record{Path: d, Dir: true})
	}
	name := filepath.Join(e.dir, manifestName)
	c.announce("create", name)
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	c.announce("write", name)
	w := bufio.NewWriter(f)
	err = json.NewEncoder(w).Encode(records)
	if ferr := w.Flush(); err == nil {
		err = ferr
	}
	c.announce("sync", name)
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// errTree reports a tree that is not as it was extracted.
var errTree = fmt.Errorf("%w: extracted tree", ErrDigestMismatch)

const maxManifest = 256 << 20

// readManifest reads the marker of a complete entry.
func (e *entry) readManifest() error {
	f, err := os.Open(filepath.Join(e.dir, manifestName))
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	var records []record
	if err := json.NewDecoder(io.LimitReader(f, maxManifest)).Decode(&records); err != nil {
		return err
	}
	for _, r := range records {
		if r.Dir {
			e.dirs = append(e.dirs, r.Path)
			continue
		}
		e.files = append(e.files, r)
		e.bytes += r.Size
	}
	return nil
}
