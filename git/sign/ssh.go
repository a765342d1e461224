// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

const (
	sshBegin     = "-----BEGIN SSH SIGNATURE-----"
	sshEnd       = "-----END SSH SIGNATURE-----"
	sshMagic     = "SSHSIG"
	sshNamespace = "git"
)

// sshSig is a parsed SSHSIG.
type sshSig struct {
	key       ssh.PublicKey
	namespace string
	reserved  []byte
	hash      string
	sig       *ssh.Signature
}

func badSSH(why string) error { return fmt.Errorf("%w: %s", ErrBadSignature, why) }

func parseSSH(armored []byte) (*sshSig, error) {
	text, ok := strings.CutPrefix(string(armored), sshBegin)
	if !ok {
		return nil, badSSH("armor")
	}
	body, after, ok := strings.Cut(text, sshEnd)
	if !ok || strings.TrimSpace(after) != "" {
		return nil, badSSH("text behind the armor, or no end")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(strings.Join(strings.Fields(body), ""))
	if err != nil {
		return nil, badSSH("armor")
	}
	if len(raw) < 10 || string(raw[:6]) != sshMagic || binary.BigEndian.Uint32(raw[6:]) != 1 {
		return nil, badSSH("not SSHSIG version 1")
	}
	var f [5][]byte
	rest := raw[10:]
	for i := range f {
		if f[i], rest, ok = cutString(rest); !ok {
			return nil, badSSH("cut off")
		}
	}
	if len(rest) > 0 {
		return nil, badSSH("trailing bytes")
	}
	s := &sshSig{namespace: string(f[1]), reserved: f[2], hash: string(f[3]), sig: &ssh.Signature{}}
	if s.key, err = ssh.ParsePublicKey(f[0]); err != nil {
		return nil, badSSH("public key")
	}
	if err := ssh.Unmarshal(f[4], s.sig); err != nil {
		return nil, badSSH("signature blob")
	}
	return s, nil
}

func cutString(b []byte) (s, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(b)
	if uint64(n) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+n], b[4+n:], true
}

func appendString(b, s []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(s))) //nolint:gosec // bounded by the signature limit
	return append(b, s...)
}

// signedData is what the key signs.
func signedData(namespace string, reserved []byte, hash string, payload []byte) ([]byte, error) {
	var digest []byte
	switch hash {
	case "sha256":
		d := sha256.Sum256(payload)
		digest = d[:]
	case "sha512":
		d := sha512.Sum512(payload)
		digest = d[:]
	default:
		return nil, badSSH("digest algorithm")
	}
	b := []byte(sshMagic)
	b = appendString(b, []byte(namespace))
	b = appendString(b, reserved)
	b = appendString(b, []byte(hash))
	return appendString(b, digest), nil
}

func (k Keys) verifySSH(armored, payload []byte) (*Result, error) {
	s, err := parseSSH(armored)
	if err != nil {
		return nil, err
	}
	if s.namespace != sshNamespace {
		return nil, badSSH("namespace is not git")
	}
	data, err := signedData(s.namespace, s.reserved, s.hash, payload)
	if err != nil {
		return nil, err
	}
	if err := s.strong(); err != nil {
		return nil, err
	}
	signers, err := k.signers()
	if err != nil {
		return nil, err
	}
	who, err := match(signers, s.key, payload)
	if err != nil {
		return nil, err
	}
	// The key is trusted; now the signature itself.
	key := s.key
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	if err := key.Verify(data, s.sig); err != nil {
		return nil, badSSH("does not fit")
	}
	fp := ssh.FingerprintSHA256(key)
	return &Result{Format: SSH, KeyID: fp, Fingerprint: fp, Principal: who.name()}, nil
}

// strong refuses weak algorithms and security keys that were not touched.
func (s *sshSig) strong() error {
	key := s.key
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	switch key.Type() {
	case ssh.KeyAlgoRSA:
		if s.sig.Format != ssh.KeyAlgoRSASHA256 && s.sig.Format != ssh.KeyAlgoRSASHA512 {
			return badSSH("weak RSA signature")
		}
		cp, ok := key.(ssh.CryptoPublicKey)
		if !ok {
			return badSSH("RSA key")
		}
		if pub, ok := cp.CryptoPublicKey().(*rsa.PublicKey); !ok || pub.N.BitLen() < 2048 || pub.N.BitLen() > 16384 {
			return badSSH("RSA key of fewer than 2048 bits")
		}
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		if s.sig.Format != key.Type() {
			return badSSH("signature of another algorithm")
		}
	case ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		if s.sig.Format != key.Type() {
			return badSSH("signature of another algorithm")
		}
		if len(s.sig.Rest) != 5 || s.sig.Rest[0]&1 == 0 {
			return badSSH("security key was not touched")
		}
	default:
		return badSSH("key algorithm")
	}
	return nil
}

type sshSigner struct{ key ssh.Signer }

// NewSSH returns a Signer of a private key in PEM form, OpenSSH or PKCS#8. The
// passphrase opens it when it is encrypted.
func NewSSH(pem, passphrase []byte) (Signer, error) {
	raw, err := ssh.ParseRawPrivateKey(pem)
	var missing *ssh.PassphraseMissingError
	if errors.As(err, &missing) {
		if len(passphrase) == 0 {
			return nil, ErrKeyPassphrase
		}
		if raw, err = ssh.ParseRawPrivateKeyWithPassphrase(pem, passphrase); err != nil {
			return nil, ErrKeyPassphrase
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: private key cannot be parsed", ErrInvalidKey)
	}
	if k, ok := raw.(*rsa.PrivateKey); ok && k.N.BitLen() < 2048 {
		return nil, fmt.Errorf("%w: RSA key of %d bits", ErrInvalidKey, k.N.BitLen())
	}
	s, err := ssh.NewSignerFromKey(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: private key of an unsupported type", ErrInvalidKey)
	}
	switch s.PublicKey().Type() {
	case ssh.KeyAlgoRSA, ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
	default:
		return nil, fmt.Errorf("%w: private key of an unsupported type", ErrInvalidKey)
	}
	return sshSigner{s}, nil
}

// Sign implements Signer.
func (s sshSigner) Sign(ctx context.Context, payload []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	data, err := signedData(sshNamespace, nil, "sha512", payload)
	if err != nil {
		return nil, err
	}
	var sig *ssh.Signature
	if as, ok := s.key.(ssh.AlgorithmSigner); ok && s.key.PublicKey().Type() == ssh.KeyAlgoRSA {
		sig, err = as.SignWithAlgorithm(rand.Reader, data, ssh.KeyAlgoRSASHA512)
	} else {
		sig, err = s.key.Sign(rand.Reader, data)
	}
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	b := append([]byte(sshMagic), 0, 0, 0, 1)
	b = appendString(b, s.key.PublicKey().Marshal())
	b = appendString(b, []byte(sshNamespace))
	b = appendString(b, nil)
	b = appendString(b, []byte("sha512"))
	b = appendString(b, ssh.Marshal(sig))
	var out bytes.Buffer
	out.WriteString(sshBegin + "\n")
	for text := base64.StdEncoding.EncodeToString(b); text != ""; {
		n := min(70, len(text))
		out.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	out.WriteString(sshEnd + "\n")
	return out.Bytes(), nil
}
