// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"container/list"
	"sync"
	"time"
)

const (
	dedupKeys   = 10000
	repeatAfter = time.Hour
)

// dedup remembers what was emitted, least recently used first out.
type dedup struct {
	mu    sync.Mutex
	max   int
	order *list.List // of *seen, front is newest
	byKey map[seenKey]*list.Element
	epoch map[string]uint64 // per object: number of warnings, so that recovery is news
}

type seenKey struct {
	object string
	typ    Type
	reason string
}

type seen struct {
	key     seenKey
	message string
	epoch   uint64
	at      time.Time
}

func newDedup(size int) *dedup {
	return &dedup{max: size, order: list.New(), byKey: map[seenKey]*list.Element{}, epoch: map[string]uint64{}}
}

// fresh reports whether the event must be sent, and remembers it.
func (d *dedup) fresh(r *Record, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := seenKey{r.Key, r.Type, r.Payload.Reason}
	message := r.Payload.Message + "\x00" + token(r)
	if r.Type == Warning {
		d.epoch[r.Key]++
		if len(d.epoch) > d.max {
			clear(d.epoch)
		}
	}
	epoch := d.epoch[r.Key]
	if el, ok := d.byKey[key]; ok {
		s, _ := el.Value.(*seen)
		same := s.message == message
		if r.Type == Warning {
			same = same && now.Sub(s.at) < repeatAfter
		} else {
			same = same && s.epoch == epoch
		}
		d.order.MoveToFront(el)
		if same {
			return false
		}
		s.message, s.epoch, s.at = message, epoch, now
		return true
	}
	d.byKey[key] = d.order.PushFront(&seen{key: key, message: message, epoch: epoch, at: now})
	if d.order.Len() > d.max {
		last := d.order.Back()
		if s, ok := d.order.Remove(last).(*seen); ok {
			delete(d.byKey, s.key)
		}
	}
	return true
}

// token makes otherwise equal events distinct.
func token(r *Record) string {
	for k, v := range r.Payload.Metadata {
		if len(k) > 6 && k[len(k)-6:] == "/token" {
			return v
		}
	}
	return ""
}
