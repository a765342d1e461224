// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Secrets gives package secrets the methods it needs.
type Secrets struct{ c client.Client }

// NewSecrets returns the Secrets that c sees. For reading it should not be a
// cache.
func NewSecrets(c client.Client) *Secrets { return &Secrets{c: c} }

// Get reads a Secret.
func (s *Secrets) Get(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	out := &corev1.Secret{}
	if err := s.c.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, out); err != nil {
		return nil, err
	}
	return out, nil
}

// PullSecrets returns the names of a service account's image pull secrets.
func (s *Secrets) PullSecrets(ctx context.Context, namespace, account string) ([]string, error) {
	sa := &corev1.ServiceAccount{}
	if err := s.c.Get(ctx, types.NamespacedName{Namespace: namespace, Name: account}, sa); err != nil {
		return nil, absent(err, namespace, account)
	}
	out := make([]string, 0, len(sa.ImagePullSecrets))
	for _, r := range sa.ImagePullSecrets {
		out = append(out, r.Name)
	}
	return out, nil
}

// Apply applies a Secret by server-side apply, taking its fields over.
func (s *Secrets) Apply(ctx context.Context, in *corev1.Secret, fieldManager string) error {
	a := corev1apply.Secret(in.Name, in.Namespace).WithType(in.Type).WithData(in.Data).WithLabels(in.Labels).WithAnnotations(in.Annotations)
	if in.Immutable != nil {
		a.WithImmutable(*in.Immutable)
	}
	return s.c.Apply(ctx, a, client.FieldOwner(fieldManager), client.ForceOwnership)
}

// Delete deletes a Secret of that UID.
func (s *Secrets) Delete(ctx context.Context, namespace, name, uid string) error {
	u := types.UID(uid)
	return s.c.Delete(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}},
		client.Preconditions{UID: &u})
}
