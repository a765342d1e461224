// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package clouds

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/testserver/serve"
)

// githubMaxLife is the longest life of an application's own token.
const githubMaxLife = 10 * time.Minute

func githubFail(w http.ResponseWriter, status int, text string) {
	reply(w, status, map[string]string{"message": text})
}

// githubApp verifies an application's token and returns its id; "" is nobody.
func (s *Server) githubApp(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	raw := make([][]byte, 3)
	for i, p := range parts {
		b, err := base64.RawURLEncoding.DecodeString(p)
		if err != nil {
			return ""
		}
		raw[i] = b
	}
	var header struct{ Alg string }
	var claims struct {
		Iss      any
		Iat, Exp int64
	}
	if json.Unmarshal(raw[0], &header) != nil || json.Unmarshal(raw[1], &claims) != nil || header.Alg != "RS256" {
		return ""
	}
	id := fmt.Sprint(claims.Iss)
	if n, ok := claims.Iss.(float64); ok {
		id = fmt.Sprint(int64(n))
	}
	key := s.opts.GitHubApps[id]
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if key == nil || rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], raw[2]) != nil {
		return ""
	}
	now := s.opts.Now().Unix()
	if claims.Iat > now || claims.Exp <= now || claims.Exp-now > int64(githubMaxLife/time.Second) {
		return ""
	}
	return id
}

// github answers the endpoints of applications.
func (s *Server) github(w http.ResponseWriter, r *http.Request, rest string) {
	app := s.githubApp(bearer(r))
	if app == "" {
		githubFail(w, http.StatusUnauthorized, "A JSON web token could not be decoded")
		return
	}
	serve.SetUser(r.Context(), app)
	parts := strings.Split(strings.Trim(rest, "/"), "/")
	switch {
	case rest == "/app" && r.Method == http.MethodGet:
		reply(w, http.StatusOK, map[string]string{"slug": "test-app"})
	case len(parts) == 3 && parts[2] == "installation" && r.Method == http.MethodGet:
		owner := parts[1]
		if parts[0] == "users" {
			owner = "user:" + owner
		}
		id, ok := s.opts.GitHubInstallations[owner]
		if !ok || (parts[0] != "users" && parts[0] != "orgs") {
			githubFail(w, http.StatusNotFound, "Not Found")
			return
		}
		reply(w, http.StatusOK, map[string]any{"id": id})
	case len(parts) == 4 && parts[0] == "app" && parts[1] == "installations" && parts[3] == "access_tokens" && r.Method == http.MethodPost:
		if !slices.Contains(slices.Collect(maps.Values(mapStrings(s.opts.GitHubInstallations))), parts[2]) {
			githubFail(w, http.StatusNotFound, "Not Found")
			return
		}
		token, expires := s.issue(GitHub, "installation/"+parts[2])
		reply(w, http.StatusCreated, map[string]any{"token": token, "expires_at": expires.Format(time.RFC3339)})
	default:
		githubFail(w, http.StatusNotFound, "Not Found")
	}
}

func mapStrings(m map[string]int64) map[string]string {
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = fmt.Sprint(v)
	}
	return out
}
