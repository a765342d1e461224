// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package oidc_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"github.com/gitops-kit/sdk/testserver/oidc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fetch(t *testing.T, s *oidc.Server, path string) map[string]any {
	t.Helper()
	c := s.Client()
	defer c.CloseIdleConnections()
	resp, err := c.Get(s.URL() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func decode(t *testing.T, s string) map[string]any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// verify checks an RS256 token against the published keys.
func verify(t *testing.T, s *oidc.Server, token string) error {
	t.Helper()
	parts := strings.Split(token, ".")
	kid := decode(t, parts[0])["kid"]
	for _, k := range fetch(t, s, "/keys")["keys"].([]any) {
		j := k.(map[string]any)
		if j["kid"] != kid {
			continue
		}
		n, _ := base64.RawURLEncoding.DecodeString(j["n"].(string))
		e, _ := base64.RawURLEncoding.DecodeString(j["e"].(string))
		sig, _ := base64.RawURLEncoding.DecodeString(parts[2])
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		pub := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, sum[:], sig)
	}
	return fmt.Errorf("no key %v", kid)
}

// TST-23
func TestTokens(t *testing.T) {
	g := NewWithT(t)
	s := oidc.Start(t, oidc.Options{TLS: true, Audience: "me", Now: func() time.Time { return time.Unix(1000, 0) }})
	d := fetch(t, s, "/.well-known/openid-configuration")
	g.Expect(d["issuer"]).To(Equal(s.URL()))
	g.Expect(d["jwks_uri"]).To(Equal(s.URL() + "/keys"))

	tok, err := s.Token(oidc.Claims{"email": "a@example.com"})
	g.Expect(err).NotTo(HaveOccurred())
	claims := decode(t, strings.Split(tok, ".")[1])
	g.Expect(claims).To(And(HaveKeyWithValue("aud", "me"), HaveKeyWithValue("exp", 1600.0), HaveKeyWithValue("email", "a@example.com")))
	g.Expect(verify(t, s, tok)).To(Succeed())
	got, err := s.Verify(tok, "me")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(HaveKeyWithValue("email", "a@example.com"))
	for name, c := range map[string]oidc.Claims{"audience": {"aud": "you"}, "issuer": {"iss": "x"}, "expired": {"exp": 999}, "future": {"nbf": 1001}} {
		bad, err := s.Token(c)
		g.Expect(err).NotTo(HaveOccurred())
		_, err = s.Verify(bad, "me")
		g.Expect(err).To(MatchError(oidc.ErrToken), name)
	}

	for name, o := range map[string]oidc.TokenOptions{
		"foreign": {Foreign: true}, "spoiled": {Spoil: true}, "none": {Algorithm: "none"}, "hs256": {Algorithm: "HS256"}, "kid": {KeyID: "x"}, "nokid": {KeyID: "-"},
	} {
		bad, err := s.TokenWith(nil, o)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(verify(t, s, bad)).NotTo(Succeed(), name)
		_, err = s.Verify(bad, "me")
		g.Expect(err).To(MatchError(oidc.ErrToken), name)
	}
	odd, err := s.TokenWith(nil, oidc.TokenOptions{Drop: []string{"sub"}, Pad: 1 << 20, Header: map[string]any{"jku": "http://evil"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(odd)).To(BeNumerically(">", 1<<20))
	g.Expect(decode(t, strings.Split(odd, ".")[0])).To(HaveKeyWithValue("jku", "http://evil"))
	g.Expect(decode(t, strings.Split(odd, ".")[1])).NotTo(HaveKey("sub"))

	g.Expect(s.Rotate()).To(Succeed())
	next, err := s.Token(nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(verify(t, s, next)).To(Succeed())
	g.Expect(verify(t, s, tok)).To(Succeed(), "the old key is still published")
	s.Retire()
	g.Expect(verify(t, s, tok)).NotTo(Succeed())
	g.Expect(verify(t, s, next)).To(Succeed())
}

// TST-23
func TestAlgorithms(t *testing.T) {
	g := NewWithT(t)
	for alg, kty := range map[string]string{"ES256": "EC", "EdDSA": "OKP", "RS256": "RSA"} {
		s := oidc.Start(t, oidc.Options{Algorithm: alg})
		tok, err := s.Token(oidc.Claims{"aud": []string{"x", "test"}})
		g.Expect(err).NotTo(HaveOccurred())
		_, err = s.Verify(tok, "test")
		g.Expect(err).NotTo(HaveOccurred(), alg)
		k := fetch(t, s, "/keys")["keys"].([]any)[0].(map[string]any)
		g.Expect(k["kty"]).To(Equal(kty))
	}
	_, err := oidc.Run(t.Context(), oidc.Options{Algorithm: "XX"})
	g.Expect(err).To(MatchError(oidc.ErrAlgorithm))
}

func ExampleServer_Token() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	issuer, err := oidc.Run(ctx, oidc.Options{Algorithm: "ES256", Issuer: "https://issuer.example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer issuer.Stop()
	token, err := issuer.Token(oidc.Claims{"sub": "system:serviceaccount:flux:source"})
	fmt.Println(strings.Count(token, "."), issuer.Issuer(), err)
	// Output: 2 https://issuer.example <nil>
}
