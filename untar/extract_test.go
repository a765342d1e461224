// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package untar_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/untar"
	"github.com/gitops-kit/sdk/untar/tarball"
)

// program returns the path of a program, or skips; in CI it fails.
func program(t testing.TB, name, install string) string {
	t.Helper()
	p, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed: %s", name, install)
		}
		t.Skipf("%s is not installed: %s", name, install)
	}
	return p
}

func command(t testing.TB, dir, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, stderr.String())
	}
	return out
}

// sample is a tree with everything that ordinary archives hold.
func sample(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"a.yaml": "kind: A\n", "empty": "", "d/e/f/g.txt": "deep", "d/x.sh": "#!/bin/sh\n",
		"d/" + strings.Repeat("long-directory/", 12) + strings.Repeat("n", 120) + ".txt": "long name",
		`a\x2db.service`: "unit", "..a/x": "dots", "a..b": "dots", "foo..": "dots", "ümläut/ß": "utf-8",
		"block": strings.Repeat("b", 512), "big": strings.Repeat("0123456789abcdef", 200_000),
	} {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chmod(filepath.Join(dir, "d/x.sh"), 0o755), os.MkdirAll(filepath.Join(dir, "hollow"), 0o755)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// C01, C03, TAR-5, TAR-7: what ordinary programs write, in all their formats.
func TestRoundTripsOfOtherPrograms(t *testing.T) {
	src := sample(t)
	want := tree(t, src)
	out := t.TempDir()
	archives := map[string]func(t *testing.T) []byte{
		"GNU": func(t *testing.T) []byte {
			return command(t, src, program(t, "tar", "apt-get install tar"), "-czf", "-", ".")
		},
		"GNUFormat": func(t *testing.T) []byte {
			return command(t, src, program(t, "tar", "apt-get install tar"), "--format=gnu", "-czf", "-", ".")
		},
		"GNUPosix": func(t *testing.T) []byte {
			return command(t, src, program(t, "tar", "apt-get install tar"), "--format=posix", "-czf", "-", ".")
		},
		"GNUPadding": func(t *testing.T) []byte {
			return gz(command(t, src, program(t, "tar", "apt-get install tar"), "-b", "200", "-cf", "-", "."))
		},
		"GitArchive": func(t *testing.T) []byte {
			git := program(t, "git", "apt-get install git")
			repo := filepath.Join(out, "repo")
			if err := os.CopyFS(repo, os.DirFS(src)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(repo, "hollow", "x"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			command(t, repo, git, "init", "-q")
			command(t, repo, git, "add", "-A")
			command(t, repo, git, "commit", "-qm", "x")
			return command(t, repo, git, "archive", "--format=tar.gz", "HEAD")
		},
		"Go": func(t *testing.T) []byte {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			z.Name, z.Comment, z.Extra = "name.tar", "comment", []byte("XX\x01\x00z")
			w := tar.NewWriter(z)
			if err := errors.Join(w.AddFS(os.DirFS(src)), w.Close(), z.Close()); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		},
	}
	if p, err := exec.LookPath("bsdtar"); err == nil {
		archives["BSD"] = func(t *testing.T) []byte { return command(t, src, p, "-czf", "-", ".") }
	}
	if p, err := exec.LookPath("python3"); err == nil {
		archives["Python"] = func(t *testing.T) []byte {
			f := filepath.Join(out, "py.tgz")
			command(t, src, p, "-c", "import tarfile,sys; t=tarfile.open(sys.argv[1],'w:gz'); t.add('.'); t.close()", f)
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	for name, make := range archives {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := extract(t, make(t), untar.Options{})
			g.Expect(got.err).NotTo(HaveOccurred())
			delete(got.tree, "hollow/x")
			g.Expect(cmp.Diff(want, got.tree)).To(BeEmpty())
			info, err := os.Stat(filepath.Join(got.dst, "d/x.sh"))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(info.Mode()&0o100).NotTo(BeZero(), "x bit")
		})
	}
}

// C01: several end blocks, members of gzip, padding after gzip.
func TestUsualOddities(t *testing.T) {
	plain := new(raw).file("a", "x").end()
	cases := map[string][]byte{
		"ManyEndBlocks":  gz(append(bytes.Clone(plain), make([]byte, 20*512)...)),
		"OneEndBlock":    gz(plain[:len(plain)-512]),
		"NoEndMarker":    gz(plain[:len(plain)-1024]),
		"TwoMembers":     append(gz(plain[:700]), gz(plain[700:])...),
		"EmptyMembers":   slicesConcat(gz(nil), gz(plain), gz(nil)),
		"ZerosAfterGzip": append(gz(plain), make([]byte, 1000)...),
		"V7":             gz(new(raw).header(head{name: "a", flag: 0, size: 1, magic: "\x00"}).body("x").end()),
		"GNULongName":    gz(new(raw).meta('L', "a\x00").header(head{name: "cut", flag: '0', size: 1, magic: "ustar  \x00"}).body("x").end()),
		"Contiguous":     gz(new(raw).header(head{name: "a", flag: '7', size: 1}).body("x").end()),
		"Base256Size":    gz(new(raw).header(head{name: "a", flag: '0', sizeField: "\x80" + strings.Repeat("\x00", 10) + "\x01"}).body("x").end()),
		"PAXSize":        gz(new(raw).pax("size", "1").header(head{name: "a", flag: '0'}).body("x").end()),
		"Prefix":         gz(new(raw).header(head{name: "a", flag: '0', size: 1}).body("x").end()),
		"DotSlash":       gz(new(raw).dir("./").file("././a", "x").end()),
		"PAXUnset":       gz(new(raw).pax("path", "b", "path", "").file("a", "x").end()),
		"SpacesInOctal":  gz(new(raw).header(head{name: "a", flag: '0', sizeField: "          1 "}).body("x").end()),
	}
	for name, data := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := extract(t, data, untar.Options{})
			g.Expect(got.err).NotTo(HaveOccurred())
			g.Expect(got.tree).To(Equal(map[string]string{"a": "x"}))
		})
	}
	g := NewWithT(t)
	got := extract(t, gz(new(raw).header(head{name: "f", prefix: "a/b", flag: '0', size: 1}).body("x").header(head{name: "d/", flag: '0'}).end()), untar.Options{})
	g.Expect(got.err).NotTo(HaveOccurred())
	g.Expect(got.tree).To(Equal(map[string]string{"a/": "", "a/b/": "", "a/b/f": "x", "d/": ""}))
	got = extract(t, gz(nil), untar.Options{})
	g.Expect(got.err).NotTo(HaveOccurred(), "an empty archive")
	g.Expect(got.tree).To(BeEmpty())
	info, err := os.Stat(got.dst)
	g.Expect(err).NotTo(HaveOccurred(), "makes an empty directory")
	g.Expect(info.Mode().Perm() & 0o700).To(Equal(fs.FileMode(0o700)))
}

