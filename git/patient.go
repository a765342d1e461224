// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// firstByteWait is how long a server may say nothing at all before the pack
// begins; every packet, also an empty one, starts it again.
const firstByteWait = 60 * time.Second

const stallBytes = 1 << 10

// patient reads from a server and gives up when it goes quiet: before the pack
// on 60 s of silence, in the pack on less than 1 KiB per window.
type patient struct {
	body   io.ReadCloser
	window time.Duration
	abort  func()

	mu      sync.Mutex
	timer   *time.Timer
	pack    bool
	n       int64 // in this window
	total   int64
	stalled bool
	done    bool
}

func newPatient(body io.ReadCloser, window time.Duration, abort func()) *patient {
	p := &patient{body: body, window: window, abort: abort}
	p.timer = time.AfterFunc(firstByteWait, p.tick)
	return p
}

// packBegins switches to the rule for packs.
func (p *patient) packBegins() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pack, p.n = true, 0
	if p.window < 1<<62 && !p.done {
		p.timer.Reset(p.window)
	} else {
		p.timer.Stop()
	}
}

func (p *patient) tick() {
	p.mu.Lock()
	if p.done {
		p.mu.Unlock()
		return
	}
	need := int64(1)
	next := firstByteWait
	if p.pack {
		need, next = stallBytes, p.window
	}
	if p.n >= need {
		p.n = 0
		p.timer.Reset(next)
		p.mu.Unlock()
		return
	}
	p.stalled = true
	p.mu.Unlock()
	p.abort()
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	n, err := p.body.Read(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n += int64(n)
	p.total += int64(n)
	if err != nil && p.stalled && !p.done {
		return n, fmt.Errorf("%w: %v", ErrStalled, err) //nolint:errorlint // the end that we made is no end of the stream
	}
	return n, err
}

func (p *patient) stopTimer() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
	p.timer.Stop()
}

func (p *patient) received() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// Close stops the clock and closes the body.
func (p *patient) Close() error {
	p.stopTimer()
	return p.body.Close()
}
