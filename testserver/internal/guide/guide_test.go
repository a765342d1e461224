// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

// Package guide holds the code that docs/guides/testing.md shows.
package guide_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/gitops-kit/sdk/testserver/artifactserver"
	"github.com/gitops-kit/sdk/testserver/eventserver"
	"github.com/gitops-kit/sdk/testserver/fault"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/gitops-kit/sdk/testserver/helmserver"
	"github.com/gitops-kit/sdk/testserver/kube"
	"github.com/gitops-kit/sdk/testserver/ociserver"
	"github.com/gitops-kit/sdk/testserver/ocisign"
)

var errDigest = errors.New("digest does not match")

// The code under test: what a small controller does with an artifact.

func fetch(ctx context.Context, c *http.Client, url, digest string) ([]byte, error) {
	var last error
	for range 3 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, err
		}
		resp, err := c.Do(req)
		if err != nil {
			last = err
			continue
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		_ = resp.Body.Close()
		switch {
		case err != nil:
			last = err
		case resp.StatusCode != http.StatusOK:
			last = fmt.Errorf("get artifact: %s", resp.Status)
		case artifactserver.Digest(body) != digest:
			last = fmt.Errorf("get artifact: %w", errDigest)
		default:
			return body, nil
		}
	}
	return nil, last
}

func report(ctx context.Context, c *http.Client, sink, reason string) error {
	body, err := json.Marshal(map[string]any{"involvedObject": map[string]string{"kind": "App", "name": "demo"}, "reason": reason, "severity": "info"})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, sink, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// run is a command that must succeed.
func run(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

func TestFirst(t *testing.T) {
	g := NewWithT(t)
	srv := artifactserver.Start(t, artifactserver.Options{})
	a := srv.Publish("GitRepository", "default", "demo", "main@sha1:abc", artifactserver.Files{"app.yaml": "kind: App\n"})

	body, err := fetch(t.Context(), srv.Client(), a.URL, a.Digest)

	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(body).To(HaveLen(int(a.Size)))
	g.Expect(srv.Count(artifactserver.Match{Path: "/" + a.Path, Status: 200})).To(Equal(1))
}

func TestSurvives(t *testing.T) {
	srv := artifactserver.Start(t, artifactserver.Options{})
	a := srv.Publish("GitRepository", "default", "demo", "main@sha1:abc", artifactserver.Files{"app.yaml": "kind: App\n"})
	for name, plan := range map[string]fault.Plan{
		"overloaded":        {Times: 2, Status: http.StatusServiceUnavailable, RetryAfter: time.Second},
		"cut after 20":      {Times: 2, CutAfter: 20},
		"reset":             {Times: 2, RST: true},
		"one bit is wrong":  {Times: 2, FlipAt: 7},
		"lies about length": {Times: 2, WrongLength: 5},
		"reply lost":        {Times: 2, Drop: true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			srv.SetFaults(plan)
			_, err := fetch(t.Context(), srv.Client(), a.URL, a.Digest)
			g.Expect(err).NotTo(HaveOccurred())
		})
	}
}

func TestNeverAcceptsOtherContent(t *testing.T) {
	g := NewWithT(t)
	srv := artifactserver.Start(t, artifactserver.Options{})
	a := srv.Publish("GitRepository", "default", "demo", "main@sha1:abc", artifactserver.Files{"app.yaml": "kind: App\n"})
	srv.Replace(a.Path, []byte("something else"), true)

	_, err := fetch(t.Context(), srv.Client(), a.URL, a.Digest)

	g.Expect(err).To(MatchError(errDigest))
	g.Expect(srv.Log()).To(HaveLen(3)) // and it did not ask for ever
}

func TestGit(t *testing.T) {
	g := NewWithT(t)
	srv := gitserver.Start(t, gitserver.Options{Auth: gitserver.Auth{
		Users: map[string]string{"robot": "s3cret"}, AnonymousRead: true,
	}})
	repo := srv.Repo("org/app")
	repo.Commit("main", gitserver.Files{"deploy.yaml": "kind: Deployment\n"}, gitserver.CommitOptions{})
	repo.AnnotatedTag("v1.0.0", "main", gitserver.TagOptions{})

	dir := t.TempDir()
	run(t, dir, "git", "clone", "-q", "--depth=1", "--branch=v1.0.0", repo.URL(), "work") // or your client

	stats := repo.Stats()
	g.Expect(stats.Packs).To(Equal(1))
	g.Expect(stats.PackBytes).To(BeNumerically("<", 1000))
	g.Expect(run(t, dir+"/work", "git", "rev-parse", "HEAD")).To(HavePrefix(repo.Head("main").String()))
}

func TestRegistryAndCharts(t *testing.T) {
	g := NewWithT(t)
	reg := ociserver.Start(t, ociserver.Options{Auth: ociserver.Auth{
		Mode: ociserver.AuthToken, Users: map[string]string{"robot": "s3cret"}, AnonymousPull: true,
	}})
	d := reg.Push("org/app", "v1.0.0", ociserver.Artifact{Layers: []ociserver.Layer{{Content: []byte("manifests")}}})
	g.Expect(reg.Tags("org/app")).To(HaveKeyWithValue("v1.0.0", d.Digest))

	charts := helmserver.Start(t, helmserver.Options{URLs: helmserver.Absolute})
	chart := charts.AddChart(helmserver.Simple("web", "1.2.3"), "")
	reg.Push("charts/web", chart.Version, chart.Artifact()) // the same chart, from the registry
	g.Expect(string(charts.Index())).To(ContainSubstring(chart.URL))
}

func TestSignatures(t *testing.T) {
	g := NewWithT(t)
	reg := ociserver.Start(t, ociserver.Options{})
	app := reg.Push("org/app", "v1.0.0", ociserver.Artifact{})
	authority, stranger := ocisign.Start(t), ocisign.Start(t)
	release := ocisign.Options{Identity: "https://forge.example/org/app/release.yaml", Issuer: "https://id.example"}

	authority.Sign(reg, "org/app", app, release) // keyless: your verifier gets authority.TrustedRoot()
	release.Format = ocisign.Bundle
	stranger.Sign(reg, "org/app", app, release) // the same claim, by somebody whom nobody trusts

	g.Expect(reg.Tags("org/app")).To(HaveKey(HaveSuffix(".sig")))
	g.Expect(string(authority.TrustedRoot())).To(ContainSubstring("certificateAuthorities"))
}

func TestEvents(t *testing.T) {
	g := NewWithT(t)
	sink := eventserver.Start(t, eventserver.Options{})

	g.Expect(report(t.Context(), sink.Client(), sink.URL(), "Deployed")).To(Succeed())

	e, err := sink.Wait(t.Context(), func(e eventserver.Event) bool { return e.InvolvedObject.Name == "demo" })
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(e.Reason).To(Equal("Deployed"))
}

func TestAPIServer(t *testing.T) {
	g := NewWithT(t)
	cluster := kube.Start(t, kube.Options{}) // one per package; add CRDs: []string{"config/crd"}
	ns := cluster.Namespace(t)               // one per test
	client, err := kubernetes.NewForConfig(cluster.Config())
	g.Expect(err).NotTo(HaveOccurred())

	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "demo"}, Data: map[string]string{"a": "b"}}
	_, err = client.CoreV1().ConfigMaps(ns).Create(t.Context(), cm, metav1.CreateOptions{})
	g.Expect(err).NotTo(HaveOccurred())
}

