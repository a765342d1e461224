// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package clouds

import (
	"net/http"
	"strings"

	"github.com/gitops-kit/sdk/testserver/serve"
)

const (
	azureAudience  = "api://AzureADTokenExchange"
	azureAssertion = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

func azureFail(w http.ResponseWriter, status int, code string) {
	reply(w, status, map[string]string{"error": code, "error_description": "refused: " + code})
}

// azureAuthority answers the client credentials grant of one tenant, with a
// federated token or a secret.
func (s *Server) azureAuthority(w http.ResponseWriter, r *http.Request, rest string) {
	tenant, ok := strings.CutSuffix(strings.TrimPrefix(rest, "/"), "/oauth2/v2.0/token")
	if !ok {
		http.NotFound(w, r)
		return
	}
	if !post(w, r) {
		return
	}
	f := r.PostForm
	client := tenant + "/" + f.Get("client_id")
	switch {
	case f.Get("grant_type") != "client_credentials":
		azureFail(w, http.StatusBadRequest, "unsupported_grant_type")
		return
	case !strings.HasSuffix(f.Get("scope"), "/.default"):
		azureFail(w, http.StatusBadRequest, "invalid_scope")
		return
	case f.Get("client_secret") != "":
		if !same(s.opts.AzureSecrets[client], f.Get("client_secret")) {
			azureFail(w, http.StatusUnauthorized, "invalid_client")
			return
		}
	default:
		sub, err := s.subject(f.Get("client_assertion"), azureAudience)
		if err != nil || f.Get("client_assertion_type") != azureAssertion || !same(s.opts.AzureClients[client], sub) {
			azureFail(w, http.StatusUnauthorized, "invalid_client")
			return
		}
	}
	serve.SetUser(r.Context(), client)
	token, _ := s.issue(AzureAuthority, client)
	reply(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": int(s.opts.Life.Seconds()), "access_token": token})
}

// azureMetadata is the instance metadata service's token endpoint.
func (s *Server) azureMetadata(w http.ResponseWriter, r *http.Request, rest string) {
	q := r.URL.Query()
	switch {
	case rest != "/metadata/identity/oauth2/token":
		http.NotFound(w, r)
	case r.Header.Get("Metadata") != "true" || r.Header.Get("X-Forwarded-For") != "" || q.Get("api-version") == "" || q.Get("resource") == "":
		azureFail(w, http.StatusBadRequest, "invalid_request")
	case !s.opts.AzureIdentity:
		azureFail(w, http.StatusBadRequest, "identity_not_found")
	default:
		token, _ := s.issue(AzureMetadata, "instance")
		reply(w, http.StatusOK, map[string]string{"token_type": "Bearer", "expires_in": "3600", "access_token": token, "resource": q.Get("resource")})
	}
}

// azureRegistry exchanges an access token for a registry's refresh token.
func (s *Server) azureRegistry(w http.ResponseWriter, r *http.Request, rest string) {
	if rest != "/oauth2/exchange" {
		http.NotFound(w, r)
		return
	}
	if !post(w, r) {
		return
	}
	e, sub, ok := s.Issued(r.PostForm.Get("access_token"))
	if r.PostForm.Get("grant_type") != "access_token" || r.PostForm.Get("service") == "" || !ok || (e != AzureAuthority && e != AzureMetadata) {
		reply(w, http.StatusUnauthorized, map[string]any{"errors": []any{map[string]string{"code": "UNAUTHORIZED"}}})
		return
	}
	token, _ := s.issue(AzureRegistry, sub)
	reply(w, http.StatusOK, map[string]string{"refresh_token": token})
}
