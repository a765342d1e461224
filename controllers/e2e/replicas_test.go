// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	coordinationv1 "k8s.io/api/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitops-kit/sdk/apis/meta"
	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/testserver/gitserver"
	"github.com/gitops-kit/sdk/testserver/ociserver"
)

const advertised = "artifacts.example"

// replica starts a source controller that shares a registry with others.
func (w *world) replica(name, storage string, registry *ociserver.Server) *process {
	w.t.Helper()
	p := w.launch(filepath.Join(w.dir, name),
		"--controllers=source", "--storage-addr="+storage, "--storage-adv-addr="+advertised,
		"--storage-backend=oci", "--storage-oci-url=oci://"+registry.Host()+"/team/artifacts", "--storage-oci-insecure",
		"--artifact-retention-ttl=1h", "--artifact-retention-records=100", // all stay, the readers want them
		"--enable-leader-election", "--leader-election-lease-duration=15s", "--leader-election-renew-deadline=13s", "--leader-election-retry-period=2s",
	)
	w.Eventually(w.ctx, func() (int, error) { // its readiness probe
		resp, err := http.Get("http://" + storage + "/") //nolint:gosec // loopback
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}).WithTimeout(patience).WithPolling(50 * time.Millisecond).Should(Equal(http.StatusOK))
	return p
}

// holder is who has the lease.
func (w *world) holder() string {
	var l coordinationv1.Lease
	if err := w.Get(w.ctx, client.ObjectKey{Namespace: w.ns, Name: "source-controller-leader-election"}, &l); err != nil || l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// fetchFrom reads an artifact from the replica at an address.
func fetchFrom(ctx context.Context, c *http.Client, addr string, a *meta.Artifact) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/"+a.Path, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: status %d", a.Path, resp.StatusCode)
	}
	h := sha256.New()
	n, err := io.Copy(h, resp.Body)
	if err != nil {
		return err
	}
	if sum := "sha256:" + hex.EncodeToString(h.Sum(nil)); sum != a.Digest || n != *a.Size {
		return fmt.Errorf("%s: %d bytes of %s, want %d of %s", a.Path, n, sum, *a.Size, a.Digest)
	}
	return nil
}

// readers read everything that was ever published, from one replica after the
// other, and once more from the next where that fails.
type readers struct {
	mu        sync.Mutex
	published []*meta.Artifact
	reads     int
	retried   int
	failed    []string

	stop func()
}

func (w *world) startReaders(addrs ...string) *readers {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	r := &readers{}
	done := make(chan struct{})
	r.stop = func() { cancel(); <-done }
	w.t.Cleanup(r.stop)
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	pace := time.NewTicker(10 * time.Millisecond) // two cores are needed by others, too
	go func() {
		defer close(done)
		defer pace.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			<-pace.C
			r.mu.Lock()
			all := r.published
			r.mu.Unlock()
			if len(all) == 0 {
				continue
			}
			a := all[i/len(addrs)%len(all)]
			err := fetchFrom(ctx, c, addrs[i%len(addrs)], a)
			again := err != nil
			if again {
				err = fetchFrom(ctx, c, addrs[(i+1)%len(addrs)], a)
			}
			r.mu.Lock()
			r.reads++
			if again {
				r.retried++
			}
			if err != nil && ctx.Err() == nil {
				r.failed = append(r.failed, err.Error())
			}
			r.mu.Unlock()
		}
	}()
	return r
}

func (r *readers) publish(a *meta.Artifact) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published = append(r.published[:len(r.published):len(r.published)], a)
}

// progress waits until every artifact was read from every replica once more.
func (w *world) progress(r *readers) {
	w.t.Helper()
	const n = 12
	now := func() int { r.mu.Lock(); defer r.mu.Unlock(); return r.reads }
	from := now()
	w.Eventually(w.ctx, func() int { return now() - from }).WithTimeout(patience).Should(BeNumerically(">=", n))
}

