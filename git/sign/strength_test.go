// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package sign_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"math/big"
	"testing"

	"github.com/gitops-kit/sdk/git/sign"
	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
)

// sshsig is a signature file made of its parts, and the key line of its key.
func sshsig(key []byte, algo string, signer func(data []byte) *ssh.Signature) (sig []byte, keys sign.Keys) {
	digest := sha512.Sum512([]byte(payload))
	type message struct{ Namespace, Reserved, Hash, Digest string }
	data := append([]byte("SSHSIG"), ssh.Marshal(message{"git", "", "sha512", string(digest[:])})...)
	type file struct {
		Version                                   uint32
		Key, Namespace, Reserved, Hash, Signature string
	}
	raw := append([]byte("SSHSIG"), ssh.Marshal(file{1, string(key), "git", "", "sha512", string(ssh.Marshal(signer(data)))})...)
	sig = []byte("-----BEGIN SSH SIGNATURE-----\n" + base64.StdEncoding.EncodeToString(raw) + "\n-----END SSH SIGNATURE-----\n")
	return sig, sign.Keys{SSH: [][]byte{[]byte(algo + " " + base64.StdEncoding.EncodeToString(key) + "\n")}}
}

// GIT-85: a signature of a security key counts only when somebody touched it.
func TestSecurityKeyPresence(t *testing.T) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := curve.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	type edKey struct{ Type, Key, Application string }
	type ecKey struct{ Type, Curve, Key, Application string }
	keys := map[string][]byte{
		ssh.KeyAlgoSKED25519:  ssh.Marshal(edKey{ssh.KeyAlgoSKED25519, string(pub), "ssh:"}),
		ssh.KeyAlgoSKECDSA256: ssh.Marshal(ecKey{ssh.KeyAlgoSKECDSA256, "nistp256", string(point), "ssh:"}),
	}
	for algo, key := range keys {
		for flags, touched := range map[byte]bool{0: false, 1: true, 4: false, 5: true} {
			g := NewWithT(t)
			sig, trusted := sshsig(key, algo, func(data []byte) *ssh.Signature {
				app, digest := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
				rest := []byte{flags, 0, 0, 0, 7}
				blob := append(append(append([]byte{}, app[:]...), rest...), digest[:]...)
				out := &ssh.Signature{Format: algo, Rest: rest}
				if algo == ssh.KeyAlgoSKED25519 {
					out.Blob = ed25519.Sign(priv, blob)
					return out
				}
				sum := sha256.Sum256(blob)
				r, s, err := ecdsa.Sign(rand.Reader, curve, sum[:])
				g.Expect(err).NotTo(HaveOccurred())
				out.Blob = ssh.Marshal(struct{ R, S *big.Int }{r, s})
				return out
			})
			_, err := trusted.Verify(sig, []byte(payload))
			if touched {
				g.Expect(err).NotTo(HaveOccurred(), "%s, flags %d", algo, flags)
			} else {
				g.Expect(errors.Is(err, sign.ErrBadSignature)).To(BeTrue(), "%s, flags %d: %v", algo, flags, err)
			}
		}
	}
}

// GIT-85: RSA counts with SHA-2 and from 2,048 bits.
func TestWeakRSA(t *testing.T) {
	for _, bits := range []int{1024, 2048} {
		priv, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		signer, err := ssh.NewSignerFromKey(priv)
		if err != nil {
			t.Fatal(err)
		}
		for algo, strong := range map[string]bool{ssh.KeyAlgoRSA: false, ssh.KeyAlgoRSASHA256: true, ssh.KeyAlgoRSASHA512: true} {
			g := NewWithT(t)
			sig, trusted := sshsig(signer.PublicKey().Marshal(), ssh.KeyAlgoRSA, func(data []byte) *ssh.Signature {
				s, err := signer.(ssh.AlgorithmSigner).SignWithAlgorithm(rand.Reader, data, algo)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(s.Format).To(Equal(algo))
				return s
			})
			_, err := trusted.Verify(sig, []byte(payload))
			if strong && bits >= 2048 {
				g.Expect(err).NotTo(HaveOccurred(), algo)
			} else {
				g.Expect(errors.Is(err, sign.ErrBadSignature)).To(BeTrue(), "%d bits, %s: %v", bits, algo, err)
			}
		}
	}
}

// GIT-87: a panic is a failed verification, and its text stays inside.
func TestPanicIsAFailure(t *testing.T) {
	g := NewWithT(t)
	res, err := sign.Guarded(func() (*sign.Result, error) {
		var ring []byte
		return &sign.Result{KeyID: string(ring[:cap(ring)+1])}, nil
	})
	g.Expect(res).To(BeNil())
	g.Expect(errors.Is(err, sign.ErrBadSignature)).To(BeTrue(), "%v", err)
	g.Expect(errors.Is(err, sign.ErrVerificationFailed)).To(BeTrue(), "%v", err)
	g.Expect(err.Error()).NotTo(ContainSubstring("slice bounds"))
}
