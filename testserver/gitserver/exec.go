// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gitops-kit/sdk/testserver/record"
)

// disk is a repository of the Exec backend. Content made through [Repo] is
// written to it as loose objects; what clients pushed is read with the git
// program.
type disk struct {
	dir     string
	written int
}

func (r *Repo) initDisk(root string) error {
	dir := filepath.Join(root, filepath.FromSlash(r.name)+".git")
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if _, err := git(root, nil, "init", "-q", "--bare", "--object-format="+string(r.format), "--initial-branch=main", dir); err != nil {
		return err
	}
	c := r.opts.Capabilities
	on := strconv.FormatBool
	for _, kv := range [][2]string{
		{"http.receivepack", "true"},
		{"uploadpack.allowFilter", on(!c.NoFilter)},
		{"uploadpack.allowTipSHA1InWant", on(c.AllowTipSHA1)},
		{"uploadpack.allowReachableSHA1InWant", on(c.AllowReachableSHA1)},
		{"uploadpack.allowRefInWant", on(c.RefInWant)},
		{"receive.advertisePushOptions", on(!c.NoPushOptions)},
		{"receive.advertiseAtomic", on(!c.NoAtomic)},
		{"receive.denyDeletes", on(c.NoDeleteRefs)},
		{"receive.denyNonFastForwards", on(r.opts.DenyNonFastForward)},
	} {
		if _, err := git(dir, nil, "config", kv[0], kv[1]); err != nil {
			return err
		}
	}
	for _, h := range r.opts.Hidden {
		if _, err := git(dir, nil, "config", "--add", "transfer.hideRefs", strings.TrimSuffix(h, "*")); err != nil {
			return err
		}
	}
	r.disk = &disk{dir: dir}
	r.store.load = r.disk.object
	return nil
}

// Dir returns the repository's directory; "" unless the backend is Exec.
func (r *Repo) Dir() string {
	if r.disk == nil {
		return ""
	}
	return r.disk.dir
}

// git runs the git program in a repository, away from the user's configuration.
func git(dir string, stdin io.Reader, args ...string) ([]byte, error) {
	cmd := exec.Command("git", args...) //nolint:noctx // local and short
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	cmd.Stdin = stdin
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// object reads an object with the git program.
func (d *disk) object(id Hash) (Type, []byte, error) {
	t, err := git(d.dir, nil, "cat-file", "-t", string(id))
	if err != nil {
		return 0, nil, err
	}
	typ := map[string]Type{"commit": CommitObject, "tree": TreeObject, "blob": BlobObject, "tag": TagObject}[strings.TrimSpace(string(t))]
	data, err := git(d.dir, nil, "cat-file", typ.String(), string(id))
	return typ, data, err
}

// pull reads the references that clients may have moved; r.mu is held.
func (r *Repo) pull() {
	if r.disk == nil {
		return
	}
	out, err := git(r.disk.dir, nil, "for-each-ref", "--format=%(objectname) %(refname)")
	if err != nil {
		r.srv.fail(err)
		return
	}
	clear(r.refs)
	for line := range strings.Lines(string(out)) {
		id, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		r.refs[name] = Hash(id)
	}
}

// push writes new objects and the references; r.mu is held.
func (r *Repo) push() error {
	if r.disk == nil {
		return nil
	}
	r.store.mu.Lock()
	news := r.store.news[r.disk.written:]
	r.store.mu.Unlock()
	for _, id := range news {
		if err := r.disk.write(r.store, id); err != nil {
			return err
		}
	}
	r.disk.written += len(news)
	out, err := git(r.disk.dir, nil, "for-each-ref", "--format=%(refname)")
	if err != nil {
		return err
	}
	var b strings.Builder
	for line := range strings.Lines(string(out)) {
		if name := strings.TrimSpace(line); r.refs[name] == "" {
			fmt.Fprintf(&b, "delete %s\n", name)
		}
	}
	for name, id := range r.refs {
		fmt.Fprintf(&b, "update %s %s\n", name, id)
	}
	if _, err := git(r.disk.dir, strings.NewReader(b.String()), "update-ref", "--stdin"); err != nil {
		return err
	}
	if strings.HasPrefix(r.head, "refs/") {
		_, err = git(r.disk.dir, nil, "symbolic-ref", "HEAD", r.head)
	} else {
		_, err = git(r.disk.dir, nil, "update-ref", "--no-deref", "HEAD", r.head)
	}
	return err
}

// write stores one loose object.
func (d *disk) write(st *store, id Hash) error {
	t, data, err := st.get(id)
	if err != nil {
		return err
	}
	dir := filepath.Join(d.dir, "objects", string(id[:2]))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	body := append(fmt.Appendf(nil, "%s %d\x00", t, len(data)), data...)
	return os.WriteFile(filepath.Join(dir, string(id[2:])), deflate(body), 0o600)
}

// execHTTP runs git http-backend for one request.
func (s *Server) execHTTP(w http.ResponseWriter, r *http.Request, repo *Repo, rest, user string) {
	out, err := git(s.root, nil, "--exec-path")
	if err != nil {
		http.Error(w, "git program not found", http.StatusInternalServerError)
		return
	}
	env := []string{
		"GIT_PROJECT_ROOT=" + s.root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}
	if p := r.Header.Get("Git-Protocol"); p != "" && s.version(p) > 0 {
		env = append(env, "GIT_PROTOCOL="+p)
	}
	if user != "" {
		env = append(env, "REMOTE_USER="+user)
	}
	r2 := r.Clone(r.Context())
	r2.URL.Path = "/" + repo.name + ".git" + rest
	r2.Header.Del("Git-Protocol")
	r2.Header.Del("Authorization")
	(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(out)), "git-http-backend"), Root: "/", Dir: s.root, Env: env,
		Stderr: io.Discard,
	}).ServeHTTP(w, r2)
}

