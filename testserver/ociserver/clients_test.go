// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ociserver_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/testserver/helmserver"
	"github.com/gitops-kit/sdk/testserver/ociserver"
)

// TST-7, TST-20, TST-21: the clients that most programs use, crane and ORAS,
// push, pull, mount, list, refer and delete; a chart is pulled as from any
// registry. They are pinned in testdata, as they are no business of who uses
// this module.
func TestClients(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	g := NewWithT(t)
	prog := filepath.Join(t.TempDir(), "clients.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-C", "testdata/clients", "-c", "-o", prog, ".")
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		missing(t, "the clients; run go test -C testserver/ociserver/testdata/clients -c -o /dev/null .\n"+string(out))
	}
	chart, err := helmserver.Package(helmserver.Simple("app", "1.0.0+build"), "")
	g.Expect(err).NotTo(HaveOccurred())
	users := map[string]string{"ann": "canary-pw"}
	cases := map[string]ociserver.Options{
		"Open":  {PageSize: 2},
		"Basic": {Auth: ociserver.Auth{Mode: ociserver.AuthBasic, Users: users}},
		"Token": {Auth: ociserver.Auth{Mode: ociserver.AuthToken, Users: users}},
		"Bare":  {NoReferrers: true, NoMount: true, NoRange: true, NoETag: true, NoDigestHeader: true},
	}
	for name, o := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s := ociserver.Start(t, o)
			s.Push("charts/app", "1.0.0_build", chart.Artifact()) // "+" is no character of a tag
			cmd := exec.CommandContext(t.Context(), prog, "-test.v")
			cmd.Dir = "testdata/clients"
			cmd.Env = []string{
				"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(),
				"CLIENTS_HOST=" + s.Host(), "CLIENTS_CHART=" + chart.Digest,
			}
			if o.Auth.Mode != ociserver.AuthNone {
				cmd.Env = append(cmd.Env, "CLIENTS_USER=ann", "CLIENTS_PASSWORD=canary-pw")
			}
			out, err := cmd.CombinedOutput()
			g.Expect(err).NotTo(HaveOccurred(), string(out))
			g.Expect(s.Err()).NotTo(HaveOccurred())
			g.Expect(s.Tags("crane/two")).To(HaveKey("copy"))
			g.Expect(s.Tags("oras/app")).NotTo(HaveKey("v1"), "it was deleted")
			pages := s.Count(ociserver.Match{Method: "GET", Path: "/v2/crane/one/tags/list"})
			if o.PageSize > 0 {
				g.Expect(pages).To(BeNumerically(">=", 3), "five tags are three pages")
			}
			if o.Auth.Mode == ociserver.AuthToken {
				g.Expect(s.Count(ociserver.Match{Path: "/token", Status: 200})).To(BeNumerically(">", 1))
				g.Expect(fmt.Sprint(s.Log())).NotTo(ContainSubstring("canary-pw"))
			}
		})
	}
}
