// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/net/proxy"

	"github.com/gitops-kit/sdk/git/internal/netguard"
)

var proxyPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"} //nolint:gochecknoglobals // a table that never changes

// checkProxy refuses what could not be used.
func checkProxy(u *url.URL) error {
	if u == nil {
		return nil
	}
	if _, ok := proxyPorts[u.Scheme]; !ok || u.Hostname() == "" {
		return fmt.Errorf("%w: proxy must be an http, https or socks5 URL with a host", ErrInvalidOption)
	}
	return nil
}

// proxyFor returns the proxy for a target, nil for none. An explicit proxy wins
// over the environment.
func (c *Client) proxyFor(target *url.URL) (*url.URL, error) {
	if c.opts.Net.Proxy != nil {
		return c.opts.Net.Proxy, nil
	}
	if !c.opts.Net.ProxyFromEnvironment {
		return nil, nil
	}
	env := httpproxy.FromEnvironment()
	all := first(os.Getenv("ALL_PROXY"), os.Getenv("all_proxy"))
	ask := *target
	if target.Scheme == "ssh" {
		env.HTTPSProxy = all
		ask.Scheme = "https"
	} else {
		env.HTTPProxy = first(env.HTTPProxy, all)
		env.HTTPSProxy = first(env.HTTPSProxy, all)
	}
	u, err := env.ProxyFunc()(&ask)
	if err != nil {
		return nil, fmt.Errorf("%w: proxy in the environment cannot be parsed", ErrInvalidOption)
	}
	return u, checkProxy(u)
}

func first(s ...string) string {
	for _, v := range s {
		if v != "" {
			return v
		}
	}
	return ""
}

// dialThrough connects to the address of an ssh server, through a proxy when
// there is one.
func (c *Client) dialThrough(ctx context.Context, address string) (net.Conn, error) {
	p, err := c.proxyFor(c.url)
	if err != nil {
		return nil, err
	}
	d := c.dialer(c.trusted, p)
	if p == nil {
		return d.DialContext(ctx, "tcp", address)
	}
	if err := vet(ctx, d, address); err != nil {
		return nil, err
	}
	port := p.Port()
	if port == "" {
		port = proxyPorts[p.Scheme]
	}
	via := net.JoinHostPort(p.Hostname(), port)
	if strings.HasPrefix(p.Scheme, "socks5") {
		return dialSOCKS(ctx, d, p, via, address)
	}
	conn, err := d.DialContext(ctx, "tcp", via)
	if err != nil {
		return nil, err
	}
	if p.Scheme == "https" {
		t := tls.Client(conn, &tls.Config{ServerName: p.Hostname(), MinVersion: tls.VersionTLS12, RootCAs: c.roots()})
		if err := t.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, fmt.Errorf("proxy: %w", err)
		}
		conn = t
	}
	if err := connect(ctx, conn, p, address, c.http.Header); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// vet judges an address that a proxy is going to dial: literals always, names
// where they resolve here. The proxy may know others.
func vet(ctx context.Context, d *netguard.Dialer, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || d.Configured[netguard.HostPort(host, port)] && !isLiteral(host) {
		return err
	}
	addrs := []netip.Addr{}
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, a)
	} else if found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host); err == nil {
		addrs = found
	}
	for _, a := range addrs {
		if err := d.Policy.Check(host, a, d.Configured[netguard.HostPort(host, port)]); err != nil {
			return err
		}
	}
	return nil
}

func isLiteral(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

type contextDialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

type forward struct{ contextDialer }

func (f forward) Dial(network, address string) (net.Conn, error) {
	return nil, fmt.Errorf("dial %s %q without a context", network, address)
}

func dialSOCKS(ctx context.Context, d contextDialer, p *url.URL, via, address string) (net.Conn, error) {
	var auth *proxy.Auth
	if p.User != nil {
		pw, _ := p.User.Password()
		auth = &proxy.Auth{User: p.User.Username(), Password: pw}
	}
	s, err := proxy.SOCKS5("tcp", via, auth, forward{d})
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return s.(proxy.ContextDialer).DialContext(ctx, "tcp", address)
}

// connect asks an HTTP proxy for a tunnel.
func connect(ctx context.Context, conn net.Conn, p *url.URL, address string, wait time.Duration) error {
	if wait < 1<<62 {
		_ = conn.SetDeadline(time.Now().Add(wait))
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if p.User != nil {
		pw, _ := p.User.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(p.User.Username()+":"+pw)))
	}
	if err := req.Write(conn); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	// The answer is read byte by byte: what follows belongs to the tunnel.
	resp, err := http.ReadResponse(bufio.NewReaderSize(&oneByte{conn: conn, left: 64 << 10}, 16), req) //nolint:bodyclose // its bytes are the tunnel's, which the caller closes
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return &statusError{status: resp.StatusCode, err: errors.New("proxy does not CONNECT")}
	}
	return conn.SetDeadline(time.Time{})
}

// oneByte keeps a buffered reader from taking more than the header.
type oneByte struct {
	conn net.Conn
	left int
}

func (o *oneByte) Read(b []byte) (int, error) {
	if o.left--; o.left < 0 {
		return 0, fmt.Errorf("proxy: header too long")
	}
	return o.conn.Read(b[:1])
}
