// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"bufio"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"io"
	"maps"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/internal/listen"
	"github.com/gitops-kit/sdk/testserver/record"
	"github.com/gitops-kit/sdk/testserver/serve"
)

// Request is an entry of the log.
type Request = record.Request

// Match selects entries of the log and connections for fault plans.
type Match = record.Match

// Kind is the protocol of a proxy.
type Kind int

const (
	// HTTP answers CONNECT and plain requests with absolute URLs.
	HTTP Kind = iota
	// SOCKS5 is RFC 1928, with RFC 1929 for user names.
	SOCKS5
)

// Options configure a [Server]. The zero value is an open HTTP proxy.
type Options struct {
	// Kind of proxy.
	Kind Kind
	// TLS speaks TLS to clients of an HTTP proxy ("https" proxy).
	TLS bool
	// Users maps names to passwords; empty: open.
	Users map[string]string
	// Names maps host names, or "host:port", to "host:port" or a host to go to.
	Names map[string]string
	// Refuse decides about destinations; nil: all are allowed.
	Refuse func(hostport string) bool
	// Faults are the plans to begin with. Connections have the method CONNECT or
	// SOCKS and the route "tunnel"; Delay, RST, Status and byte-level faults on
	// what comes back apply.
	Faults []fault.Plan
}

// Server is a proxy. It is safe for concurrent use.
type Server struct {
	*serve.Server
	opts   Options
	ctx    context.Context //nolint:containedctx // the proxy's life
	cancel context.CancelFunc
	wg     sync.WaitGroup
	direct *http.Transport
	socks  *listen.Listener
	faults fault.Set
	once   sync.Once
}

// Start runs a proxy for the length of a test.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := Run(context.WithoutCancel(tb.Context()), o)
	if err != nil {
		tb.Fatalf("start proxy: %v", err)
	}
	serve.Cleanup(tb, s.Stop, s.Tail)
	return s
}

// Run starts a proxy that ends with ctx or Stop.
func Run(ctx context.Context, o Options) (*Server, error) {
	s := &Server{opts: o}
	s.faults.Set(o.Faults...)
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.direct = &http.Transport{Proxy: nil, DisableCompression: true, DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
		return s.dial(ctx, addr)
	}}
	h, err := serve.Listen(ctx, http.HandlerFunc(s.serveHTTP), serve.Options{TLS: o.TLS})
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.Server = h
	if o.Kind == SOCKS5 {
		if s.socks, err = listen.Loopback(ctx, false); err != nil {
			s.cancel()
			h.Stop()
			return nil, err
		}
		s.wg.Go(s.accept)
	}
	h.Serve()
	return s, nil
}

// URL returns what clients are configured with: "http://…", "https://…" or
// "socks5://…", without credentials.
func (s *Server) URL() string {
	if s.socks != nil {
		return "socks5://" + s.socks.Addr().String()
	}
	return s.Server.URL()
}

// Addr returns "127.0.0.1:port".
func (s *Server) Addr() string {
	if s.socks != nil {
		return s.socks.Addr().String()
	}
	return s.Server.Addr()
}

// SetFaults replaces the fault plans.
func (s *Server) SetFaults(plans ...fault.Plan) { s.faults.Set(plans...) }

// Pause begins an outage; the port stays.
func (s *Server) Pause() {
	s.Server.Pause()
	if s.socks != nil {
		s.socks.Pause()
	}
}

// Blackhole stops all traffic without closing anything. Resume ends it.
func (s *Server) Blackhole() {
	s.Server.Blackhole()
	if s.socks != nil {
		s.socks.Freeze()
	}
}

// Restart resets all connections; port and log stay.
func (s *Server) Restart() {
	s.Server.Restart()
	if s.socks != nil {
		s.socks.Reset()
	}
}

// Resume ends an outage.
func (s *Server) Resume() {
	s.Server.Resume()
	if s.socks != nil {
		s.socks.Resume()
	}
}

// Stop ends the proxy and all tunnels. Later calls do nothing.
func (s *Server) Stop() {
	s.once.Do(func() {
		s.cancel()
		if s.socks != nil {
			_ = s.socks.Close()
			s.socks.Reset()
		}
		s.Server.Stop()
		s.wg.Wait()
		s.direct.CloseIdleConnections()
	})
}

func (s *Server) login(name, pass string) bool {
	want, ok := s.opts.Users[name]
	return ok && subtle.ConstantTimeCompare([]byte(want), []byte(pass)) == 1
}

// dial goes to a destination by way of Names.
func (s *Server) dial(ctx context.Context, hostport string) (net.Conn, error) {
	to := hostport
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	if v, ok := s.opts.Names[hostport]; ok {
		to = v
	} else if v, ok := s.opts.Names[host]; ok {
		to = v
	}
	if _, _, err := net.SplitHostPort(to); err != nil {
		to = net.JoinHostPort(to, port)
	}
	return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", to)
}

