// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pki makes the certificates and keys of one control plane.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Lifetime of every certificate. A control plane that runs longer than a day
// is not what this program is for.
const Lifetime = 24 * time.Hour

// Files names the PEM files in the directory given to [Write].
const (
	CA             = "ca.crt"
	CAKey          = "ca.key"
	Serving        = "apiserver.crt"
	ServingKey     = "apiserver.key"
	ProxyCA        = "front-proxy-ca.crt"
	ProxyClient    = "front-proxy-client.crt"
	ProxyClientKey = "front-proxy-client.key"
	TokenKey       = "service-account.key"
	TokenPublicKey = "service-account.pub"
)

// Client is a user who gets a client certificate named "<File>.crt" and
// "<File>.key".
type Client struct {
	File   string
	User   string
	Groups []string
}

type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	now  time.Time
}

// Write makes a certificate authority, a serving certificate for hosts (names
// or IP addresses), the aggregation layer's certificates, the key of the
// service account issuer, and a certificate for each client, into dir.
// It does nothing when dir already holds a set, so that a restarted control
// plane keeps its identity.
func Write(dir string, hosts []string, clients []Client) error {
	if _, err := os.Stat(filepath.Join(dir, TokenPublicKey)); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	now := time.Now()
	ca, err := newCA(dir, "gitops-kit-ca", CA, CAKey, now)
	if err != nil {
		return err
	}
	serving := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			serving.IPAddresses = append(serving.IPAddresses, ip)
		} else {
			serving.DNSNames = append(serving.DNSNames, h)
		}
	}
	if err := ca.issue(dir, Serving, ServingKey, serving); err != nil {
		return err
	}
	for _, c := range clients {
		if err := ca.issue(dir, c.File+".crt", c.File+".key", clientTemplate(c.User, c.Groups)); err != nil {
			return err
		}
	}
	proxyCA, err := newCA(dir, "gitops-kit-front-proxy-ca", ProxyCA, "", now)
	if err != nil {
		return err
	}
	if err := proxyCA.issue(dir, ProxyClient, ProxyClientKey, clientTemplate("front-proxy-client", nil)); err != nil {
		return err
	}
	return writeTokenKey(dir)
}

func clientTemplate(user string, groups []string) *x509.Certificate {
	return &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func newCA(dir, name, certFile, keyFile string, now time.Time) (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	i := &issuer{cert: t, key: key, now: now}
	if err := i.sign(dir, certFile, t, key); err != nil {
		return nil, err
	}
	if keyFile == "" {
		return i, nil
	}
	return i, writeKey(filepath.Join(dir, keyFile), key)
}

// issue writes a certificate after template and its new key.
func (i *issuer) issue(dir, certFile, keyFile string, template *x509.Certificate) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if err := i.sign(dir, certFile, template, key); err != nil {
		return err
	}
	return writeKey(filepath.Join(dir, keyFile), key)
}

func (i *issuer) sign(dir, file string, template *x509.Certificate, key *ecdsa.PrivateKey) error {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	template.SerialNumber = serial
	template.NotBefore = i.now.Add(-time.Hour)
	template.NotAfter = i.now.Add(Lifetime)
	der, err := x509.CreateCertificate(rand.Reader, template, i.cert, key.Public(), i.key)
	if err != nil {
		return fmt.Errorf("sign %s: %w", file, err)
	}
	return writePEM(filepath.Join(dir, file), "CERTIFICATE", der)
}

func writeTokenKey(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	if err := writeKey(filepath.Join(dir, TokenKey), key); err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return writePEM(filepath.Join(dir, TokenPublicKey), "PUBLIC KEY", der)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