var errNoSSHD = errors.New("OpenSSH server not found: install it (apt-get install openssh-server)")

func sshdPath() (string, error) {
	for _, p := range []string{"/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/lib/ssh/sshd"} {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	if p, err := exec.LookPath("sshd"); err == nil {
		return p, nil
	}
	return "", errNoSSHD
}

// writeSSHD writes host keys, configuration and the forced command.
func (x *sshServer) writeSSHD() error {
	if _, err := sshdPath(); err != nil {
		return err
	}
	dir := filepath.Join(x.srv.root, ".sshd")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var conf strings.Builder
	// bash as a login shell reads its user's start files, which may take seconds,
	// unless it believes to be nested.
	fmt.Fprintf(&conf, "SetEnv SHLVL=2\nStrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"+
		"PermitRootLogin yes\nPrintMotd no\nLogLevel ERROR\nLoginGraceTime 10\nAuthorizedKeysFile %s\nForceCommand %s\n",
		filepath.Join(dir, "authorized_keys"), filepath.Join(dir, "command"))
	if !x.opts.RefuseEnv {
		conf.WriteString("AcceptEnv GIT_PROTOCOL\n")
	}
	if x.opts.Banner != "" {
		fmt.Fprintf(&conf, "Banner %s\n", filepath.Join(dir, "banner"))
		if err := os.WriteFile(filepath.Join(dir, "banner"), []byte(x.opts.Banner), 0o600); err != nil {
			return err
		}
	}
	for i, p := range x.pems {
		file := filepath.Join(dir, fmt.Sprintf("host_key_%d", i))
		if err := os.WriteFile(file, p, 0o600); err != nil {
			return err
		}
		fmt.Fprintf(&conf, "HostKey %s\n", file)
		if i < len(x.certs) {
			if err := os.WriteFile(file+"-cert.pub", authorizedLine(x.certs[i]), 0o600); err != nil {
				return err
			}
			fmt.Fprintf(&conf, "HostCertificate %s-cert.pub\n", file)
		}
	}
	// The path of a URL is absolute; the repositories are below root.
	script := fmt.Sprintf("#!/bin/sh\ncd %s || exit 1\nexport GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_COUNT=1 "+
		"GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*'\n"+
		"exec git-shell -c \"$(printf '%%s' \"$SSH_ORIGINAL_COMMAND\" | sed \"s|'/|'|\")\"\n", shellQuote(x.srv.root))
	if err := os.WriteFile(filepath.Join(dir, "command"), []byte(script), 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "sshd_config"), []byte(conf.String()), 0o600)
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// sshd serves one connection with a child in inetd mode, so that the port stays
// ours.
func (x *sshServer) sshd(c net.Conn) {
	e := x.log.Begin(record.Request{Method: "SSH", Path: "sshd", Route: "sshd"})
	defer e.End()
	dir := filepath.Join(x.srv.root, ".sshd")
	var keys strings.Builder
	for k := range x.srv.guard.get().AuthorizedKeys {
		keys.WriteString(k + "\n")
	}
	if err := os.WriteFile(filepath.Join(dir, "authorized_keys"), []byte(keys.String()), 0o600); err != nil {
		x.srv.fail(err)
		return
	}
	path, err := sshdPath()
	if err != nil {
		x.srv.fail(err)
		return
	}
	u, ok := c.(interface{ NetConn() net.Conn })
	if !ok {
		return
	}
	tcp, ok := u.NetConn().(*net.TCPConn)
	if !ok {
		return
	}
	f, err := tcp.File()
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if os.Getuid() == 0 {
		_ = os.MkdirAll("/run/sshd", 0o755)
	}
	ctx, cancel := context.WithCancel(x.ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-i", "-e", "-f", filepath.Join(dir, "sshd_config"))
	cmd.Stdin, cmd.Stdout = f, f
	cmd.WaitDelay = time.Second
	_ = cmd.Run()
}
