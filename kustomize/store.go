// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/gitops-kit/sdk/kustomize/internal/limits"
)

// The engine sees one virtual file system: the root tree at rootMount, remote
// trees below remoteMount.
const (
	rootMount   = "/r"
	remoteMount = "/m"
	maxLinks    = 40   // as in the kernel
	maxPath     = 4096 // bytes of a path in the tree
)

// tree is the root of a build, or what a RemoteFunc returned.
type tree struct {
	fsys  fs.FS
	links fs.ReadLinkFS // nil if the tree has no links
	mount string
	label string // redacted remote entry; "" for the root
	repo  string // for origin annotations
	ref   string
	depth int
	seen  map[string]stat
}

// stat is what a path of a tree is.
type stat struct {
	real string // without links
	mode fs.FileMode
	size int64
	err  error
}

func newTree(fsys fs.FS, mount string) *tree {
	links, _ := fsys.(fs.ReadLinkFS)
	return &tree{fsys: fsys, links: links, mount: mount, seen: map[string]stat{}}
}

// name is how errors and inputs call a path of the tree.
func (t *tree) name(rel string) string {
	if t.label == "" {
		return rel
	}
	return t.label + "//" + rel
}

// virtual is the path as the engine sees it.
func (t *tree) virtual(rel string) string { return path.Join(t.mount, rel) }

// store reads trees under the limits of one build and remembers what it read.
type store struct {
	ctx context.Context //nolint:containedctx // one build; kustomize's file system interface has no context
	lim Limits

	// One goroutine reads. The lock is for those who look at a build that is
	// under way, and is never held while a tree is touched, which may hang.
	mu     sync.Mutex
	trees  []*tree
	blobs  map[string][]byte // by virtual path without links
	inputs map[string]Input
	bytes  int64
	docs   int64
}

func newStore(ctx context.Context, root fs.FS, lim Limits) *store {
	return &store{
		ctx: ctx, lim: lim, trees: []*tree{newTree(root, rootMount)},
		blobs: map[string][]byte{}, inputs: map[string]Input{},
	}
}

// locate splits a virtual path into its tree and the path in it.
func (s *store) locate(virtual string) (*tree, string, error) {
	for _, t := range s.trees {
		if virtual == t.mount {
			return t, ".", nil
		}
		if rel, ok := strings.CutPrefix(virtual, t.mount+"/"); ok {
			return t, rel, nil
		}
	}
	return nil, "", ErrPathEscape
}

// stat says what rel is. Links are followed inside the tree only.
func (s *store) stat(t *tree, rel string) stat {
	if err := s.ctx.Err(); err != nil {
		return stat{err: err}
	}
	if len(rel) > maxPath {
		return stat{err: invalidf("path is longer than %d bytes", maxPath)}
	}
	hops := 0
	got := s.follow(t, rel, &hops)
	if errors.Is(got.err, fs.ErrNotExist) {
		s.record(Input{Path: t.name(rel), Kind: InputAbsent})
		got.err = ErrNoSuchFile
	}
	return got
}

func (s *store) follow(t *tree, rel string, hops *int) stat {
	if rel == "." {
		return stat{real: ".", mode: fs.ModeDir}
	}
	if got, ok := t.seen[rel]; ok {
		return got
	}
	got := s.walk(t, rel, hops)
	t.seen[rel] = got
	return got
}

func (s *store) walk(t *tree, rel string, hops *int) stat {
	parent := s.follow(t, path.Dir(rel), hops)
	if parent.err != nil {
		return parent
	}
	if !parent.mode.IsDir() || !fs.ValidPath(rel) {
		return stat{err: fs.ErrNotExist}
	}
	at := path.Join(parent.real, path.Base(rel))
	info, err := t.lstat(at)
	if err != nil {
		return stat{err: pathError(err)}
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		return stat{real: at, mode: info.Mode(), size: info.Size()}
	}
	target, err := t.links.ReadLink(at)
	if err != nil {
		return stat{err: pathError(err)}
	}
	s.record(Input{Path: t.name(at), Kind: InputLink, SHA256: digest([]byte(target))})
	if *hops++; *hops > maxLinks {
		return stat{err: invalidf("too many links")}
	}
	next := path.Join(parent.real, target)
	if path.IsAbs(target) || next == ".." || strings.HasPrefix(next, "../") {
		return stat{err: ErrPathEscape}
	}
	return s.follow(t, next, hops)
}

