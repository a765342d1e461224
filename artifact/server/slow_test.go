// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package server_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact"
	"github.com/gitops-kit/sdk/artifact/dir"
	"github.com/gitops-kit/sdk/artifact/server"
)

// pipes is a listener without a network, so that time can be simulated.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// dial connects; nothing that is written waits anywhere for a reader.
func (p *pipes) dial() net.Conn {
	client, conn := net.Pipe()
	p.conns <- conn
	return client
}

// simulated runs a server with its defaults in simulated time.
func simulated(t *testing.T, run func(t *testing.T, s *site, p *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		base := t.TempDir()
		d, err := dir.New(base, dir.Options{})
		if err != nil {
			t.Fatal(err)
		}
		store, err := artifact.NewStore(d, artifact.Options{BaseURL: "h", Limits: artifact.Limits{Free: artifact.Free{Percent: -1, Bytes: -1}}})
		if err != nil {
			t.Fatal(err)
		}
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		ctx, stop := context.WithCancel(t.Context())
		s := &site{store: store, base: base, stop: stop, done: make(chan error, 1)}
		go func() { s.done <- server.New(store, server.Options{}).Serve(ctx, p) }()
		run(t, s, p)
		stop()
		if err := errors.Join(<-s.done, store.Close()); err != nil {
			t.Error(err)
		}
	})
}

// get sends a request and reads the header of the answer.
func get(t testing.TB, c net.Conn, path string, headers ...string) (*http.Response, error) {
	t.Helper()
	text := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, strings.Join(append(headers, ""), "\r\n"))
	go func() { _, _ = io.WriteString(c, text) }() // the server may hang up before its end
	return http.ReadResponse(bufio.NewReaderSize(c, 16), nil)
}

// ART-45: a reader that takes a little all the time gets everything, however
// long that takes; one that takes nothing, or next to nothing, is cut.
func TestSlowReaders(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", 20_000)
	for name, tc := range map[string]struct {
		piece    int64
		every    time.Duration
		reader   int64 // takes no more than this
		verified bool
		cut      bool
	}{
		"Slow":            {piece: 2 << 10, every: 20 * time.Second, reader: 1 << 30, cut: false},
		"SlowVerified":    {piece: 2 << 10, every: 20 * time.Second, reader: 1 << 30, verified: true, cut: false},
		"Stalled":         {piece: 64 << 10, every: time.Second, reader: 128 << 10, cut: true},
		"StalledVerified": {piece: 64 << 10, every: time.Second, reader: 128 << 10, verified: true, cut: true},
		"Trickle":         {piece: 20, every: time.Second, reader: 1 << 30, verified: true, cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			simulated(t, func(t *testing.T, s *site, p *pipes) {
				g := NewWithT(t)
				a := s.write(t, text)
				if !tc.verified { // as after a restart: a change of the file's times
					file := filepath.Join(s.base, filepath.FromSlash(a.Path))
					g.Expect(os.Chtimes(file, time.Now(), time.Now().Add(time.Hour))).To(Succeed())
				}
				c := p.dial()
				defer c.Close()
				begin := time.Now()
				resp, err := get(t, c, "/"+a.Path)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(resp.StatusCode).To(Equal(200))
				var got strings.Builder
				for err == nil && int64(got.Len()) < tc.reader {
					pass(tc.every)
					_, err = io.CopyN(&got, resp.Body, tc.piece)
				}
				if !tc.cut {
					g.Expect(errors.Is(err, io.EOF)).To(BeTrue(), "%v", err)
					g.Expect(got.String() == text).To(BeTrue(), "%d bytes", got.Len())
					g.Expect(time.Since(begin)).To(BeNumerically(">", 50*time.Minute))
					return
				}
				var rest int64
				if err == nil {
					pass(61 * time.Second)
					rest, err = io.Copy(io.Discard, resp.Body)
				}
				g.Expect(errors.Is(err, io.ErrUnexpectedEOF)).To(BeTrue(), "%v", err)
				g.Expect(got.Len() + int(rest)).To(BeNumerically("<", len(text)))
				g.Expect(time.Since(begin)).To(BeNumerically("<", 5*time.Minute))
			})
		})
	}
}

