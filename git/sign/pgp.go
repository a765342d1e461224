// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

const pgpEnd = "-----END PGP SIGNATURE-----"

// rings reads all key rings. One that cannot be read fails only when none can.
func (k Keys) rings() (openpgp.EntityList, error) {
	var all openpgp.EntityList
	var first error
	for _, b := range k.PGP {
		el, err := readRing(b)
		if err != nil {
			first = errors.Join(first, err)
			continue
		}
		n := len(all)
		for _, e := range el {
			n += 1 + len(e.Subkeys)
		}
		if err := k.countKeys(n); err != nil {
			return nil, err
		}
		all = append(all, el...)
	}
	if len(all) == 0 && first != nil {
		return nil, fmt.Errorf("%w: no key ring can be read: %w", ErrInvalidKey, first)
	}
	return all, nil
}

func readRing(b []byte) (openpgp.EntityList, error) {
	if bytes.Contains(b, []byte("-----BEGIN PGP")) {
		var all openpgp.EntityList
		for rest := b; ; { // several armored blocks may follow each other
			i := bytes.Index(rest, []byte("-----BEGIN PGP"))
			if i < 0 {
				break
			}
			rest = rest[i:]
			end := bytes.Index(rest[10:], []byte("-----BEGIN PGP"))
			block := rest
			if end >= 0 {
				block, rest = rest[:end+10], rest[end+10:]
			} else {
				rest = nil
			}
			el, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(block))
			if err != nil {
				return nil, err
			}
			all = append(all, el...)
		}
		return all, nil
	}
	return openpgp.ReadKeyRing(bytes.NewReader(b))
}

// readPGP reads exactly one signature packet out of an armored block with
// nothing behind it.
func readPGP(sig []byte) (*packet.Signature, error) {
	text := string(sig)
	if i := strings.Index(text, pgpEnd); i < 0 || strings.TrimSpace(text[i+len(pgpEnd):]) != "" {
		return nil, fmt.Errorf("%w: text behind the armor, or no end", ErrBadSignature)
	}
	block, err := armor.Decode(bytes.NewReader(sig))
	if err != nil || block.Type != openpgp.SignatureType {
		return nil, fmt.Errorf("%w: armor", ErrBadSignature)
	}
	body, err := io.ReadAll(io.LimitReader(block.Body, int64(len(sig)))) //nolint:forbidigo // bounded: decoding shrinks
	if err != nil {
		return nil, fmt.Errorf("%w: armor", ErrBadSignature)
	}
	r := bytes.NewReader(body)
	p, err := packet.Read(r)
	if err != nil {
		return nil, fmt.Errorf("%w: packet", ErrBadSignature)
	}
	s, ok := p.(*packet.Signature)
	if !ok {
		return nil, fmt.Errorf("%w: no signature packet", ErrBadSignature)
	}
	if r.Len() > 0 {
		return nil, fmt.Errorf("%w: more than one packet", ErrBadSignature)
	}
	if s.IssuerKeyId == nil {
		return nil, fmt.Errorf("%w: no issuer", ErrBadSignature)
	}
	return s, nil
}

func (k Keys) verifyPGP(armored, payload []byte) (*Result, error) {
	s, err := readPGP(armored)
	if err != nil {
		return nil, err
	}
	if s.SigType != packet.SigTypeBinary {
		return nil, fmt.Errorf("%w: not a signature of a document", ErrBadSignature)
	}
	switch s.Hash {
	case crypto.SHA224, crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
	default:
		return nil, fmt.Errorf("%w: weak digest algorithm", ErrBadSignature)
	}
	ring, err := k.rings()
	if err != nil {
		return nil, err
	}
	keys := ring.KeysById(*s.IssuerKeyId)
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: signature by key %016X", ErrNoMatchingKey, *s.IssuerKeyId)
	}
	err = nil
	for i := range keys {
		res, verr := k.judge(&keys[i], s, payload)
		if verr == nil {
			return res, nil
		}
		err = errors.Join(err, verr)
	}
	return nil, err
}

