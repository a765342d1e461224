// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/lfs"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/internal/redact"
	"github.com/gitops-kit/sdk/git/internal/worktree"
	"github.com/gitops-kit/sdk/git/sign"
)

// CommitOptions describe a commit.
type CommitOptions struct {
	// Message; a final newline is added.
	Message string
	// Author needs an email. A zero time is now.
	Author Signature
	// Committer; zero: Author.
	Committer Signature
	// Signer signs. Nil: unsigned.
	Signer sign.Signer
	// TrackedOnly leaves out files that HEAD does not have.
	TrackedOnly bool
	// AllowEmpty permits a commit with the tree of HEAD.
	AllowEmpty bool
	// Parents replaces the parents. Nil: HEAD.
	Parents []Hash
}

const maxMessage = 1 << 20

// Commit stages everything that Status lists and commits it on the current
// branch. Without a change it is ErrNothingToCommit.
func (r *Repository) Commit(ctx context.Context, o CommitOptions) (*Commit, error) {
	c, err := r.commit(ctx, o)
	return c, r.c.wrap(ctx, "commit", r.branch, err)
}

func (r *Repository) commit(ctx context.Context, o CommitOptions) (*Commit, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	changes, err := r.status(ctx)
	if err != nil {
		return nil, err
	}
	if o.TrackedOnly {
		changes = slices.DeleteFunc(changes, func(c Change) bool { return c.Kind == Added })
	}
	if len(changes) == 0 && !o.AllowEmpty {
		return nil, ErrNothingToCommit
	}
	states, err := r.putBlobs(ctx, changes)
	if err != nil {
		return nil, err
	}
	tree, err := r.buildTree(ctx, changes)
	if err != nil {
		return nil, err
	}
	if tree == r.tree && !o.AllowEmpty {
		return nil, ErrNothingToCommit
	}
	parents := o.Parents
	if parents == nil && !r.head.IsZero() {
		parents = []Hash{r.head}
	}
	raw, err := o.encode(ctx, tree, parents)
	if err != nil {
		return nil, err
	}
	id, err := r.store.Put(ctx, driver.Commit, raw)
	if err != nil {
		return nil, err
	}
	parsed, err := object.ParseCommit(id, raw)
	if err != nil {
		return nil, err
	}
	return newCommit(parsed), r.advance(parsed, changes, states)
}

// advance moves branch and index to a new commit.
func (r *Repository) advance(c *object.Commit, changes []Change, states map[string]fileState) error {
	for _, ch := range changes {
		if ch.Kind == Deleted {
			delete(r.files, ch.Path)
		} else {
			r.files[ch.Path] = states[ch.Path]
		}
	}
	r.head, r.tree = c.Hash, c.Tree
	r.stamp = time.Now().Add(-raceWindow)
	if err := r.writeIndex(); err != nil {
		return err
	}
	if r.branch == "" {
		return r.writeHead()
	}
	r.local[r.branch] = c.Hash
	return r.setRef("refs/heads/"+r.branch, c.Hash)
}

// putBlobs stores the contents; a file that changed since Status gets its new id.
func (r *Repository) putBlobs(ctx context.Context, changes []Change) (map[string]fileState, error) {
	states := make(map[string]fileState, len(changes))
	for i := range changes {
		c := &changes[i]
		if c.Kind == Deleted {
			continue
		}
		for part := range strings.SplitSeq(c.Path, "/") {
			if worktree.Unsafe(part) {
				return nil, fmt.Errorf("%q: %w", redact.Text(c.Path, 256), ErrUnsafePath)
			}
		}
		b, info, err := r.content(c.Path, c.mode)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", redact.Text(c.Path, 256), err)
		}
		if old := r.files[c.Path]; old.large != nil {
			if _, pointer := lfs.ParsePointer(b); !pointer && c.Kind != ModeChanged {
				return nil, fmt.Errorf("%q: upload of a large file: %w", redact.Text(c.Path, 256), ErrUnsupported)
			} else if !pointer { // the same content with another mode
				old.mode = c.mode
				old.note(info)
				states[c.Path] = old
				continue
			}
		}
		if c.id, err = r.store.Put(ctx, driver.Blob, b); err != nil {
			return nil, fmt.Errorf("%q: %w", redact.Text(c.Path, 256), err)
		}
		s := fileState{id: c.id, mode: c.mode}
		s.note(info)
		states[c.Path] = s
	}
	return states, nil
}

// branchNode is a directory with changes somewhere below it.
type branchNode struct {
	kids  map[string]*branchNode
	leafs map[string]*Change
}

func (n *branchNode) insert(c *Change) {
	at := n
	dir, name := "", c.Path
	if i := strings.LastIndexByte(c.Path, '/'); i >= 0 {
		dir, name = c.Path[:i], c.Path[i+1:]
	}
	for part := range strings.SplitSeq(dir, "/") {
		if part == "" {
			continue
		}
		if at.kids == nil {
			at.kids = map[string]*branchNode{}
		}
		if at.kids[part] == nil {
			at.kids[part] = &branchNode{}
		}
		at = at.kids[part]
	}
	if at.leafs == nil {
		at.leafs = map[string]*Change{}
	}
	at.leafs[name] = c
}

