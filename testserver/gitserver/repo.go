// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Files maps slash-separated paths to contents.
type Files map[string]string

// Node is a tree entry that is not a plain file.
type Node struct {
	// Mode is "100755", "120000" (the content is the target), "160000" (ID is a
	// commit of another repository) or "100644".
	Mode string
	// Content is the blob's content.
	Content string
	// ID is used instead of Content when set.
	ID Hash
}

// Signature names an author, committer or tagger.
type Signature struct {
	Name, Email string
}

// defaultSignature is used where a test gives none.
func defaultSignature() Signature { return Signature{Name: "Test Author", Email: "author@example.com"} }

// epoch is the time of the first commit of every repository; each further
// commit or tag is a minute later unless it has a time of its own.
const epoch = 1704067200 // 2024-01-01T00:00:00Z

// Signer returns the armored signature of a commit or tag.
type Signer func(payload []byte) (string, error)

// CommitOptions configure [Repo.Commit]. The zero value adds files to the tip
// of the branch with a fixed author and a time derived from the number of
// commits, so that the ids are the same in each run.
type CommitOptions struct {
	// Message is the message; zero: "commit <n>".
	Message string
	// Author and Committer; zero: a fixed name, and the author.
	Author, Committer Signature
	// When is the time of both; zero: derived.
	When time.Time
	// Signer signs the commit; nil: unsigned.
	Signer Signer
	// Parents replace the tip of the branch as parents; the first gives the
	// tree to start from. Nil: the tip. Empty and not nil: a root commit.
	Parents []Hash
	// Delete are paths to remove: files or directories.
	Delete []string
	// Nodes are entries other than plain files.
	Nodes map[string]Node
	// Replace makes Files and Nodes the whole tree.
	Replace bool
	// Headers are extra header lines, such as "encoding ISO-8859-1".
	Headers []string
}

// TagOptions configure [Repo.AnnotatedTag].
type TagOptions struct {
	// Message is the message; zero: the tag's name.
	Message string
	// Tagger; zero: a fixed name.
	Tagger Signature
	// When; zero: derived as for commits.
	When time.Time
	// Signer signs the tag; nil: unsigned.
	Signer Signer
	// Name in the tag object; zero: the reference's short name. Another one is
	// the sign of a moved tag.
	Name string
}

// Repo is a repository of a server. It is safe for concurrent use.
//
// Methods that change content report an error through the test, or, under
// [Run], through [Server.Err], and then return no hash.
type Repo struct {
	srv    *Server
	name   string
	format ObjectFormat
	store  *store
	disk   *disk // Exec backend

	mu    sync.Mutex
	refs  map[string]Hash
	head  string // what HEAD points at: a reference name or an id
	ticks int64
	opts  RepoOptions
	stats Stats
	lfs   map[string][]byte
}

// Name returns the repository's name.
func (r *Repo) Name() string { return r.name }

// URL returns the HTTP(S) URL of the repository.
func (r *Repo) URL() string { return r.srv.URL() + "/" + r.name }

// SSHURL returns the SSH URL; "" if the server has no SSH.
func (r *Repo) SSHURL() string {
	if r.srv.SSHURL() == "" {
		return ""
	}
	return r.srv.SSHURL() + "/" + r.name
}

// Format returns the object format.
func (r *Repo) Format() ObjectFormat { return r.format }

func branchRef(b string) string {
	if b == "" {
		b = "main"
	}
	if strings.HasPrefix(b, "refs/") {
		return b
	}
	return "refs/heads/" + b
}

func tagRef(t string) string {
	if strings.HasPrefix(t, "refs/") {
		return t
	}
	return "refs/tags/" + t
}

// Commit adds a commit to a branch ("" is main) and returns its id. The branch
// is created if there is none.
func (r *Repo) Commit(branch string, files Files, o CommitOptions) Hash {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pull()
	ref := branchRef(branch)
	parents := o.Parents
	if parents == nil && r.refs[ref] != "" {
		parents = []Hash{r.refs[ref]}
	}
	id, err := r.commit(parents, files, o)
	if err == nil {
		r.refs[ref] = id
		err = r.push()
	}
	if err != nil {
		r.srv.fail(fmt.Errorf("commit to %q of %q: %w", branch, r.name, err))
		return ""
	}
	return id
}

