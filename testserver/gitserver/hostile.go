// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// PutRaw stores any bytes as an object of a type and returns its id: malformed
// commits, trees and tags, which no other method makes.
func (r *Repo) PutRaw(t Type, data []byte) Hash {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := r.store.put(t, data)
	if err := r.push(); err != nil {
		r.srv.fail(fmt.Errorf("store object in %q: %w", r.name, err))
	}
	return id
}

// SetRawRef advertises a line for any name, valid or not, in every listing. It
// is no reference otherwise: it can be fetched by its id only.
func (r *Repo) SetRawRef(name string, id Hash) {
	r.Configure(func(o *RepoOptions) { o.RawRefs = append(o.RawRefs, RawRef{Name: name, ID: id}) })
}

// ServePack answers every fetch with what write writes, whatever was asked for;
// nil goes back to real packs.
func (r *Repo) ServePack(write func(io.Writer) error) {
	r.Configure(func(o *RepoOptions) { o.ServePack = write })
}

// Tree stores a tree object of entries and returns its id. Entries are written
// in the order given, unchecked.
func (r *Repo) Tree(entries ...TreeEntry) Hash {
	var b bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&b, "%s %s\x00", e.Mode, e.Name)
		b.Write(e.ID.raw())
	}
	return r.PutRaw(TreeObject, b.Bytes())
}

// TreeEntry is one entry of a raw tree.
type TreeEntry struct {
	Mode, Name string
	ID         Hash
}

// CommitTree stores a commit of a tree, without a reference.
func (r *Repo) CommitTree(tree Hash, parents ...Hash) Hash {
	var b strings.Builder
	fmt.Fprintf(&b, "tree %s\n", tree)
	for _, p := range parents {
		fmt.Fprintf(&b, "parent %s\n", p)
	}
	r.mu.Lock()
	when := r.time(time.Time{})
	r.mu.Unlock()
	who := ident(defaultSignature(), when)
	fmt.Fprintf(&b, "author %s\ncommitter %s\n\nhostile\n", who, who)
	return r.PutRaw(CommitObject, []byte(b.String()))
}

// Bomb commits a tree of levels × width entries that share their objects: a
// handful of objects that expand to width^levels files. It returns the commit,
// which no reference points at.
func (r *Repo) Bomb(levels, width int) Hash {
	id, mode := r.PutRaw(BlobObject, []byte("boom\n")), modeFile
	for range levels {
		entries := make([]TreeEntry, width)
		for i := range entries {
			entries[i] = TreeEntry{Mode: mode, Name: fmt.Sprintf("d%02d", i), ID: id}
		}
		id, mode = r.Tree(entries...), modeTree
	}
	return r.CommitTree(id)
}

// DeepTree commits a file below depth directories and returns the commit.
func (r *Repo) DeepTree(depth int) Hash {
	id, mode := r.PutRaw(BlobObject, []byte("deep\n")), modeFile
	for range depth {
		id, mode = r.Tree(TreeEntry{Mode: mode, Name: "d", ID: id}), modeTree
	}
	return r.CommitTree(id)
}

// TagChain makes n tags, each of the one before, the first of target, and
// returns the last.
func (r *Repo) TagChain(n int, target Hash) Hash {
	for i := range n {
		o := r.store.raw(target)
		if o == nil {
			r.srv.fail(fmt.Errorf("tag %q in %q: %w", target, r.name, ErrNotFound))
			return ""
		}
		target = r.PutRaw(TagObject, fmt.Appendf(nil, "object %s\ntype %s\ntag t%d\ntagger %s\n\nt\n",
			target, o.typ, i, ident(defaultSignature(), unixTime(epoch))))
	}
	return target
}

// PackOf returns the pack a full clone of a revision would get.
func (r *Repo) PackOf(rev string) ([]byte, error) {
	r.mu.Lock()
	r.pull()
	id, err := r.resolve(rev)
	r.mu.Unlock()
	if err != nil {
		return nil, err
	}
	sel := &selection{wants: []Hash{id}}
	objs, err := r.collect(r.store, sel, boundary{})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = writePack(&b, r.store, objs)
	return b.Bytes(), err
}

// PackBuilder writes packs entry by entry, right and wrong ones. Use
// [BuildPack]. It is not safe for concurrent use.
type PackBuilder struct {
	buf     bytes.Buffer
	count   uint32
	claimed *uint32
	trailer []byte
	format  ObjectFormat
}

// BuildPack returns the pack that f builds. Header and trailer are right unless
// f said otherwise.
func BuildPack(format ObjectFormat, f func(*PackBuilder)) []byte {
	b := &PackBuilder{format: format}
	b.buf.WriteString("PACK\x00\x00\x00\x02\x00\x00\x00\x00")
	f(b)
	out := b.buf.Bytes()
	n := b.count
	if b.claimed != nil {
		n = *b.claimed
	}
	binary.BigEndian.PutUint32(out[8:], n)
	sum := b.trailer
	if sum == nil {
		h := format.new()
		h.Write(out)
		sum = h.Sum(nil)
	}
	return append(out, sum...)
}

// Object adds a whole object and returns the offset of its entry.
func (b *PackBuilder) Object(t Type, data []byte) int64 {
	return b.Entry(int(t), int64(len(data)), nil, data)
}

// Entry adds an entry with any type number, declared size, bytes before the
// compressed data and data. It returns the entry's offset.
func (b *PackBuilder) Entry(typ int, size int64, prefix, data []byte) int64 {
	at := int64(b.buf.Len())
	b.count++
	b.buf.Write(entryHeader(typ, size))
	b.buf.Write(prefix)
	b.buf.Write(deflate(data))
	return at
}

