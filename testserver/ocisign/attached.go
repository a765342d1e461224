// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ocisign

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/testserver/ociserver"
)

// bundle makes a sigstore bundle.
func (a *Authority) bundle(reg *ociserver.Server, repo string, subject ociserver.Descriptor, o Options) (ociserver.Descriptor, error) {
	const predicateType = "https://sigstore.dev/cosign/sign/v1"
	algorithm, value, _ := strings.Cut(o.PayloadDigest, ":")
	statement, err := json.Marshal(map[string]any{
		"_type":         "https://in-toto.io/Statement/v1",
		"subject":       []any{map[string]any{"digest": map[string]string{algorithm: value}, "annotations": o.Annotations}},
		"predicateType": predicateType,
		"predicate":     map[string]any{},
	})
	if err != nil {
		return ociserver.Descriptor{}, err
	}
	// What is signed is the statement with its type (DSSE).
	message := fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(mediaTypeInToto), mediaTypeInToto, len(statement), statement)
	envelope := func(s signed) map[string]any {
		return map[string]any{"payloadType": mediaTypeInToto, "payload": statement, "signatures": []any{map[string]any{"sig": s.signature}}}
	}
	s, err := a.sign(message, o, "dsse", func(s signed) any {
		text, _ := json.Marshal(envelope(s)) // of bytes and strings
		return map[string]any{
			"envelopeHash": hash(text), "payloadHash": hash(statement),
			"signatures": []any{map[string]any{"signature": base64.StdEncoding.EncodeToString(s.signature), "verifier": s.signer}},
		}
	})
	if err != nil {
		return ociserver.Descriptor{}, err
	}
	material := map[string]any{}
	if s.leaf != nil {
		material["certificate"] = map[string]any{"rawBytes": s.leaf.cert.Raw}
	} else {
		id := sha256.Sum256(s.signer)
		material["publicKey"] = map[string]any{"hint": base64.StdEncoding.EncodeToString(id[:])}
	}
	if s.entry != nil {
		material["tlogEntries"] = []any{s.entry.bundled()}
	}
	if s.stamp != nil {
		material["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": []any{map[string]any{"signedTimestamp": s.stamp}}}
	}
	text, err := json.Marshal(map[string]any{"mediaType": MediaTypeBundle, "verificationMaterial": material, "dsseEnvelope": envelope(s)})
	if err != nil {
		return ociserver.Descriptor{}, err
	}
	return reg.Push(repo, "", ociserver.Artifact{
		ArtifactType: MediaTypeBundle, Subject: &subject,
		Layers: []ociserver.Layer{{MediaType: MediaTypeBundle, Content: text}},
		Annotations: map[string]string{
			"dev.sigstore.bundle.content": "dsse-envelope", "dev.sigstore.bundle.predicateType": predicateType,
			"org.opencontainers.image.created": o.When.UTC().Format(time.RFC3339),
		},
	}), reg.Err()
}

// notationSubject is whom certificates for notation name.
func notationSubject(o Options) pkix.Name {
	name := o.Identity
	if name == "" {
		name = "signer"
	}
	return pkix.Name{Country: []string{"US"}, Province: []string{"WA"}, Organization: []string{"gitops-kit test"}, CommonName: name}
}

// jws makes a notation envelope.
func (a *Authority) jws(reg *ociserver.Server, repo string, subject ociserver.Descriptor, o Options) (ociserver.Descriptor, error) {
	template := &x509.Certificate{
		Subject: notationSubject(o), NotBefore: o.When.Add(-time.Minute), NotAfter: o.When.AddDate(1, 0, 0),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	if o.CertificateExpired {
		template.NotBefore, template.NotAfter = o.When.Add(-time.Hour), o.When.Add(-time.Minute)
	}
	leaf, err := a.notation.issue(template)
	if err != nil {
		return ociserver.Descriptor{}, fmt.Errorf("certify signer: %w", err)
	}
	target := map[string]any{"mediaType": subject.MediaType, "digest": o.PayloadDigest, "size": subject.Size}
	if len(o.Annotations) > 0 {
		target["annotations"] = o.Annotations
	}
	payload, err := json.Marshal(map[string]any{"targetArtifact": target})
	if err != nil {
		return ociserver.Descriptor{}, err
	}
	const scheme = "io.cncf.notary.signingScheme"
	protected, err := json.Marshal(map[string]any{
		"alg": "ES256", "cty": mediaTypePayload, "crit": []string{scheme}, scheme: "notary.x509",
		"io.cncf.notary.signingTime": o.When.UTC().Format(time.RFC3339),
	})
	if err != nil {
		return ociserver.Descriptor{}, err
	}
	encode := base64.RawURLEncoding.EncodeToString
	signature, err := signRaw(leaf.key, []byte(encode(protected)+"."+encode(payload)))
	if err != nil {
		return ociserver.Descriptor{}, err
	}
	if o.BadSignature {
		signature[len(signature)-1] ^= 1
	}
	var chain [][]byte
	prints := []string{}
	for _, c := range []certificate{leaf, a.notation.intermediate, a.notation.root} {
		chain = append(chain, c.cert.Raw)
		sum := sha256.Sum256(c.cert.Raw)
		prints = append(prints, hex.EncodeToString(sum[:]))
	}
	header := map[string]any{"x5c": chain, "io.cncf.notary.signingAgent": "gitops-kit-test/1"}
	if !o.NoTimestamp {
		if header["io.cncf.notary.timestampSignature"], err = a.token(signature, o.When); err != nil {
			return ociserver.Descriptor{}, err
		}
	}
	envelope, err := json.Marshal(map[string]any{"payload": encode(payload), "protected": encode(protected), "signature": encode(signature), "header": header})
	if err != nil {
		return ociserver.Descriptor{}, err
	}
	thumbprints, err := json.Marshal(prints)
	if err != nil {
		return ociserver.Descriptor{}, err
	}
	return reg.Push(repo, "", ociserver.Artifact{
		ConfigMediaType: MediaTypeNotation, Subject: &subject,
		Layers: []ociserver.Layer{{MediaType: MediaTypeJWS, Content: envelope}},
		Annotations: map[string]string{
			"io.cncf.notary.x509chain.thumbprint#S256": string(thumbprints),
			"org.opencontainers.image.created":         o.When.UTC().Format(time.RFC3339),
		},
	}), reg.Err()
}

// signRaw signs the SHA-256 of data, as two numbers of 32 bytes.
func signRaw(key *ecdsa.PrivateKey, data []byte) ([]byte, error) {
	sum := sha256.Sum256(data)
	r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), nil
}
