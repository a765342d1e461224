// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package netguard is the outbound policy that all network clients share:
// which addresses may be dialled, what a redirect may do, where credentials
// may go, how long a server may take.
package netguard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

var (
	// ErrAddressBlocked reports an address that the policy refuses to dial.
	ErrAddressBlocked = errors.New("address blocked")
	// ErrRedirectBlocked reports a redirect that the policy does not follow.
	ErrRedirectBlocked = errors.New("redirect blocked")
	// ErrInsecureCredentials reports credentials that would travel in clear text.
	ErrInsecureCredentials = errors.New("credentials over plain http")
	// ErrStalled reports a body that came slower than the stall limit.
	ErrStalled = errors.New("transfer stalled")
)

// HTTPCredentials says where credentials may travel over plain HTTP.
type HTTPCredentials int

const (
	// Cluster allows hosts inside a cluster and loopback literals.
	Cluster HTTPCredentials = iota
	// Never allows none.
	Never
	// Always allows all.
	Always
)

// Policy is the outbound policy; its zero value is the safe one. It is a
// value: copy it freely, do not change a copy in use.
type Policy struct {
	// AllowCIDR lists exceptions to the refused ranges.
	AllowCIDR []netip.Prefix
	// DenyCIDR lists ranges that are always refused; it beats everything.
	DenyCIDR []netip.Prefix
	// HTTPCredentials says where credentials may travel over plain HTTP.
	HTTPCredentials HTTPCredentials
	// TokenRealms lists further hosts that may receive registry credentials.
	TokenRealms []string
	// Proxy is used for every request. Nil: none.
	Proxy *url.URL
	// ProxyFromEnvironment takes the proxy from the environment when Proxy is nil.
	ProxyFromEnvironment bool
}

// AddressError says which address was refused and why.
type AddressError struct {
	Host string
	Addr netip.Addr
	Why  string
}

// Error implements error.
func (e *AddressError) Error() string {
	return fmt.Sprintf("dial %q: address %s blocked: %s; allow it with an allowed CIDR if it is intended", e.Host, e.Addr, e.Why)
}

// Unwrap returns [ErrAddressBlocked].
func (e *AddressError) Unwrap() error { return ErrAddressBlocked }

// Reason returns the condition reason.
func (e *AddressError) Reason() string { return "AddressBlocked" }

// Terminal is false: names may resolve differently later.
func (e *AddressError) Terminal() bool { return false }

// Check judges one address. configured means that host and port stand in the
// caller's option or spec; everything else was supplied by a server.
func (p Policy) Check(host string, addr netip.Addr, configured bool) error {
	addr = addr.WithZone("")
	embedded := unembed(addr)
	for _, c := range p.DenyCIDR {
		if c.Contains(addr) || c.Contains(embedded) {
			return &AddressError{Host: host, Addr: addr, Why: "in a denied CIDR"}
		}
	}
	for _, c := range p.AllowCIDR {
		if c.Contains(addr) || c.Contains(embedded) {
			return nil
		}
	}
	if why := refused(embedded, configured); why != "" {
		return &AddressError{Host: host, Addr: addr, Why: why}
	}
	return nil
}

func refused(a netip.Addr, configured bool) string {
	switch {
	case a.IsUnspecified():
		return "unspecified"
	case a.IsMulticast():
		return "multicast"
	case a.IsLinkLocalUnicast():
		return "link-local"
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "broadcast"
	case configured:
		return ""
	case a.IsLoopback():
		return "loopback"
	case a.IsPrivate() || carrierGrade.Contains(a):
		return "private"
	}
	return ""
}

//nolint:gochecknoglobals // constants that the language cannot express
var (
	carrierGrade = netip.MustParsePrefix("100.64.0.0/10")
	nat64        = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour    = netip.MustParsePrefix("2002::/16")
	teredo       = netip.MustParsePrefix("2001::/32")
)

// unembed returns the IPv4 address that an IPv6 address carries, if any.
func unembed(a netip.Addr) netip.Addr {
	a = a.Unmap()
	if !a.Is6() {
		return a
	}
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	case teredo.Contains(a):
		return netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
	}
	return a
}

// Dialer resolves a name once, checks every address and connects to a checked
// one. It is safe for concurrent use.
type Dialer struct {
	Policy Policy
	// Configured holds the "host:port" pairs of the caller's own options.
	Configured map[string]bool
	// Timeout bounds one connection attempt. 0: 10 s.
	Timeout time.Duration
	// Lookup resolves a name. Nil: the system resolver.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// DialContext connects to address, trying its checked IPs in order.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %q: %w", address, err)
	}
	addrs, err := d.resolve(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("dial %q: %w", address, err)
	}
	configured := d.Configured[HostPort(host, port)]
	for _, a := range addrs {
		if err := d.Policy.Check(host, a, configured); err != nil {
			return nil, err
		}
	}
	timeout := d.Timeout
	if timeout <= 0 {
		timeout = 10 * time.Second
	}
	nd := net.Dialer{Timeout: timeout}
	for _, a := range addrs {
		var conn net.Conn
		if conn, err = nd.DialContext(ctx, network, net.JoinHostPort(a.String(), port)); err == nil {
			return conn, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("dial %q: %w", address, err)
}

func (d *Dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	lookup := d.Lookup
	if lookup == nil {
		lookup = net.DefaultResolver.LookupNetIP
	}
	addrs, err := lookup(ctx, "ip", host)
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
	}
	return addrs, err
}

// HostPort is the key of [Dialer.Configured]: lower case, default form.
func HostPort(host, port string) string { return net.JoinHostPort(strings.ToLower(host), port) }
