// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package blobregistry_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/bcrypt"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/artifacttest"
	"github.com/gitops-kit/sdk/artifact/shared"
	"github.com/gitops-kit/sdk/controllers/internal/blobregistry"
	"github.com/gitops-kit/sdk/testserver/fault"
)

// distribution is a registry of another make, as a process of its own.
type distribution struct {
	program, config, addr string

	stop func()
	mu   sync.Mutex
	log  []string
}

// buildDistribution compiles testdata/distribution, a module of its own.
// Elsewhere than in CI a machine that cannot do that skips the test.
func buildDistribution(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "distribution")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-C", "testdata/distribution", "-o", program, ".")
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		const how = "missing: a registry; run go build -C controllers/internal/blobregistry/testdata/distribution -o /dev/null .\n%s"
		if os.Getenv("CI") != "" {
			t.Fatalf(how, out)
		}
		t.Skipf(how, out)
	}
	return program
}

// startDistribution runs the registry with a storage section and further
// sections, for user ann.
func startDistribution(t testing.TB, program, storage string, sections ...string) *distribution {
	t.Helper()
	dir := t.TempDir()
	hash, err := bcrypt.GenerateFromPassword([]byte("canary-pw"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	d := &distribution{program: program, config: filepath.Join(dir, "config.yaml"), addr: freePort(t)}
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nhttp: {secret: s}\nauth: {htpasswd: {realm: test, path: %q}}\nstorage: {%s}\n%s\n",
		filepath.Join(dir, "users"), storage, strings.Join(sections, "\n"))
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "users"), append([]byte("ann:"), hash...), 0o600),
		os.WriteFile(d.config, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	d.start(t)
	t.Cleanup(func() { d.stop() })
	return d
}

var ports atomic.Uint32

