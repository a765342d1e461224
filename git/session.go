// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/netguard"
	"github.com/gitops-kit/sdk/git/internal/pktline"
	"github.com/gitops-kit/sdk/git/internal/wire"
)

const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
)

// session is one conversation with a service.
type session struct {
	c        *Client
	service  string
	web      *webLink // one of the two
	ssh      *sshLink
	version  int
	caps     wire.Caps
	format   driver.Format
	adv      *wire.Advertisement // nil while the server's memory is trusted
	requests int
	received int64
	believed bool          // caps come from memory
	shallow  []driver.Hash // boundary of the last fetch
}

// open begins a conversation. Where memory says how the server speaks, nothing
// is sent yet. keep filters the references of versions 0 and 1.
func (c *Client) open(ctx context.Context, service string, keep wire.Filter) (*session, error) {
	return c.openWith(ctx, service, keep, true)
}

func (c *Client) openWith(ctx context.Context, service string, keep wire.Filter, believe bool) (*session, error) {
	s := &session{c: c, service: service}
	if c.url.Scheme == "ssh" {
		return s, s.discover(ctx, keep)
	}
	var err error
	if s.web, err = c.openWeb(ctx); err != nil {
		return nil, err
	}
	if m, ok := c.pool.recall(c.memoryKeys()); ok && believe && service == uploadPack && (m.version == 2 || keep == nil) {
		s.version, s.caps, s.format, s.believed = m.version, m.caps, m.format, true
		return s, nil
	}
	return s, s.discover(ctx, keep)
}

// memoryKeys are the keys of the host and of the repository in the pool.
func (c *Client) memoryKeys() (host, repo serverKey) {
	k := serverKey{tls: c.opts.TLS}
	if p, err := c.proxyFor(c.url); err == nil && p != nil {
		k.proxy = p.String()
	}
	host, repo = k, k
	host.url, repo.url = netguard.Origin(c.url), canonical(c.url)
	return host, repo
}

func nothing([]byte) bool { return false }

// discover reads the advertisement.
func (s *session) discover(ctx context.Context, keep wire.Filter) error {
	return s.c.repeat(ctx, func(int) error { return s.discoverOnce(ctx, keep) })
}

func (s *session) discoverOnce(ctx context.Context, keep wire.Filter) error {
	start := time.Now()
	if keep == nil {
		keep = nothing
	}
	before := s.received
	var err error
	if s.c.url.Scheme == "ssh" {
		err = s.discoverSSH(ctx, keep)
	} else {
		err = s.discoverWeb(ctx, keep)
	}
	e := Event{Kind: "advertise", Bytes: s.received - before, Duration: time.Since(start), Err: err}
	if err == nil {
		s.version, s.caps, s.format, s.believed = s.adv.Version, s.adv.Caps, s.adv.Format, false
		e.Protocol = s.protocol()
		if s.service == uploadPack && !s.foreign() {
			host, repo := s.c.memoryKeys()
			s.c.pool.remember(host, repo, serverMemory{s.version, s.caps, s.format})
		}
	}
	s.c.observe(e)
	return err
}

func (s *session) foreign() bool { return s.web != nil && s.web.base != s.c.url }

func (s *session) discoverSSH(ctx context.Context, keep wire.Filter) error {
	version := 2
	if s.service == receivePack {
		version = 0
	}
	for {
		s.close()
		l, err := s.c.openSSH(ctx, s.service, version)
		if err != nil {
			return err
		}
		s.ssh = l
		s.requests++
		s.adv, err = wire.ReadAdvertisement(l.pr, "", keep, s.c.opts.Limits.wire())
		s.received += l.body.received()
		if err == nil {
			return nil
		}
		err = l.failed(err)
		l.close()
		if !l.kept || l.body.received() > 0 || !isLost(err) || ctx.Err() != nil {
			return err
		}
		// A kept connection that fails before its first byte is replaced.
	}
}

