// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ociserver

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/testserver/serve"
)

// token is an access token with what it allows.
type token struct {
	user    string
	scopes  map[string][]string // repository → actions
	expires time.Time
	uses    int
}

// action is what a request needs to be allowed.
func action(r *http.Request, t target) string {
	switch {
	case t.route == "catalog":
		return "*"
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		return "pull"
	case r.Method == http.MethodDelete && t.route != "upload":
		return "delete"
	}
	return "push"
}

func (s *Server) authSnapshot() Auth {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth
}

// allowed asks the policy; user "" is anonymous.
func (a Auth) allowed(user, repo, act string) bool {
	if user == "" && a.Mode != AuthNone && (!a.AnonymousPull || act != "pull") {
		return false
	}
	return a.Access == nil || a.Access(user, repo, act)
}

func (a Auth) login(name, password string) bool {
	want, ok := a.Users[name]
	return ok && subtle.ConstantTimeCompare([]byte(want), []byte(password)) == 1
}

// authorize answers a request that is not allowed and then returns false.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request, t target) bool {
	a := s.authSnapshot()
	act := action(r, t)
	switch a.Mode {
	case AuthBasic:
		name, pass, ok := r.BasicAuth()
		if ok && !a.login(name, pass) {
			return s.challenge(w, a, t, act)
		}
		if !ok {
			name = ""
		}
		serve.SetUser(r.Context(), name)
		if t.route == "base" {
			return name != "" || s.challenge(w, a, t, act)
		}
		if !a.allowed(name, t.repo, act) {
			if name == "" {
				return s.challenge(w, a, t, act)
			}
			apiErr(403, "DENIED", "requested access to the resource is denied").write(w)
			return false
		}
	case AuthToken:
		raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return s.challenge(w, a, t, act)
		}
		tok := s.useToken(a, raw)
		if tok == nil {
			return s.challenge(w, a, t, act)
		}
		serve.SetUser(r.Context(), tok.user)
		if t.route != "base" && !slices.Contains(tok.scopes[t.repo], act) {
			return s.challenge(w, a, t, act)
		}
	case AuthNone:
		if a.Access != nil && t.route != "base" && !a.Access("", t.repo, act) {
			apiErr(403, "DENIED", "requested access to the resource is denied").write(w)
			return false
		}
	}
	return true
}

// useToken counts a use of a token and returns it while it is valid.
func (s *Server) useToken(a Auth, raw string) *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	tok := s.tokens[raw]
	if tok == nil || time.Now().After(tok.expires) {
		return nil
	}
	if tok.uses++; a.ExpireAfter > 0 && tok.uses > a.ExpireAfter {
		delete(s.tokens, raw)
		return nil
	}
	return tok
}

// challenge answers 401 and returns false.
func (s *Server) challenge(w http.ResponseWriter, a Auth, t target, act string) bool {
	c := `Basic realm="registry"`
	if a.Mode == AuthToken {
		realm := a.Realm
		if realm == "" {
			realm = s.URL() + "/token"
		}
		c = fmt.Sprintf(`Bearer realm=%q,service=%q`, realm, a.service())
		switch {
		case t.route == "catalog":
			c += `,scope="registry:catalog:*"`
		case t.repo != "":
			scope := act
			if act == "push" {
				scope = "pull,push"
			}
			c += fmt.Sprintf(`,scope="repository:%s:%s"`, t.repo, scope)
		}
	}
	if a.Challenge != "" {
		c = a.Challenge
	}
	w.Header().Set("WWW-Authenticate", c)
	apiErr(401, "UNAUTHORIZED", "authentication required").write(w)
	return false
}

func (a Auth) service() string {
	if a.Service == "" {
		return "testserver"
	}
	return a.Service
}

// serveToken is the token endpoint: GET with basic authentication, or POST with
// a password or refresh token.
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) {
	a := s.authSnapshot()
	if err := r.ParseForm(); err != nil {
		apiErr(400, "UNSUPPORTED", "malformed form").write(w)
		return
	}
	user, ok := s.tokenUser(a, r)
	if !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="token"`)
		apiErr(401, "UNAUTHORIZED", "incorrect username or password").write(w)
		return
	}
	serve.SetUser(r.Context(), user)
	if svc := r.Form.Get("service"); svc != "" && svc != a.service() {
		apiErr(400, "UNSUPPORTED", "unknown service").write(w)
		return
	}
	life := a.TokenLife
	if life == 0 {
		life = 5 * time.Minute
	}
	tok := &token{user: user, scopes: a.grant(user, r.Form["scope"]), expires: time.Now().Add(life)}
	raw := rand.Text()
	out := map[string]any{
		"token": raw, "access_token": raw, "expires_in": int(life / time.Second), "issued_at": time.Now().UTC().Format(time.RFC3339),
	}
	s.mu.Lock()
	s.tokens[raw] = tok
	if user != "" && (r.Form.Get("offline_token") == "true" || r.Form.Get("access_type") == "offline") {
		refresh := rand.Text()
		s.refresh[refresh] = user
		out["refresh_token"] = refresh
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

// tokenUser authenticates a request for a token; "" is anonymous.
func (s *Server) tokenUser(a Auth, r *http.Request) (string, bool) {
	if r.Method == http.MethodPost {
		switch r.Form.Get("grant_type") {
		case "password":
			return r.Form.Get("username"), a.login(r.Form.Get("username"), r.Form.Get("password"))
		case "refresh_token":
			s.mu.Lock()
			defer s.mu.Unlock()
			user, ok := s.refresh[r.Form.Get("refresh_token")]
			return user, ok
		}
		return "", false
	}
	name, pass, ok := r.BasicAuth()
	if !ok {
		return "", true
	}
	return name, a.login(name, pass)
}

// grant reads scopes and keeps what the policy allows.
func (a Auth) grant(user string, scopes []string) map[string][]string {
	out := map[string][]string{}
	for _, list := range scopes {
		for sc := range strings.SplitSeq(list, " ") {
			kind, rest, _ := strings.Cut(sc, ":")
			i := strings.LastIndexByte(rest, ':')
			if i < 0 {
				continue
			}
			name, acts := rest[:i], rest[i+1:]
			if kind == "registry" {
				name = ""
			} else if kind != "repository" {
				continue
			}
			for act := range strings.SplitSeq(acts, ",") {
				if a.allowed(user, name, act) {
					out[name] = append(out[name], act)
				}
			}
		}
	}
	return out
}