// ART-45: how long a request may take, and the pause before the next one.
func TestIdleAndSlowRequests(t *testing.T) {
	simulated(t, func(t *testing.T, _ *site, p *pipes) {
		g := NewWithT(t)
		for name, tc := range map[string]struct {
			send string
			wait time.Duration
		}{"Header": {"GET / HTTP/1.1\r\nHost: x\r\n", 10 * time.Second}, "Nothing": {"", 10 * time.Second}} {
			c := p.dial()
			begin := time.Now()
			_, err := io.WriteString(c, tc.send)
			g.Expect(err).NotTo(HaveOccurred())
			_, err = io.Copy(io.Discard, c)
			g.Expect(err).NotTo(HaveOccurred(), "%s: the server hangs up", name)
			g.Expect(time.Since(begin)).To(Equal(tc.wait), name)
		}
		c := p.dial()
		for range 2 {
			resp, err := get(t, c, "/")
			g.Expect(err).NotTo(HaveOccurred())
			body, err := io.ReadAll(resp.Body)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(string(body)).To(Equal("ok\n"))
			pass(59 * time.Second)
		}
		begin := time.Now()
		_, err := io.Copy(io.Discard, c)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(time.Since(begin)).To(Equal(time.Second), "idle for a minute")
	})
}

// ART-45: a header that is too long is answered, and then the server hangs up.
func TestLongHeader(t *testing.T) {
	simulated(t, func(t *testing.T, _ *site, p *pipes) {
		g := NewWithT(t)
		for kib, want := range map[int]int{60: 200, 80: 431} {
			c := p.dial()
			resp, err := get(t, c, "/", "X: "+strings.Repeat("x", kib<<10))
			g.Expect(err).NotTo(HaveOccurred(), "%d KiB", kib)
			g.Expect(resp.StatusCode).To(Equal(want), "%d KiB", kib)
			g.Expect(c.Close()).To(Succeed())
		}
	})
}

// ART-45: the thousand and first connection is told to come again.
func TestConnections(t *testing.T) {
	simulated(t, func(t *testing.T, _ *site, p *pipes) {
		g := NewWithT(t)
		var open []net.Conn
		defer func() {
			for _, c := range open {
				_ = c.Close()
			}
		}()
		for range 1000 {
			c := p.dial()
			open = append(open, c)
			resp, err := get(t, c, "/")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(resp.StatusCode).To(Equal(200))
			_, err = io.Copy(io.Discard, resp.Body)
			g.Expect(err).NotTo(HaveOccurred())
		}
		for range 2 {
			c := p.dial()
			resp, err := get(t, c, "/")
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(resp.StatusCode).To(Equal(503))
			g.Expect(resp.Header.Get("Retry-After")).To(Equal("1"))
			g.Expect(c.Close()).To(Succeed())
		}
		g.Expect(open[500].Close()).To(Succeed())
		synctest.Wait()
		c := p.dial()
		open = append(open, c)
		resp, err := get(t, c, "/")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(resp.StatusCode).To(Equal(200))
	})
}

// ART-45: a file that the kernel sends goes on where it was when a deadline
// passed.
func TestDeadlinesWhileTheKernelSends(t *testing.T) {
	g := NewWithT(t)
	const size, step = 48 << 20, 12 << 20 // more than sockets hold
	data := make([]byte, size)
	for i := 0; i < size; i += 8 {
		binary.LittleEndian.PutUint64(data[i:], uint64(i)) //nolint:gosec // not negative
	}
	name := filepath.Join(t.TempDir(), "f")
	g.Expect(os.WriteFile(name, data, 0o600)).To(Succeed())
	f, err := os.Open(name)
	g.Expect(err).NotTo(HaveOccurred())
	defer f.Close()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer inner.Close()
	l := server.Tolerant(inner, time.Hour)
	c, err := net.Dial("tcp", inner.Addr().String())
	g.Expect(err).NotTo(HaveOccurred())
	defer c.Close()
	conn, err := l.Accept()
	g.Expect(err).NotTo(HaveOccurred())
	defer conn.Close()
	sent := make(chan error, 1)
	go func() {
		n, err := conn.(io.ReaderFrom).ReadFrom(&io.LimitedReader{R: f, N: size})
		if err == nil && n != size {
			err = io.ErrShortWrite
		}
		sent <- errors.Join(err, conn.Close())
	}()
	h := sha256.New()
	for range size/step - 1 {
		_, err = io.CopyN(h, c, step)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(server.Expire(conn)).To(Succeed())
	}
	_, err = io.Copy(h, c)
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(sent).WithTimeout(time.Minute).Should(Receive(BeNil()))
	want := sha256.Sum256(data)
	g.Expect(h.Sum(nil)).To(Equal(want[:]))
}

// pass lets simulated time pass.
func pass(d time.Duration) { <-time.After(d) }
