// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
)

// userLifetime of client certificates and tokens.
const userLifetime = 12 * time.Hour

// User returns the configuration of a user with a client certificate that
// carries name and groups. It may do nothing until RBAC objects let it. On a
// cluster that was there before, the administrator impersonates the user.
func (c *Cluster) User(tb testing.TB, name string, groups ...string) *rest.Config {
	tb.Helper()
	if c.s.dataDir == "" {
		config := c.Config()
		config.Impersonate = rest.ImpersonationConfig{UserName: name, Groups: groups}
		return config
	}
	cert, key, err := issue(filepath.Join(c.s.dataDir, "pki"), name, groups)
	if err != nil {
		tb.Fatalf("kube: certificate of user %q: %v", name, err)
	}
	config := c.anonymous()
	config.CertData, config.KeyData = cert, key
	return config
}

// anonymous is the server and its certificate authority, without credentials.
func (c *Cluster) anonymous() *rest.Config {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return c.tune(rest.AnonymousClientConfig(c.s.base))
}

// issue signs a client certificate with the control plane's authority.
func issue(dir, user string, groups []string) (cert, key []byte, err error) {
	ca, err := readPEM(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, nil, err
	}
	issuer, err := x509.ParseCertificate(ca)
	if err != nil {
		return nil, nil, err
	}
	caKey, err := readPEM(filepath.Join(dir, "ca.key"))
	if err != nil {
		return nil, nil, err
	}
	signer, err := x509.ParseECPrivateKey(caKey)
	if err != nil {
		return nil, nil, err
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: user, Organization: groups},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(userLifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, issuer, own.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	ownDER, err := x509.MarshalECPrivateKey(own)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: ownDER}), nil
}

func readPEM(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block", filepath.Base(file))
	}
	return block.Bytes, nil
}

// ServiceAccount creates a service account in the namespace, binds it to a Role
// with rules there (rules about non-resource URLs go to a ClusterRole), and
// returns the configuration of a client with a token of it. All of it goes
// with the namespace; what is cluster-wide is deleted at the end of the test.
func (c *Cluster) ServiceAccount(tb testing.TB, ns, name string, rules ...rbacv1.PolicyRule) *rest.Config {
	tb.Helper()
	token, err := c.serviceAccount(tb, ns, name, rules)
	if err != nil {
		tb.Fatalf("kube: service account %s/%s: %v", ns, name, err)
	}
	config := c.anonymous()
	config.BearerToken = token
	return config
}

func (c *Cluster) serviceAccount(tb testing.TB, ns, name string, rules []rbacv1.PolicyRule) (string, error) {
	tb.Helper()
	if ns == "" {
		return "", errors.New("no namespace given")
	}
	ctx := tb.Context()
	client := c.client(tb)
	accounts := client.CoreV1().ServiceAccounts(ns)
	if _, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		return "", err
	}
	var local, global []rbacv1.PolicyRule
	for _, r := range rules {
		if len(r.NonResourceURLs) > 0 {
			global = append(global, r)
		} else {
			local = append(local, r)
		}
	}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: name}}
	if len(local) > 0 {
		rbac := client.RbacV1()
		if _, err := rbac.Roles(ns).Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: local}, metav1.CreateOptions{}); err != nil {
			return "", err
		}
		if _, err := rbac.RoleBindings(ns).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		}, metav1.CreateOptions{}); err != nil {
			return "", err
		}
	}
	if len(global) > 0 {
		if err := c.bindGlobally(tb, client, c.Name(tb, ns+"-"+name), subjects, global); err != nil {
			return "", err
		}
	}
	token, err := accounts.CreateToken(ctx, name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To(int64(userLifetime / time.Second))},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return token.Status.Token, nil
}

func (c *Cluster) bindGlobally(tb testing.TB, client kubernetes.Interface, name string, subjects []rbacv1.Subject, rules []rbacv1.PolicyRule) error {
	tb.Helper()
	rbac := client.RbacV1()
	meta := metav1.ObjectMeta{Name: name}
	if _, err := rbac.ClusterRoles().Create(tb.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{}); err != nil {
		return err
	}
	c.cleanup(tb, func() error { return rbac.ClusterRoles().Delete(cleanupContext(tb), name, metav1.DeleteOptions{}) })
	if _, err := rbac.ClusterRoleBindings().Create(tb.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	c.cleanup(tb, func() error {
		return rbac.ClusterRoleBindings().Delete(cleanupContext(tb), name, metav1.DeleteOptions{})
	})
	return nil
}
