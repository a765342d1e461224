// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ocisign

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/testserver/ociserver"
)

// Format is a form of signature.
type Format int

const (
	// Cosign is a signature beside a tag of its own, "sha256-….sig", as
	// cosign has made them from the beginning.
	Cosign Format = iota
	// Bundle is a sigstore bundle with an in-toto statement, attached to its
	// subject by the referrers API, as newer versions of cosign make them.
	Bundle
	// Notation is a JWS envelope, attached likewise, as notation makes them.
	Notation
)

// Media types.
const (
	MediaTypeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	MediaTypeBundle        = "application/vnd.dev.sigstore.bundle.v0.3+json"
	MediaTypeNotation      = "application/vnd.cncf.notary.signature"
	MediaTypeJWS           = "application/jose+json"
	mediaTypeInToto        = "application/vnd.in-toto+json"
	mediaTypePayload       = "application/vnd.cncf.notary.payload.v1+json"
)

// Annotations of a [Cosign] signature.
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationChain       = "dev.sigstore.cosign/chain"
	annotationBundle      = "dev.sigstore.cosign/bundle"
	annotationStamp       = "dev.sigstore.cosign/rfc3161timestamp"
)

// ErrOptions reports options that contradict each other.
var ErrOptions = errors.New("contradictory options")

// Options of a signature. The zero value is a [Cosign] signature by a key
// made for it, which is of little use: set Key or Identity.
type Options struct {
	// Format; zero: Cosign.
	Format Format
	// Key signs. Without it, and with Identity, the signature is keyless: by a
	// key of its own, certified for the identity. Notation has certificates only.
	Key *ecdsa.PrivateKey
	// Identity is a URL or an e-mail address, such as of a workflow; Issuer is
	// the URL of who vouched for it.
	Identity, Issuer string
	// Reference is the image name in the payload of a Cosign signature; zero:
	// the name of the repository.
	Reference string
	// Annotations are further claims in the payload.
	Annotations map[string]string
	// When it was signed; zero: now.
	When time.Time
	// NoLog leaves the transparency log out, NoTimestamp the timestamp.
	NoLog, NoTimestamp bool

	// What is wrong with the signature; zero: nothing.

	// PayloadDigest is the digest in the payload instead of the subject's.
	PayloadDigest string
	// BadSignature changes a bit of the signature.
	BadSignature bool
	// CertificateExpired has the certificate end before the time of signing.
	CertificateExpired bool
	// ForeignLog has another, unknown log make the entry.
	ForeignLog bool
}

// Sign attaches a signature to an artifact in a registry and returns the
// descriptor of the signature's manifest.
func (a *Authority) Sign(reg *ociserver.Server, repo string, subject ociserver.Descriptor, o Options) ociserver.Descriptor {
	d, err := a.attach(reg, repo, subject, o)
	if err != nil {
		a.fail(fmt.Errorf("sign %q in %q: %w", subject.Digest, repo, err))
	}
	return d
}

func (a *Authority) attach(reg *ociserver.Server, repo string, subject ociserver.Descriptor, o Options) (ociserver.Descriptor, error) {
	if o.When.IsZero() {
		o.When = time.Now()
	}
	if o.PayloadDigest == "" {
		o.PayloadDigest = subject.Digest
	}
	if o.Key != nil && (o.Identity != "" || o.Format == Notation) {
		return ociserver.Descriptor{}, fmt.Errorf("a key besides a certificate: %w", ErrOptions)
	}
	switch o.Format {
	case Cosign:
		if o.Reference == "" {
			o.Reference = reg.Host() + "/" + repo
		}
		return a.cosign(reg, repo, subject, o)
	case Bundle:
		return a.bundle(reg, repo, subject, o)
	case Notation:
		return a.jws(reg, repo, subject, o)
	default:
		return ociserver.Descriptor{}, fmt.Errorf("format %d: %w", o.Format, ErrOptions)
	}
}