// judge checks one signature with one key.
func (k Keys) judge(key *openpgp.Key, s *packet.Signature, payload []byte) (*Result, error) {
	h, err := s.PrepareVerify()
	if err != nil {
		return nil, fmt.Errorf("%w: digest algorithm", ErrBadSignature)
	}
	_, _ = h.Write(payload)
	if err := key.PublicKey.VerifySignature(h, s); err != nil {
		return nil, fmt.Errorf("%w: by key %016X", ErrBadSignature, key.PublicKey.KeyId)
	}
	if err := k.usable(key, s); err != nil {
		return nil, err
	}
	res := &Result{Format: PGP, KeyID: fmt.Sprintf("%016X", key.Entity.PrimaryKey.KeyId), Fingerprint: fmt.Sprintf("%X", key.PublicKey.Fingerprint), Created: s.CreationTime}
	if id := key.Entity.PrimaryIdentity(); id != nil {
		res.Principal = id.Name
	}
	return res, nil
}

func (k Keys) usable(key *openpgp.Key, s *packet.Signature) error {
	now := time.Now()
	when := now
	if k.AcceptExpired {
		when = s.CreationTime
	}
	e, pub := key.Entity, key.PublicKey
	self, _ := e.PrimarySelfSignature()
	refuse := func(why string) error {
		return fmt.Errorf("%w: key %016X %s", ErrInvalidKey, pub.KeyId, why)
	}
	switch pub.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		if n, err := pub.BitLength(); err != nil || n < 2048 {
			return refuse("is an RSA key of less than 2048 bits")
		}
	case packet.PubKeyAlgoECDSA, packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoEd25519, packet.PubKeyAlgoEd448:
	default:
		return refuse("has an algorithm that is not accepted")
	}
	switch {
	case self == nil || key.SelfSignature == nil:
		return refuse("has no valid binding")
	case e.Revoked(now) || key.Revoked(now):
		return refuse("is revoked")
	case e.PrimaryKey.KeyExpired(self, when) || pub.KeyExpired(key.SelfSignature, when):
		return refuse("has expired")
	case key.SelfSignature.FlagsValid && !key.SelfSignature.FlagSign:
		return refuse("may not sign")
	case s.CreationTime.Before(pub.CreationTime):
		return refuse("is younger than the signature")
	case s.SigExpired(when):
		return fmt.Errorf("%w: expired", ErrBadSignature)
	}
	return nil
}

type pgpSigner struct{ entity *openpgp.Entity }

// NewPGP returns a Signer of an armored private key. The passphrase opens it
// when it is encrypted.
func NewPGP(armored, passphrase []byte) (Signer, error) {
	el, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(armored))
	if err != nil {
		return nil, fmt.Errorf("%w: no armored key ring", ErrInvalidKey)
	}
	el = slices.DeleteFunc(el, func(e *openpgp.Entity) bool { return e.PrivateKey == nil })
	if len(el) != 1 {
		return nil, fmt.Errorf("%w: %d private keys, want one", ErrInvalidKey, len(el))
	}
	e := el[0]
	if err := e.DecryptPrivateKeys(passphrase); err != nil {
		return nil, ErrKeyPassphrase
	}
	key, ok := e.SigningKey(time.Now())
	if !ok || key.PrivateKey == nil {
		return nil, fmt.Errorf("%w: no key that may sign now", ErrInvalidKey)
	}
	if key.PrivateKey.Encrypted {
		return nil, ErrKeyPassphrase
	}
	if n, err := key.PublicKey.BitLength(); err == nil && n < 2048 &&
		(key.PublicKey.PubKeyAlgo == packet.PubKeyAlgoRSA || key.PublicKey.PubKeyAlgo == packet.PubKeyAlgoRSASignOnly) {
		return nil, fmt.Errorf("%w: RSA key of %d bits", ErrInvalidKey, n)
	}
	return pgpSigner{e}, nil
}

// Sign implements Signer.
func (p pgpSigner) Sign(ctx context.Context, payload []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := openpgp.ArmoredDetachSign(&b, p.entity, bytes.NewReader(payload), &packet.Config{DefaultHash: crypto.SHA512}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidKey, err)
	}
	if b.Len() == 0 || b.Bytes()[b.Len()-1] != '\n' {
		b.WriteByte('\n')
	}
	return b.Bytes(), nil
}
