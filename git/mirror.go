// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/fail"
	"github.com/gitops-kit/sdk/git/internal/packfile"
	"github.com/gitops-kit/sdk/git/packstore"
)

// MirrorOptions bound a [Mirror].
type MirrorOptions struct {
	// MaxBytes bounds the packs on disk. Zero: 4 GiB; negative: no bound.
	MaxBytes int64
	// MaxIdle is how long an unused repository stays. Zero: 24 h; negative: for ever.
	MaxIdle time.Duration
	// ListReuse shares a finished listing that long. Zero: only listings in
	// flight are shared.
	ListReuse time.Duration
	// MaxPacks is how many packs a repository may gather before they are made
	// one. Zero: 50.
	MaxPacks int
}

// Mirror keeps the objects of commits on disk, per repository and principal:
// two credentials never share an object. It is safe for concurrent use; one
// process owns the directory.
type Mirror struct {
	dir  string
	o    MirrorOptions
	lock *os.File

	mu    sync.Mutex
	repos map[string]*mirrorRepo
	lists map[string]*flight[*listing]
	roots []rootsID
	done  bool
}

// errMirrorDamaged marks objects of the mirror that are not what they were.
var errMirrorDamaged = errors.New("mirror is damaged")

// NewMirror opens a mirror directory and makes it when it is missing.
func NewMirror(dir string, o MirrorOptions) (*Mirror, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 4 << 30
	}
	if o.MaxIdle == 0 {
		o.MaxIdle = 24 * time.Hour
	}
	if o.MaxPacks <= 0 {
		o.MaxPacks = 50
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &Error{Op: "mirror", Err: err}
	}
	lock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, &Error{Op: "mirror", Err: err}
	}
	m := &Mirror{dir: dir, o: o, lock: lock, repos: map[string]*mirrorRepo{}, lists: map[string]*flight[*listing]{}}
	if err := m.scan(); err != nil {
		return nil, &Error{Op: "mirror", Err: errors.Join(err, lock.Close())}
	}
	return m, nil
}

// scan learns what is there from before.
func (m *Mirror) scan() error {
	es, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}
	for _, e := range es {
		path := filepath.Join(m.dir, e.Name())
		if b, err := hex.DecodeString(e.Name()); err != nil || len(b) != sha256.Size {
			if strings.HasSuffix(e.Name(), ".tmp") {
				if err := os.RemoveAll(path); err != nil {
					return err
				}
			}
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		m.repos[e.Name()] = &mirrorRepo{m: m, dir: path, used: info.ModTime(), size: diskUsage(path), flights: map[Hash]*flight[Hash]{}}
	}
	return nil
}

func diskUsage(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error { // an estimate: what vanishes does not count
		if err == nil && !d.IsDir() {
			if i, err := d.Info(); err == nil {
				n += i.Size()
			}
		}
		return nil
	})
	return n
}

// Close frees the directory. Objects stay for the next process. Operations
// that still run must have ended.
func (m *Mirror) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done {
		return nil
	}
	m.done = true
	var errs []error
	for _, r := range m.repos {
		if r.store != nil {
			errs = append(errs, r.store.Close())
		}
	}
	return errors.Join(append(errs, m.lock.Close())...)
}

// rootsID tells certificate pools apart that have the same subjects.
type rootsID struct {
	pool *x509.CertPool
	id   string
}

// rootsOf names a pool of roots. All that a pool tells about itself are the
// subjects and whether it equals another one, so a second pool with the
// subjects of a first gets a name that only this process knows.
func (m *Mirror) rootsOf(pool *x509.CertPool) string {
	h := sha256.New()
	for _, s := range pool.Subjects() { //nolint:staticcheck // see above
		_, _ = fmt.Fprintf(h, "%d:%s,", len(s), s)
	}
	id := hex.EncodeToString(h.Sum(nil))
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, r := range m.roots {
		if r.pool.Equal(pool) {
			return r.id
		}
		if strings.HasPrefix(r.id, id) {
			n++
		}
	}
	if n > 0 {
		id += rand.Text()
	}
	m.roots = append(m.roots, rootsID{pool.Clone(), id})
	return id
}

// mirrored returns the mirror for a principal. One that only a callback knows,
// a client certificate chosen at the handshake, has none: nothing would tell it
// from another one.
func (c *Client) mirrored(cred Credential) *Mirror {
	if c.tls != nil && c.tls.GetClientCertificate != nil && cred.Identity == "" {
		return nil
	}
	return c.opts.Mirror
}

