// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gittest

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

// Place is a server over one transport.
type Place struct {
	// Server and Transport are row and column of the matrix.
	Server, Transport string
	// Start starts the server with an empty repository.
	Start func(testing.TB) Server
}

// Transports are the columns of the matrix.
func Transports() []string { return []string{"http", "https", "mTLS", "ssh"} }

// Places are the servers that need nothing but the git program and OpenSSH:
// the in-process server, and git http-backend behind a web server or OpenSSH
// with git-shell, over every transport.
func Places() []Place {
	var out []Place
	for name, backend := range map[string]gitserver.Backend{"in-process": gitserver.InProcess, "git program": gitserver.Exec} {
		for _, transport := range Transports() {
			o := gitserver.Options{Backend: backend, TLS: transport == "https", RequireClientCert: transport == "mTLS"}
			out = append(out, Place{name, transport, func(tb testing.TB) Server {
				tb.Helper()
				return StartServer(tb, o, transport == "ssh")
			}})
		}
	}
	slices.SortFunc(out, func(a, b Place) int { return strings.Compare(a.Server+a.Transport, b.Server+b.Transport) })
	return out
}

// RunMatrix runs the client with every driver against every place and returns
// a table of what passed, in Markdown.
func RunMatrix(t *testing.T, drivers map[string]driver.Driver, places []Place) string {
	names := slices.Sorted(maps.Keys(drivers))
	passed := map[string]bool{}
	var servers []string
	for _, p := range places {
		if !slices.Contains(servers, p.Server) {
			servers = append(servers, p.Server)
		}
		for _, d := range names {
			cell := strings.Join([]string{p.Server, p.Transport, d}, "/")
			ran := false
			ok := t.Run(cell, func(t *testing.T) {
				ran = true
				RunServer(t, func(tb testing.TB) Server {
					tb.Helper()
					s := p.Start(tb)
					s.Options.Driver = drivers[d]
					return s
				})
			})
			if ran { // and not left out by -run
				passed[cell] = ok
			}
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| server | driver | %s |\n|---|---|%s\n", strings.Join(Transports(), " | "), strings.Repeat("---|", len(Transports())))
	for _, s := range servers {
		for _, d := range names {
			fmt.Fprintf(&b, "| %s | %s |", s, d)
			for _, transport := range Transports() {
				ok, tried := passed[strings.Join([]string{s, transport, d}, "/")]
				switch {
				case !tried:
					b.WriteString(" – |")
				case ok:
					b.WriteString(" ✓ |")
				default:
					b.WriteString(" ✗ |")
				}
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

// CheckMatrix compares a table of RunMatrix with a file, which update rewrites
// first. A table with a cell that did not run is not compared: a part was
// chosen with -run, or a server is missing.
func CheckMatrix(tb testing.TB, file, table string, update bool) {
	tb.Helper()
	tb.Log("\n" + table)
	if strings.Contains(table, "–") {
		return // in CI a missing server has failed
	}
	text := "# Conformance matrix\n\nWritten by `go test -run TestMatrix -update` in this directory and compared by every run of that test.\n" +
		"Each cell is a run of `gittest.RunServer`: first push, every kind of reference, checkout, sparse checkout, clone, race.\n\n" + table
	if update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // as sources are
			tb.Fatal(err)
		}
	}
	if want, err := os.ReadFile(file); err != nil || string(want) != text { //nolint:gosec // the caller's file
		tb.Errorf("%s is not this table (%v); run with -update", file, err)
	}
}

// StartServer starts a server of testserver/gitserver with one user and an
// empty repository, and returns what reaches it: a password, with a client
// certificate where the options demand one, or a key over SSH.
func StartServer(tb testing.TB, o gitserver.Options, ssh bool) Server {
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
	out := Server{URL: repo.URL(), Options: git.Options{TempDir: tb.TempDir()}}
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