func slicesConcat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// TAR-3
func TestCompression(t *testing.T) {
	g := NewWithT(t)
	plain := new(raw).file("PK\x03\x04", "x").end()
	var z bytes.Buffer
	zw, err := zstd.NewWriter(&z)
	g.Expect(err).NotTo(HaveOccurred())
	_, _ = zw.Write(plain)
	g.Expect(zw.Close()).To(Succeed())
	ok := func(data []byte, c untar.Compression) {
		t.Helper()
		got := extract(t, data, untar.Options{Compression: c})
		g.Expect(got.err).NotTo(HaveOccurred())
		g.Expect(names(got.tree)).To(HaveLen(1))
	}
	ok(gz(plain), untar.Gzip)
	ok(gz(plain), untar.Auto)
	ok(plain, untar.Auto)
	ok(plain, untar.None)
	ok(z.Bytes(), untar.Zstd)
	no := func(data []byte, c untar.Compression, want error, text string) {
		t.Helper()
		err := extract(t, data, untar.Options{Compression: c}).err
		g.Expect(errors.Is(err, want)).To(BeTrue(), "%v", err)
		g.Expect(err.Error()).To(ContainSubstring(text))
	}
	no(plain, untar.Gzip, untar.ErrNotCompressed, "gzip")
	no(gz(plain), untar.Zstd, untar.ErrUnsupportedEntry, "gzip")
	no(z.Bytes(), untar.Gzip, untar.ErrUnsupportedEntry, "zstd")
	no(z.Bytes()[:z.Len()-3], untar.Zstd, untar.ErrInvalidArchive, "zstd")
	no(append(bytes.Clone(z.Bytes()), "junk!"...), untar.Zstd, untar.ErrInvalidArchive, "zstd")
	no([]byte("PK\x03\x04aaaa"), untar.Gzip, untar.ErrUnsupportedEntry, "zip")
	no([]byte("PK\x03\x04aaaa"), untar.Auto, untar.ErrUnsupportedEntry, "zip")
	no([]byte("\xfd7zXZ\x00aaaa"), untar.Gzip, untar.ErrUnsupportedEntry, "xz")
	no([]byte("BZh9"), untar.Gzip, untar.ErrUnsupportedEntry, "bzip2")
	no([]byte("\xff\x06\x00\x00S2sTwO"), untar.Auto, untar.ErrUnsupportedEntry, "s2")
	no([]byte("hello"), untar.Gzip, untar.ErrNotCompressed, "")
	no(nil, untar.Gzip, untar.ErrInvalidArchive, "empty")
	no([]byte("hello"), untar.Auto, untar.ErrInvalidArchive, "")
}

