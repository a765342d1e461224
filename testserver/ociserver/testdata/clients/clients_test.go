// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package clients_test uses a registry with the clients that most programs
// use. It knows the registry by environment variables only.
package clients_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"
	orasremote "oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

func host() string { return os.Getenv("CLIENTS_HOST") }

func options() []crane.Option {
	o := []crane.Option{crane.Insecure}
	if user := os.Getenv("CLIENTS_USER"); user != "" {
		o = append(o, crane.WithAuth(&authn.Basic{Username: user, Password: os.Getenv("CLIENTS_PASSWORD")}))
	}
	return o
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("got %v, want %v", got, want)
	}
}

func TestCrane(t *testing.T) {
	img, err := random.Image(64<<10, 3)
	check(t, err)
	want, err := img.Digest()
	check(t, err)
	first := host() + "/crane/one"
	for i := range 5 {
		check(t, crane.Push(img, fmt.Sprintf("%s:v%d", first, i), options()...))
	}
	tags, err := crane.ListTags(first, options()...)
	check(t, err)
	if !slices.Equal(tags, []string{"v0", "v1", "v2", "v3", "v4"}) {
		t.Fatalf("tags %v", tags)
	}
	got, err := crane.Digest(first+":v3", options()...)
	check(t, err)
	equal(t, got, want.String())

	pulled, err := crane.Pull(first+"@"+want.String(), options()...)
	check(t, err)
	check(t, crane.Save(pulled, first, os.DevNull)) // reads and verifies all layers

	check(t, crane.Copy(first+":v0", host()+"/crane/two:copy", options()...))
	got, err = crane.Digest(host()+"/crane/two:copy", options()...)
	check(t, err)
	equal(t, got, want.String())

	check(t, crane.Delete(first+"@"+want.String(), options()...))
	if _, err := crane.Manifest(first+"@"+want.String(), options()...); err == nil {
		t.Fatal("a deleted manifest is served")
	}
}

func TestCraneIndex(t *testing.T) {
	index, err := random.Index(8<<10, 2, 3)
	check(t, err)
	want, err := index.Digest()
	check(t, err)
	ref, err := name.ParseReference(host()+"/crane/index:v1", name.Insecure)
	check(t, err)
	o := crane.GetOptions(options()...).Remote
	check(t, remote.WriteIndex(ref, index, o...))
	got, err := remote.Index(ref, o...)
	check(t, err)
	d, err := got.Digest()
	check(t, err)
	equal(t, d, want)
	manifest, err := got.IndexManifest()
	check(t, err)
	equal(t, len(manifest.Manifests), 3)
}

func repository(t *testing.T, name string) *orasremote.Repository {
	t.Helper()
	r, err := orasremote.NewRepository(host() + "/" + name)
	check(t, err)
	r.PlainHTTP = true
	client := &auth.Client{Cache: auth.NewCache()}
	if user := os.Getenv("CLIENTS_USER"); user != "" {
		client.Credential = auth.StaticCredential(host(), auth.Credential{Username: user, Password: os.Getenv("CLIENTS_PASSWORD")})
	}
	r.Client = client
	return r
}

func TestORAS(t *testing.T) {
	ctx := t.Context()
	repo := repository(t, "oras/app")
	local := memory.New()
	payload := bytes.Repeat([]byte("kind: App\n"), 1000)
	layer := content.NewDescriptorFromBytes("application/vnd.example.app", payload)
	check(t, local.Push(ctx, layer, bytes.NewReader(payload)))
	root, err := oras.PackManifest(ctx, local, oras.PackManifestVersion1_1, "application/vnd.example.type", oras.PackManifestOptions{Layers: []ocispec.Descriptor{layer}})
	check(t, err)
	check(t, local.Tag(ctx, root, "v1"))
	_, err = oras.Copy(ctx, local, "v1", repo, "v1", oras.DefaultCopyOptions)
	check(t, err)

	// Two that refer to it: by the referrers API or by the tag schema.
	for _, kind := range []string{"application/vnd.example.sig", "application/vnd.example.sbom"} {
		_, err := oras.PackManifest(ctx, repo, oras.PackManifestVersion1_1, kind, oras.PackManifestOptions{Subject: &root})
		check(t, err)
	}
	found := map[string]int{}
	for _, kind := range []string{"", "application/vnd.example.sig"} {
		check(t, repo.Referrers(ctx, root, kind, func(list []ocispec.Descriptor) error {
			found[kind] += len(list)
			return nil
		}))
	}
	equal(t, found[""], 2)
	equal(t, found["application/vnd.example.sig"], 1)

	back := memory.New()
	got, err := oras.Copy(ctx, repo, "v1", back, "", oras.DefaultCopyOptions)
	check(t, err)
	equal(t, got.Digest, root.Digest)
	b, err := content.FetchAll(ctx, back, layer)
	check(t, err)
	equal(t, string(b), string(payload))

	body, err := repo.Blobs().Fetch(ctx, layer)
	check(t, err)
	defer func() { _ = body.Close() }()
	if seeker, ok := body.(io.Seeker); ok { // the server offered ranges
		_, err := seeker.Seek(5000, io.SeekStart)
		check(t, err)
		rest, err := io.ReadAll(body)
		check(t, err)
		equal(t, string(rest), string(payload[5000:]))
	}
	check(t, repo.Delete(ctx, root))
	if _, err := repo.Resolve(ctx, root.Digest.String()); err == nil {
		t.Fatal("a deleted manifest is served")
	}
}

// TestChart pulls the chart that was put there as a Helm client does.
func TestChart(t *testing.T) {
	ctx := t.Context()
	repo := repository(t, "charts/app")
	_, manifest, err := oras.FetchBytes(ctx, repo, "1.0.0_build", oras.DefaultFetchBytesOptions)
	check(t, err)
	successors, err := content.Successors(ctx, repo, content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest))
	check(t, err)
	var kinds []string
	for _, d := range successors {
		kinds = append(kinds, d.MediaType)
		b, err := content.FetchAll(ctx, repo, d)
		check(t, err)
		equal(t, digest.FromBytes(b), d.Digest)
		if d.MediaType == "application/vnd.cncf.helm.chart.content.v1.tar+gzip" {
			equal(t, d.Digest.Encoded(), os.Getenv("CLIENTS_CHART"))
		}
	}
	if !slices.Equal(kinds, []string{"application/vnd.cncf.helm.config.v1+json", "application/vnd.cncf.helm.chart.content.v1.tar+gzip"}) {
		t.Fatalf("media types %v", kinds)
	}
}
