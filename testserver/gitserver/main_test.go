// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitserver_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gitops-kit/sdk/testserver/gitserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client runs the git program, the oracle, against a server.
type client struct {
	t   testing.TB
	dir string
	env []string
}

func newClient(tb testing.TB) *client {
	tb.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		missing(tb, "git (apt-get install git)")
	}
	return &client{t: tb, dir: tb.TempDir()}
}

func missing(tb testing.TB, what string) {
	tb.Helper()
	if os.Getenv("CI") != "" {
		tb.Fatalf("missing program: %s", what)
	}
	tb.Skipf("missing program: %s", what)
}

func (c *client) try(args ...string) (string, error) {
	c.t.Helper()
	cmd := exec.CommandContext(c.t.Context(), "git", args...)
	cmd.Dir = c.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // ssh, too
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"GIT_AUTHOR_NAME=c", "GIT_AUTHOR_EMAIL=c@example.com", "GIT_COMMITTER_NAME=c", "GIT_COMMITTER_EMAIL=c@example.com", "HOME="+c.dir)
	cmd.Env = append(cmd.Env, c.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (c *client) git(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (c *client) at(dir string) *client {
	d := *c
	d.dir = filepath.Join(c.dir, dir)
	return &d
}

func (c *client) write(name, content string) {
	c.t.Helper()
	p := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read(name string) string {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.dir, name))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// seed fills a repository with five commits, a branch, tags and a hidden-away
// pull request.
func seed(r *gitserver.Repo) {
	r.Commit("main", gitserver.Files{"README.md": "hello\n", "a/b/c.txt": strings.Repeat("line\n", 200)}, gitserver.CommitOptions{
		Nodes: map[string]gitserver.Node{
			"run.sh": {Mode: "100755", Content: "#!/bin/sh\n"},
			"link":   {Mode: "120000", Content: "README.md"},
		},
	})
	r.Commit("main", gitserver.Files{"README.md": "hello 2\n"}, gitserver.CommitOptions{})
	r.AnnotatedTag("v1.0.0", "main", gitserver.TagOptions{})
	r.Commit("main", gitserver.Files{"a/b/c.txt": strings.Repeat("line\n", 200) + "more\n"}, gitserver.CommitOptions{})
	r.Tag("v1.1.0", "main")
	side := r.Commit("side", gitserver.Files{"side.txt": "side\n"}, gitserver.CommitOptions{Parents: []gitserver.Hash{r.Head("main")}})
	r.Commit("main", gitserver.Files{"merged.txt": "m\n"}, gitserver.CommitOptions{Parents: []gitserver.Hash{r.Head("main"), side}})
	r.Commit("main", gitserver.Files{"last.txt": "last\n"}, gitserver.CommitOptions{Delete: []string{"merged.txt"}})
	pr := r.CommitOnly(gitserver.Files{"pr.txt": "pr\n"}, gitserver.CommitOptions{Parents: []gitserver.Hash{r.Head("main")}})
	r.Ref("refs/pull/1/head", pr.String())
}
