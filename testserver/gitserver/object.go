// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"sort"
	"strings"
	"sync"
)

// Hash is an object id in lower-case hexadecimal; "" is no object.
type Hash string

// String returns the hexadecimal form.
func (h Hash) String() string { return string(h) }

func (h Hash) raw() []byte {
	b, _ := hex.DecodeString(string(h))
	return b
}

// ObjectFormat is the hash function of a repository.
type ObjectFormat string

// The object formats.
const (
	SHA1   ObjectFormat = "sha1"
	SHA256 ObjectFormat = "sha256"
)

func (f ObjectFormat) new() hash.Hash {
	if f == SHA256 {
		return sha256.New()
	}
	return sha1.New()
}

func (f ObjectFormat) size() int {
	if f == SHA256 {
		return sha256.Size
	}
	return sha1.Size
}

func (f ObjectFormat) zero() Hash { return Hash(strings.Repeat("0", 2*f.size())) }

// Type is the type of an object.
type Type int

// The object types; the numbers are those of the pack format.
const (
	CommitObject Type = 1
	TreeObject   Type = 2
	BlobObject   Type = 3
	TagObject    Type = 4
)

// String returns the name of the type as objects have it in their header.
func (t Type) String() string {
	switch t {
	case CommitObject:
		return "commit"
	case TreeObject:
		return "tree"
	case BlobObject:
		return "blob"
	case TagObject:
		return "tag"
	}
	return fmt.Sprintf("type-%d", int(t))
}

// ErrNotFound reports an object, reference or path that does not exist.
var ErrNotFound = errors.New("not found")

var errMalformed = errors.New("malformed object")

// object is kept compressed, as a pack has it, so that serving it is a copy.
type object struct {
	typ  Type
	size int64
	z    []byte
}

// store holds the objects of a repository. A store with a parent is a
// quarantine: it reads through, and writes go to itself until merged.
type store struct {
	format ObjectFormat
	parent *store
	load   func(Hash) (Type, []byte, error) // where to look last; may be nil

	mu   sync.RWMutex
	objs map[Hash]*object
	news []Hash // in order of arrival
}

func newStore(f ObjectFormat, parent *store) *store {
	return &store{format: f, parent: parent, objs: map[Hash]*object{}}
}

func (s *store) id(t Type, data []byte) Hash {
	h := s.format.new()
	fmt.Fprintf(h, "%s %d\x00", t, len(data))
	h.Write(data)
	return Hash(hex.EncodeToString(h.Sum(nil)))
}

//nolint:gochecknoglobals // a pool
var zlibWriters = sync.Pool{New: func() any {
	w, _ := zlib.NewWriterLevel(nil, zlib.BestSpeed)
	return w
}}

func deflate(data []byte) []byte {
	var b bytes.Buffer
	w, _ := zlibWriters.Get().(*zlib.Writer)
	w.Reset(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	zlibWriters.Put(w)
	return b.Bytes()
}

func (s *store) put(t Type, data []byte) Hash {
	id := s.id(t, data)
	if s.raw(id) == nil {
		s.add(id, &object{typ: t, size: int64(len(data)), z: deflate(data)})
	}
	return id
}

func (s *store) add(id Hash, o *object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objs[id] == nil {
		s.objs[id] = o
		s.news = append(s.news, id)
	}
}

// raw returns the compressed object, nil if there is none.
func (s *store) raw(id Hash) *object {
	s.mu.RLock()
	o := s.objs[id]
	s.mu.RUnlock()
	if o == nil && s.parent != nil {
		o = s.parent.raw(id)
	}
	if o == nil && s.load != nil {
		if t, data, err := s.load(id); err == nil {
			o = &object{typ: t, size: int64(len(data)), z: deflate(data)}
			s.mu.Lock()
			s.objs[id] = o
			s.mu.Unlock()
		}
	}
	return o
}

func (s *store) get(id Hash) (Type, []byte, error) {
	o := s.raw(id)
	if o == nil {
		return 0, nil, fmt.Errorf("object %q: %w", id, ErrNotFound)
	}
	r, err := zlib.NewReader(bytes.NewReader(o.z))
	if err != nil {
		return 0, nil, fmt.Errorf("object %q: %w", id, err)
	}
	data := make([]byte, o.size)
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, nil, fmt.Errorf("object %q: %w", id, err)
	}
	return o.typ, data, nil
}