// OfsDelta adds a delta against the entry at an offset.
func (b *PackBuilder) OfsDelta(base int64, delta []byte) int64 {
	return b.Entry(ofsDelta, int64(len(delta)), offset(int64(b.buf.Len())-base), delta)
}

// RefDelta adds a delta against an object by its id.
func (b *PackBuilder) RefDelta(base Hash, delta []byte) int64 {
	return b.Entry(refDelta, int64(len(delta)), base.raw(), delta)
}

// Raw adds bytes that are no entry.
func (b *PackBuilder) Raw(p []byte) { b.buf.Write(p) }

// Count sets the number of objects in the header; zero is a number, too.
func (b *PackBuilder) Count(n uint32) { b.claimed = &n }

// Trailer sets the checksum at the end.
func (b *PackBuilder) Trailer(sum []byte) { b.trailer = append([]byte{}, sum...) }

// Delta encodes instructions: a base size, a result size and what
// [DeltaCopy] and [DeltaInsert] make.
func Delta(base, result uint64, ops ...[]byte) []byte {
	out := binary.AppendUvarint(nil, base)
	out = binary.AppendUvarint(out, result)
	for _, op := range ops {
		out = append(out, op...)
	}
	return out
}

// DeltaCopy copies n bytes of the base from an offset.
func DeltaCopy(at, n int) []byte { return appendCopy(nil, at, n) }

// DeltaInsert inserts bytes.
func DeltaInsert(b []byte) []byte { return appendInsert(nil, b) }

// maxBomb is the size at which a delta bomb stops growing: copy instructions
// hold less than 16 MiB each, so that more would take a large pack.
const maxBomb = 1 << 40

// DeltaBomb returns a small pack that holds the commit, which must be in the
// repository, and a blob that expands to 4 KiB × 16^levels by copies of copies,
// at most to 1 TiB a level. No tree of the commit needs to be right: an honest
// reader gives up before.
func (r *Repo) DeltaBomb(commit Hash, levels int) []byte {
	return BuildPack(r.format, func(b *PackBuilder) {
		if t, data, err := r.store.get(commit); err == nil {
			b.Object(t, data)
			if c, err := r.store.commit(commit); err == nil {
				if _, tree, err := r.store.get(c.tree); err == nil {
					b.Object(TreeObject, tree)
				}
			}
		}
		size := 4096
		at := b.Object(BlobObject, make([]byte, size))
		for range levels {
			grown := min(size*16, maxBomb)
			at = b.OfsDelta(at, Delta(uint64(size), uint64(grown), multiply(size, grown)))
			size = grown
		}
	})
}

// multiply copies the beginning of a base of a size until the result is as
// large as wanted.
func multiply(size, want int) []byte {
	whole := DeltaCopy(0, min(size, maxCopy))
	n := min(size, maxCopy)
	return append(bytes.Repeat(whole, want/n), DeltaCopy(0, want%n)...)
}

// DeltaChain returns a pack with a commit of one file that is the end of a
// chain of n deltas, and the commit's id, which need not be in the repository
// but becomes an object of it, so that it can be asked for.
func (r *Repo) DeltaChain(n int) (Hash, []byte) {
	body := func(i int) []byte { return fmt.Appendf(nil, "%s%016d", strings.Repeat("x", 48), i) }
	blob := r.PutRaw(BlobObject, body(n))
	tree := r.Tree(TreeEntry{Mode: modeFile, Name: "f", ID: blob})
	commit := r.CommitTree(tree)
	return commit, BuildPack(r.format, func(b *PackBuilder) {
		for _, id := range []Hash{commit, tree} {
			if t, data, err := r.store.get(id); err == nil {
				b.Object(t, data)
			}
		}
		at := b.Object(BlobObject, body(0))
		for i := 1; i <= n; i++ {
			next := body(i)
			at = b.OfsDelta(at, Delta(64, 64, DeltaCopy(0, 48), DeltaInsert(next[48:])))
		}
	})
}

// HTMLPage is an [RepoOptions.Intercept] that answers every request with a page
// for people, status 200, as misconfigured proxies do.
func HTMLPage(w http.ResponseWriter, _ *http.Request) bool {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = io.WriteString(w, "<!DOCTYPE html><html><body><h1>Sign in</h1></body></html>\n")
	return true
}

// ParsePack checks a pack as a client would and returns its objects' ids. It is
// an oracle for tests that receive packs.
func ParsePack(format ObjectFormat, pack []byte) ([]Hash, error) {
	st := newStore(format, nil)
	if err := readPack(bufio.NewReader(bytes.NewReader(pack)), st); err != nil {
		return nil, err
	}
	return st.news, nil
}

// ParseHash reads a hexadecimal id of a format.
func ParseHash(format ObjectFormat, s string) (Hash, error) {
	raw, err := hex.DecodeString(s)
	if err != nil || len(raw) != format.size() || strings.ToLower(s) != s {
		return "", fmt.Errorf("id %q: %w", s, errMalformed)
	}
	return Hash(s), nil
}

// AddPack stores the objects of a pack, as a push would but with no reference.
func (r *Repo) AddPack(pack []byte) error {
	q := newStore(r.format, r.store)
	if err := readPack(bufio.NewReader(bytes.NewReader(pack)), q); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	q.merge()
	return r.push()
}
