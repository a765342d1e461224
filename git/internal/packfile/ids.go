// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package packfile

import (
	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/objhash"
)

// ids computes the ids of objects that the parser inflates, on another core.
// Batches go round: the parser fills one while others are hashed.
type ids struct {
	p    *Pack
	cur  *batch
	jobs chan *batch
	done chan *batch
	made int
	out  int // batches on their way
}

// batch is some objects, and room for the bytes of those that nobody keeps.
type batch struct {
	slab  []byte
	items []unnamed
	err   error
}

// unnamed is an object without its id.
type unnamed struct {
	at   int // its entry
	typ  driver.Type
	data []byte
	id   driver.Hash
}

const (
	batches   = 3
	slabSize  = 2 * smallObject
	batchSize = 512
)

func newIDs(p *Pack) *ids {
	s := &ids{p: p, cur: &batch{}, jobs: make(chan *batch, batches), done: make(chan *batch, batches), made: 1}
	go s.hash()
	return s
}

// hash ends when stop was called; done has room for all batches there are.
func (s *ids) hash() {
	h := objhash.New(s.p.format)
	for b := range s.jobs {
		for i := range b.items {
			o := &b.items[i]
			h.Start(o.typ, int64(len(o.data)))
			_, _ = h.Write(o.data)
			if o.id, b.err = h.Sum(); b.err != nil {
				break
			}
		}
		s.done <- b
	}
}

// room returns an empty slice with a capacity of size, at most smallObject,
// for the next object. It is valid until add was called some time ago.
func (s *ids) room(size int64) ([]byte, error) {
	if len(s.cur.items) >= batchSize || int64(cap(s.cur.slab)-len(s.cur.slab)) < size && len(s.cur.items) > 0 {
		if err := s.pass(); err != nil {
			return nil, err
		}
	}
	if int64(cap(s.cur.slab)-len(s.cur.slab)) < size {
		s.cur.slab = make([]byte, 0, slabSize)
	}
	n := len(s.cur.slab)
	return s.cur.slab[n : n : n+int(size)], nil
}

// add hands over an object. inSlab says that its bytes are in what room returned.
func (s *ids) add(at int, typ driver.Type, data []byte, inSlab bool) {
	if inSlab {
		s.cur.slab = s.cur.slab[:len(s.cur.slab)+len(data)]
	}
	s.cur.items = append(s.cur.items, unnamed{at: at, typ: typ, data: data})
}

// pass sends the current batch off and takes one that is empty.
func (s *ids) pass() error {
	s.jobs <- s.cur
	s.out++
	if s.made < batches {
		s.made++
		s.cur = &batch{}
		return nil
	}
	b, err := s.take()
	s.cur = b
	return err
}

// take waits for a batch and enters its ids.
func (s *ids) take() (*batch, error) {
	b := <-s.done
	s.out--
	if b.err != nil {
		return b, b.err
	}
	for _, o := range b.items {
		s.p.setID(o.at, o.id)
	}
	clear(b.items)
	b.slab, b.items = b.slab[:0], b.items[:0]
	return b, nil
}

// finish enters all ids.
func (s *ids) finish() error {
	s.jobs <- s.cur
	s.out++
	for s.out > 0 {
		if _, err := s.take(); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the goroutine.
func (s *ids) stop() { close(s.jobs) }
