// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
)

// sshStub is an ssh server that does with sessions what a test says. Each
// command is an advertisement of an empty repository, which ends when the test
// lets it.
type sshStub struct {
	conf  *ssh.ServerConfig
	key   string
	most  int                     // sessions of a connection; 0: any number, less: none
	open  func(conn, session int) // called before a session is opened, nil: nothing
	quiet atomic.Bool             // no answer to a keep-alive
	deaf  atomic.Int32            // sessions that end without an answer to their command

	conns, refused, alive atomic.Int32
	running               chan struct{} // one for each command that began
	end                   chan struct{} // ends one command each, all when closed
}

func newStub(t *testing.T) *sshStub {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	s := &sshStub{conf: &ssh.ServerConfig{NoClientAuth: true}, running: make(chan struct{}, 100), end: make(chan struct{})}
	s.conf.AddHostKey(signer)
	s.key = string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	return s
}

// listen serves on loopback and returns a client whose connections are pooled.
func (s *sshStub) listen(t *testing.T) *git.Client {
	t.Helper()
	return s.listenWith(t, git.HTTPLimits{})
}

func (s *sshStub) listenWith(t *testing.T, limits git.HTTPLimits) *git.Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { // after that of the client
		_ = l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { s.serve(c) })
		}
	})
	o := git.Options{TempDir: t.TempDir(), HTTP: limits}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	o.SSH.KnownHosts = []byte("[127.0.0.1]:" + port + " " + s.key)
	return client(t, "ssh://127.0.0.1:"+port+"/app", o)
}

func (s *sshStub) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	conn, chans, reqs, err := ssh.NewServerConn(c, s.conf)
	if err != nil {
		return
	}
	n := int(s.conns.Add(1))
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for r := range reqs {
			s.alive.Add(1)
			if !s.quiet.Load() {
				_ = r.Reply(false, nil)
			}
		}
	})
	var held atomic.Int32
	session := 0
	for ch := range chans {
		session++
		if s.open != nil {
			s.open(n, session)
		}
		if int(held.Load()) >= s.most && s.most != 0 {
			s.refused.Add(1)
			_ = ch.Reject(ssh.ResourceShortage, "no more sessions")
			continue
		}
		channel, requests, err := ch.Accept()
		if err != nil {
			continue
		}
		held.Add(1)
		wg.Go(func() { s.session(channel, requests, &held) })
	}
	_ = conn.Wait()
}

func (s *sshStub) session(ch ssh.Channel, reqs <-chan *ssh.Request, held *atomic.Int32) {
	gone := make(chan struct{})
	defer close(gone)
	for r := range reqs {
		if r.Type == "exec" && s.deaf.Add(-1) >= 0 {
			_ = ch.Close()
			continue
		}
		_ = r.Reply(true, nil)
		if r.Type != "exec" {
			continue
		}
		s.running <- struct{}{}
		go func() {
			select {
			case <-s.end:
			case <-gone:
			}
			held.Add(-1) // before the client can know
			_, _ = io.WriteString(ch, "0000")
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{0}))
			_ = ch.Close()
		}()
	}
}

// list starts a listing and returns where its error will be.
func list(ctx context.Context, c *git.Client) chan error {
	out := make(chan error, 1)
	go func() {
		_, err := c.List(ctx, git.ListOptions{})
		out <- err
	}()
	return out
}

const patience = 30 * time.Second

// GIT-16: a server that opens no further session on a connection loses nothing
// that runs there: another connection is taken, and with two the session waits.
func TestSSHSessionLimit(t *testing.T) {
	g := NewWithT(t)
	s := newStub(t)
	s.most = 1
	c := s.listen(t)
	var errs []chan error
	for range 2 {
		errs = append(errs, list(t.Context(), c))
		g.Eventually(s.running, patience).Should(Receive())
	}
	for range 3 {
		errs = append(errs, list(t.Context(), c))
	}
	g.Eventually(s.refused.Load, patience).Should(BeNumerically(">=", 2))
	for _, err := range errs[:2] {
		g.Expect(err).NotTo(Receive())
	}
	close(s.end)
	for _, err := range errs {
		g.Eventually(err, patience).Should(Receive(BeNil()))
	}
	g.Expect(s.conns.Load()).To(BeEquivalentTo(2))
}

// GIT-16: a server that opens no session at all is an error, not a reason to
// wait.
func TestSSHNoSession(t *testing.T) {
	g := NewWithT(t)
	s := newStub(t)
	s.most = -1
	c := s.listen(t)
	var err error
	g.Eventually(list(t.Context(), c), patience).Should(Receive(&err))
	g.Expect(errors.Is(err, git.ErrRemote)).To(BeTrue(), "%v", err)
	g.Expect(s.conns.Load()).To(BeEquivalentTo(1))
}

