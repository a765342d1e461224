// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ocisign

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Authority makes signatures and what verifiers have to trust to accept them.
// Its methods report errors through the test, and without one by
// [Authority.Err]; the result is then empty. It is safe for concurrent use.
type Authority struct {
	errorf func(format string, args ...any) // nil without a test

	identities authority // issues certificates for identities
	stamps     authority // certifies the timestamp authority
	notation   authority // issues certificates for notation
	stampLeaf  certificate

	mu  sync.Mutex // guards what follows
	log transparencyLog
	err error
}

// certificate is one with its key.
type certificate struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// authority is a root with an intermediate that issues.
type authority struct{ root, intermediate certificate }

const (
	rootYears   = 10
	clockSkew   = time.Hour
	leafMinutes = 10
)

// Start makes an Authority for a test, with all its keys and certificates,
// which takes a few milliseconds.
func Start(tb testing.TB) *Authority {
	tb.Helper()
	a, err := Run()
	if err != nil {
		tb.Fatalf("ocisign: %v", err)
	}
	a.errorf = tb.Errorf
	return a
}

// Run is Start without a test.
func Run() (*Authority, error) {
	a := &Authority{}
	var err error
	for name, to := range map[string]*authority{"identities": &a.identities, "timestamps": &a.stamps, "notation": &a.notation} {
		if *to, err = newAuthority(name); err != nil {
			return nil, fmt.Errorf("make authority for %s: %w", name, err)
		}
	}
	a.stampLeaf, err = a.stamps.issue(&x509.Certificate{
		Subject:         pkix.Name{Organization: []string{"gitops-kit test"}, CommonName: "timestamp authority"},
		NotBefore:       time.Now().Add(-clockSkew),
		NotAfter:        time.Now().AddDate(rootYears-1, 0, 0),
		ExtraExtensions: []pkix.Extension{timestampingOnly()},
	})
	if err != nil {
		return nil, fmt.Errorf("certify timestamp authority: %w", err)
	}
	if a.log.key, err = newKey(); err != nil {
		return nil, err
	}
	return a, nil
}

// Err returns the errors of an Authority that was made by [Run].
func (a *Authority) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// fail reports err, if it is one.
func (a *Authority) fail(err error) {
	if err == nil {
		return
	}
	if a.errorf != nil {
		a.errorf("ocisign: %v", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = errors.Join(a.err, err)
}

// NewKey makes a key to sign with.
func (a *Authority) NewKey() *ecdsa.PrivateKey {
	key, err := newKey()
	a.fail(err)
	return key
}

func newKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return key, nil
}

// PublicKeyPEM is the form of a public key that verifiers read.
func (a *Authority) PublicKeyPEM(key *ecdsa.PublicKey) []byte {
	b, err := publicPEM(key)
	a.fail(err)
	return b
}

func publicPEM(key *ecdsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// RootPEM is the root that certificates of identities lead to.
func (a *Authority) RootPEM() []byte { return a.identities.root.pem() }

// NotationRootPEM is the root that certificates of notation signatures lead
// to; it goes in a trust store of type "ca".
func (a *Authority) NotationRootPEM() []byte { return a.notation.root.pem() }

// LogKeyPEM is the public key of the transparency log.
func (a *Authority) LogKeyPEM() []byte { return a.PublicKeyPEM(&a.log.key.PublicKey) }

// TimestampChainPEM is the timestamp authority's certificate and those it
// leads to.
func (a *Authority) TimestampChainPEM() []byte {
	return append(a.stampLeaf.pem(), a.stamps.chainPEM()...)
}

// TrustedRoot is all of that, for signatures by cosign, in the one document
// that verifiers of it read.
func (a *Authority) TrustedRoot() []byte {
	b, err := a.trustedRoot()
	a.fail(err)
	return b
}

func (a *Authority) trustedRoot() ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(&a.log.key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("encode log key: %w", err)
	}
	id := sha256.Sum256(spki)
	valid := map[string]any{"start": a.identities.root.cert.NotBefore.UTC().Format(time.RFC3339)}
	chain := func(certs ...certificate) map[string]any {
		var list []any
		for _, c := range certs {
			list = append(list, map[string]any{"rawBytes": c.cert.Raw})
		}
		return map[string]any{"certificates": list}
	}
	who := map[string]any{"organization": "gitops-kit test", "commonName": "test"}
	return json.Marshal(map[string]any{
		"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
		"tlogs": []any{map[string]any{
			"baseUrl": "https://" + logOrigin, "hashAlgorithm": "SHA2_256",
			"publicKey": map[string]any{"rawBytes": spki, "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": valid},
			"logId":     map[string]any{"keyId": id[:]},
		}},
		"certificateAuthorities": []any{map[string]any{
			"subject": who, "uri": "https://ca.example.test", "validFor": valid,
			"certChain": chain(a.identities.intermediate, a.identities.root),
		}},
		"timestampAuthorities": []any{map[string]any{
			"subject": who, "uri": "https://tsa.example.test", "validFor": valid,
			"certChain": chain(a.stampLeaf, a.stamps.intermediate, a.stamps.root),
		}},
	})
}

func (c certificate) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})
}