func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if len(s.opts.Users) > 0 {
		raw, _ := strings.CutPrefix(r.Header.Get("Proxy-Authorization"), "Basic ")
		dec, _ := base64.StdEncoding.DecodeString(raw)
		name, pass, _ := strings.Cut(string(dec), ":")
		if !s.login(name, pass) {
			w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
			http.Error(w, "proxy authentication required", http.StatusProxyAuthRequired)
			return
		}
		serve.SetUser(r.Context(), name)
	}
	target := r.Host
	fault.Update(r.Context(), func(q *record.Request) { q.Path, q.Route = target, "tunnel" })
	if s.opts.Refuse != nil && s.opts.Refuse(target) {
		http.Error(w, "destination refused", http.StatusForbidden)
		return
	}
	if r.Method == http.MethodConnect {
		s.connect(w, r, target)
		return
	}
	if r.URL.Host == "" {
		http.Error(w, "this is a proxy", http.StatusBadRequest)
		return
	}
	out := r.Clone(r.Context())
	out.RequestURI = ""
	for _, h := range []string{"Proxy-Authorization", "Proxy-Connection", "Connection", "Keep-Alive"} {
		out.Header.Del(h)
	}
	resp, err := s.direct.RoundTrip(out)
	if err != nil {
		http.Error(w, "cannot reach destination", http.StatusBadGateway)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}

func (s *Server) connect(w http.ResponseWriter, r *http.Request, target string) {
	plan := s.faults.Pick(http.MethodConnect, target, "tunnel")
	if plan != nil && plan.Status != 0 {
		http.Error(w, http.StatusText(plan.Status), plan.Status)
		return
	}
	up, err := s.dial(r.Context(), target)
	if err != nil {
		http.Error(w, "cannot reach destination", http.StatusBadGateway)
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = up.Close()
		return
	}
	fault.Update(r.Context(), func(q *record.Request) { q.Status = http.StatusOK })
	_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
	s.wg.Add(1)
	defer s.wg.Done()
	s.tunnel(c, rw.Reader, up, plan)
}

// tunnel copies both ways until one side ends.
func (s *Server) tunnel(c net.Conn, in io.Reader, up net.Conn, plan *fault.Plan) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = c.Close(); _ = up.Close() })()
	if plan == nil {
		plan = &fault.Plan{}
	}
	if plan.RST && plan.CutAfter == 0 {
		fault.Close(c, true)
		_ = up.Close()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(up, in)
		if t, ok := up.(*net.TCPConn); ok {
			_ = t.CloseWrite()
		}
	}()
	_, _ = io.Copy(fault.NewStream(ctx, c, *plan, func() { fault.Close(c, plan.RST) }), up)
	_ = c.Close()
	_ = up.Close()
	<-done
}

func (s *Server) accept() {
	for {
		c, err := s.socks.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() {
			defer func() { _ = c.Close() }()
			s.serveSOCKS(c)
		})
	}
}

// serveSOCKS speaks the part of RFC 1928 that clients use: CONNECT.
func (s *Server) serveSOCKS(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	user, ok := s.greet(c, r)
	if !ok {
		return
	}
	target, ok := readTarget(r)
	if !ok {
		_, _ = c.Write([]byte{5, 7, 0, 1, 0, 0, 0, 0, 0, 0})
		return
	}
	plan := s.faults.Pick("SOCKS", target, "tunnel")
	req := record.Request{Method: "SOCKS", Path: target, Route: "tunnel", User: user}
	if plan != nil {
		req.Fault = plan.String()
	}
	e := s.Recorder().Begin(req)
	defer e.End()
	reply := func(code byte) { _, _ = c.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0}) }
	if s.opts.Refuse != nil && s.opts.Refuse(target) {
		reply(2)
		return
	}
	up, err := s.dial(s.ctx, target)
	if err != nil {
		reply(4)
		return
	}
	reply(0)
	e.Update(func(q *record.Request) { q.Status = http.StatusOK })
	_ = c.SetDeadline(time.Time{})
	s.tunnel(c, r, up, plan)
}

// greet negotiates authentication and returns the user.
func (s *Server) greet(c net.Conn, r *bufio.Reader) (string, bool) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || head[0] != 5 {
		return "", false
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(r, methods); err != nil {
		return "", false
	}
	want := byte(0)
	if len(s.opts.Users) > 0 {
		want = 2
	}
	if !strings.ContainsRune(string(methods), rune(want)) {
		_, _ = c.Write([]byte{5, 0xff})
		return "", false
	}
	_, _ = c.Write([]byte{5, want})
	if want == 0 {
		return "", true
	}
	if v, err := r.ReadByte(); err != nil || v != 1 {
		return "", false
	}
	name, ok1 := readString(r)
	pass, ok2 := readString(r)
	if !ok1 || !ok2 || !s.login(name, pass) {
		_, _ = c.Write([]byte{1, 1})
		return "", false
	}
	_, _ = c.Write([]byte{1, 0})
	return name, true
}

func readString(r *bufio.Reader) (string, bool) {
	n, err := r.ReadByte()
	if err != nil {
		return "", false
	}
	b := make([]byte, n)
	_, err = io.ReadFull(r, b)
	return string(b), err == nil
}

func readTarget(r *bufio.Reader) (string, bool) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil || head[0] != 5 || head[1] != 1 {
		return "", false
	}
	host := ""
	switch head[3] {
	case 1, 4:
		b := make([]byte, map[byte]int{1: 4, 4: 16}[head[3]])
		if _, err := io.ReadFull(r, b); err != nil {
			return "", false
		}
		host = net.IP(b).String()
	case 3:
		name, ok := readString(r)
		if !ok {
			return "", false
		}
		host = name
	default:
		return "", false
	}
	var port [2]byte
	if _, err := io.ReadFull(r, port[:]); err != nil {
		return "", false
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port[0])<<8|int(port[1]))), true
}
