// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/gitops-kit/sdk/git/internal/netguard"
	"github.com/gitops-kit/sdk/git/internal/pktline"
	"github.com/gitops-kit/sdk/git/internal/redact"
)

// sshLink is one session of a pooled connection.
type sshLink struct {
	slot    *sshSlot
	conn    *sshConn
	session *ssh.Session
	in      io.WriteCloser
	pr      *pktline.Reader
	body    *patient
	errText *tail
	// identity is the principal of the connection.
	identity string
	// kept says that the connection was there before.
	kept bool

	out     *io.PipeReader
	feed    *io.PipeWriter
	exited  chan struct{} // closed when the command's end is known
	exit    error         // how it ended
	header  time.Duration // how long to wait for it
	aborted atomic.Bool
	stop    func() bool
	once    sync.Once
}

// openSSH starts the service in a new session.
func (c *Client) openSSH(ctx context.Context, service string, version int) (*sshLink, error) {
	return c.openSession(ctx, service+" "+quote(sshPath(c.url)), version)
}

// openCommand starts another command in a new session.
func (c *Client) openCommand(ctx context.Context, command string) (*sshLink, error) {
	return c.openSession(ctx, command, 0)
}

func (c *Client) openSession(ctx context.Context, command string, version int) (*sshLink, error) {
	cred, err := c.credential(ctx, false)
	if err != nil {
		return nil, err
	}
	host, port := hostPort(c.url)
	address := netguard.HostPort(host, port)
	cfg, err := c.sshConfig(cred, address)
	if err != nil {
		return nil, err
	}
	p, err := c.proxyFor(c.url)
	if err != nil {
		return nil, err
	}
	key := sshKey{address: address, user: cfg.User, identity: cred.identity(), hosts: c.hosts.digest, policy: fmt.Sprint(netguard.Origin(c.trusted), c.opts.Net.AllowCIDR, c.opts.Net.DenyCIDR, cfg.HostKeyAlgorithms)}
	if p != nil {
		key.proxy = p.String()
	}
	slot := c.pool.slot(key)
	for try := 1; ; try++ {
		conn, fresh, err := slot.acquire(ctx, func() (*ssh.Client, *meter, error) { return c.dialSSH(ctx, cfg, address) })
		if err != nil {
			return nil, err
		}
		l, err := c.startSession(ctx, slot, conn, command, version)
		if err == nil {
			l.identity, l.kept = key.identity, !fresh
			return l, nil
		}
		var full *noPlaceError
		if ctx.Err() != nil || !errors.As(err, &full) && (fresh || try > sshPerKey || !isLost(err)) || full != nil && full.alone && fresh {
			return nil, err
		}
		// There is another connection with a place, or will be; and a kept one
		// that fails before its first byte is replaced.
	}
}

// noPlaceError reports a server that opens no further session on a connection.
type noPlaceError struct {
	alone bool // there was no other session on it
	text  string
}

func (e *noPlaceError) Error() string { return "ssh: the server opens no session: " + e.text }
func (e *noPlaceError) Unwrap() error { return ErrRemote }

// startSession opens a session and starts the command in it. The connection is
// given back on failure, and dropped when it turns out to be dead.
func (c *Client) startSession(ctx context.Context, slot *sshSlot, conn *sshConn, command string, version int) (*sshLink, error) {
	type result struct {
		l   *sshLink
		err error
	}
	done := make(chan result, 1)
	heard := conn.heard.n.Load()
	go func() {
		l, err := newLink(conn.client, command, version)
		done <- result{l, err}
	}()
	t := time.NewTimer(c.http.Header)
	defer t.Stop()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, c.notStarted(slot, conn, r.err)
		}
		l := r.l
		l.slot, l.conn, l.header = slot, conn, c.http.Header
		l.body = c.newPatient(l.out, func() { l.abort(io.ErrClosedPipe) })
		l.pr = pktline.NewReader(l.body)
		l.stop = context.AfterFunc(ctx, func() { l.abort(context.Cause(ctx)) })
		return l, nil
	case <-t.C:
		if conn.heard.n.Load() == heard {
			slot.drop(conn)
		}
	case <-ctx.Done():
	}
	go func() { // ends with the answer, or with the connection
		if r := <-done; r.l != nil {
			r.l.discard()
		}
	}()
	slot.release(conn, true)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, &transportError{fmt.Errorf("ssh session: no answer within %s", c.http.Header)}
}

