// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package blobregistry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/controllers/internal/netguard"
	"github.com/gitops-kit/sdk/controllers/internal/redact"
)

// authenticator knows what the registry wants to be shown. One request for a
// token is in flight at a time.
type authenticator struct {
	r    *Registry
	turn chan struct{} // a lock that a context ends

	loaded  bool
	cred    Credential
	basic   bool
	realm   string
	service string
	tokens  map[string]token // by actions
}

type token struct {
	value redact.Secret
	until time.Time
}

func (a *authenticator) lock(ctx context.Context) error {
	select {
	case a.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *authenticator) unlock() { <-a.turn }

// header is the Authorization of a request, "" if nothing is known to be
// needed.
func (a *authenticator) header(ctx context.Context, actions string) (string, error) {
	if err := a.lock(ctx); err != nil {
		return "", err
	}
	defer a.unlock()
	if err := a.load(ctx, false); err != nil {
		return "", err
	}
	return a.show(ctx, actions)
}

// load asks for the credentials, once.
func (a *authenticator) load(ctx context.Context, again bool) error {
	if a.loaded && !again {
		return nil
	}
	if f := a.r.o.Credentials; f != nil {
		c, err := f(ctx)
		if err != nil {
			return err
		}
		a.cred = c
	}
	a.loaded = true
	if a.cred.IsZero() {
		return nil
	}
	return a.r.o.Net.CheckCredentials(a.r.base)
}

func (a *authenticator) show(ctx context.Context, actions string) (string, error) {
	switch {
	case !a.cred.RegistryToken.IsZero():
		return "Bearer " + a.cred.RegistryToken.Reveal(), nil
	case a.realm != "":
		t, ok := a.tokens[actions]
		if !ok || time.Now().After(t.until) {
			var err error
			if t, err = a.fetch(ctx, actions); err != nil {
				return "", err
			}
			a.tokens[actions] = t
		}
		return "Bearer " + t.value.Reveal(), nil
	case a.basic && a.cred.Username != "":
		return basicAuth(a.cred), nil
	}
	return "", nil
}

func basicAuth(c Credential) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password.Reveal()))
}

// challenged answers a 401 to a request that carried used.
func (a *authenticator) challenged(ctx context.Context, h http.Header, actions, used string) (string, error) {
	if err := a.lock(ctx); err != nil {
		return "", err
	}
	defer a.unlock()
	if now := a.known(actions); now != "" && now != used {
		return now, nil // somebody else was faster
	}
	if used != "" {
		delete(a.tokens, actions)
		if err := a.load(ctx, true); err != nil {
			return "", err
		}
	}
	a.basic, a.realm, a.service = false, "", ""
	for _, c := range parseChallenges(h.Values("Www-Authenticate")) {
		switch {
		case c.scheme == "bearer" && c.params["realm"] != "" && a.realm == "":
			a.realm, a.service = c.params["realm"], c.params["service"]
		case c.scheme == "basic":
			a.basic = true
		}
	}
	return a.show(ctx, actions)
}

// known is what show would give without a request.
func (a *authenticator) known(actions string) string {
	if a.realm != "" {
		if t, ok := a.tokens[actions]; ok && time.Now().Before(t.until) {
			return "Bearer " + t.value.Reveal()
		}
		return ""
	}
	if a.basic && a.cred.Username != "" {
		return basicAuth(a.cred)
	}
	return ""
}

