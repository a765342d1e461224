// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/user"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/internal/listen"
	"github.com/gitops-kit/sdk/testserver/record"
)

// handshakeTimeout bounds the time until a client is authenticated.
const handshakeTimeout = 10 * time.Second

// SSHOptions configure the SSH server. The zero value has one Ed25519 host key.
type SSHOptions struct {
	// HostKeys are the types of the host keys, in order of preference; nil: Ed25519.
	HostKeys []KeyType
	// HostCertificate adds a certificate, by a new authority, for each host key.
	HostCertificate bool
	// CertificatePrincipals are the names in host certificates; nil: the address.
	CertificatePrincipals []string
	// CertificateValidFor is the validity of host certificates; zero: an hour,
	// below zero: expired that long ago.
	CertificateValidFor time.Duration
	// RefuseEnv refuses GIT_PROTOCOL, as servers without AcceptEnv do.
	RefuseEnv bool
	// Silent never answers the handshake.
	Silent bool
	// Banner is sent to clients before authentication.
	Banner string
}

type sshServer struct {
	srv    *Server
	opts   SSHOptions
	ln     *listen.Listener
	keys   []ssh.Signer // host keys without certificates
	pems   [][]byte
	certs  []ssh.Signer
	ca     ssh.Signer
	faults fault.Set
	log    *record.Log
	ctx    context.Context //nolint:containedctx // the server's life
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

func (s *Server) startSSH(ctx context.Context, o SSHOptions) (*sshServer, error) {
	x := &sshServer{srv: s, opts: o, log: s.Recorder()}
	x.faults.Set(s.opts.Faults...)
	ln, err := listen.Loopback(ctx, s.opts.IPv6)
	if err != nil {
		return nil, err
	}
	x.ln = ln
	if err := x.makeKeys(); err != nil {
		_ = ln.Close()
		return nil, err
	}
	if s.opts.Backend == Exec {
		if err := x.writeSSHD(); err != nil {
			_ = ln.Close()
			return nil, err
		}
	}
	x.ctx, x.cancel = context.WithCancel(ctx)
	x.wg.Go(x.loop)
	return x, nil
}

// SSHURL returns "ssh://user@127.0.0.1:port"; "" without SSH. The user is git,
// or for the Exec backend the one who runs the test.
func (s *Server) SSHURL() string {
	if s.ssh == nil {
		return ""
	}
	name := "git"
	if s.opts.Backend == Exec {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	return "ssh://" + name + "@" + s.ssh.ln.Addr().String()
}

// SSHAddr returns "127.0.0.1:port"; "" without SSH.
func (s *Server) SSHAddr() string {
	if s.ssh == nil {
		return ""
	}
	return s.ssh.ln.Addr().String()
}

func (x *sshServer) close() {
	x.cancel()
	_ = x.ln.Close()
	x.ln.Pause()
	x.wg.Wait()
}

func (x *sshServer) loop() {
	for {
		c, err := x.ln.Accept()
		if err != nil {
			return
		}
		x.wg.Go(func() {
			defer func() { _ = c.Close() }()
			if x.srv.opts.Backend == Exec {
				x.sshd(c)
				return
			}
			x.serve(c)
		})
	}
}

func (x *sshServer) config() *ssh.ServerConfig {
	a := x.srv.guard.get()
	conf := &ssh.ServerConfig{ServerVersion: "SSH-2.0-gitopskit"}
	if x.opts.Banner != "" {
		conf.BannerCallback = func(ssh.ConnMetadata) string { return x.opts.Banner }
	}
	for _, c := range x.certs {
		conf.AddHostKey(c)
	}
	for _, k := range x.keys {
		conf.AddHostKey(k)
	}
	if a.open() {
		conf.NoClientAuth = true
	}
	conf.PublicKeyCallback = func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k)))
		for want, name := range a.AuthorizedKeys {
			if strings.HasPrefix(want, line) {
				return &ssh.Permissions{Extensions: map[string]string{"user": name}}, nil
			}
		}
		return nil, errors.New("key is not authorized")
	}
	conf.PasswordCallback = func(m ssh.ConnMetadata, pass []byte) (*ssh.Permissions, error) {
		if want, ok := a.Users[m.User()]; ok && same(want, string(pass)) {
			return &ssh.Permissions{Extensions: map[string]string{"user": m.User()}}, nil
		}
		return nil, errors.New("wrong password")
	}
	return conf
}

func (x *sshServer) serve(c net.Conn) {
	id := int64(0)
	if cc, ok := c.(*listen.Conn); ok {
		id = cc.ID
	}
	if x.opts.Silent {
		<-x.ctx.Done()
		return
	}
	_ = c.SetDeadline(time.Now().Add(handshakeTimeout))
	conn, chans, reqs, err := ssh.NewServerConn(c, x.config())
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_ = c.SetDeadline(time.Time{})
	name := ""
	if conn.Permissions != nil {
		name = conn.Permissions.Extensions["user"]
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { ssh.DiscardRequests(reqs) })
	for ch := range chans {
		if ch.ChannelType() != "session" {
			_ = ch.Reject(ssh.UnknownChannelType, "only sessions")
			continue
		}
		channel, requests, err := ch.Accept()
		if err != nil {
			continue
		}
		wg.Go(func() { x.session(c, id, name, channel, requests) })
	}
}

