// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// sshKey says which connections are the same.
type sshKey struct{ address, user, identity, hosts, proxy, policy string }

// sshSlot holds the connections of one key: sshPerKey at most, those that are
// being made included. A session that finds all of them taken to the last place
// waits for one.
type sshSlot struct {
	idle, keepAlive time.Duration

	mu       sync.Mutex
	conns    []*sshConn
	dialling int
	changed  chan struct{} // closed when there may be a place, or an error
	failures int           // attempts to connect that failed
	failed   error         // the last of them
	dead     bool
}

// sshConn is a connection that sessions share. Nothing that happens to one of
// them ends the connection, unless it is dead.
type sshConn struct {
	client *ssh.Client
	heard  *meter
	stop   chan struct{}
	once   sync.Once
	users  int
	expiry *time.Timer
	full   bool // the server refused one more session
}

func (c *sshConn) close() error {
	var err error
	c.once.Do(func() {
		close(c.stop)
		err = c.client.Close()
		if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
			err = nil
		}
	})
	return err
}

// alive asks for an answer of any kind. What arrives in the meantime counts too:
// an answer may be a long way behind a pack.
func (c *sshConn) alive(within time.Duration) bool {
	before := c.heard.n.Load()
	answer := make(chan error, 1)
	go func() {
		_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
		answer <- err
	}()
	t := time.NewTimer(within)
	defer t.Stop()
	select {
	case err := <-answer:
		return err == nil
	case <-c.stop:
		return false
	case <-t.C:
		return c.heard.n.Load() != before
	}
}

func (s *sshSlot) close() error {
	s.mu.Lock()
	s.dead = true
	conns := s.conns
	s.conns = nil
	s.wake()
	s.mu.Unlock()
	var errs []error
	for _, c := range conns {
		if c.expiry != nil {
			c.expiry.Stop()
		}
		errs = append(errs, c.close())
	}
	return errors.Join(errs...)
}

func (p *Pool) slot(k sshKey) *sshSlot {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, ok := p.ssh[k]
	if !ok {
		if len(p.ssh) >= maxTransports {
			p.sweep()
		}
		s = &sshSlot{idle: p.sshIdle, keepAlive: p.sshKeepAlive, dead: p.closed, changed: make(chan struct{})}
		if !p.closed {
			p.ssh[k] = s
		}
	}
	return s
}

// sweep forgets slots without a connection: secrets rotate, and each makes
// another. The caller holds the lock.
func (p *Pool) sweep() {
	for k, s := range p.ssh {
		s.mu.Lock()
		if len(s.conns)+s.dialling == 0 {
			s.dead = true // who has it at hand keeps nothing in it
			delete(p.ssh, k)
		}
		s.mu.Unlock()
	}
}

// wake tells those who wait to look again. The caller holds the lock.
func (s *sshSlot) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// fullWait is when a connection that had no place is tried again, should no
// session of ours have ended before: servers count those that others hold, too.
const fullWait = time.Second

// acquire returns a connection with a place for one more session. One that was
// made for this caller is fresh.
func (s *sshSlot) acquire(ctx context.Context, dial func() (*ssh.Client, *meter, error)) (conn *sshConn, fresh bool, err error) {
	s.mu.Lock()
	before := s.failures
	for {
		c, room := s.pick()
		if c != nil {
			s.mu.Unlock()
			return c, false, nil
		}
		if s.failures > before { // another caller tried in the meantime
			err := s.failed
			s.mu.Unlock()
			return nil, false, err
		}
		if room {
			s.dialling++
			s.mu.Unlock()
			return s.connect(ctx, dial)
		}
		changed := s.changed
		s.mu.Unlock()
		t := time.NewTimer(fullWait)
		select {
		case <-changed:
		case <-t.C:
		case <-ctx.Done():
		}
		more := t.Stop()
		if ctx.Err() != nil {
			return nil, false, context.Cause(ctx)
		}
		s.mu.Lock()
		if !more {
			s.emptied()
		}
	}
}

// pick takes a place on the least used connection, or says that there is room
// for another connection. The caller holds the lock.
func (s *sshSlot) pick() (best *sshConn, room bool) {
	for _, c := range s.conns {
		if !c.full && (best == nil || c.users < best.users) {
			best = c
		}
	}
	room = s.dead || len(s.conns)+s.dialling < sshPerKey
	if best == nil || best.users > 0 && room {
		return nil, room
	}
	return s.take(best), room
}

func (s *sshSlot) take(c *sshConn) *sshConn {
	c.users++
	if c.expiry != nil {
		c.expiry.Stop()
	}
	return c
}

// emptied forgets which connections had no place. The caller holds the lock.
func (s *sshSlot) emptied() {
	for _, c := range s.conns {
		c.full = false
	}
}

// connect makes a connection for the place that acquire kept.
func (s *sshSlot) connect(ctx context.Context, dial func() (*ssh.Client, *meter, error)) (*sshConn, bool, error) {
	client, heard, err := dial()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.wake()
	s.dialling--
	if err != nil {
		if ctx.Err() != nil {
			return nil, false, err
		}
		for _, c := range s.conns { // a second one was only to share the load
			if !c.full {
				return s.take(c), false, nil
			}
		}
		if !errors.Is(err, ErrAuth) { // another caller may have a newer secret
			s.failures, s.failed = s.failures+1, err
		}
		return nil, false, err
	}
	c := &sshConn{client: client, heard: heard, stop: make(chan struct{}), users: 1}
	if !s.dead {
		s.conns = append(s.conns, c)
	}
	go s.keep(c)
	go func() { // notices a server that goes away
		_ = client.Wait()
		s.drop(c)
	}()
	return c, true, nil
}

// keep drops a connection that stopped answering.
func (s *sshSlot) keep(c *sshConn) {
	t := time.NewTicker(s.keepAlive)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-t.C:
			if !c.alive(s.keepAlive) {
				s.drop(c)
				return
			}
		}
	}
}

// drop ends a connection, whoever uses it.
func (s *sshSlot) drop(c *sshConn) {
	s.mu.Lock()
	s.remove(c)
	s.mu.Unlock()
	_ = c.close()
}

// remove takes a connection out of the pool. The caller holds the lock.
func (s *sshSlot) remove(c *sshConn) {
	s.conns = slices.DeleteFunc(s.conns, func(o *sshConn) bool { return o == c })
	s.wake()
}

// release gives a place back. A connection whose last session broke is not
// kept.
func (s *sshSlot) release(c *sshConn, broken bool) {
	s.mu.Lock()
	c.users--
	c.full = false
	pooled := slices.Contains(s.conns, c)
	last := c.users == 0 && (broken || !pooled)
	switch {
	case last:
		s.remove(c)
	case c.users > 0:
	case c.expiry == nil:
		c.expiry = time.AfterFunc(s.idle, func() { s.expire(c) })
	default:
		c.expiry.Reset(s.idle)
	}
	s.wake()
	s.mu.Unlock()
	if last {
		_ = c.close()
	}
}

// refused gives the place back that the server did not have, and reports
// whether the connection had no session at all.
func (s *sshSlot) refused(c *sshConn) (alone bool) {
	s.mu.Lock()
	c.users--
	if alone = c.users == 0; alone {
		s.remove(c)
	}
	c.full = true
	s.mu.Unlock()
	if alone {
		_ = c.close()
	}
	return alone
}

func (s *sshSlot) expire(c *sshConn) {
	s.mu.Lock()
	busy := c.users > 0
	if !busy {
		s.remove(c)
	}
	s.mu.Unlock()
	if !busy {
		_ = c.close()
	}
}
