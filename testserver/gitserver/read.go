// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"fmt"
	"maps"
	"path"
)

// Head returns the tip of a branch ("" is main); "" if there is none.
func (r *Repo) Head(branch string) Hash {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pull()
	return r.refs[branchRef(branch)]
}

// Refs returns all references with what they point at.
func (r *Repo) Refs() map[string]Hash {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pull()
	return maps.Clone(r.refs)
}

// Object returns the type and content of an object.
func (r *Repo) Object(id Hash) (Type, []byte, error) {
	return r.store.get(id)
}

// ReadFile returns a file of a revision.
func (r *Repo) ReadFile(rev, name string) (string, error) {
	files, err := r.ReadFiles(rev)
	if err != nil {
		return "", err
	}
	if c, ok := files[path.Clean(name)]; ok {
		return c, nil
	}
	return "", fmt.Errorf("file %q in %q: %w", name, rev, ErrNotFound)
}

// ReadFiles returns all files of a revision; links with their target as content.
func (r *Repo) ReadFiles(rev string) (Files, error) {
	r.mu.Lock()
	r.pull()
	id, err := r.resolve(rev)
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	c, err := r.store.commit(r.store.peel(id))
	if err != nil {
		return nil, err
	}
	out := Files{}
	return out, r.readTree(c.tree, "", out)
}

func (r *Repo) readTree(id Hash, prefix string, out Files) error {
	entries, err := r.store.tree(id)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch e.mode {
		case modeTree:
			err = r.readTree(e.id, prefix+e.name+"/", out)
		case modeGitlink:
		default:
			var data []byte
			_, data, err = r.store.get(e.id)
			out[prefix+e.name] = string(data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Parents returns the parents of a commit.
func (r *Repo) Parents(id Hash) ([]Hash, error) {
	c, err := r.store.commit(id)
	return c.parents, err
}