func TestLostReply(t *testing.T) {
	g := NewWithT(t)
	cluster := kube.Start(t, kube.Options{})
	ns := cluster.Namespace(t)
	create := fault.Match{Method: "POST", Path: "*/configmaps"}
	client, err := kubernetes.NewForConfig(cluster.Proxy(t, fault.Plan{Match: create, Nth: 1, Drop: true}))
	g.Expect(err).NotTo(HaveOccurred())

	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "demo"}}
	_, err = client.CoreV1().ConfigMaps(ns).Create(t.Context(), cm, metav1.CreateOptions{})
	g.Expect(err).To(HaveOccurred()) // the reply was lost …
	_, err = client.CoreV1().ConfigMaps(ns).Get(t.Context(), "demo", metav1.GetOptions{})
	g.Expect(err).NotTo(HaveOccurred()) // … but not the object
}

func TestDisk(t *testing.T) {
	g := NewWithT(t)
	root, err := os.OpenRoot(t.TempDir())
	g.Expect(err).NotTo(HaveOccurred())
	defer root.Close()
	disk, err := fault.NewFS(root)
	g.Expect(err).NotTo(HaveOccurred())

	disk.Fail(2, syscall.ENOSPC) // creating succeeds, writing does not
	g.Expect(disk.WriteFile("state", []byte("v1"), 0o600)).To(MatchError(syscall.ENOSPC))
	g.Expect(disk.WriteFile("state", []byte("v1"), 0o600)).To(Succeed())

	after := t.TempDir() // what is left if the power fails now?
	g.Expect(disk.PowerCut(len(disk.Ops()), fault.KeepEntries, after)).To(Succeed())
	left, err := os.ReadFile(after + "/state")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).To(BeEmpty()) // a file, but nothing in it: nobody called Sync
}

func TestHostile(t *testing.T) {
	g := NewWithT(t)
	srv := artifactserver.Start(t, artifactserver.Options{})
	evil := artifactserver.Gzip(artifactserver.Tar(func(b *artifactserver.Builder) {
		b.Symlink("etc", "/etc")
		b.File("etc/passwd", "root::0:0::/:\n")
		b.Entry(artifactserver.Entry{Name: "huge", Type: '0', Size: 1 << 50})
	}))
	a := srv.PublishBytes("Bucket", "default", "evil", "v1", "evil.tar.gz", evil)

	body, err := fetch(t.Context(), srv.Client(), a.URL, a.Digest)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(body).To(Equal(evil)) // hand it to your extractor and see
}
