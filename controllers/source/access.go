// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitops-kit/sdk/apis/meta"
	v1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/sign"
)

const maxProxyAddress = 2048

// access is what a run may use: connection options and verification policy.
type access struct {
	options     git.Options
	policy      *git.VerifyPolicy
	keysVersion string // identity and version of the Secret with the keys
}

// readAccess reads the Secrets that the spec refers to, once per run.
func (x *gitRun) readAccess(ctx context.Context, o *v1.GitRepository) (*access, error) {
	secret, err := x.secret(ctx, o, o.Spec.SecretRef)
	if err != nil {
		return nil, err
	}
	proxy, err := x.secret(ctx, o, o.Spec.ProxySecretRef)
	if err != nil {
		return nil, err
	}
	a := &access{}
	if a.options, err = GitOptions(o, secret, proxy); err != nil {
		return nil, err
	}
	if v := o.Spec.Verification; v != nil {
		keys, err := x.secret(ctx, o, &v.SecretRef)
		if err != nil {
			return nil, err
		}
		a.policy = VerifyPolicy(v, keys)
		a.keysVersion = string(keys.UID) + "/" + keys.ResourceVersion
	}
	return a, nil
}

func (x *gitRun) secret(ctx context.Context, o *v1.GitRepository, ref *meta.LocalObjectReference) (*corev1.Secret, error) {
	if ref == nil {
		return nil, nil //nolint:nilnil // no reference, no Secret
	}
	var s corev1.Secret
	name := client.ObjectKey{Namespace: o.Namespace, Name: ref.Name}
	if err := x.APIReader.Get(ctx, name, &s); err != nil {
		return nil, refused(fmt.Sprintf("failed to get secret '%s': %v; create it, or check the reference in spec", name, err), err)
	}
	return &s, nil
}

func refused(text string, err error) error {
	return &Failure{Condition: v1.FetchFailedCondition, Reason_: v1.AuthenticationFailedReason, Class: Generic, Text: text, Err: err}
}

// newClient adds to the options of the object what the process shares.
func (x *gitRun) newClient(o *v1.GitRepository, a *access) (*git.Client, error) {
	opts := a.options
	opts.Conns = x.conns
	opts.Limits = x.flags.gitLimits()
	opts.SSH.KeyExchanges, opts.SSH.HostKeyAlgorithms = x.flags.KexAlgos, x.flags.HostKeyAlgos
	opts.Net.AllowCIDR, opts.Net.DenyCIDR = x.Config.AllowCIDR, x.Config.DenyCIDR
	opts.Net.ProxyFromEnvironment = x.Config.ProxyFromEnvironment
	return git.New(o.Spec.URL, opts)
}

// VerifyPolicy turns mode and Secret into what has to be signed, by whom.
func VerifyPolicy(v *v1.GitRepositoryVerification, s *corev1.Secret) *git.VerifyPolicy {
	p := &git.VerifyPolicy{Mode: git.VerifyHead}
	switch v.GetMode() {
	case v1.ModeGitTag:
		p.Mode = git.VerifyTag
	case v1.ModeGitTagAndHEAD:
		p.Mode = git.VerifyTagAndHead
	}
	var keys sign.Keys
	for name, value := range s.Data {
		if strings.HasSuffix(name, ".sshpub") {
			keys.SSH = append(keys.SSH, value)
		} else {
			keys.PGP = append(keys.PGP, value)
		}
	}
	p.Keys = keys
	return p
}

