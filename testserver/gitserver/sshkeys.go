// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

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
//
//nolint:gochecknoglobals // a cache that is never written after the first use
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
	default:
		if f := rsaKeys[t]; f != nil {
			return f()
		}
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

// authorizedLine returns the public key or certificate of a signer as a line.
func authorizedLine(s ssh.Signer) []byte { return ssh.MarshalAuthorizedKey(s.PublicKey()) }
