// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package blobregistry_test

import (
	"context"
	"encoding/base64"
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
	"github.com/gitops-kit/sdk/testserver/ociserver"
)

// R6, R8: credentials are those of exactly this host and port; helpers are
// not run; what is wrong is said without the secret.
func TestDockerConfig(t *testing.T) {
	auth := func(s string) string { return `{"auth":"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"}` }
	for _, tc := range []struct{ config, host, repo, user, password string }{
		{`{"auths":{"h":` + auth("a:b:c") + `}}`, "h", "x", "a", "b:c"},
		{`{"auths":{"https://h/v1/":{"username":"a","password":"p"}}}`, "h", "x", "a", "p"},
		{`{"auths":{"h":` + auth("a:1") + `,"h/team":` + auth("b:2") + `,"h/tea":` + auth("c:3") + `}}`, "h", "team/x", "b", "2"},
		{`{"auths":{"https://index.docker.io/v1/":` + auth("a:1") + `}}`, "docker.io", "x/y", "a", "1"},
		{`{"auths":{"h:5000":` + auth("a:1") + `}}`, "h", "x", "", ""},
		{`{"auths":{"h":` + auth("a:1") + `}}`, "h:5000", "x", "", ""},
		{`{"auths":{"h":{"auth":"canary"}}}`, "h", "x", "", ""},
		{`{"auths":{"h":{}},"credsStore":"program"}`, "h", "x", "", ""},
		{`{"credHelpers":{"h":"program"}}`, "h", "x", "", ""},
		{`canary`, "h", "x", "", ""},
	} {
		g := NewWithT(t)
		c, err := blobregistry.ParseDockerConfig([]byte(tc.config), tc.host, tc.repo)
		g.Expect(c.Username).To(Equal(tc.user), tc.config)
		g.Expect(c.Password.Reveal()).To(Equal(tc.password), tc.config)
		g.Expect(err == nil).To(Equal(tc.user != ""), "%s: %v", tc.config, err)
		if err != nil {
			g.Expect(c.IsZero()).To(BeTrue())
			g.Expect(err.Error()).NotTo(ContainSubstring("canary"))
		}
	}
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