// merge moves the objects of a quarantine into its parent.
func (s *store) merge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range s.news {
		s.parent.add(id, s.objs[id])
	}
	s.objs, s.news = map[Hash]*object{}, nil
}

// commitLinks are the ids in the header of a commit.
type commitLinks struct {
	tree    Hash
	more    []Hash // trees after the first, in malformed commits
	parents []Hash
	when    int64
}

func (s *store) commit(id Hash) (commitLinks, error) {
	t, data, err := s.get(id)
	if err != nil {
		return commitLinks{}, err
	}
	if t != CommitObject {
		return commitLinks{}, fmt.Errorf("object %q is a %s: %w", id, t, errMalformed)
	}
	var c commitLinks
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			break
		}
		k, v, _ := strings.Cut(line, " ")
		switch k {
		case "tree":
			if c.tree != "" {
				c.more = append(c.more, Hash(v))
			} else {
				c.tree = Hash(v)
			}
		case "parent":
			c.parents = append(c.parents, Hash(v))
		case "committer":
			f := strings.Fields(v)
			if len(f) >= 2 {
				_, _ = fmt.Sscan(f[len(f)-2], &c.when)
			}
		}
	}
	return c, nil
}

// treeEntry is one line of a tree.
type treeEntry struct {
	mode string // octal without leading zero, as stored
	name string
	id   Hash
}

const (
	modeTree    = "40000"
	modeFile    = "100644"
	modeExec    = "100755"
	modeLink    = "120000"
	modeGitlink = "160000"
)

func (s *store) tree(id Hash) ([]treeEntry, error) {
	t, data, err := s.get(id)
	if err != nil {
		return nil, err
	}
	if t != TreeObject {
		return nil, fmt.Errorf("object %q is a %s: %w", id, t, errMalformed)
	}
	return parseTree(data, s.format.size())
}

func parseTree(data []byte, size int) ([]treeEntry, error) {
	var out []treeEntry
	for len(data) > 0 {
		sp := bytes.IndexByte(data, ' ')
		nul := bytes.IndexByte(data, 0)
		if sp < 0 || nul < sp || len(data) < nul+1+size {
			return out, fmt.Errorf("tree: %w", errMalformed)
		}
		out = append(out, treeEntry{
			mode: string(data[:sp]), name: string(data[sp+1 : nul]),
			id: Hash(hex.EncodeToString(data[nul+1 : nul+1+size])),
		})
		data = data[nul+1+size:]
	}
	return out, nil
}

func encodeTree(entries []treeEntry) []byte {
	key := func(e treeEntry) string {
		if e.mode == modeTree {
			return e.name + "/"
		}
		return e.name
	}
	sort.Slice(entries, func(i, j int) bool { return key(entries[i]) < key(entries[j]) })
	var b bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&b, "%s %s\x00", e.mode, e.name)
		b.Write(e.id.raw())
	}
	return b.Bytes()
}

// tagTarget returns the object a tag points at.
func (s *store) tagTarget(id Hash) (Hash, error) {
	t, data, err := s.get(id)
	if err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(string(data), "\n")
	target, ok := strings.CutPrefix(line, "object ")
	if t != TagObject || !ok {
		return "", fmt.Errorf("object %q is not a tag: %w", id, errMalformed)
	}
	return Hash(target), nil
}

// peel follows tags to what they point at in the end.
func (s *store) peel(id Hash) Hash {
	for range 100 {
		o := s.raw(id)
		if o == nil || o.typ != TagObject {
			return id
		}
		next, err := s.tagTarget(id)
		if err != nil {
			return id
		}
		id = next
	}
	return id
}