// GIT-16, GIT-17: a session that ends before its command began is tried again, as
// often as anything else.
func TestSSHNoAnswer(t *testing.T) {
	g := NewWithT(t)
	s := newStub(t)
	close(s.end)
	c := s.listen(t)
	s.deaf.Store(1)
	g.Eventually(list(t.Context(), c), patience).Should(Receive(BeNil()))
	s.deaf.Store(2) // on the connection that is there
	g.Eventually(list(t.Context(), c), patience).Should(Receive(BeNil()))
	s.deaf.Store(1 << 20)
	c2 := s.listenWith(t, git.HTTPLimits{Attempts: 2})
	g.Eventually(list(t.Context(), c2), patience).Should(Receive(HaveOccurred()))
	g.Expect(1<<20 - s.deaf.Load()).To(BeNumerically("<=", 2*3))
}

// GIT-16, GIT-18: whoever gives up waiting for a session ends nobody else's.
func TestSSHOneLeaves(t *testing.T) {
	g := NewWithT(t)
	s := newStub(t)
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	s.open = func(_, session int) {
		if session == 2 { // the first of each connection runs
			asked <- struct{}{}
			<-answer
		}
	}
	c := s.listen(t)
	var errs []chan error
	for range 2 {
		errs = append(errs, list(t.Context(), c))
		g.Eventually(s.running, patience).Should(Receive())
	}
	ctx, cancel := context.WithCancel(t.Context())
	third := list(ctx, c)
	g.Eventually(asked, patience).Should(Receive())
	cancel()
	var err error
	g.Eventually(third, patience).Should(Receive(&err))
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue(), "%v", err)
	close(answer)
	close(s.end)
	for _, err := range errs {
		g.Eventually(err, patience).Should(Receive(BeNil()))
	}
	g.Eventually(list(t.Context(), c), patience).Should(Receive(BeNil()))
	g.Expect(s.conns.Load()).To(BeEquivalentTo(2), "both connections live on")
}

// GIT-16: a connection that a network swallowed is given up after the time for
// a header, without a deadline of the caller's; the next operation works.
func TestSSHSilence(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	o := e.options(t, true)
	o.Conns = git.NewPool()
	defer func() { g.Expect(o.Conns.Close()).To(Succeed()) }()
	_, err := client(t, repo.SSHURL(), o).List(t.Context(), git.ListOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	e.srv.Blackhole()
	short := o // the same connections
	short.HTTP = git.HTTPLimits{Header: 100 * time.Millisecond, TLS: 100 * time.Millisecond, Attempts: 1}
	g.Eventually(list(t.Context(), client(t, repo.SSHURL(), short)), patience).Should(Receive(HaveOccurred()))
	e.srv.Resume()
	_, err = client(t, repo.SSHURL(), o).List(t.Context(), git.ListOptions{})
	g.Expect(err).NotTo(HaveOccurred())
}

// GIT-16: many at once share two connections.
func TestSSHConnectionsOfAKey(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	o := e.options(t, true)
	o.Conns = git.NewPool()
	defer func() { g.Expect(o.Conns.Close()).To(Succeed()) }()
	before := len(e.srv.Log())
	var errs []chan error
	for range 20 {
		errs = append(errs, list(t.Context(), client(t, repo.SSHURL(), o)))
	}
	for _, err := range errs {
		g.Eventually(err, patience).Should(Receive(BeNil()))
	}
	seen := map[int64]bool{}
	for _, r := range e.srv.Log()[before:] {
		seen[r.Conn] = true
	}
	g.Expect(len(seen)).To(BeNumerically("<=", 2))
}

// GIT-16: a kept connection that fails before the first byte is replaced, once
// and silently; a new one that fails is an error.
func TestSSHReplaced(t *testing.T) {
	g := NewWithT(t)
	e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": "1"}, gitserver.CommitOptions{})
	o := e.options(t, true)
	o.HTTP.Attempts = 1
	c := client(t, repo.SSHURL(), o)
	_, err := c.List(t.Context(), git.ListOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	reset := fault.Plan{Match: fault.Match{Route: "upload-pack"}, RST: true, Times: 1}
	e.srv.SetFaults(reset)
	before := len(e.srv.Log())
	_, err = c.List(t.Context(), git.ListOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(e.srv.Log()) - before).To(Equal(2))
	reset.Times = 2
	e.srv.SetFaults(reset)
	_, err = c.List(t.Context(), git.ListOptions{})
	g.Expect(err).To(HaveOccurred())
	g.Expect(len(e.srv.Log()) - before).To(Equal(4))
	e.srv.SetFaults()
	_, err = c.List(t.Context(), git.ListOptions{})
	g.Expect(err).NotTo(HaveOccurred())
}

// GIT-16: an idle connection stays for 60 s and is asked every 15 s whether it
// lives; one that does not answer ends. The clock is the test's.
func TestSSHIntervals(t *testing.T) {
	for name, f := range map[string]func(g Gomega, s *sshStub, acquire func() (bool, func())){
		"Idle": func(g Gomega, _ *sshStub, acquire func() (bool, func())) {
			fresh, release := acquire()
			g.Expect(fresh).To(BeTrue())
			release()
			pass(59 * time.Second)
			fresh, release = acquire()
			g.Expect(fresh).To(BeFalse())
			pass(time.Hour)
			release()
			pass(61 * time.Second)
			fresh, release = acquire()
			g.Expect(fresh).To(BeTrue())
			release()
		},
		"KeepAlive": func(g Gomega, s *sshStub, acquire func() (bool, func())) {
			_, release := acquire()
			defer release()
			pass(151 * time.Second)
			g.Expect(s.alive.Load()).To(BeEquivalentTo(10))
			_, second := acquire() // of another connection: the first is taken
			defer second()
			s.quiet.Store(true)
			pass(31 * time.Second)
			s.quiet.Store(false)
			fresh, third := acquire()
			defer third()
			g.Expect(fresh).To(BeTrue(), "those without an answer are gone")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStub(t)
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				slot := git.NewSSHSlot()
				var wg sync.WaitGroup
				defer wg.Wait()
				defer func() { _ = slot.Close() }()
				cfg := &ssh.ClientConfig{HostKeyCallback: ssh.InsecureIgnoreHostKey()} //nolint:gosec,forbidigo // both ends are the test's
				f(g, s, func() (bool, func()) {
					fresh, release, err := slot.Acquire(t.Context(), cfg, func() net.Conn {
						here, there := newPipe()
						wg.Go(func() { s.serve(there) })
						return here
					})
					g.Expect(err).NotTo(HaveOccurred())
					return fresh, release
				})
			})
		})
	}
}

