// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package clouds_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"github.com/gitops-kit/sdk/testserver/clouds"
	"github.com/gitops-kit/sdk/testserver/internal/sigv4"
	"github.com/gitops-kit/sdk/testserver/oidc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const subject = "system:serviceaccount:ns:app"

// world is an issuer, the clouds that trust it, and a way to ask them.
type world struct {
	t      *testing.T
	issuer *oidc.Server
	s      *clouds.Server
}

func newWorld(t *testing.T, o clouds.Options) world {
	t.Helper()
	issuer := oidc.Start(t, oidc.Options{Algorithm: "ES256"})
	o.Issuer = issuer
	return world{t, issuer, clouds.Start(t, o)}
}

func (w world) token(c oidc.Claims) string {
	w.t.Helper()
	if c["sub"] == nil {
		c["sub"] = subject
	}
	tok, err := w.issuer.Token(c)
	if err != nil {
		w.t.Fatal(err)
	}
	return tok
}

// ask sends a request and returns status and body.
func (w world) ask(method string, e clouds.Endpoint, path, body string, header ...string) (int, string) {
	w.t.Helper()
	c := w.s.Client()
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.s.Endpoint(e)+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (w world) form(e clouds.Endpoint, path string, kv ...string) (int, string) {
	w.t.Helper()
	f := url.Values{}
	for i := 0; i+1 < len(kv); i += 2 {
		f.Set(kv[i], kv[i+1])
	}
	return w.ask("POST", e, path, f.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

func field(t *testing.T, body, name string) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return fmt.Sprint(m[name])
}

// TST-24
func TestAWS(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t, clouds.Options{Roles: map[string]string{"arn:r": subject}, InstanceRole: "node"})
	assume := func(token, role string) (int, string) {
		return w.form(clouds.AWSSTS, "/", "Action", "AssumeRoleWithWebIdentity", "Version", "2011-06-15", "RoleSessionName", "x", "RoleArn", role, "WebIdentityToken", token)
	}
	refused := map[string]struct{ token, role, code string }{
		"Audience": {w.token(oidc.Claims{"aud": "other"}), "arn:r", "InvalidIdentityToken"},
		"Issuer":   {w.token(oidc.Claims{"aud": "sts.amazonaws.com", "iss": "x"}), "arn:r", "InvalidIdentityToken"},
		"Expired":  {w.token(oidc.Claims{"aud": "sts.amazonaws.com", "exp": 1}), "arn:r", "InvalidIdentityToken"},
		"Subject":  {w.token(oidc.Claims{"aud": "sts.amazonaws.com", "sub": "other"}), "arn:r", "AccessDenied"},
		"Role":     {w.token(oidc.Claims{"aud": "sts.amazonaws.com"}), "arn:other", "AccessDenied"},
	}
	for name, tc := range refused {
		status, body := assume(tc.token, tc.role)
		g.Expect(status).To(BeNumerically(">=", 400), name)
		g.Expect(body).To(ContainSubstring("<Code>"+tc.code+"</Code>"), name)
	}
	status, body := assume(w.token(oidc.Claims{"aud": "sts.amazonaws.com"}), "arn:r")
	g.Expect(status).To(Equal(200))
	var res struct {
		C struct{ AccessKeyId, SecretAccessKey, SessionToken string } `xml:"AssumeRoleWithWebIdentityResult>Credentials"` //nolint:revive // names of the protocol
	}
	g.Expect(xml.Unmarshal([]byte(body), &res)).To(Succeed())
	_, who, ok := w.s.Issued(res.C.SessionToken)
	g.Expect(ok).To(BeTrue())
	g.Expect(who).To(Equal("arn:r"))

	ecr := func(secret string) (int, string) {
		date := time.Now().UTC().Format("20060102T150405Z")
		scope := []string{res.C.AccessKeyId, date[:8], "us-east-1", "ecr", "aws4_request"}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.s.Endpoint(clouds.AWSECR)+"/", nil)
		g.Expect(err).NotTo(HaveOccurred())
		r.Header.Set("X-Amz-Date", date)
		sig := sigv4.Sign(secret, scope, date, sigv4.Canonical(r, "host;x-amz-date", sigv4.Hash([]byte("{}"))))
		return w.ask("POST", clouds.AWSECR, "/", "{}", "Content-Type", "application/x-amz-json-1.1", "X-Amz-Target",
			"AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken", "X-Amz-Date", date, "X-Amz-Security-Token", res.C.SessionToken,
			"Authorization", "AWS4-HMAC-SHA256 Credential="+strings.Join(scope, "/")+", SignedHeaders=host;x-amz-date, Signature="+sig)
	}
	status, body = ecr(res.C.SecretAccessKey)
	g.Expect(status).To(Equal(200), body)
	g.Expect(body).To(ContainSubstring("authorizationToken"))
	status, _ = ecr("wrong")
	g.Expect(status).To(Equal(400))

	status, _ = w.ask("GET", clouds.AWSMetadata, "/latest/meta-data/iam/security-credentials/", "")
	g.Expect(status).To(Equal(401), "version 1 is off")
	_, nonce := w.ask("PUT", clouds.AWSMetadata, "/latest/api/token", "", "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "60")
	_, body = w.ask("GET", clouds.AWSMetadata, "/latest/meta-data/iam/security-credentials/node", "", "X-Aws-Ec2-Metadata-Token", nonce)
	_, who, ok = w.s.Issued(field(t, body, "Token"))
	g.Expect(ok).To(BeTrue())
	g.Expect(who).To(Equal("node"))
}

// TST-24
func TestAzure(t *testing.T) {
	g := NewWithT(t)
	w := newWorld(t, clouds.Options{AzureClients: map[string]string{"t/c": subject}, AzureSecrets: map[string]string{"t/s": "canary"}, AzureIdentity: true})
	login := func(client, assertion, secret string) (int, string) {
		return w.form(clouds.AzureAuthority, "/t/oauth2/v2.0/token", "grant_type", "client_credentials", "scope", "https://x/.default", "client_id", client,
			"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", assertion, "client_secret", secret)
	}
	status, body := login("c", w.token(oidc.Claims{"aud": "other"}), "")
	g.Expect(status).To(Equal(401))
	g.Expect(field(t, body, "error")).To(Equal("invalid_client"))
	status, _ = login("s", "", "wrong")
	g.Expect(status).To(Equal(401))
	status, _ = login("s", "", "canary")
	g.Expect(status).To(Equal(200))
	status, body = login("c", w.token(oidc.Claims{"aud": "api://AzureADTokenExchange"}), "")
	g.Expect(status).To(Equal(200))
	access := field(t, body, "access_token")
	status, body = w.form(clouds.AzureRegistry, "/oauth2/exchange", "grant_type", "access_token", "service", "x.azurecr.io", "access_token", access)
	g.Expect(status).To(Equal(200))
	_, who, ok := w.s.Issued(field(t, body, "refresh_token"))
	g.Expect(ok).To(BeTrue())
	g.Expect(who).To(Equal("t/c"))
	status, _ = w.form(clouds.AzureRegistry, "/oauth2/exchange", "grant_type", "access_token", "service", "x", "access_token", "forged")
	g.Expect(status).To(Equal(401))
	path := "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=r"
	status, _ = w.ask("GET", clouds.AzureMetadata, path, "")
	g.Expect(status).To(Equal(400), "no Metadata header")
	status, _ = w.ask("GET", clouds.AzureMetadata, path, "", "Metadata", "true")
	g.Expect(status).To(Equal(200))
	for _, q := range w.s.Log() {
		g.Expect(fmt.Sprint(q)).NotTo(ContainSubstring("canary"))
	}
}

// TST-24
func TestGoogle(t *testing.T) {
	g := NewWithT(t)
	now := time.Now()
	w := newWorld(t, clouds.Options{
		GooglePool: "pool", GoogleAccounts: map[string]string{"sa@p.iam.gserviceaccount.com": subject}, GoogleIdentity: "node@p",
		Life: time.Minute, Now: func() time.Time { return now },
	})
	exchange := func(aud, token string) (int, string) {
		return w.form(clouds.GoogleSTS, "/v1/token", "grant_type", "urn:ietf:params:oauth:grant-type:token-exchange", "audience", aud, "scope", "s",
			"requested_token_type", "urn:ietf:params:oauth:token-type:access_token", "subject_token_type", "urn:ietf:params:oauth:token-type:jwt", "subject_token", token)
	}
	status, body := exchange("other", w.token(oidc.Claims{"aud": "pool"}))
	g.Expect(status).To(Equal(400))
	g.Expect(field(t, body, "error")).To(Equal("invalid_target"))
	status, body = exchange("pool", w.token(oidc.Claims{"aud": "other"}))
	g.Expect(status).To(Equal(400))
	g.Expect(field(t, body, "error")).To(Equal("invalid_grant"))
	status, body = exchange("pool", w.token(oidc.Claims{"aud": "pool"}))
	g.Expect(status).To(Equal(200))
	sts := field(t, body, "access_token")
	impersonate := func(account, token string) int {
		status, _ := w.ask("POST", clouds.GoogleIAM, "/v1/projects/-/serviceAccounts/"+account+":generateAccessToken", `{"scope":["s"]}`, "Authorization", "Bearer "+token)
		return status
	}
	g.Expect(impersonate("sa@p.iam.gserviceaccount.com", sts)).To(Equal(200))
	g.Expect(impersonate("other@p.iam.gserviceaccount.com", sts)).To(Equal(403))
	now = now.Add(2 * time.Minute)
	g.Expect(impersonate("sa@p.iam.gserviceaccount.com", sts)).To(Equal(401), "expired")
	path := "/computeMetadata/v1/instance/service-accounts/default/token"
	status, _ = w.ask("GET", clouds.GoogleMetadata, path, "")
	g.Expect(status).To(Equal(403))
	status, _ = w.ask("GET", clouds.GoogleMetadata, path, "", "Metadata-Flavor", "Google")
	g.Expect(status).To(Equal(200))
}

// TST-24
func TestGitHub(t *testing.T) {
	g := NewWithT(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	g.Expect(err).NotTo(HaveOccurred())
	w := newWorld(t, clouds.Options{GitHubApps: map[string]*rsa.PublicKey{"7": &key.PublicKey}, GitHubInstallations: map[string]int64{"org": 42, "user:ann": 43}})
	app := func(iss string, life time.Duration) string {
		enc := func(v any) string { b, _ := json.Marshal(v); return base64.RawURLEncoding.EncodeToString(b) }
		text := enc(map[string]string{"alg": "RS256"}) + "." + enc(map[string]any{"iss": iss, "iat": time.Now().Unix() - 30, "exp": time.Now().Add(life).Unix()})
		sum := sha256.Sum256([]byte(text))
		sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
		g.Expect(err).NotTo(HaveOccurred())
		return "Bearer " + text + "." + base64.RawURLEncoding.EncodeToString(sig)
	}
	ask := func(method, path, auth string) (int, string) {
		return w.ask(method, clouds.GitHub, path, "", "Authorization", auth)
	}
	good := app("7", time.Minute)
	for name, auth := range map[string]string{"none": "", "other app": app("8", time.Minute), "too long": app("7", time.Hour), "expired": app("7", -time.Minute)} {
		status, _ := ask("GET", "/app", auth)
		g.Expect(status).To(Equal(401), name)
	}
	_, body := ask("GET", "/orgs/org/installation", good)
	g.Expect(field(t, body, "id")).To(Equal("42"))
	status, _ := ask("GET", "/orgs/ann/installation", good)
	g.Expect(status).To(Equal(404))
	_, body = ask("GET", "/users/ann/installation", good)
	g.Expect(field(t, body, "id")).To(Equal("43"))
	status, body = ask("POST", "/app/installations/42/access_tokens", good)
	g.Expect(status).To(Equal(201))
	_, who, ok := w.s.Issued(field(t, body, "token"))
	g.Expect(ok).To(BeTrue())
	g.Expect(who).To(Equal("installation/42"))
	status, _ = ask("POST", "/app/installations/99/access_tokens", good)
	g.Expect(status).To(Equal(404))
}

func ExampleRun() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := clouds.Run(ctx, clouds.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Stop()
	c := s.Client()
	defer c.CloseIdleConnections()
	resp, err := c.Get(s.Endpoint(clouds.GitHub) + "/app")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = resp.Body.Close()
	_, _, ok := s.Issued("forged")
	fmt.Println(resp.Status, ok)
	// Output: 401 Unauthorized false
}
