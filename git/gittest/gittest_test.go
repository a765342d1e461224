// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gittest_test

import (
	"flag"
	"testing"

	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/gittest"
	"github.com/gitops-kit/sdk/git/gogit"
	"github.com/gitops-kit/sdk/git/packstore"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

var update = flag.Bool("update", false, "rewrite the table of the matrix")

// GIT-100, GIT-101, GIT-102
func TestGogit(t *testing.T) {
	gittest.Run(t, func(testing.TB) driver.Driver { return gogit.New(gogit.Options{}) })
}

// GIT-100, GIT-101, GIT-102
func TestPackstore(t *testing.T) {
	gittest.Run(t, func(testing.TB) driver.Driver { return packstore.New(packstore.Options{}) })
}

// GIT-T1, GIT-9, GIT-102: drivers, transports and servers of three makes.
func TestMatrix(t *testing.T) {
	drivers := map[string]driver.Driver{"gogit": gogit.New(gogit.Options{}), "packstore": packstore.New(packstore.Options{})}
	places := append(gittest.Places(), gittest.BuildPlaces(t, "testdata/gogit6")...)
	gittest.CheckMatrix(t, "MATRIX.md", gittest.RunMatrix(t, drivers, places), *update)
}

// GIT-T1, GIT-21, GIT-26: versions, formats, and capabilities taken away.
func TestServers(t *testing.T) {
	for name, o := range map[string]gitserver.Options{
		"HTTP2":      {TLS: true, HTTP2: true},
		"V1":         {MaxVersion: 1},
		"V0":         {V0Only: true},
		"Bare":       {V0Only: true, Repo: gitserver.RepoOptions{Capabilities: gitserver.Capabilities{NoShallow: true, NoSideBand: true, NoSideBand64k: true, NoOfsDelta: true, NoSymref: true}}},
		"Strict":     {Repo: gitserver.RepoOptions{Capabilities: gitserver.Capabilities{NoAnySHA1InV2: true}}},
		"Deltas":     {Repo: gitserver.RepoOptions{Deltas: gitserver.Deltas}},
		"SHA256":     {ObjectFormat: gitserver.SHA256},
		"Program256": {Backend: gitserver.Exec, ObjectFormat: gitserver.SHA256},
	} {
		for _, transport := range []string{"http", "ssh"} {
			if transport == "ssh" && o.TLS {
				continue
			}
			t.Run(name+"/"+transport, func(t *testing.T) {
				gittest.RunServer(t, func(tb testing.TB) gittest.Server { return gittest.StartServer(tb, o, transport == "ssh") })
			})
		}
	}
}
