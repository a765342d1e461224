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
	"path/filepath"
	"strings"
	"sync"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/untar/digest"
)

const (
	tempPrefix   = ".blob-"
	tempPattern  = tempPrefix + "*.tmp"
	defaultCache = 2 << 30
)

// cache holds blobs in a local directory, by digest. Files are complete and
// verified, or temporary.
type cache struct {
	dir string
	max int64

	mu      sync.Mutex
	blobs   map[string]*blob
	bytes   int64
	tick    uint64
	flights map[string]*flight
}

type blob struct {
	size int64
	tick uint64
}

type flight struct {
	done chan struct{}
	err  error
}

func newCache(dir string, limit int64) (*cache, error) {
	if limit <= 0 {
		limit = defaultCache
	}
	c := &cache{dir: dir, max: limit, blobs: map[string]*blob{}, flights: map[string]*flight{}}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		algorithm, sum, _ := strings.Cut(e.Name(), "-")
		id, err := digest.Parse(algorithm + ":" + sum)
		info, ierr := e.Info()
		if err != nil || ierr != nil || !info.Mode().IsRegular() {
			if strings.HasPrefix(e.Name(), tempPrefix) && strings.HasSuffix(e.Name(), ".tmp") {
				_ = os.Remove(filepath.Join(dir, e.Name()))
			}
			continue
		}
		c.enter(id.String(), info.Size())
	}
	return c, nil
}

func (c *cache) path(sum string) string {
	return filepath.Join(c.dir, strings.Replace(sum, ":", "-", 1))
}

// enter counts a blob and evicts the least recently used beyond the limit.
// Open ones stay readable.
func (c *cache) enter(sum string, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.blobs[sum]; ok {
		c.bytes -= old.size
	}
	c.tick++
	c.blobs[sum] = &blob{size: size, tick: c.tick}
	c.bytes += size
	for c.bytes > c.max && len(c.blobs) > 1 {
		oldest := ""
		for k, b := range c.blobs {
			if k != sum && (oldest == "" || b.tick < c.blobs[oldest].tick) {
				oldest = k
			}
		}
		c.bytes -= c.blobs[oldest].size
		delete(c.blobs, oldest)
		_ = os.Remove(c.path(oldest))
	}
}

// adopt makes a verified temporary file a blob.
func (c *cache) adopt(tmp, sum string, size int64) error {
	if err := os.Rename(tmp, c.path(sum)); err != nil {
		return err
	}
	c.enter(sum, size)
	return nil
}

// drop removes a blob, since its bytes are not what they were.
func (c *cache) drop(sum string) error {
	c.mu.Lock()
	if b, ok := c.blobs[sum]; ok {
		c.bytes -= b.size
		delete(c.blobs, sum)
	}
	c.mu.Unlock()
	if err := os.Remove(c.path(sum)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// file is an open blob.
type file struct {
	*os.File
	identity string
}

// Identity implements artifact.Identified.
func (f *file) Identity() string { return f.identity }

// OSFile gives the server the file itself, so that the kernel can send it.
func (f *file) OSFile() *os.File { return f.File }

// open opens a blob; one that is not here is pulled once, whoever asks.
func (c *cache) open(ctx context.Context, sum string, size int64, b BlobStore) (io.ReadSeekCloser, error) {
	for range tries {
		if f, err := c.local(sum, size); err == nil {
			return f, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err := c.pull(ctx, sum, size, b); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: evicted at once", artifact.ErrNotFound)
}

func (c *cache) local(sum string, size int64) (*file, error) {
	f, err := os.OpenFile(c.path(sum), os.O_RDONLY|noFollow, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != size) {
		_ = c.drop(sum)
		err = fs.ErrNotExist
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	c.mu.Lock()
	if known, ok := c.blobs[sum]; ok {
		c.tick++
		known.tick = c.tick
	}
	c.mu.Unlock()
	return &file{File: f, identity: identity(info)}, nil
}

// pull fetches a blob, single flight. A waiter whose ctx ends leaves; the
// transfer goes on for the others as long as its first caller lives.
func (c *cache) pull(ctx context.Context, sum string, size int64, b BlobStore) error {
	for {
		c.mu.Lock()
		fl, ok := c.flights[sum]
		if !ok {
			fl = &flight{done: make(chan struct{})}
			c.flights[sum] = fl
			c.mu.Unlock()
			fl.err = c.transfer(ctx, sum, size, b)
			c.mu.Lock()
			delete(c.flights, sum)
			c.mu.Unlock()
			close(fl.done)
			return fl.err
		}
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-fl.done:
		}
		if !errors.Is(fl.err, context.Canceled) && !errors.Is(fl.err, context.DeadlineExceeded) {
			return fl.err
		}
	}
}

// transfer stores a blob when length and digest are right.
func (c *cache) transfer(ctx context.Context, sum string, size int64, b BlobStore) error {
	want, err := digest.Parse(sum)
	if err != nil {
		return err
	}
	h, err := digest.New(want.Algorithm)
	if err != nil {
		return err
	}
	r, _, err := b.Pull(ctx, sum)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // read to its end or given up
	f, err := os.CreateTemp(c.dir, tempPattern)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(readerOf(ctx, r), size+1))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if got := digest.Sum(want.Algorithm, h); err == nil && (n != size || got != want) {
		err = fmt.Errorf("%w: %w", artifact.ErrCorrupt, &artifact.DigestError{Want: sum, Got: got.String(), Bytes: n})
	}
	if err == nil {
		err = c.adopt(f.Name(), sum, size)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// readerOf ends a reader with ctx.
func readerOf(ctx context.Context, r io.Reader) io.Reader { return &ctxReader{ctx, r} }

type ctxReader struct {
	ctx context.Context //nolint:containedctx // lives for one copy
	r   io.Reader
}

func (c *ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
