// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gittest

import (
	"bufio"
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/gitops-kit/sdk/testserver/pki"
)

// BuildPlaces builds the server of another make, go-git v6's backend, from the
// module in a directory, and returns it over every transport: it is
// testdata/gogit6 of this package, with a go.mod of its own. When it cannot be
// built the test fails in CI; elsewhere that is logged, and there is no place.
func BuildPlaces(tb testing.TB, source string) []Place {
	tb.Helper()
	program := filepath.Join(tb.TempDir(), "gogit6")
	cmd := exec.CommandContext(tb.Context(), "go", "build", "-C", source, "-o", program, ".") //nolint:gosec // the suite's own program
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		const how = "missing: the go-git v6 server; run go build -C git/gittest/testdata/gogit6 .\n%s"
		if os.Getenv("CI") != "" {
			tb.Fatalf(how, b)
		}
		tb.Logf(how, b)
		return nil
	}
	var out []Place
	for _, transport := range Transports() {
		out = append(out, Place{Server: "go-git v6", Transport: transport, Start: func(tb testing.TB) Server {
			tb.Helper()
			return startThirdParty(tb, program, transport)
		}})
	}
	return out
}

func startThirdParty(tb testing.TB, program, transport string) Server {
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
	must(exec.CommandContext(tb.Context(), "git", "init", "-q", "--bare", "-b", "main", filepath.Join(dir, "repos", "org", "app.git")).Run()) //nolint:gosec // the suite's own arguments
	out := Server{Options: git.Options{TempDir: tb.TempDir(), HTTP: git.HTTPLimits{Attempts: 2}}}                                             // it answers 500 where it means 404
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
	cmd := exec.CommandContext(tb.Context(), program, args...) //nolint:gosec // the suite's own program
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
