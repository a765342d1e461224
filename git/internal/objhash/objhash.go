// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package objhash computes object ids: SHA-1 with collision detection, or
// SHA-256.
package objhash

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"strconv"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/pjbgf/sha1cd"
)

// Hasher computes one id at a time and is reused.
type Hasher struct {
	format driver.Format
	h      hash.Hash
	head   []byte
	sum    []byte
}

// New returns a Hasher for a format.
func New(f driver.Format) *Hasher {
	s := &Hasher{format: f, head: make([]byte, 0, 32), sum: make([]byte, 0, 32)}
	if f == driver.SHA256 {
		s.h = sha256.New()
	} else {
		s.h = sha1cd.New()
	}
	return s
}

// Start begins an object of a type and size.
func (s *Hasher) Start(t driver.Type, size int64) {
	s.h.Reset()
	if b := attack(t, size); s.format == driver.SHA1 && b != nil {
		_, _ = s.h.Write(b)
	}
	s.head = append(s.head[:0], t.String()...)
	s.head = append(s.head, ' ')
	s.head = strconv.AppendInt(s.head, size, 10)
	s.head = append(s.head, 0)
	_, _ = s.h.Write(s.head)
}

// Write implements io.Writer; it never fails.
func (s *Hasher) Write(p []byte) (int, error) { return s.h.Write(p) }

type collisionResistant interface {
	CollisionResistantSum([]byte) ([]byte, bool)
}

// Sum ends it. A detected SHA-1 collision is an error.
func (s *Hasher) Sum() (driver.Hash, error) {
	if c, ok := s.h.(collisionResistant); ok {
		sum, found := c.CollisionResistantSum(s.sum[:0])
		if found {
			return driver.Hash{}, fmt.Errorf("sha-1 collision attack detected: %w", driver.ErrMalformedObject)
		}
		return driver.NewHash(sum)
	}
	return driver.NewHash(s.h.Sum(s.sum[:0]))
}

// Of computes the id of a whole object.
func Of(f driver.Format, t driver.Type, body []byte) (driver.Hash, error) {
	h := New(f)
	h.Start(t, int64(len(body)))
	_, _ = h.Write(body)
	return h.Sum()
}
