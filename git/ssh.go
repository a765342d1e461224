// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/gitops-kit/sdk/git/internal/netguard"
	"github.com/gitops-kit/sdk/git/internal/pktline"
	"github.com/gitops-kit/sdk/git/internal/redact"
)

// SSHOptions configure ssh. The lists restrict; what they name must be among
// the algorithms that are considered safe.
type SSHOptions struct {
	// KnownHosts is the content of a known_hosts file. Required for ssh URLs.
	KnownHosts []byte
	// KeyExchanges restricts the key exchanges. Nil: all safe ones.
	KeyExchanges []string
	// HostKeyAlgorithms restricts the host key algorithms. Nil: those that
	// the matching lines of KnownHosts call for.
	HostKeyAlgorithms []string
	// Ciphers restricts the ciphers. Nil: all safe ones.
	Ciphers []string
	// MACs restricts the MACs. Nil: all safe ones.
	MACs []string
}

func (o SSHOptions) check() error {
	safe := ssh.SupportedAlgorithms()
	for _, l := range []struct {
		name      string
		got, safe []string
	}{
		{"key exchange", o.KeyExchanges, safe.KeyExchanges},
		{"host key algorithm", o.HostKeyAlgorithms, safe.HostKeys},
		{"cipher", o.Ciphers, safe.Ciphers},
		{"MAC", o.MACs, safe.MACs},
	} {
		for _, a := range l.got {
			if !slices.Contains(l.safe, a) {
				return fmt.Errorf("%w: %s %q; known: %s", ErrInvalidOption, l.name, redact.Text(a, 64), strings.Join(l.safe, ", "))
			}
		}
	}
	return nil
}

// signer parses a private key, before anything is dialled.
func signer(cred Credential) (ssh.Signer, error) {
	var s ssh.Signer
	key, pass := []byte(cred.SSHKey.Reveal()), []byte(cred.Passphrase.Reveal())
	raw, err := ssh.ParseRawPrivateKey(key)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		if len(pass) == 0 {
			return nil, fmt.Errorf("%w: the key is encrypted", ErrKeyPassphrase)
		}
		if raw, err = ssh.ParseRawPrivateKeyWithPassphrase(key, pass); err != nil {
			return nil, fmt.Errorf("%w: the passphrase does not open the key", ErrKeyPassphrase)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: ssh key cannot be parsed", ErrInvalidOption)
	}
	if k, ok := raw.(*rsa.PrivateKey); ok && (k.N.BitLen() < 2048 || k.N.BitLen() > 8192) {
		return nil, fmt.Errorf("%w: rsa key of %d bits; 2048 to 8192 are accepted", ErrInvalidOption, k.N.BitLen())
	}
	if s, err = ssh.NewSignerFromKey(raw); err != nil || s.PublicKey().Type() == ssh.InsecureKeyAlgoDSA { //nolint:staticcheck // named to be refused
		return nil, fmt.Errorf("%w: ssh key of an unsupported type", ErrInvalidOption)
	}
	return s, nil
}

// sshConfig builds the configuration of a connection.
func (c *Client) sshConfig(cred Credential, address string) (*ssh.ClientConfig, error) {
	cfg := &ssh.ClientConfig{User: first(cred.Username, "git"), ClientVersion: "SSH-2.0-gitops-kit"}
	cfg.KeyExchanges, cfg.Ciphers, cfg.MACs = c.opts.SSH.KeyExchanges, c.opts.SSH.Ciphers, c.opts.SSH.MACs
	known := c.hosts.algorithms(address)
	if len(known) == 0 {
		return nil, fmt.Errorf("%w: no line of known_hosts matches %q", ErrHostKeyUnknown, address)
	}
	cfg.HostKeyAlgorithms = known
	if allowed := c.opts.SSH.HostKeyAlgorithms; len(allowed) > 0 {
		cfg.HostKeyAlgorithms = slices.DeleteFunc(slices.Clone(known), func(a string) bool { return !slices.Contains(allowed, a) })
		if len(cfg.HostKeyAlgorithms) == 0 {
			return nil, fmt.Errorf("%w: known_hosts calls for %s, the options allow %s", ErrHostKeyUnknown,
				strings.Join(known, ", "), strings.Join(allowed, ", "))
		}
	}
	cfg.HostKeyCallback = c.hosts.verify
	switch {
	case !cred.SSHKey.IsZero():
		s, err := signer(cred)
		if err != nil {
			return nil, err
		}
		cfg.Auth = []ssh.AuthMethod{ssh.PublicKeys(s)}
	case !cred.Password.IsZero():
		cfg.Auth = []ssh.AuthMethod{ssh.Password(cred.Password.Reveal())}
	}
	return cfg, nil
}

