// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ociserver_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"github.com/gitops-kit/sdk/testserver/ociserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type raw struct {
	t *testing.T
	c *http.Client
	s *ociserver.Server
}

func client(t *testing.T, s *ociserver.Server) raw {
	t.Helper()
	c := s.Client()
	t.Cleanup(c.CloseIdleConnections)
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return raw{t, c, s}
}

// answer is what is left of a reply whose body was read.
type answer struct {
	StatusCode int
	Header     http.Header
}

func (c raw) do(method, path, body string, header ...string) (answer, string) {
	c.t.Helper()
	if !strings.HasPrefix(path, "http") {
		path = c.s.URL() + path
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.c.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header}, string(b)
}

// TST-20
func TestTagsPages(t *testing.T) {
	g := NewWithT(t)
	s := ociserver.Start(t, ociserver.Options{PageSize: 3})
	d := s.Push("org/app", "v0", ociserver.Artifact{})
	for i := range 10 {
		s.Tag("org/app", fmt.Sprintf("v%d", i), d.Digest)
	}
	c := client(t, s)
	var all []string
	next := regexp.MustCompile(`^<(.+)>; rel="next"$`)
	for path := "/v2/org/app/tags/list?n=4"; path != ""; {
		resp, body := c.do("GET", path, "")
		var list struct{ Tags []string }
		g.Expect(json.Unmarshal([]byte(body), &list)).To(Succeed())
		g.Expect(len(list.Tags)).To(BeNumerically("<=", 3))
		all = append(all, list.Tags...)
		path = ""
		if m := next.FindStringSubmatch(resp.Header.Get("Link")); m != nil {
			path = m[1]
		}
	}
	g.Expect(all).To(Equal([]string{"v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9"}))
	g.Expect(s.Count(ociserver.Match{Route: "tags"})).To(Equal(4))
	s.Configure(func(o *ociserver.Options) { o.Link = func(string) string { return "http://127.0.0.1:1/evil" } })
	resp, _ := c.do("GET", "/v2/org/app/tags/list", "")
	g.Expect(resp.Header.Get("Link")).To(ContainSubstring("evil"))
}

