// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/git/internal/redact"
)

// Secret is a value that nothing prints.
type Secret = redact.Secret

// NewSecret wraps a value.
func NewSecret(s string) Secret { return redact.NewSecret(s) }

// CredentialRequest says what the credential is for.
type CredentialRequest struct {
	// URL is the configured origin and path, without userinfo.
	URL *url.URL
	// Retry is set when the server refused the last answer with 401: a cache
	// must not answer again.
	Retry bool
}

// CredentialFunc returns the credential for a request. It is called from
// several goroutines at once.
type CredentialFunc func(ctx context.Context, r CredentialRequest) (Credential, error)

// Credential is how a client proves who it is. The zero value is anonymous.
type Credential struct {
	// Username goes with Password; for ssh it is the login name.
	Username string
	// Password is sent by basic authentication, or by ssh when there is no key.
	Password Secret
	// Bearer is sent as a bearer token.
	Bearer Secret
	// SSHKey is a private key in PEM form.
	SSHKey Secret
	// Passphrase decrypts SSHKey.
	Passphrase Secret
	// Identity is a stable name of the principal, so that a rotated secret
	// keeps its connections and mirror. Zero: a hash of the secret material.
	Identity string
	// ExpiresAt is when it stops working. Zero: unknown.
	ExpiresAt time.Time
}

// Static returns a CredentialFunc that always answers c.
func Static(c Credential) CredentialFunc {
	return func(context.Context, CredentialRequest) (Credential, error) { return c, nil }
}

// anonymous reports whether there is nothing to send.
func (c Credential) anonymous() bool {
	return c.Password.IsZero() && c.Bearer.IsZero() && c.SSHKey.IsZero() && c.Username == ""
}

// identity is the key of pools: two credentials with different identities
// share nothing.
func (c Credential) identity() string {
	if c.anonymous() && c.Identity == "" {
		return "anonymous"
	}
	h := sha256.New()
	parts := []string{"identity", c.Identity}
	if c.Identity == "" {
		parts = []string{"secret", c.Username, c.Password.Reveal(), c.Bearer.Reveal(), c.SSHKey.Reveal(), c.Passphrase.Reveal()}
	}
	for _, p := range parts {
		_, _ = fmt.Fprintf(h, "%d:%s,", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// same reports whether two credentials would be sent alike.
func (c Credential) same(o Credential) bool {
	return c.Username == o.Username && c.Password.Reveal() == o.Password.Reveal() && c.Bearer.Reveal() == o.Bearer.Reveal() &&
		c.SSHKey.Reveal() == o.SSHKey.Reveal()
}

// check refuses combinations before anything is dialled.
func (c Credential) check(scheme string) error {
	web := scheme != "ssh"
	switch {
	case !c.Bearer.IsZero() && !c.Password.IsZero():
		return fmt.Errorf("%w: both a password and a bearer token", ErrInvalidOption)
	case web && !c.SSHKey.IsZero():
		return fmt.Errorf("%w: an ssh key for an %s URL", ErrInvalidOption, scheme)
	case web && !c.Password.IsZero() && c.Username == "":
		return fmt.Errorf("%w: a password without username", ErrInvalidOption)
	case !web && !c.Bearer.IsZero():
		return fmt.Errorf("%w: a bearer token for an ssh URL", ErrInvalidOption)
	case strings.ContainsAny(c.Username, "\r\n\x00") || web && strings.Contains(c.Username, ":"):
		return fmt.Errorf("%w: username holds a character that cannot be sent", ErrInvalidOption)
	case strings.ContainsAny(c.Bearer.Reveal(), "\r\n\x00") || strings.ContainsAny(c.Password.Reveal(), "\r\n\x00") && web:
		return fmt.Errorf("%w: secret holds a character that cannot be sent", ErrInvalidOption)
	case !web && strings.HasPrefix(c.Username, "-"):
		return fmt.Errorf("%w: username begins with a dash", ErrInvalidOption)
	}
	return nil
}

// credential asks for the credential of one operation.
func (c *Client) credential(ctx context.Context, retry bool) (Credential, error) {
	if !retry {
		c.mu.Lock()
		cred, ok := c.token, c.hasToken
		c.mu.Unlock()
		if ok && time.Until(cred.ExpiresAt) > time.Minute {
			return cred, nil
		}
	}
	var cred Credential
	if c.opts.Credentials != nil {
		u := *c.url
		var err error
		if cred, err = c.opts.Credentials(ctx, CredentialRequest{URL: &u, Retry: retry}); err != nil {
			return Credential{}, fmt.Errorf("credential: %w", err)
		}
	}
	if cred.Username == "" && c.user != nil {
		c.fromURL(&cred)
	}
	if err := cred.check(c.url.Scheme); err != nil {
		return Credential{}, err
	}
	if !cred.anonymous() {
		if err := c.opts.Net.CheckCredentials(c.url); err != nil {
			return Credential{}, err
		}
	}
	c.mu.Lock()
	c.token, c.hasToken = cred, !cred.ExpiresAt.IsZero()
	c.mu.Unlock()
	return cred, nil
}

// fromURL uses the userinfo of the URL where the credential says nothing.
func (c *Client) fromURL(cred *Credential) {
	if !cred.Bearer.IsZero() {
		return
	}
	cred.Username = c.user.Username()
	if pw, ok := c.user.Password(); ok && cred.Password.IsZero() && cred.SSHKey.IsZero() {
		cred.Password = NewSecret(pw)
	}
}
