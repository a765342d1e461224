// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package shared

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/untar/digest"
)

// Keep implements [artifact.Keeper]: the registry is asked for the blob. One
// that it lost is sent again from the cache, and the index is written anew, so
// that the registry knows by whom it is needed.
func (d *Driver) Keep(ctx context.Context, key artifact.Key) (restored bool, err error) {
	if err := key.Validate(); err != nil {
		return false, err
	}
	name := indexName(key)
	r, ok := d.known(name)
	if !ok {
		if r, err = d.index(ctx, name); err != nil {
			return false, err
		}
	}
	e, ok := r.doc.find(key.File)
	if !ok {
		return false, artifact.ErrNotFound
	}
	has, err := d.name(ctx, e.Digest)
	defer d.unname(e.Digest)
	switch {
	case err != nil || has:
		return false, err
	case d.o.ReadOnly:
		return false, artifact.ErrReadOnly
	}
	f, err := d.c.verified(ctx, e.Digest, e.Size)
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	if err := d.b.Push(ctx, e.Digest, e.Size, f.File); err != nil {
		return false, err
	}
	err = d.change(ctx, name, func(doc *document) error {
		if now, ok := doc.find(key.File); !ok || now.Digest != e.Digest {
			return artifact.ErrNotFound // it was replaced meanwhile
		}
		return nil
	})
	return err == nil, err
}

// verified opens a blob that is here and hashes it.
func (c *cache) verified(ctx context.Context, sum string, size int64) (*file, error) {
	f, err := c.local(sum, size)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: no copy is left", artifact.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	want, err := digest.Parse(sum)
	if err == nil {
		var got string
		if got, err = hashOf(ctx, f.File, want.Algorithm); err == nil && got != sum {
			_ = c.drop(sum)
			err = fmt.Errorf("%w: the copy that is left has digest %s", artifact.ErrNotFound, got)
		}
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func hashOf(ctx context.Context, r io.Reader, algorithm string) (string, error) {
	h, err := digest.New(algorithm)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(h, readerOf(ctx, r)); err != nil {
		return "", err
	}
	return digest.Sum(algorithm, h).String(), nil
}

// spooled is content on its way to the registry.
type spooled struct {
	c      *cache
	file   *os.File
	digest string
	size   int64
	kept   bool
}

// spool writes r to a file of the cache.
func (c *cache) spool(ctx context.Context, r io.Reader) (*spooled, error) {
	f, err := os.CreateTemp(c.dir, tempPattern)
	if err != nil {
		return nil, err
	}
	s := &spooled{c: c, file: f}
	h, err := digest.New(digest.SHA256)
	if err == nil {
		s.size, err = io.Copy(io.MultiWriter(f, h), readerOf(ctx, r))
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		s.discard()
		return nil, err
	}
	s.digest = digest.Sum(digest.SHA256, h).String()
	if content, ok := r.(artifact.Content); ok {
		s.digest = content.Digest()
	}
	return s, nil
}

func (s *spooled) keep() { s.kept = s.c.adopt(s.file.Name(), s.digest, s.size) == nil }

func (s *spooled) discard() {
	_ = s.file.Close()
	if !s.kept {
		_ = os.Remove(s.file.Name())
	}
}
