// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os/user"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/internal/listen"
	"github.com/gitops-kit/sdk/testserver/record"
)

// handshakeTimeout bounds the time until a client is authenticated.
const handshakeTimeout = 10 * time.Second

// KeyType is the type of an SSH key.
type KeyType string

// The key types.
const (
	Ed25519  KeyType = "ed25519"
	ECDSA256 KeyType = "ecdsa-256"
	ECDSA384 KeyType = "ecdsa-384"
	ECDSA521 KeyType = "ecdsa-521"
	RSA2048  KeyType = "rsa-2048"
	RSA3072  KeyType = "rsa-3072"
)

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

// KnownHostsForm is a form of known_hosts lines.
type KnownHostsForm int

const (
	// Plain is "[127.0.0.1]:port key".
	Plain KnownHostsForm = iota
	// Hashed hides the host name.
	Hashed
	// CertAuthority is a "@cert-authority" line with the authority's key.
	CertAuthority
	// Revoked is Plain with "@revoked" before it.
	Revoked
	// RevokedAuthority is the authority's key with "@revoked".
	RevokedAuthority
)

// rsaKeys are made once in a process: they take long.
var rsaKeys = map[KeyType]func() (*rsa.PrivateKey, error){
	RSA2048: sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }),
	RSA3072: sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 3072) }),
}

func newKey(t KeyType) (any, error) {
	switch t {
	case Ed25519, "":
		_, k, err := ed25519.GenerateKey(rand.Reader)
		return k, err
	case ECDSA256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case ECDSA384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case ECDSA521:
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	}
	if f := rsaKeys[t]; f != nil {
		return f()
	}
	return nil, fmt.Errorf("key type %q: %w", t, ErrNotFound)
}

// NewKey makes an SSH key pair: the private key in OpenSSH's PEM form,
// encrypted if passphrase is not empty, and the public key as an
// authorized_keys line without a newline. RSA keys are made once a process.
func NewKey(t KeyType, passphrase string) (private []byte, public string, err error) {
	key, err := newKey(t)
	if err != nil {
		return nil, "", err
	}
	var block *pem.Block
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "", []byte(passphrase))
	} else {
		block, err = ssh.MarshalPrivateKey(key, "")
	}
	if err != nil {
		return nil, "", err
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		return nil, "", err
	}
	line := ssh.MarshalAuthorizedKey(signer.PublicKey())
	return pem.EncodeToMemory(block), strings.TrimSpace(string(line)), nil
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
	ln, err := listen.Loopback(s.opts.IPv6)
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

func (x *sshServer) makeKeys() error {
	types := x.opts.HostKeys
	if len(types) == 0 {
		types = []KeyType{Ed25519}
	}
	for _, t := range types {
		key, err := newKey(t)
		if err != nil {
			return err
		}
		signer, err := ssh.NewSignerFromKey(key)
		if err != nil {
			return err
		}
		block, err := ssh.MarshalPrivateKey(key, "")
		if err != nil {
			return err
		}
		x.keys = append(x.keys, signer)
		x.pems = append(x.pems, pem.EncodeToMemory(block))
	}
	if !x.opts.HostCertificate {
		return nil
	}
	key, err := newKey(Ed25519)
	if err != nil {
		return err
	}
	if x.ca, err = ssh.NewSignerFromKey(key); err != nil {
		return err
	}
	for _, k := range x.keys {
		c, err := x.certify(k)
		if err != nil {
			return err
		}
		x.certs = append(x.certs, c)
	}
	return nil
}

func (x *sshServer) certify(k ssh.Signer) (ssh.Signer, error) {
	host, _, err := net.SplitHostPort(x.ln.Addr().String())
	if err != nil {
		return nil, err
	}
	names := x.opts.CertificatePrincipals
	if names == nil {
		names = []string{host}
	}
	from, to := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	if d := x.opts.CertificateValidFor; d > 0 {
		to = time.Now().Add(d)
	} else if d < 0 {
		from, to = time.Now().Add(d-time.Hour), time.Now().Add(d)
	}
	c := &ssh.Certificate{
		Key: k.PublicKey(), CertType: ssh.HostCert, KeyId: "host", ValidPrincipals: names,
		ValidAfter: uint64(from.Unix()), ValidBefore: uint64(to.Unix()),
	}
	if err := c.SignCert(rand.Reader, x.ca); err != nil {
		return nil, err
	}
	return ssh.NewCertSigner(c, k)
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

// KnownHosts returns the known_hosts lines for the SSH server, one for each
// host key, or the authority's; nil if there is no such key. For other hosts
// instead of the server's address, give them.
func (s *Server) KnownHosts(form KnownHostsForm, hosts ...string) []byte {
	if s.ssh == nil {
		return nil
	}
	if len(hosts) == 0 {
		hosts = []string{s.ssh.ln.Addr().String()}
	}
	var b bytes.Buffer
	line := func(marker string, k ssh.PublicKey) {
		names := make([]string, len(hosts))
		for i, h := range hosts {
			names[i] = knownhosts.Normalize(h)
			if form == Hashed {
				names[i] = knownhosts.HashHostname(names[i])
			}
		}
		if form == Hashed { // one host a line: a hash stands for one name
			for i := range names {
				fmt.Fprintf(&b, "%s%s %s", marker, names[i], ssh.MarshalAuthorizedKey(k))
			}
			return
		}
		fmt.Fprintf(&b, "%s%s %s", marker, strings.Join(names, ","), ssh.MarshalAuthorizedKey(k))
	}
	switch form {
	case CertAuthority, RevokedAuthority:
		if s.ssh.ca != nil {
			marker := "@cert-authority "
			if form == RevokedAuthority {
				marker = "@revoked "
			}
			line(marker, s.ssh.ca.PublicKey())
		}
	default:
		marker := ""
		if form == Revoked {
			marker = "@revoked "
		}
		for _, k := range s.ssh.keys {
			line(marker, k.PublicKey())
		}
	}
	return b.Bytes()
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
			defer c.Close()
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
	defer conn.Close()
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
	defer ch.Close()
	protocol := ""
	var done sync.WaitGroup
	defer done.Wait()
	started := false
	for r := range reqs {
		ok := false
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
				done.Go(func() {
					status := x.command(c, id, name, ch, line, proto)
					_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
					_ = ch.Close()
				})
			}
		}
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
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
		if plan.RST || plan.Drop {
			if plan.Drop {
				x.execute(service, arg, name, protocol, in, io.Discard, io.Discard)
			}
			fault.Close(c, plan.RST)
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

// authorizedLine returns the public key or certificate of a signer as a line.
func authorizedLine(s ssh.Signer) []byte { return ssh.MarshalAuthorizedKey(s.PublicKey()) }