// sshKey says which connections are the same.
type sshKey struct{ address, user, identity, hosts, proxy, policy string }

// sshSlot holds the connections of one key.
type sshSlot struct {
	mu    sync.Mutex
	conns []*sshConn
	dead  bool
}

type sshConn struct {
	client *ssh.Client
	stop   chan struct{}
	once   sync.Once
	users  int
	idle   *time.Timer
	used   bool // has carried a session before
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

func (s *sshSlot) close() error {
	s.mu.Lock()
	s.dead = true
	conns := s.conns
	s.conns = nil
	s.mu.Unlock()
	var errs []error
	for _, c := range conns {
		if c.idle != nil {
			c.idle.Stop()
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
		s = &sshSlot{dead: p.closed}
		if !p.closed {
			p.ssh[k] = s
		}
	}
	return s
}

// take returns the least used connection, or nil when a new one is due.
func (s *sshSlot) take() *sshConn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best *sshConn
	for _, c := range s.conns {
		if best == nil || c.users < best.users {
			best = c
		}
	}
	if best == nil || best.users > 0 && len(s.conns) < sshPerKey {
		return nil
	}
	best.users++
	best.used = true
	if best.idle != nil {
		best.idle.Stop()
	}
	return best
}

func (s *sshSlot) put(client *ssh.Client) *sshConn {
	c := &sshConn{client: client, stop: make(chan struct{}), users: 1}
	s.mu.Lock()
	if !s.dead && len(s.conns) < sshPerKey {
		s.conns = append(s.conns, c)
	}
	s.mu.Unlock()
	go c.keepAlive()
	go func() { // notices a server that goes away
		_ = client.Wait()
		s.drop(c)
	}()
	return c
}

func (c *sshConn) keepAlive() {
	t := time.NewTicker(sshKeepAlive)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-t.C:
			if _, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil); err != nil {
				_ = c.close()
				return
			}
		}
	}
}

func (s *sshSlot) drop(c *sshConn) {
	s.mu.Lock()
	s.conns = slices.DeleteFunc(s.conns, func(o *sshConn) bool { return o == c })
	s.mu.Unlock()
	_ = c.close()
}

// release gives a connection back.
func (s *sshSlot) release(c *sshConn) {
	s.mu.Lock()
	c.users--
	pooled := slices.Contains(s.conns, c)
	if pooled && c.users == 0 {
		if c.idle == nil {
			c.idle = time.AfterFunc(sshIdle, func() { s.expire(c) })
		} else {
			c.idle.Reset(sshIdle)
		}
	}
	last := !pooled && c.users == 0
	s.mu.Unlock()
	if last {
		_ = c.close()
	}
}