// pipe is one direction of a connection in memory, with room for whatever is
// written.
type pipe struct {
	mu     sync.Mutex
	more   *sync.Cond
	b      []byte
	closed bool
}

// pipeConn is one end of such a connection.
type pipeConn struct {
	net.Conn
	in, out *pipe
}

func newPipe() (net.Conn, net.Conn) {
	a, b := &pipe{}, &pipe{}
	a.more, b.more = sync.NewCond(&a.mu), sync.NewCond(&b.mu)
	return &pipeConn{in: a, out: b}, &pipeConn{in: b, out: a}
}

func (c *pipeConn) Read(p []byte) (int, error) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	for len(c.in.b) == 0 && !c.in.closed {
		c.in.more.Wait()
	}
	if len(c.in.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.in.b)
	c.in.b = c.in.b[n:]
	return n, nil
}

func (c *pipeConn) Write(p []byte) (int, error) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.closed {
		return 0, net.ErrClosed
	}
	c.out.b = append(c.out.b, p...)
	c.out.more.Broadcast()
	return len(p), nil
}

func (c *pipeConn) Close() error {
	for _, p := range []*pipe{c.in, c.out} {
		p.mu.Lock()
		p.closed = true
		p.more.Broadcast()
		p.mu.Unlock()
	}
	return nil
}

func (c *pipeConn) RemoteAddr() net.Addr { return &net.TCPAddr{} }
func (c *pipeConn) LocalAddr() net.Addr  { return &net.TCPAddr{} }

// GIT-17 over ssh: what failed on the way is tried again, a refusal is not.
func TestSSHRetries(t *testing.T) {
	e := start(t, gitserver.Options{SSH: &gitserver.SSHOptions{}})
	repo := e.srv.Repo("app")
	repo.Commit("main", gitserver.Files{"a": strings.Repeat("1", 100)}, gitserver.CommitOptions{})
	match := fault.Match{Route: "upload-pack"}
	for name, tc := range map[string]struct {
		plan     fault.Plan
		sessions int
		want     bool
	}{
		"Reset":     {fault.Plan{Match: match, RST: true, Times: 2}, 3, true},
		"TooOften":  {fault.Plan{Match: match, RST: true}, 3, false},
		"InAdvert":  {fault.Plan{Match: match, CutAfter: 20, Times: 1}, 2, true},
		"InListing": {fault.Plan{Match: match, Drop: true, Times: 1}, 2, true},
		"Refused":   {fault.Plan{Match: match, Status: 500}, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			defer e.srv.SetFaults()
			e.srv.SetFaults(tc.plan)
			o := e.options(t, true)
			o.HTTP.Attempts = 3
			before := len(e.srv.Log())
			_, err := client(t, repo.SSHURL(), o).List(t.Context(), git.ListOptions{})
			g.Expect(err == nil).To(Equal(tc.want), "%v", err)
			g.Expect(len(e.srv.Log()) - before).To(Equal(tc.sessions))
		})
	}
}
