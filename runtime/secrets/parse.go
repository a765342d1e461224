// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

const (
	maxToken   = 16 << 10
	maxAddress = 2048
)

// parser reads one Secret.
type parser struct {
	ref  Ref
	data map[string][]byte
	out  *Material
}

func (p *parser) bad(key, why string) error { return &SecretKeyError{Ref: p.ref, Key: key, Why: why} }

func (p *parser) has(key string) bool { return len(p.data[key]) > 0 }

// parse fills the material. The order matters: an identity makes "password" its
// passphrase, an address makes it the proxy's.
func (p *parser) parse(want Want) error {
	if want&TLS != 0 {
		if err := p.tls(); err != nil {
			return err
		}
	}
	found := 0
	steps := []struct {
		kind Want
		has  bool
		read func() error
	}{
		{SSH, p.has("identity"), p.ssh},
		{GitHubApp, p.has("githubAppID") || p.has("githubAppPrivateKey"), p.app},
		{Proxy, p.has("address"), p.proxy},
		{Registry, p.has(".dockerconfigjson"), p.registry},
		{Bearer, p.has("bearerToken"), func() error { return p.bearer("bearerToken") }},
		{Token, p.has("token"), func() error { return p.bearer("token") }},
		{Basic, p.basicPresent(want), p.basic},
	}
	for _, s := range steps {
		if want&s.kind == 0 || !s.has {
			continue
		}
		if found++; found > 1 {
			return &CredentialsError{Ref: p.ref, Found: keys(p.data), Err: ErrAmbiguous}
		}
		if err := s.read(); err != nil {
			return err
		}
	}
	if found == 0 && (p.out.TLS == nil || want == 0) {
		return &CredentialsError{Ref: p.ref, Found: keys(p.data), Err: ErrNoCredentials}
	}
	return nil
}

// basicPresent reports whether username or password are a credential of their
// own.
func (p *parser) basicPresent(want Want) bool {
	if want&SSH != 0 && p.has("identity") || want&Proxy != 0 && p.has("address") {
		return false
	}
	_, user := p.data["username"]
	_, password := p.data["password"]
	return user || password
}

func (p *parser) basic() error {
	b := &BasicMaterial{Username: string(p.data["username"]), Password: NewSecret(string(p.data["password"]))}
	for _, k := range []string{"username", "password"} {
		if !p.has(k) {
			return p.bad(k, "missing or empty")
		}
		if strings.ContainsAny(string(p.data[k]), "\r\n") {
			return p.bad(k, "more than one line")
		}
	}
	p.out.Basic = b
	return nil
}

func (p *parser) bearer(key string) error {
	t := string(p.data[key])
	if len(t) > maxToken {
		return p.bad(key, "longer than 16 KiB")
	}
	if strings.ContainsAny(t, "\r\n") {
		return p.bad(key, "more than one line")
	}
	p.out.Bearer = &BearerMaterial{Token: NewSecret(t)}
	return nil
}

// pick returns the standard key, else the legacy one.
func (p *parser) pick(key, legacy string) (name string, value []byte) {
	if p.has(key) {
		return key, p.data[key]
	}
	if p.has(legacy) {
		p.out.Legacy = append(p.out.Legacy, legacy)
		return legacy, p.data[legacy]
	}
	return key, nil
}

func (p *parser) tls() error {
	certKey, cert := p.pick("tls.crt", "certFile")
	keyKey, key := p.pick("tls.key", "keyFile")
	caKey, ca := p.pick("ca.crt", "caFile")
	if len(cert) == 0 && len(key) == 0 && len(ca) == 0 {
		return nil
	}
	t := &TLSMaterial{ca: ca}
	switch {
	case len(cert) > 0 && len(key) == 0:
		return p.bad(keyKey, "missing: certificate and key belong together")
	case len(key) > 0 && len(cert) == 0:
		return p.bad(certKey, "missing: certificate and key belong together")
	case len(cert) > 0:
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return p.bad(certKey, "certificate and key are no pair of PEM data")
		}
		t.pair = &pair
	}
	if len(ca) > 0 && !x509.NewCertPool().AppendCertsFromPEM(ca) {
		return p.bad(caKey, "no certificate in PEM form")
	}
	p.out.TLS = t
	return nil
}

