// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"

	"github.com/gitops-kit/sdk/artifact/internal/netguard"
)

// maxLanes is how many hosts are remembered with their connections.
const maxLanes = 16

// lane carries the requests for the references of one host and port, redirects
// included. No other lane uses its connections: what the policy allowed since
// one reference names that host is not open to a redirect of another.
type lane struct {
	client  *http.Client
	policy  NetPolicy
	origin  string   // host:port of the references
	proxies sync.Map // host:port of proxies that were chosen
	dialer  netguard.Dialer
	tick    uint64
}

// lane returns the one for a URL. The least recently used one makes room.
func (f *Fetcher) lane(u *url.URL) *lane {
	origin := netguard.HostPort(u.Hostname(), portOf(u))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tick++
	l := f.lanes[origin]
	if l == nil {
		if len(f.lanes) >= maxLanes {
			f.forget()
		}
		l = f.newLane(origin)
		f.lanes[origin] = l
	}
	l.tick = f.tick
	return l
}

// forget drops the least recently used lane. Requests in it go on.
func (f *Fetcher) forget() {
	var oldest *lane
	for _, l := range f.lanes {
		if oldest == nil || l.tick < oldest.tick {
			oldest = l
		}
	}
	delete(f.lanes, oldest.origin)
	oldest.client.CloseIdleConnections()
}

func (f *Fetcher) newLane(origin string) *lane {
	h := f.o.HTTP.WithDefaults()
	l := &lane{policy: f.o.Net, origin: origin, dialer: netguard.Dialer{Policy: f.o.Net, Timeout: h.Connect}}
	t := h.Transport(&l.dialer, f.o.TLS)
	t.DialContext = l.dial
	if choose := t.Proxy; choose != nil {
		t.Proxy = func(req *http.Request) (*url.URL, error) {
			p, err := choose(req)
			if err != nil || p == nil {
				return nil, err
			}
			l.proxies.Store(netguard.HostPort(p.Hostname(), portOf(p)), true)
			return p, l.vet(req.Context(), req.URL)
		}
	}
	l.client = &http.Client{Transport: t, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		req.Header.Del("Referer")
		_, err := h.Redirect(via[len(via)-1].URL, req.URL, len(via)-1)
		return err
	}}
	return l
}

// dial connects under the policy; the host of the references counts as
// configured, since the producer of the artifact is trusted to name it, and so
// does a proxy.
func (l *lane) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := l.dialer
	d.Configured = map[string]bool{l.origin: true}
	if host, port, err := net.SplitHostPort(address); err == nil {
		if key := netguard.HostPort(host, port); !d.Configured[key] {
			_, d.Configured[key] = l.proxies.Load(key)
		}
	}
	return d.DialContext(ctx, network, address)
}

// vet judges the target of a request that a proxy makes: a literal address,
// and a name as far as it resolves here.
func (l *lane) vet(ctx context.Context, u *url.URL) error {
	configured := netguard.HostPort(u.Hostname(), portOf(u)) == l.origin
	var addrs []netip.Addr
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		addrs = append(addrs, a)
	} else if !configured {
		addrs, _ = net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	}
	for _, a := range addrs {
		if err := l.policy.Check(u.Hostname(), a, configured); err != nil {
			return err
		}
	}
	return nil
}

// Close closes idle connections.
func (f *Fetcher) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lanes {
		l.client.CloseIdleConnections()
	}
	return nil
}