func (a authority) chainPEM() []byte { return append(a.intermediate.pem(), a.root.pem()...) }

func newAuthority(name string) (authority, error) {
	template := func(level string, path int) *x509.Certificate {
		return &x509.Certificate{
			Subject:   pkix.Name{Country: []string{"US"}, Province: []string{"WA"}, Organization: []string{"gitops-kit test"}, CommonName: name + " " + level},
			NotBefore: time.Now().Add(-clockSkew), NotAfter: time.Now().AddDate(rootYears, 0, 0),
			IsCA: true, BasicConstraintsValid: true, MaxPathLen: path, MaxPathLenZero: path == 0,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}
	}
	root, err := sign(template("root", 1), nil)
	if err != nil {
		return authority{}, err
	}
	intermediate := template("intermediate", 0)
	if name == "identities" {
		intermediate.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	}
	if name == "timestamps" {
		intermediate.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}
	}
	second, err := sign(intermediate, &root)
	return authority{root: root, intermediate: second}, err
}

// issue makes a certificate for a signer.
func (a authority) issue(template *x509.Certificate) (certificate, error) {
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	return sign(template, &a.intermediate)
}

// sign makes a key and certifies it, by itself if there is no issuer.
func sign(template *x509.Certificate, issuer *certificate) (certificate, error) {
	key, err := newKey()
	if err != nil {
		return certificate{}, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return certificate{}, err
	}
	parent, parentKey := template, key
	if issuer != nil {
		parent, parentKey = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return certificate{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return certificate{cert: cert, key: key}, err
}

// Extensions of certificates for identities: who vouched for the identity.
//
//nolint:gochecknoglobals // constants
var (
	oidIssuerOld = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}
	oidIssuer    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 8}
)

// identity certifies an identity, a URL or an e-mail address, for minutes.
func (a *Authority) identity(o Options, when time.Time) (certificate, error) {
	utf8, err := asn1.MarshalWithParams(o.Issuer, "utf8")
	if err != nil {
		return certificate{}, err
	}
	template := &x509.Certificate{
		NotBefore: when.Add(-time.Minute), NotAfter: when.Add(leafMinutes * time.Minute),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		ExtraExtensions: []pkix.Extension{
			{Id: oidIssuerOld, Value: []byte(o.Issuer)},
			{Id: oidIssuer, Value: utf8},
		},
	}
	if o.CertificateExpired {
		template.NotBefore, template.NotAfter = when.Add(-2*leafMinutes*time.Minute), when.Add(-leafMinutes*time.Minute)
	}
	if strings.Contains(o.Identity, "://") {
		u, err := url.Parse(o.Identity)
		if err != nil {
			return certificate{}, fmt.Errorf("identity: %w", err)
		}
		template.URIs = []*url.URL{u}
	} else {
		template.EmailAddresses = []string{o.Identity}
	}
	return a.identities.issue(template)
}
