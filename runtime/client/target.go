// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/gitops-kit/sdk/runtime/kubeconfig"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
)

// Target names a cluster and an identity. The zero value is this cluster as
// the controller. A kubeconfig beats a provider; the service account is
// impersonated on top of either.
type Target struct {
	// ServiceAccount is impersonated. The zero value impersonates nobody.
	ServiceAccount types.NamespacedName
	// Kubeconfig of another cluster, nil for this one.
	Kubeconfig *kubeconfig.Config
	// Provider logs in to another cluster and says until when.
	Provider func(context.Context) (*rest.Config, time.Time, error)
	// ProviderKey identifies what Provider logs in to and as whom.
	ProviderKey string
}

// Impersonation returns the identity of a service account: its user name and
// exactly its three groups. A name or namespace that is no DNS name is a
// [*TargetError].
func Impersonation(account types.NamespacedName) (rest.ImpersonationConfig, error) {
	if account.Name == "" {
		return rest.ImpersonationConfig{}, &TargetError{Field: "serviceAccount", Why: "empty name"}
	}
	if len(validation.IsDNS1123Subdomain(account.Name)) > 0 {
		return rest.ImpersonationConfig{}, &TargetError{Field: "serviceAccount", Why: "name is not a DNS-1123 subdomain"}
	}
	if len(validation.IsDNS1123Label(account.Namespace)) > 0 {
		return rest.ImpersonationConfig{}, &TargetError{Field: "serviceAccount", Why: "namespace is not a DNS-1123 label"}
	}
	return rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + account.Namespace + ":" + account.Name,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + account.Namespace, "system:authenticated"},
	}, nil
}

// key identifies the server and credential of the target, and the identity.
func (t Target) key() (base, user string, err error) {
	switch {
	case t.Kubeconfig != nil:
		base = "kubeconfig/" + t.Kubeconfig.Key()
	case t.Provider != nil:
		if t.ProviderKey == "" {
			return "", "", &TargetError{Field: "providerKey", Why: "empty"}
		}
		sum := sha256.Sum256([]byte(t.ProviderKey))
		base = "provider/" + hex.EncodeToString(sum[:])
	default:
		base = "local"
	}
	if t.ServiceAccount != (types.NamespacedName{}) {
		imp, err := Impersonation(t.ServiceAccount)
		if err != nil {
			return "", "", err
		}
		user = imp.UserName
	}
	return base, user, nil
}
