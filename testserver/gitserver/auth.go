// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"crypto/subtle"
	"net/http"
	"strings"
	"sync"
)

// Auth guards the repositories of a server. The zero value lets everybody read
// and write.
type Auth struct {
	// Users maps names to passwords for basic authentication.
	Users map[string]string
	// Tokens maps bearer tokens to user names. A token is accepted as a basic
	// password as well, with any user name, as forges do.
	Tokens map[string]string
	// AuthorizedKeys maps SSH public keys, in the form of authorized_keys lines
	// ("ssh-ed25519 AAAA…"), to user names.
	AuthorizedKeys map[string]string
	// AnonymousRead lets everybody fetch; only pushes need a user.
	AnonymousRead bool
	// Access decides what an authenticated user may do; nil: everything. Refusal
	// is 403 for HTTP and an error of the command for SSH.
	Access func(user, repo string, write bool) bool
	// ExpireAfter ends the validity of every token and password after this many
	// requests with it, until SetAuth. 0: never.
	ExpireAfter int
}

func (a Auth) open() bool {
	return len(a.Users) == 0 && len(a.Tokens) == 0 && len(a.AuthorizedKeys) == 0
}

// guard holds the current Auth with its counters.
type guard struct {
	mu   sync.Mutex
	auth Auth
	used map[string]int
}

func (g *guard) set(a Auth) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.auth, g.used = a, map[string]int{}
}

func (g *guard) get() Auth {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.auth
}

// spend counts a use of a credential and reports whether it is still valid.
func (g *guard) spend(secret string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.used[secret]++
	return g.auth.ExpireAfter <= 0 || g.used[secret] <= g.auth.ExpireAfter
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// http authenticates a request. It returns the user ("" is anonymous) and the
// status to refuse it with, 0 if it is allowed.
func (g *guard) http(r *http.Request, repo string, write bool) (string, int) {
	a := g.get()
	if a.open() {
		return "", g.access(a, "", repo, write)
	}
	user, ok := g.identify(a, r)
	if !ok {
		if a.AnonymousRead && !write && r.Header.Get("Authorization") == "" {
			return "", g.access(a, "", repo, write)
		}
		return "", http.StatusUnauthorized
	}
	return user, g.access(a, user, repo, write)
}

func (g *guard) access(a Auth, user, repo string, write bool) int {
	if a.Access != nil && !a.Access(user, repo, write) {
		return http.StatusForbidden
	}
	return 0
}

func (g *guard) identify(a Auth, r *http.Request) (string, bool) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		user, ok := a.Tokens[token]
		return user, ok && g.spend(token)
	}
	name, pass, ok := r.BasicAuth()
	if !ok {
		return "", false
	}
	if want, ok := a.Users[name]; ok && same(want, pass) {
		return name, g.spend(name + "\x00" + pass)
	}
	if user, ok := a.Tokens[pass]; ok {
		return user, g.spend(pass)
	}
	return "", false
}
