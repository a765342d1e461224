// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// ticker writes a line when the activity changes and then every 15 s.
type ticker struct {
	w     io.Writer
	start time.Time
	quit  chan struct{}
	done  chan struct{}

	mu   sync.Mutex
	text string
}

func newTicker(w io.Writer) *ticker {
	t := &ticker{w: w, start: time.Now(), quit: make(chan struct{}), done: make(chan struct{})}
	go t.run()
	return t
}

func (t *ticker) run() {
	defer close(t.done)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-t.quit:
			return
		case <-tick.C:
			t.mu.Lock()
			t.write()
			t.mu.Unlock()
		}
	}
}

func (t *ticker) write() {
	if t.text != "" {
		_, _ = fmt.Fprintf(t.w, "kube: %s (%.0f s)\n", t.text, time.Since(t.start).Seconds())
	}
}

// say changes the activity.
func (t *ticker) say(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.text != text {
		t.text = text
		t.write()
	}
}

func (t *ticker) stop() {
	close(t.quit)
	<-t.done
}
