// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/internal/netguard"
)

// Version is the version of this module in the default user agent.
const Version = "0.1.0"

// Options configure a [Client]. The zero value fetches anonymously over https
// with the default limits.
type Options struct {
	// Credentials answers for the configured origin. Nil: anonymous.
	Credentials CredentialFunc
	// TLS holds extra roots and client certificates. It is cloned; TLS 1.2 is
	// the floor. Nil: the system's roots.
	TLS *tls.Config
	// SSH configures host keys and algorithms.
	SSH SSHOptions
	// Net is the outbound policy. Zero: the safe one.
	Net NetPolicy
	// Driver stores the objects of clones. Nil: gogit.
	Driver driver.Driver
	// Mirror keeps objects, so that many Clients of one repository and
	// credential fetch each commit once. Nil: none.
	Mirror *Mirror
	// Conns keeps connections. Nil: a private pool that Close closes; share a
	// [NewPool] to keep connections between Clients.
	Conns *Pool
	// TempDir is where packs wait. Zero: os.TempDir(). A directory of mode
	// 0700 is made in it for each operation.
	TempDir string
	// HTTP bounds waiting.
	HTTP HTTPLimits
	// Limits bound content.
	Limits Limits
	// UserAgent is sent to servers. Zero: "git/gitops-kit-<version>".
	UserAgent string
	// Observe sees one Event per request and phase. It must return quickly and
	// may be called from several goroutines. Nil: nobody looks.
	Observe func(Event)
}

// Event is one request or phase of an operation.
type Event struct {
	// Kind is "advertise", "ls-refs", "fetch", "push", "receive" or "write".
	Kind string
	// Protocol is the transport and version, such as "https/2"; empty for phases without one.
	Protocol string
	// Status is the HTTP status, 0 elsewhere.
	Status int
	// Bytes counts what was received, or written for "write".
	Bytes int64
	// Duration is how long it took.
	Duration time.Duration
	// Err is how it failed, nil otherwise.
	Err error
}

// Client reads and writes one repository. It is safe for concurrent use.
type Client struct {
	url  *url.URL
	user *url.Userinfo
	// trusted is the URL that the caller configured; url itself, but for submodules.
	trusted *url.URL
	shown   string // redacted
	opts    Options
	http    netguard.HTTPLimits
	pool    *Pool
	own     bool
	tls     *tls.Config
	hosts   *hostKeys // ssh only
	agent   string
	// firstByte is firstByteWait, but in tests.
	firstByte time.Duration

	mu       sync.Mutex
	token    Credential
	hasToken bool
}

// New returns a Client for a repository. It validates everything and does no
// network I/O.
func New(rawURL string, o Options) (*Client, error) {
	c, err := newClient(rawURL, o, nil)
	if err != nil {
		shownURL := ""
		if c != nil {
			shownURL = c.shown
		}
		return nil, &Error{Op: "open", URL: shownURL, Err: err}
	}
	return c, nil
}

// newClient makes a Client; trusted is the configured URL when rawURL itself
// was supplied by a server.
func newClient(rawURL string, o Options, trusted *url.URL) (*Client, error) {
	u, user, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if trusted == nil {
		trusted = u
	}
	c := &Client{url: u, user: user, trusted: trusted, opts: o, http: o.HTTP.WithDefaults(), pool: o.Conns, agent: o.UserAgent, firstByte: firstByteWait}
	c.shown = shown(u)
	if err := c.setup(o); err != nil {
		return c, err
	}
	if c.pool == nil {
		c.pool, c.own = NewPool(), true
	}
	return c, nil
}

func (c *Client) setup(o Options) error {
	if c.agent == "" {
		c.agent = "git/gitops-kit-" + Version
	}
	if control(c.agent) {
		return fmt.Errorf("%w: user agent holds a control character", ErrInvalidOption)
	}
	if o.TLS != nil {
		c.tls = o.TLS.Clone()
	}
	if err := checkProxy(o.Net.Proxy); err != nil {
		return err
	}
	if c.url.Scheme != "ssh" {
		return nil
	}
	if err := o.SSH.check(); err != nil {
		return err
	}
	var err error
	c.hosts, err = parseKnownHosts(o.SSH.KnownHosts, o.TempDir)
	return err
}

// shown is the URL without userinfo, query and fragment.
func shown(u *url.URL) string {
	s := *u
	s.User, s.RawQuery, s.Fragment, s.ForceQuery = nil, "", "", false
	return s.String()
}

// URL returns the repository's URL without anything secret.
func (c *Client) URL() string { return c.shown }

// Close closes the connections that this Client does not share.
func (c *Client) Close() error {
	if c.own {
		return c.pool.Close()
	}
	return nil
}

func (c *Client) observe(e Event) {
	if c.opts.Observe != nil {
		c.opts.Observe(e)
	}
}

// tempDir makes a private directory for one operation and returns what removes it.
func (c *Client) tempDir() (string, func() error, error) {
	dir, err := os.MkdirTemp(c.opts.TempDir, "gitops-kit-git-*")
	if err != nil {
		return "", nil, fmt.Errorf("temporary directory: %w", err)
	}
	return dir, func() error { return os.RemoveAll(dir) }, nil
}

// closed joins the error of a clean-up to the one before it.
func closed(err *error, f func() error) { *err = errors.Join(*err, f()) }

// dialer applies the outbound policy; configured are the addresses that the
// caller's own options name.
func (c *Client) dialer(configured ...*url.URL) *netguard.Dialer {
	d := &netguard.Dialer{Policy: c.opts.Net, Configured: map[string]bool{}, Timeout: c.http.Connect}
	for _, u := range configured {
		if u == nil {
			continue
		}
		host, port := hostPort(u)
		if port == "" {
			port = proxyPorts[u.Scheme]
		}
		d.Configured[netguard.HostPort(host, port)] = true
	}
	return d
}

// retryDelay is the wait before attempt n, with jitter, doubling to a cap.
func retryDelay(n int) time.Duration {
	d := min(200*time.Millisecond<<min(n, 10), 5*time.Second)
	return d/2 + jitter(d/2)
}

// pause waits, unless the context ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