func (s *session) discoverWeb(ctx context.Context, keep wire.Filter) error {
	s.requests++
	r := request{
		method: http.MethodGet, suffix: "info/refs", query: "service=" + s.service,
		accept: "application/x-" + s.service + "-advertisement", follow: true,
	}
	if s.service == uploadPack {
		r.proto = "version=2"
	}
	resp, err := s.web.do(ctx, r)
	if err != nil {
		return err
	}
	body := s.c.newPatient(resp.Body, func() { _ = resp.Body.Close() })
	defer func() { _ = body.Close() }()
	s.adv, err = wire.ReadAdvertisement(pktline.NewReader(body), s.service, keep, s.c.opts.Limits.wire())
	if err == nil {
		_, err = io.CopyN(io.Discard, body, 1) // sees the end, so that the connection stays usable
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	s.received += body.received()
	return err
}

// identity is the principal that the server accepted.
func (s *session) identity() string {
	if s.web != nil {
		return s.web.cred.identity()
	}
	return s.ssh.identity
}

// protocol names transport and version.
func (s *session) protocol() string { return fmt.Sprintf("%s/%d", s.c.url.Scheme, s.version) }

// reply is the stream that answers a command.
type reply struct {
	pr    *pktline.Reader
	body  *patient
	owned bool
}

func (r *reply) close() {
	if r.owned {
		_ = r.body.Close()
	}
}

// command sends one request of the protocol.
func (s *session) command(ctx context.Context, body []byte) (*reply, error) {
	return s.send(ctx, body, nil, 0)
}

// send sends a request whose body goes on with a stream.
func (s *session) send(ctx context.Context, body []byte, stream io.ReadSeeker, length int64) (*reply, error) {
	if s.ssh != nil {
		err := s.ssh.write(ctx, func(w io.WriteCloser) error {
			_, err := w.Write(body)
			if err == nil && stream != nil {
				_, err = io.Copy(w, io.LimitReader(stream, length))
			}
			if err == nil && s.service == receivePack {
				err = w.Close() // as git does: there are servers that read the pack to its end
			}
			return err
		})
		if err != nil {
			return nil, s.ssh.failed(err)
		}
		s.ssh.body.asked()
		return &reply{pr: s.ssh.pr, body: s.ssh.body}, nil
	}
	s.requests++
	r := request{
		method: http.MethodPost, suffix: s.service, body: body, stream: stream, length: length,
		typ: "application/x-" + s.service + "-request", accept: "application/x-" + s.service + "-result",
	}
	if s.version > 0 {
		r.proto = fmt.Sprintf("version=%d", s.version)
	}
	resp, err := s.web.do(ctx, r)
	if err != nil {
		return nil, err
	}
	p := s.c.newPatient(resp.Body, func() { _ = resp.Body.Close() })
	return &reply{pr: pktline.NewReader(p), body: p, owned: true}, nil
}

// failed explains an error of the stream.
func (s *session) failed(err error) error {
	if s.ssh != nil {
		return s.ssh.failed(err)
	}
	return err
}

func (s *session) close() {
	if s.ssh != nil {
		s.ssh.close()
	}
}

// refs lists references. What memory promised and the server does not keep is
// forgotten, and the listing begins anew with an advertisement.
func (s *session) refs(ctx context.Context, prefixes []string, keep wire.Filter) (*wire.Listing, error) {
	for {
		l, err := s.list(ctx, prefixes, keep)
		if err == nil || !s.believed || ctx.Err() != nil || !surprising(err) {
			return l, err
		}
		s.c.pool.forget(s.c.memoryKeys())
		if err := s.discover(ctx, keep); err != nil {
			return nil, err
		}
	}
}

// surprising reports whether an error may come from believing a memory.
func surprising(err error) bool {
	for _, e := range []error{ErrProtocol, ErrNotGit, ErrRedirectBlocked, ErrRepositoryNotFound, ErrRemote, ErrForbidden, io.ErrUnexpectedEOF} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// again prepares another attempt at a command: a session of ssh begins anew.
func (s *session) again(ctx context.Context, attempt int, keep wire.Filter) error {
	if attempt == 1 || s.ssh == nil {
		return nil
	}
	return s.discoverOnce(ctx, keep)
}

func (s *session) list(ctx context.Context, prefixes []string, keep wire.Filter) (l *wire.Listing, err error) {
	err = s.c.repeat(ctx, func(attempt int) error {
		if err := s.again(ctx, attempt, keep); err != nil {
			return err
		}
		l, err = s.listOnce(ctx, prefixes, keep)
		return err
	})
	return l, err
}

func (s *session) listOnce(ctx context.Context, prefixes []string, keep wire.Filter) (*wire.Listing, error) {
	if s.version != 2 {
		return &wire.Listing{Refs: s.adv.Refs, Dropped: s.adv.Dropped, Any: !s.adv.Empty}, nil
	}
	start := time.Now()
	r, err := s.command(ctx, wire.LsRefs(s.c.agent, s.caps, prefixes))
	if err != nil {
		return nil, err
	}
	defer r.close()
	before := r.body.received()
	l, err := wire.ReadLsRefs(r.pr, s.format, keep, s.c.opts.Limits.wire())
	err = s.failed(err)
	if err == nil && r.owned {
		_, _ = io.CopyN(io.Discard, r.body, 1)
	}
	s.received += r.body.received() - before
	s.c.observe(Event{Kind: "ls-refs", Protocol: s.protocol(), Bytes: r.body.received() - before, Duration: time.Since(start), Err: err})
	return l, err
}

// fetch asks for a pack, and asks again while none has begun. The caller reads
// it from the answer and then closes the reply.
func (s *session) fetch(ctx context.Context, f wire.Fetch) (a *wire.Answer, r *reply, err error) {
	err = s.c.repeat(ctx, func(attempt int) error {
		if err := s.again(ctx, attempt, nil); err != nil {
			return err
		}
		a, r, err = s.fetchOnce(ctx, f)
		return err
	})
	return a, r, err
}

func (s *session) fetchOnce(ctx context.Context, f wire.Fetch) (*wire.Answer, *reply, error) {
	var body []byte
	if s.version == 2 {
		body = f.V2(s.c.agent, s.caps)
	} else {
		body = f.V0(s.c.agent, s.caps)
	}
	r, err := s.command(ctx, body)
	if err != nil {
		return nil, nil, err
	}
	var a *wire.Answer
	if s.version == 2 {
		a, err = wire.ReadV2(r.pr, s.c.opts.Limits.wire())
	} else {
		a, err = wire.ReadV0(r.pr, s.caps, f.Depth > 0, s.c.opts.Limits.wire())
	}
	if err == nil {
		// Servers send the section line and then compress, with empty packets to
		// say that they live. Until the first byte they may take their time.
		if err = a.Begin(); errors.Is(err, io.ErrUnexpectedEOF) {
			err = s.failed(err)
		}
		if !isLost(err) {
			err = nil // the reader of the pack meets it again
		}
	} else {
		err = s.failed(err)
	}
	if err != nil {
		r.close()
		return nil, nil, err
	}
	r.body.packBegins()
	return a, r, nil
}
