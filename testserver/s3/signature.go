// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package s3

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

	"github.com/gitops-kit/sdk/testserver/serve"
)

const (
	algorithm = "AWS4-HMAC-SHA256"
	timeForm  = "20060102T150405Z"
	maxSkew   = 15 * time.Minute
)

type authError struct {
	status        int
	code, message string
}

func denied(code, message string) *authError { return &authError{http.StatusForbidden, code, message} }

// authenticate checks the signature of a request, in the header or the query.
func (s *Server) authenticate(r *http.Request, creds []Credential) *authError {
	if len(creds) == 0 {
		return nil
	}
	q := r.URL.Query()
	var credential, signed, signature, date, token string
	payload := r.Header.Get("X-Amz-Content-Sha256")
	presigned := q.Get("X-Amz-Algorithm") != ""
	if presigned {
		credential, signed, signature = q.Get("X-Amz-Credential"), q.Get("X-Amz-SignedHeaders"), q.Get("X-Amz-Signature")
		date, token, payload = q.Get("X-Amz-Date"), q.Get("X-Amz-Security-Token"), "UNSIGNED-PAYLOAD"
	} else {
		fields, ok := strings.CutPrefix(r.Header.Get("Authorization"), algorithm+" ")
		if !ok {
			return denied("AccessDenied", "access denied")
		}
		for part := range strings.SplitSeq(fields, ",") {
			k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
			switch k {
			case "Credential":
				credential = v
			case "SignedHeaders":
				signed = v
			case "Signature":
				signature = v
			}
		}
		date, token = r.Header.Get("X-Amz-Date"), r.Header.Get("X-Amz-Security-Token")
	}
	scope := strings.Split(credential, "/")
	if len(scope) != 5 || scope[3] != "s3" || scope[4] != "aws4_request" {
		return denied("AuthorizationHeaderMalformed", "the credential is malformed")
	}
	if scope[2] != s.opts.Region {
		return &authError{http.StatusBadRequest, "AuthorizationHeaderMalformed", "the region is wrong; expecting '" + s.opts.Region + "'"}
	}
	i := slices.IndexFunc(creds, func(c Credential) bool { return c.AccessKey == scope[0] })
	if i < 0 {
		return denied("InvalidAccessKeyId", "the access key does not exist")
	}
	cred := creds[i]
	if token != cred.SessionToken {
		return denied("InvalidToken", "the session token is invalid")
	}
	when, err := time.Parse(timeForm, date)
	if err != nil || !strings.HasPrefix(date, scope[1]) {
		return denied("AccessDenied", "the date is missing or malformed")
	}
	if d := s.opts.Now().Sub(when); !presigned && (d > maxSkew || d < -maxSkew) {
		return denied("RequestTimeTooSkewed", "the difference between the request time and the server's time is too large")
	}
	want := sign(cred.SecretKey, scope, date, canonical(r, q, signed, payload))
	if !hmac.Equal([]byte(want), []byte(signature)) {
		return denied("SignatureDoesNotMatch", "the signature does not match")
	}
	serve.SetUser(r.Context(), cred.AccessKey)
	return nil
}

// canonical returns the canonical request.
func canonical(r *http.Request, q url.Values, signed, payload string) string {
	var b strings.Builder
	b.WriteString(r.Method + "\n")
	path := r.URL.EscapedPath()
	if p, err := url.PathUnescape(path); err == nil {
		path = escape(p, true)
	}
	b.WriteString(path + "\n")
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
		empty := sha256.Sum256(nil)
		payload = hex.EncodeToString(empty[:])
	}
	b.WriteString(payload)
	return b.String()
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

// sign returns the signature of a canonical request.
func sign(secret string, scope []string, date, request string) string {
	mac := func(key []byte, text string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	sum := sha256.Sum256([]byte(request))
	text := strings.Join([]string{algorithm, date, strings.Join(scope[1:], "/"), hex.EncodeToString(sum[:])}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range scope[1:] {
		key = mac(key, part)
	}
	return hex.EncodeToString(mac(key, text))
}