// freePort returns an address whose port is below those that are given to
// whoever asks for any: it stays free over a restart.
func freePort(t testing.TB) string {
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

// start runs the process, at the address it had before.
func (d *distribution) start(t testing.TB) {
	t.Helper()
	cmd := exec.Command(d.program, "-config", d.config, "-addr", d.addr) //nolint:gosec // the test's own program
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	ready := lines.Scan()
	read := make(chan struct{})
	d.stop = sync.OnceFunc(func() {
		_ = in.Close()
		<-read
		_ = cmd.Wait()
	})
	if _, err := fmt.Sscanf(lines.Text(), "ready %s", &d.addr); err != nil || !ready {
		close(read)
		d.stop()
		t.Fatalf("the registry does not start: %v\n%s", err, text.String())
	}
	go func() {
		defer close(read)
		for lines.Scan() {
			d.mu.Lock()
			d.log = append(d.log, lines.Text())
			d.mu.Unlock()
		}
	}()
}

// count counts the requests of a method whose path
// contains part and that succeeded.
func (d *distribution) count(method, part string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, line := range d.log {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == method && strings.Contains(f[1], part) && strings.HasPrefix(f[2], "2") {
			n++
		}
	}
	return n
}

// open returns a client for a repository.
func (d *distribution) open(t testing.TB, addr, repo string) *blobregistry.Registry {
	t.Helper()
	r, err := blobregistry.New("oci://"+addr+"/"+repo, blobregistry.Options{Insecure: true, Backoff: time.Millisecond, Credentials: ann})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// ART-30, ART-31, ART-34: everything that the driver does, with a registry
// that is in use everywhere and whose makers never saw this project.
func TestDistribution(t *testing.T) {
	program := buildDistribution(t)
	t.Run("Conformance", func(t *testing.T) {
		shorten(t)
		d := startDistribution(t, program, "inmemory: {}, delete: {enabled: true}")
		n := 0
		artifacttest.Run(t, func(tb testing.TB) artifact.Driver {
			n++
			return driver(tb, d.open(tb, d.addr, fmt.Sprint("team/suite-", n)))
		})
	})
	for name, deletes := range map[string]bool{"Life": true, "LifeWithoutDeletion": false} {
		t.Run(name, func(t *testing.T) {
			d := startDistribution(t, program, fmt.Sprintf("filesystem: {rootdirectory: %q}, delete: {enabled: %t}", t.TempDir(), deletes))
			life(t, d, deletes)
		})
	}
	t.Run("Pages", func(t *testing.T) {
		pages(t, startDistribution(t, program, "inmemory: {}, delete: {enabled: true}", "tags: {maxtags: 7}"))
	})
	t.Run("LargeBlob", func(t *testing.T) {
		largeBlob(t, startDistribution(t, program, fmt.Sprintf("filesystem: {rootdirectory: %q}", t.TempDir())))
	})
	t.Run("Refused", func(t *testing.T) {
		refusals(t, startDistribution(t, program, "inmemory: {}"))
	})
}

// life is that of an object's files: written, read by another process,
// replaced, kept over a restart, deleted, swept, written again.
func life(t *testing.T, d *distribution, deletes bool) {
	g := NewWithT(t)
	r := d.open(t, d.addr, repo)
	s := store(t, r, "")
	one, err := write(t.Context(), s, "one", "first")
	g.Expect(err).NotTo(HaveOccurred())
	two, err := write(t.Context(), s, "two", "second")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = s.Link(t.Context(), key("two"), "latest")
	g.Expect(err).NotTo(HaveOccurred())
	other := func() *artifact.Store { return store(t, d.open(t, d.addr, repo), "") }
	g.Expect(read(t.Context(), other(), one)).To(Equal("first"))
	b, err := other().Lookup(t.Context(), key("latest"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(b.Stat.Digest).To(Equal(two.Digest))
	g.Expect(b.Close()).To(Succeed())

	next, err := write(t.Context(), s, "one", "first, changed")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(read(t.Context(), other(), next)).To(Equal("first, changed"))
	_, err = read(t.Context(), other(), one)
	g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)

	uploads := d.count("PUT", "/blobs/uploads/")
	g.Expect(uploads).To(Equal(4), "three contents and the config")
	d.stop()
	d.start(t)
	g.Expect(read(t.Context(), s, next)).To(Equal("first, changed"))
	g.Expect(read(t.Context(), other(), two)).To(Equal("second"))
	_, err = write(t.Context(), s, "three", "second")
	g.Expect(err).NotTo(HaveOccurred())
	_, err = write(t.Context(), other(), "one", "first, changed")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(d.count("PUT", "/blobs/uploads/")).To(Equal(uploads), "nothing is sent twice")

	if deletes { // a blob that was lost comes back with the next write of it
		g.Expect(r.Delete(t.Context(), two.Digest)).To(Succeed())
		_, err = write(t.Context(), s, "four", "fourth")
		g.Expect(err).NotTo(HaveOccurred())
		_, err = read(t.Context(), other(), two)
		g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)
		_, err = write(t.Context(), s, "two", "second")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(read(t.Context(), other(), two)).To(Equal("second"))
		g.Expect(driver(t, r).Delete(t.Context(), key("four"))).To(Succeed())
	}

	// What nobody names goes when its time has come, if the registry lets it.
	g.Expect(other().Remove(t.Context(), key(""))).To(HaveField("Removed", HaveLen(3)))
	prune, err := shared.New(r, shared.Options{Cache: t.TempDir(), Fresh: -1, Garbage: 1})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(prune.Sweep(t.Context())).To(Succeed())
	g.Expect(prune.Objects(t.Context())).To(BeEmpty())
	for _, sum := range []string{one.Digest, two.Digest, next.Digest} {
		g.Expect(r.Has(t.Context(), sum)).To(Equal(!deletes), sum)
	}
	_, err = read(t.Context(), other(), two)
	g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)
	again, err := write(t.Context(), other(), "two", "second")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(read(t.Context(), other(), again)).To(Equal("second"))
}

// pages lists more documents than the registry puts on a page, some of which
// are gone again, beside a tag of somebody else.
func pages(t *testing.T, d *distribution) {
	g := NewWithT(t)
	r := d.open(t, d.addr, repo)
	sum := pushed(t, r, "one")
	var want []string
	for i := range 30 {
		name := fmt.Sprint("kind.ns.name-", i)
		g.Expect(r.PutIndex(t.Context(), name, "", document(1, sum))).To(Succeed())
		if i%3 == 0 {
			_, version, err := r.GetIndex(t.Context(), name)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(r.PutIndex(t.Context(), name, version, nil)).To(Succeed())
			continue
		}
		want = append(want, name)
	}
	before := d.count("GET", "/tags/list")
	got, err := d.open(t, d.addr, repo).ListIndex(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(ConsistOf(want))
	g.Expect(d.count("GET", "/tags/list")-before).To(BeNumerically(">=", 3), "pages")
	for _, name := range want { // of two writers one loses, and sees it
		body, version, err := r.GetIndex(t.Context(), name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(body).To(Equal(document(1, sum)))
		g.Expect(r.PutIndex(t.Context(), name, version, document(2, sum))).To(Succeed())
		err = r.PutIndex(t.Context(), name, version, document(3, sum))
		g.Expect(errors.Is(err, shared.ErrConflict)).To(BeTrue(), "%v", err)
		break
	}
	g.Expect(d.open(t, d.addr, "nobody/here").ListIndex(t.Context())).To(BeEmpty())
}

// largeBlob sends content of several buffers and reads it over a connection
// that is cut: what came is not asked for again.
func largeBlob(t *testing.T, d *distribution) {
	g := NewWithT(t)
	const size = 9<<20 + 7
	b := make([]byte, size)
	src := rand.NewChaCha8([32]byte{1})
	_, _ = src.Read(b)
	text := string(b)
	r := d.open(t, d.addr, repo)
	sum := pushed(t, r, text)
	g.Expect(r.Has(t.Context(), sum)).To(BeTrue())
	proxy := fault.StartProxy(t, "http://"+d.addr)
	through := d.open(t, proxy.Addr(), repo)
	g.Expect(through.Has(t.Context(), sum)).To(BeTrue(), "authorized before the faults begin")
	for _, cut := range []int64{1, 5 << 20, size - 1} {
		proxy.SetFaults(fault.Plan{Match: fault.Match{Method: "GET"}, Nth: 1, CutAfter: cut})
		n := len(proxy.Log())
		body, length, err := through.Pull(t.Context(), sum)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(length).To(Equal(int64(size)))
		got, err := io.ReadAll(body)
		g.Expect(err).NotTo(HaveOccurred(), "cut after %d", cut)
		g.Expect(string(got) == text).To(BeTrue(), "cut after %d", cut)
		g.Expect(body.Close()).To(Succeed())
		var ranges []string
		for _, q := range proxy.Log()[n:] {
			ranges = append(ranges, q.Header.Get("Range"))
		}
		g.Expect(ranges).To(Equal([]string{"", fmt.Sprintf("bytes=%d-", cut)}))
	}
	_, _, err := r.Pull(t.Context(), sumOf("nothing"))
	g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)
}

// refusals are wrong credentials, wrong digests, and layers that are not there.
func refusals(t *testing.T, d *distribution) {
	g := NewWithT(t)
	r := d.open(t, d.addr, repo)
	stranger, err := blobregistry.New("oci://"+d.addr+"/"+repo, blobregistry.Options{Insecure: true, Backoff: time.Millisecond})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = stranger.ListIndex(t.Context())
	g.Expect(errors.Is(err, blobregistry.ErrUnauthorized)).To(BeTrue(), "%v", err)
	err = r.Push(t.Context(), sumOf("one"), 3, strings.NewReader("two"))
	var e *blobregistry.Error
	g.Expect(errors.As(err, &e)).To(BeTrue(), "%v", err)
	g.Expect(e.Status).To(Equal(400))
	g.Expect(r.Has(t.Context(), sumOf("one"))).To(BeFalse())
	err = r.PutIndex(t.Context(), "x", "", document(1, sumOf("nowhere")))
	g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)
	_, _, err = r.GetIndex(t.Context(), "x")
	g.Expect(errors.Is(err, artifact.ErrNotFound)).To(BeTrue(), "%v", err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.Has(ctx, sumOf("one"))
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue(), "%v", err)
	d.mu.Lock()
	defer d.mu.Unlock()
	g.Expect(slices.ContainsFunc(d.log, func(l string) bool { return strings.HasSuffix(l, " 401") })).To(BeTrue())
}
