// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package record

// Match selects requests. Every field that is set must match; the zero value
// matches everything.
type Match struct {
	// Method is the exact HTTP method; for SSH it is "SSH".
	Method string
	// Path is a pattern for the URL path: "*" stands for any number of any
	// characters, "/" included.
	Path string
	// Route is the exact name a server gave to the kind of request, such as
	// "blob" or "info-refs". Each server documents its own.
	Route string
	// Status is the exact reply status. A fault plan ignores it: there is no
	// reply yet when a plan is chosen.
	Status int
}

// Request reports whether r matches.
func (m Match) Request(r Request) bool {
	if m.Status != 0 && m.Status != r.Status {
		return false
	}
	return m.Match(r.Method, r.Path, r.Route)
}

// Match reports whether a request with these properties matches, whatever its
// status is going to be.
func (m Match) Match(method, path, route string) bool {
	if m.Method != "" && m.Method != method {
		return false
	}
	if m.Route != "" && m.Route != route {
		return false
	}
	return m.Path == "" || wildcard(m.Path, path)
}

// wildcard matches s against a pattern whose only special character is "*". It
// runs in O(len(pattern) * len(s)) at worst.
func wildcard(pattern, s string) bool {
	var p, i int
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