// TAR-4: cut anywhere, or with a byte changed, an archive is refused.
func TestTruncatedAndFlipped(t *testing.T) {
	g := NewWithT(t)
	var b raw
	for i := range 6 {
		b.file(fmt.Sprintf("f%d", i), strings.Repeat("x", 300*i))
	}
	plain := b.end()
	boundary := map[int]bool{} // cuts between entries are the accepted missing end marker
	at := 0
	for i := range 6 {
		boundary[at] = true
		at += 512 + (300*i+511)/512*512
	}
	boundary[at], boundary[at+512] = true, true
	for cut := 0; cut < len(plain); cut += 64 {
		_, err := untar.Walk(t.Context(), bytes.NewReader(plain[:cut]), nil, untar.Options{Compression: untar.None})
		if boundary[cut] || cut > at+512 {
			g.Expect(err).NotTo(HaveOccurred(), "cut at %d", cut)
		} else {
			g.Expect(errors.Is(err, io.ErrUnexpectedEOF)).To(BeTrue(), "cut at %d: %v", cut, err)
		}
	}
	root, err := os.OpenRoot(sample(t))
	g.Expect(err).NotTo(HaveOccurred())
	defer root.Close()
	var ours bytes.Buffer
	_, err = tarball.Pack(t.Context(), &ours, root, tarball.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	r := rand.New(rand.NewPCG(1, 1))
	for _, data := range [][]byte{gz(plain), ours.Bytes()} {
		for range 64 {
			cut := r.IntN(len(data)-1) + 1
			_, err := untar.Walk(t.Context(), bytes.NewReader(data[:cut]), nil, untar.Options{})
			g.Expect(errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, untar.ErrInvalidArchive) || errors.Is(err, untar.ErrNotCompressed)).To(BeTrue(), "cut at %d: %v", cut, err)
		}
		for range 64 {
			bad := bytes.Clone(data)
			at := 20 + r.IntN(len(data)-20)
			bad[at] ^= 1 << r.IntN(8)
			got := extract(t, bad, untar.Options{})
			if got.err == nil { // only where the byte means nothing, as the GK length
				g.Expect(cmp.Diff(extract(t, data, untar.Options{}).tree, got.tree)).To(BeEmpty(), "flip at %d", at)
			}
		}
		for _, tail := range []string{"junk", "\x00\x00x", "\x1f", "\x1f\x8b"} {
			err := extract(t, append(bytes.Clone(data), tail...), untar.Options{}).err
			g.Expect(errors.Is(err, untar.ErrInvalidArchive)).To(BeTrue(), "tail %q: %v", tail, err)
		}
		crc := bytes.Clone(data)
		crc[len(crc)-8] ^= 1
		g.Expect(errors.Is(extract(t, crc, untar.Options{}).err, untar.ErrInvalidArchive)).To(BeTrue(), "CRC")
		size := bytes.Clone(data)
		size[len(size)-1] ^= 1
		g.Expect(errors.Is(extract(t, size, untar.Options{}).err, untar.ErrInvalidArchive)).To(BeTrue(), "length")
	}
}

