// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"hash"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/untar/digest"
)

const (
	withheld  = 64 << 10  // sent only when the digest matched
	sendPiece = 256 << 10 // progress is looked at after each
)

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The connection may have the deadline of its last response still.
	(&progress{rc: http.NewResponseController(w), stall: s.o.WriteStall}).extend()
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		answer(w, http.StatusMethodNotAllowed, "method not allowed\n")
		return
	}
	if r.URL.Path == "/" {
		answer(w, http.StatusOK, "ok\n")
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/")
	k, err := artifact.ParseKey(path)
	if !ok || err != nil {
		answer(w, http.StatusNotFound, "not found\n")
		return
	}
	b, err := s.s.Lookup(r.Context(), k)
	switch {
	case errors.Is(err, artifact.ErrNotFound) || errors.Is(err, artifact.ErrCorrupt):
		answer(w, http.StatusNotFound, "not found\n")
		return
	case err != nil:
		h.Set("Retry-After", "1")
		answer(w, http.StatusServiceUnavailable, "storage is not available\n")
		return
	}
	defer b.Close() //nolint:errcheck // opened for reading
	describe(h, k, b)
	s.send(w, r, b)
}

func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text)
}

// describe sets the headers of a file. A name that is not the file's own is
// a link, and may stand for another file soon.
func describe(h http.Header, k artifact.Key, b *artifact.Blob) {
	switch {
	case strings.HasSuffix(k.File, ".tar.gz") || strings.HasSuffix(k.File, ".tgz"):
		h.Set("Content-Type", "application/gzip")
	case strings.HasSuffix(k.File, ".yaml"):
		h.Set("Content-Type", "application/x-yaml")
	default:
		h.Set("Content-Type", "application/octet-stream")
	}
	h.Set("ETag", `"`+b.Stat.Digest+`"`)
	if b.Stat.Key == k {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		h.Set("Cache-Control", "no-cache")
	}
}

// send delivers a file that is known to be intact, or one that is hashed on
// the way.
func (s *Server) send(w http.ResponseWriter, r *http.Request, b *artifact.Blob) {
	ranges := r.Header.Get("Range")
	if strings.Contains(ranges, ",") {
		r.Header.Del("Range") // several ranges: the whole
		ranges = ""
	}
	if r.Method == http.MethodGet && !b.Verified() {
		if ranges == "" && !conditional(r) {
			s.verifyWhileSending(w, r, b)
			return
		}
		if err := b.Verify(r.Context()); err != nil {
			reset(w)
			return
		}
	}
	var content io.ReadSeeker = b
	if f, ok := b.ReadSeekCloser.(interface{ OSFile() *os.File }); ok {
		content = f.OSFile() // the kernel sends it
	}
	out := &progress{ResponseWriter: w, rc: http.NewResponseController(w), stall: s.o.WriteStall}
	http.ServeContent(out, r, "", b.Stat.Written, content)
}

func conditional(r *http.Request) bool {
	for _, h := range []string{"If-None-Match", "If-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"} {
		if r.Header.Get(h) != "" {
			return true
		}
	}
	return false
}

// verifyWhileSending hashes what it sends and keeps the end back until the
// digest matched, so that a corrupt file is never delivered completely.
func (s *Server) verifyWhileSending(w http.ResponseWriter, r *http.Request, b *artifact.Blob) {
	want, err := digest.Parse(b.Stat.Digest)
	var sum hash.Hash
	if err == nil {
		sum, err = digest.New(want.Algorithm)
	}
	if err != nil {
		reset(w)
		return
	}
	h := w.Header()
	h.Set("Accept-Ranges", "bytes")
	h.Set("Last-Modified", b.Stat.Written.UTC().Format(http.TimeFormat))
	h.Set("Content-Length", itoa(b.Stat.Size))
	out := &progress{ResponseWriter: w, rc: http.NewResponseController(w), stall: s.o.WriteStall}
	tail := make([]byte, 0, 2*withheld)
	buf := make([]byte, withheld)
	for {
		n, rerr := io.ReadFull(b, buf)
		_, _ = sum.Write(buf[:n])
		if over := len(tail) + n - withheld; over > 0 {
			k := min(over, len(tail))
			if _, err := out.Write(tail[:k]); err != nil {
				return
			}
			tail = append(tail[:0], tail[k:]...)
		}
		tail = append(tail, buf[:n]...)
		if errors.Is(rerr, io.EOF) || errors.Is(rerr, io.ErrUnexpectedEOF) {
			break
		}
		if rerr != nil {
			reset(w)
			return
		}
		if r.Context().Err() != nil {
			return
		}
	}
	if got := digest.Sum(want.Algorithm, sum); got != want {
		_ = b.Corrupt(r.Context(), got.String())
		reset(w)
		return
	}
	b.Confirm()
	_, _ = out.Write(tail)
}

func itoa(n int64) string {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}

// reset breaks the connection, so that no reader takes what it got for a
// complete answer.
func reset(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		// Not a connection of its own: a length that is never reached.
		w.Header().Set("Content-Length", "1")
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if t, ok := c.(interface{ SetLinger(int) error }); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

// progress gives each piece of a response its own deadline.
type progress struct {
	http.ResponseWriter
	rc    *http.ResponseController
	stall time.Duration
}

func (p *progress) extend() {
	if p.stall > 0 {
		_ = p.rc.SetWriteDeadline(time.Now().Add(p.stall))
	}
}

// Write implements io.Writer.
func (p *progress) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		p.extend()
		var k int
		k, err = p.ResponseWriter.Write(b[:min(len(b), sendPiece)])
		n += k
		b = b[k:]
	}
	return n, err
}

// ReadFrom implements io.ReaderFrom; pieces of files go from the kernel's
// cache to the connection.
func (p *progress) ReadFrom(r io.Reader) (total int64, err error) {
	rf, ok := p.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{p}, r)
	}
	l, limited := r.(*io.LimitedReader)
	if !limited {
		l = &io.LimitedReader{R: r, N: 1<<63 - 1}
	}
	for l.N > 0 {
		p.extend()
		piece := &io.LimitedReader{R: l.R, N: min(l.N, sendPiece)}
		want := piece.N
		n, err := rf.ReadFrom(piece)
		total += n
		l.N -= n
		if err != nil || n < want {
			return total, err
		}
	}
	return total, nil
}
