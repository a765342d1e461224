// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// signer is one line of an authorized_keys or allowed_signers file.
type signer struct {
	principals []string // patterns; nil for authorized_keys
	comment    string
	key        ssh.PublicKey
	authority  bool
	namespaces []string
	after      time.Time
	before     time.Time
}

func (s *signer) name() string {
	if s.principals == nil {
		return s.comment
	}
	return strings.Join(s.principals, ",")
}

// signers reads all files.
func (k Keys) signers() ([]signer, error) {
	var out []signer
	read := func(files [][]byte, allowed bool) error {
		for _, f := range files {
			n := 0
			for line := range bytes.SplitSeq(f, []byte{'\n'}) {
				n++
				t := strings.TrimSpace(string(line))
				if t == "" || t[0] == '#' {
					continue
				}
				s, err := parseSigner(t, allowed)
				if err != nil {
					return fmt.Errorf("%w: line %d: %w", ErrInvalidKey, n, err)
				}
				out = append(out, s)
				if err := k.countKeys(len(out)); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := read(k.SSH, false); err != nil {
		return nil, err
	}
	return out, read(k.AllowedSigners, true)
}

func parseSigner(line string, allowed bool) (signer, error) {
	var s signer
	if allowed {
		var list string
		if list, line = cutWord(line); line == "" {
			return s, fmt.Errorf("no key")
		}
		s.principals = strings.Split(list, ",")
	}
	key, comment, options, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(rest) > 0 {
		return s, fmt.Errorf("no key")
	}
	s.key, s.comment = key, comment
	for _, o := range options {
		if err := s.option(o, allowed); err != nil {
			return s, err
		}
	}
	return s, nil
}

// cutWord cuts the first word, which may be quoted.
func cutWord(s string) (word, rest string) {
	if after, ok := strings.CutPrefix(s, `"`); ok {
		word, rest, _ = strings.Cut(after, `"`)
		return word, strings.TrimSpace(rest)
	}
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimSpace(s[i:])
}

func (s *signer) option(o string, allowed bool) error {
	name, value, _ := strings.Cut(o, "=")
	if u, err := strconv.Unquote(value); err == nil {
		value = u
	}
	var err error
	switch name = strings.ToLower(name); {
	case name == "namespaces":
		s.namespaces = strings.Split(value, ",")
	case name == "valid-after":
		s.after, err = parseTime(value)
	case name == "valid-before":
		s.before, err = parseTime(value)
	case name == "cert-authority" && allowed:
		s.authority = true
	default:
		return fmt.Errorf("option %q is not supported", name)
	}
	return err
}

// parseTime reads YYYYMMDD[HHMM[SS]][Z]; without Z the local zone holds, as for
// OpenSSH.
func parseTime(v string) (time.Time, error) {
	zone := time.Local
	if t, ok := strings.CutSuffix(v, "Z"); ok {
		v, zone = t, time.UTC
	}
	layout := map[int]string{8: "20060102", 12: "200601021504", 14: "20060102150405"}[len(v)]
	t, err := time.ParseInLocation(layout, v, zone)
	if layout == "" || err != nil {
		return t, fmt.Errorf("time %q cannot be read", v)
	}
	return t, nil
}

// match finds the line that trusts a key for a payload.
func match(signers []signer, key ssh.PublicKey, payload []byte) (*signer, error) {
	when := signedAt(payload)
	var why error
	cert, _ := key.(*ssh.Certificate)
	for i := range signers {
		s := &signers[i]
		if s.authority {
			if cert == nil || !bytes.Equal(cert.SignatureKey.Marshal(), s.key.Marshal()) {
				continue
			}
			if err := s.certificate(cert, when); err != nil {
				why = err
				continue
			}
		} else {
			plain := key
			if cert != nil {
				plain = cert.Key
			}
			if !bytes.Equal(plain.Marshal(), s.key.Marshal()) {
				continue
			}
		}
		if err := s.allows(when); err != nil {
			why = err
			continue
		}
		return s, nil
	}
	if why != nil {
		return nil, why
	}
	return nil, fmt.Errorf("%w: signature by %s", ErrNoMatchingKey, ssh.FingerprintSHA256(key))
}

// certificate checks that the authority vouches for the key as one of the
// principals.
func (s *signer) certificate(c *ssh.Certificate, when time.Time) error {
	if c.CertType != ssh.UserCert {
		return fmt.Errorf("%w: not a user certificate", ErrInvalidKey)
	}
	name := ""
	for _, p := range c.ValidPrincipals {
		if s.principal(p) {
			name = p
			break
		}
	}
	if name == "" {
		return fmt.Errorf("%w: certificate for none of the principals", ErrNoMatchingKey)
	}
	check := ssh.CertChecker{Clock: func() time.Time { return when }}
	if err := check.CheckCert(name, c); err != nil {
		return fmt.Errorf("%w: certificate: %w", ErrInvalidKey, err)
	}
	return nil
}

// principal matches OpenSSH's pattern list, where a leading ! excludes.
func (s *signer) principal(name string) bool {
	found := false
	for _, p := range s.principals {
		pattern, negated := strings.CutPrefix(p, "!")
		if ok, err := path.Match(pattern, name); err == nil && ok {
			if negated {
				return false
			}
			found = true
		}
	}
	return found
}

func (s *signer) allows(when time.Time) error {
	if s.namespaces != nil && !slices.ContainsFunc(s.namespaces, func(n string) bool {
		ok, err := path.Match(strings.TrimSpace(n), sshNamespace)
		return err == nil && ok
	}) {
		return fmt.Errorf("%w: key is not for the namespace git", ErrInvalidKey)
	}
	if !s.after.IsZero() && when.Before(s.after) {
		return fmt.Errorf("%w: key was not valid yet", ErrInvalidKey)
	}
	if !s.before.IsZero() && !when.Before(s.before) {
		return fmt.Errorf("%w: key was not valid any more", ErrInvalidKey)
	}
	return nil
}

// signedAt is the committer's or tagger's time in a payload; without one, now.
func signedAt(payload []byte) time.Time {
	for line := range bytes.SplitSeq(payload, []byte{'\n'}) {
		if len(line) == 0 {
			break
		}
		if !bytes.HasPrefix(line, []byte("committer ")) && !bytes.HasPrefix(line, []byte("tagger ")) {
			continue
		}
		i := bytes.LastIndexByte(line, '>')
		if i < 0 {
			break
		}
		f := bytes.Fields(line[i+1:])
		if len(f) == 0 {
			break
		}
		if n, err := strconv.ParseInt(string(f[0]), 10, 64); err == nil {
			return time.Unix(n, 0)
		}
		break
	}
	return time.Now()
}
