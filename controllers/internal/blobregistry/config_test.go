// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package blobregistry_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/controllers/internal/blobregistry"
	"github.com/gitops-kit/sdk/runtime/secrets"
	"github.com/gitops-kit/sdk/testserver/ociserver"
)

// R6, R8: credentials are those of exactly this host and port, and of the path
// that leads furthest; helpers are not run; what is wrong is said without
// the secret.
func TestDockerConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.json")
	for _, tc := range []struct{ config, address, user, password string }{
		{`{"auths":{"h":{"auth":"YTpiOmM="}}}`, "oci://h/x", "a", "b:c"},
		{`{"auths":{"h":{"auth":"YTpiOmM="},"h/team":{"username":"b","password":"2"}},"credsStore":"program"}`, "oci://h/team/x", "b", "2"},
		{`{"auths":{"h:5000":{"auth":"YTpiOmM="}}}`, "oci://h/x", "", ""},
		{`{"auths":{"h":{"auth":"canary"}}}`, "oci://h/x", "", ""},
		{`{"credHelpers":{"h":"program"}}`, "oci://h/x", "", ""},
		{`canary`, "oci://h/x", "", ""},
	} {
		g := NewWithT(t)
		g.Expect(os.WriteFile(file, []byte(tc.config), 0o600)).To(Succeed())
		c, err := blobregistry.FromDockerConfig(file, tc.address)(t.Context())
		g.Expect(c.Username).To(Equal(tc.user), tc.config)
		g.Expect(c.Password.Reveal()).To(Equal(tc.password), tc.config)
		if tc.user == "" {
			g.Expect(errors.Is(err, secrets.ErrNoCredentials)).To(BeTrue(), "%s: %v", tc.config, err)
			g.Expect(c.IsZero()).To(BeTrue())
			g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
		} else {
			g.Expect(err).NotTo(HaveOccurred(), tc.config)
		}
	}
	g := NewWithT(t)
	g.Expect(os.WriteFile(file, []byte(`{"auths":{"h":{"identitytoken":"i"},"h/r":{"registrytoken":"r"}}}`), 0o600)).To(Succeed())
	c, err := blobregistry.FromDockerConfig(file, "oci://h/x")(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.IdentityToken.Reveal()).To(Equal("i"))
	c, err = blobregistry.FromDockerConfig(file, "oci://h/r/x")(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.RegistryToken.Reveal()).To(Equal("r"))
	_, err = blobregistry.FromDockerConfig(file, "https://h/x")(t.Context())
	g.Expect(err).To(MatchError(ContainSubstring("oci://")))
	_, err = blobregistry.FromDockerConfig(file+"x", "oci://h/x")(t.Context())
	g.Expect(errors.Is(err, os.ErrNotExist)).To(BeTrue(), "%v", err)
}

// OCI-71: a mounted Secret may change while the process runs.
func TestRotatedCredentials(t *testing.T) {
	g := NewWithT(t)
	s := ociserver.Start(t, ociserver.Options{Auth: ociserver.Auth{Mode: ociserver.AuthBasic, Users: map[string]string{"ann": "old"}}})
	file := filepath.Join(t.TempDir(), "config.json")
	put := func(password string) {
		g.Expect(os.WriteFile(file, fmt.Appendf(nil, `{"auths":{%q:{"username":"ann","password":%q}}}`, s.Host(), password), 0o600)).To(Succeed())
	}
	put("old")
	r := open(t, s, blobregistry.Options{Credentials: blobregistry.FromDockerConfig(file, "oci://"+s.Host()+"/"+repo)})
	sum := pushed(t, r, "one")
	put("new")
	s.SetAuth(ociserver.Auth{Mode: ociserver.AuthBasic, Users: map[string]string{"ann": "new"}})
	g.Expect(r.Has(t.Context(), sum)).To(BeTrue())
	g.Expect(os.WriteFile(file, []byte(strings.Repeat(" ", 2<<20)), 0o600)).To(Succeed())
	_, err := blobregistry.FromDockerConfig(file, "oci://h/x")(t.Context())
	g.Expect(errors.Is(err, artifact.ErrLimit)).To(BeTrue(), "%v", err)
}

// OCI-73, OCI-78: what is no registry is said to be none.
func TestNotARegistry(t *testing.T) {
	g := NewWithT(t)
	s := ociserver.Start(t, ociserver.Options{})
	r := open(t, s, blobregistry.Options{})
	s.SetRawManifest(repo, blobregistry.Tag("x"), "text/html", []byte("<html>"))
	_, _, err := r.GetIndex(t.Context(), "x")
	g.Expect(errors.Is(err, blobregistry.ErrNotRegistry)).To(BeTrue(), "%v", err)
}

// OCI-73: Bearer before Basic, unknown parameters ignored, malformed ones
// without effect.
func TestChallenges(t *testing.T) {
	g := NewWithT(t)
	for header, want := range map[string]string{
		`Basic realm="x", Bearer realm="https://a/t",service="s", odd=1`: `[basic map[realm:x] bearer map[odd:1 realm:https://a/t service:s]]`,
		`Bearer realm="a\"b" , x = y`:                                    `[bearer map[realm:a"b x:y]]`,
		`Bearer realm="open`:                                             `[bearer map[realm:open]]`,
		`realm="none"`:                                                   `[]`,
		`"`:                                                              `[]`,
	} {
		g.Expect(fmt.Sprint(blobregistry.Challenges(http.Header{"Www-Authenticate": {header}}))).To(Equal(want))
	}
}

func FuzzChallenges(f *testing.F) {
	for _, s := range []string{`Bearer realm="https://a/t",service="s"`, `Basic realm=x`, `a="b\`, `,,,=`, `"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		blobregistry.Challenges(http.Header{"Www-Authenticate": {s}})
		blobregistry.NextPage(s)
	})
}

// FuzzManifest: whatever a tag holds, reading it fails as something known or
// gives a document within its limit.
func FuzzManifest(f *testing.F) {
	for _, s := range []string{
		"", "{}", `{"mediaType":"` + ociserver.MediaTypeManifest + `","artifactType":"` + blobregistry.IndexType +
			`","annotations":{"vnd.gitops-kit.artifact.directory":"x","vnd.gitops-kit.artifact.document":"{}"}}`,
		`{"layers":[{"digest":"sha256:../x"}],"manifests":[]}`,
	} {
		f.Add([]byte(s))
	}
	s, err := ociserver.Run(f.Context(), ociserver.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Stop)
	f.Fuzz(func(t *testing.T, body []byte) {
		r := open(t, s, blobregistry.Options{})
		s.SetRawManifest(repo, blobregistry.Tag("x"), ociserver.MediaTypeManifest, body)
		doc, version, err := r.GetIndex(context.Background(), "x")
		if err == nil && (len(doc) > 64<<10 || version == "") {
			t.Fatalf("%d bytes, version %q", len(doc), version)
		}
		if err != nil && !errors.Is(err, artifact.ErrCorrupt) && !errors.Is(err, artifact.ErrNotFound) && !errors.Is(err, artifact.ErrLimit) {
			t.Fatal(err)
		}
	})
}
