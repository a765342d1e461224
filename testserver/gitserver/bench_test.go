// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/testserver/gitserver"
)

// BenchmarkPack measures a full clone's pack over loopback, without a client
// that reads it.
func BenchmarkPack(b *testing.B) {
	s := gitserver.Start(b, gitserver.Options{})
	r := s.Repo("app")
	tip := r.Generate(gitserver.GenOptions{Files: 1000, Bytes: 64 << 20, Seed: 1})
	body := pkt("command=fetch") + "0001" + pkt("want "+tip.String()) + pkt("done") + "0000"
	c := s.Client()
	defer c.CloseIdleConnections()
	b.SetBytes(64 << 20)
	for b.Loop() {
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, r.URL()+"/git-upload-pack", strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-git-upload-pack-request")
		req.Header.Set("Git-Protocol", "version=2")
		resp, err := c.Do(req)
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err != nil || n < 64<<20 {
			b.Fatalf("%d bytes: %v", n, err)
		}
	}
}

// BenchmarkStart measures a server's life, SSH included.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		s, err := gitserver.Run(b.Context(), gitserver.Options{TLS: true, SSH: &gitserver.SSHOptions{}})
		if err != nil {
			b.Fatal(err)
		}
		s.Stop()
	}
}
