// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package clouds

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/xml"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/testserver/internal/sigv4"
	"github.com/gitops-kit/sdk/testserver/serve"
)

// awsAudience is what tokens for AWS must be for.
const awsAudience = "sts.amazonaws.com"

func awsFail(w http.ResponseWriter, status int, code string) {
	type inner struct{ Type, Code, Message string }
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
		Error   inner
	}{Error: inner{"Sender", code, "refused: " + code}})
}

// awsSTS answers AssumeRoleWithWebIdentity.
func (s *Server) awsSTS(w http.ResponseWriter, r *http.Request) {
	if !post(w, r) {
		return
	}
	f := r.PostForm
	if f.Get("Action") != "AssumeRoleWithWebIdentity" || f.Get("Version") != "2011-06-15" || f.Get("RoleSessionName") == "" {
		awsFail(w, http.StatusBadRequest, "ValidationError")
		return
	}
	sub, err := s.subject(f.Get("WebIdentityToken"), awsAudience)
	if err != nil {
		awsFail(w, http.StatusBadRequest, "InvalidIdentityToken")
		return
	}
	if !same(s.opts.Roles[f.Get("RoleArn")], sub) {
		awsFail(w, http.StatusForbidden, "AccessDenied")
		return
	}
	serve.SetUser(r.Context(), sub)
	type credentials struct{ AccessKeyId, SecretAccessKey, SessionToken, Expiration string } //nolint:revive // names of the protocol
	c, expires := s.awsKey(AWSSTS, f.Get("RoleArn"))
	w.Header().Set("Content-Type", "text/xml")
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName     xml.Name    `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleWithWebIdentityResponse"`
		Credentials credentials `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}{Credentials: credentials{c.AccessKey, c.SecretKey, c.SessionToken, expires.Format(time.RFC3339)}})
}

// awsKey makes a temporary key; its session token is what Issued knows.
func (s *Server) awsKey(e Endpoint, subject string) (sigv4.Credential, time.Time) {
	session, expires := s.issue(e, subject)
	c := sigv4.Credential{AccessKey: "ASIA" + rand.Text()[:16], SecretKey: rand.Text(), SessionToken: session}
	s.mu.Lock()
	s.keys = append(s.keys, c)
	s.mu.Unlock()
	return c, expires
}

// awsECR answers GetAuthorizationToken, signed with a temporary key.
func (s *Server) awsECR(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, kind string) { reply(w, status, map[string]string{"__type": kind}) }
	b := body(w, r)
	if r.Method != http.MethodPost || r.Header.Get("X-Amz-Target") != "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken" ||
		!strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-amz-json-1.1") {
		fail(http.StatusBadRequest, "UnknownOperationException")
		return
	}
	s.mu.Lock()
	keys := s.keys
	s.mu.Unlock()
	key, e := sigv4.Verify(r, sigv4.Options{Service: "ecr", Region: s.opts.Region, Credentials: keys, Now: s.opts.Now(), Payload: sigv4.Hash(b)})
	if e != nil {
		fail(http.StatusBadRequest, e.Code)
		return
	}
	if _, _, ok := s.Issued(r.Header.Get("X-Amz-Security-Token")); !ok {
		fail(http.StatusBadRequest, "ExpiredTokenException")
		return
	}
	serve.SetUser(r.Context(), key)
	password, expires := s.issue(AWSECR, key)
	reply(w, http.StatusOK, map[string]any{"authorizationData": []any{map[string]any{
		"authorizationToken": base64.StdEncoding.EncodeToString([]byte("AWS:" + password)), "expiresAt": float64(expires.Unix()),
		"proxyEndpoint": "https://000000000000.dkr.ecr." + s.opts.Region + ".amazonaws.com",
	}}})
}

// awsMetadata is version 2 of the instance metadata service.
func (s *Server) awsMetadata(w http.ResponseWriter, r *http.Request, rest string) {
	if rest == "/latest/api/token" {
		if r.Method != http.MethodPut || r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds") == "" || r.Header.Get("X-Forwarded-For") != "" {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		n := rand.Text()
		s.mu.Lock()
		s.nonces[n] = true
		s.mu.Unlock()
		_, _ = io.WriteString(w, n)
		return
	}
	s.mu.Lock()
	known := s.nonces[r.Header.Get("X-Aws-Ec2-Metadata-Token")]
	s.mu.Unlock()
	const path = "/latest/meta-data/iam/security-credentials/"
	switch {
	case !known:
		http.Error(w, "unauthorized", http.StatusUnauthorized)
	case s.opts.InstanceRole == "":
		http.NotFound(w, r)
	case rest == path:
		_, _ = io.WriteString(w, s.opts.InstanceRole)
	case rest == path+s.opts.InstanceRole:
		c, expires := s.awsKey(AWSMetadata, s.opts.InstanceRole)
		reply(w, http.StatusOK, map[string]string{
			"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": c.AccessKey, "SecretAccessKey": c.SecretKey, "Token": c.SessionToken,
			"Expiration": expires.Format(time.RFC3339),
		})
	default:
		http.NotFound(w, r)
	}
}
