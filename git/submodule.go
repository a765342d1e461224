// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/gitops-kit/sdk/git/internal/gitmodules"
	"github.com/gitops-kit/sdk/git/internal/limits"
	"github.com/gitops-kit/sdk/git/internal/netguard"
	"github.com/gitops-kit/sdk/git/internal/object"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/git/internal/redact"
	"github.com/gitops-kit/sdk/git/internal/worktree"
)

// ErrSubmodule is matched by every [*SubmoduleError].
var ErrSubmodule = errors.New("submodule")

// SubmoduleError says which submodule failed, and why.
type SubmoduleError struct {
	Path string
	Err  error
}

// Error implements error.
func (e *SubmoduleError) Error() string {
	return fmt.Sprintf("submodule %q: %v", redact.Text(e.Path, 256), e.Err)
}

// Unwrap returns [ErrSubmodule] and the cause.
func (e *SubmoduleError) Unwrap() []error { return []error{ErrSubmodule, e.Err} }

// Reason returns the condition reason: that of the cause, where it is about
// more than what the commit says.
func (e *SubmoduleError) Reason() string {
	switch r := reasonOf(e.Err); r {
	case "URLInvalid", "EmptyGitRepository":
		return "GitOperationFailed"
	default:
		return r
	}
}

// Terminal is false: the next commit may do better. Limits stay what they are.
func (e *SubmoduleError) Terminal() bool {
	var l *LimitError
	return errors.As(e.Err, &l) && l.Terminal()
}

// Submodule is a submodule that was checked out.
type Submodule struct {
	Path   string
	URL    string // without anything secret
	Commit Hash
}

const maxGitmodules = 1 << 20

// lineage is what submodules share with their parents.
type lineage struct {
	count  int64
	totals worktree.Totals
	large  map[string]*lfsFile // by object id, in the one temporary directory
	packs  packfile.Limits     // what the packs took
}

// spend counts a pack. The limits of packs are, too, budgets of the checkout
// with all its submodules and batches.
func (l *lineage) spend(p *packfile.Pack, lim packfile.Limits) error {
	lim = lim.Fill()
	l.packs.Pack += p.Size()
	l.packs.Objects += int64(p.Len())
	for i := range p.Len() {
		l.packs.Inflated += p.ObjectSize(i)
	}
	return errors.Join(limits.Check("git-pack", lim.Pack, l.packs.Pack), limits.Check("git-inflated", lim.Inflated, l.packs.Inflated),
		limits.Check("git-objects", lim.Objects, l.packs.Objects))
}

// left is what remains for the next pack of a submodule.
func (l *lineage) left(lim Limits) Limits {
	full := lim.pack().Fill()
	lim.Pack, lim.Inflated = max(1, full.Pack-l.packs.Pack), max(1, full.Inflated-l.packs.Inflated)
	lim.Objects = max(1, full.Objects-l.packs.Objects)
	return lim
}

// loadSubmodules fetches every submodule of the sparse set, with its own.
func (s *snapshot) loadSubmodules(ctx context.Context, o CheckoutOptions) error {
	links, err := s.gitlinks()
	if err != nil || len(links) == 0 {
		return err
	}
	modules, err := s.modules(ctx)
	if err != nil {
		return &SubmoduleError{Path: ".gitmodules", Err: err}
	}
	s.subs = map[string]*snapshot{}
	for _, l := range links {
		m, ok := modules[l.path]
		if !ok {
			return &SubmoduleError{Path: l.path, Err: errors.New("no entry in .gitmodules has this path")}
		}
		sub, err := s.loadSubmodule(ctx, l, m, o)
		if err != nil {
			return &SubmoduleError{Path: l.path, Err: err}
		}
		s.subs[l.path] = sub
	}
	return nil
}

type gitlink struct {
	path string
	id   Hash
}

func (s *snapshot) gitlinks() ([]gitlink, error) {
	if s.totals.Gitlinks == 0 {
		return nil, nil
	}
	w, err := worktree.NewWalker(source{s.db.reader()}, s.commit.Tree, s.sparse, s.c.opts.Limits.tree())
	if err != nil {
		return nil, err
	}
	var out []gitlink
	var step worktree.Step
	for {
		more, err := w.Next(&step)
		if err != nil || !more {
			return out, err
		}
		if step.Kind == worktree.File && step.Entry.Mode == object.ModeGitlink {
			out = append(out, gitlink{step.Path(), step.Entry.Hash})
		}
	}
}

// rootEntry finds an entry of the root tree.
func (s *snapshot) rootEntry(name string) (object.Entry, bool, error) {
	raw, err := source{s.db.reader()}.Tree(s.commit.Tree)
	if err != nil {
		return object.Entry{}, false, err
	}
	it := object.NewIter(s.commit.Tree.Format(), raw)
	var e object.Entry
	for it.Next(&e) {
		if string(e.Name) == name {
			return e, true, nil
		}
	}
	return e, false, it.Err()
}

