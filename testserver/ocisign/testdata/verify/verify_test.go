// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package verify_test verifies signatures in a registry with the libraries
// that most programs verify with. What it verifies is named by files in a
// directory.
package verify_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/dir"
	notationregistry "github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	orasremote "oras.land/oras-go/v2/registry/remote"
)

type testCase struct {
	Name, Format, Repo, Subject, Signature, Identity, Issuer string
	Good, NoLog, NoTimestamp                                 bool
}

type manifest struct {
	Layers []struct {
		Digest      string
		Annotations map[string]string
	}
}

func file(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(os.Getenv("VERIFY_DIR"), name))
	check(t, err)
	return b
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, path string) []byte {
	t.Helper()
	resp, err := http.Get("http://" + os.Getenv("VERIFY_HOST") + "/v2/" + path)
	check(t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	check(t, err)
	return b
}

func Test(t *testing.T) {
	var cases []testCase
	check(t, json.Unmarshal(file(t, "cases.json"), &cases))
	for _, tc := range cases {
		t.Run(tc.Name, func(t *testing.T) {
			var err error
			switch tc.Format {
			case "notation":
				err = notary(t, tc)
			default:
				err = sigstore(t, tc)
			}
			if tc.Good && err != nil {
				t.Fatal(err)
			}
			if !tc.Good && err == nil {
				t.Fatal("a bad signature is accepted")
			}
			t.Log(err)
		})
	}
}

// sigstore verifies a bundle, or what cosign keeps in annotations, as a bundle.
func sigstore(t *testing.T, tc testCase) error {
	var m manifest
	check(t, json.Unmarshal(get(t, tc.Repo+"/manifests/"+tc.Signature), &m))
	content := get(t, tc.Repo+"/blobs/"+m.Layers[0].Digest)
	digest, err := hex.DecodeString(tc.Subject[len("sha256:"):])
	check(t, err)
	artifact := verify.WithArtifactDigest("sha256", digest)
	if tc.Format == "cosign" {
		var payload struct {
			Critical struct {
				Image struct {
					Digest string `json:"docker-manifest-digest"`
				}
			}
		}
		check(t, json.Unmarshal(content, &payload))
		if payload.Critical.Image.Digest != tc.Subject {
			return fmt.Errorf("payload of %s", payload.Critical.Image.Digest)
		}
		artifact = verify.WithArtifact(bytes.NewReader(content))
		content = asBundle(t, content, m.Layers[0].Annotations)
	}
	b := &bundle.Bundle{}
	if err := b.UnmarshalJSON(content); err != nil {
		return err
	}
	trusted, err := root.NewTrustedRootFromJSON(file(t, "trusted_root.json"))
	check(t, err)
	material := root.TrustedMaterialCollection{trusted}
	policy := verify.WithKey()
	var options []verify.VerifierOption
	if tc.Identity != "" {
		id, err := verify.NewShortCertificateIdentity(tc.Issuer, "", tc.Identity, "")
		check(t, err)
		policy = verify.WithCertificateIdentity(id)
	} else {
		block, _ := pem.Decode(file(t, "key.pub"))
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		check(t, err)
		v, err := signature.LoadDefaultVerifier(key)
		check(t, err)
		material = append(material, root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) {
			return root.NewExpiringKey(v, trusted.RekorLogs()[firstLog(trusted)].ValidityPeriodStart, trusted.RekorLogs()[firstLog(trusted)].ValidityPeriodEnd), nil
		}))
	}
	if !tc.NoLog {
		options = append(options, verify.WithTransparencyLog(1))
	}
	if !tc.NoTimestamp {
		options = append(options, verify.WithSignedTimestamps(1))
	}
	switch {
	case tc.NoLog && tc.NoTimestamp:
		options = append(options, verify.WithNoObserverTimestamps())
	case tc.NoTimestamp:
		options = append(options, verify.WithIntegratedTimestamps(1))
	}
	v, err := verify.NewVerifier(material, options...)
	check(t, err)
	_, err = v.Verify(b, verify.NewPolicy(artifact, policy))
	return err
}