// D13, F56, SRC-76, ART-32, ART-46, I3, I6: two source controllers and one
// registry. The leader is killed in the middle of a write, between blob and
// index; the other one takes over when the lease has run out and completes
// the write. All the while everything that was published can be read, with
// one retry; no blob is sent twice, no index is written for nothing, nothing is
// fetched again. The one that was killed comes back, serves, and leads when the
// other one is told to leave.
func TestReplicas(t *testing.T) {
	t.Parallel()
	w := bareWorld(t)
	registry := ociserver.Start(t, ociserver.Options{})
	w.server = gitserver.Start(t, gitserver.Options{})
	w.repo = w.server.Repo("app")
	noise := make([]byte, 100<<10)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(noise)
	w.server.Repo("quiet").Commit("main", gitserver.Files(map[string]string{"noise": string(noise)}), gitserver.CommitOptions{Message: "One"})
	addr1, addr2 := freePort(w), freePort(w)
	first := w.replica("first", addr1, registry)
	w.Eventually(w.ctx, w.holder).WithTimeout(patience).ShouldNot(BeEmpty())
	leader := w.holder()
	second := w.replica("second", addr2, registry)
	w.Expect(w.holder()).To(Equal(leader))
	readers := w.startReaders(addr1, addr2)

	uploads := func() int {
		return registry.Count(ociserver.Match{Method: "PUT", Route: "upload", Status: http.StatusCreated})
	}
	swaps := func(name string) int {
		return registry.Count(ociserver.Match{Method: "PUT", Path: "*/manifests/" + tagOf("gitrepository."+w.ns+"."+name)})
	}
	quiet := w.gitRepository(func(o *sourcev1.GitRepository) {
		o.Name = "quiet"
		o.Spec.URL = w.server.Repo("quiet").URL()
	})
	w.awaitReady(quiet)
	readers.publish(quiet.Status.Artifact)
	w.commit("One", map[string]string{"a.yaml": "1"})
	app := w.gitRepository(nil)
	w.awaitReady(app)
	w.Expect(app.Status.Artifact.URL).To(HavePrefix("http://" + advertised + "/"))
	readers.publish(app.Status.Artifact)
	w.revision(app, w.commit("Two", map[string]string{"a.yaml": "2"}))
	readers.publish(app.Status.Artifact)
	w.progress(readers)
	w.Expect(uploads()).To(Equal(4), "three artifacts and the config")
	w.Expect([]int{swaps("quiet"), swaps("app")}).To(Equal([]int{1, 2}))

	// The blob is there, the index is not: now.
	victim := first
	var kill sync.Once
	written, killed := 0, make(chan struct{})
	registry.Configure(func(o *ociserver.Options) {
		o.OnManifest = func(*ociserver.Server, string, string) {
			if uploads() == 5 {
				kill.Do(func() {
					_ = victim.cmd.Process.Kill()
					<-victim.exited
					written = swaps("app")
					close(killed)
				})
			}
		}
	})
	id := w.commit("Three", map[string]string{"a.yaml": "3"})
	w.request(app)
	w.Eventually(w.ctx, killed).WithTimeout(patience).Should(BeClosed())
	w.Expect(written).To(Equal(2))
	before := len(w.server.Log())
	w.progress(readers)
	w.revision(app, id)
	readers.publish(app.Status.Artifact)
	w.Expect(w.holder()).NotTo(Equal(leader))
	w.Expect(uploads()).To(Equal(5), "the blob that the first one left is found")

	// The first comes back, with what its cache had; the second leaves in order.
	first = w.replica("first", addr1, registry)
	w.progress(readers)
	w.Expect(second.stop()).To(BeZero())
	id = w.commit("Four", map[string]string{"a.yaml": "4"})
	w.request(app)
	w.revision(app, id)
	readers.publish(app.Status.Artifact)
	w.progress(readers)
	readers.stop()

	w.Expect(readers.failed).To(BeEmpty(), "%d reads, %d once more", readers.reads, readers.retried)
	w.Expect(readers.retried).To(BeNumerically(">", 0), "somebody was away")
	w.Expect(uploads()).To(Equal(6), "four artifacts of app, one of quiet, the config: each once")
	w.Expect([]int{swaps("quiet"), swaps("app")}).To(Equal([]int{1, 4}), "an index is written when there is something new")
	for _, q := range w.server.Log()[before:] {
		if q.Path == "/quiet/git-upload-pack" || q.Path == "/quiet.git/git-upload-pack" {
			w.Expect(q.Bytes).To(BeNumerically("<", len(noise)), "fetched again")
		}
	}
	after := &sourcev1.GitRepository{}
	w.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(quiet), after)).To(Succeed())
	w.Expect(after.Status.Artifact).To(Equal(quiet.Status.Artifact))
	w.Expect(first.stop()).To(BeZero())
}

// revision waits until a commit of branch main is the artifact.
func (w *world) revision(o *sourcev1.GitRepository, id gitserver.Hash) {
	w.t.Helper()
	w.request(o)
	w.Eventually(w.ctx, func(g Gomega) {
		g.Expect(w.Get(w.ctx, client.ObjectKeyFromObject(o), o)).To(Succeed())
		g.Expect(o.Status.Artifact).NotTo(BeNil())
		g.Expect(o.Status.Artifact.Revision).To(Equal("main@sha1:"+string(id)), "%v", o.Status.Conditions)
	}).WithTimeout(patience).WithPolling(50 * time.Millisecond).Should(Succeed())
	w.awaitReady(o)
}

// tagOf is the tag of an index.
func tagOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])[:40]
}
