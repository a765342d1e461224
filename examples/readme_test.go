// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package examples_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing/fstest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	kustomizev1 "github.com/gitops-kit/sdk/apis/kustomize/v1"
	"github.com/gitops-kit/sdk/apis/meta"
	"github.com/gitops-kit/sdk/artifact/fetch"
	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/kustomize"
	"github.com/gitops-kit/sdk/runtime/conditions"
	"github.com/gitops-kit/sdk/ssa"
	"github.com/gitops-kit/sdk/testserver/artifactserver"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/gitops-kit/sdk/testserver/kube"
	"github.com/gitops-kit/sdk/untar"
	"github.com/gitops-kit/sdk/untar/tarball"
)

// The functions below are the code of the README. Those with an Output comment
// run; the others need a cluster and are compiled.

func Example_untar() {
	ctx := context.Background()
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	_ = os.WriteFile(filepath.Join(dir, "app.yaml"), []byte("kind: ConfigMap\n"), 0o644)

	root, _ := os.OpenRoot(dir)
	var archive bytes.Buffer
	packed, err := tarball.Pack(ctx, &archive, root, tarball.Options{}) // same tree, same bytes, on any machine
	if err != nil {
		fmt.Println(err)
		return
	}
	report, err := untar.Extract(ctx, &archive, filepath.Join(dir, "out"), untar.Options{}) // all or nothing
	fmt.Println(packed.Files, report.Files, err)
	// Output: 1 1 <nil>
}

func Example_git() {
	ctx := context.Background()
	srv, _ := gitserver.Run(ctx, gitserver.Options{})
	defer srv.Stop()
	repo := srv.Repo("org/app")
	repo.Commit("main", gitserver.Files{"app.yaml": "replicas: 3\n"}, gitserver.CommitOptions{})
	repo.Tag("v1.4.2", "main")

	c, err := git.New(repo.URL(), git.Options{}) // credentials, known hosts, proxies, limits
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	found, err := c.Resolve(ctx, git.Reference{SemVer: "1.x"}, git.ResolveOptions{}) // one listing, no objects
	if err != nil {
		fmt.Println(err)
		return
	}
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	out, err := c.Checkout(ctx, found, filepath.Join(dir, "tree"), git.CheckoutOptions{}) // exactly one commit
	fmt.Println(found.Revision.Pointer, out.Commit.Hash == found.Commit, err)
	// Output: v1.4.2 true <nil>
}

func Example_ssa() {
	// In a controller: the rest.Config of the tenant, and what a build gave.
	deploy := func(ctx context.Context, config *rest.Config, objects []*unstructured.Unstructured) error {
		cluster, err := ssa.NewCluster(config, ssa.ClusterOptions{})
		if err != nil {
			return err
		}
		m, err := ssa.NewManager(cluster, ssa.Options{Owner: ssa.Owner{FieldManager: "app-controller", LabelGroup: "example.com", Name: "app", Namespace: "default"}})
		if err != nil {
			return err
		}
		plan, err := m.Plan(ctx, objects, ssa.PlanOptions{}) // one LIST per kind; unchanged objects cost nothing more
		if err != nil {
			return err // every error of every object, with field paths
		}
		result, err := m.Apply(ctx, plan, ssa.ApplyOptions{}) // an outcome per object, also next to an error
		if err != nil {
			return err
		}
		_, err = m.Wait(ctx, result.Targets(), ssa.WaitOptions{Timeout: time.Minute}) // one WATCH per kind
		return err
	}
	_ = deploy
}

func Example_kustomize() {
	tree := fstest.MapFS{"apps/web.yaml": {Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {url: 'https://${host}/'}\n")}}
	b := kustomize.New(kustomize.BuilderOptions{}) // one for the process; builds run in parallel
	built, err := b.Build(context.Background(), kustomize.Options{
		Root:       tree,
		Dir:        "apps",
		Spec:       kustomize.Spec{TargetNamespace: "prod", NamePrefix: "blue-"},
		Substitute: &kustomize.Substitution{Vars: map[string]kustomize.Var{"host": {Value: "example.com"}}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, u := range built.Unstructured() {
		fmt.Println(u.GetKind(), u.GetNamespace(), u.GetName(), "from", built.Source(u))
	}
	// Output: ConfigMap prod blue-web from apps/web.yaml:1
}

func Example_artifact() {
	ctx := context.Background()
	srv, _ := artifactserver.Run(ctx, artifactserver.Options{})
	defer srv.Stop()
	made := srv.Publish("GitRepository", "default", "app", "main@sha1:4b825dc6", artifactserver.Files{"app.yaml": "kind: ConfigMap\n"})

	f, _ := fetch.New(fetch.Options{})
	dir, _ := os.MkdirTemp("", "example")
	defer os.RemoveAll(dir)
	got, err := f.Dir(ctx, fetch.Ref{URL: made.URL, Digest: made.Digest, Size: made.Size}, filepath.Join(dir, "app")) // verified, then extracted
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(got.Report.Files)
	// Output: 1
}

func Example_runtime() {
	ks := &kustomizev1.Kustomization{ObjectMeta: metav1.ObjectMeta{Name: "app", Generation: 2}}
	conditions.MarkReconciling(ks, meta.ProgressingReason, "building revision %s", "main@sha1:4b825dc6")
	conditions.MarkFalse(ks, meta.ReadyCondition, meta.BuildFailedReason, "kustomize build failed: %s", "app.yaml:3: bad indentation")
	conditions.Delete(ks, meta.ReconcilingCondition)
	ready := conditions.Get(ks, meta.ReadyCondition)
	fmt.Println(ready.Status, ready.Reason, ready.ObservedGeneration)
	// Output: False BuildFailed 2
}

func Example_meta() {
	rev, _ := meta.ParseRevision("main@sha1:4b825dc642cb6eb9a060e54bf8d69288fbee4904")
	id, _ := meta.ParseObjectID("_system__reader_rbac.authorization.k8s.io_ClusterRole")
	fmt.Println(rev.Pointer, id.Name)
	// Output: main system:reader
}

func Example_testserver() {
	// In a test, kube.Start(t, …) shares one control plane per package and
	// hands out a fresh namespace for each test.
	start := func(ctx context.Context) (*rest.Config, func(), error) {
		cluster, err := kube.Run(ctx, kube.Options{Components: kube.Full}) // etcd, API server, controllers, nodes: for real
		if err != nil {
			return nil, nil, err
		}
		return cluster.Config(), cluster.Stop, nil
	}
	_ = start
}
