// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/fail"
	"github.com/gitops-kit/sdk/git/internal/gitindex"
	"github.com/gitops-kit/sdk/git/internal/lfs"
	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/internal/worktree"
)

// Repository is a working copy that this process made. It is not safe for
// concurrent use. Close it; the directory stays.
type Repository struct {
	c      *Client
	dir    string
	root   *os.Root
	store  driver.Store
	driver driver.Driver
	format driver.Format

	branch  string // "" while detached
	head    Hash   // zero while unborn
	tree    Hash   // of head
	remote  map[string]Hash
	local   map[string]Hash // branches
	shallow map[Hash]bool
	files   map[string]fileState
	sparse  *worktree.Sparse
	partial bool      // blobs outside the sparse set were left out
	stamp   time.Time // files younger than this may have changed within their time stamp
	out     *Checkout
}

// fileState is what the index knows of a path.
type fileState struct {
	id     driver.Hash
	mode   uint32
	stat   gitindex.Stat
	mtime  time.Time
	absent bool         // outside the sparse set
	large  *lfs.Pointer // what the blob points to, when that is in the worktree
}

// Head returns branch and commit; the branch is empty while detached, the
// commit zero while the branch is unborn.
func (r *Repository) Head() (branch string, commit Hash) { return r.branch, r.head }

// Root is the worktree. It is closed by Close.
func (r *Repository) Root() *os.Root { return r.root }

// Dir is the directory of the working copy.
func (r *Repository) Dir() string { return r.dir }

// Driver is the driver that stores the objects: the one of the options, or
// packstore where that lacks the object format.
func (r *Repository) Driver() driver.Driver { return r.driver }

// Checkout tells what the clone brought; nil for an empty repository.
func (r *Repository) Checkout() *Checkout { return r.out }

// Close frees the object database and the worktree handle.
func (r *Repository) Close() error { return errors.Join(r.store.Close(), r.root.Close()) }

func (r *Repository) gitDir() string { return filepath.Join(r.dir, ".git") }

// writeGit writes a file of .git by temporary file and rename.
func (r *Repository) writeGit(name, content string) error {
	path := filepath.Join(r.gitDir(), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as git does, before umask
		return err
	}
	f, err := os.CreateTemp(r.gitDir(), "tmp-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	fail.Point(fpBeforeMeta)
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	fail.Point(fpAfterMeta)
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// setRef writes a reference whose name has been checked.
func (r *Repository) setRef(name string, id Hash) error {
	return r.writeGit(name, id.String()+"\n")
}

func (r *Repository) writeHead() error {
	if r.branch == "" {
		return r.writeGit("HEAD", r.head.String()+"\n")
	}
	return r.writeGit("HEAD", "ref: refs/heads/"+r.branch+"\n")
}

func (r *Repository) writeShallow() error {
	if len(r.shallow) == 0 {
		return nil
	}
	lines := make([]string, 0, len(r.shallow))
	for id := range r.shallow {
		lines = append(lines, id.String())
	}
	slices.Sort(lines)
	return r.writeGit("shallow", strings.Join(lines, "\n")+"\n")
}

// configQuote quotes a value or section name of the config file.
func configQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func (r *Repository) writeConfig(url string) error {
	var b strings.Builder
	version, extra := 0, ""
	if r.format == driver.SHA256 {
		version, extra = 1, "[extensions]\n\tobjectformat = sha256\n"
	}
	fmt.Fprintf(&b, "[core]\n\trepositoryformatversion = %d\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = false\n%s", version, extra)
	fmt.Fprintf(&b, "[remote \"origin\"]\n\turl = %s\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n", configQuote(url))
	if r.partial {
		b.WriteString("\tpromisor = true\n\tpartialclonefilter = blob:none\n")
	}
	if r.branch != "" {
		fmt.Fprintf(&b, "[branch %s]\n\tremote = origin\n\tmerge = %s\n", configQuote(r.branch), configQuote("refs/heads/"+r.branch))
	}
	return r.writeGit("config", b.String())
}

// writeIndex writes the index of all known files.
func (r *Repository) writeIndex() error {
	f, err := os.CreateTemp(r.gitDir(), "tmp-*")
	if err != nil {
		return err
	}
	entries := make([]gitindex.Entry, 0, len(r.files))
	for path, s := range r.files {
		entries = append(entries, gitindex.Entry{Path: path, Mode: s.mode, ID: s.id, Stat: s.stat, Absent: s.absent})
	}
	err = errors.Join(gitindex.Write(f, r.format, entries), f.Chmod(0o644), f.Close())
	fail.Point(fpBeforeIndex)
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(r.gitDir(), "index"))
	}
	fail.Point(fpAfterIndex)
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// note remembers the state of a file just written or read.
func (s *fileState) note(i fs.FileInfo) {
	s.stat, s.mtime = gitindex.StatOf(i), i.ModTime()
}

// commitOf reads a commit from the store.
func (r *Repository) commitOf(ctx context.Context, id Hash) (*object.Commit, error) {
	t, raw, err := r.store.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if t != driver.Commit {
		return nil, fmt.Errorf("%s is a %s: %w", id, t, ErrNotACommit)
	}
	return object.ParseCommit(id, raw)
}

// storeSource reads trees from the store, for walks.
type storeSource struct {
	ctx context.Context //nolint:containedctx // one call's state
	s   driver.Store
}

// Tree implements worktree.Source.
func (s storeSource) Tree(id driver.Hash) ([]byte, error) {
	if id.IsZero() {
		return nil, nil
	}
	t, raw, err := s.s.Get(s.ctx, id)
	if errors.Is(err, driver.ErrObjectNotFound) && emptyTrees[id.String()] {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if t != driver.Tree {
		return nil, fmt.Errorf("%s is a %s and no tree: %w", id, t, ErrMalformedObject)
	}
	return raw, nil
}

// BlobSize implements worktree.Source. The sizes are judged when blobs are read.
func (s storeSource) BlobSize(driver.Hash) (int64, error) { return 0, nil }
