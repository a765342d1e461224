// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/tools/txtar"
)

// LoadTxtar commits the files of a txtar archive to a branch. The archive's
// comment becomes the message unless the options have one.
func (r *Repo) LoadTxtar(branch string, archive []byte, o CommitOptions) Hash {
	a := txtar.Parse(archive)
	files := Files{}
	for _, f := range a.Files {
		files[f.Name] = string(f.Data)
	}
	if c := strings.TrimSpace(string(a.Comment)); o.Message == "" && c != "" {
		o.Message = c
	}
	return r.Commit(branch, files, o)
}

// CopyDir commits the content of a directory to a branch: files with their
// executable bit, and symbolic links. A .git directory is left out.
func (r *Repo) CopyDir(branch, dir string, o CommitOptions) Hash {
	nodes := map[string]Node{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		if d.IsDir() {
			if d.Name() == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		n := Node{Mode: modeFile}
		if d.Type()&fs.ModeSymlink != 0 {
			n.Mode = modeLink
			n.Content, err = os.Readlink(p)
		} else {
			var data []byte
			data, err = os.ReadFile(p)
			n.Content = string(data)
			if i, e := d.Info(); e == nil && i.Mode()&0o100 != 0 {
				n.Mode = modeExec
			}
		}
		nodes[filepath.ToSlash(rel)] = n
		return err
	})
	if err != nil {
		r.srv.fail(fmt.Errorf("copy directory into %q: %w", r.name, err))
		return ""
	}
	maps.Copy(nodes, o.Nodes)
	o.Nodes = nodes
	return r.Commit(branch, nil, o)
}

// Submodule commits a submodule: its entry in .gitmodules and the link to a
// commit of the other repository.
func (r *Repo) Submodule(branch, path, url string, commit Hash, o CommitOptions) Hash {
	old := ""
	if r.Head(branch) != "" {
		old, _ = r.ReadFile(branchRef(branch), ".gitmodules")
	}
	if o.Nodes == nil {
		o.Nodes = map[string]Node{}
	}
	o.Nodes[path] = Node{Mode: modeGitlink, ID: commit}
	return r.Commit(branch, Files{".gitmodules": old + fmt.Sprintf("[submodule %q]\n\tpath = %s\n\turl = %s\n", path, path, url)}, o)
}

// GenOptions describe a generated history. The zero value is one commit with one file.
type GenOptions struct {
	// Branch receives the commits; zero: main.
	Branch string
	// Files is the number of files of the first commit; zero: 1.
	Files int
	// Commits is the number of commits; each after the first changes one file. Zero: 1.
	Commits int
	// Bytes is the total size of the first commit's files; zero: 64 a file.
	Bytes int64
	// MergeEvery makes every n-th commit a merge of a side branch of one
	// commit, which counts as well; zero: the history is a line.
	MergeEvery int
	// TagEvery points a tag, "gen-000000" and so on, at every n-th commit of
	// the branch; zero: no tags.
	TagEvery int
	// Seed varies the content; the content does not compress.
	Seed uint64
}

// Generate commits a history of the wanted size and returns its tip.
func (r *Repo) Generate(o GenOptions) Hash {
	o.Files, o.Commits = max(1, o.Files), max(1, o.Commits)
	size := int64(64)
	if o.Bytes > 0 {
		size = max(1, o.Bytes/int64(o.Files))
	}
	rng := rand.NewChaCha8([32]byte{byte(o.Seed), byte(o.Seed >> 8), byte(o.Seed >> 16), byte(o.Seed >> 24), byte(o.Seed >> 32)})
	name := func(i int) string { return fmt.Sprintf("dir-%03d/file-%06d.bin", i/100, i) }
	content := func() string {
		b := make([]byte, size)
		_, _ = rng.Read(b)
		return string(b)
	}
	nodes := make(map[string]Node, o.Files)
	for i := range o.Files {
		nodes[name(i)] = Node{Mode: modeFile, ID: r.store.put(BlobObject, []byte(content()))}
	}
	tip := r.Commit(o.Branch, nil, CommitOptions{Nodes: nodes})
	line := 0 // commits of the branch before tip
	tag := func() {
		if o.TagEvery > 0 && line%o.TagEvery == 0 {
			r.Tag(fmt.Sprintf("gen-%06d", line), string(tip))
		}
		line++
	}
	tag()
	for i := 1; i < o.Commits; i++ {
		change := Files{name(i % o.Files): content()}
		if o.MergeEvery > 0 && i%o.MergeEvery == 0 && i+1 < o.Commits {
			side := r.CommitOnly(change, CommitOptions{Parents: []Hash{tip}})
			i++ // what it merges is what the side branch changed
			tip = r.Commit(o.Branch, change, CommitOptions{Parents: []Hash{tip, side}})
		} else {
			tip = r.Commit(o.Branch, change, CommitOptions{})
		}
		tag()
	}
	return tip
}
