// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tokenSeconds is the life of a requested token.
const tokenSeconds = int64(3600)

// Accounts reads service accounts and requests their tokens. Its methods use
// built-in types only, so that it satisfies interfaces of other modules.
type Accounts struct {
	c client.Client
}

// ServiceAccounts returns the accounts that c sees. Nothing is cached here: c
// should read from the API server.
func ServiceAccounts(c client.Client) *Accounts { return &Accounts{c: c} }

// Get returns UID and annotations of a service account. An absent one matches
// fs.ErrNotExist.
func (a *Accounts) Get(ctx context.Context, namespace, name string) (uid string, annotations map[string]string, err error) {
	sa := &metav1.PartialObjectMetadata{}
	sa.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
	if err := a.c.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, sa); err != nil {
		return "", nil, absent(err, namespace, name)
	}
	return string(sa.UID), sa.Annotations, nil
}

// Token requests a token of a service account for the audiences, valid for at
// most one hour. An absent account matches fs.ErrNotExist.
func (a *Accounts) Token(ctx context.Context, namespace, name string, audiences []string) (token string, expires time.Time, err error) {
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	seconds := tokenSeconds
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds}}
	if err := a.c.SubResource("token").Create(ctx, sa, req); err != nil {
		return "", time.Time{}, absent(err, namespace, name)
	}
	return req.Status.Token, req.Status.ExpirationTimestamp.Time, nil
}

// absent makes a missing account match fs.ErrNotExist.
func absent(err error, namespace, name string) error {
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("service account %q: %w: %w", namespace+"/"+name, fs.ErrNotExist, err)
	}
	return fmt.Errorf("service account %q: %w", namespace+"/"+name, err)
}

// Exists asks the server who the client is: an error means that the identity
// cannot be used.
func (c *Client) Exists(ctx context.Context) error {
	review := &authenticationv1.SelfSubjectReview{}
	if err := c.Create(ctx, review); err != nil {
		return fmt.Errorf("review identity: %w", err)
	}
	return nil
}