// CommitOnly makes a commit that no reference points at.
func (r *Repo) CommitOnly(files Files, o CommitOptions) Hash {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pull()
	id, err := r.commit(o.Parents, files, o)
	if err == nil {
		err = r.push()
	}
	if err != nil {
		r.srv.fail(fmt.Errorf("commit in %q: %w", r.name, err))
		return ""
	}
	return id
}

func (r *Repo) commit(parents []Hash, files Files, o CommitOptions) (Hash, error) {
	var base Hash
	if len(parents) > 0 && !o.Replace {
		c, err := r.store.commit(parents[0])
		if err != nil {
			return "", err
		}
		base = c.tree
	}
	change := map[string]*Node{}
	for _, p := range o.Delete {
		change[p] = nil
	}
	for p, c := range files {
		change[p] = &Node{Mode: modeFile, Content: c}
	}
	for p, n := range o.Nodes {
		change[p] = &n
	}
	tree, err := r.writeTree(base, change)
	if err != nil {
		return "", err
	}
	when := r.time(o.When)
	if o.Author == (Signature{}) {
		o.Author = defaultSignature()
	}
	if o.Committer == (Signature{}) {
		o.Committer = o.Author
	}
	if o.Message == "" {
		o.Message = fmt.Sprintf("commit %d", r.ticks)
	}
	if !strings.HasSuffix(o.Message, "\n") {
		o.Message += "\n"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "tree %s\n", tree)
	for _, p := range parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	fmt.Fprintf(&b, "author %s\ncommitter %s\n", ident(o.Author, when), ident(o.Committer, when))
	for _, h := range o.Headers {
		b.WriteString(h + "\n")
	}
	head := b.String()
	sig := ""
	if o.Signer != nil {
		s, err := o.Signer([]byte(head + "\n" + o.Message))
		if err != nil {
			return "", fmt.Errorf("sign: %w", err)
		}
		name := "gpgsig"
		if r.format == SHA256 {
			name = "gpgsig-sha256"
		}
		sig = name + " " + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n ") + "\n"
	}
	return r.store.put(CommitObject, []byte(head+sig+"\n"+o.Message)), nil
}

// time returns when, or the next minute of the repository's own clock.
func (r *Repo) time(when time.Time) time.Time {
	r.ticks++
	if when.IsZero() {
		return unixTime(epoch + 60*(r.ticks-1))
	}
	return when
}

func unixTime(s int64) time.Time { return time.Unix(s, 0).UTC() }

func ident(s Signature, when time.Time) string {
	return fmt.Sprintf("%s <%s> %d %s", s.Name, s.Email, when.Unix(), when.Format("-0700"))
}

var errBadPath = errors.New("invalid path")

// writeTree applies changes to a tree; a nil node removes a path.
func (r *Repo) writeTree(base Hash, change map[string]*Node) (Hash, error) {
	entries := map[string]treeEntry{}
	if base != "" {
		list, err := r.store.tree(base)
		if err != nil {
			return "", err
		}
		for _, e := range list {
			entries[e.name] = e
		}
	}
	sub := map[string]map[string]*Node{}
	for _, p := range slices.Sorted(maps.Keys(change)) {
		n := change[p]
		first, rest, deep := strings.Cut(p, "/")
		if first == "" || (deep && rest == "") || strings.ContainsRune(p, 0) {
			return "", fmt.Errorf("%q: %w", p, errBadPath)
		}
		switch {
		case deep:
			if sub[first] == nil {
				sub[first] = map[string]*Node{}
			}
			sub[first][rest] = n
		case n == nil:
			delete(entries, first)
		default:
			id := n.ID
			if id == "" {
				id = r.store.put(BlobObject, []byte(n.Content))
			}
			mode := n.Mode
			if mode == "" {
				mode = modeFile
			}
			entries[first] = treeEntry{mode: mode, name: first, id: id}
		}
	}
	for name, ch := range sub {
		var old Hash
		if e := entries[name]; e.mode == modeTree {
			old = e.id
		}
		id, err := r.writeTree(old, ch)
		if err != nil {
			return "", err
		}
		if id == r.store.id(TreeObject, nil) {
			delete(entries, name)
			continue
		}
		entries[name] = treeEntry{mode: modeTree, name: name, id: id}
	}
	return r.store.put(TreeObject, encodeTree(slices.Collect(maps.Values(entries)))), nil
}

