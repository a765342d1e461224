// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package clouds

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/internal/sigv4"
	"github.com/gitops-kit/sdk/testserver/oidc"
	"github.com/gitops-kit/sdk/testserver/record"
	"github.com/gitops-kit/sdk/testserver/serve"
)

const maxBody = 64 << 10

// Request is an entry of the server's log.
type Request = record.Request

// Match selects entries of the log and requests for fault plans.
type Match = record.Match

// Endpoint names one imitated service; it is also the route of its requests.
type Endpoint string

// The endpoints.
const (
	AWSSTS         Endpoint = "aws-sts"
	AWSECR         Endpoint = "aws-ecr"
	AWSMetadata    Endpoint = "aws-metadata"
	AzureAuthority Endpoint = "azure-authority"
	AzureMetadata  Endpoint = "azure-metadata"
	AzureRegistry  Endpoint = "azure-registry"
	GoogleSTS      Endpoint = "google-sts"
	GoogleIAM      Endpoint = "google-iam"
	GoogleMetadata Endpoint = "google-metadata"
	GitHub         Endpoint = "github"
)

// Options configure a [Server]. The zero value trusts no token and knows no
// identity: everything is refused.
type Options struct {
	// TLS serves HTTPS.
	TLS bool
	// Hosts are further names in the TLS certificate.
	Hosts []string
	// Issuer verifies the Kubernetes tokens that are exchanged.
	Issuer *oidc.Server
	// Region of AWS signatures; zero: "us-east-1".
	Region string
	// Roles maps AWS role ARNs to the subjects that may assume them.
	Roles map[string]string
	// InstanceRole is the role of the AWS instance; "": none.
	InstanceRole string
	// AzureClients maps "tenant/client" to the subject of its federated
	// credential; AzureSecrets to its secret.
	AzureClients, AzureSecrets map[string]string
	// AzureIdentity lets the metadata service give tokens.
	AzureIdentity bool
	// GooglePool is the audience of the Google workload identity pool.
	GooglePool string
	// GoogleAccounts maps service account addresses to the subjects that may
	// impersonate them.
	GoogleAccounts map[string]string
	// GoogleIdentity is the instance's service account; "": none.
	GoogleIdentity string
	// GitHubApps maps application ids to their public keys.
	GitHubApps map[string]*rsa.PublicKey
	// GitHubInstallations maps owners to installation ids; an owner that begins
	// with "user:" is a user, not an organization.
	GitHubInstallations map[string]int64
	// Life is how long issued credentials live; zero: an hour.
	Life time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Faults are the plans to begin with; routes are the endpoints.
	Faults []fault.Plan
}

// Server imitates the clouds. It is safe for concurrent use.
type Server struct {
	*serve.Server
	opts   Options
	mu     sync.Mutex
	issued map[string]grant
	keys   []sigv4.Credential
	nonces map[string]bool
}

// grant is what an issued credential stands for.
type grant struct {
	endpoint Endpoint
	subject  string
	expires  time.Time
}

// Start runs a server for the length of a test.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := Run(context.WithoutCancel(tb.Context()), o)
	if err != nil {
		tb.Fatalf("start clouds: %v", err)
	}
	serve.Cleanup(tb, s.Stop, s.Tail)
	return s
}

// Run starts a server that ends with ctx or Stop.
func Run(ctx context.Context, o Options) (*Server, error) {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Life == 0 {
		o.Life = time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{opts: o, issued: map[string]grant{}, nonces: map[string]bool{}}
	h, err := serve.Listen(ctx, http.HandlerFunc(s.serve), serve.Options{
		TLS: o.TLS, Hosts: o.Hosts, Faults: o.Faults,
		Route: func(r *http.Request) string { e, _ := split(r.URL.Path); return string(e) },
	})
	if err != nil {
		return nil, err
	}
	s.Server = h
	h.Serve()
	return s, nil
}

// Endpoint returns the base URL of a service.
func (s *Server) Endpoint(e Endpoint) string { return s.URL() + "/" + string(e) }

func split(p string) (Endpoint, string) {
	e, rest, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	return Endpoint(e), "/" + rest
}

// Issued returns which service issued a credential and to whom; ok is false for
// one that nobody issued or that has expired.
func (s *Server) Issued(credential string) (e Endpoint, subject string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, ok := s.issued[credential]
	if !ok || !s.opts.Now().Before(g.expires) {
		return "", "", false
	}
	return g.endpoint, g.subject, true
}

// issue makes a credential.
func (s *Server) issue(e Endpoint, subject string) (string, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, expires := "issued-"+rand.Text(), s.opts.Now().Add(s.opts.Life).UTC()
	s.issued[c] = grant{e, subject, expires}
	return c, expires
}

// subject verifies a Kubernetes token and returns whose it is; "" is nobody.
func (s *Server) subject(token, audience string) (string, error) {
	if s.opts.Issuer == nil {
		return "", oidc.ErrToken
	}
	c, err := s.opts.Issuer.Verify(token, audience)
	if err != nil {
		return "", err
	}
	sub, _ := c["sub"].(string)
	return sub, nil
}

func same(a, b string) bool { return a != "" && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func bearer(r *http.Request) string {
	t, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return t
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// post reads a form; it answers anything else itself.
func post(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPost {
		reply(w, http.StatusMethodNotAllowed, map[string]string{"error": "method_not_allowed"})
		return false
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		reply(w, http.StatusBadRequest, map[string]string{"error": "invalid_request"})
		return false
	}
	return true
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	e, rest := split(r.URL.Path)
	switch e {
	case AWSSTS:
		s.awsSTS(w, r)
	case AWSECR:
		s.awsECR(w, r)
	case AWSMetadata:
		s.awsMetadata(w, r, rest)
	case AzureAuthority:
		s.azureAuthority(w, r, rest)
	case AzureMetadata:
		s.azureMetadata(w, r, rest)
	case AzureRegistry:
		s.azureRegistry(w, r, rest)
	case GoogleSTS:
		s.googleSTS(w, r, rest)
	case GoogleIAM:
		s.googleIAM(w, r, rest)
	case GoogleMetadata:
		s.googleMetadata(w, r, rest)
	case GitHub:
		s.github(w, r, rest)
	default:
		http.NotFound(w, r)
	}
}

// body reads a small body.
func body(w http.ResponseWriter, r *http.Request) []byte {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)) //nolint:forbidigo // limited
	if err != nil {
		return nil
	}
	return b
}
