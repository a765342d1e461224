// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package blobregistry

import "net/http"

// Challenges flattens what a WWW-Authenticate header says.
func Challenges(h http.Header) []any {
	out := []any{}
	for _, c := range parseChallenges(h.Values("Www-Authenticate")) {
		out = append(out, c.scheme, c.params)
	}
	return out
}

// NextPage is the target of the next page in a Link header.
func NextPage(v string) string { return nextPage([]string{v}) }
