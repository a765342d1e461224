// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package blobregistry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/gitops-kit/sdk/artifact/shared"
	"github.com/gitops-kit/sdk/controllers/internal/netguard"
	"github.com/gitops-kit/sdk/controllers/internal/redact"
)

// Options control a [Registry]. The zero value is anonymous access over HTTPS.
type Options struct {
	// Insecure speaks plain HTTP, and only that.
	Insecure bool
	// TLS has roots and client certificates. Nil: the system's roots.
	TLS *tls.Config
	// Credentials is asked once, and again when the registry refuses what it
	// gave. Nil: anonymous.
	Credentials func(context.Context) (Credential, error)
	// Net is the outbound policy. The registry's own host and port count as
	// configured, everything the registry names as supplied.
	Net netguard.Policy
	// HTTP bounds times, redirects and attempts.
	HTTP netguard.HTTPLimits
	// Limits bound sizes and numbers.
	Limits Limits
	// Backoff is the first pause before another attempt, tripled each time, at
	// random below that. Zero: 1 s.
	Backoff time.Duration
	// UserAgent of all requests. Zero: "gitops-kit".
	UserAgent string
}

// Limits bound what a registry may make a client hold. In each field 0 is
// the default.
type Limits struct {
	Blob     int64 // bytes of a blob, artifact: 2 GiB
	Manifest int64 // bytes of a manifest, oci-manifest: 4 MiB
	Listing  int64 // bytes of a page of tags, listing-response: 16 MiB
	Tags     int64 // tags of the repository, oci-tags: 100,000
	Pages    int64 // pages of tags, oci-pages: 1,000
}

func (l Limits) withDefaults() Limits {
	for v, def := range map[*int64]int64{&l.Blob: 2 << 30, &l.Manifest: 4 << 20, &l.Listing: 16 << 20, &l.Tags: 100_000, &l.Pages: 1000} {
		switch {
		case *v == 0:
			*v = def
		case *v < 0:
			*v = 1<<63 - 2
		}
	}
	return l
}

const (
	limitIndex  = "artifact-index"
	maxIndex    = 64 << 10
	maxToken    = 64 << 10
	maxError    = 64 << 10
	maxKnown    = 1 << 16 // names and digests kept in memory
	scheme      = "oci://"
	defaultWait = time.Second
)

// Credential is what a registry is shown. The zero value is anonymous.
type Credential struct {
	// Username and Password go to the registry or its token server.
	Username string
	Password redact.Secret
	// IdentityToken is exchanged at the token server.
	IdentityToken redact.Secret
	// RegistryToken goes to the registry as it is.
	RegistryToken redact.Secret
}

// IsZero reports whether there is nothing to show.
func (c Credential) IsZero() bool {
	return c.Username == "" && c.Password.IsZero() && c.IdentityToken.IsZero() && c.RegistryToken.IsZero()
}

// Registry is a repository of a registry. Use [New].
type Registry struct {
	base *url.URL // scheme and host
	repo string
	o    Options
	own  *http.Client // for the registry's origin
	far  *http.Client // for others: without client certificate
	auth *authenticator

	mu       sync.Mutex
	names    map[string]string // tag → name of the document
	aliases  map[string]string // digest of another algorithm → sha256
	hasEmpty bool
	noDelete bool
}

var _ shared.Blobs = (*Registry)(nil)

var (
	repoRE = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	hostRE = regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\])(?::[0-9]{1,5})?$`)
)

// ParseURL splits "oci://host[:port]/path" into host and path.
func ParseURL(s string) (host, path string, err error) {
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		return "", "", fmt.Errorf("%q does not begin with %s", redact.URL(s), scheme)
	}
	host, path, _ = strings.Cut(rest, "/")
	if !hostRE.MatchString(host) || !repoRE.MatchString(path) || len(path) > 255 {
		return "", "", errors.New("want oci://host[:port]/path without credentials, tag and query")
	}
	return host, path, nil
}

// New returns a registry for "oci://host[:port]/path". It does no I/O.
func New(address string, o Options) (*Registry, error) {
	host, repo, err := ParseURL(address)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	if o.Backoff <= 0 {
		o.Backoff = defaultWait
	}
	if o.UserAgent == "" {
		o.UserAgent = "gitops-kit"
	}
	o.HTTP, o.Limits = o.HTTP.WithDefaults(), o.Limits.withDefaults()
	base := &url.URL{Scheme: "https", Host: host}
	if o.Insecure {
		base.Scheme = "http"
	}
	if host == "docker.io" || host == "index.docker.io" {
		base.Host = "registry-1.docker.io"
	}
	r := &Registry{base: base, repo: repo, o: o, names: map[string]string{}, aliases: map[string]string{}}
	own, _ := url.Parse(netguard.Origin(base))
	dialer := &netguard.Dialer{Policy: o.Net, Configured: map[string]bool{own.Host: true}, Timeout: o.HTTP.Connect}
	client := func(cfg *tls.Config) *http.Client {
		return &http.Client{
			Transport:     o.HTTP.Transport(dialer, cfg),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	r.own = client(o.TLS)
	far := o.TLS
	if far != nil {
		far = far.Clone()
		far.Certificates, far.GetClientCertificate = nil, nil
	}
	r.far = client(far)
	r.auth = &authenticator{r: r, turn: make(chan struct{}, 1), tokens: map[string]token{}}
	return r, nil
}

// Close gives up idle connections.
func (r *Registry) Close() error {
	r.own.CloseIdleConnections()
	r.far.CloseIdleConnections()
	return nil
}