func (s *sshSlot) expire(c *sshConn) {
	s.mu.Lock()
	busy := c.users > 0
	s.mu.Unlock()
	if !busy {
		s.drop(c)
	}
}

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
	stop     func() bool
	once     sync.Once
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
	for {
		conn := slot.take()
		if conn == nil {
			if conn, err = c.dialSSH(ctx, slot, cfg, address); err != nil {
				return nil, err
			}
		}
		l, err := c.startSession(ctx, slot, conn, command, version)
		if err == nil {
			l.identity = key.identity
			return l, nil
		}
		slot.drop(conn)
		slot.release(conn)
		if !conn.used || ctx.Err() != nil {
			return nil, err
		}
		// A kept connection that fails before its first byte is replaced.
	}
}

func (c *Client) dialSSH(ctx context.Context, slot *sshSlot, cfg *ssh.ClientConfig, address string) (*sshConn, error) {
	conn, err := c.dialThrough(ctx, address)
	if err != nil {
		return nil, err
	}
	if wait := c.http.TLS; wait < 1<<62 {
		_ = conn.SetDeadline(time.Now().Add(wait))
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	mine, accepted := *cfg, false
	mine.HostKeyCallback = func(host string, remote net.Addr, key ssh.PublicKey) error {
		err := cfg.HostKeyCallback(host, remote, key)
		accepted = err == nil
		return err
	}
	sc, chans, reqs, err := ssh.NewClientConn(conn, address, &mine)
	if err != nil || !stop() {
		_ = conn.Close()
		return nil, sshError(ctx, err, accepted)
	}
	_ = conn.SetDeadline(time.Time{})
	return slot.put(ssh.NewClient(sc, chans, reqs)), nil
}

// sshError gives the handshake's failure a type. accepted says that the host
// key was; what fails after that, with the connection alive, is authentication.
func sshError(ctx context.Context, err error, accepted bool) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	for _, known := range []error{ErrHostKeyUnknown, ErrHostKeyMismatch, ErrHostKeyRevoked} {
		if errors.Is(err, known) {
			return err
		}
	}
	var no *ssh.AlgorithmNegotiationError
	var network net.Error
	switch {
	case errors.As(err, &no):
		return fmt.Errorf("%w: no common algorithm: ours %s, theirs %s", ErrHostKeyMismatch,
			strings.Join(no.RequestedAlgorithms, ", "), redact.Text(strings.Join(no.SupportedAlgorithms, ", "), 512))
	case accepted && !errors.As(err, &network) && !errors.Is(err, io.EOF):
		return fmt.Errorf("%w: %w", ErrAuth, err)
	}
	return fmt.Errorf("ssh handshake: %w", err)
}

func (c *Client) startSession(ctx context.Context, slot *sshSlot, conn *sshConn, command string, version int) (*sshLink, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.close() })
	s, err := conn.client.NewSession()
	if !stop() && err == nil {
		_ = s.Close()
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("ssh session: %w", err)
	}
	l := &sshLink{slot: slot, conn: conn, session: s, errText: &tail{}}
	s.Stderr = l.errText
	l.in, _ = s.StdinPipe()
	out, err := s.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("ssh session: %w", err)
	}
	if version > 0 {
		_ = s.Setenv("GIT_PROTOCOL", fmt.Sprintf("version=%d", version)) // a refusal decides nothing
	}
	if err := s.Start(command); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("ssh command: %w", err)
	}
	l.body = c.newPatient(io.NopCloser(out), func() { _ = s.Close() })
	l.pr = pktline.NewReader(l.body)
	l.stop = context.AfterFunc(ctx, func() { _ = s.Close() })
	return l, nil
}

// failed explains an error with what the remote command left behind.
func (l *sshLink) failed(err error) error {
	if err == nil || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	werr := l.session.Wait()
	var exit *ssh.ExitError
	if errors.As(werr, &exit) {
		return &RemoteError{Text: redact.Text(strings.TrimSpace(l.errText.String()), 1024), Code: exit.ExitStatus()}
	}
	return err
}

func (l *sshLink) close() {
	l.once.Do(func() {
		l.stop()
		_ = l.in.Close()
		l.body.stopTimer()
		_ = l.session.Close()
		l.slot.release(l.conn)
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
