// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gittest

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1" //nolint:gosec // the format's checksum
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitops-kit/sdk/git"
	"github.com/gitops-kit/sdk/git/driver"
	"github.com/gitops-kit/sdk/testserver/gitserver"
)

// Run holds a driver to its contract. newDriver is called once per subtest.
func Run(t *testing.T, newDriver func(testing.TB) driver.Driver) {
	t.Run("Objects", func(t *testing.T) { objects(t, newDriver(t)) })
	t.Run("Packs", func(t *testing.T) { packs(t, newDriver(t)) })
	t.Run("HostilePacks", func(t *testing.T) { hostile(t, newDriver(t)) })
	t.Run("Formats", func(t *testing.T) { formats(t, newDriver(t)) })
	t.Run("Cancelled", func(t *testing.T) { cancelled(t, newDriver(t)) })
	t.Run("Environment", func(t *testing.T) { environment(t, newDriver(t)) })
	t.Run("ConcurrentSafe", func(t *testing.T) { concurrent(t, newDriver(t)) })
	t.Run("CloneCommitPush", func(t *testing.T) { cloneCommitPush(t, newDriver(t)) })
}

func open(t testing.TB, d driver.Driver, dir string, o driver.OpenOptions) driver.Store {
	t.Helper()
	s, err := d.Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func put(t testing.TB, s driver.Store, typ driver.Type, body string) driver.Hash {
	t.Helper()
	id, err := s.Put(t.Context(), typ, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func get(t testing.TB, s driver.Store, id driver.Hash, typ driver.Type, want string) {
	t.Helper()
	got, body, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got != typ || string(body) != want {
		t.Fatalf("object %s is a %s of %d bytes, want a %s of %d", id, got, len(body), typ, len(want))
	}
}

func missing(t testing.TB, s driver.Store, id driver.Hash) {
	t.Helper()
	if _, _, err := s.Get(t.Context(), id); !errors.Is(err, driver.ErrObjectNotFound) {
		t.Fatalf("object %s: %v, want %v", id, err, driver.ErrObjectNotFound)
	}
}

// history puts a small history and returns its commits, oldest first.
func history(t testing.TB, s driver.Store) (commits []driver.Hash) {
	t.Helper()
	parent := ""
	for i := range 3 {
		blob := put(t, s, driver.Blob, fmt.Sprintf("version %d\n%s", i, strings.Repeat("the same line\n", 200)))
		same := put(t, s, driver.Blob, "constant\n")
		sub := put(t, s, driver.Tree, "100644 same\x00"+string(same.Bytes()))
		tree := put(t, s, driver.Tree, "40000 dir\x00"+string(sub.Bytes())+"100644 file\x00"+string(blob.Bytes()))
		c := put(t, s, driver.Commit, fmt.Sprintf("tree %s\n%sauthor A <a@example.com> %d +0000\ncommitter A <a@example.com> %d +0000\n\nc%d\n", tree, parent, 1700000000+i, 1700000000+i, i))
		parent = fmt.Sprintf("parent %s\n", c)
		commits = append(commits, c)
	}
	return commits
}

func objects(t *testing.T, d driver.Driver) {
	dir := t.TempDir()
	s := open(t, d, dir, driver.OpenOptions{MaxObject: 1000})
	bodies := map[driver.Type]string{driver.Blob: "hello\n", driver.Tree: "", driver.Tag: "object 4b825dc642cb6eb9a060e54bf8d69288fbee4904\ntype tree\ntag x\n\nm\n"}
	ids := map[driver.Type]driver.Hash{}
	for typ, body := range bodies {
		ids[typ] = put(t, s, typ, body)
		if again := put(t, s, typ, body); again != ids[typ] {
			t.Fatalf("the same %s twice has two ids", typ)
		}
		get(t, s, ids[typ], typ, body)
	}
	if got := ids[driver.Blob].String(); got != "ce013625030ba8dba906f756967f9e9ca394464a" {
		t.Fatalf("blob id is %s", got)
	}
	other, err := driver.ParseHash(strings.Repeat("1", 40))
	if err != nil {
		t.Fatal(err)
	}
	missing(t, s, other)
	big := put(t, s, driver.Blob, strings.Repeat("x", 2000))
	_, _, err = s.Get(t.Context(), big)
	var limit *git.LimitError
	if !errors.As(err, &limit) || limit.Name != "git-object" {
		t.Fatalf("an object above the bound: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, d, dir, driver.OpenOptions{})
	for typ, body := range bodies {
		get(t, s, ids[typ], typ, body)
	}
}

func packs(t *testing.T, d driver.Driver) {
	from := open(t, d, t.TempDir(), driver.OpenOptions{})
	commits := history(t, from)
	full := packOf(t, from, commits[2:], nil)
	dir := t.TempDir()
	to := open(t, d, dir, driver.OpenOptions{})
	if _, err := to.AddPack(t.Context(), bytes.NewReader(full), driver.PackOptions{Size: int64(len(full))}); err != nil {
		t.Fatal(err)
	}
	for _, c := range commits {
		_, body, err := from.Get(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		get(t, to, c, driver.Commit, string(body))
	}
	part := packOf(t, from, commits[2:], commits[1:2])
	if len(part) >= len(full) {
		t.Fatalf("the difference of one commit has %d bytes, everything %d", len(part), len(full))
	}
	base := packOf(t, from, commits[1:2], nil)
	partial := open(t, d, t.TempDir(), driver.OpenOptions{})
	for _, p := range [][]byte{base, part} {
		if _, err := partial.AddPack(t.Context(), bytes.NewReader(p), driver.PackOptions{Size: int64(len(p)), Thin: true}); err != nil {
			t.Fatal(err)
		}
	}
	_, body, err := from.Get(t.Context(), commits[2])
	if err != nil {
		t.Fatal(err)
	}
	get(t, partial, commits[2], driver.Commit, string(body))
	unknown, err := driver.ParseHash(strings.Repeat("2", 40))
	if err != nil {
		t.Fatal(err)
	}
	if len(packOf(t, from, commits[2:], []driver.Hash{unknown})) != len(full) {
		t.Fatal("an unknown have changed the pack")
	}
	oracle(t, dir, full)
}

// oracle lets the git program index the pack and look for the objects.
func oracle(t *testing.T, gitDir string, pack []byte) {
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("git is missing: apt-get install git")
		}
		t.Skip("git is missing: apt-get install git")
	}
	for name, content := range map[string]string{"HEAD": "ref: refs/heads/main\n", "refs/x": ""} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(gitDir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if content != "" {
			if err := os.WriteFile(filepath.Join(gitDir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, args := range [][]string{{"fsck", "--strict", "--full"}, {"index-pack", "--stdin", "--strict"}} {
		cmd := exec.Command("git", append([]string{"--git-dir=" + gitDir}, args...)...) //nolint:gosec // the suite's own arguments
		if args[0] == "index-pack" {
			cmd.Stdin = bytes.NewReader(pack)
		}
		if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("error")) {
			t.Fatalf("git %s: %v\n%s", args[0], err, out)
		}
	}
}

func packOf(t testing.TB, s driver.Store, want, have []driver.Hash) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.Pack(t.Context(), &b, want, have); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// sealed adds the trailer to a pack.
func sealed(b []byte) []byte {
	sum := sha1.Sum(b) //nolint:gosec // see above
	return append(bytes.Clone(b), sum[:]...)
}

func header(n uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), n)
}

func deflated(s string) []byte {
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	_, _ = w.Write([]byte(s))
	_ = w.Close()
	return b.Bytes()
}

func hostile(t *testing.T, d driver.Driver) {
	blob := append([]byte{0x35}, deflated("hello")...) // blob of 5 bytes
	good := sealed(append(header(1), blob...))
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	cases := map[string][]byte{
		"Empty": {}, "Magic": sealed([]byte("JUNK\x00\x00\x00\x02\x00\x00\x00\x00")), "Version": sealed([]byte("PACK\x00\x00\x00\x09\x00\x00\x00\x00")),
		"Trailer": flipped, "CutOff": good[:len(good)-5], "Behind": append(bytes.Clone(good), 'x'),
		"FewerThanCounted": sealed(append(header(2), blob...)), "Type": sealed(append(header(1), append([]byte{0x55}, deflated("hello")...)...)),
		"TooShort":    sealed(append(header(1), append([]byte{0x37}, deflated("hello")...)...)),
		"TooLong":     sealed(append(header(1), append([]byte{0x33}, deflated("hello")...)...)),
		"NotZlib":     sealed(append(header(1), []byte("\x35not zlib at all")...)),
		"BaseMissing": sealed(append(header(1), append(append([]byte{0x74}, bytes.Repeat([]byte{7}, 20)...), deflated("\x05\x05\x90\x05")...)...)),
		"OffsetOut":   sealed(append(header(1), append([]byte{0x64, 0x7f}, deflated("\x05\x05\x90\x05")...)...)),
	}
	dir := t.TempDir()
	s := open(t, d, dir, driver.OpenOptions{})
	before := files(t, dir)
	for name, p := range cases {
		_, err := s.AddPack(t.Context(), bytes.NewReader(p), driver.PackOptions{Size: int64(len(p))})
		if !errors.Is(err, driver.ErrMalformedPack) {
			t.Errorf("%s: %v, want %v", name, err, driver.ErrMalformedPack)
		}
		if diff := cmp.Diff(before, files(t, dir)); diff != "" {
			t.Errorf("%s: something was left (-before +after):\n%s", name, diff)
		}
	}
	if _, err := s.AddPack(t.Context(), bytes.NewReader(good), driver.PackOptions{Size: int64(len(good))}); err != nil {
		t.Fatal(err)
	}
	get(t, s, put(t, s, driver.Blob, "hello"), driver.Blob, "hello")
}

func files(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out = append(out, strings.TrimPrefix(p, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func formats(t *testing.T, d driver.Driver) {
	has := map[driver.Format]bool{}
	for _, f := range d.Formats() {
		has[f] = true
	}
	if d.Name() == "" || len(has) == 0 {
		t.Fatal("a driver has a name and a format")
	}
	for _, f := range []driver.Format{driver.SHA1, driver.SHA256} {
		s, err := d.Open(t.Context(), t.TempDir(), driver.OpenOptions{Format: f})
		if !has[f] {
			if !errors.Is(err, driver.ErrUnsupportedFormat) {
				t.Fatalf("%s: %v, want %v", f, err, driver.ErrUnsupportedFormat)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		id := put(t, s, driver.Blob, "hello")
		if id.Format() != f {
			t.Fatalf("id of format %s, want %s", id.Format(), f)
		}
		get(t, s, id, driver.Blob, "hello")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func cancelled(t *testing.T, d driver.Driver) {
	dir := t.TempDir()
	s := open(t, d, dir, driver.OpenOptions{})
	id := put(t, s, driver.Blob, "hello")
	before := files(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Get(ctx, id); !errors.Is(err, context.Canceled) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.Put(ctx, driver.Blob, []byte("more")); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	p := sealed(append(header(1), append([]byte{0x35}, deflated("other")...)...))
	if _, err := s.AddPack(ctx, bytes.NewReader(p), driver.PackOptions{Size: int64(len(p))}); !errors.Is(err, context.Canceled) {
		t.Errorf("pack: %v", err)
	}
	if _, err := d.Open(ctx, t.TempDir(), driver.OpenOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("open: %v", err)
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("something was left (-before +after):\n%s", diff)
	}
}

// environment sets what must have no effect.
func environment(t *testing.T, d driver.Driver) {
	outside, dir := t.TempDir(), t.TempDir()
	hidden := put(t, open(t, d, outside, driver.OpenOptions{}), driver.Blob, "hidden")
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte("[core]\n\trepositoryformatversion = 99\n[extensions]\n\tobjectformat = sha256\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"HOME": home, "XDG_CONFIG_HOME": home, "GIT_DIR": outside, "GIT_OBJECT_DIRECTORY": filepath.Join(outside, "objects"), "GIT_ALTERNATE_OBJECT_DIRECTORIES": filepath.Join(outside, "objects")} {
		t.Setenv(k, v)
	}
	if err := os.MkdirAll(filepath.Join(dir, "objects", "info"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "objects", "info", "alternates"), []byte(filepath.Join(outside, "objects")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, d, dir, driver.OpenOptions{})
	missing(t, s, hidden)
	get(t, s, put(t, s, driver.Blob, "mine"), driver.Blob, "mine")
}

func concurrent(t *testing.T, d driver.Driver) {
	s := open(t, d, t.TempDir(), driver.OpenOptions{})
	from := open(t, d, t.TempDir(), driver.OpenOptions{})
	commits := history(t, from)
	p := packOf(t, from, commits[2:], nil)
	if _, err := s.AddPack(t.Context(), bytes.NewReader(p), driver.PackOptions{Size: int64(len(p))}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				for _, c := range commits {
					if typ, _, err := s.Get(t.Context(), c); err != nil || typ != driver.Commit {
						t.Errorf("get: %s, %v", typ, err)
					}
				}
			}
		})
	}
	wg.Wait()
}

func cloneCommitPush(t *testing.T, d driver.Driver) {
	srv := gitserver.Start(t, gitserver.Options{})
	repo := srv.Repo("app")
	repo.Generate(gitserver.GenOptions{Files: 50, Commits: 20})
	c, err := git.New(repo.URL(), git.Options{Driver: d, TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	for _, depth := range []int{0, -1} {
		dir := filepath.Join(t.TempDir(), "work")
		r, err := c.Clone(t.Context(), git.Reference{Branch: "main"}, dir, git.CloneOptions{Depth: depth})
		if err != nil {
			t.Fatal(err)
		}
		if r.Driver() != d {
			t.Fatalf("driver %s was used", r.Driver().Name())
		}
		if err := r.Root().WriteFile("new", []byte(fmt.Sprint(depth)), 0o644); err != nil {
			t.Fatal(err)
		}
		commit, err := r.Commit(t.Context(), git.CommitOptions{Message: "new", Author: git.Signature{Name: "A", Email: "a@example.com"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Push(t.Context(), git.PushOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := string(repo.Head("main")); got != commit.Hash.String() {
			t.Fatalf("remote is at %s, want %s", got, commit.Hash)
		}
		if out, err := exec.Command("git", "-C", dir, "fsck", "--strict").CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 { //nolint:gosec // a temporary directory of the suite
			t.Fatalf("git fsck: %v\n%s", err, out)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
