// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/gitops-kit/sdk/testserver/gitserver"
)

// answer is what is left of a reply whose body was read.
type answer struct {
	StatusCode int
	Header     http.Header
}

// get fetches a URL with a raw client.
func get(t *testing.T, s *gitserver.Server, url string, header ...string) (answer, string) {
	t.Helper()
	c := s.Client()
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header}, string(b)
}
