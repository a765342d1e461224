// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build failpoints

package fetch_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/artifact/fetch"
)

const userDir = "FETCH_USER_DIR"

// TestCacheUserHelper is a process that uses a cache: it says where its tree
// is, then, for each line of its input, whether it is still there.
func TestCacheUserHelper(t *testing.T) {
	dir := os.Getenv(userDir)
	if dir == "" {
		return
	}
	c := fetch.NewCache(fetch.CacheOptions{Dir: dir})
	l, err := c.Tree(t.Context(), fetch.Ref{URL: os.Getenv(crashURL), Digest: os.Getenv(crashDigest)})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(os.Stdout, "tree", l.Path())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		_, err := os.Stat(filepath.Join(l.Path(), "f00000"))
		fmt.Fprintln(os.Stdout, "tree", l.Path(), err)
	}
	l.Release()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// user is a running TestCacheUserHelper.
type user struct {
	*WithT
	in    io.WriteCloser
	lines chan string
}

func startUser(t *testing.T, env ...string) *user {
	t.Helper()
	g := NewWithT(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestCacheUserHelper$") //nolint:gosec // this program
	cmd.Env = append(os.Environ(), env...)
	in, err := cmd.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	out, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	cmd.Stderr = os.Stderr
	g.Expect(cmd.Start()).To(Succeed())
	u := &user{g, in, make(chan string, 100)}
	go func() {
		defer close(u.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			u.lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = in.Close()
		if t.Failed() { // it may wait for what will not come
			_ = cmd.Process.Kill()
		}
		for range u.lines {
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("a user of the cache: %v", err)
		}
	})
	return u
}

// tree is what the process says next.
func (u *user) tree() (path, problem string) {
	var line string
	u.Eventually(u.lines).WithTimeout(time.Minute).Should(Receive(&line))
	u.Expect(line).To(HavePrefix("tree "), "it failed")
	f := strings.SplitN(line, " ", 3)
	return f[1], strings.Join(f[2:], "")
}

func (u *user) stillThere() {
	_, err := io.WriteString(u.in, "\n")
	u.Expect(err).NotTo(HaveOccurred())
	_, problem := u.tree()
	u.Expect(problem).To(Equal("<nil>"))
}

// ART-65: a process is stopped between making the lock file of its private
// directory and locking it. Meanwhile the owner of the cache leaves and another
// one takes over, which removes private directories that nobody has locked:
// before the process goes on, or while it does. It then works in a
// directory that is there and that it has locked, so that it stays.
func TestCacheTakeOverRace(t *testing.T) {
	data, sum := archive(t, 1, 71)
	o := serve(t, content(data, sum))
	for _, during := range []bool{false, true} {
		t.Run(fmt.Sprintf("during=%t", during), func(t *testing.T) {
			g := NewWithT(t)
			dir, signals := t.TempDir(), t.TempDir()
			locked, removed := filepath.Join(signals, "lock"), filepath.Join(signals, "remove")
			signal := func(file string) { g.Expect(os.WriteFile(file, nil, 0o600)).To(Succeed()) }
			owner := func() *fetch.Cache {
				c := fetch.NewCache(fetch.CacheOptions{Dir: dir})
				l, err := c.Tree(t.Context(), fetch.Ref{URL: o.URL, Digest: sum})
				g.Expect(err).NotTo(HaveOccurred())
				defer l.Release()
				g.Expect(l.Path()).To(HavePrefix(filepath.Join(dir, "sha256-")), "it is the owner")
				return c
			}
			env := []string{userDir + "=" + dir, crashURL + "=" + o.URL, crashDigest + "=" + sum}
			private := func() []string {
				p, err := filepath.Glob(filepath.Join(dir, "private-*", ".lock"))
				g.Expect(err).NotTo(HaveOccurred())
				return p
			}
			first := owner()
			stopped := startUser(t, append(env, "GITOPS_KIT_FAIL=artifact/cache-lock@2=wait("+locked+")")...)
			g.Eventually(private).WithTimeout(time.Minute).Should(HaveLen(1))
			made := filepath.Dir(private()[0])
			g.Expect(first.Close()).To(Succeed())

			next := startUser(t, append(env, "GITOPS_KIT_FAIL=artifact/cache-remove=trace("+signals+"/trace);artifact/cache-remove=wait("+removed+")")...)
			g.Eventually(signals + "/trace").WithTimeout(time.Minute).Should(BeARegularFile()) // it has the lock and is about to remove
			if !during {
				signal(removed)
				next.tree()
				g.Expect(made).NotTo(BeADirectory())
			}
			signal(locked)
			path, _ := stopped.tree()
			g.Expect(path).To(HavePrefix(filepath.Join(dir, "private-")))
			if during {
				signal(removed)
				next.tree()
				g.Expect(made).NotTo(BeADirectory())
			}
			stopped.stillThere()
			g.Expect(next.in.Close()).To(Succeed())
			for range next.lines { // until it is gone
			}
			last := owner()
			stopped.stillThere()
			g.Expect(last.Close()).To(Succeed())
		})
	}
}
