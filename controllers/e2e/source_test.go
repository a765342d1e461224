// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitops-kit/sdk/apis/meta"
	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

// download fetches an artifact and checks size and digest against the status.
func (w *world) download(a *meta.Artifact) []byte {
	w.t.Helper()
	resp, err := http.Get(a.URL)
	w.Expect(err).NotTo(HaveOccurred())
	defer resp.Body.Close()
	w.Expect(resp.StatusCode).To(Equal(http.StatusOK))
	body, err := io.ReadAll(resp.Body)
	w.Expect(err).NotTo(HaveOccurred())
	sum := sha256.Sum256(body)
	w.Expect(a.Digest).To(Equal("sha256:" + hex.EncodeToString(sum[:])))
	w.Expect(*a.Size).To(Equal(int64(len(body))))
	return body
}

// names lists the files of an artifact.
func (w *world) names(a *meta.Artifact) map[string]string {
	w.t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(w.download(a)))
	w.Expect(err).NotTo(HaveOccurred())
	out := map[string]string{}
	for r := tar.NewReader(zr); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		w.Expect(err).NotTo(HaveOccurred())
		if h.Typeflag == tar.TypeReg {
			body, err := io.ReadAll(r)
			w.Expect(err).NotTo(HaveOccurred())
			out[h.Name] = string(body)
		}
	}
}

func TestArtifactOfABranch(t *testing.T) { // SRC-A2, SRC-4, SRC-7, SRC-23, SRC-70, WIRE-16, WIRE-17, WIRE-19
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	id := w.commit("Add the first file, with a subject that is longer than fifty runes\n\nBody", map[string]string{"a.yaml": "x"})
	o := w.gitRepository(nil)
	w.awaitReady(o)
	revision := "main@sha1:" + string(id)
	a := o.Status.Artifact
	w.Expect(a.Revision).To(Equal(revision))
	w.Expect(a.Path).To(Equal("gitrepository/" + w.ns + "/app/" + string(id) + ".tar.gz"))
	w.Expect(w.names(a)).To(Equal(map[string]string{"a.yaml": "x"}))
	for _, c := range []string{meta.ReadyCondition, sourcev1.ArtifactInStorageCondition} {
		got := w.await(o, c, metav1.ConditionTrue, "Succeeded")
		w.Expect(got.Message).To(Equal("stored artifact for revision '" + revision + "'"))
	}
	w.Expect(o.Status.Conditions).To(HaveLen(2))
	w.Expect(o.Finalizers).To(Equal([]string{"finalizers.fluxcd.io"}))
	e := w.awaitEvent(o, corev1.EventTypeNormal, "NewArtifact", "stored artifact for commit 'Add the first file, with a subject that is longer ...'")
	w.Expect(e.Annotations).To(HaveKeyWithValue("source.toolkit.fluxcd.io/revision", revision))
	w.Expect(e.Annotations).To(HaveKeyWithValue("source.toolkit.fluxcd.io/digest", a.Digest))
	w.Expect(e.Source.Component).To(Equal("source-controller"))
	for _, f := range o.ManagedFields {
		if f.Subresource == "status" {
			w.Expect(f.Manager).To(Equal("source-controller"))
		}
	}
}

func TestReferences(t *testing.T) { // SRC-A3, SRC-21, SRC-22, SRC-23
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	first := w.commit("One", map[string]string{"a": "1"})
	w.repo.Tag("v1.0.0", "main")
	w.repo.AnnotatedTag("v1.1.0", "main", gitserver.TagOptions{})
	second := w.commit("Two", map[string]string{"a": "2"})
	w.repo.Tag("v1.2.0-rc.1", "main")
	w.repo.Ref("refs/pull/1/head", string(second))
	for name, tc := range map[string]struct {
		ref  sourcev1.GitRepositoryRef
		want string
		file string
	}{
		"branch":      {sourcev1.GitRepositoryRef{Branch: "main"}, "main@sha1:" + string(second), "2"},
		"tag":         {sourcev1.GitRepositoryRef{Tag: "v1.0.0"}, "v1.0.0@sha1:" + string(first), "1"},
		"annotated":   {sourcev1.GitRepositoryRef{Tag: "v1.1.0"}, "v1.1.0@sha1:" + string(first), "1"},
		"semver":      {sourcev1.GitRepositoryRef{SemVer: ">=1.0.0"}, "v1.1.0@sha1:" + string(first), "1"},
		"pre-release": {sourcev1.GitRepositoryRef{SemVer: ">=1.0.0-0"}, "v1.2.0-rc.1@sha1:" + string(second), "2"},
		"commit":      {sourcev1.GitRepositoryRef{Commit: string(first)}, "sha1:" + string(first), "1"},
		"on-branch":   {sourcev1.GitRepositoryRef{Branch: "main", Commit: string(first)}, "main@sha1:" + string(first), "1"},
		"name":        {sourcev1.GitRepositoryRef{Name: "refs/pull/1/head"}, "refs/pull/1/head@sha1:" + string(second), "2"},
	} {
		o := w.gitRepository(func(o *sourcev1.GitRepository) { o.Name = name; o.Spec.Reference = &tc.ref })
		w.awaitReady(o)
		w.Expect(o.Status.Artifact.Revision).To(Equal(tc.want), name)
		w.Expect(w.names(o.Status.Artifact)).To(Equal(map[string]string{"a": tc.file}), name)
	}
}

