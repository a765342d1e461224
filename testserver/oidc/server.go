// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/record"
	"github.com/gitops-kit/sdk/testserver/serve"
)

// ErrAlgorithm reports an algorithm this issuer does not know.
var ErrAlgorithm = errors.New("unknown signature algorithm")

// Request is an entry of the server's log.
type Request = record.Request

// Match selects entries of the log and requests for fault plans.
type Match = record.Match

// Claims are the claims of a token.
type Claims map[string]any

// Options configure a [Server]. The zero value signs RS256 over plain HTTP.
type Options struct {
	// TLS serves HTTPS.
	TLS bool
	// Hosts are further names in the TLS certificate.
	Hosts []string
	// Algorithm is RS256, ES256 or EdDSA; zero: RS256.
	Algorithm string
	// Issuer replaces the issuer in discovery and tokens; zero: the URL.
	Issuer string
	// Audience is the default audience; zero: "test".
	Audience string
	// Now is the clock of tokens; nil: time.Now.
	Now func() time.Time
	// Faults are the plans to begin with. Routes are "discovery" and "jwks".
	Faults []fault.Plan
}

// TokenOptions bend a token. The zero value makes a right one.
type TokenOptions struct {
	// Algorithm is put into the header and used, where that makes sense: "none"
	// leaves the signature empty, "HS256" signs with the public key's PEM as secret.
	Algorithm string
	// KeyID replaces the key id; "-" leaves it out.
	KeyID string
	// Foreign signs with a key nobody published.
	Foreign bool
	// Header are further header fields, such as "jku", "jwk" or "crit".
	Header map[string]any
	// Drop are claims to leave out.
	Drop []string
	// Pad adds a claim of this many bytes.
	Pad int
	// Spoil inverts a bit of the signature.
	Spoil bool
}

type key struct {
	id      string
	alg     string
	private crypto.Signer
}

// Server is an issuer. It is safe for concurrent use.
type Server struct {
	*serve.Server
	opts Options
	mu   sync.Mutex
	keys []key // the newest last
	n    int
}

// rsaKey makes one RSA key a process, as that takes long; rotation adds others.
//
//nolint:gochecknoglobals // a cache that is never written after the first use
var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// Start runs an issuer for the length of a test.
func Start(tb testing.TB, o Options) *Server {
	tb.Helper()
	s, err := Run(context.WithoutCancel(tb.Context()), o)
	if err != nil {
		tb.Fatalf("start issuer: %v", err)
	}
	serve.Cleanup(tb, s.Stop, s.Tail)
	return s
}

// Run starts an issuer that ends with ctx or Stop.
func Run(ctx context.Context, o Options) (*Server, error) {
	if o.Algorithm == "" {
		o.Algorithm = "RS256"
	}
	if o.Audience == "" {
		o.Audience = "test"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{opts: o}
	first, err := s.newKey(o.Algorithm, false)
	if err != nil {
		return nil, err
	}
	s.keys = []key{first}
	h, err := serve.Listen(ctx, http.HandlerFunc(s.serve), serve.Options{TLS: o.TLS, Hosts: o.Hosts, Faults: o.Faults, Route: route})
	if err != nil {
		return nil, err
	}
	s.Server = h
	h.Serve()
	return s, nil
}

func route(r *http.Request) string {
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		return "discovery"
	case "/keys":
		return "jwks"
	}
	return ""
}

// newKey makes a key; fresh ones are never shared with other servers.
func (s *Server) newKey(alg string, fresh bool) (key, error) {
	s.n++
	k := key{id: fmt.Sprintf("key-%d", s.n), alg: alg}
	var err error
	switch alg {
	case "RS256":
		if fresh {
			k.private, err = rsa.GenerateKey(rand.Reader, 2048)
		} else {
			k.private, err = rsaKey()
		}
	case "ES256":
		k.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "EdDSA":
		_, k.private, err = ed25519.GenerateKey(rand.Reader)
	default:
		err = fmt.Errorf("%q: %w", alg, ErrAlgorithm)
	}
	return k, err
}

// Issuer returns the issuer as tokens have it.
func (s *Server) Issuer() string {
	if s.opts.Issuer != "" {
		return s.opts.Issuer
	}
	return s.URL()
}

// Rotate signs with a new key from now on; the old ones stay published.
func (s *Server) Rotate() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, err := s.newKey(s.opts.Algorithm, true)
	if err != nil {
		return err
	}
	s.keys = append(s.keys, k)
	return nil
}

// Retire publishes the newest key only.
func (s *Server) Retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = s.keys[len(s.keys)-1:]
}

// Token signs claims: iss, sub "subject", aud, iat, nbf and exp in ten minutes
// are filled in where missing.
func (s *Server) Token(c Claims) (string, error) { return s.TokenWith(c, TokenOptions{}) }

