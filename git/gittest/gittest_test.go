// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gittest_test

import (
	"bufio"
	"crypto/tls"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/git/gittest"
	"github.com/gitops-kit/sdk/git/gogit"
	"github.com/gitops-kit/sdk/git/packstore"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/gitops-kit/sdk/testserver/pki"
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
	table := gittest.RunMatrix(t, drivers, append(gittest.Places(), thirdParty(t)...))
	t.Log("\n" + table)
	text := "# Conformance matrix\n\nWritten by `go test ./gittest -run TestMatrix -update` and compared by every run of that test.\n" +
		"Each cell is a run of `gittest.RunServer`: first push, every kind of reference, checkout, sparse checkout, clone, race.\n\n" + table
	if strings.Contains(table, "–") {
		return // a part was chosen, or a server is missing; in CI that has failed
	}
	if *update {
		if err := os.WriteFile("MATRIX.md", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want, err := os.ReadFile("MATRIX.md"); err != nil || string(want) != text {
		t.Errorf("MATRIX.md is not this table (%v); run with -update", err)
	}
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

// thirdParty builds a server of another make, pinned in testdata.
func thirdParty(t *testing.T) []gittest.Place {
	t.Helper()
	program := filepath.Join(t.TempDir(), "gogit6")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-C", "testdata/gogit6", "-o", program, ".")
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		const how = "missing: the go-git v6 server; run go build -C git/gittest/testdata/gogit6 .\n%s"
		if os.Getenv("CI") != "" {
			t.Fatalf(how, b)
		}
		t.Logf(how, b)
		return nil
	}
	var out []gittest.Place
	for _, transport := range gittest.Transports() {
		out = append(out, gittest.Place{Server: "go-git v6", Transport: transport, Start: func(tb testing.TB) gittest.Server {
			tb.Helper()
			return startThirdParty(tb, program, transport)
		}})
	}
	return out
}

func startThirdParty(tb testing.TB, program, transport string) gittest.Server {
	tb.Helper()
	dir := tb.TempDir()
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	file := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		must(os.WriteFile(p, b, 0o600))
		return p
	}
	must(exec.CommandContext(tb.Context(), "git", "init", "-q", "--bare", "-b", "main", filepath.Join(dir, "repos", "org", "app.git")).Run())
	out := gittest.Server{Options: git.Options{TempDir: tb.TempDir(), HTTP: git.HTTPLimits{Attempts: 2}}} // it answers 500 where it means 404
	out.Options.Credentials = git.Static(git.Credential{Username: "ann", Password: git.NewSecret("pw")})
	args := []string{"-root", filepath.Join(dir, "repos")}
	scheme := transport
	switch transport {
	case "https", "mTLS":
		scheme = "https"
		ca, err := pki.NewCA("test")
		must(err)
		pair, err := ca.Server("127.0.0.1")
		must(err)
		out.Options.TLS = &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}
		args = append(args, "-cert", file("server.pem", append(pair.Cert, pair.Key...)))
		if transport == "mTLS" {
			mine, err := ca.Client("ann")
			must(err)
			cert, err := mine.TLS()
			must(err)
			out.Options.TLS.Certificates = []tls.Certificate{cert}
			args = append(args, "-client-ca", file("ca.pem", ca.PEM()))
		}
	case "ssh":
		host, hostPub, err := gitserver.NewKey(gitserver.Ed25519, "")
		must(err)
		priv, pub, err := gitserver.NewKey(gitserver.ECDSA256, "")
		must(err)
		args = append(args, "-host-key", file("host", host), "-authorized", pub)
		out.Options.SSH.KnownHosts = []byte(hostPub)
		out.Options.Credentials = git.Static(git.Credential{SSHKey: git.NewSecret(string(priv))})
	}
	web, shell := runThirdParty(tb, program, args)
	out.URL = scheme + "://" + web + "/org/app.git"
	if transport == "ssh" {
		out.URL = "ssh://git@" + shell + "/org/app.git"
		host, port, _ := strings.Cut(shell, ":")
		out.Options.SSH.KnownHosts = []byte("[" + host + "]:" + port + " " + string(out.Options.SSH.KnownHosts) + "\n")
	}
	return out
}

// runThirdParty runs the program, which ends with its input.
func runThirdParty(tb testing.TB, program string, args []string) (web, shell string) {
	tb.Helper()
	cmd := exec.CommandContext(tb.Context(), program, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	var text strings.Builder
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
		if tb.Failed() {
			tb.Logf("%s: %s", program, text.String())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	f := strings.Fields(line)
	if err != nil || len(f) != 3 || f[0] != "ready" {
		tb.Fatalf("%s says %q: %v", program, line, err)
	}
	return f[1], f[2]
}
