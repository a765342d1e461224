// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package fetch_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact/fetch"
	"github.com/gitops-kit/sdk/untar"
	"github.com/gitops-kit/sdk/untar/digest"
	"github.com/gitops-kit/sdk/untar/tarball"
)

// ART-52: what a request says. Cookies are not kept, a redirect is told
// nothing, and an override changes the address only.
func TestRequest(t *testing.T) {
	g := NewWithT(t)
	data, sum := archive(t, 3, 60)
	var mu sync.Mutex
	var seen []*http.Request
	var target string
	o := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r)
		mu.Unlock()
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
		if r.URL.Path == "/moved" {
			http.Redirect(w, r, target+"/artifact%2Ba.tar.gz?token=2", http.StatusFound)
			return
		}
		content(data, sum)(n, w, r)
	})
	target = o.URL
	host := strings.TrimPrefix(o.URL, "http://")
	for _, override := range []string{host, o.URL} {
		f := fetcher(t, fetch.Options{HostOverride: override})
		for _, path := range []string{"/artifact%2Ba.tar.gz?token=2", "/moved"} {
			_, err := f.Dir(t.Context(), fetch.Ref{URL: "https://storage.invalid" + path, Digest: sum}, filepath.Join(t.TempDir(), "dst"))
			g.Expect(err).NotTo(HaveOccurred())
		}
	}
	g.Expect(seen).To(HaveLen(6))
	for _, r := range seen {
		g.Expect(r.Method).To(Equal(http.MethodGet))
		g.Expect(r.Header.Get("Accept-Encoding")).To(Equal("identity"))
		g.Expect(r.Header["Cookie"]).To(BeEmpty())
		g.Expect(r.Header["Authorization"]).To(BeEmpty())
		g.Expect(r.Header["Referer"]).To(BeEmpty())
		g.Expect(r.RequestURI).To(BeElementOf("/artifact%2Ba.tar.gz?token=2", "/moved"), "the path is kept as it was")
	}
	for _, bad := range []string{"ftp://h", "http://u:p@h", "http://"} {
		_, err := fetch.New(fetch.Options{HostOverride: bad})
		g.Expect(errors.Is(err, fetch.ErrInvalidURL)).To(BeTrue(), bad)
	}
}

// ART-55: links are left out, modes are those of untar, and the limits hold.
func TestExtraction(t *testing.T) {
	g := NewWithT(t)
	var b bytes.Buffer
	w := tarball.NewWriter(&b, tarball.Options{})
	for _, e := range []struct {
		path string
		mode fs.FileMode
	}{{"d", fs.ModeDir | 0o750}, {"d/run", 0o700}, {"d/text", 0o600}} {
		size := int64(0)
		if !e.mode.IsDir() {
			size = 4
		}
		g.Expect(w.Add(e.path, e.mode, size, strings.NewReader("text"[:size]))).To(Succeed())
	}
	res, err := w.Close()
	g.Expect(err).NotTo(HaveOccurred())
	o := serve(t, content(b.Bytes(), res.Digests["sha256"]))
	ref := fetch.Ref{URL: o.URL, Digest: res.Digests["sha256"]}
	dst := filepath.Join(t.TempDir(), "dst")
	got, err := fetcher(t, fetch.Options{}).Dir(t.Context(), ref, dst)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got.Report.Files).To(Equal(2))
	for name, want := range map[string]fs.FileMode{"d": 0o755, "d/run": 0o755, "d/text": 0o644} {
		info, err := os.Stat(filepath.Join(dst, name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(info.Mode().Perm()&^want).To(BeZero(), name)
		g.Expect(info.Mode().Perm()&0o700).To(Equal(want&0o700), name)
	}
	for name, l := range map[string]untar.Limits{"tar-entries": {Entries: 2}, "tar-file": {File: 3}, "tar-depth": {Depth: 1}, "tar-expanded": {Expanded: 600}} {
		parent := t.TempDir()
		_, err := fetcher(t, fetch.Options{Tar: l}).Dir(t.Context(), ref, filepath.Join(parent, "dst"))
		var le *untar.LimitError
		g.Expect(errors.As(err, &le)).To(BeTrue(), "%v", err)
		g.Expect(le.Name).To(Equal(name))
		nothing(t, parent)
	}
}

// links is an archive with a link to the outside and a file.
func links() ([]byte, string) {
	var b bytes.Buffer
	for _, h := range []struct {
		name, target string
		flag         byte
	}{{"link", "/etc/passwd", '2'}, {"file", "", '0'}} {
		block := make([]byte, 512)
		copy(block, h.name)
		copy(block[100:], "0000644\x00")
		copy(block[124:], "00000000000\x00")
		block[156] = h.flag
		copy(block[157:], h.target)
		copy(block[257:], "ustar\x0000")
		copy(block[148:], "        ")
		sum := 0
		for _, c := range block {
			sum += int(c)
		}
		copy(block[148:], []byte{'0' + byte(sum>>15&7), '0' + byte(sum>>12&7), '0' + byte(sum>>9&7), '0' + byte(sum>>6&7), '0' + byte(sum>>3&7), '0' + byte(sum&7), 0, ' '})
		b.Write(block)
	}
	b.Write(make([]byte, 1024))
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(b.Bytes())
	_ = w.Close()
	packed := z.Bytes()
	sum, _ := digest.FromBytes(digest.SHA256, packed)
	return packed, sum.String()
}

// ART-55
func TestLinksAreLeftOut(t *testing.T) {
	g := NewWithT(t)
	data, sum := links()
	o := serve(t, content(data, sum))
	dst := filepath.Join(t.TempDir(), "dst")
	res, err := fetcher(t, fetch.Options{}).Dir(t.Context(), fetch.Ref{URL: o.URL, Digest: sum}, dst)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Report.SkippedPaths).To(Equal([]string{"link"}))
	entries, err := os.ReadDir(dst)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(HaveLen(1))
	g.Expect(entries[0].Name()).To(Equal("file"))
}

