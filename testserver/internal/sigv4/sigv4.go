// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package sigv4 checks request signatures of AWS's version 4.
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	timeForm  = "20060102T150405Z"
	maxSkew   = 15 * time.Minute
)

// Credential is an access key.
type Credential struct {
	AccessKey, SecretKey string
	// SessionToken, if set, must come with the request.
	SessionToken string
}

// Error is a refusal in the service's terms.
type Error struct {
	Status        int
	Code, Message string
}

func denied(code, message string) *Error { return &Error{http.StatusForbidden, code, message} }

// Options say what a signature must be for.
type Options struct {
	// Service and Region of the scope.
	Service, Region string
	// Credentials that are known.
	Credentials []Credential
	// Now is the time signatures are judged by.
	Now time.Time
	// Payload is the hash of the body for services whose requests do not declare
	// one; "" takes the declared one.
	Payload string
}

// parts of an authorization, from the header or the query.
type parts struct {
	credential, signed, signature, date, token, payload string
	presigned                                           bool
}

func read(r *http.Request, q url.Values) (parts, bool) {
	if q.Get("X-Amz-Algorithm") != "" {
		return parts{
			credential: q.Get("X-Amz-Credential"), signed: q.Get("X-Amz-SignedHeaders"), signature: q.Get("X-Amz-Signature"),
			date: q.Get("X-Amz-Date"), token: q.Get("X-Amz-Security-Token"), payload: "UNSIGNED-PAYLOAD", presigned: true,
		}, true
	}
	fields, ok := strings.CutPrefix(r.Header.Get("Authorization"), algorithm+" ")
	p := parts{date: r.Header.Get("X-Amz-Date"), token: r.Header.Get("X-Amz-Security-Token"), payload: r.Header.Get("X-Amz-Content-Sha256")}
	for part := range strings.SplitSeq(fields, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch k {
		case "Credential":
			p.credential = v
		case "SignedHeaders":
			p.signed = v
		case "Signature":
			p.signature = v
		}
	}
	return p, ok
}

// Verify checks the signature of a request, in the header or the query, and
// returns the access key.
func Verify(r *http.Request, o Options) (string, *Error) {
	q := r.URL.Query()
	p, ok := read(r, q)
	if !ok {
		return "", denied("AccessDenied", "access denied")
	}
	scope := strings.Split(p.credential, "/")
	if len(scope) != 5 || scope[3] != o.Service || scope[4] != "aws4_request" {
		return "", denied("AuthorizationHeaderMalformed", "the credential is malformed")
	}
	if scope[2] != o.Region {
		return "", &Error{http.StatusBadRequest, "AuthorizationHeaderMalformed", "the region is wrong; expecting '" + o.Region + "'"}
	}
	i := slices.IndexFunc(o.Credentials, func(c Credential) bool { return c.AccessKey == scope[0] })
	if i < 0 {
		return "", denied("InvalidAccessKeyId", "the access key does not exist")
	}
	cred := o.Credentials[i]
	if p.token != cred.SessionToken {
		return "", denied("InvalidToken", "the session token is invalid")
	}
	when, err := time.Parse(timeForm, p.date)
	if err != nil || !strings.HasPrefix(p.date, scope[1]) {
		return "", denied("AccessDenied", "the date is missing or malformed")
	}
	if d := o.Now.Sub(when); !p.presigned && (d > maxSkew || d < -maxSkew) {
		return "", denied("RequestTimeTooSkewed", "the difference between the request time and the server's time is too large")
	}
	if o.Payload != "" && !p.presigned {
		p.payload = o.Payload
	}
	want := Sign(cred.SecretKey, scope, p.date, canonical(r, q, p.signed, p.payload))
	if !hmac.Equal([]byte(want), []byte(p.signature)) {
		return "", denied("SignatureDoesNotMatch", "the signature does not match")
	}
	return cred.AccessKey, nil
}

// canonical returns the canonical request.
func canonical(r *http.Request, q url.Values, signed, payload string) string {
	var b strings.Builder
	path := r.URL.EscapedPath()
	if p, err := url.PathUnescape(path); err == nil {
		path = escape(p, true)
	}
	b.WriteString(r.Method + "\n" + path + "\n")
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(q)) {
		if k == "X-Amz-Signature" {
			continue
		}
		for _, v := range slices.Sorted(slices.Values(q[k])) {
			pairs = append(pairs, escape(k, false)+"="+escape(v, false))
		}
	}
	b.WriteString(strings.Join(pairs, "&") + "\n")
	for name := range strings.SplitSeq(signed, ";") {
		v := strings.Join(r.Header.Values(name), ",")
		if name == "host" {
			v = r.Host
		}
		b.WriteString(name + ":" + strings.Join(strings.Fields(v), " ") + "\n")
	}
	b.WriteString("\n" + signed + "\n")
	if payload == "" {
		payload = Hash(nil)
	}
	b.WriteString(payload)
	return b.String()
}

// Hash returns the hash of a body as requests declare it.
func Hash(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// escape percent-encodes everything but unreserved characters and, in a path,
// slashes.
func escape(s string, path bool) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 || (path && c == '/') {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}

// Sign returns the signature of a canonical request; scope is the credential
// split at its slashes.
func Sign(secret string, scope []string, date, request string) string {
	mac := func(key []byte, text string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	text := strings.Join([]string{algorithm, date, strings.Join(scope[1:], "/"), Hash([]byte(request))}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range scope[1:] {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, text))
}

// Canonical is the canonical request of r for a client that signs these headers
// and this payload hash.
func Canonical(r *http.Request, signed, payload string) string {
	return canonical(r, r.URL.Query(), signed, payload)
}
