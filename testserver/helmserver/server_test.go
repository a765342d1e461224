// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package helmserver_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/gitops-kit/sdk/testserver/helmserver"
	"github.com/gitops-kit/sdk/testserver/ociserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type index struct {
	APIVersion string `yaml:"apiVersion"`
	Generated  string
	Entries    map[string][]struct {
		Name, Version, Digest string
		URLs                  []string `yaml:"urls"`
	}
}

// answer is what is left of a reply whose body was read.
type answer struct {
	StatusCode int
	Header     http.Header
}

func get(t *testing.T, s *helmserver.Server, url, user, etag string) (answer, []byte) {
	t.Helper()
	c := s.Client()
	defer c.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		r.SetBasicAuth(user, "pw")
	}
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header}, b
}

// TST-21
func TestRepository(t *testing.T) {
	g := NewWithT(t)
	s := helmserver.Start(t, helmserver.Options{TLS: true, Prefix: "/charts", Users: map[string]string{"ann": "pw"}})
	one := s.AddChart(helmserver.Simple("app", "1.0.0"), "")
	two := s.AddChart(helmserver.Simple("app", "1.0.0"), "2.0.0")
	foreign := s.AddChartOptions(helmserver.Simple("foreign", "0.1.0"), "", helmserver.ChartOptions{URL: "https://elsewhere.example/f.tgz", Digest: "-"})
	g.Expect(foreign.Name).To(Equal("foreign"))
	s.Sign(two, func(p []byte) ([]byte, error) { return append([]byte("signed\n"), p...), nil })

	resp, _ := get(t, s, s.RepoURL()+"/index.yaml", "", "")
	g.Expect(resp.StatusCode).To(Equal(401))
	resp, body := get(t, s, s.RepoURL()+"/index.yaml", "ann", "")
	g.Expect(resp.StatusCode).To(Equal(200))
	var idx index
	g.Expect(yaml.Unmarshal(body, &idx)).To(Succeed())
	g.Expect(idx.APIVersion).To(Equal("v1"))
	g.Expect(idx.Entries["app"]).To(HaveLen(2))
	g.Expect(idx.Entries["app"][0].Version).To(Equal("2.0.0"))
	g.Expect(idx.Entries["app"][0].URLs).To(Equal([]string{"app-2.0.0.tgz"}))
	g.Expect(idx.Entries["foreign"][0].URLs).To(Equal([]string{"https://elsewhere.example/f.tgz"}))
	g.Expect(idx.Entries["foreign"][0].Digest).To(BeEmpty())
	notModified, _ := get(t, s, s.RepoURL()+"/index.yaml", "ann", resp.Header.Get("ETag"))
	g.Expect(notModified.StatusCode).To(Equal(304))

	_, archive := get(t, s, one.URL, "ann", "")
	sum := sha256.Sum256(archive)
	g.Expect(hex.EncodeToString(sum[:])).To(Equal(idx.Entries["app"][1].Digest))
	g.Expect(names(t, archive)).To(Equal([]string{"app/Chart.yaml", "app/templates/NOTES.txt", "app/templates/configmap.yaml", "app/values.yaml"}))
	_, prov := get(t, s, two.URL+".prov", "ann", "")
	g.Expect(string(prov)).To(ContainSubstring("app-2.0.0.tgz: sha256:" + two.Digest))

	again, err := helmserver.Package(helmserver.Simple("app", "1.0.0"), "")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again.Archive).To(Equal(one.Archive), "same files, same bytes")
	_, err = helmserver.Package(helmserver.Files{"Chart.yaml": "apiVersion: v2\n"}, "")
	g.Expect(err).To(MatchError(helmserver.ErrChart))
	s.SetRawIndex([]byte("entries: {a: [null]}"))
	_, body = get(t, s, s.RepoURL()+"/index.yaml", "ann", "")
	g.Expect(string(body)).To(Equal("entries: {a: [null]}"))
	g.Expect(s.Count(helmserver.Match{Route: "index"})).To(Equal(4))
}

func names(t *testing.T, archive []byte) []string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, h.Name)
	}
}

// TST-21
func TestGenerateIndex(t *testing.T) {
	g := NewWithT(t)
	s := helmserver.Start(t, helmserver.Options{})
	s.GenerateIndex(50, 20)
	var idx index
	g.Expect(yaml.Unmarshal(s.Index(), &idx)).To(Succeed())
	g.Expect(idx.Entries).To(HaveLen(50))
	g.Expect(idx.Entries["chart-0049"]).To(HaveLen(20))
}

// TST-21
func TestOCIChart(t *testing.T) {
	g := NewWithT(t)
	reg := ociserver.Start(t, ociserver.Options{})
	c, err := helmserver.Package(helmserver.Simple("app", "1.0.0"), "")
	g.Expect(err).NotTo(HaveOccurred())
	reg.Push("charts/app", c.Version, c.Artifact())
	_, body := reg.Manifest("charts/app", "1.0.0")
	g.Expect(string(body)).To(ContainSubstring(helmserver.MediaTypeContent))
	g.Expect(reg.Blob("charts/app", "sha256:"+c.Digest)).To(Equal(c.Archive))
}

func ExampleServer_AddChart() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	repo, err := helmserver.Run(ctx, helmserver.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer repo.Stop()
	c := repo.AddChart(helmserver.Simple("hello", "1.2.3"), "")
	fmt.Println(c.File(), repo.Err())

	client := repo.Client()
	defer client.CloseIdleConnections()
	resp, err := client.Get(repo.RepoURL() + "/index.yaml")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = resp.Body.Close()
	fmt.Println(resp.Status)
	// Output:
	// hello-1.2.3.tgz <nil>
	// 200 OK
}