// ART-65: the second user of a directory works in a private part of it, which
// goes with it; Close unlocks.
func TestCacheLock(t *testing.T) {
	g := NewWithT(t)
	data, sum := archive(t, 3, 70)
	o := serve(t, content(data, sum))
	ref := fetch.Ref{URL: o.URL, Digest: sum}
	dir := t.TempDir()
	tree := func() (*fetch.Cache, string) {
		c := fetch.NewCache(fetch.CacheOptions{Dir: dir})
		t.Cleanup(func() { _ = c.Close() })
		l, err := c.Tree(t.Context(), ref)
		g.Expect(err).NotTo(HaveOccurred())
		defer l.Release()
		_, err = l.Root().Stat("f00000")
		g.Expect(err).NotTo(HaveOccurred())
		return c, l.Path()
	}
	first, p1 := tree()
	second, p2 := tree()
	third, p3 := tree()
	own := strings.Replace(sum, ":", "-", 1)
	g.Expect(p1).To(HavePrefix(filepath.Join(dir, own)))
	g.Expect(p2).To(HavePrefix(filepath.Join(dir, "private-")))
	g.Expect(p3).To(HavePrefix(filepath.Join(dir, "private-")))
	g.Expect(p3).NotTo(Equal(p2))
	g.Expect(second.Close()).To(Succeed())
	g.Expect(p2).NotTo(BeADirectory())
	g.Expect(p3).To(BeADirectory(), "of somebody else")
	g.Expect(first.Close()).To(Succeed())
	_, again := tree()
	g.Expect(again).To(HavePrefix(filepath.Join(dir, own)), "unlocked")
	g.Expect(p3).To(BeADirectory(), "in use, so the new owner leaves it")
	g.Expect(third.Close()).To(Succeed())
	g.Expect(o.requests()).To(HaveLen(3), "the complete tree is taken over")
}

// ART-65: a private directory whose user is removing it gets no new lock file,
// which would be in the way of its removal.
func TestNothingIsMadeInAVanishingDirectory(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	l, err := fetch.LockLeft(dir)
	g.Expect(errors.Is(err, fs.ErrNotExist)).To(BeTrue(), "%v", err)
	g.Expect(l).To(BeNil())
	g.Expect(os.Remove(dir)).To(Succeed(), "it is empty still")
}

// ART-65: users who come and go at the same time never take a directory from
// one another.
func TestCacheLockRace(t *testing.T) {
	data, sum := archive(t, 1, 71)
	o := serve(t, content(data, sum))
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for range 40 {
				c := fetch.NewCache(fetch.CacheOptions{Dir: dir})
				l, err := c.Tree(t.Context(), fetch.Ref{URL: o.URL, Digest: sum})
				if err != nil {
					t.Errorf("tree: %v", err)
					_ = c.Close()
					return
				}
				if _, err := l.Root().Stat("f00000"); err != nil {
					t.Errorf("a tree that is in use: %v", err)
				}
				l.Release()
				if err := c.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

// ART-60: whatever happens to a call, it leaves no goroutine behind.
func TestNoGoroutineIsLeft(t *testing.T) {
	g := NewWithT(t)
	data, sum := archive(t, 30, 80)
	hang := make(chan struct{})
	o := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			_, _ = w.Write(data[:len(data)/2])
			w.(http.Flusher).Flush()
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		case "/missing":
			http.NotFound(w, r)
		default:
			content(data, sum)(n, w, r)
		}
	})
	f := fetcher(t, fetch.Options{Retries: -1})
	c := fetch.NewCache(fetch.CacheOptions{Dir: t.TempDir(), Fetcher: f})
	for _, path := range []string{"/ok", "/hang", "/missing", "/hang", "/ok"} {
		ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := f.Dir(ctx, fetch.Ref{URL: o.URL + path, Digest: sum}, filepath.Join(t.TempDir(), "dst"))
		if path != "/ok" {
			g.Expect(err).To(HaveOccurred())
		}
		stop()
		ctx, stop = context.WithCancel(t.Context())
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				if l, err := c.Tree(ctx, fetch.Ref{URL: o.URL + path, Digest: sum}); err == nil {
					l.Release()
				}
			})
		}
		stop()
		group.Wait()
	}
	g.Expect(c.Close()).To(Succeed())
	g.Expect(f.Close()).To(Succeed())
	close(hang)
	g.Eventually(ours).WithTimeout(time.Minute).Should(BeEmpty())
}

// ours are the goroutines that run code of the package under test.
func ours() (out []string) {
	var b bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&b, 2)
	for _, stack := range strings.Split(b.String(), "\n\n") {
		if strings.Contains(stack, "sdk/artifact/fetch.") || strings.Contains(stack, "sdk/untar.") {
			out = append(out, stack)
		}
	}
	return out
}