func (t *tree) lstat(rel string) (fs.FileInfo, error) {
	if t.links != nil {
		return t.links.Lstat(rel)
	}
	return fs.Stat(t.fsys, rel)
}

// pathError keeps absence and drops the text of every other error, which may
// hold a path of the machine.
func pathError(err error) error {
	var pe *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fs.ErrNotExist
	case errors.As(err, &pe) && pe.Err != nil:
		return fmt.Errorf("%w: %s: %w", ErrInvalid, pe.Op, pe.Err)
	}
	return fmt.Errorf("%w: %w", ErrInvalid, err)
}

// read returns the bytes of a regular file. Each file is read once.
func (s *store) read(t *tree, rel string) ([]byte, error) {
	st := s.stat(t, rel)
	switch {
	case st.err != nil:
		return nil, st.err
	case st.mode.IsDir():
		return nil, invalidf("is a directory")
	case !st.mode.IsRegular():
		return nil, invalidf("is not a regular file")
	}
	key := t.virtual(st.real)
	data, ok := s.blobs[key]
	if !ok {
		var err error
		if data, err = s.load(t, st); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.blobs[key] = data
		s.bytes += int64(len(data))
		s.mu.Unlock()
	}
	s.record(Input{Path: t.name(rel), Kind: InputFile, SHA256: digest(data)})
	return data, nil
}

func (s *store) load(t *tree, st stat) ([]byte, error) {
	if err := limits.Check("build-files", s.lim.Files, int64(len(s.blobs))+1); err != nil {
		return nil, err
	}
	if err := limits.Check("build-file", s.lim.File, st.size); err != nil {
		return nil, err
	}
	f, err := t.fsys.Open(st.real)
	if err != nil {
		return nil, pathError(err)
	}
	defer f.Close() //nolint:errcheck // only read
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, invalidf("is not a regular file")
	}
	left := min(s.lim.File, s.lim.Total-s.bytes)
	data, err := io.ReadAll(io.LimitReader(f, addOne(left))) //nolint:forbidigo // limited
	if err != nil {
		return nil, pathError(err)
	}
	if err := limits.Check("build-file", s.lim.File, int64(len(data))); err != nil {
		return nil, err
	}
	if err := limits.Check("build-total", s.lim.Total, s.bytes+int64(len(data))); err != nil {
		return nil, err
	}
	return data, nil
}

// list returns the entries of a directory in lexical order, links included.
func (s *store) list(t *tree, rel string) ([]fs.DirEntry, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(t.fsys, rel)
	if err != nil {
		return nil, pathError(err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	s.record(Input{Path: t.name(rel), Kind: InputDir, SHA256: listDigest(entries)})
	return entries, nil
}

func listDigest(entries []fs.DirEntry) string {
	h := sha256.New()
	for _, e := range entries {
		fmt.Fprintf(h, "%s\x00%s\n", e.Type(), e.Name())
	}
	return hex.EncodeToString(h.Sum(nil))
}

// record keeps the first fact about a path; links and lists are facts of their
// own.
func (s *store) record(in Input) {
	key := in.Path
	if in.Kind == InputLink || in.Kind == InputDir {
		key = string(in.Kind) + "\x00" + key
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.inputs[key]; !ok {
		s.inputs[key] = in
	}
}

// snapshot returns the inputs so far in order of path and kind.
func (s *store) snapshot() []Input {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Input, 0, len(s.inputs))
	for _, in := range s.inputs {
		out = append(out, in)
	}
	slices.SortFunc(out, func(a, b Input) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return strings.Compare(string(a.Kind), string(b.Kind))
	})
	return out
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func addOne(n int64) int64 {
	if n == 1<<63-1 {
		return n
	}
	return max(n, 0) + 1
}
