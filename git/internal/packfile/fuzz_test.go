// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile_test

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/objhash"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

var small = packfile.Limits{Pack: 1 << 20, Inflated: 4 << 20, Object: 1 << 20, Objects: 1000, DeltaDepth: 50}

func packs() [][]byte {
	base := bytes.Repeat([]byte("0123456789abcdef"), 20)
	delta := gitserver.Delta(uint64(len(base)), uint64(len(base)+3), gitserver.DeltaCopy(0, len(base)), gitserver.DeltaInsert([]byte("end")))
	id, _ := objhash.Of(driver.SHA1, driver.Blob, base)
	build := func(f func(*gitserver.PackBuilder)) []byte {
		b := gitserver.BuildPack(gitserver.SHA1, f)
		return b[:len(b)-sha1.Size]
	}
	return [][]byte{
		build(func(*gitserver.PackBuilder) {}),
		build(func(b *gitserver.PackBuilder) {
			b.Object(gitserver.BlobObject, base)
			b.Object(gitserver.TreeObject, nil)
		}),
		build(func(b *gitserver.PackBuilder) { b.OfsDelta(b.Object(gitserver.BlobObject, base), delta) }),
		build(func(b *gitserver.PackBuilder) {
			b.RefDelta(gitserver.Hash(id.String()), delta)
			b.Object(gitserver.BlobObject, base)
		}),
		build(func(b *gitserver.PackBuilder) { b.RefDelta(gitserver.Hash(id.String()), delta) }),
		build(func(b *gitserver.PackBuilder) { b.Entry(3, 1<<40, nil, base) }),
		build(func(b *gitserver.PackBuilder) { b.Object(gitserver.BlobObject, base); b.Count(1 << 31) }),
	}
}

// sealed completes a pack, so that mutations get past its checksum.
func sealed(b []byte) []byte {
	sum := sha1.Sum(b)
	return append(bytes.Clone(b), sum[:]...)
}

// FuzzPack feeds any bytes with a right trailer to the reader of packs. What it
// accepts has objects that are what their ids say.
func FuzzPack(f *testing.F) {
	for _, s := range packs() {
		f.Add(s)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		raw := sealed(b)
		p, err := packfile.Receive(context.Background(), bytes.NewReader(raw), packfile.Options{Format: driver.SHA1, Limits: small, Dir: dir})
		if err != nil {
			var le interface{ Reason() string }
			if !errors.Is(err, driver.ErrMalformedPack) && !errors.Is(err, driver.ErrMalformedObject) && !errors.As(err, &le) {
				t.Fatalf("no type: %v", err)
			}
			return
		}
		defer func() { _ = p.Close() }()
		if p.Size() != int64(len(raw)) {
			t.Fatalf("size %d of %d", p.Size(), len(raw))
		}
		r := p.NewReader()
		for i := range p.Len() {
			body, err := r.Get(i)
			if err != nil {
				t.Fatalf("object %d: %v", i, err)
			}
			if id, err := objhash.Of(driver.SHA1, p.Type(i), body); err != nil || id != p.ID(i) {
				t.Fatalf("object %d is %s and not %s: %v", i, id, p.ID(i), err)
			}
			if int64(len(body)) != p.ObjectSize(i) {
				t.Fatalf("object %d has another size", i)
			}
			var w bytes.Buffer
			if err := r.WriteTo(i, &w); err != nil || !bytes.Equal(w.Bytes(), body) {
				t.Fatalf("object %d streams another content: %v", i, err)
			}
		}
		var idx bytes.Buffer
		if err := p.WriteIndex(&idx); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzDelta applies any instructions to any base.
func FuzzDelta(f *testing.F) {
	base := []byte("0123456789abcdef")
	f.Add(base, gitserver.Delta(16, 7, gitserver.DeltaCopy(3, 4), gitserver.DeltaInsert([]byte("xyz"))))
	f.Add(base, gitserver.Delta(16, 0))
	f.Add(base, []byte{16, 1, 0})
	f.Add([]byte{}, []byte{0, 0x80, 0x80, 4, 0x80})
	f.Fuzz(func(t *testing.T, base, delta []byte) {
		_, n := binary.Uvarint(delta)
		if n <= 0 {
			return
		}
		size, m := binary.Uvarint(delta[n:])
		if m <= 0 || size > 1<<20 {
			return // the caller judges the size first
		}
		out, err := packfile.Apply(base, delta)
		for _, file := range []string{"", filepath.Join(t.TempDir(), "base")} { // piece by piece: the same
			same, perr := packfile.Patch(base, delta, file)
			if (err == nil) != (perr == nil) || !bytes.Equal(out, same) || perr != nil && !errors.Is(perr, driver.ErrMalformedPack) {
				t.Fatalf("%d bytes, %v; piece by piece %d bytes, %v", len(out), err, len(same), perr)
			}
		}
		if err != nil {
			if !errors.Is(err, driver.ErrMalformedPack) {
				t.Fatalf("no type: %v", err)
			}
			return
		}
		if uint64(len(out)) != size {
			t.Fatalf("%d bytes, want %d", len(out), size)
		}
	})
}

// FuzzIndex opens a pack with any index, its checksum made right, and reads
// what that says to be there.
func FuzzIndex(f *testing.F) {
	dir := f.TempDir()
	packName := filepath.Join(dir, "p.pack")
	raw := sealed(packs()[2])
	if err := os.WriteFile(packName, raw, 0o600); err != nil {
		f.Fatal(err)
	}
	p, err := packfile.Receive(context.Background(), bytes.NewReader(raw), packfile.Options{Format: driver.SHA1, Limits: small, Dir: dir})
	if err != nil {
		f.Fatal(err)
	}
	var idx bytes.Buffer
	if err := p.WriteIndex(&idx); err != nil {
		f.Fatal(err)
	}
	ids := []driver.Hash{p.ID(0), p.ID(1)}
	if err := p.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(idx.Bytes()[:idx.Len()-sha1.Size])
	f.Add([]byte("\xfftOc\x00\x00\x00\x02"))
	f.Add(idx.Bytes()[:1100])
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "p.idx")
		if err := os.WriteFile(name, sealed(b), 0o600); err != nil {
			t.Fatal(err)
		}
		x, err := packfile.OpenIndexed(packName, name, driver.SHA1)
		if err != nil {
			if !errors.Is(err, packfile.ErrIndex) {
				t.Fatalf("no type: %v", err)
			}
			return
		}
		defer func() { _ = x.Close() }()
		lim := packfile.ReadLimits{Object: 1 << 20, DeltaDepth: 50}
		for i := range x.Len() {
			ids = append(ids[:2], x.ID(i))
			for _, id := range ids {
				if off, ok := x.Find(id); ok {
					_, _, _ = x.Stat(off, lim)
					_, _, _ = x.Read(off, lim)
				}
			}
		}
	})
}
