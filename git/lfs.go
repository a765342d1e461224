// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gitops-kit/sdk/git/internal/lfs"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/internal/worktree"
)

// ErrDigestMismatch reports content that is not what its digest says.
var ErrDigestMismatch = errors.New("digest mismatch")

// LFSError is what the server says about one object.
type LFSError struct {
	OID  string
	Code int
}

// Error implements error.
func (e *LFSError) Error() string { return fmt.Sprintf("lfs object %s: status %d", e.OID, e.Code) }

// Reason returns the condition reason.
func (e *LFSError) Reason() string { return "GitOperationFailed" }

// Terminal is false: the object may be uploaded later.
func (e *LFSError) Terminal() bool { return false }

const maxAttributes = 1 << 20

// lfsFile is a large file, downloaded and verified.
type lfsFile struct {
	lfs.Pointer
	name string // of the temporary file
}

// lfsFiles are the large files of a checkout by path.
type lfsFiles struct{ files map[string]*lfsFile }

// replace implements worktree.Writer.Replace.
func (l *lfsFiles) replace(path string) func(io.Writer) error {
	f := l.files[path]
	if f == nil {
		return nil
	}
	return f.copyTo
}

// pointer is what was replaced at a path, nil for nothing.
func (l *lfsFiles) pointer(path string) *lfs.Pointer {
	if l == nil || l.files[path] == nil {
		return nil
	}
	return &l.files[path].Pointer
}

// holds reports whether a file is the content that a pointer names.
func holds(root *os.Root, path string, p *lfs.Pointer) (bool, error) {
	f, err := root.Open(path)
	if err != nil {
		return false, err
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, p.Size+1))
	return n == p.Size && hex.EncodeToString(h.Sum(nil)) == p.OID, errors.Join(err, f.Close())
}

func (f *lfsFile) copyTo(w io.Writer) error {
	r, err := os.Open(f.name)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, r.Close())
}

// large hands a large file to the sink of an export.
func (x *exporter) large(path string, mode fs.FileMode, f *lfsFile) error {
	r, err := os.Open(f.name)
	if err != nil {
		return err
	}
	err = x.sink(path, mode, f.Size, r)
	if err == nil {
		x.s.root.out.Stats.Files++
		x.s.root.out.Stats.Written += f.Size
	}
	return errors.Join(err, r.Close())
}

// loadLFS finds the pointers of the sparse set and downloads what they name.
func (s *snapshot) loadLFS(ctx context.Context) error {
	attrs, err := s.attributes(ctx)
	if err != nil || len(attrs) == 0 {
		return err
	}
	files, err := s.pointers(attrs)
	if err != nil || len(files) == 0 {
		return err
	}
	if s.line.large == nil {
		s.line.large = map[string]*lfsFile{}
	}
	byOID := s.line.large
	lim := s.c.opts.Limits
	maxObject, maxBytes := limits.Or(lim.LFSObject, 256<<20), lim.tree().Fill().Bytes
	var want []*lfsFile
	for path, f := range files {
		if err := limits.Check("lfs-object", maxObject, f.Size); err != nil {
			return err
		}
		s.line.totals.Bytes += f.Size
		if err := limits.Check("worktree-bytes", maxBytes, s.line.totals.Bytes); err != nil {
			return err
		}
		if known, ok := byOID[f.OID]; ok {
			if known.Size != f.Size {
				return fmt.Errorf("lfs object %s has two sizes: %w", f.OID, ErrMalformedObject)
			}
			files[path] = known
			continue
		}
		f.name = filepath.Join(s.dir, "lfs-"+f.OID)
		byOID[f.OID] = f
		want = append(want, f)
	}
	if err := s.c.fetchLFS(ctx, want, s.from.resolved.Ref); err != nil {
		return err
	}
	s.lfs = &lfsFiles{files}
	return nil
}

// attributes reads every .gitattributes of the tree, by directory.
func (s *snapshot) attributes(ctx context.Context) (map[string]*lfs.Attributes, error) {
	w, err := worktree.NewWalker(source{s.db.reader()}, s.commit.Tree, nil, s.c.opts.Limits.tree())
	if err != nil {
		return nil, err
	}
	found := map[string]Hash{}
	var ids []Hash
	var step worktree.Step
	for {
		more, err := w.Next(&step)
		if err != nil {
			return nil, err
		}
		if !more {
			break
		}
		if m := step.Entry.Mode; step.Kind == worktree.File && string(step.Entry.Name) == ".gitattributes" && (m == object.ModeFile || m == object.ModeExec) {
			found[step.Dir] = step.Entry.Hash
			ids = append(ids, step.Entry.Hash)
		}
	}
	if err := s.ensure(ctx, ids); err != nil {
		return nil, err
	}
	out, src, n := map[string]*lfs.Attributes{}, source{s.db.reader()}, 0
	for dir, id := range found {
		size, err := src.BlobSize(id)
		if err != nil {
			return nil, err
		}
		if err := limits.Check("attributes", maxAttributes, size); err != nil {
			return nil, err
		}
		b, err := src.blob(id)
		if err != nil {
			return nil, err
		}
		a, err := lfs.ParseAttributes(b, &n)
		if err != nil {
			return nil, fmt.Errorf("%s.gitattributes: %w", dir, &LimitError{Name: "attributes", Max: 10_000, Got: int64(n)})
		}
		out[dir] = a
	}
	return out, nil
}

// filtered tells whether attributes mark a path: the nearest file that says
// something decides.
func marked(attrs map[string]*lfs.Attributes, path string) bool {
	for dir := path; dir != ""; {
		dir = dir[:strings.LastIndexByte(strings.TrimSuffix(dir, "/"), '/')+1]
		if a := attrs[dir]; a != nil {
			if v, ok := a.Match(path[len(dir):]); ok {
				return v == "lfs"
			}
		}
	}
	return false
}

func (s *snapshot) pointers(attrs map[string]*lfs.Attributes) (map[string]*lfsFile, error) {
	src := source{s.db.reader()}
	w, err := worktree.NewWalker(src, s.commit.Tree, s.sparse, s.c.opts.Limits.tree())
	if err != nil {
		return nil, err
	}
	blobs := source{s.db.reader()}
	out := map[string]*lfsFile{}
	var step worktree.Step
	for {
		more, err := w.Next(&step)
		if err != nil || !more {
			return out, err
		}
		if m := step.Entry.Mode; step.Kind != worktree.File || m != object.ModeFile && m != object.ModeExec || !marked(attrs, step.Path()) {
			continue
		}
		size, err := blobs.BlobSize(step.Entry.Hash)
		if err != nil {
			return nil, err
		}
		if size > lfs.MaxPointer {
			continue
		}
		b, err := blobs.blob(step.Entry.Hash)
		if err != nil {
			return nil, err
		}
		if p, ok := lfs.ParsePointer(b); ok {
			out[step.Path()] = &lfsFile{Pointer: p}
		}
	}
}