func (s *snapshot) modules(ctx context.Context) (map[string]gitmodules.Module, error) {
	out := map[string]gitmodules.Module{}
	e, ok, err := s.rootEntry(".gitmodules")
	if err != nil || !ok {
		return out, err
	}
	if e.Mode != object.ModeFile && e.Mode != object.ModeExec {
		return nil, errors.New("not a regular file")
	}
	if err := s.ensure(ctx, []Hash{e.Hash}); err != nil {
		return nil, err
	}
	src := source{s.db.reader()}
	size, err := src.BlobSize(e.Hash)
	if err != nil {
		return nil, err
	}
	if err := limits.Check("gitmodules", maxGitmodules, size); err != nil {
		return nil, err
	}
	b, err := src.blob(e.Hash)
	if err != nil {
		return nil, err
	}
	list, err := gitmodules.Parse(b)
	for _, m := range list {
		out[strings.TrimSuffix(m.Path, "/")] = m
	}
	return out, err
}

func (s *snapshot) loadSubmodule(ctx context.Context, l gitlink, m gitmodules.Module, o CheckoutOptions) (*snapshot, error) {
	lim := s.c.opts.Limits
	s.line.count++
	if err := limits.Check("submodules", limits.Or(lim.Submodules, 20), s.line.count); err != nil {
		return nil, err
	}
	if err := limits.Check("submodule-depth", limits.Or(lim.SubmoduleDepth, 3), int64(len(s.above)+1)); err != nil {
		return nil, err
	}
	if !gitmodules.ValidName(m.Name) {
		return nil, fmt.Errorf("name %q is not allowed", redact.Text(m.Name, 128))
	}
	c, err := s.c.submodule(m.URL)
	if err != nil {
		return nil, err
	}
	c.opts.Limits = s.line.left(s.root.c.opts.Limits)
	above := append(append([]string(nil), s.above...), canonical(s.c.url)+" "+s.commit.Hash.String())
	for _, a := range above {
		if a == canonical(c.url)+" "+l.id.String() {
			return nil, errors.New("contains itself")
		}
	}
	if l.id.Format() != s.commit.Hash.Format() {
		return nil, ErrMismatch
	}
	r := &Resolved{Reference: Reference{Commit: l.id.String()}, Commit: l.id, Revision: Revision{Hash: l.id}}
	sub := &snapshot{c: c, dir: s.dir, line: s.line, above: above, root: s.root}
	o.Sparse, o.Verify, o.RequireFastForwardFrom = nil, nil, Hash{}
	if err := sub.load(ctx, r, o, 1); err != nil {
		return nil, errors.Join(sub.doubt(ctx, err), sub.close())
	}
	top := s.root
	top.out.Submodules = append(top.out.Submodules, Submodule{Path: l.path, URL: c.shown, Commit: l.id})
	return sub, nil
}

// submodule is a Client for the URL of a submodule. It has our credentials
// only on our own origin; every other address is one that a server supplied.
func (c *Client) submodule(raw string) (*Client, error) {
	u := raw
	if strings.HasPrefix(raw, "./") || strings.HasPrefix(raw, "../") {
		var err error
		if u, err = relativeURL(c.url, raw); err != nil {
			return nil, err
		}
	}
	o := c.opts
	o.Conns = c.pool
	parsed, _, err := parseURL(u)
	if err != nil {
		return nil, err
	}
	if netguard.Origin(parsed) != netguard.Origin(c.url) {
		o.Credentials = nil
		if o.TLS != nil {
			o.TLS = o.TLS.Clone()
			o.TLS.Certificates, o.TLS.GetClientCertificate = nil, nil
		}
	}
	sub, err := newClient(u, o, c.trusted)
	if err != nil {
		return nil, err
	}
	if sub.user == nil && netguard.Origin(sub.url) == netguard.Origin(c.url) {
		sub.user = c.user
	}
	return sub, nil
}

// relativeURL applies git's rule: the parent's URL is a directory, "./" stays
// in it, each "../" leaves one component.
func relativeURL(parent *url.URL, rel string) (string, error) {
	p := strings.TrimRight(parent.Path, "/")
	for {
		if rest, ok := strings.CutPrefix(rel, "./"); ok {
			rel = rest
			continue
		}
		rest, ok := strings.CutPrefix(rel, "../")
		if !ok {
			break
		}
		rel = rest
		i := strings.LastIndexByte(p, '/')
		if i < 0 || p == "" {
			return "", urlError("relative URL leaves the server")
		}
		p = p[:i]
	}
	if rel == "" || rel == ".." || rel == "." {
		return "", urlError("relative URL names nothing")
	}
	u := *parent
	u.Path, u.RawPath = path.Join("/", p, rel), ""
	if strings.Contains("/"+rel+"/", "/../") {
		return "", urlError("relative URL leaves the server")
	}
	return u.String(), nil
}
