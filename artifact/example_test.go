// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifact_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/dir"
	"github.com/gitops-kit/sdk/artifact/fetch"
	"github.com/gitops-kit/sdk/artifact/server"
	"github.com/gitops-kit/sdk/untar/tarball"
)

// A producer packs a directory into its storage and serves it; a consumer
// gets exactly that tree.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	base, _ := os.MkdirTemp("", "")
	defer os.RemoveAll(base)
	source := filepath.Join(base, "source")
	_ = os.MkdirAll(source, 0o755)
	_ = os.WriteFile(filepath.Join(source, "app.yaml"), []byte("kind: ConfigMap\n"), 0o644)

	listener, _ := net.Listen("tcp", "127.0.0.1:0")
	driver, err := dir.New(filepath.Join(base, "storage"), dir.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	store, _ := artifact.NewStore(driver, artifact.Options{BaseURL: listener.Addr().String()})
	defer store.Close()
	go func() { _ = server.New(store, server.Options{}).Serve(ctx, listener) }()

	key := artifact.Key{Kind: "GitRepository", Namespace: "default", Name: "app", File: "4b825dc6.tar.gz"}
	root, _ := os.OpenRoot(source)
	made, err := store.Pack(ctx, key, "main@sha1:4b825dc6", root, artifact.PackOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(made.Path, made.Digest[:7])
	_, _ = store.Collect(ctx, key, made)

	fetcher, _ := fetch.New(fetch.Options{})
	target := filepath.Join(base, "target")
	res, err := fetcher.Dir(ctx, artifact.RefOf(made), target)
	if err != nil {
		fmt.Println(err)
		return
	}
	text, _ := os.ReadFile(filepath.Join(target, "app.yaml"))
	fmt.Printf("%d file: %s", res.Report.Files, text)
	// Output:
	// gitrepository/default/app/4b825dc6.tar.gz sha256:
	// 1 file: kind: ConfigMap
}

// An export that brings its files one by one, as that of a git repository,
// goes into the storage without a directory in between.
func ExampleStore_Write() {
	ctx := context.Background()
	base, _ := os.MkdirTemp("", "")
	defer os.RemoveAll(base)
	driver, _ := dir.New(base, dir.Options{})
	store, _ := artifact.NewStore(driver, artifact.Options{BaseURL: "source-controller.flux-system.svc"})
	defer store.Close()

	key := artifact.Key{Kind: "ExternalArtifact", Namespace: "default", Name: "app", File: "1.tar.gz"}
	var made *meta.Artifact
	made, err := store.Write(ctx, key, "sha256:1", func(w io.Writer) error {
		t := tarball.NewWriter(w, tarball.Options{})
		_ = t.Add("deploy", os.ModeDir|0o755, 0, nil)
		_ = t.Add("deploy/app.yaml", 0o644, 0, nil)
		_, err := t.Close()
		return err
	}, artifact.WriteOptions{})
	fmt.Println(made.URL, *made.Size > 0, err)
	// Output:
	// http://source-controller.flux-system.svc/externalartifact/default/app/1.tar.gz true <nil>
}

// Consumers of one digest share one download and one extraction.
func ExampleRefOf() {
	size := int64(120)
	a := &meta.Artifact{URL: "http://source/gitrepository/a/b/c.tar.gz", Digest: "sha256:00", Size: &size}
	fmt.Println(artifact.RefOf(a).URL, artifact.RefOf(a).Size)
	// Output: http://source/gitrepository/a/b/c.tar.gz 120
}