func TestExclusions(t *testing.T) { // SRC-66, SRC-67, SRC-74, SRC-11
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	w.commit("One", map[string]string{
		".gitignore": "x", ".github/w.yaml": "x", "logo.png": "x", "a.yaml": "a", "sub/b.yaml": "b", "sub/c.txt": "c",
	})
	o := w.gitRepository(nil)
	w.awaitReady(o)
	w.Expect(w.names(o.Status.Artifact)).To(HaveLen(3))
	digest, revision := o.Status.Artifact.Digest, o.Status.Artifact.Revision

	text := "/*\n!/sub\n*.txt\n"
	o.Spec.Ignore = &text
	w.Expect(w.Update(w.ctx, o)).To(Succeed())
	w.awaitReady(o)
	w.Expect(w.names(o.Status.Artifact)).To(Equal(map[string]string{"sub/b.yaml": "b"}))
	w.Expect(o.Status.Artifact.Revision).To(Equal(revision))
	w.Expect(o.Status.Artifact.Digest).NotTo(Equal(digest))
	w.Expect(*o.Status.ObservedIgnore).To(Equal(text))
}

func TestNothingChanged(t *testing.T) { // SRC-24, SRC-A27, SRC-92, WIRE-22
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	id := w.commit("One", map[string]string{"a": "1"})
	o := w.gitRepository(func(o *sourcev1.GitRepository) { o.Spec.Interval = *meta.NewDuration(time.Second) })
	w.awaitReady(o)
	version := o.ResourceVersion
	w.repo.ResetStats()
	w.Eventually(w.ctx, func() int { return w.repo.Stats().Listings }).WithTimeout(patience).Should(BeNumerically(">=", 4))
	w.Expect(w.repo.Stats().Fetches).To(BeZero())
	w.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
	w.Expect(o.ResourceVersion).To(Equal(version), "an idle run must not write")

	pinned := w.gitRepository(func(p *sourcev1.GitRepository) {
		p.Name = "pinned"
		p.Spec.Interval = *meta.NewDuration(time.Second)
		p.Spec.Reference = &sourcev1.GitRepositoryRef{Commit: string(id)}
	})
	w.awaitReady(pinned)
	w.Expect(w.Delete(w.ctx, o)).To(Succeed())
	w.gone(o)
	w.repo.ResetStats()
	w.request(pinned)
	w.Eventually(w.ctx, func(g Gomega) {
		g.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(pinned), pinned)).To(Succeed())
		g.Expect(pinned.Status.LastHandledReconcileAt).NotTo(BeEmpty())
	}).WithTimeout(patience).Should(Succeed())
	w.Expect(w.repo.Stats().Listings + w.repo.Stats().Fetches).To(BeZero())
}

func TestStoredFileLostOrDamaged(t *testing.T) { // SRC-9, SRC-A17
	t.Parallel()
	w := newWorld(t, gitserver.Options{}, "--storage-verify-every=1")
	w.commit("One", map[string]string{"a": "1"})
	o := w.gitRepository(nil)
	w.awaitReady(o)
	file := filepath.Join(w.dir, "storage", filepath.FromSlash(o.Status.Artifact.Path))
	w.Expect(os.Remove(file)).To(Succeed())
	token := w.request(o)
	handled := func() {
		w.Eventually(w.ctx, func(g Gomega) {
			g.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
			g.Expect(o.Status.LastHandledReconcileAt).To(Equal(token))
		}).WithTimeout(patience).Should(Succeed())
	}
	handled()
	w.awaitReady(o)
	w.Expect(w.names(o.Status.Artifact)).To(Equal(map[string]string{"a": "1"}))

	w.Expect(os.Chmod(file, 0o600)).To(Succeed())
	w.Expect(os.WriteFile(file, []byte("damaged"), 0o600)).To(Succeed())
	token = w.request(o)
	handled()
	w.awaitReady(o)
	w.awaitEvent(o, corev1.EventTypeWarning, "ArtifactVerificationFailed", "failed to verify integrity of artifact: ")
	w.Expect(w.names(o.Status.Artifact)).To(Equal(map[string]string{"a": "1"}))
}