// TAR-2, R1: Verify runs after everything was read and before anything is
// published.
func TestVerify(t *testing.T) {
	g := NewWithT(t)
	parent := t.TempDir()
	dst := filepath.Join(parent, "dst")
	mine := errors.New("not what was asked for")
	r := bytes.NewReader(gz(new(raw).file("a", "x").end()))
	_, err := untar.Extract(t.Context(), r, dst, untar.Options{Verify: func() error {
		g.Expect(r.Len()).To(BeZero(), "all was read")
		_, err := os.Lstat(dst)
		g.Expect(errors.Is(err, fs.ErrNotExist)).To(BeTrue(), "nothing is published")
		return mine
	}})
	g.Expect(errors.Is(err, mine)).To(BeTrue())
	g.Expect(tree(t, parent)).To(BeEmpty())
	_, err = untar.Walk(t.Context(), bytes.NewReader(gz(new(raw).end())), nil, untar.Options{Verify: func() error { return mine }})
	g.Expect(errors.Is(err, mine)).To(BeTrue())
	// An error of the reader itself is returned as it is, and not terminal.
	_, err = untar.Extract(t.Context(), io.MultiReader(bytes.NewReader(gz(new(raw).file("a", "x").end())[:30]), readerFunc(func([]byte) (int, error) { return 0, mine })), dst, untar.Options{})
	g.Expect(errors.Is(err, mine)).To(BeTrue(), "%v", err)
	var terminal interface{ Terminal() bool }
	g.Expect(errors.As(err, &terminal) && terminal.Terminal()).To(BeFalse())
	// Refused content is still read to its end, for the digest around it.
	big := append(gz(new(raw).header(head{name: "../x", flag: '0'}).end()), bytes.Repeat([]byte("tail"), 100_000)...)
	rest := bytes.NewReader(big)
	_, err = untar.Extract(t.Context(), rest, dst, untar.Options{})
	g.Expect(errors.Is(err, untar.ErrPathEscape)).To(BeTrue())
	g.Expect(rest.Len()).To(BeZero())
}

