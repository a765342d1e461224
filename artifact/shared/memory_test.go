// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package shared_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/artifacttest"
	"github.com/gitops-kit/sdk/artifact/shared"
)

// memory is a registry in memory that counts what it is asked.
type memory struct {
	mu      sync.Mutex
	blobs   map[string][]byte
	indexes map[string][]byte
	version map[string]int
	pushes  int
	pulls   int
	gets    int
	asked   int
	before  func(op string) error
}

func newMemory() *memory {
	return &memory{blobs: map[string][]byte{}, indexes: map[string][]byte{}, version: map[string]int{}}
}

func (m *memory) hook(op string) error {
	m.mu.Lock()
	f := m.before
	m.mu.Unlock()
	if f != nil {
		return f(op)
	}
	return nil
}

func (m *memory) Push(ctx context.Context, digest string, size int64, r io.Reader) error {
	if err := m.hook("push"); err != nil {
		return err
	}
	b, err := io.ReadAll(r)
	if err != nil || int64(len(b)) != size {
		return fmt.Errorf("push: %d of %d bytes: %w", len(b), size, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pushes++
	m.blobs[digest] = b
	return ctx.Err()
}

func (m *memory) Pull(ctx context.Context, digest string) (io.ReadCloser, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pulls++
	b, ok := m.blobs[digest]
	if !ok {
		return nil, 0, artifact.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(b)), int64(len(b)), ctx.Err()
}

func (m *memory) Has(ctx context.Context, digest string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	_, ok := m.blobs[digest]
	return ok, ctx.Err()
}

func (m *memory) Delete(ctx context.Context, digest string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.blobs, digest)
	return ctx.Err()
}

func (m *memory) PutIndex(ctx context.Context, name, expect string, body []byte) error {
	if err := m.hook("put-index"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := ""
	if _, ok := m.indexes[name]; ok {
		now = fmt.Sprint(m.version[name])
	}
	if now != expect {
		return shared.ErrConflict
	}
	m.version[name]++
	if body == nil {
		delete(m.indexes, name)
	} else {
		m.indexes[name] = bytes.Clone(body)
	}
	return ctx.Err()
}

func (m *memory) GetIndex(ctx context.Context, name string) ([]byte, string, error) {
	m.mu.Lock()
	m.gets++
	b, ok := m.indexes[name]
	b, version := bytes.Clone(b), fmt.Sprint(m.version[name])
	m.mu.Unlock()
	if err := m.hook("got-index"); err != nil {
		return nil, "", err
	}
	if !ok {
		return nil, "", artifact.ErrNotFound
	}
	return b, version, ctx.Err()
}

func (m *memory) ListIndex(ctx context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for n := range m.indexes {
		out = append(out, n)
	}
	return out, ctx.Err()
}

func driver(t testing.TB, m *memory, o shared.Options) *shared.Driver {
	t.Helper()
	if o.Cache == "" {
		o.Cache = t.TempDir()
	}
	d, err := shared.New(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// ART-34
func TestConformance(t *testing.T) {
	artifacttest.Run(t, func(tb testing.TB) artifact.Driver { return driver(tb, newMemory(), shared.Options{Fresh: -1}) })
}
