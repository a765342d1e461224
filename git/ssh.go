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
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

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

// meter is a connection that counts what it receives.
type meter struct {
	net.Conn
	n atomic.Int64
}

func (m *meter) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	m.n.Add(int64(n))
	return n, err
}

// dialSSH makes a connection. What may go better another time is a
// [*transportError].
func (c *Client) dialSSH(ctx context.Context, cfg *ssh.ClientConfig, address string) (*ssh.Client, *meter, error) {
	raw, err := c.dialThrough(ctx, address)
	if err != nil {
		return nil, nil, &transportError{err}
	}
	conn := &meter{Conn: raw}
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
		return nil, nil, sshError(ctx, err, accepted)
	}
	_ = conn.SetDeadline(time.Time{})
	return ssh.NewClient(sc, chans, reqs), conn, nil
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
	return &transportError{fmt.Errorf("ssh handshake: %w", err)}
}