// GitOptions turns the object's URL and Secrets into options of the client.
// Either Secret may be nil.
func GitOptions(o *v1.GitRepository, secret, proxy *corev1.Secret) (git.Options, error) {
	var opts git.Options
	var err error
	if opts.Net.Proxy, err = proxyURL(proxy); err != nil {
		return opts, err
	}
	if secret == nil {
		return opts, nil
	}
	name := secret.Namespace + "/" + secret.Name
	if _, app := secret.Data["githubAppID"]; app != (o.Spec.Provider == v1.GitProviderGitHub) {
		text := fmt.Sprintf("secretRef '%s' has github app data but provider is not set to github", name)
		if !app {
			text = fmt.Sprintf("secretRef '%s' has no github app data but provider is set to github", name)
		}
		return opts, &Failure{Condition: v1.FetchFailedCondition, Reason_: v1.InvalidProviderConfigurationReason, Class: Stalling, Text: text}
	}
	if strings.HasPrefix(strings.ToLower(o.Spec.URL), "ssh://") {
		return opts, sshOptions(&opts, secret, name)
	}
	if opts.TLS, err = tlsConfig(secret, name); err != nil {
		return opts, err
	}
	return opts, httpCredential(&opts, secret, name)
}

func sshOptions(opts *git.Options, s *corev1.Secret, name string) error {
	for _, key := range []string{"identity", "known_hosts"} {
		if len(s.Data[key]) == 0 {
			return refused(fmt.Sprintf("secret '%s' has no '%s'; SSH needs identity and known_hosts", name, key), git.ErrHostKeyUnknown)
		}
	}
	opts.SSH.KnownHosts = s.Data["known_hosts"]
	opts.Credentials = git.Static(git.Credential{
		Username:   string(s.Data["username"]),
		SSHKey:     git.NewSecret(string(s.Data["identity"])),
		Passphrase: git.NewSecret(string(s.Data["password"])),
	})
	return nil
}

func httpCredential(opts *git.Options, s *corev1.Secret, name string) error {
	user, password, bearer := string(s.Data["username"]), string(s.Data["password"]), string(s.Data["bearerToken"])
	switch {
	case bearer != "" && (user != "" || password != ""):
		return refused(fmt.Sprintf("secret '%s' has bearerToken and username or password; remove one of them", name), nil)
	case bearer != "":
		opts.Credentials = git.Static(git.Credential{Bearer: git.NewSecret(strings.TrimSpace(bearer))})
	case user == "" && password != "":
		return refused(fmt.Sprintf("secret '%s' has password but no username; add it", name), nil)
	case user != "" && password == "":
		return refused(fmt.Sprintf("secret '%s' has username but no password; add it", name), nil)
	case user != "":
		opts.Credentials = git.Static(git.Credential{Username: user, Password: git.NewSecret(password)})
	}
	return nil
}

// tlsConfig reads CA and client certificate; nil when the Secret has neither.
func tlsConfig(s *corev1.Secret, name string) (*tls.Config, error) {
	ca := s.Data["ca.crt"]
	if len(ca) == 0 {
		ca = s.Data["caFile"]
	}
	cert, key := s.Data["tls.crt"], s.Data["tls.key"]
	if len(ca) == 0 && len(cert) == 0 && len(key) == 0 {
		return nil, nil //nolint:nilnil // defaults
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(ca) > 0 {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(ca) {
			return nil, refused(fmt.Sprintf("secret '%s' has a ca.crt without any PEM certificate", name), nil)
		}
	}
	if len(cert) == 0 && len(key) == 0 {
		return cfg, nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, refused(fmt.Sprintf("secret '%s' has no usable pair of tls.crt and tls.key", name), err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return cfg, nil
}

func proxyURL(s *corev1.Secret) (*url.URL, error) {
	if s == nil {
		return nil, nil //nolint:nilnil // no proxy
	}
	name := s.Namespace + "/" + s.Name
	address := string(s.Data["address"])
	u, err := url.Parse(address)
	switch {
	case address == "":
		return nil, refused(fmt.Sprintf("proxy secret '%s' has no address", name), nil)
	case len(address) > maxProxyAddress || err != nil || u.User != nil || u.Host == "":
		return nil, refused(fmt.Sprintf("proxy secret '%s' has an address that is no plain URL", name), nil)
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5":
		return nil, refused(fmt.Sprintf("proxy secret '%s' has an address with scheme '%s'; use http, https or socks5", name, u.Scheme), nil)
	}
	if user := string(s.Data["username"]); user != "" {
		u.User = url.UserPassword(user, string(s.Data["password"]))
	}
	return u, nil
}