// mirrorKey separates what must not be shared. Nothing of URL or secret can be
// read from it.
func (c *Client) mirrorKey(identity string) string {
	h := sha256.New()
	put := func(s string) { _, _ = fmt.Fprintf(h, "%d:%s,", len(s), s) }
	put(canonical(c.url))
	put(identity)
	if p, err := c.proxyFor(c.url); err == nil && p != nil {
		put(p.String())
	} else {
		put("")
	}
	if c.tls != nil {
		for _, cert := range c.tls.Certificates {
			for _, der := range cert.Certificate {
				put(string(der))
			}
		}
		if c.tls.RootCAs != nil {
			put(c.opts.Mirror.rootsOf(c.tls.RootCAs))
		}
		put(c.tls.ServerName)
	}
	if c.hosts != nil {
		put(c.hosts.digest)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// mirrorRepo is one repository as one principal sees it.
type mirrorRepo struct {
	m   *Mirror
	dir string

	mu      sync.Mutex // guards opening and commits
	store   mirrorStore
	format  driver.Format
	commits []Hash // complete at depth 1, oldest first
	proofs  map[proof]struct{}

	// Guarded by the mirror's mutex.
	users   int
	used    time.Time
	size    int64
	dropped bool
	flights map[Hash]*flight[Hash]
}

// mirrorStore is what packstore's stores can do.
type mirrorStore interface {
	driver.Store
	Stat(id driver.Hash) (driver.Type, int64, error)
	Stream(ctx context.Context, id driver.Hash) (driver.Type, int64, io.ReadCloser, error)
	Usage() (packs int, bytes int64)
	Receive(ctx context.Context, r io.Reader, lim packfile.Limits, thin bool) (driver.PackStats, error)
}

// acquire returns the repository of a key and keeps it from being evicted. It
// is nil while a damaged one is still in use: its files must not get a second
// owner that outlives them.
func (m *Mirror) acquire(key string) *mirrorRepo {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.repos[key]
	if r == nil {
		r = &mirrorRepo{m: m, dir: filepath.Join(m.dir, key), flights: map[Hash]*flight[Hash]{}}
		m.repos[key] = r
	}
	if r.dropped {
		return nil
	}
	r.users++
	r.used = time.Now()
	return r
}

// open opens the store; a repository of another format begins anew.
func (r *mirrorRepo) open(ctx context.Context, f driver.Format) (mirrorStore, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.store != nil && r.format == f {
		return r.store, nil
	}
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, err
	}
	s, err := packstore.New(packstore.Options{}).Open(ctx, r.dir, driver.OpenOptions{Format: f, MaxObject: -1, MaxDeltaDepth: -1})
	if err != nil {
		return nil, err
	}
	ms, ok := s.(mirrorStore)
	if !ok {
		return nil, errors.Join(ErrUnsupported, s.Close())
	}
	r.store, r.format, r.commits, r.proofs = ms, f, nil, nil
	b, err := os.ReadFile(filepath.Join(r.dir, "commits"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.FieldsSeq(string(b)) {
		if id, err := driver.ParseHash(line); err == nil && id.Format() == f {
			if t, _, err := ms.Stat(id); err == nil && t == driver.Commit {
				r.commits = append(r.commits, id)
			}
		}
	}
	r.proofs, err = readProofs(filepath.Join(r.dir, "proofs"))
	return ms, err
}

func (r *mirrorRepo) has(id Hash) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.commits {
		if c == id {
			return true
		}
	}
	return false
}

// newest lists the latest commits, for a server to send differences to.
func (r *mirrorRepo) newest(n int) []Hash {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := max(0, len(r.commits)-n)
	return append([]Hash(nil), r.commits[from:]...)
}

// add remembers a commit that is complete.
func (r *mirrorRepo) add(id Hash) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commits = append(r.commits, id)
	return appendLine(filepath.Join(r.dir, "commits"), id.String())
}

// appendLine adds a line to a file whose readers skip what is torn.
func appendLine(name, line string) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // a name this process made
	if err != nil {
		return err
	}
	_, err = f.WriteString(line + "\n")
	return errors.Join(err, f.Close())
}

// release lets go, and tidies up when nobody is left.
func (m *Mirror) release(r *mirrorRepo) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.users--
	r.used = time.Now()
	if r.users > 0 || m.done {
		return nil
	}
	if r.dropped {
		return m.remove(r)
	}
	if r.store != nil {
		packs, bytes := r.store.Usage()
		r.size = bytes
		if packs > m.o.MaxPacks {
			return m.remove(r)
		}
	}
	return m.evict()
}

// drop gives up a repository that is damaged. Nobody else gets it, and its
// files go with the last user.
func (m *Mirror) drop(r *mirrorRepo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.dropped = true
}

// evict removes what was idle too long, then the least recently used, down to
// nine tenths of the bound.
func (m *Mirror) evict() error {
	var total int64
	var errs []error
	for _, r := range m.repos {
		if r.users == 0 && m.o.MaxIdle > 0 && time.Since(r.used) > m.o.MaxIdle {
			errs = append(errs, m.remove(r))
			continue
		}
		total += r.size
	}
	if m.o.MaxBytes < 0 || total <= m.o.MaxBytes {
		return errors.Join(errs...)
	}
	for total > m.o.MaxBytes/10*9 {
		var oldest *mirrorRepo
		for _, r := range m.repos {
			if r.users == 0 && (oldest == nil || r.used.Before(oldest.used)) {
				oldest = r
			}
		}
		if oldest == nil {
			break
		}
		total -= oldest.size
		errs = append(errs, m.remove(oldest))
	}
	return errors.Join(errs...)
}

// remove deletes a repository that nobody uses. It is renamed first, so that a
// crash in between leaves nothing that looks whole.
func (m *Mirror) remove(r *mirrorRepo) error {
	for k, o := range m.repos {
		if o == r {
			delete(m.repos, k)
		}
	}
	var err error
	if r.store != nil {
		err = r.store.Close()
		r.store = nil
	}
	if _, serr := os.Stat(r.dir); errors.Is(serr, fs.ErrNotExist) {
		return err
	}
	tmp, terr := os.MkdirTemp(m.dir, "gone-*.tmp")
	if terr != nil {
		return errors.Join(err, terr)
	}
	fail.Point(fpMirrorRemove)
	rerr := os.Rename(r.dir, filepath.Join(tmp, "r"))
	fail.Point(fpMirrorRemoved)
	return errors.Join(err, rerr, os.RemoveAll(tmp))
}
