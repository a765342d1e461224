// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"os"

	"github.com/gitops-kit/sdk/artifact/internal/limits"
)

// admit enters an entry, evicting the least recently used without a lease.
// If that does not make room, the entry stays private.
func (c *Cache) admit(e *entry) (gone []*entry) {
	maxBytes, maxEntries := limits.Or(c.o.Bytes, 2<<30), limits.Or(c.o.Entries, 1000)
	free := c.bytes
	var out []*entry
	n := int64(len(c.entries))
	for free+e.bytes > maxBytes || n+1 > maxEntries {
		oldest := c.oldest(out)
		if oldest == nil {
			e.private = true
			return nil
		}
		out = append(out, oldest)
		free -= oldest.bytes
		n--
	}
	for _, o := range out {
		delete(c.entries, o.id)
		o.moveAside() // its place may be needed before it is removed
	}
	c.bytes = free + e.bytes
	c.tick++
	e.tick = c.tick
	c.entries[e.id] = e
	return out
}

func (c *Cache) oldest(except []*entry) *entry {
	var oldest *entry
next:
	for _, e := range c.entries {
		if e.leases > 0 || oldest != nil && e.tick > oldest.tick {
			continue
		}
		for _, x := range except {
			if x == e {
				continue next
			}
		}
		oldest = e
	}
	return oldest
}

// moveAside frees the entry's place; who reads the tree has it open.
func (e *entry) moveAside() {
	aside := e.dir + "." + randomName() + ".tmp"
	if os.Rename(e.dir, aside) == nil {
		e.dir = aside
	}
}