// session waits for the command of a session and runs it.
func (x *sshServer) session(c net.Conn, id int64, name string, ch ssh.Channel, reqs <-chan *ssh.Request) {
	defer func() { _ = ch.Close() }()
	protocol := ""
	var done sync.WaitGroup
	defer done.Wait()
	started := false
	for r := range reqs {
		ok, run := false, func() {}
		switch r.Type {
		case "env":
			var kv struct{ Name, Value string }
			if ssh.Unmarshal(r.Payload, &kv) == nil && kv.Name == "GIT_PROTOCOL" && !x.opts.RefuseEnv {
				protocol, ok = kv.Value, true
			}
		case "exec":
			var cmd struct{ Line string }
			if ssh.Unmarshal(r.Payload, &cmd) == nil && !started {
				ok, started = true, true
				line, proto := cmd.Line, protocol
				run = func() {
					done.Go(func() {
						status := x.command(c, id, name, ch, line, proto)
						_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
						_ = ch.Close()
					})
				}
			}
		}
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
		run() // a short command may end, and close the channel, before anything else happens
	}
}

// command runs one command line and returns its exit status.
func (x *sshServer) command(c net.Conn, id int64, name string, ch ssh.Channel, line, protocol string) uint32 {
	service, arg, _ := strings.Cut(line, " ")
	rt := strings.TrimPrefix(service, "git-")
	plan := x.faults.Pick("SSH", line, rt)
	req := record.Request{Method: "SSH", Path: line, Route: rt, User: name, Conn: id}
	if plan != nil {
		req.Fault = plan.String()
	}
	e := x.log.Begin(req)
	defer e.End()
	in := &countReader{r: ch}
	out := &countWriter{w: ch}
	var w io.Writer = out
	if plan != nil {
		ctx, cancel := context.WithCancel(x.ctx)
		defer cancel()
		if plan.Delay > 0 {
			t := time.NewTimer(plan.Delay)
			select {
			case <-t.C:
			case <-ctx.Done():
			}
			t.Stop()
		}
		if plan.Drop {
			x.execute(service, arg, name, protocol, in, &dropper{w: out, cut: func() { fault.Close(c, plan.RST) }}, io.Discard)
			fault.Close(c, plan.RST)
			return 255
		}
		if plan.RST && plan.CutAfter == 0 {
			fault.Close(c, true)
			return 255
		}
		if plan.Status != 0 {
			fmt.Fprintf(ch.Stderr(), "fatal: status %d\n", plan.Status)
			e.Update(func(r *record.Request) { r.Status = 1001 })
			return 1
		}
		w = fault.NewStream(ctx, out, *plan, func() { fault.Close(c, plan.RST) })
	}
	status := x.execute(service, arg, name, protocol, in, w, ch.Stderr())
	e.Update(func(r *record.Request) { r.Status, r.BodySize, r.Bytes = 1000+int(status), in.n, out.n })
	return status
}

// dropper passes the advertisement. Then it swallows the answer to a push, and
// ends the connection in place of any other answer, for which a client would
// wait.
type dropper struct {
	w          io.Writer
	cut        func()
	armed, eat bool
}

func (d *dropper) Write(p []byte) (int, error) {
	if !d.armed {
		return d.w.Write(p)
	}
	if !d.eat {
		d.cut()
		return 0, fault.ErrCut
	}
	return len(p), nil
}

type countReader struct {
	r io.Reader
	n int64
}

func (c *countReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (x *sshServer) execute(service, arg, name, protocol string, in io.Reader, out, stderr io.Writer) uint32 {
	arg = unquote(arg)
	if service == "git-lfs-authenticate" {
		i := strings.LastIndexByte(arg, ' ')
		if i < 0 {
			return 128
		}
		return x.srv.lfsAuthenticate(cleanName(arg[:i]), name, arg[i+1:], out, stderr)
	}
	write := service == "git-receive-pack"
	if !write && service != "git-upload-pack" {
		fmt.Fprintf(stderr, "fatal: unknown command %q\n", service)
		return 128
	}
	repo := x.srv.find(arg)
	a := x.srv.guard.get()
	if repo == nil || (a.Access != nil && !a.Access(name, cleanName(arg), write)) {
		fmt.Fprintf(stderr, "fatal: '%s' does not appear to be a git repository\n", arg)
		return 128
	}
	if write && repo.snapshot().opts.ReadOnly {
		fmt.Fprintf(stderr, "fatal: '%s' is read-only\n", arg)
		return 128
	}
	s := &session{ctx: x.ctx, repo: repo, user: name, version: x.srv.version(protocol), in: bufio.NewReaderSize(in, 64<<10), out: newPktWriter(out)}
	if service == "git-upload-pack" && s.version == 2 {
		s.capabilitiesV2()
	} else {
		s.greet(service)
	}
	err := s.out.send()
	if f := repo.snapshot().opts.BetweenListAndFetch; f != nil && s.version != 2 {
		f(repo)
	}
	if d, ok := out.(*dropper); ok {
		d.armed, d.eat = true, write
	}
	if err == nil {
		err = s.run(service)
	}
	if err != nil {
		return 128
	}
	return 0
}

// unquote undoes the quoting git applies to the path of an SSH command.
func unquote(s string) string {
	var b strings.Builder
	in := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\'':
			in = !in
		case s[i] == '\\' && !in && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}
