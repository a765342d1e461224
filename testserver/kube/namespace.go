// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

const (
	// maxNamePart is how much of a test's name a namespace carries.
	maxNamePart = 40
	randomPart  = 8
	// cleanupWait bounds requests made after a test.
	cleanupWait = 10 * time.Second
)

// Namespace creates a namespace named after the test and deletes it at the
// end, without waiting for its content to go. One request each.
func (c *Cluster) Namespace(tb testing.TB) string {
	tb.Helper()
	name := dnsLabel(tb.Name(), maxNamePart) + "-" + random()
	client := c.client(tb)
	_, err := client.CoreV1().Namespaces().Create(tb.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		tb.Fatalf("kube: create namespace: %v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			c.diagnoseNamespace(tb, name)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), cleanupWait)
		defer cancel()
		// It may be gone, or the API server stopped: both are the test's business.
		_ = client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)})
	})
	return name
}

// Name returns a name that begins with base and is used nowhere else in the
// cluster, for cluster-wide objects.
func (c *Cluster) Name(tb testing.TB, base string) string {
	tb.Helper()
	return dnsLabel(base, maxNamePart) + "-" + random()
}

func random() string { return strings.ToLower(rand.Text())[:randomPart] }

// dnsLabel makes the beginning of a DNS label from any text.
func dnsLabel(text string, limit int) string {
	var b strings.Builder
	dash := true // none at the start, no two in a row
	for _, r := range strings.ToLower(text) {
		if b.Len() >= limit {
			break
		}
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
			dash = false
		} else if !dash {
			b.WriteByte('-')
			dash = true
		}
	}
	label := strings.Trim(b.String(), "-")
	if label == "" || label[0] >= '0' && label[0] <= '9' {
		label = "t" + label
	}
	return label
}

func (c *Cluster) client(tb testing.TB) kubernetes.Interface {
	tb.Helper()
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		tb.Fatalf("kube: %v", err)
	}
	return client
}
