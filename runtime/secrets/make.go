// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package secrets

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ErrReplace reports a Secret that can only be changed by replacing it.
var ErrReplace = errors.New("secret is immutable or of another type: replacing it must be allowed")

func build(ref Ref, typ corev1.SecretType, data map[string][]byte) *corev1.Secret {
	for k, v := range data {
		if len(v) == 0 {
			delete(data, k)
		}
	}
	return &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name},
		Type:       typ, Data: data,
	}
}

// MakeBasic returns a Secret of type kubernetes.io/basic-auth.
func MakeBasic(ref Ref, username string, password Secret) *corev1.Secret {
	return build(ref, corev1.SecretTypeBasicAuth, map[string][]byte{"username": []byte(username), "password": []byte(password.Reveal())})
}

// MakeBearer returns an Opaque Secret with a bearer token.
func MakeBearer(ref Ref, token Secret) *corev1.Secret {
	return build(ref, corev1.SecretTypeOpaque, map[string][]byte{"bearerToken": []byte(token.Reveal())})
}

// MakeTLS returns a Secret of type kubernetes.io/tls, or an Opaque one when
// there is no client certificate. All values are PEM data.
func MakeTLS(ref Ref, cert []byte, key Secret, ca []byte) *corev1.Secret {
	typ := corev1.SecretTypeTLS
	if len(cert) == 0 {
		typ = corev1.SecretTypeOpaque
	}
	return build(ref, typ, map[string][]byte{"tls.crt": cert, "tls.key": []byte(key.Reveal()), "ca.crt": ca})
}

// MakeSSH returns an Opaque Secret with the keys that sources read.
func MakeSSH(ref Ref, m SSHMaterial) *corev1.Secret {
	return build(ref, corev1.SecretTypeOpaque, map[string][]byte{
		"identity": []byte(m.Identity.Reveal()), "identity.pub": m.Public,
		"known_hosts": m.KnownHosts, "password": []byte(m.Passphrase.Reveal()),
	})
}

// MakeSSHAuth returns a Secret of type kubernetes.io/ssh-auth with the private
// key.
func MakeSSHAuth(ref Ref, key Secret) *corev1.Secret {
	return build(ref, corev1.SecretTypeSSHAuth, map[string][]byte{"ssh-privatekey": []byte(key.Reveal())})
}

// MakeProxy returns an Opaque Secret for a proxy.
func MakeProxy(ref Ref, address, username string, password Secret) *corev1.Secret {
	return build(ref, corev1.SecretTypeOpaque, map[string][]byte{
		"address": []byte(address), "username": []byte(username),
		"password": []byte(password.Reveal()),
	})
}

// MakeRegistry returns a Secret of type kubernetes.io/dockerconfigjson for one
// host.
func MakeRegistry(ref Ref, host, username string, password Secret) (*corev1.Secret, error) {
	data, err := json.Marshal(map[string]any{"auths": map[string]any{host: map[string]string{
		"username": username, "password": password.Reveal(),
		"auth": base64.StdEncoding.EncodeToString([]byte(username + ":" + password.Reveal())),
	}}})
	if err != nil {
		return nil, err
	}
	return build(ref, corev1.SecretTypeDockerConfigJson, map[string][]byte{".dockerconfigjson": data}), nil
}

// MakeSOPS returns an Opaque Secret with private keys for decryption. Each key
// is stored under the first eight hex digits of its SHA-256 and suffix, such as
// ".agekey" or ".asc".
func MakeSOPS(ref Ref, suffix string, privateKeys ...Secret) *corev1.Secret {
	data := map[string][]byte{}
	for _, k := range privateKeys {
		sum := sha256.Sum256([]byte(k.Reveal()))
		data[hex.EncodeToString(sum[:4])+suffix] = []byte(k.Reveal())
	}
	return build(ref, corev1.SecretTypeOpaque, data)
}

// Writer stores Secrets.
type Writer interface {
	// Get reads a Secret; an absent one is an API error of reason NotFound.
	Get(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	// Apply applies a Secret as a field manager by server-side apply.
	Apply(ctx context.Context, s *corev1.Secret, fieldManager string) error
	// Delete deletes a Secret of that UID.
	Delete(ctx context.Context, namespace, name, uid string) error
}

// ApplyOptions say how a Secret is stored.
type ApplyOptions struct {
	// FieldManager owns the fields. Required.
	FieldManager string
	// Replace allows deleting and creating a Secret that is immutable or has
	// another type.
	Replace bool
}

// Apply stores a Secret by server-side apply. A Secret that is immutable or of
// another type is replaced, if allowed, by deleting exactly the one that was
// read; else the error is [ErrReplace].
func Apply(ctx context.Context, w Writer, s *corev1.Secret, o ApplyOptions) error {
	old, err := w.Get(ctx, s.Namespace, s.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read secret '%s/%s': %w", s.Namespace, s.Name, err)
	}
	if err == nil && (old.Type != s.Type || old.Immutable != nil && *old.Immutable) {
		if !o.Replace {
			return fmt.Errorf("secret '%s/%s': %w", s.Namespace, s.Name, ErrReplace)
		}
		if err := w.Delete(ctx, s.Namespace, s.Name, string(old.UID)); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("replace secret '%s/%s': %w", s.Namespace, s.Name, err)
		}
	}
	if err := w.Apply(ctx, s, o.FieldManager); err != nil {
		return fmt.Errorf("apply secret '%s/%s': %w", s.Namespace, s.Name, err)
	}
	return nil
}
