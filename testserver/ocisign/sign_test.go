// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ocisign_test

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"github.com/gitops-kit/sdk/testserver/ociserver"
	"github.com/gitops-kit/sdk/testserver/ocisign"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// verifier builds the program that verifies with other people's libraries.
func verifier(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds a program")
	}
	prog := filepath.Join(t.TempDir(), "verify.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-C", "testdata/verify", "-c", "-o", prog, ".")
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		message := "the verifiers; run go test -C testserver/ocisign/testdata/verify -c -o /dev/null .\n" + string(out)
		if os.Getenv("CI") != "" {
			t.Fatal("missing: " + message)
		}
		t.Skip("missing: " + message)
	}
	return prog
}

// testCase is what the verifying program reads.
type testCase struct {
	Name, Format, Repo, Subject, Signature, Identity, Issuer string
	Good, NoLog, NoTimestamp                                 bool
}

// TST-20: signatures of each form are accepted by the libraries of sigstore and
// of notation, and the bad ones are not.
func TestVerifiersAgree(t *testing.T) {
	g := NewWithT(t)
	prog := verifier(t)
	a, stranger := ocisign.Start(t), ocisign.Start(t)
	key, other := a.NewKey(), a.NewKey()
	reg := ociserver.Start(t, ociserver.Options{})
	const workflow, issuer = "https://forge.example/org/app/.forge/workflows/release.yaml@refs/tags/v1", "https://token.forge.example"
	type options = ocisign.Options
	keyed := func(o options) options { o.Key = key; return o }
	keyless := func(o options) options { o.Identity, o.Issuer = workflow, issuer; return o }
	forms := map[string]func(options) options{"key": keyed, "keyless": keyless}
	wrong := ociserver.Digest([]byte("something else"))
	var cases []testCase
	add := func(name string, by *ocisign.Authority, good bool, o options) {
		repo := "app/" + strings.ToLower(strings.ReplaceAll(name, "/", "-"))
		subject := reg.Push(repo, "v1", ociserver.Artifact{Layers: []ociserver.Layer{{Content: []byte(name)}}})
		sig := by.Sign(reg, repo, subject, o)
		cases = append(cases, testCase{
			Name: name, Format: map[ocisign.Format]string{ocisign.Cosign: "cosign", ocisign.Bundle: "bundle", ocisign.Notation: "notation"}[o.Format],
			Repo: repo, Subject: subject.Digest, Signature: sig.Digest, Identity: o.Identity, Issuer: o.Issuer,
			Good: good, NoLog: o.NoLog, NoTimestamp: o.NoTimestamp,
		})
	}
	for name, format := range map[string]ocisign.Format{"cosign": ocisign.Cosign, "bundle": ocisign.Bundle} {
		for form, of := range forms {
			name := name + "/" + form
			add(name+"/Good", a, true, of(options{Format: format, Annotations: map[string]string{"env": "prod"}}))
			add(name+"/NoLog", a, true, of(options{Format: format, NoLog: true}))
			add(name+"/NoTimestamp", a, true, of(options{Format: format, NoTimestamp: true}))
			add(name+"/Payload", a, false, of(options{Format: format, PayloadDigest: wrong}))
			add(name+"/Signature", a, false, of(options{Format: format, BadSignature: true}))
			add(name+"/ForeignLog", a, false, of(options{Format: format, ForeignLog: true, NoTimestamp: true}))
			add(name+"/Stranger", stranger, false, of(options{Format: format}))
		}
		add(name+"/key/Other", a, false, options{Format: format, Key: other})
		add(name+"/keyless/Expired", a, false, keyless(options{Format: format, CertificateExpired: true}))
		add(name+"/keyless/LongAgo", a, true, keyless(options{Format: format, When: time.Now().Add(-30 * time.Minute)}))
	}
	for name, o := range map[string]options{
		"Good": {}, "NoTimestamp": {NoTimestamp: true},
		"Payload": {PayloadDigest: wrong}, "Signature": {BadSignature: true}, "Expired": {CertificateExpired: true},
	} {
		o.Format, o.Identity = ocisign.Notation, "release"
		add("notation/"+name, a, name == "Good" || name == "NoTimestamp", o)
	}
	add("notation/Stranger", stranger, false, options{Format: ocisign.Notation, Identity: "release"})

	dir := t.TempDir()
	write := func(name string, b []byte) {
		g.Expect(os.WriteFile(filepath.Join(dir, name), b, 0o600)).To(Succeed())
	}
	write("trusted_root.json", a.TrustedRoot())
	write("key.pub", a.PublicKeyPEM(&key.PublicKey))
	write("notation.pem", a.NotationRootPEM())
	chain := string(a.TimestampChainPEM())
	write("tsa-root.pem", []byte(chain[strings.LastIndex(chain, "-----BEGIN"):]))
	text, err := json.Marshal(cases)
	g.Expect(err).NotTo(HaveOccurred())
	write("cases.json", text)

	cmd := exec.CommandContext(t.Context(), prog, "-test.v")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "VERIFY_HOST=" + reg.Host(), "VERIFY_DIR=" + dir}
	out, err := cmd.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(out))
	g.Expect(strings.Count(string(out), "\n    --- PASS: ")).To(Equal(len(cases)))
	t.Log(string(out))
}

// TST-20: without any library: what is where, and that the signature is one.
func TestCosignIsBesideItsSubject(t *testing.T) {
	g := NewWithT(t)
	a, err := ocisign.Run()
	g.Expect(err).NotTo(HaveOccurred())
	key := a.NewKey()
	reg := ociserver.Start(t, ociserver.Options{})
	subject := reg.Push("org/app", "v1", ociserver.Artifact{})
	sig := a.Sign(reg, "org/app", subject, ocisign.Options{Key: key})
	g.Expect(a.Err()).NotTo(HaveOccurred())
	g.Expect(reg.Tags("org/app")).To(HaveKeyWithValue(strings.Replace(subject.Digest, ":", "-", 1)+".sig", sig.Digest))
	var m struct{ Layers []ociserver.Descriptor }
	_, body := reg.Manifest("org/app", sig.Digest)
	g.Expect(json.Unmarshal(body, &m)).To(Succeed())
	payload := reg.Blob("org/app", m.Layers[0].Digest)
	g.Expect(string(payload)).To(And(ContainSubstring(subject.Digest), ContainSubstring(reg.Host()+"/org/app")))
	raw, err := base64.StdEncoding.DecodeString(m.Layers[0].Annotations["dev.cosignproject.cosign/signature"])
	g.Expect(err).NotTo(HaveOccurred())
	sum := sha256.Sum256(payload)
	g.Expect(ecdsa.VerifyASN1(&key.PublicKey, sum[:], raw)).To(BeTrue())

	before := len(reg.Tags("org/app"))
	for name, o := range map[string]ocisign.Options{
		"KeyAndIdentity": {Key: key, Identity: "ann@example.test"},
		"NotationKey":    {Key: key, Format: ocisign.Notation},
		"UnknownFormat":  {Format: 99},
	} {
		a, err := ocisign.Run()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(a.Sign(reg, "org/app", subject, o)).To(BeZero(), name)
		g.Expect(errors.Is(a.Err(), ocisign.ErrOptions)).To(BeTrue(), "%s: %v", name, a.Err())
	}
	g.Expect(reg.Tags("org/app")).To(HaveLen(before), "nothing was written")
}
