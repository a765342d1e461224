// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/artifact/internal/limits"
	"github.com/gitops-kit/sdk/artifact/internal/redact"
	"github.com/gitops-kit/sdk/untar"
	"github.com/gitops-kit/sdk/untar/digest"
)

// Ref names what to fetch.
type Ref struct {
	// URL is absolute, http or https.
	URL string
	// Digest is required, "<algorithm>:<hex>".
	Digest string
	// Revision is not used; it comes back in nothing but the caller's hands.
	Revision string
	// Size is the expected length in bytes. 0: unknown.
	Size int64
}

// Options control a [Fetcher]. The zero value has the defaults.
type Options struct {
	// HTTP bounds how long a server may take. Its Attempts are not used here.
	HTTP HTTPLimits
	// Net restricts addresses. The zero value allows the host of the URL
	// unless it is link-local, and for redirects public addresses only.
	Net NetPolicy
	// TLS is the client configuration. Nil: the system's roots.
	TLS *tls.Config
	// HostOverride replaces scheme and host of every URL: "host:port" or
	// "http://host:port". For development. Empty: none.
	HostOverride string
	// Retries is how often a failed attempt is repeated. Zero: 9; negative:
	// never.
	Retries int
	// RetryDelay is the first pause, doubled each time, with jitter. Zero:
	// 500 ms.
	RetryDelay time.Duration
	// RetryMax is the longest pause. Zero: 10 s.
	RetryMax time.Duration
	// MaxBytes bounds a download (tar-compressed); negative: unlimited. Zero:
	// 256 MiB if the size is not known before, else 2 GiB (artifact).
	MaxBytes int64
	// Tar bounds extraction. The zero value has the defaults.
	Tar untar.Limits
	// TempDir is where downloads are kept. Empty: beside the destination.
	TempDir string
}

// Fetcher downloads artifacts. It is safe for concurrent use.
type Fetcher struct {
	o        Options
	override *url.URL

	mu    sync.Mutex
	lanes map[string]*lane // by host and port of the references
	tick  uint64
}

// Result says what a call did. It is returned also with an error.
type Result struct {
	// Bytes is how many bytes of the file were received.
	Bytes int64
	// Attempts counts requests; Resumed those that went on where another was
	// cut.
	Attempts, Resumed int
	// Digest is the verified digest; empty if there is none.
	Digest string
	// Duration is the time the call took.
	Duration time.Duration
	// Report is that of the extraction; nil if none took place.
	Report *untar.Report
}

const (
	limitCompressed = "tar-compressed"
	limitArtifact   = "artifact"
	maxArtifact     = 2 << 30
)

// New returns a Fetcher. It does no I/O.
func New(o Options) (*Fetcher, error) {
	f := &Fetcher{o: o, lanes: map[string]*lane{}}
	if o.HostOverride != "" {
		s := o.HostOverride
		if !strings.Contains(s, "://") {
			s = "http://" + s
		}
		u, err := url.Parse(s)
		if err != nil || !validURL(u) {
			return nil, fmt.Errorf("fetch: host override: %w", ErrInvalidURL)
		}
		f.override = u
	}
	return f, nil
}

func validURL(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil
}

// Dir fetches an archive, verifies it, and extracts it into dir, which must
// be absent or empty and appears by one rename. Nothing is parsed before the
// digest matched.
func (f *Fetcher) Dir(ctx context.Context, r Ref, dir string) (*Result, error) {
	start := time.Now()
	res := &Result{}
	defer func() { res.Duration = time.Since(start) }()
	want, u, err := f.check(r)
	if err != nil {
		return res, err
	}
	tmpDir := f.o.TempDir
	if tmpDir == "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return res, f.fail(u, err)
		}
		tmpDir = filepath.Dir(abs)
	}
	tmp, err := privateFile(tmpDir)
	if err != nil {
		return res, f.fail(u, err)
	}
	defer tmp.close()
	if err := f.download(ctx, r, want, u, tmp.File, res); err != nil {
		return res, f.fail(u, err)
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return res, f.fail(u, err)
	}
	limits := f.o.Tar
	if limits.Compressed == 0 {
		limits.Compressed = max(res.Bytes, f.maxBytes()) // the download was bounded already
	}
	res.Report, err = untar.Extract(ctx, tmp.File, dir, untar.Options{Limits: limits})
	if err != nil {
		return res, f.fail(u, err)
	}
	return res, nil
}

// File fetches into an open, empty file and verifies it. On a failure the
// file is cut to nothing. The file offset is then at its end.
func (f *Fetcher) File(ctx context.Context, r Ref, w *os.File) (*Result, error) {
	start := time.Now()
	res := &Result{}
	defer func() { res.Duration = time.Since(start) }()
	want, u, err := f.check(r)
	if err != nil {
		return res, err
	}
	if err := f.download(ctx, r, want, u, w, res); err != nil {
		_ = w.Truncate(0)
		_, _ = w.Seek(0, io.SeekStart)
		return res, f.fail(u, err)
	}
	return res, nil
}

// check refuses a reference before any request.
func (f *Fetcher) check(r Ref) (digest.Digest, *url.URL, error) {
	u, err := url.Parse(r.URL)
	if err != nil || !validURL(u) {
		return digest.Digest{}, nil, &Error{URL: redact.URL(r.URL), Err: ErrInvalidURL}
	}
	if f.override != nil {
		u.Scheme, u.Host = f.override.Scheme, f.override.Host
	}
	want, err := digest.Parse(r.Digest)
	if err != nil {
		return want, u, f.fail(u, err)
	}
	if r.Size < 0 {
		return want, u, f.fail(u, ErrSizeMismatch)
	}
	name, most := limitCompressed, f.maxBytes()
	if f.o.MaxBytes == 0 {
		name, most = limitArtifact, maxArtifact
	}
	if r.Size > most {
		return want, u, f.fail(u, &LimitError{Name: name, Max: most, Got: r.Size})
	}
	return want, u, nil
}

// fail names the URL, without what may be secret in it.
func (f *Fetcher) fail(u *url.URL, err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return &Error{URL: redact.URL(u.String()), Err: err}
}

func (f *Fetcher) maxBytes() int64 { return limits.Or(f.o.MaxBytes, 256<<20) }

// tempFile is a file that has no name where the system allows that.
type tempFile struct {
	*os.File
	named bool
}

func privateFile(dir string) (*tempFile, error) {
	f, err := os.CreateTemp(dir, ".fetch-*.tmp")
	if err != nil {
		return nil, err
	}
	return &tempFile{File: f, named: os.Remove(f.Name()) != nil}, nil
}

func (t *tempFile) close() {
	_ = t.Close()
	if t.named {
		_ = os.Remove(t.Name())
	}
}