func (p *parser) ssh() error {
	m := &SSHMaterial{
		Identity: NewSecret(string(p.data["identity"])), KnownHosts: p.data["known_hosts"], Public: p.data["identity.pub"],
		Passphrase: NewSecret(string(p.data["password"])), Username: "git",
	}
	if u := string(p.data["username"]); u != "" {
		m.Username, m.UsernameSet = u, true
	}
	if !hasHostKey(m.KnownHosts) {
		return p.bad("known_hosts", "missing or empty")
	}
	if strings.ContainsAny(m.Username, "\r\n") {
		return p.bad("username", "more than one line")
	}
	var err error
	if m.Passphrase.IsZero() {
		_, err = ssh.ParseRawPrivateKey(p.data["identity"])
	} else {
		_, err = ssh.ParseRawPrivateKeyWithPassphrase(p.data["identity"], p.data["password"])
		if err != nil {
			// A key without passphrase may stand beside a password of something else.
			if _, plain := ssh.ParseRawPrivateKey(p.data["identity"]); plain == nil {
				err, m.Passphrase = nil, Secret{}
			}
		}
	}
	var missing *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &missing):
		return p.bad("password", "missing: the identity is encrypted")
	case err != nil && !m.Passphrase.IsZero():
		return p.bad("identity", "no private key, or the password does not decrypt it")
	case err != nil:
		return p.bad("identity", "no private key")
	}
	p.out.SSH = m
	return nil
}

// hasHostKey reports whether there is a line that is neither empty nor a comment.
func hasHostKey(known []byte) bool {
	for line := range strings.Lines(string(known)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return true
		}
	}
	return false
}

func (p *parser) app() error {
	m := &GitHubAppMaterial{BaseURL: string(p.data["githubAppBaseURL"]), InstallationOwner: string(p.data["githubAppInstallationOwner"])}
	var err error
	if m.AppID, err = strconv.ParseInt(strings.TrimSpace(string(p.data["githubAppID"])), 10, 64); err != nil || m.AppID <= 0 {
		return p.bad("githubAppID", "missing or not a positive number")
	}
	switch id := strings.TrimSpace(string(p.data["githubAppInstallationID"])); {
	case id == "" && m.InstallationOwner == "":
		return p.bad("githubAppInstallationID", "missing: one of githubAppInstallationOwner and githubAppInstallationID is required")
	case id != "" && m.InstallationOwner != "":
		return p.bad("githubAppInstallationID", "not together with githubAppInstallationOwner")
	case id != "":
		if m.InstallationID, err = strconv.ParseInt(id, 10, 64); err != nil || m.InstallationID <= 0 {
			return p.bad("githubAppInstallationID", "not a positive number")
		}
	}
	key, why := rsaKey(p.data["githubAppPrivateKey"])
	if why != "" {
		return p.bad("githubAppPrivateKey", why)
	}
	m.key = key
	if m.BaseURL != "" {
		if u, err := url.Parse(m.BaseURL); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
			return p.bad("githubAppBaseURL", "not an absolute http or https URL")
		}
	}
	p.out.GitHubApp = m
	return nil
}

func rsaKey(data []byte) (key *rsa.PrivateKey, why string) {
	b, _ := pem.Decode(data)
	if b == nil {
		return nil, "missing or not PEM data"
	}
	if k, err := x509.ParsePKCS1PrivateKey(b.Bytes); err == nil {
		return k, ""
	}
	k, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, "not an RSA key"
	}
	r, ok := k.(*rsa.PrivateKey)
	if !ok {
		return nil, "not an RSA key"
	}
	return r, ""
}

func (p *parser) proxy() error {
	address := strings.TrimSpace(string(p.data["address"]))
	if len(address) > maxAddress {
		return p.bad("address", "longer than 2048 characters")
	}
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "":
		return p.bad("address", "not an absolute URL")
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5":
		return p.bad("address", "scheme must be http, https or socks5")
	case u.User != nil:
		return p.bad("address", "credentials belong into username and password")
	}
	m := &ProxyMaterial{address: u, Username: string(p.data["username"]), Password: NewSecret(string(p.data["password"]))}
	if m.Username == "" && !m.Password.IsZero() {
		return p.bad("username", "missing")
	}
	p.out.Proxy = m
	return nil
}