// buildTree writes new trees for the directories with changes only.
func (r *Repository) buildTree(ctx context.Context, changes []Change) (Hash, error) {
	root := &branchNode{}
	for i := range changes {
		root.insert(&changes[i])
	}
	id, _, err := r.buildDir(ctx, r.tree, root, 1)
	return id, err
}

// buildDir is one directory; empty says that nothing is left in it.
func (r *Repository) buildDir(ctx context.Context, old Hash, n *branchNode, depth int64) (id Hash, empty bool, err error) {
	if err := limits.Check("git-tree-depth", limits.Or(r.c.opts.Limits.TreeDepth, 1024), depth); err != nil {
		return id, false, err
	}
	entries, err := r.entries(ctx, old)
	if err != nil {
		return id, false, err
	}
	for name, kid := range n.kids {
		sub := Hash{}
		if e, ok := entries[name]; ok && e.IsTree() {
			sub = e.Hash
		}
		if sub.IsZero() && kid.onlyDeletes() {
			continue
		}
		h, gone, err := r.buildDir(ctx, sub, kid, depth+1)
		if err != nil {
			return id, false, err
		}
		if delete(entries, name); !gone {
			entries[name] = object.Entry{Name: []byte(name), Mode: object.ModeTree, Hash: h}
		}
	}
	for name, c := range n.leafs {
		if c.Kind != Deleted {
			entries[name] = object.Entry{Name: []byte(name), Mode: c.mode, Hash: c.id}
		} else if e, ok := entries[name]; ok && !e.IsTree() { // a directory may have taken its place
			delete(entries, name)
		}
	}
	if len(entries) == 0 && depth > 1 {
		return id, true, nil
	}
	id, err = r.store.Put(ctx, driver.Tree, encodeTree(entries))
	return id, len(entries) == 0, err
}

func (n *branchNode) onlyDeletes() bool {
	for _, c := range n.leafs {
		if c.Kind != Deleted {
			return false
		}
	}
	for _, k := range n.kids {
		if !k.onlyDeletes() {
			return false
		}
	}
	return true
}

func (r *Repository) entries(ctx context.Context, tree Hash) (map[string]object.Entry, error) {
	out := map[string]object.Entry{}
	raw, err := storeSource{ctx, r.store}.Tree(tree)
	if err != nil {
		return nil, err
	}
	it := object.NewIter(r.format, raw)
	var e object.Entry
	for it.Next(&e) {
		out[string(e.Name)] = e
	}
	return out, it.Err()
}

func encodeTree(entries map[string]object.Entry) []byte {
	list := make([]object.Entry, 0, len(entries))
	for _, e := range entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b object.Entry) int {
		if object.Less(string(a.Name), a.IsTree(), string(b.Name), b.IsTree()) {
			return -1
		}
		return 1
	})
	var b []byte
	for _, e := range list {
		b = fmt.Appendf(b, "%o %s\x00", e.Mode, e.Name)
		b = e.Hash.AppendBytes(b)
	}
	return b
}

func (o *CommitOptions) check() error {
	if o.Committer == (Signature{}) {
		o.Committer = o.Author
	}
	now := time.Now()
	for _, s := range []*Signature{&o.Author, &o.Committer} {
		if s.When.IsZero() {
			s.When = now
		}
		s.Name, s.Email = cleanName(s.Name), cleanName(s.Email)
		if s.Email == "" {
			return fmt.Errorf("%w: author and committer need an email", ErrInvalidOption)
		}
		if s.When.Unix() < 0 {
			return fmt.Errorf("%w: a time before 1970 cannot be stored", ErrInvalidOption)
		}
	}
	if strings.IndexByte(o.Message, 0) >= 0 {
		return fmt.Errorf("%w: message holds NUL", ErrInvalidOption)
	}
	return limits.Check("commit-message", maxMessage, int64(len(o.Message)))
}

// cleanName removes what would break the header.
func cleanName(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == '<' || r == '>' {
			return -1
		}
		return r
	}, s))
}

func person(s Signature) string {
	return fmt.Sprintf("%s <%s> %d %s", s.Name, s.Email, s.When.Unix(), s.When.Format("-0700"))
}

// encode makes the commit's bytes; what is signed is what is stored, less the
// signature.
func (o *CommitOptions) encode(ctx context.Context, tree Hash, parents []Hash) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "tree %s\n", tree)
	for _, p := range parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	fmt.Fprintf(&b, "author %s\ncommitter %s\n", person(o.Author), person(o.Committer))
	message := "\n" + strings.TrimRight(o.Message, "\n") + "\n"
	if o.Signer == nil {
		return append(b.Bytes(), message...), nil
	}
	sig, err := o.Signer.Sign(ctx, append(bytes.Clone(b.Bytes()), message...))
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	header := "gpgsig "
	if tree.Format() == driver.SHA256 {
		header = "gpgsig-sha256 "
	}
	text := strings.TrimRight(string(sig), "\n")
	b.WriteString(header + strings.ReplaceAll(text, "\n", "\n ") + "\n")
	return append(b.Bytes(), message...), nil
}