// TST-20
func TestTokenFlow(t *testing.T) {
	g := NewWithT(t)
	s := ociserver.Start(t, ociserver.Options{Auth: ociserver.Auth{
		Mode: ociserver.AuthToken, Users: map[string]string{"ann": "canary-pw"}, AnonymousPull: true, ExpireAfter: 2,
		Access: func(user, _, act string) bool { return act == "pull" || user == "ann" },
	}})
	d := s.Push("org/app", "v1", ociserver.Artifact{})
	c := client(t, s)
	resp, _ := c.do("GET", "/v2/org/app/manifests/v1", "")
	g.Expect(resp.StatusCode).To(Equal(401))
	m := regexp.MustCompile(`^Bearer realm="(.+)",service="testserver",scope="(.+)"$`).FindStringSubmatch(resp.Header.Get("WWW-Authenticate"))
	g.Expect(m).To(HaveLen(3))
	g.Expect(m[2]).To(Equal("repository:org/app:pull"))

	get := func(path string, header ...string) map[string]any {
		_, body := c.do("GET", path, "", header...)
		var out map[string]any
		g.Expect(json.Unmarshal([]byte(body), &out)).To(Succeed())
		return out
	}
	anon := get(m[1] + "?service=testserver&scope=" + url.QueryEscape(m[2]))
	bearer := "Bearer " + anon["token"].(string)
	resp, _ = c.do("GET", "/v2/org/app/manifests/v1", "", "Authorization", bearer)
	g.Expect(resp.StatusCode).To(Equal(200))
	g.Expect(resp.Header.Get("Docker-Content-Digest")).To(Equal(d.Digest))
	resp, _ = c.do("POST", "/v2/org/app/blobs/uploads/", "", "Authorization", bearer)
	g.Expect(resp.StatusCode).To(Equal(401), "pull does not include push")
	resp, _ = c.do("GET", "/v2/org/app/manifests/v1", "", "Authorization", bearer)
	g.Expect(resp.StatusCode).To(Equal(401), "expired after two uses")

	resp, _ = c.do("GET", "/token?scope=repository:org/app:push", "", "Authorization", "Basic YW5uOndyb25n")
	g.Expect(resp.StatusCode).To(Equal(401))
	form := url.Values{"grant_type": {"password"}, "username": {"ann"}, "password": {"canary-pw"}, "scope": {"repository:org/app:pull,push"}, "access_type": {"offline"}}
	_, body := c.do("POST", "/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	var out map[string]any
	g.Expect(json.Unmarshal([]byte(body), &out)).To(Succeed())
	resp, _ = c.do("POST", "/v2/org/app/blobs/uploads/", "", "Authorization", "Bearer "+out["token"].(string))
	g.Expect(resp.StatusCode).To(Equal(202))
	form = url.Values{"grant_type": {"refresh_token"}, "refresh_token": {out["refresh_token"].(string)}, "scope": {"repository:org/app:pull"}}
	resp, _ = c.do("POST", "/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	g.Expect(resp.StatusCode).To(Equal(200))
	for _, q := range s.Log() {
		g.Expect(fmt.Sprint(q)).NotTo(ContainSubstring("canary-pw"))
	}
}

// TST-20
func TestTagMovesBetweenResolveAndPull(t *testing.T) {
	g := NewWithT(t)
	s := ociserver.Start(t, ociserver.Options{})
	one := s.Push("app", "v1", ociserver.Artifact{Layers: []ociserver.Layer{{Content: []byte("one")}}})
	two := s.Push("app", "", ociserver.Artifact{Layers: []ociserver.Layer{{Content: []byte("two")}}})
	s.Configure(func(o *ociserver.Options) {
		o.OnManifestServed = func(s *ociserver.Server, repo, ref string) { s.Tag(repo, ref, two.Digest) }
	})
	c := client(t, s)
	resp, _ := c.do("HEAD", "/v2/app/manifests/v1", "")
	g.Expect(resp.Header.Get("Docker-Content-Digest")).To(Equal(one.Digest))
	resp, body := c.do("GET", "/v2/app/manifests/v1", "")
	g.Expect(resp.Header.Get("Docker-Content-Digest")).To(Equal(two.Digest))
	g.Expect(ociserver.Digest([]byte(body))).To(Equal(two.Digest))
}

// TST-20
func TestRawContentLies(t *testing.T) {
	g := NewWithT(t)
	s := ociserver.Start(t, ociserver.Options{})
	want := ociserver.Digest([]byte("right"))
	s.SetRawBlob("app", want, []byte("wrong"))
	s.SetRawManifest("app", "broken", ociserver.MediaTypeManifest, []byte("{nonsense"))
	c := client(t, s)
	_, body := c.do("GET", "/v2/app/blobs/"+want, "")
	g.Expect(body).To(Equal("wrong"))
	resp, body := c.do("GET", "/v2/app/manifests/broken", "")
	g.Expect(body).To(Equal("{nonsense"))
	g.Expect(resp.Header.Get("Content-Type")).To(Equal(ociserver.MediaTypeManifest))
}

// TST-20
func TestReferrers(t *testing.T) {
	g := NewWithT(t)
	s := ociserver.Start(t, ociserver.Options{})
	subject := s.Push("app", "v1", ociserver.Artifact{})
	sig := s.Push("app", "", ociserver.Artifact{ArtifactType: "application/sig", Subject: &subject, Annotations: map[string]string{"k": "v"}})
	s.Push("app", "", ociserver.Artifact{ArtifactType: "application/sbom", Subject: &subject})
	c := client(t, s)
	list := func(q string) ([]ociserver.Descriptor, http.Header) {
		resp, body := c.do("GET", "/v2/app/referrers/"+subject.Digest+q, "")
		var idx struct{ Manifests []ociserver.Descriptor }
		g.Expect(json.Unmarshal([]byte(body), &idx)).To(Succeed())
		return idx.Manifests, resp.Header
	}
	all, _ := list("")
	g.Expect(all).To(HaveLen(2))
	one, h := list("?artifactType=application%2Fsig")
	g.Expect(one).To(HaveLen(1))
	g.Expect(one[0].Digest).To(Equal(sig.Digest))
	g.Expect(one[0].Annotations).To(HaveKeyWithValue("k", "v"))
	g.Expect(h.Get("OCI-Filters-Applied")).To(Equal("artifactType"))
	s.Configure(func(o *ociserver.Options) { o.NoReferrers = true })
	resp, _ := c.do("GET", "/v2/app/referrers/"+subject.Digest, "")
	g.Expect(resp.StatusCode).To(Equal(404))
}

// TST-20
func TestRefusals(t *testing.T) {
	s := ociserver.Start(t, ociserver.Options{})
	s.Push("app", "v1", ociserver.Artifact{})
	manifest := `{"schemaVersion":2,"mediaType":"` + ociserver.MediaTypeManifest + `","config":{"digest":"` + ociserver.Digest([]byte("none")) + `"}}`
	cases := map[string]struct {
		reason, method, path, body string
		header                     []string
		status                     int
		code                       string
	}{
		"UnknownRepo":   {reason: "no such name", method: "GET", path: "/v2/none/manifests/v1", status: 404, code: "NAME_UNKNOWN"},
		"UnknownTag":    {reason: "no such tag", method: "GET", path: "/v2/app/manifests/v9", status: 404, code: "MANIFEST_UNKNOWN"},
		"BadName":       {reason: "upper case", method: "GET", path: "/v2/App/manifests/v1", status: 400, code: "NAME_INVALID"},
		"BadDigest":     {reason: "path in a digest", method: "GET", path: "/v2/app/blobs/sha256:..", status: 400, code: "DIGEST_INVALID"},
		"WrongDigest":   {reason: "manifest under another digest", method: "PUT", path: "/v2/app/manifests/" + ociserver.Digest(nil), body: "{}", status: 400, code: "DIGEST_INVALID"},
		"MissingBlob":   {reason: "config was not pushed", method: "PUT", path: "/v2/app/manifests/v2", body: manifest, status: 400, code: "MANIFEST_BLOB_UNKNOWN"},
		"NotJSON":       {reason: "manifest is no JSON", method: "PUT", path: "/v2/app/manifests/v2", body: "x", status: 400, code: "MANIFEST_INVALID"},
		"TooLarge":      {reason: "manifest over 4 MiB", method: "PUT", path: "/v2/app/manifests/v2", body: strings.Repeat(" ", 5<<20), status: 413, code: "MANIFEST_INVALID"},
		"UploadUnknown": {reason: "no such upload", method: "PATCH", path: "/v2/app/blobs/uploads/x", status: 404, code: "BLOB_UPLOAD_UNKNOWN"},
		"BlobMismatch": {
			reason: "monolithic upload with another digest", method: "POST", path: "/v2/app/blobs/uploads/?digest=" + ociserver.Digest([]byte("a")),
			body: "b", status: 400, code: "DIGEST_INVALID",
		},
	}
	c := client(t, s)
	before := s.Tags("app")
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			resp, body := c.do(tc.method, tc.path, tc.body, tc.header...)
			g.Expect(resp.StatusCode).To(Equal(tc.status), tc.reason)
			g.Expect(body).To(ContainSubstring(`"`+tc.code+`"`), tc.reason)
		})
	}
	NewWithT(t).Expect(s.Tags("app")).To(Equal(before), "nothing was written")
}

// TST-20
func TestParallelPullsConcurrentSafe(t *testing.T) {
	g := NewWithT(t)
	s := ociserver.Start(t, ociserver.Options{TLS: true, HTTP2: true})
	blob := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	d := s.PushBlob("app", ociserver.MediaTypeLayer, blob)
	c := client(t, s)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			resp, err := c.c.Get(s.URL() + "/v2/app/blobs/" + d.Digest)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err != nil || ociserver.Digest(b) != d.Digest {
				t.Errorf("pull: %v", err)
			}
		})
	}
	wg.Wait()
	g.Expect(s.Count(ociserver.Match{Route: "blob", Status: 200})).To(Equal(100))
}
