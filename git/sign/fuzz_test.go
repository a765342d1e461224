// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package sign_test

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git/sign"
	"golang.org/x/crypto/ssh"
)

// sshFixture is a key with a signature by it, the same in each run.
func sshFixture(f *testing.F) (pub string, sig []byte) {
	f.Helper()
	key := ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", 32)))
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		f.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		f.Fatal(err)
	}
	signer, err := sign.NewSSH(pem.EncodeToMemory(block), nil)
	if err != nil {
		f.Fatal(err)
	}
	if sig, err = signer.Sign(f.Context(), []byte(payload)); err != nil {
		f.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey()))), sig
}

func typed(t *testing.T, err error) {
	t.Helper()
	var le *sign.LimitError
	if !errors.Is(err, sign.ErrVerificationFailed) && !errors.As(err, &le) {
		t.Fatalf("no type: %v", err)
	}
}

// FuzzSSHSignature verifies any text as a signature: another payload never
// verifies, and every refusal has a type.
func FuzzSSHSignature(f *testing.F) {
	pub, sig := sshFixture(f)
	f.Add(sig)
	f.Add([]byte("-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQ==\n-----END SSH SIGNATURE-----\n"))
	f.Add([]byte("-----BEGIN SSH SIGNATURE-----\n"))
	f.Add([]byte("-----BEGIN PGP SIGNATURE-----\n\niHUEABYKAB0WIQ==\n=abcd\n-----END PGP SIGNATURE-----\n"))
	f.Add([]byte("-----BEGIN SIGNED MESSAGE-----\n"))
	keys := sign.Keys{SSH: [][]byte{[]byte(pub)}}
	f.Fuzz(func(t *testing.T, b []byte) {
		if res, err := keys.Verify(b, []byte(payload)); err != nil {
			typed(t, err)
		} else if res.Format != sign.SSH {
			t.Fatalf("format %v", res.Format)
		}
		_, err := keys.Verify(b, []byte(payload+"x"))
		if err == nil {
			t.Fatal("another payload verifies")
		}
		typed(t, err)
	})
}

// FuzzAllowedSigners reads any bytes as files of keys.
func FuzzAllowedSigners(f *testing.F) {
	pub, sig := sshFixture(f)
	for _, s := range []string{
		"ann@example.com " + pub, "*@example.com,!bob@example.com namespaces=\"git\" " + pub, "a cert-authority " + pub, "a valid-after=\"20200101\",valid-before=\"20990101Z\" " + pub,
		"\"a b\" " + pub, "# c\n\n" + pub, "a namespaces=\"" + pub, "a zz " + pub,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, k := range []sign.Keys{{AllowedSigners: [][]byte{b}}, {SSH: [][]byte{b}}} {
			if _, err := k.Verify(sig, []byte(payload)); err != nil {
				typed(t, err)
			}
		}
	})
}

// FuzzRing reads any bytes as rings of PGP keys and as signatures.
func FuzzRing(f *testing.F) {
	f.Add([]byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"), []byte("-----BEGIN PGP SIGNATURE-----\n\niHUEABYKAB0WIQ==\n-----END PGP SIGNATURE-----\n"))
	f.Add([]byte{0x98, 0x33, 4}, []byte("-----BEGIN PGP SIGNATURE-----\n"))
	f.Fuzz(func(t *testing.T, ring, sig []byte) {
		_, err := sign.Keys{PGP: [][]byte{ring}}.Verify(sig, []byte(payload))
		if err == nil {
			t.Fatal("verified")
		}
		typed(t, err)
	})
}