func TestSuspendAndDelete(t *testing.T) { // SRC-8, SRC-A16, WIRE-18, SRC-72
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	w.commit("One", map[string]string{"a": "1"})
	o := w.gitRepository(nil)
	w.awaitReady(o)
	dir := filepath.Dir(filepath.Join(w.dir, "storage", filepath.FromSlash(o.Status.Artifact.Path)))
	o.Spec.Suspend = true
	w.Expect(w.Update(w.ctx, o)).To(Succeed())
	w.commit("Two", map[string]string{"a": "2"})
	w.repo.ResetStats()
	w.request(o)

	marker := w.gitRepository(func(m *sourcev1.GitRepository) { m.Name = "marker" })
	w.awaitReady(marker) // by now the suspended one would have run
	w.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
	w.Expect(o.Status.LastHandledReconcileAt).To(BeEmpty())
	w.Expect(o.Status.Artifact.Revision).NotTo(Equal(marker.Status.Artifact.Revision))

	w.Expect(w.Delete(w.ctx, o)).To(Succeed())
	w.gone(o)
	w.Expect(dir).NotTo(BeADirectory())
}

func TestIncludes(t *testing.T) { // SRC-28, SRC-A7, SRC-12
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	w.commit("One", map[string]string{"a": "1"})
	lib := w.server.Repo("lib")
	lib.Commit("main", gitserver.Files{"x/y": "lib", "z": "top"}, gitserver.CommitOptions{Message: "Lib"})
	o := w.gitRepository(func(o *sourcev1.GitRepository) {
		o.Spec.Include = []sourcev1.GitRepositoryInclude{
			{GitRepositoryRef: meta.LocalObjectReference{Name: "lib"}, FromPath: "x", ToPath: "vendor/lib"},
			{GitRepositoryRef: meta.LocalObjectReference{Name: "lib"}},
		}
	})
	w.await(o, sourcev1.IncludeUnavailableCondition, metav1.ConditionTrue, "NotFound")
	inc := w.gitRepository(func(l *sourcev1.GitRepository) { l.Name = "lib"; l.Spec.URL = lib.URL() })
	w.awaitReady(inc)
	w.awaitReady(o)
	w.Expect(w.names(o.Status.Artifact)).To(Equal(map[string]string{"a": "1", "vendor/lib/y": "lib", "lib/x/y": "lib", "lib/z": "top"}))
	w.Expect(o.Status.IncludedArtifacts).To(HaveLen(2))

	lib.Commit("main", gitserver.Files{"x/y": "new"}, gitserver.CommitOptions{Message: "New"})
	old := o.Status.Artifact.Digest
	w.request(inc)
	w.Eventually(w.ctx, func(g Gomega) {
		g.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
		g.Expect(o.Status.Artifact.Digest).NotTo(Equal(old))
	}).WithTimeout(patience).Should(Succeed())
	w.Expect(w.names(o.Status.Artifact)).To(HaveKeyWithValue("vendor/lib/y", "new"))

	w.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(inc), inc)).To(Succeed())
	inc.Spec.Include = []sourcev1.GitRepositoryInclude{{GitRepositoryRef: meta.LocalObjectReference{Name: "app"}}}
	w.Expect(w.Update(w.ctx, inc)).To(Succeed())
	c := w.await(inc, meta.StalledCondition, metav1.ConditionTrue, "DependencyCycle")
	w.Expect(c.Message).To(ContainSubstring("lib → app → lib"))
}

func TestRecovery(t *testing.T) { // SRC-A16, WIRE-28
	t.Parallel()
	w := newWorld(t, gitserver.Options{})
	w.commit("One", map[string]string{"a": "1"})
	o := w.gitRepository(nil)
	w.awaitReady(o)
	good := o.Status.Artifact.DeepCopy()
	w.server.Pause()
	w.request(o)
	w.refused(o, "GitOperationFailed", "check spec.url and the connection to the server")
	w.Expect(o.Status.Artifact).To(Equal(good))
	w.download(o.Status.Artifact)
	w.server.Resume()
	w.request(o)
	w.awaitReady(o)
	w.awaitEvent(o, corev1.EventTypeNormal, "Succeeded", "stored artifact for revision")
}
