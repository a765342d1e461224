// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"net/url"
)

// TLSMaterial is a client certificate, a certificate authority, or both.
type TLSMaterial struct {
	pair *tls.Certificate
	ca   []byte
}

// TLSOptions say how TLS material is used.
type TLSOptions struct {
	// SystemPool adds the authority to the system's instead of replacing them.
	SystemPool bool
	// ServerName is checked instead of the host.
	ServerName string
}

// Config returns a client configuration: TLS 1.2 or later, always verifying.
func (t *TLSMaterial) Config(o TLSOptions) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName}
	if t.pair != nil {
		c.Certificates = []tls.Certificate{*t.pair}
	}
	if len(t.ca) == 0 {
		return c, nil
	}
	c.RootCAs = x509.NewCertPool()
	if o.SystemPool {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, err
		}
		c.RootCAs = pool
	}
	c.RootCAs.AppendCertsFromPEM(t.ca)
	return c, nil
}

// CA returns the certificate authority in PEM form, nil when there is none.
func (t *TLSMaterial) CA() []byte { return append([]byte(nil), t.ca...) }

// HasPair reports whether there is a client certificate.
func (t *TLSMaterial) HasPair() bool { return t.pair != nil }

// BasicMaterial is a user name and password.
type BasicMaterial struct {
	// Username is not empty.
	Username string
	// Password is not empty.
	Password Secret
}

// BearerMaterial is a token.
type BearerMaterial struct {
	// Token has one line.
	Token Secret
}

// SSHMaterial is a private key and the host keys to trust.
type SSHMaterial struct {
	// Identity is the private key in PEM form.
	Identity Secret
	// Public is the public key, may be empty.
	Public []byte
	// KnownHosts has at least one entry.
	KnownHosts []byte
	// Passphrase of the identity, empty when it is not encrypted.
	Passphrase Secret
	// Username is that of the Secret, else "git".
	Username string
	// UsernameSet is true when the Secret has one.
	UsernameSet bool
}

// GitHubAppMaterial is the identity of a GitHub App.
type GitHubAppMaterial struct {
	// AppID is positive.
	AppID int64
	// InstallationID is positive, or InstallationOwner is set.
	InstallationID int64
	// InstallationOwner is the account the app is installed in.
	InstallationOwner string
	// BaseURL of the API, "" for github.com.
	BaseURL string

	key *rsa.PrivateKey
}

// Key returns the private key.
func (m *GitHubAppMaterial) Key() *rsa.PrivateKey { return m.key }

// ProxyMaterial is a proxy.
type ProxyMaterial struct {
	// Username may be empty.
	Username string
	// Password may be empty.
	Password Secret

	address *url.URL
}

// Address returns the address without credentials.
func (m *ProxyMaterial) Address() *url.URL {
	u := *m.address
	return &u
}

// URL returns the address with the credentials: do not print it.
func (m *ProxyMaterial) URL() *url.URL {
	u := m.Address()
	if m.Username != "" {
		u.User = url.UserPassword(m.Username, m.Password.Reveal())
	}
	return u
}
