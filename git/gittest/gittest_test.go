// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gittest_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/gittest"
	"github.com/gitops-kit/sdk/git/gogit"
	"github.com/gitops-kit/sdk/git/packstore"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

// GIT-100, GIT-101, GIT-102
func TestGogit(t *testing.T) {
	gittest.Run(t, func(testing.TB) driver.Driver { return gogit.New(gogit.Options{}) })
}

// GIT-100, GIT-101, GIT-102
func TestPackstore(t *testing.T) {
	gittest.Run(t, func(testing.TB) driver.Driver { return packstore.New(packstore.Options{}) })
}

// GIT-T1: the matrix of transports, servers, versions and formats.
func TestServers(t *testing.T) {
	for name, o := range map[string]gitserver.Options{
		"InProcess":       {},
		"InProcessTLS":    {TLS: true, HTTP2: true},
		"InProcessMTLS":   {RequireClientCert: true},
		"InProcessV1":     {MaxVersion: 1},
		"InProcessV0":     {V0Only: true},
		"InProcessBare":   {V0Only: true, Repo: gitserver.RepoOptions{Capabilities: gitserver.Capabilities{NoShallow: true, NoSideBand: true, NoSideBand64k: true, NoOfsDelta: true, NoSymref: true}}},
		"InProcessStrict": {Repo: gitserver.RepoOptions{Capabilities: gitserver.Capabilities{NoAnySHA1InV2: true}}},
		"InProcessDeltas": {Repo: gitserver.RepoOptions{Deltas: gitserver.Deltas}},
		"InProcess256":    {ObjectFormat: gitserver.SHA256},
		"Program":         {Backend: gitserver.Exec},
		"ProgramTLS":      {Backend: gitserver.Exec, TLS: true},
		"Program256":      {Backend: gitserver.Exec, ObjectFormat: gitserver.SHA256},
	} {
		for _, transport := range []string{"http", "ssh"} {
			if transport == "ssh" && (o.TLS || o.RequireClientCert) {
				continue
			}
			t.Run(name+"/"+transport, func(t *testing.T) {
				gittest.RunServer(t, func(tb testing.TB) gittest.Server { return serve(tb, o, transport == "ssh") })
			})
		}
	}
}

func serve(tb testing.TB, o gitserver.Options, ssh bool) gittest.Server {
	tb.Helper()
	o.Auth.Users = map[string]string{"ann": "pw"}
	priv, pub, err := gitserver.NewKey(gitserver.Ed25519, "")
	if err != nil {
		tb.Fatal(err)
	}
	o.Auth.AuthorizedKeys = map[string]string{pub: "ann"}
	if ssh {
		o.SSH = &gitserver.SSHOptions{}
	}
	srv := gitserver.Start(tb, o)
	repo := srv.Repo("org/app")
	out := gittest.Server{URL: repo.URL(), Options: git.Options{TempDir: tb.TempDir()}}
	if ssh {
		out.URL = repo.SSHURL()
		out.Options.SSH.KnownHosts = srv.KnownHosts(gitserver.Plain)
		out.Options.Credentials = git.Static(git.Credential{SSHKey: git.NewSecret(string(priv))})
		return out
	}
	out.Options.Credentials = git.Static(git.Credential{Username: "ann", Password: git.NewSecret("pw")})
	if ca := srv.CA(); len(ca) > 0 {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca)
		out.Options.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	if o.RequireClientCert {
		pair, err := srv.ClientCert("ann")
		if err != nil {
			tb.Fatal(err)
		}
		cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			tb.Fatal(err)
		}
		out.Options.TLS.Certificates = []tls.Certificate{cert}
	}
	return out
}
