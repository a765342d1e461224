// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitops-kit/sdk/apis/meta"
	v1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/sign"
	"github.com/gitops-kit/sdk/runtime/secrets"
)

// access is what a run may use: connection options and verification policy.
type access struct {
	options     git.Options
	policy      *git.VerifyPolicy
	keysVersion string // identity and version of the Secret with the keys
}

// readAccess reads the Secrets that the spec refers to, once per run and from
// the object's own namespace.
func (x *gitRun) readAccess(ctx context.Context, o *v1.GitRepository) (*access, error) {
	r := secrets.NewReader(secrets.Options{Namespace: o.Namespace, Source: func(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
		var s corev1.Secret
		err := x.APIReader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &s)
		return &s, err
	}})
	secret, err := material(ctx, r, o.Spec.SecretRef, wanted(o.Spec.URL))
	if err != nil {
		return nil, err
	}
	proxy, err := material(ctx, r, o.Spec.ProxySecretRef, secrets.Proxy)
	if err != nil {
		return nil, err
	}
	a := &access{}
	if a.options, err = GitOptions(o, secret, proxy); err != nil {
		return nil, err
	}
	if v := o.Spec.Verification; v != nil {
		ref := secrets.Ref{Name: v.SecretRef.Name}
		keys, err := r.Files(ctx, ref)
		if err != nil {
			return nil, refused(err)
		}
		uid, version, err := r.Version(ctx, ref)
		if err != nil {
			return nil, refused(err)
		}
		a.policy, a.keysVersion = VerifyPolicy(v, keys), uid+"/"+version
	}
	return a, nil
}

// wanted lists the credentials that fit a URL.
func wanted(url string) secrets.Want {
	if isSSH(url) {
		return secrets.SSH
	}
	return secrets.Basic | secrets.Bearer | secrets.TLS | secrets.GitHubApp
}

func isSSH(url string) bool { return strings.HasPrefix(strings.ToLower(url), "ssh://") }

func material(ctx context.Context, r *secrets.Reader, ref *meta.LocalObjectReference, want secrets.Want) (*secrets.Material, error) {
	if ref == nil {
		return nil, nil //nolint:nilnil // no reference, no material
	}
	m, err := r.Get(ctx, secrets.Ref{Name: ref.Name}, want)
	if err != nil {
		return nil, refused(err)
	}
	return m, nil
}

// refused words an error of a Secret.
func refused(err error) error {
	text := err.Error() + "; correct the Secret"
	if missing, ok := errors.AsType[*secrets.SecretNotFoundError](err); ok {
		text = fmt.Sprintf("failed to get secret '%s/%s': not found; create it, or check the reference in spec", missing.Ref.Namespace, missing.Ref.Name)
	}
	return &RunError{Condition: v1.FetchFailedCondition, Why: v1.AuthenticationFailedReason, Class: Generic, Text: text, Err: err}
}

// newClient adds to the options of the object what the process shares.
func (x *gitRun) newClient(o *v1.GitRepository, a *access) (*git.Client, error) {
	opts := a.options
	opts.Mirror, opts.Conns = x.mirror, x.conns
	opts.Limits = x.flags.gitLimits()
	opts.SSH.KeyExchanges, opts.SSH.HostKeyAlgorithms = x.flags.KexAlgos, x.flags.HostKeyAlgos
	opts.Net.AllowCIDR, opts.Net.DenyCIDR = x.Config.AllowCIDR, x.Config.DenyCIDR
	opts.Net.ProxyFromEnvironment = x.Config.ProxyFromEnvironment
	switch x.Config.HTTPCredentials {
	case "never":
		opts.Net.HTTPCredentials = git.Never
	case "always":
		opts.Net.HTTPCredentials = git.Always
	}
	return git.New(o.Spec.URL, opts)
}

// VerifyPolicy turns mode and Secret into what has to be signed, by whom.
func VerifyPolicy(v *v1.GitRepositoryVerification, files []secrets.File) *git.VerifyPolicy {
	p := &git.VerifyPolicy{Mode: git.VerifyHead}
	switch v.GetMode() { //nolint:exhaustive // HEAD is the default
	case v1.ModeGitTag:
		p.Mode = git.VerifyTag
	case v1.ModeGitTagAndHEAD:
		p.Mode = git.VerifyTagAndHead
	}
	var keys sign.Keys
	for _, f := range files {
		if strings.HasSuffix(f.Name, ".sshpub") {
			keys.SSH = append(keys.SSH, []byte(f.Data.Reveal()))
		} else {
			keys.PGP = append(keys.PGP, []byte(f.Data.Reveal()))
		}
	}
	p.Keys = keys
	return p
}

// GitOptions turns the object's URL and credentials into options of the
// client. Either material may be nil.
func GitOptions(o *v1.GitRepository, secret, proxy *secrets.Material) (git.Options, error) {
	var opts git.Options
	if proxy != nil && proxy.Proxy != nil {
		opts.Net.Proxy = proxy.Proxy.URL()
	}
	if secret == nil {
		return opts, nil
	}
	if app := secret.GitHubApp != nil; app != (o.Spec.Provider == v1.GitProviderGitHub) {
		text := fmt.Sprintf("secretRef '%s/%s' has github app data but provider is not set to github", o.Namespace, secret.Ref.Name)
		if !app {
			text = fmt.Sprintf("secretRef '%s/%s' has no github app data but provider is set to github", o.Namespace, secret.Ref.Name)
		}
		return opts, &RunError{Condition: v1.FetchFailedCondition, Why: v1.InvalidProviderConfigurationReason, Class: Stalling, Text: text}
	}
	if t := secret.TLS; t != nil {
		var err error
		if opts.TLS, err = t.Config(secrets.TLSOptions{}); err != nil {
			return opts, refused(err)
		}
	}
	switch {
	case secret.SSH != nil:
		opts.SSH.KnownHosts = secret.SSH.KnownHosts
		user := ""
		if secret.SSH.UsernameSet { // else the URL's, else git
			user = secret.SSH.Username
		}
		opts.Credentials = git.Static(git.Credential{
			Username:   user,
			SSHKey:     git.NewSecret(secret.SSH.Identity.Reveal()),
			Passphrase: git.NewSecret(secret.SSH.Passphrase.Reveal()),
		})
	case secret.Basic != nil:
		opts.Credentials = git.Static(git.Credential{Username: secret.Basic.Username, Password: git.NewSecret(secret.Basic.Password.Reveal())})
	case secret.Bearer != nil:
		opts.Credentials = git.Static(git.Credential{Bearer: git.NewSecret(secret.Bearer.Token.Reveal())})
	}
	return opts, nil
}
