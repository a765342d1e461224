// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package object

import (
	"bytes"

	"github.com/gitops-kit/sdk/git/driver"
)

// SignedCommit returns the signature of a commit and the bytes it covers: the
// raw bytes less every signature header with its continuation lines.
func SignedCommit(c *Commit) (sig, payload []byte) {
	sig = c.Sig
	if c.Hash.Format() == driver.SHA256 {
		sig = c.Sig256
	}
	payload = make([]byte, 0, len(c.Raw))
	rest, skip := c.Raw, false
	for len(rest) > 0 {
		end := bytes.IndexByte(rest, '\n') + 1
		line := rest[:end]
		if len(line) <= 1 { // the message begins
			break
		}
		rest = rest[end:]
		if line[0] != ' ' {
			skip = bytes.HasPrefix(line, []byte("gpgsig ")) || bytes.HasPrefix(line, []byte("gpgsig-sha256 "))
		}
		if !skip {
			payload = append(payload, line...)
		}
	}
	if len(sig) > 0 && sig[len(sig)-1] != '\n' {
		sig = append(bytes.Clone(sig), '\n')
	}
	return sig, append(payload, rest...)
}

var begins = [][]byte{ //nolint:gochecknoglobals // a table that never changes
	[]byte("-----BEGIN PGP SIGNATURE-----"), []byte("-----BEGIN PGP MESSAGE-----"),
	[]byte("-----BEGIN SSH SIGNATURE-----"), []byte("-----BEGIN SIGNED MESSAGE-----"),
}

// SignedTag returns the signature at the end of a tag and the bytes before it.
// Two signatures are malformed.
func SignedTag(t *Tag) (sig, payload []byte, err error) {
	at := -1
	for i := 0; i < len(t.Raw); {
		for _, b := range begins {
			if bytes.HasPrefix(t.Raw[i:], b) {
				if at >= 0 {
					return nil, nil, bad("tag", "two signatures")
				}
				at = i
			}
		}
		n := bytes.IndexByte(t.Raw[i:], '\n')
		if n < 0 {
			break
		}
		i += n + 1
	}
	if at < 0 {
		return nil, t.Raw, nil
	}
	return t.Raw[at:], t.Raw[:at], nil
}
