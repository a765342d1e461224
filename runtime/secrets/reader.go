// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Want names the kinds of credentials that a consumer accepts.
type Want uint

// Kinds of credentials. TLS may accompany any other.
const (
	// TLS: tls.crt, tls.key, ca.crt and their legacy names.
	TLS Want = 1 << iota
	// Basic: username and password.
	Basic
	// Bearer: bearerToken.
	Bearer
	// Token: token, of an API.
	Token
	// SSH: identity, known_hosts, password.
	SSH
	// GitHubApp: githubAppID and its companions.
	GitHubApp
	// Proxy: address, username, password.
	Proxy
	// Registry: .dockerconfigjson.
	Registry
)

// Source reads a Secret from the API server. An absent one is an API error of
// reason NotFound.
type Source func(ctx context.Context, namespace, name string) (*corev1.Secret, error)

// Options of a [Reader].
type Options struct {
	// Source reads Secrets. Required.
	Source Source
	// PullSecrets returns the names of a service account's image pull secrets.
	PullSecrets func(ctx context.Context, namespace, account string) ([]string, error)
	// Namespace is that of the object the run is about.
	Namespace string
}

// Reader reads Secrets once. Use [NewReader] for every run.
type Reader struct {
	o Options

	mu   sync.Mutex
	seen map[Ref]*read
}

// read is one Secret, read once.
type read struct {
	once   sync.Once
	secret *corev1.Secret
	err    error
}

// NewReader returns a reader for one run.
func NewReader(o Options) *Reader { return &Reader{o: o, seen: map[Ref]*read{}} }

// Material is what a Secret holds. Fields that were not wanted, or not found,
// are nil.
type Material struct {
	// Ref names the Secret.
	Ref Ref
	// UID and ResourceVersion of the Secret, for cache keys.
	UID, ResourceVersion string
	// Legacy lists the legacy keys that were used.
	Legacy []string

	// TLS material.
	TLS *TLSMaterial
	// Basic is a user name and password.
	Basic *BasicMaterial
	// Bearer is a token for an Authorization header.
	Bearer *BearerMaterial
	// SSH is a private key and the host keys to trust.
	SSH *SSHMaterial
	// GitHubApp is the identity of an app.
	GitHubApp *GitHubAppMaterial
	// Proxy is an address with credentials.
	Proxy *ProxyMaterial
	// Registry holds credentials by host.
	Registry *RegistryMaterial
}

// Get reads a Secret and returns the wanted credentials it holds: exactly one of
// those that exclude each other, and TLS if wanted. A Secret without any is
// [ErrNoCredentials], one with several [ErrAmbiguous].
func (r *Reader) Get(ctx context.Context, ref Ref, want Want) (*Material, error) {
	s, ref, err := r.secret(ctx, ref)
	if err != nil {
		return nil, err
	}
	p := &parser{ref: ref, data: s.Data, out: &Material{Ref: ref, UID: string(s.UID), ResourceVersion: s.ResourceVersion}}
	if err := p.parse(want); err != nil {
		return nil, err
	}
	return p.out, nil
}

// File is one entry of a Secret.
type File struct {
	// Name is the data key.
	Name string
	// Data is the value.
	Data Secret
}

// Files returns the entries whose keys end in one of the suffixes, sorted by
// key; without suffixes, all. None is [ErrNoCredentials].
func (r *Reader) Files(ctx context.Context, ref Ref, suffixes ...string) ([]File, error) {
	s, ref, err := r.secret(ctx, ref)
	if err != nil {
		return nil, err
	}
	var out []File
	for _, k := range slices.Sorted(maps.Keys(s.Data)) {
		if len(suffixes) == 0 || slices.ContainsFunc(suffixes, func(x string) bool { return strings.HasSuffix(k, x) }) {
			out = append(out, File{Name: k, Data: NewSecret(string(s.Data[k]))})
		}
	}
	if len(out) == 0 {
		return nil, &CredentialsError{Ref: ref, Found: keys(s.Data), Err: ErrNoCredentials}
	}
	return out, nil
}

// Value returns one entry. A missing or empty one is a [*SecretKeyError].
func (r *Reader) Value(ctx context.Context, ref Ref, key string) (Secret, error) {
	s, ref, err := r.secret(ctx, ref)
	if err != nil {
		return Secret{}, err
	}
	if len(s.Data[key]) == 0 {
		return Secret{}, &SecretKeyError{Ref: ref, Key: key, Why: "missing"}
	}
	return NewSecret(string(s.Data[key])), nil
}

// Version returns UID and resource version of a Secret, for cache keys.
func (r *Reader) Version(ctx context.Context, ref Ref) (uid, resourceVersion string, err error) {
	s, _, err := r.secret(ctx, ref)
	if err != nil {
		return "", "", err
	}
	return string(s.UID), s.ResourceVersion, nil
}

// PullSecrets returns the registry credentials of a service account's image pull
// secrets; a missing Secret is an error.
func (r *Reader) PullSecrets(ctx context.Context, namespace, account string) ([]*RegistryMaterial, error) {
	if namespace == "" {
		namespace = r.o.Namespace
	}
	if r.o.PullSecrets == nil {
		return nil, nil
	}
	names, err := r.o.PullSecrets(ctx, namespace, account)
	if err != nil {
		return nil, err
	}
	var out []*RegistryMaterial
	for _, n := range names {
		m, err := r.Get(ctx, Ref{Namespace: namespace, Name: n}, Registry)
		if err != nil {
			return nil, err
		}
		out = append(out, m.Registry)
	}
	return out, nil
}

func (r *Reader) secret(ctx context.Context, ref Ref) (*corev1.Secret, Ref, error) {
	if ref.Namespace == "" {
		ref.Namespace = r.o.Namespace
	}
	r.mu.Lock()
	e := r.seen[ref]
	if e == nil {
		e = &read{}
		r.seen[ref] = e
	}
	r.mu.Unlock()
	e.once.Do(func() {
		e.secret, e.err = r.o.Source(ctx, ref.Namespace, ref.Name)
		switch {
		case apierrors.IsNotFound(e.err):
			e.err = &SecretNotFoundError{Ref: ref, Err: e.err}
		case e.err == nil && e.secret == nil:
			e.err = &SecretNotFoundError{Ref: ref}
		}
	})
	return e.secret, ref, e.err
}

func keys(data map[string][]byte) []string { return slices.Sorted(maps.Keys(data)) }
