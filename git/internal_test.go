// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package git

// ParseKnownHosts exposes the parser to fuzzing: it returns the algorithms that
// a host is offered.
func ParseKnownHosts(b []byte, tempDir, host string) ([]string, error) {
	h, err := parseKnownHosts(b, tempDir)
	if err != nil {
		return nil, err
	}
	return h.algorithms(host), nil
}
