// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package artifactserver_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"go.uber.org/goleak"

	"github.com/gitops-kit/sdk/testserver/artifactserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answer is what is left of a reply whose body was read.
type answer struct {
	StatusCode int
	Header     http.Header
}

func get(t *testing.T, c *http.Client, url string, header ...string) (answer, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
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
	return answer{resp.StatusCode, resp.Header}, string(b)
}

// TST-22
func TestPublish(t *testing.T) {
	g := NewWithT(t)
	s := artifactserver.Start(t, artifactserver.Options{TLS: true})
	c := s.Client()
	defer c.CloseIdleConnections()
	files := artifactserver.Files{"b.yaml": "b: 1\n", "a/x.yaml": "x: 1\n"}
	a := s.Publish("GitRepository", "ns", "app", "main@sha1:abc", files)
	g.Expect(a.Path).To(Equal("gitrepository/ns/app/abc.tar.gz"))
	g.Expect(a.URL).To(Equal(s.URL() + "/" + a.Path))
	g.Expect(s.Publish("GitRepository", "ns", "app", "main@sha1:abc", files)).To(Equal(a), "same files, same bytes")

	resp, body := get(t, c, a.URL)
	g.Expect(resp.StatusCode).To(Equal(200))
	g.Expect(resp.Header.Get("ETag")).To(Equal(`"` + a.Digest + `"`))
	g.Expect(resp.Header.Get("Content-Type")).To(Equal("application/gzip"))
	g.Expect(artifactserver.Digest([]byte(body))).To(Equal(a.Digest))
	g.Expect(int64(len(body))).To(Equal(a.Size))

	resp, part := get(t, c, a.URL, "Range", "bytes=5-", "If-Range", `"`+a.Digest+`"`)
	g.Expect(resp.StatusCode).To(Equal(206))
	g.Expect(part).To(Equal(body[5:]))
	resp, _ = get(t, c, a.URL, "If-None-Match", `"`+a.Digest+`"`)
	g.Expect(resp.StatusCode).To(Equal(304))
	_, latest := get(t, c, s.URL()+"/gitrepository/ns/app/latest.tar.gz")
	g.Expect(latest).To(Equal(body))

	s.Replace(a.Path, []byte("other"), true)
	resp, other := get(t, c, a.URL)
	g.Expect(other).To(Equal("other"))
	g.Expect(resp.Header.Get("ETag")).To(Equal(`"` + a.Digest + `"`))
	s.Remove(a.Path)
	resp, _ = get(t, c, a.URL)
	g.Expect(resp.StatusCode).To(Equal(404))
	g.Expect(s.Count(artifactserver.Match{Route: "artifact", Status: 206})).To(Equal(1))
}

// TST-22
func TestStreamIsEndless(t *testing.T) {
	g := NewWithT(t)
	s := artifactserver.Start(t, artifactserver.Options{})
	url := s.PublishStream("endless", -1, func(w io.Writer) error {
		for {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return err
			}
		}
	})
	c := s.Client()
	defer c.CloseIdleConnections()
	resp, err := c.Get(url)
	g.Expect(err).NotTo(HaveOccurred())
	n, err := io.CopyN(io.Discard, resp.Body, 1<<20)
	g.Expect(n, err).To(Equal(int64(1 << 20)))
	g.Expect(resp.Body.Close()).To(Succeed())
	g.Expect(s.Wait(t.Context(), artifactserver.Match{Path: "/endless"}, 1)).To(Succeed())
}

// TST-22: what the builder makes without mistakes is accepted by GNU tar and by
// archive/tar.
func TestBuilderIsReadByTar(t *testing.T) {
	g := NewWithT(t)
	long := strings.Repeat("d/", 80) + "file"
	archive := artifactserver.Tar(func(b *artifactserver.Builder) {
		b.Dir("dir/")
		b.File("dir/a", "hello")
		b.Symlink("dir/l", "a")
		b.Hardlink("dir/h", "dir/a")
		b.PAX('x', "path", "ünï/"+strings.Repeat("p", 120))
		b.File("short", "pax")
		b.GNULong('L', long)
		b.File("cut", "gnu")
	})
	r := tar.NewReader(bytes.NewReader(archive))
	var names []string
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		g.Expect(err).NotTo(HaveOccurred())
		names = append(names, h.Name)
	}
	want := []string{"dir/", "dir/a", "dir/l", "dir/h", "ünï/" + strings.Repeat("p", 120), long}
	g.Expect(names).To(Equal(want))

	if _, err := exec.LookPath("tar"); err != nil {
		t.Fatalf("missing program: tar")
	}
	cmd := exec.CommandContext(t.Context(), "tar", "-tf", "-", "--quoting-style=literal")
	cmd.Env = []string{"LC_ALL=C.UTF-8", "PATH=/usr/bin:/bin"}
	cmd.Stdin = bytes.NewReader(archive)
	out, err := cmd.CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(out))
	g.Expect(strings.Split(strings.TrimSpace(string(out)), "\n")).To(Equal(want))
}

// TST-22: each kind of lie is seen by archive/tar and compress/gzip.
func TestBuilderLies(t *testing.T) {
	one := func(e artifactserver.Entry) []byte {
		return artifactserver.Tar(func(b *artifactserver.Builder) { b.Entry(e) })
	}
	cases := map[string]struct {
		reason string
		in     []byte
		ok     bool
	}{
		"Good":        {"control", one(artifactserver.Entry{Name: "a", Type: '0', Body: []byte("x")}), true},
		"Checksum":    {"the checksum is as given", one(artifactserver.Entry{Name: "a", Type: '0', Checksum: "000000\x00 "}), false},
		"SizeTooLong": {"the body ends early", one(artifactserver.Entry{Name: "a", Type: '0', Size: 1 << 20}), false},
		"RawSize":     {"the size field is no number", one(artifactserver.Entry{Name: "a", Type: '0', RawSize: "zzz"}), false},
		"Huge":        {"base-256 sizes are written", one(artifactserver.Entry{Name: "a", Type: '0', Size: 1 << 40}), false},
		"BadPAX": {"a record's length is wrong", artifactserver.Tar(func(b *artifactserver.Builder) {
			b.Entry(artifactserver.Entry{Name: "p", Type: 'x', Body: []byte("99 path=x\n")})
			b.File("a", "")
		}), false},
		"NoEnd": {"archive/tar accepts a missing end marker", artifactserver.Tar(func(b *artifactserver.Builder) { b.File("a", "x"); b.NoEnd() }), true},
		"Trailing": {"trailing bytes are not read", artifactserver.Tar(func(b *artifactserver.Builder) {
			b.File("a", "x")
			b.End()
			b.Raw([]byte("junk"))
		}), true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := tar.NewReader(bytes.NewReader(tc.in))
			var err error
			for err == nil {
				if _, err = r.Next(); err == nil {
					_, err = io.Copy(io.Discard, r)
				}
			}
			g.Expect(errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF)).To(Equal(tc.ok), "%s: %v", tc.reason, err)
		})
	}
	g := NewWithT(t)
	z, err := gzip.NewReader(bytes.NewReader(artifactserver.GzipRaw([]byte("hello"), 1, 0)))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = io.ReadAll(z)
	g.Expect(err).To(MatchError(gzip.ErrChecksum))
}
