// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"errors"
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
// on 60 s of silence, in the pack on less than 1 KiB per window. Only time spent
// in Read counts: while we write a long request, or work on what has come, the
// server has nothing to say.
type patient struct {
	body   io.ReadCloser
	first  time.Duration // the window before the pack
	window time.Duration // the window in the pack
	abort  func()

	mu      sync.Mutex
	timer   *time.Timer // runs during a Read
	end     time.Time   // when it fires
	reading bool
	pack    bool
	left    time.Duration // of this window
	n       int64         // in this window
	total   int64
	stalled bool
	done    bool
}

func (c *Client) newPatient(body io.ReadCloser, abort func()) *patient {
	return newPatient(body, c.firstByte, c.http.Stall, abort)
}

func newPatient(body io.ReadCloser, first, window time.Duration, abort func()) *patient {
	return &patient{body: body, first: first, window: window, abort: abort, left: first}
}

// packBegins switches to the rule for packs.
func (p *patient) packBegins() { p.rule(true) }

// asked switches back: another command was sent.
func (p *patient) asked() { p.rule(false) }

func (p *patient) rule(pack bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pack = pack
	p.fresh()
}

// fresh begins another window.
func (p *patient) fresh() {
	p.n, p.left = 0, p.first
	if p.pack {
		p.left = p.window
	}
}

func (p *patient) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done {
		return
	}
	p.reading, p.end = true, time.Now().Add(p.left)
	if p.timer == nil {
		p.timer = time.AfterFunc(p.left, p.tick)
	} else {
		p.timer.Reset(p.left)
	}
}

func (p *patient) tick() {
	p.mu.Lock()
	if p.done || !p.reading || time.Now().Before(p.end) { // a later Read may have set the timer anew
		p.mu.Unlock()
		return
	}
	p.stalled = true
	p.mu.Unlock()
	p.abort()
}

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	p.begin()
	n, err := p.body.Read(b)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reading {
		p.reading = false
		p.timer.Stop()
		p.left = max(0, time.Until(p.end))
	}
	p.n += int64(n)
	p.total += int64(n)
	if p.n >= stallBytes || p.n > 0 && !p.pack {
		p.fresh()
	}
	if err != nil && p.stalled && !p.done {
		return n, fmt.Errorf("%w: %v", ErrStalled, err) //nolint:errorlint // the end that we made is no end of the stream
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = &transportError{err}
	}
	return n, err
}

func (p *patient) stopTimer() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
	if p.timer != nil {
		p.timer.Stop()
	}
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