// TAR-9, TAR-10
func TestDuplicatesAndModes(t *testing.T) {
	g := NewWithT(t)
	old := syscall.Umask(0)
	defer syscall.Umask(old)
	got := extract(t, gz(new(raw).file("a", "first, longer").file("d/x", "1").file("a", "2").dir("d").dir("d/").
		header(head{name: "suid", flag: '0', mode: "0006755"}).header(head{name: "none", flag: '0', mode: "0000000", size: 1}).body("n").
		header(head{name: "locked", flag: '5', mode: "0000000"}).file("locked/in", "x").header(head{name: "g", flag: '0', mode: "0000010"}).end()), untar.Options{})
	g.Expect(got.err).NotTo(HaveOccurred())
	g.Expect(got.tree).To(Equal(map[string]string{"a": "2", "d/": "", "d/x": "1", "suid": "", "none": "n", "locked/": "", "locked/in": "x", "g": ""}))
	g.Expect(got.rep.Files).To(Equal(6))
	g.Expect(got.rep.Dirs).To(Equal(2))
	for name, want := range map[string]fs.FileMode{"": fs.ModeDir | 0o755, "a": 0o644, "suid": 0o755, "none": 0o644, "locked": fs.ModeDir | 0o755, "g": 0o755} {
		info, err := os.Lstat(filepath.Join(got.dst, name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(info.Mode()).To(Equal(want), name)
	}
}

// TAR-10
func TestKeepTimes(t *testing.T) {
	g := NewWithT(t)
	at := func(unix string, o untar.Options) time.Time {
		t.Helper()
		got := extract(t, gz(new(raw).pax("mtime", unix).file("a", "x").end()), o)
		g.Expect(got.err).NotTo(HaveOccurred())
		info, err := os.Stat(filepath.Join(got.dst, "a"))
		g.Expect(err).NotTo(HaveOccurred())
		return info.ModTime()
	}
	keep := untar.Options{KeepTimes: true}
	g.Expect(at("1000000000.5", keep).Unix()).To(Equal(int64(1000000000)))
	g.Expect(at("1000", keep).Year()).To(Equal(1980), "clamped")
	g.Expect(at("99999999999", keep)).To(BeTemporally("<=", time.Now()), "clamped")
	g.Expect(at("1000000000", untar.Options{})).To(BeTemporally(">", time.Now().Add(-time.Hour)), "zero: not restored")
}

// TAR-12
func TestStripPrefixAndFilter(t *testing.T) {
	g := NewWithT(t)
	archive := gz(new(raw).meta('g', record("comment", "x")).dir("c/").file("c/a", "1").file("c/d/b", "2").file("other", "3").file("cc/x", "4").end())
	got := extract(t, archive, untar.Options{StripPrefix: "./c/"})
	g.Expect(got.err).NotTo(HaveOccurred())
	g.Expect(got.tree).To(Equal(map[string]string{"a": "1", "d/": "", "d/b": "2"}))
	g.Expect(got.rep.Files).To(Equal(2))
	g.Expect(got.rep.Skipped).To(Equal(2))
	g.Expect(got.rep.SkippedPaths).To(Equal([]string{"other", "cc/x"}))
	var seen []string
	got = extract(t, archive, untar.Options{StripPrefix: "c", Filter: func(e untar.Entry) bool {
		seen = append(seen, e.Path)
		return e.Path != "a"
	}})
	g.Expect(got.err).NotTo(HaveOccurred())
	g.Expect(seen).To(Equal([]string{"a", "d/b"}), "cleaned paths")
	g.Expect(got.tree).To(Equal(map[string]string{"d/": "", "d/b": "2"}))
	g.Expect(extract(t, archive, untar.Options{StripPrefix: "../c"}).err).To(HaveOccurred())
}

// TAR-11, TAR-6: a link in an artifact must not make it unusable.
func TestLinks(t *testing.T) {
	g := NewWithT(t)
	good := gz(new(raw).header(head{name: "bin/bzdiff", flag: '0', mode: "0000755"}).symlink("bin/bzcmp", "bzdiff").end())
	got := extract(t, good, untar.Options{})
	g.Expect(got.err).NotTo(HaveOccurred())
	g.Expect(got.rep.Files).To(Equal(1))
	g.Expect(got.rep.Links).To(Equal(1))
	g.Expect(got.rep.Skipped).To(Equal(1))
	g.Expect(got.tree).NotTo(HaveKey("bin/bzcmp"))
	got = extract(t, good, untar.Options{Links: untar.Inside})
	g.Expect(got.err).NotTo(HaveOccurred())
	g.Expect(got.tree["bin/bzcmp"]).To(Equal("-> bzdiff"))
	err := extract(t, good, untar.Options{Links: untar.Fail}).err
	g.Expect(errors.Is(err, untar.ErrUnsupportedEntry)).To(BeTrue())
	g.Expect(err.Error()).To(ContainSubstring("bin/bzcmp"))
	bad := gz(new(raw).header(head{name: "bin/bzdiff", flag: '0', mode: "0000755"}).symlink("bin/bzcmp", "bzdiff").symlink("etc", "/etc").file("etc/passwd", "x").end())
	for policy, entry := range map[untar.LinkPolicy]string{untar.Skip: "etc/passwd", untar.Inside: `"etc"`} {
		err := extract(t, bad, untar.Options{Links: policy}).err
		g.Expect(errors.Is(err, untar.ErrPathEscape)).To(BeTrue(), "%v", err)
		g.Expect(err.Error()).To(ContainSubstring(entry))
	}
	// C03: links inside the root, also with "..", chained, to directories, and
	// to nothing.
	got = extract(t, gz(new(raw).file("a/b/f", "x").symlink("l1", "a/b/f").symlink("a/l2", "../l1").symlink("dir", "a/b").symlink("dangling", "nothing").symlink("self", ".").symlink("l1", "a/b").end()), untar.Options{Links: untar.Inside})
	g.Expect(got.err).NotTo(HaveOccurred())
	g.Expect(got.tree).To(HaveKeyWithValue("a/l2", "-> ../l1"))
	g.Expect(got.tree).To(HaveKeyWithValue("l1", "-> a/b"), "the later one counts")
	g.Expect(got.tree).To(HaveKeyWithValue("dangling", "-> nothing"))
}

// TAR-2: an empty directory is replaced; in place, each kind of thing in the
// way.
func TestExisting(t *testing.T) {
	g := NewWithT(t)
	dst := filepath.Join(t.TempDir(), "dst")
	archive := gz(new(raw).file("a", "new").dir("d").file("e/f", "new").symlink("l", "a").end())
	g.Expect(os.Mkdir(dst, 0o700)).To(Succeed())
	_, err := untar.Extract(t.Context(), bytes.NewReader(archive), dst, untar.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(tree(t, dst)).To(HaveKeyWithValue("a", "new"))
	_, err = untar.Extract(t.Context(), bytes.NewReader(archive), dst, untar.Options{})
	g.Expect(errors.Is(err, untar.ErrNotEmpty)).To(BeTrue())
	other := filepath.Join(t.TempDir(), "other")
	g.Expect(errors.Join(os.MkdirAll(filepath.Join(other, "a"), 0o755), os.WriteFile(filepath.Join(other, "d"), nil, 0o644),
		os.WriteFile(filepath.Join(other, "keep"), []byte("k"), 0o644), os.Symlink("/etc", filepath.Join(other, "e")), os.WriteFile(filepath.Join(other, "l"), nil, 0o644))).To(Succeed())
	_, err = untar.Extract(t.Context(), bytes.NewReader(archive), other, untar.Options{AllowExisting: true, Links: untar.Inside})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(tree(t, other)).To(Equal(map[string]string{"a": "new", "d/": "", "e/": "", "e/f": "new", "keep": "k", "l": "-> a"}))
	g.Expect(errors.Join(os.Remove(filepath.Join(other, "a")), os.MkdirAll(filepath.Join(other, "a", "full"), 0o755))).To(Succeed())
	_, err = untar.Extract(t.Context(), bytes.NewReader(archive), other, untar.Options{AllowExisting: true})
	g.Expect(err).To(HaveOccurred(), "a directory with content is never removed")
	g.Expect(tree(t, other)).To(HaveKey("a/full/"))
	for name := range tree(t, other) {
		g.Expect(name).NotTo(HaveSuffix(".tmp"))
	}
}

// TAR-27: members decoded apart give the same as in sequence, also where
// their lengths lie.
func TestMembersAgainstSequence(t *testing.T) {
	g := NewWithT(t)
	var b bytes.Buffer
	w := tarball.NewWriter(&b, tarball.Options{})
	r := rand.New(rand.NewPCG(3, 3))
	content := make([]byte, 1_200_000)
	for i := range content {
		content[i] = byte(r.IntN(40))
	}
	g.Expect(w.Add("f", 0o644, int64(len(content)), bytes.NewReader(content))).To(Succeed())
	_, err := w.Close()
	g.Expect(err).NotTo(HaveOccurred())
	want := extract(t, b.Bytes(), untar.Options{Jobs: 1})
	g.Expect(want.err).NotTo(HaveOccurred())
	rounds := 12
	if long() {
		rounds = 200
	}
	for range rounds {
		bad := bytes.Clone(b.Bytes())
		at := 16 + r.IntN(4)
		if r.IntN(3) > 0 { // the length of a later member
			if i := bytes.Index(bad[100:], []byte("\x08\x00GK\x04\x00")); i >= 0 {
				at = 100 + i + 6 + r.IntN(4)
			}
		}
		bad[at] ^= byte(1 + r.IntN(255))
		got := extract(t, bad, untar.Options{Jobs: 4})
		g.Expect(got.err).NotTo(HaveOccurred(), "the field is not part of the format")
		g.Expect(got.tree).To(Equal(want.tree))
	}
}

// TAR-13, F27: a disk that is full at some byte.
func TestFileSizeLimit(t *testing.T) {
	if os.Getenv("UNTAR_CHILD") == "fsize" {
		g := NewWithT(t)
		var lim syscall.Rlimit
		g.Expect(syscall.Getrlimit(syscall.RLIMIT_FSIZE, &lim)).To(Succeed())
		lim.Cur = 100_000
		g.Expect(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &lim)).To(Succeed())
		for _, size := range []int{200_000, 2_000_000} { // handed over, and streamed
			parent := t.TempDir()
			_, err := untar.Extract(t.Context(), bytes.NewReader(gz(new(raw).file("ok", "x").file("big", strings.Repeat("x", size)).end())), filepath.Join(parent, "dst"), untar.Options{})
			var ee *untar.EntryError
			g.Expect(errors.As(err, &ee)).To(BeTrue(), "%v", err)
			g.Expect(errors.Is(err, syscall.EFBIG)).To(BeTrue(), "%v", err)
			g.Expect(ee.Terminal()).To(BeFalse())
			g.Expect(ee.Reason()).To(Equal("StorageError"))
			g.Expect(tree(t, parent)).To(BeEmpty())
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestFileSizeLimit$", "-test.v")
	cmd.Env = append(os.Environ(), "UNTAR_CHILD=fsize")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// Walk hands out content and stops calling on SkipAll.
func TestWalk(t *testing.T) {
	g := NewWithT(t)
	archive := gz(new(raw).dir("d").file("d/a", "one").file("d/b", "two").symlink("l", "d").file("c", "three").end())
	got := map[string]string{}
	rep, err := untar.Walk(t.Context(), bytes.NewReader(archive), func(e untar.Entry, r io.Reader) error {
		b, err := io.ReadAll(r)
		got[e.Path] = string(b)
		if e.Path == "d/b" {
			return fs.SkipAll
		}
		return err
	}, untar.Options{Links: untar.Inside})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(Equal(map[string]string{"d": "", "d/a": "one", "d/b": "two"}))
	g.Expect(*rep).To(Equal(untar.Report{Compressed: int64(len(archive)), Expanded: rep.Expanded, Files: 3, Dirs: 1, Links: 1}))
	mine := errors.New("mine")
	_, err = untar.Walk(t.Context(), bytes.NewReader(archive), func(untar.Entry, io.Reader) error { return mine }, untar.Options{})
	g.Expect(err).To(Equal(mine), "returned as it is")
}

// untar.md §7: few allocations for a small file.
func TestAllocations(t *testing.T) {
	var b raw
	const files = 1000
	for i := range files {
		b.file(fmt.Sprintf("d%02d/f%04d.yaml", i/50, i), "kind: ConfigMap\n")
	}
	archive := gz(b.end())
	parent := t.TempDir()
	n := 0
	per := testing.AllocsPerRun(3, func() {
		n++
		if _, err := untar.Extract(t.Context(), bytes.NewReader(archive), filepath.Join(parent, fmt.Sprint(n)), untar.Options{}); err != nil {
			t.Fatal(err)
		}
	}) / files
	if per > 6 {
		t.Fatalf("%.1f allocations for each file", per)
	}
}
