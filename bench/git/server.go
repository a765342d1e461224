// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// generate makes a bare repository, once, and returns its tip.
func (r repo) generate(root string) (string, error) {
	dir := filepath.Join(root, r.name+".git")
	if _, err := os.Stat(dir); err != nil {
		if err := r.create(dir); err != nil {
			return "", err
		}
	}
	out, err := exec.Command("git", "-C", dir, "rev-parse", "main").Output()
	return strings.TrimSpace(string(out)), err
}

func (r repo) create(dir string) error {
	var in bytes.Buffer
	rng := rand.New(rand.NewPCG(1, 2))
	content := func() []byte {
		b := make([]byte, 0, r.size)
		for len(b) < r.size {
			b = fmt.Appendf(b, "key%d: %x\n", rng.IntN(100), rng.Uint64())
		}
		return b[:r.size]
	}
	for n := range r.history {
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter A <a@example.com> %d +0000\ndata 1\nx\n", 1700000000+n)
		for i := range r.files {
			if n > 0 && i%100 != n%100 {
				continue
			}
			b := content()
			fmt.Fprintf(&in, "M 100644 inline dir%d/sub%d/file%d.yaml\ndata %d\n%s\n", i%50, i%7, i, len(b), b)
		}
	}
	for i := range r.refs {
		fmt.Fprintf(&in, "reset refs/heads/branch-%d\nfrom refs/heads/main\n\n", i)
	}
	for _, args := range [][]string{{"init", "-q", "--bare", "-b", "main", dir}, {"-C", dir, "fast-import", "--quiet"}, {"-C", dir, "repack", "-q", "-a", "-d", "-f"}, {"-C", dir, "pack-refs", "--all"}} {
		cmd := exec.Command("git", args...)
		if args[len(args)-2] == "fast-import" {
			cmd.Stdin = &in
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %v: %w: %s", args, err, out)
		}
	}
	return nil
}

// servers are the same repositories behind three servers.
type servers struct {
	root         string
	replay, real *httptest.Server
	sshd         *exec.Cmd
	ssh          string
}

func startServers(root string) (*servers, error) {
	s := &servers{root: root, replay: httptest.NewServer(newServer(root, true)), real: httptest.NewServer(newServer(root, false))}
	if err := s.startSSH(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *servers) url(r row) string {
	name := r.repo.name + ".git"
	switch r.server {
	case "ssh":
		return s.ssh + filepath.Join(s.root, name)
	case "http":
		return s.real.URL + "/" + name
	}
	return s.replay.URL + "/" + name
}

func (s *servers) close() error {
	s.replay.Close()
	s.real.Close()
	if s.sshd == nil {
		return nil
	}
	err := s.sshd.Process.Kill()
	_ = s.sshd.Wait()
	return err
}

// startSSH runs OpenSSH's server with keys of its own.
func (s *servers) startSSH() error {
	path, err := exec.LookPath("sshd")
	if err != nil {
		path = "/usr/sbin/sshd"
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().(*net.TCPAddr)
	if err := l.Close(); err != nil {
		return err
	}
	for _, k := range []string{"host", "client"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(s.root, k)).CombinedOutput(); err != nil {
			return fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	pub, err := os.ReadFile(filepath.Join(s.root, "host.pub"))
	if err != nil {
		return err
	}
	conf := fmt.Sprintf("Port %d\nListenAddress 127.0.0.1\nHostKey %s\nAuthorizedKeysFile %s\nStrictModes no\nAcceptEnv GIT_PROTOCOL\nPidFile none\nUsePAM no\nPermitRootLogin prohibit-password\n",
		addr.Port, filepath.Join(s.root, "host"), filepath.Join(s.root, "client.pub"))
	if err := errors.Join(
		os.WriteFile(filepath.Join(s.root, "known_hosts"), fmt.Appendf(nil, "[127.0.0.1]:%d %s", addr.Port, pub), 0o600),
		os.WriteFile(filepath.Join(s.root, "sshd_config"), []byte(conf), 0o600),
	); err != nil {
		return err
	}
	s.sshd = exec.Command(path, "-D", "-e", "-q", "-f", filepath.Join(s.root, "sshd_config"))
	s.sshd.Stderr = os.Stderr
	if err := s.sshd.Start(); err != nil {
		s.sshd = nil
		return err
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	s.ssh = fmt.Sprintf("ssh://%s@%s", me.Username, addr)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 100 {
		if c, err := net.Dial("tcp", addr.String()); err == nil {
			return c.Close()
		}
		<-tick.C
	}
	return errors.New("sshd does not listen")
}

// server answers as git http-backend does; from memory, where it replays and
// was asked before.
type server struct {
	backend http.Handler
	replay  bool
	mu      sync.Mutex
	seen    map[[32]byte]*httptest.ResponseRecorder
}

func newServer(root string, replay bool) http.Handler {
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		return http.NotFoundHandler()
	}
	return &server{replay: replay, seen: map[[32]byte]*httptest.ResponseRecorder{}, backend: &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"),
		Env:  []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}, InheritEnv: []string{"PATH"},
	}}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.replay {
		s.backend.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %s %s", r.Method, r.URL, r.Header.Get("Git-Protocol"), r.Header.Get("Content-Encoding"), body))
	s.mu.Lock()
	rec := s.seen[key]
	if rec == nil {
		rec = httptest.NewRecorder()
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.ContentLength = int64(len(body))
		s.backend.ServeHTTP(rec, r)
		s.seen[key] = rec
	}
	s.mu.Unlock()
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}