// fetch gets a token for actions on the repository, nothing more, whatever
// the challenge said.
func (a *authenticator) fetch(ctx context.Context, actions string) (token, error) {
	const op = "get token"
	u, err := url.Parse(a.realm)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !a.r.o.Insecure) {
		return token{}, fmt.Errorf("%w: malformed or without TLS", ErrRealmBlocked)
	}
	if !a.cred.IsZero() {
		if !a.allowed(u) {
			return token{}, fmt.Errorf("%w: %q", ErrRealmBlocked, redact.Text(u.Host, 256))
		}
		if err := a.r.o.Net.CheckCredentials(u); err != nil {
			return token{}, err
		}
	}
	form := url.Values{"scope": {"repository:" + a.r.repo + ":" + actions}}
	if a.service != "" {
		form.Set("service", a.service)
	}
	c := call{op: op, method: http.MethodGet, header: http.Header{}}
	authorization := ""
	if id := a.cred.IdentityToken; !id.IsZero() {
		form.Set("grant_type", "refresh_token")
		form.Set("client_id", a.r.o.UserAgent)
		form.Set("refresh_token", id.Reveal())
		body := form.Encode()
		c.method, c.size, c.body = http.MethodPost, int64(len(body)), func() io.Reader { return strings.NewReader(body) }
		c.header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		q := u.Query()
		for k, v := range form {
			q[k] = v
		}
		u.RawQuery = q.Encode()
		if a.cred.Username != "" {
			authorization = basicAuth(a.cred)
		}
	}
	if authorization != "" {
		c.header.Set("Authorization", authorization)
	}
	resp, err := a.r.send(ctx, c, u, a.r.ours(u), "")
	if err != nil {
		return token{}, err
	}
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		_ = resp.Body.Close()
		return token{}, fmt.Errorf("%w: of the token server", netguard.ErrRedirectBlocked)
	case resp.StatusCode != http.StatusOK:
		e := a.r.answered(op, c.method, resp)
		if e.Status == http.StatusBadRequest {
			e.Err = ErrUnauthorized
		}
		return token{}, e
	}
	defer resp.Body.Close() //nolint:errcheck // read or given up
	return readToken(resp.Body)
}

func readToken(r io.Reader) (token, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxToken+1)) //nolint:forbidigo // limited
	if err != nil {
		return token{}, err
	}
	if len(b) > maxToken {
		return token{}, &artifact.LimitError{Name: "oci-token", Max: maxToken, Got: int64(len(b))}
	}
	var doc struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return token{}, fmt.Errorf("%w: malformed token", ErrNotRegistry)
	}
	if doc.Token == "" {
		doc.Token = doc.AccessToken
	}
	if doc.Token == "" || strings.ContainsFunc(doc.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return token{}, fmt.Errorf("%w: no token", ErrNotRegistry)
	}
	life := time.Duration(min(max(doc.ExpiresIn, 60), 3600)) * time.Second
	return token{value: redact.NewSecret(doc.Token), until: time.Now().Add(life * 4 / 5)}, nil
}

// allowed reports whether credentials may go to a token server: the
// registry's own origin, its registrable domain unless it is an identity
// token, Docker's, and those that are listed.
func (a *authenticator) allowed(realm *url.URL) bool {
	if a.r.ours(realm) {
		return true
	}
	host, own := strings.ToLower(realm.Hostname()), strings.ToLower(a.r.base.Hostname())
	if slices.Contains(a.r.o.Net.TokenRealms, host) || slices.Contains(a.r.o.Net.TokenRealms, strings.ToLower(realm.Host)) {
		return true
	}
	if own == "registry-1.docker.io" && host == "auth.docker.io" {
		return true
	}
	if !a.cred.IdentityToken.IsZero() {
		return false
	}
	x, err := publicsuffix.EffectiveTLDPlusOne(host)
	if err != nil {
		return false
	}
	y, err := publicsuffix.EffectiveTLDPlusOne(own)
	return err == nil && x == y
}

// challenge is one scheme of a WWW-Authenticate header.
type challenge struct {
	scheme string
	params map[string]string
}

// parseChallenges reads the values of a WWW-Authenticate header and skips
// what is malformed.
func parseChallenges(values []string) []challenge {
	var out []challenge
	for _, v := range values {
		for v != "" {
			v = strings.TrimLeft(v, " \t,")
			word, rest := cutToken(v)
			if word == "" {
				break
			}
			trimmed := strings.TrimLeft(rest, " \t")
			if !strings.HasPrefix(trimmed, "=") { // a scheme begins
				out = append(out, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
				v = rest
				continue
			}
			value, rest := cutValue(strings.TrimLeft(trimmed[1:], " \t"))
			if len(out) > 0 {
				out[len(out)-1].params[strings.ToLower(word)] = value
			}
			v = rest
		}
	}
	return out
}

func cutToken(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t,=\"")
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i:]
}

func cutValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		i := strings.IndexAny(s, " \t,")
		if i < 0 {
			return s, ""
		}
		return s[:i], s[i:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}