func firstLog(r *root.TrustedRoot) string {
	for id := range r.RekorLogs() {
		return id
	}
	return ""
}

// asBundle turns cosign's annotations into a bundle of the oldest form, which
// has the log's promise only.
func asBundle(t *testing.T, payload []byte, annotations map[string]string) []byte {
	sum := sha256.Sum256(payload)
	material := map[string]any{"publicKey": map[string]any{"hint": "key"}}
	if text := annotations["dev.sigstore.cosign/certificate"]; text != "" {
		block, _ := pem.Decode([]byte(text))
		material = map[string]any{"x509CertificateChain": map[string]any{"certificates": []any{map[string]any{"rawBytes": block.Bytes}}}}
	}
	if text := annotations["dev.sigstore.cosign/bundle"]; text != "" {
		var e struct {
			SignedEntryTimestamp []byte
			Payload              struct {
				Body                     []byte
				IntegratedTime, LogIndex int64
				LogID                    string
			}
		}
		check(t, json.Unmarshal([]byte(text), &e))
		id, err := hex.DecodeString(e.Payload.LogID)
		check(t, err)
		material["tlogEntries"] = []any{map[string]any{
			"logIndex": fmt.Sprint(e.Payload.LogIndex), "logId": map[string]any{"keyId": id},
			"kindVersion":    map[string]any{"kind": "hashedrekord", "version": "0.0.1"},
			"integratedTime": fmt.Sprint(e.Payload.IntegratedTime), "canonicalizedBody": e.Payload.Body,
			"inclusionPromise": map[string]any{"signedEntryTimestamp": e.SignedEntryTimestamp},
		}}
	}
	if text := annotations["dev.sigstore.cosign/rfc3161timestamp"]; text != "" {
		var stamp struct{ SignedRFC3161Timestamp []byte }
		check(t, json.Unmarshal([]byte(text), &stamp))
		material["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": []any{map[string]any{"signedTimestamp": stamp.SignedRFC3161Timestamp}}}
	}
	sig, err := base64.StdEncoding.DecodeString(annotations["dev.cosignproject.cosign/signature"])
	check(t, err)
	b, err := json.Marshal(map[string]any{
		"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.1", "verificationMaterial": material,
		"messageSignature": map[string]any{"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": sum[:]}, "signature": sig},
	})
	check(t, err)
	return b
}

func notary(t *testing.T, tc testCase) error {
	config := t.TempDir()
	for kind, name := range map[string]string{"ca": "notation.pem", "tsa": "tsa-root.pem"} {
		store := filepath.Join(config, "truststore", "x509", kind, "test")
		check(t, os.MkdirAll(store, 0o700))
		check(t, os.WriteFile(filepath.Join(store, "root.pem"), file(t, name), 0o600))
	}
	stores := []string{"ca:test"}
	if !tc.NoTimestamp {
		stores = append(stores, "tsa:test")
	}
	policy := &trustpolicy.Document{Version: "1.0", TrustPolicies: []trustpolicy.TrustPolicy{{
		Name: "test", RegistryScopes: []string{"*"}, TrustStores: stores,
		SignatureVerification: trustpolicy.SignatureVerification{VerificationLevel: "strict"},
		TrustedIdentities:     []string{"x509.subject: C=US, ST=WA, O=gitops-kit test, CN=" + tc.Identity},
	}}}
	v, err := verifier.New(policy, truststore.NewX509TrustStore(dir.NewSysFS(config)), nil)
	check(t, err)
	repo, err := orasremote.NewRepository(os.Getenv("VERIFY_HOST") + "/" + tc.Repo)
	check(t, err)
	repo.PlainHTTP = true
	_, _, err = notation.Verify(t.Context(), v, notationregistry.NewRepository(repo), notation.VerifyOptions{
		ArtifactReference: os.Getenv("VERIFY_HOST") + "/" + tc.Repo + "@" + tc.Subject, MaxSignatureAttempts: 10,
	})
	return err
}