// signed is a signature with what proves whose it is and when it was made.
type signed struct {
	signature []byte
	signer    []byte // PEM: a certificate or a public key
	leaf      *certificate
	entry     *entry
	stamp     []byte
}

// sign signs message; logged makes the log's view of the signature.
func (a *Authority) sign(message []byte, o Options, kind string, logged func(s signed) any) (signed, error) {
	s, key := signed{}, o.Key
	var err error
	switch {
	case o.Identity != "":
		leaf, err := a.identity(o, o.When)
		if err != nil {
			return s, fmt.Errorf("certify identity: %w", err)
		}
		s.leaf, s.signer, key = &leaf, leaf.pem(), leaf.key
	case key == nil:
		if key, err = newKey(); err != nil {
			return s, err
		}
		fallthrough
	default:
		if s.signer, err = publicPEM(&key.PublicKey); err != nil {
			return s, err
		}
	}
	if s.signature, err = signDigest(key, message); err != nil {
		return s, err
	}
	if o.BadSignature {
		s.signature[len(s.signature)-1] ^= 1
	}
	if !o.NoLog {
		e, err := a.enter(kind, logged(s), o)
		if err != nil {
			return s, fmt.Errorf("log signature: %w", err)
		}
		s.entry = &e
	}
	if !o.NoTimestamp {
		if s.stamp, err = a.stamp(s.signature, o.When); err != nil {
			return s, fmt.Errorf("timestamp signature: %w", err)
		}
	}
	return s, nil
}

func (a *Authority) enter(kind string, spec any, o Options) (entry, error) {
	if o.ForeignLog {
		key, err := newKey()
		if err != nil {
			return entry{}, err
		}
		foreign := transparencyLog{key: key}
		return foreign.add(kind, spec, o.When)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.log.add(kind, spec, o.When)
}

func hash(b []byte) map[string]any {
	sum := sha256.Sum256(b)
	return map[string]any{"algorithm": "sha256", "value": hex.EncodeToString(sum[:])}
}

func (a *Authority) cosign(reg *ociserver.Server, repo string, subject ociserver.Descriptor, o Options) (ociserver.Descriptor, error) {
	optional := map[string]string{}
	for k, v := range o.Annotations {
		optional[k] = v
	}
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"identity": map[string]any{"docker-reference": o.Reference},
			"image":    map[string]any{"docker-manifest-digest": o.PayloadDigest},
			"type":     "cosign container image signature",
		},
		"optional": optional,
	})
	if err != nil {
		return ociserver.Descriptor{}, err
	}
	s, err := a.sign(payload, o, "hashedrekord", func(s signed) any {
		return map[string]any{
			"data":      map[string]any{"hash": hash(payload)},
			"signature": map[string]any{"content": s.signature, "publicKey": map[string]any{"content": s.signer}},
		}
	})
	if err != nil {
		return ociserver.Descriptor{}, err
	}
	annotations := map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(s.signature)}
	if s.leaf != nil {
		annotations[annotationCertificate] = string(s.signer)
		annotations[annotationChain] = string(a.identities.chainPEM())
	}
	if s.entry != nil {
		if annotations[annotationBundle], err = s.entry.annotation(); err != nil {
			return ociserver.Descriptor{}, err
		}
	}
	if s.stamp != nil {
		text, err := json.Marshal(map[string]any{"SignedRFC3161Timestamp": s.stamp})
		if err != nil {
			return ociserver.Descriptor{}, err
		}
		annotations[annotationStamp] = string(text)
	}
	tag := strings.ReplaceAll(subject.Digest, ":", "-") + ".sig"
	return reg.Push(repo, tag, ociserver.Artifact{
		ConfigMediaType: ociserver.MediaTypeConfig,
		Config:          []byte(`{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":[]},"config":{}}`),
		Layers:          []ociserver.Layer{{MediaType: MediaTypeSimpleSigning, Content: payload, Annotations: annotations}},
	}), reg.Err()
}
