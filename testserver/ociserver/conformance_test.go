// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ociserver_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/testserver/ociserver"
)

// build builds the conformance program of the distribution specification,
// pinned in testdata.
func build(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "conformance")
	const pkg = "github.com/opencontainers/distribution-spec/conformance"
	cmd := exec.CommandContext(t.Context(), "go", "build", "-C", "testdata/conformance", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		missing(t, "the conformance program; run go build -C testserver/ociserver/testdata/conformance "+pkg+"\n"+string(b))
	}
	return out
}

func missing(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv("CI") != "" {
		tb.Fatalf("missing: %s", what)
	}
	tb.Skipf("missing: %s", what)
}

// TST-7, TST-20
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	prog := build(t)
	users := map[string]string{"ann": "s3cret"}
	cases := map[string]struct {
		reason string
		opts   ociserver.Options
		env    []string
	}{
		"Open":  {reason: "every feature", env: []string{"OCI_API_BLOBS_UPLOAD_CANCEL=true", "OCI_API_BLOBS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_DIGEST_HEADER=true"}},
		"Basic": {reason: "basic authentication", opts: ociserver.Options{Auth: ociserver.Auth{Mode: ociserver.AuthBasic, Users: users}}},
		"Token": {reason: "token authentication, tokens that expire", opts: ociserver.Options{Auth: ociserver.Auth{Mode: ociserver.AuthToken, Users: users, ExpireAfter: 3}}},
		"Bare": {
			reason: "no referrers API, no mount, no range, no optional header",
			opts:   ociserver.Options{NoReferrers: true, NoMount: true, NoRange: true, NoETag: true, NoDigestHeader: true},
			env:    []string{"OCI_API_REFERRER=false"},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			s := ociserver.Start(t, tc.opts)
			results := t.TempDir()
			cmd := exec.CommandContext(t.Context(), prog)
			cmd.Dir = results
			cmd.Env = append([]string{
				"PATH=" + os.Getenv("PATH"), "OCI_REGISTRY=" + s.Host(), "OCI_TLS=disabled", "OCI_RESULTS_DIR=" + results, "OCI_LOG=error",
			}, tc.env...)
			if tc.opts.Auth.Mode != ociserver.AuthNone {
				cmd.Env = append(cmd.Env, "OCI_USERNAME=ann", "OCI_PASSWORD=s3cret")
			}
			out, err := cmd.CombinedOutput()
			g.Expect(err).NotTo(HaveOccurred(), "%s\n%s", tc.reason, tail(out))
			g.Expect(string(out)).NotTo(MatchRegexp(`(?i)\bfail: [1-9]`), tc.reason)
			g.Expect(s.Err()).NotTo(HaveOccurred())
		})
	}
}

var failing = regexp.MustCompile(`(?i)fail|error`)

// tail keeps what matters of a report.
func tail(out []byte) string {
	var keep []string
	for line := range strings.Lines(string(out)) {
		if failing.MatchString(line) {
			keep = append(keep, line)
		}
	}
	return strings.Join(keep[:min(len(keep), 60)], "")
}