// Tag points a lightweight tag at a revision: an id, branch or tag name.
func (r *Repo) Tag(name, rev string) Hash {
	return r.setRef("tag", tagRef(name), rev)
}

// Ref points any reference, such as "refs/pull/1/head", at a revision.
func (r *Repo) Ref(name, rev string) Hash {
	return r.setRef("reference", name, rev)
}

func (r *Repo) setRef(what, name, rev string) Hash {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pull()
	id, err := r.resolve(rev)
	if err == nil {
		r.refs[name] = id
		err = r.push()
	}
	if err != nil {
		r.srv.fail(fmt.Errorf("set %s %q of %q: %w", what, name, r.name, err))
		return ""
	}
	return id
}

// AnnotatedTag makes a tag object for a revision and returns the object's id.
func (r *Repo) AnnotatedTag(name, rev string, o TagOptions) Hash {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pull()
	id, err := r.annotatedTag(name, rev, o)
	if err == nil {
		r.refs[tagRef(name)] = id
		err = r.push()
	}
	if err != nil {
		r.srv.fail(fmt.Errorf("tag %q of %q: %w", name, r.name, err))
		return ""
	}
	return id
}

func (r *Repo) annotatedTag(name, rev string, o TagOptions) (Hash, error) {
	target, err := r.resolve(rev)
	if err != nil {
		return "", err
	}
	if o.Tagger == (Signature{}) {
		o.Tagger = defaultSignature()
	}
	if o.Name == "" {
		o.Name = strings.TrimPrefix(name, "refs/tags/")
	}
	if o.Message == "" {
		o.Message = o.Name
	}
	if !strings.HasSuffix(o.Message, "\n") {
		o.Message += "\n"
	}
	body := fmt.Sprintf("object %s\ntype %s\ntag %s\ntagger %s\n\n%s",
		target, r.store.raw(target).typ, o.Name, ident(o.Tagger, r.time(o.When)), o.Message)
	if o.Signer != nil {
		s, err := o.Signer([]byte(body))
		if err != nil {
			return "", fmt.Errorf("sign: %w", err)
		}
		body += s
	}
	return r.store.put(TagObject, []byte(body)), nil
}

// resolve accepts an id, a full reference name, a branch or a tag.
func (r *Repo) resolve(rev string) (Hash, error) {
	for _, ref := range []string{rev, "refs/heads/" + rev, "refs/tags/" + rev} {
		if id := r.refs[ref]; id != "" {
			return id, nil
		}
	}
	if rev == "HEAD" || rev == "" {
		if id := r.headID(); id != "" {
			return id, nil
		}
	}
	if len(rev) == 2*r.format.size() && r.store.raw(Hash(rev)) != nil {
		return Hash(rev), nil
	}
	return "", fmt.Errorf("revision %q: %w", rev, ErrNotFound)
}

func (r *Repo) headID() Hash {
	if strings.HasPrefix(r.head, "refs/") {
		return r.refs[r.head]
	}
	return Hash(r.head)
}

// DeleteRef removes a reference, given by its full name.
func (r *Repo) DeleteRef(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pull()
	delete(r.refs, name)
	if err := r.push(); err != nil {
		r.srv.fail(fmt.Errorf("delete reference %q of %q: %w", name, r.name, err))
	}
}

// SetHead points HEAD at a branch, or at a commit if given an id.
func (r *Repo) SetHead(branchOrID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pull()
	if len(branchOrID) == 2*r.format.size() && r.store.raw(Hash(branchOrID)) != nil {
		r.head = branchOrID
	} else {
		r.head = branchRef(branchOrID)
	}
	if err := r.push(); err != nil {
		r.srv.fail(fmt.Errorf("set HEAD of %q: %w", r.name, err))
	}
}
