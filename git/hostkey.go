// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/gitops-kit/sdk/git/internal/limits"
)

const maxKnownHosts = 1 << 20

// Fingerprint is the SHA-256 fingerprint of a host key, with its type.
type Fingerprint struct {
	Type   string
	SHA256 string // as OpenSSH prints it, "SHA256:…"
}

// HostKeyError reports a host whose key is another than the known ones.
type HostKeyError struct {
	Host string
	Got  Fingerprint
	Want []Fingerprint
}

// Error implements error.
func (e *HostKeyError) Error() string {
	want := make([]string, len(e.Want))
	for i, f := range e.Want {
		want[i] = f.Type + " " + f.SHA256
	}
	return fmt.Sprintf("host key of %q is %s %s, known: %s", e.Host, e.Got.Type, e.Got.SHA256, strings.Join(want, ", "))
}

// Unwrap returns [ErrHostKeyMismatch].
func (e *HostKeyError) Unwrap() error { return ErrHostKeyMismatch }

// Reason returns the condition reason.
func (e *HostKeyError) Reason() string { return "AuthenticationFailed" }

// Terminal is false: known_hosts or the server may change.
func (e *HostKeyError) Terminal() bool { return false }

func fingerprint(k ssh.PublicKey) Fingerprint {
	return Fingerprint{Type: k.Type(), SHA256: ssh.FingerprintSHA256(k)}
}

// hostKeys is a parsed known_hosts.
type hostKeys struct {
	digest string
	check  ssh.HostKeyCallback
	plain  ssh.HostKeyCallback // only lines without marker
	certs  ssh.HostKeyCallback // only @cert-authority lines, as if they were plain
	bad    ssh.HostKeyCallback // only @revoked lines, as if they were plain
}

// parseKnownHosts parses known_hosts once. Without any usable line nothing
// could ever be connected to, so that is an error.
func parseKnownHosts(b []byte, tempDir string) (*hostKeys, error) {
	if err := limits.Check("known-hosts", maxKnownHosts, int64(len(b))); err != nil {
		return nil, err
	}
	var plain, certs, revoked bytes.Buffer
	lines := 0
	for line := range bytes.SplitSeq(b, []byte{'\n'}) {
		t := bytes.TrimSpace(line)
		rest, isCert := cutMarker(t, "@cert-authority")
		switch {
		case len(t) == 0 || t[0] == '#':
		case isCert:
			lines++
			certs.Write(rest)
		case t[0] == '@':
			lines++
			if rest, ok := cutMarker(t, "@revoked"); ok {
				revoked.Write(rest)
			}
		default:
			lines++
			plain.Write(t)
		}
		plain.WriteByte('\n') // line numbers stay
		certs.WriteByte('\n')
		revoked.WriteByte('\n')
	}
	if lines == 0 {
		return nil, fmt.Errorf("%w: known_hosts is empty", ErrHostKeyUnknown)
	}
	sum := sha256.Sum256(b)
	h := &hostKeys{digest: hex.EncodeToString(sum[:])}
	dir, err := os.MkdirTemp(tempDir, "gitops-kit-git-*")
	if err != nil {
		return nil, fmt.Errorf("known_hosts: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, p := range []struct {
		to   *ssh.HostKeyCallback
		text []byte
	}{{&h.check, b}, {&h.plain, plain.Bytes()}, {&h.certs, certs.Bytes()}, {&h.bad, revoked.Bytes()}} {
		if *p.to, err = parseFile(dir, p.text); err != nil {
			return nil, fmt.Errorf("%w: known_hosts: %w", ErrInvalidOption, err)
		}
	}
	return h, nil
}

func cutMarker(line []byte, marker string) ([]byte, bool) {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	if !ok || len(rest) == 0 || rest[0] != ' ' && rest[0] != '\t' {
		return nil, false
	}
	return bytes.TrimSpace(rest), true
}

func parseFile(dir string, text []byte) (ssh.HostKeyCallback, error) {
	name := filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		return nil, err
	}
	cb, err := knownhosts.New(name)
	return cb, errors.Join(err, os.Remove(name))
}

// probeKey asks what is known of a host without being any of it.
type probeKey struct{}

func (probeKey) Type() string                        { return "probe" }
func (probeKey) Marshal() []byte                     { return []byte("probe") }
func (probeKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }
func known(cb ssh.HostKeyCallback, host string) []knownhosts.KnownKey {
	var ke *knownhosts.KeyError
	if errors.As(cb(host, &net.TCPAddr{IP: net.IPv4zero}, probeKey{}), &ke) {
		return ke.Want
	}
	return nil
}

type offer struct {
	line  int
	algos []string
}

// algorithms are the host key algorithms for one "host:port", in the order of
// the lines that match it.
func (h *hostKeys) algorithms(host string) []string {
	var offers []offer
	for _, k := range known(h.plain, host) {
		offers = append(offers, offer{k.Line, plainAlgorithms(k.Key.Type())})
	}
	if ca := known(h.certs, host); len(ca) > 0 {
		offers = append(offers, offer{ca[0].Line, []string{
			ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
			ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
		}})
	}
	slices.SortStableFunc(offers, func(a, b offer) int { return a.line - b.line })
	// Revoked keys come last: they are offered only so that a host that has
	// nothing else is recognised as revoked and not as unknown.
	for _, k := range known(h.bad, host) {
		offers = append(offers, offer{k.Line, plainAlgorithms(k.Key.Type())})
	}
	var out []string
	for _, o := range offers {
		for _, a := range o.algos {
			if !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

func plainAlgorithms(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

// verify judges the key that a host presents.
func (h *hostKeys) verify(host string, remote net.Addr, key ssh.PublicKey) error {
	err := h.check(host, remote, key)
	if err == nil {
		return nil
	}
	var revoked *knownhosts.RevokedError
	if errors.As(err, &revoked) {
		return fmt.Errorf("%w: %q presents %s", ErrHostKeyRevoked, host, fingerprint(key).SHA256)
	}
	if cert, ok := key.(*ssh.Certificate); ok && h.revokes(host, remote, cert) {
		return fmt.Errorf("%w: %q presents a certificate of a revoked key", ErrHostKeyRevoked, host)
	}
	var ke *knownhosts.KeyError
	if errors.As(err, &ke) && len(ke.Want) == 0 {
		return fmt.Errorf("%w: %q presents %s %s", ErrHostKeyUnknown, host, key.Type(), ssh.FingerprintSHA256(key))
	}
	e := &HostKeyError{Host: host, Got: fingerprint(key)}
	for _, k := range append(known(h.plain, host), known(h.certs, host)...) {
		e.Want = append(e.Want, fingerprint(k.Key))
	}
	return e
}

func (h *hostKeys) revokes(host string, remote net.Addr, cert *ssh.Certificate) bool {
	for _, k := range []ssh.PublicKey{cert.Key, cert.SignatureKey} {
		var revoked *knownhosts.RevokedError
		if k != nil && errors.As(h.check(host, remote, k), &revoked) {
			return true
		}
	}
	return false
}
