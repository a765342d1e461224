// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package pki_test

import (
	"crypto/x509"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/testserver/pki"
)

// TST-3
func TestCA(t *testing.T) {
	g := NewWithT(t)
	ca, err := pki.NewCA("authority")
	g.Expect(err).NotTo(HaveOccurred())
	other, err := pki.NewCA("other")
	g.Expect(err).NotTo(HaveOccurred())
	pair, err := ca.Server("git.example", "127.0.0.1")
	g.Expect(err).NotTo(HaveOccurred())
	cert, err := pair.TLS()
	g.Expect(err).NotTo(HaveOccurred())
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	g.Expect(err).NotTo(HaveOccurred())
	verify := func(c *pki.CA, name string, use x509.ExtKeyUsage) error {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: c.Pool(), DNSName: name, KeyUsages: []x509.ExtKeyUsage{use}})
		return err
	}
	g.Expect(verify(ca, "git.example", x509.ExtKeyUsageServerAuth)).To(Succeed())
	g.Expect(verify(ca, "127.0.0.1", x509.ExtKeyUsageServerAuth)).To(Succeed())
	g.Expect(verify(ca, "other.example", x509.ExtKeyUsageServerAuth)).NotTo(Succeed())
	g.Expect(verify(ca, "git.example", x509.ExtKeyUsageClientAuth)).NotTo(Succeed())
	g.Expect(verify(other, "git.example", x509.ExtKeyUsageServerAuth)).NotTo(Succeed())
	pool := x509.NewCertPool()
	g.Expect(pool.AppendCertsFromPEM(ca.PEM())).To(BeTrue())
}

func ExampleNewCA() {
	ca, err := pki.NewCA("test authority")
	if err != nil {
		fmt.Println(err)
		return
	}
	pair, err := ca.Client("robot")
	if err != nil {
		fmt.Println(err)
		return
	}
	cert, err := pair.TLS()
	fmt.Println(cert.Leaf.Subject.CommonName, cert.Leaf.Issuer.CommonName, err)
	// Output: robot test authority <nil>
}