// notStarted finds out what a session that did not start means for its
// connection.
func (c *Client) notStarted(slot *sshSlot, conn *sshConn, err error) error {
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) {
		return &noPlaceError{slot.refused(conn), redact.Text(refused.Message, 256)}
	}
	alive := conn.alive(c.http.Header)
	if !alive {
		slot.drop(conn)
	}
	if !alive || errors.Is(err, io.EOF) { // or the session ended before its command began
		err = &transportError{err}
	}
	slot.release(conn, false)
	return err
}

// newLink talks to the server until the command runs.
func newLink(client *ssh.Client, command string, version int) (*sshLink, error) {
	s, err := client.NewSession()
	if err != nil {
		return nil, fmt.Errorf("ssh session: %w", err)
	}
	l := &sshLink{session: s, errText: &tail{}, exited: make(chan struct{})}
	s.Stderr = l.errText
	l.in, _ = s.StdinPipe()
	out, err := s.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("ssh session: %w", errors.Join(err, s.Close()))
	}
	if version > 0 {
		_ = s.Setenv("GIT_PROTOCOL", fmt.Sprintf("version=%d", version)) // a refusal decides nothing
	}
	if err := s.Start(command); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("ssh command: %w", err)
	}
	// What comes goes through a pipe, so that a reader can be told to stop
	// without the server's help.
	l.out, l.feed = io.Pipe()
	go func() {
		_, err := io.Copy(l.feed, out)
		_ = l.feed.CloseWithError(err)
	}()
	go func() {
		l.exit = s.Wait()
		close(l.exited)
	}()
	return l, nil
}

// abort ends the session from our side: who reads or writes gets the cause at
// once. The server is told, should it listen.
func (l *sshLink) abort(cause error) {
	l.aborted.Store(true)
	_ = l.feed.CloseWithError(cause)
	_ = l.session.Close()
}

// discard ends a session that nobody waits for.
func (l *sshLink) discard() {
	_ = l.out.Close()
	_ = l.session.Close()
}

// write sends what f writes. It returns when the context ends, though f may then
// still wait for the server; the connection's end ends it.
func (l *sshLink) write(ctx context.Context, f func(w io.WriteCloser) error) error {
	done := make(chan error, 1)
	go func() { done <- f(l.in) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		l.aborted.Store(true)
		return context.Cause(ctx)
	}
}

// failed explains an error with what the remote command left behind. A
// connection that is dead makes it a [*transportError].
func (l *sshLink) failed(err error) error {
	if err == nil || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) || l.aborted.Load() {
		return err
	}
	t := time.NewTimer(l.header)
	defer t.Stop()
	select {
	case <-l.exited:
	case <-t.C:
		return err
	}
	var exit *ssh.ExitError
	if errors.As(l.exit, &exit) {
		return &RemoteError{Text: redact.Text(strings.TrimSpace(l.errText.String()), 1024), Code: exit.ExitStatus()}
	}
	if l.exit != nil && !l.conn.alive(l.header) {
		l.slot.drop(l.conn)
		return &transportError{err}
	}
	return err
}

func (l *sshLink) close() {
	l.once.Do(func() {
		l.stop()
		l.body.stopTimer()
		_ = l.out.Close()
		broken := l.aborted.Load()
		if broken { // what is written may wait for a server that is no more
			go func() { _ = l.session.Close() }()
		} else {
			_ = l.in.Close()
			_ = l.session.Close()
		}
		l.slot.release(l.conn, broken)
	})
}

// tail keeps a bounded amount of text.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if room := 64<<10 - len(t.b); room > 0 {
		t.b = append(t.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
