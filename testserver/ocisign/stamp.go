// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ocisign

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"time"
)

//nolint:gochecknoglobals // constants
var (
	oidSignedData   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidDigest       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningTime  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}
	oidSigningCert  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidSHA256       = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidECDSA        = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	oidPolicy       = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 2}
	oidExtKeyUsage  = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidTimestamping = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 8}
)

// timestampingOnly is the one use that a timestamp authority's key may have,
// and it has to be critical, which x509 does not make it.
func timestampingOnly() pkix.Extension {
	der, _ := asn1.Marshal([]asn1.ObjectIdentifier{oidTimestamping}) // cannot fail
	return pkix.Extension{Id: oidExtKeyUsage, Critical: true, Value: der}
}

type imprint struct {
	Algorithm pkix.AlgorithmIdentifier
	Hash      []byte
}

type tstInfo struct {
	Version int
	Policy  asn1.ObjectIdentifier
	Imprint imprint
	Serial  *big.Int
	Time    time.Time `asn1:"generalized"`
}

type attribute struct {
	Type   asn1.ObjectIdentifier
	Values asn1.RawValue
}

type signerInfo struct {
	Version int
	Signer  struct {
		Issuer asn1.RawValue
		Serial *big.Int
	}
	DigestAlgorithm    pkix.AlgorithmIdentifier
	Attributes         asn1.RawValue
	SignatureAlgorithm pkix.AlgorithmIdentifier
	Signature          []byte
}

type signedData struct {
	Version          int
	DigestAlgorithms []pkix.AlgorithmIdentifier `asn1:"set"`
	Content          struct {
		Type    asn1.ObjectIdentifier
		Content []byte `asn1:"explicit,tag:0"`
	}
	Certificates asn1.RawValue
	Signers      []signerInfo `asn1:"set"`
}

type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content signedData `asn1:"explicit,tag:0"`
}

type stampResponse struct {
	Status struct{ Status int }
	Token  contentInfo
}

// stamp is a reply of a timestamp authority (RFC 3161) about data.
func (a *Authority) stamp(data []byte, when time.Time) ([]byte, error) {
	response, err := a.answer(data, when)
	if err != nil {
		return nil, fmt.Errorf("make timestamp: %w", err)
	}
	return asn1.Marshal(response)
}

// token is the part of such a reply that is the timestamp.
func (a *Authority) token(data []byte, when time.Time) ([]byte, error) {
	response, err := a.answer(data, when)
	if err != nil {
		return nil, fmt.Errorf("make timestamp: %w", err)
	}
	return asn1.Marshal(response.Token)
}

func (a *Authority) answer(data []byte, when time.Time) (stampResponse, error) {
	none := stampResponse{}
	sum := sha256.Sum256(data)
	sha := pkix.AlgorithmIdentifier{Algorithm: oidSHA256}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return none, err
	}
	info, err := asn1.Marshal(tstInfo{Version: 1, Policy: oidPolicy, Imprint: imprint{sha, sum[:]}, Serial: serial, Time: when.UTC().Truncate(time.Second)})
	if err != nil {
		return none, err
	}
	leaf := a.stampLeaf
	attributes, err := stampAttributes(info, leaf.cert, when)
	if err != nil {
		return none, err
	}
	signed, err := asn1.Marshal(set(0, asn1.TagSet, attributes))
	if err != nil {
		return none, err
	}
	signature, err := signDigest(leaf.key, signed)
	if err != nil {
		return none, err
	}
	signer := signerInfo{
		Version: 1, DigestAlgorithm: sha, Attributes: set(asn1.ClassContextSpecific, 0, attributes),
		SignatureAlgorithm: pkix.AlgorithmIdentifier{Algorithm: oidECDSA}, Signature: signature,
	}
	signer.Signer.Issuer = asn1.RawValue{FullBytes: leaf.cert.RawIssuer}
	signer.Signer.Serial = leaf.cert.SerialNumber
	response := stampResponse{Token: contentInfo{Type: oidSignedData, Content: signedData{
		Version: 3, DigestAlgorithms: []pkix.AlgorithmIdentifier{sha},
		Certificates: set(asn1.ClassContextSpecific, 0, slices.Concat(leaf.cert.Raw, a.stamps.intermediate.cert.Raw, a.stamps.root.cert.Raw)),
		Signers:      []signerInfo{signer},
	}}}
	response.Token.Content.Content.Type = oidTSTInfo
	response.Token.Content.Content.Content = info
	return response, nil
}

// set is a constructed value of encoded elements.
func set(class, tag int, content []byte) asn1.RawValue {
	return asn1.RawValue{Class: class, Tag: tag, IsCompound: true, Bytes: content}
}

// stampAttributes are the signed attributes, in the order that their encoding
// demands.
func stampAttributes(info []byte, cert *x509.Certificate, when time.Time) ([]byte, error) {
	digest, certDigest := sha256.Sum256(info), sha256.Sum256(cert.Raw)
	type certID struct{ Hash []byte }
	values := []struct {
		oid   asn1.ObjectIdentifier
		value any
	}{
		{oidContentType, oidTSTInfo},
		{oidDigest, digest[:]},
		{oidSigningTime, when.UTC()},
		{oidSigningCert, struct{ Certs []certID }{[]certID{{certDigest[:]}}}},
	}
	var all [][]byte
	for _, v := range values {
		value, err := asn1.Marshal(v.value)
		if err != nil {
			return nil, err
		}
		der, err := asn1.Marshal(attribute{v.oid, set(0, asn1.TagSet, value)})
		if err != nil {
			return nil, err
		}
		all = append(all, der)
	}
	slices.SortFunc(all, slices.Compare)
	return slices.Concat(all...), nil
}
