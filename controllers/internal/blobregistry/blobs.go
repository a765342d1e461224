// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package blobregistry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/untar/digest"
)

// Registries name blobs by sha256. A blob of another algorithm is stored
// under its sha256; the layer that refers to it says for what.

// sum returns the sha256 of a digest, "" if it is not known.
func (r *Registry) sum(s string) (string, error) {
	d, err := digest.Parse(s)
	if err != nil {
		return "", err
	}
	if d.Algorithm == digest.SHA256 {
		return d.String(), nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.aliases[d.String()], nil
}

func (r *Registry) alias(s, sum string) {
	if s == sum {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.aliases) >= maxKnown {
		clear(r.aliases)
	}
	r.aliases[s] = sum
}

// Has implements [shared.BlobStore]: one HEAD.
func (r *Registry) Has(ctx context.Context, s string) (bool, error) {
	sum, err := r.sum(s)
	if err != nil || sum == "" {
		return false, err
	}
	err = r.finish(ctx, call{op: "look for blob", method: http.MethodHead, url: r.url("blobs", sum), actions: pull}, http.StatusOK)
	if errors.Is(err, artifact.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Delete implements [shared.BlobStore]. A registry that does not delete
// blobs keeps it until its own garbage collection: no manifest names it.
func (r *Registry) Delete(ctx context.Context, s string) error {
	sum, err := r.sum(s)
	if err != nil || sum == "" {
		return err
	}
	err = r.finish(ctx, call{op: "delete blob", method: http.MethodDelete, url: r.url("blobs", sum), actions: remove},
		http.StatusAccepted, http.StatusOK, http.StatusNoContent)
	if errors.Is(err, artifact.ErrNotFound) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// Push implements [shared.BlobStore]: a POST and a PUT for each attempt.
func (r *Registry) Push(ctx context.Context, s string, size int64, src io.Reader) error {
	const op = "push blob"
	if size > r.o.Limits.Blob {
		return failed(op, &artifact.LimitError{Name: "artifact", Max: r.o.Limits.Blob, Got: size})
	}
	d, err := digest.Parse(s)
	if err != nil {
		return failed(op, err)
	}
	at, start, release, err := seekable(src, size)
	if err != nil {
		return failed(op, err)
	}
	defer release()
	sum := d.String()
	if d.Algorithm != digest.SHA256 {
		if sum, err = sha256Of(io.NewSectionReader(at, start, size)); err != nil {
			return failed(op, err)
		}
		has, err := r.Has(ctx, sum)
		if err != nil {
			return err
		}
		if has {
			r.alias(d.String(), sum)
			return nil
		}
	}
	if err := r.upload(ctx, op, sum, size, func() io.Reader { return io.NewSectionReader(at, start, size) }); err != nil {
		return err
	}
	r.alias(d.String(), sum)
	return nil
}

func sha256Of(r io.Reader) (string, error) {
	h, err := digest.New(digest.SHA256)
	if err != nil {
		return "", err
	}
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return digest.Sum(digest.SHA256, h).String(), nil
}

// seekable gives access to size bytes of src for more than one attempt; what
// cannot be read twice is copied to a temporary file.
func seekable(src io.Reader, size int64) (at io.ReaderAt, start int64, release func(), err error) {
	if at, ok := src.(io.ReaderAt); ok {
		if s, ok := src.(io.Seeker); ok {
			if start, err := s.Seek(0, io.SeekCurrent); err == nil {
				return at, start, func() {}, nil
			}
		}
	}
	f, err := os.CreateTemp("", "blob-*")
	if err != nil {
		return nil, 0, nil, err
	}
	release = func() { _ = f.Close(); _ = os.Remove(f.Name()) }
	if _, err := io.Copy(f, io.LimitReader(src, size)); err != nil {
		release()
		return nil, 0, nil, err
	}
	return f, 0, release, nil
}

func (r *Registry) upload(ctx context.Context, op, sum string, size int64, body func() io.Reader) error {
	return r.retry(ctx, op, func() error {
		begin := call{op: op, method: http.MethodPost, url: r.url("blobs", "uploads", ""), actions: push}
		resp, err := r.expect(ctx, begin, http.StatusAccepted, http.StatusCreated)
		if err != nil {
			return err
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusCreated {
			return nil
		}
		to, err := begin.url.Parse(resp.Header.Get("Location"))
		if err == nil && resp.Header.Get("Location") == "" {
			err = fmt.Errorf("%w: no place to upload to", ErrNotRegistry)
		}
		if err != nil {
			return failed(op, err)
		}
		if _, err := r.o.HTTP.Redirect(begin.url, to, 0); err != nil {
			return failed(op, err)
		}
		q := to.Query()
		q.Set("digest", sum)
		to.RawQuery = q.Encode()
		end := call{op: op, method: http.MethodPut, url: to, actions: push, size: size, body: body, header: http.Header{"Content-Type": {"application/octet-stream"}}}
		if resp, err = r.expect(ctx, end, http.StatusCreated, http.StatusNoContent, http.StatusOK); err != nil {
			return err
		}
		return resp.Body.Close()
	})
}

// Pull implements [shared.BlobStore]: one GET, and one more from where it
// was cut for each cut. The caller verifies the digest.
func (r *Registry) Pull(ctx context.Context, s string) (io.ReadCloser, int64, error) {
	const op = "pull blob"
	sum, err := r.sum(s)
	if err != nil {
		return nil, 0, failed(op, err)
	}
	if sum == "" {
		return nil, 0, failed(op, artifact.ErrNotFound)
	}
	b := &blob{ctx: ctx, r: r, sum: sum}
	if err := r.retry(ctx, op, b.open); err != nil {
		return nil, 0, err
	}
	return b, b.size, nil
}

// blob reads a blob and goes on after a cut.
type blob struct {
	ctx   context.Context //nolint:containedctx // lives for one transfer
	r     *Registry
	sum   string
	body  io.ReadCloser
	size  int64 // -1: not known
	off   int64
	tries int
	err   error // to be dealt with by the next Read
}

func (b *blob) open() error {
	const op = "pull blob"
	c := call{op: op, method: http.MethodGet, url: b.r.url("blobs", b.sum), actions: pull, header: http.Header{}}
	if b.off > 0 {
		c.header.Set("Range", "bytes="+strconv.FormatInt(b.off, 10)+"-")
	}
	resp, err := b.r.expect(b.ctx, c, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return err
	}
	limit := b.r.o.Limits.Blob
	switch {
	case resp.StatusCode == http.StatusPartialContent:
		if b.off == 0 || !strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes "+strconv.FormatInt(b.off, 10)+"-") {
			err = fmt.Errorf("%w: another range than asked for", artifact.ErrCorrupt)
		}
	case resp.ContentLength > limit:
		err = &artifact.LimitError{Name: "artifact", Max: limit, Got: resp.ContentLength}
	case b.off > 0:
		_, err = io.CopyN(io.Discard, resp.Body, b.off)
	default:
		b.size = resp.ContentLength
	}
	if err != nil {
		_ = resp.Body.Close()
		return failed(op, err)
	}
	b.body = resp.Body
	return nil
}

func (b *blob) Read(p []byte) (int, error) {
	for {
		if b.err != nil {
			if err := b.resume(); err != nil {
				return 0, err
			}
		}
		n, err := b.body.Read(p)
		b.off += int64(n)
		if b.off > b.r.o.Limits.Blob {
			return 0, failed("pull blob", &artifact.LimitError{Name: "artifact", Max: b.r.o.Limits.Blob, Got: b.off})
		}
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, io.EOF) && (b.size < 0 || b.off >= b.size):
			return n, io.EOF
		case errors.Is(err, io.EOF):
			err = io.ErrUnexpectedEOF
		}
		b.err = err
		if n > 0 {
			return n, nil
		}
	}
}

// resume goes on where the transfer was cut.
func (b *blob) resume() error {
	const op = "pull blob"
	_ = b.body.Close()
	for {
		if err := b.ctx.Err(); err != nil {
			return failed(op, err)
		}
		b.tries++
		e := failed(op, b.err)
		e.Attempts = b.tries
		if b.size < 0 || b.tries >= b.r.o.HTTP.Attempts || !retryable(e) {
			return e
		}
		if err := b.r.pause(b.ctx, b.tries, e.after); err != nil {
			return failed(op, err)
		}
		if err := b.open(); err != nil {
			b.err = errors.Join(io.ErrUnexpectedEOF, err)
			if !retryable(err) {
				return failed(op, b.err)
			}
			continue
		}
		b.err = nil
		return nil
	}
}

func (b *blob) Close() error { return b.body.Close() }
