// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package clouds

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/testserver/serve"
)

func googleFail(w http.ResponseWriter, code string) {
	reply(w, http.StatusBadRequest, map[string]string{"error": code, "error_description": "refused: " + code})
}

// googleSTS answers the token exchange of a workload identity pool.
func (s *Server) googleSTS(w http.ResponseWriter, r *http.Request, rest string) {
	if rest != "/v1/token" {
		http.NotFound(w, r)
		return
	}
	f := func(k string) string { return r.PostForm.Get(k) }
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		var m map[string]string
		if err := json.Unmarshal(body(w, r), &m); err != nil {
			googleFail(w, "invalid_request")
			return
		}
		f = func(k string) string {
			parts := strings.Split(k, "_") // JSON has camel case
			for i, p := range parts[1:] {
				parts[i+1] = strings.ToUpper(p[:1]) + p[1:]
			}
			return m[strings.Join(parts, "")]
		}
	} else if !post(w, r) {
		return
	}
	if f("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" || f("subject_token_type") != "urn:ietf:params:oauth:token-type:jwt" ||
		f("requested_token_type") != "urn:ietf:params:oauth:token-type:access_token" || f("scope") == "" {
		googleFail(w, "invalid_request")
		return
	}
	if s.opts.GooglePool == "" || f("audience") != s.opts.GooglePool {
		googleFail(w, "invalid_target")
		return
	}
	sub, err := s.subject(f("subject_token"), s.opts.GooglePool)
	if err != nil {
		googleFail(w, "invalid_grant")
		return
	}
	serve.SetUser(r.Context(), sub)
	token, _ := s.issue(GoogleSTS, sub)
	reply(w, http.StatusOK, map[string]any{
		"access_token": token, "expires_in": int(s.opts.Life.Seconds()), "token_type": "Bearer",
		"issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
	})
}

// googleIAM answers generateAccessToken.
func (s *Server) googleIAM(w http.ResponseWriter, r *http.Request, rest string) {
	account, ok := strings.CutPrefix(rest, "/v1/projects/-/serviceAccounts/")
	account, ok2 := strings.CutSuffix(account, ":generateAccessToken")
	if !ok || !ok2 || r.Method != http.MethodPost {
		http.NotFound(w, r)
		return
	}
	fail := func(status int, code string) {
		reply(w, status, map[string]any{"error": map[string]any{"code": status, "status": code}})
	}
	var in struct {
		Scope []string `json:"scope"`
	}
	if err := json.Unmarshal(body(w, r), &in); err != nil || len(in.Scope) == 0 {
		fail(http.StatusBadRequest, "INVALID_ARGUMENT")
		return
	}
	e, sub, ok := s.Issued(bearer(r))
	if !ok || e != GoogleSTS {
		fail(http.StatusUnauthorized, "UNAUTHENTICATED")
		return
	}
	if !same(s.opts.GoogleAccounts[account], sub) {
		fail(http.StatusForbidden, "PERMISSION_DENIED")
		return
	}
	serve.SetUser(r.Context(), account)
	token, expires := s.issue(GoogleIAM, account)
	reply(w, http.StatusOK, map[string]string{"accessToken": token, "expireTime": expires.Format(time.RFC3339)})
}

// googleMetadata is the metadata server.
func (s *Server) googleMetadata(w http.ResponseWriter, r *http.Request, rest string) {
	w.Header().Set("Metadata-Flavor", "Google")
	if r.Header.Get("Metadata-Flavor") != "Google" || r.Header.Get("X-Forwarded-For") != "" {
		http.Error(w, "forbidden", http.StatusForbidden)
		return
	}
	const base = "/computeMetadata/v1/"
	text := map[string]string{
		base + "project/project-id": "test-project", base + "instance/attributes/cluster-name": "test-cluster",
		base + "instance/attributes/cluster-location": "test-location", base + "instance/service-accounts/default/email": s.opts.GoogleIdentity,
	}[rest]
	switch {
	case text != "":
		w.Header().Set("Content-Type", "application/text")
		_, _ = w.Write([]byte(text))
	case rest == base+"instance/service-accounts/default/token" && s.opts.GoogleIdentity != "":
		token, _ := s.issue(GoogleMetadata, s.opts.GoogleIdentity)
		reply(w, http.StatusOK, map[string]any{"access_token": token, "expires_in": int(s.opts.Life.Seconds()), "token_type": "Bearer"})
	default:
		http.NotFound(w, r)
	}
}
