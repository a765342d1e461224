// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package source_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	sourcev1 "github.com/gitops-kit/sdk/apis/source/v1"
	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/controllers/source"
	"github.com/gitops-kit/sdk/testserver/ociserver"
)

var ports atomic.Uint32

// freePort returns an address whose port is below those that are given to
// whoever asks for any: it stays free until the replica listens.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 10_000+(uint32(os.Getpid())*131+ports.Add(1))%20_000)) //nolint:gosec // any number will do
		if err == nil {
			_ = l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// run starts something and returns how to stop it.
func run(t *testing.T, start func(context.Context) error) (stop func()) {
	t.Helper()
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- start(ctx) }()
	return func() {
		cancel()
		g.Expect(<-ended).To(Succeed())
	}
}

func get(url string) (string, error) {
	resp, err := http.Get(url) //nolint:gosec // loopback
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d", resp.StatusCode)
	}
	return string(b), err
}

// SRC-76, ART-46: two replicas with one volume. The follower serves from the start,
// what was written and what is written later, also when the leader is gone;
// then it can lead. Without the flag the leader alone serves.
func TestReplicasShareAVolume(t *testing.T) {
	g := NewWithT(t)
	volume := filepath.Join(t.TempDir(), "volume") // nobody made it yet
	scheme := runtime.NewScheme()
	g.Expect(sourcev1.AddToScheme(scheme)).To(Succeed())
	read := fake.NewClientBuilder().WithScheme(scheme).Build()
	replica := func(shared bool) (*source.Storage, string) {
		addr := freePort(t)
		return source.NewStorage(source.Flags{
			StoragePath: volume, StorageBackend: "dir", StorageShared: shared, StorageAddr: addr, StorageAdvAddr: "artifacts.example", StorageVerifyEvery: 10, DigestAlgo: "sha256",
		}, read, &sourcev1.GitRepositoryList{}), "http://" + addr + "/"
	}
	alone, _ := replica(false)
	g.Expect(alone.NeedLeaderElection()).To(BeTrue())
	leader, leaderURL := replica(true)
	follower, followerURL := replica(true)
	g.Expect(leader.NeedLeaderElection()).To(BeFalse(), "every replica serves")
	stopFollower := run(t, follower.Start)
	defer stopFollower()
	stopLeader := run(t, leader.Start)
	for _, url := range []string{leaderURL, followerURL} {
		g.Eventually(t.Context(), func() (string, error) { return get(url) }).WithTimeout(time.Minute).Should(Equal("ok\n"), "ready")
	}
	write := func(s *source.Storage, name, text string) string {
		store, err := s.Store()
		g.Expect(err).NotTo(HaveOccurred())
		a, err := store.Write(t.Context(), artifact.Key{Kind: "gitrepository", Namespace: "default", Name: name, File: "f.tar.gz"}, "r",
			func(w io.Writer) error { _, err := io.WriteString(w, text); return err }, artifact.WriteOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		return a.Path
	}
	for _, text := range []string{"content", "replaced"} {
		path := write(leader, "app", text)
		g.Expect(get(followerURL + path)).To(Equal(text))
		g.Expect(get(leaderURL + path)).To(Equal(text))
	}
	stopSweeper := run(t, source.Sweeper{Storage: leader}.Start)
	stopSweeper()
	stopLeader()
	g.Expect(get(followerURL + "gitrepository/default/app/f.tar.gz")).To(Equal("replaced"))
	path := write(follower, "next", "it leads now")
	g.Expect(get(followerURL + path)).To(Equal("it leads now"))
}

// SRC-76, D13, ART-46: two replicas with one registry, over TLS with credentials from a
// Docker configuration. The follower serves what the leader wrote, also after
// the leader is gone; only the leader sweeps.
func TestReplicasShareARegistry(t *testing.T) {
	g := NewWithT(t)
	reg := ociserver.Start(t, ociserver.Options{TLS: true, Auth: ociserver.Auth{Mode: ociserver.AuthToken, Users: map[string]string{"ann": "canary-pw"}}})
	files := t.TempDir()
	config, ca := filepath.Join(files, "config.json"), filepath.Join(files, "ca.crt")
	auth := base64.StdEncoding.EncodeToString([]byte("ann:canary-pw"))
	g.Expect(os.WriteFile(config, fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, reg.Host(), auth), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(ca, reg.CA(), 0o600)).To(Succeed())
	scheme := runtime.NewScheme()
	g.Expect(sourcev1.AddToScheme(scheme)).To(Succeed())
	own := &sourcev1.GitRepository{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "app"}}
	read := fake.NewClientBuilder().WithScheme(scheme).WithObjects(own).Build()

	replica := func() (*source.Storage, string) {
		addr := freePort(t)
		return source.NewStorage(source.Flags{
			StoragePath: t.TempDir(), StorageAddr: addr, StorageAdvAddr: "artifacts.example", StorageVerifyEvery: 10, DigestAlgo: "sha256",
			StorageBackend: "oci", StorageOCIURL: "oci://" + reg.Host() + "/team/artifacts", StorageOCISecret: config, StorageOCICA: ca,
		}, read, &sourcev1.GitRepositoryList{}), "http://" + addr + "/"
	}
	leader, leaderURL := replica()
	follower, followerURL := replica()
	g.Expect(leader.NeedLeaderElection()).To(BeFalse(), "every replica serves")
	g.Expect(source.Sweeper{Storage: leader}.NeedLeaderElection()).To(BeTrue())
	stopLeader, stopFollower := run(t, leader.Start), run(t, follower.Start)
	defer stopFollower()
	for _, url := range []string{leaderURL, followerURL} {
		g.Eventually(t.Context(), func() (string, error) { return get(url) }).WithTimeout(time.Minute).Should(Equal("ok\n"), "ready")
	}
	store, err := leader.Store()
	g.Expect(err).NotTo(HaveOccurred())
	write := func(name, text string) string {
		a, err := store.Write(t.Context(), artifact.Key{Kind: "gitrepository", Namespace: "default", Name: name, File: "f.tar.gz"}, "r",
			func(w io.Writer) error { _, err := io.WriteString(w, text); return err }, artifact.WriteOptions{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(a.URL).To(HavePrefix("http://artifacts.example/"))
		return a.Path
	}
	path := write("app", "content")
	g.Expect(get(followerURL + path)).To(Equal("content"))
	g.Expect(get(leaderURL + path)).To(Equal("content"))
	gone := write("gone", "left behind")
	_, err = store.Sweep(t.Context(), nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(leader.Sweep(t.Context(), store)).To(Succeed())
	g.Expect(get(followerURL+gone)).To(Equal("left behind"), "within its hour")
	stopLeader()
	g.Expect(get(followerURL + path)).To(Equal("content"))
	stopSweeper := run(t, source.Sweeper{Storage: follower}.Start) // it leads now
	next, err := follower.Store()
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(t.Context(), next.Ready).WithTimeout(time.Minute).Should(BeTrue(), "it swept")
	stopSweeper()
	g.Expect(reg.Count(ociserver.Match{Method: "PUT", Route: "upload"})).To(Equal(3), "two artifacts and the config")
}

// SRC-76: files that the flags name and that are not there or hold nothing.
func TestRegistryFiles(t *testing.T) {
	g := NewWithT(t)
	bad := filepath.Join(t.TempDir(), "bad")
	g.Expect(os.WriteFile(bad, []byte("nothing"), 0o600)).To(Succeed())
	f := source.Flags{StoragePath: t.TempDir(), StorageAddr: ":0", StorageBackend: "oci", StorageOCIURL: "oci://127.0.0.1:1/x", DigestAlgo: "sha256"}
	f.StorageOCICA = bad
	_, err := source.NewStorage(f, nil).Store()
	g.Expect(err).To(MatchError(ContainSubstring("--storage-oci-ca: no certificate")))
	f.StorageOCICA = bad + "x"
	_, err = source.NewStorage(f, nil).Store()
	g.Expect(errors.Is(err, os.ErrNotExist)).To(BeTrue(), "%v", err)
	f.StorageOCICA, f.StorageOCISecret = "", bad
	s, err := source.NewStorage(f, nil).Store()
	g.Expect(err).NotTo(HaveOccurred())
	_, err = s.Lookup(t.Context(), artifact.Key{Kind: "gitrepository", Namespace: "n", Name: "n", File: "f"})
	g.Expect(err).To(MatchError(ContainSubstring("docker configuration: not a registry configuration in JSON")))
}