// TokenWith is Token with everything that can be wrong.
func (s *Server) TokenWith(c Claims, o TokenOptions) (string, error) {
	now := s.opts.Now()
	claims := Claims{
		"iss": s.Issuer(), "sub": "subject", "aud": s.opts.Audience,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	}
	maps.Copy(claims, c)
	for _, d := range o.Drop {
		delete(claims, d)
	}
	if o.Pad > 0 {
		claims["pad"] = strings.Repeat("x", o.Pad)
	}
	s.mu.Lock()
	k := s.keys[len(s.keys)-1]
	s.mu.Unlock()
	alg := k.alg
	if o.Algorithm != "" {
		alg = o.Algorithm
	}
	header := map[string]any{"alg": alg, "typ": "JWT", "kid": k.id}
	if o.KeyID != "" {
		header["kid"] = o.KeyID
	}
	if o.KeyID == "-" {
		delete(header, "kid")
	}
	maps.Copy(header, o.Header)
	h, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("encode header: %w", err)
	}
	p, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	text := b64(h) + "." + b64(p)
	if o.Foreign {
		s.mu.Lock()
		foreign, err := s.newKey(k.alg, true)
		s.mu.Unlock()
		if err != nil {
			return "", err
		}
		k.private = foreign.private
	}
	sig, err := sign(alg, k, text)
	if err != nil {
		return "", err
	}
	if o.Spoil && len(sig) > 0 {
		sig[len(sig)/2] ^= 1
	}
	return text + "." + b64(sig), nil
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func sign(alg string, k key, text string) ([]byte, error) {
	sum := sha256.Sum256([]byte(text))
	switch alg {
	case "none":
		return nil, nil
	case "HS256":
		der, err := x509.MarshalPKIXPublicKey(k.private.Public())
		if err != nil {
			return nil, err
		}
		m := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		m.Write([]byte(text))
		return m.Sum(nil), nil
	}
	switch p := k.private.(type) {
	case *rsa.PrivateKey:
		return rsa.SignPKCS1v15(rand.Reader, p, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, p, sum[:])
		if err != nil {
			return nil, err
		}
		out := make([]byte, 64)
		r.FillBytes(out[:32])
		s.FillBytes(out[32:])
		return out, nil
	case ed25519.PrivateKey:
		return ed25519.Sign(p, []byte(text)), nil
	}
	return nil, fmt.Errorf("%q: %w", alg, ErrAlgorithm)
}

// jwk returns the published form of a key.
func (k key) jwk() map[string]any {
	out := map[string]any{"kid": k.id, "alg": k.alg, "use": "sig"}
	switch p := k.private.Public().(type) {
	case *rsa.PublicKey:
		out["kty"], out["n"], out["e"] = "RSA", b64(p.N.Bytes()), b64(big.NewInt(int64(p.E)).Bytes())
	case *ecdsa.PublicKey:
		if raw, err := p.Bytes(); err == nil { // 4, x, y
			out["kty"], out["crv"], out["x"], out["y"] = "EC", "P-256", b64(raw[1:33]), b64(raw[33:])
		}
	case ed25519.PublicKey:
		out["kty"], out["crv"], out["x"] = "OKP", "Ed25519", b64(p)
	}
	return out
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	var out any
	switch route(r) {
	case "discovery":
		out = map[string]any{
			"issuer": s.Issuer(), "jwks_uri": s.URL() + "/keys", "response_types_supported": []string{"id_token"},
			"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{s.opts.Algorithm},
		}
	case "jwks":
		s.mu.Lock()
		keys := make([]map[string]any, len(s.keys))
		for i, k := range s.keys {
			keys[i] = k.jwk()
		}
		s.mu.Unlock()
		out = map[string]any{"keys": keys}
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

// ErrToken reports a token that this issuer would not accept.
var ErrToken = errors.New("token is not valid")

// Verify is a strict verifier of this issuer's tokens: algorithm, published key,
// signature, issuer, audience and times. It is what servers that trust the
// issuer use, and an oracle for verifiers under test.
func (s *Server) Verify(token, audience string) (Claims, error) {
	bad := func(why string) (Claims, error) { return nil, fmt.Errorf("%s: %w", why, ErrToken) }
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return bad("malformed")
	}
	var header struct{ Alg, Kid string }
	var claims Claims
	raw := make([][]byte, 3)
	for i, p := range parts {
		b, err := base64.RawURLEncoding.DecodeString(p)
		if err != nil {
			return bad("malformed")
		}
		raw[i] = b
	}
	if json.Unmarshal(raw[0], &header) != nil || json.Unmarshal(raw[1], &claims) != nil {
		return bad("malformed")
	}
	s.mu.Lock()
	i := slices.IndexFunc(s.keys, func(k key) bool { return k.id == header.Kid && k.alg == header.Alg })
	var k key
	if i >= 0 {
		k = s.keys[i]
	}
	s.mu.Unlock()
	if i < 0 || !k.verify(parts[0]+"."+parts[1], raw[2]) {
		return bad("signature")
	}
	if claims["iss"] != s.Issuer() {
		return bad("issuer")
	}
	if aud, ok := claims["aud"].([]any); claims["aud"] != audience && (!ok || !slices.Contains(aud, any(audience))) {
		return bad("audience")
	}
	now := float64(s.opts.Now().Unix())
	if exp, ok := claims["exp"].(float64); !ok || now >= exp {
		return bad("expired")
	}
	if nbf, ok := claims["nbf"].(float64); ok && now < nbf {
		return bad("not yet valid")
	}
	return claims, nil
}

func (k key) verify(text string, sig []byte) bool {
	sum := sha256.Sum256([]byte(text))
	switch p := k.private.Public().(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(p, crypto.SHA256, sum[:], sig) == nil
	case *ecdsa.PublicKey:
		return len(sig) == 64 && ecdsa.Verify(p, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	case ed25519.PublicKey:
		return ed25519.Verify(p, []byte(text), sig)
	}
	return false
}
