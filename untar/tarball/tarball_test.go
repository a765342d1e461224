// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package tarball_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/untar"
	"github.com/gitops-kit/sdk/untar/digest"
	"github.com/gitops-kit/sdk/untar/ignore"
	"github.com/gitops-kit/sdk/untar/tarball"
)

// write makes a tree from names and contents in the given order; a name that
// ends in ! is executable, one that ends in / a directory.
func write(t testing.TB, files []string, content func(string) []byte) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for _, name := range files {
		full := filepath.Join(dir, filepath.FromSlash(strings.TrimSuffix(name, "!")))
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(full, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := fs.FileMode(0o644)
		if strings.HasSuffix(name, "!") {
			mode = 0o755
		}
		if err := os.WriteFile(full, content(name), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(full, mode); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func text(name string) []byte { return []byte("content of " + name + "\n") }

func pack(t testing.TB, root *os.Root, o tarball.Options) ([]byte, *tarball.Result) {
	t.Helper()
	var b bytes.Buffer
	res, err := tarball.Pack(t.Context(), &b, root, o)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), res
}

// goldens are the trees whose digests must never change: a digest that does
// is a breaking change (TAR-20).
func goldens() map[string]struct {
	files   []string
	content func(string) []byte
	digest  string
	diffID  string
} {
	var many []string
	for i := range 10_000 {
		many = append(many, fmt.Sprintf("d%02d/e%d/f%05d.yaml", i%40, i%7, i))
	}
	binary20 := func(string) []byte {
		r := rand.New(rand.NewPCG(5, 5))
		b := make([]byte, 20_000_000)
		for i := 0; i < len(b); i += 4 {
			binary.LittleEndian.PutUint32(b[i:], r.Uint32()>>(i>>10&15))
		}
		return b
	}
	type golden = struct {
		files   []string
		content func(string) []byte
		digest  string
		diffID  string
	}
	return map[string]golden{
		"empty":  {nil, text, goldenEmpty, goldenEmptyDiff},
		"one":    {[]string{"a.yaml"}, text, goldenOne, ""},
		"xbits":  {[]string{"a!", "b", "c/d!", "e/", "a.b", "c.d"}, text, goldenXBits, ""},
		"many":   {many, text, goldenMany, ""},
		"long":   {[]string{strings.Repeat("d", 90) + "/" + strings.Repeat("f", 99), strings.Repeat("d/", 60) + strings.Repeat("x", 200), "ü/ß", strings.Repeat("n", 101)}, text, goldenLong, ""},
		"binary": {[]string{"blob"}, binary20, goldenBinary, ""},
	}
}

// TAR-20, TAR-21, TAR-22, TAR-26
func TestGoldenDigests(t *testing.T) {
	for name, tc := range goldens() {
		t.Run(name, func(t *testing.T) {
			old := syscall.Umask(0)
			defer syscall.Umask(old)
			t.Setenv("TZ", "Pacific/Auckland")
			all := []int{1, 2, 8}
			switch { // the big ones take minutes with the race detector
			case os.Getenv("GITOPS_KIT_LONG") == "1":
			case name == "many":
				all = all[2:]
			case name == "binary":
				all = []int{1, 8}
			}
			for i, procs := range all {
				before := runtime.GOMAXPROCS(procs)
				files := slices.Clone(tc.files)
				rand.New(rand.NewPCG(uint64(i), 0)).Shuffle(len(files), func(a, b int) { files[a], files[b] = files[b], files[a] })
				syscall.Umask([]int{0, 0o077, 0o022}[i])
				_, res := pack(t, write(t, files, tc.content), tarball.Options{Jobs: procs})
				runtime.GOMAXPROCS(before)
				if res.Digests["sha256"] != tc.digest {
					t.Fatalf("GOMAXPROCS %d: %s, want %s", procs, res.Digests["sha256"], tc.digest)
				}
				if tc.diffID != "" && res.DiffID != tc.diffID {
					t.Fatalf("diff id %s", res.DiffID)
				}
			}
		})
	}
}

// TAR-22, TAR-23, TAR-24, TAR-25, TAR-28: seen by other readers.
func TestReadableByOthers(t *testing.T) {
	g := NewWithT(t)
	root := write(t, []string{"b", "a!", "d/x", "d.y", "empty/", strings.Repeat("n", 120), "ü"}, text)
	g.Expect(os.Symlink("b", filepath.Join(root.Name(), "link"))).To(Succeed())
	g.Expect(syscall.Mkfifo(filepath.Join(root.Name(), "fifo"), 0o600)).To(Succeed())
	b, res := pack(t, root, tarball.Options{Digests: digest.Algorithms()})
	g.Expect(res.Skipped).To(Equal([]string{"fifo", "link"}))
	g.Expect(res.Size).To(Equal(int64(len(b))))
	for algorithm, sum := range res.Digests {
		want, err := digest.FromBytes(algorithm, b)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(sum).To(Equal(want.String()))
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	g.Expect(err).NotTo(HaveOccurred())
	plain, err := io.ReadAll(z)
	g.Expect(err).NotTo(HaveOccurred())
	diff, _ := digest.FromBytes(digest.SHA256, plain)
	g.Expect(res.DiffID).To(Equal(diff.String()))
	g.Expect(res.Expanded).To(Equal(int64(len(plain))))
	var got []string
	for r := tar.NewReader(bytes.NewReader(plain)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(h.Uid | h.Gid).To(BeZero())
		g.Expect(h.Uname + h.Gname).To(BeEmpty())
		g.Expect(h.ModTime.Unix()).To(BeZero())
		got = append(got, fmt.Sprintf("%s %o %d", h.Name, h.Mode, h.Size))
	}
	g.Expect(cmp.Diff([]string{
		"a 700 14", "b 600 13", "d.y 600 15", "d/ 750 0", "d/x 600 15", "empty/ 750 0",
		strings.Repeat("n", 120) + " 600 132", "ü 600 14",
	}, got)).To(BeEmpty())
	plain2, _ := pack(t, root, tarball.Options{Compression: tarball.None})
	g.Expect(plain2).To(Equal(plain))
	for _, name := range []string{"gzip", "tar"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is not installed", name)
			}
			t.Skipf("%s is not installed", name)
		}
	}
	f := filepath.Join(t.TempDir(), "a.tar.gz")
	g.Expect(os.WriteFile(f, b, 0o600)).To(Succeed())
	for _, args := range [][]string{{"gzip", "-t", f}, {"tar", "tzf", f}} {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		g.Expect(err).NotTo(HaveOccurred(), "%s", out)
	}
}

// TAR-25: the members and their length fields; the size against gzip -6.
func TestLayout(t *testing.T) {
	g := NewWithT(t)
	var files []string
	for i := range 3000 {
		files = append(files, fmt.Sprintf("apps/f%d.yaml", i))
	}
	root := write(t, files, func(name string) []byte {
		return []byte(strings.Repeat("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "+name+"}\n", 1+len(name)*7%11))
	})
	b, res := pack(t, root, tarball.Options{})
	members := 0
	for rest := b; len(rest) > 0; members++ {
		g.Expect(string(rest[:4]) + string(rest[8:16])).To(Equal("\x1f\x8b\x08\x04\x00\xff\x08\x00GK\x04\x00"))
		g.Expect(rest[4:8]).To(Equal(make([]byte, 4)), "no time")
		size := binary.LittleEndian.Uint32(rest[16:])
		raw := binary.LittleEndian.Uint32(rest[size-4:])
		g.Expect(raw == 512<<10 || int(size) == len(rest)).To(BeTrue())
		rest = rest[size:]
	}
	g.Expect(members).To(Equal(int((res.Expanded + 512<<10 - 1) / (512 << 10))))
	plain, _ := pack(t, root, tarball.Options{Compression: tarball.None})
	var std bytes.Buffer
	w, _ := gzip.NewWriterLevel(&std, 6)
	_, _ = w.Write(plain)
	_ = w.Close()
	g.Expect(float64(len(b))).To(BeNumerically("<=", 1.03*float64(std.Len())), "size against gzip -6 of the standard library")
	if gz, err := exec.LookPath("gzip"); err == nil {
		cmd := exec.Command(gz, "-6", "-n", "-c")
		cmd.Stdin = bytes.NewReader(plain)
		out, err := cmd.Output()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(float64(len(b))).To(BeNumerically("<=", 1.03*float64(len(out))), "size against gzip -6")
	}
	fast, _ := pack(t, root, tarball.Options{Level: tarball.Fast})
	store, _ := pack(t, root, tarball.Options{Level: tarball.Store})
	g.Expect(len(fast)).To(BeNumerically(">", len(b)))
	g.Expect(len(store)).To(BeNumerically(">", len(plain)))
}

// TAR-31
func TestPackOfExtractIsPack(t *testing.T) {
	g := NewWithT(t)
	root := write(t, []string{"b", "a!", "d/x", "d.y", "empty/", strings.Repeat("n", 120), "ü", `a\x2db`}, text)
	b, _ := pack(t, root, tarball.Options{})
	dst := filepath.Join(t.TempDir(), "dst")
	_, err := untar.Extract(t.Context(), bytes.NewReader(b), dst, untar.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	again, err := os.OpenRoot(dst)
	g.Expect(err).NotTo(HaveOccurred())
	defer again.Close()
	b2, _ := pack(t, again, tarball.Options{})
	g.Expect(bytes.Equal(b, b2)).To(BeTrue())
}

// TAR-29, IGN-9: excluded directories are not opened; the rest is as if they
// were not there.
func TestIgnoreAndSkip(t *testing.T) {
	g := NewWithT(t)
	files := []string{"deploy/app.yaml", "deploy/sub/x.yaml", "README.md", "other/deploy/y.yaml", ".git/config"}
	root := write(t, files, text)
	kept := func(o tarball.Options) []string {
		t.Helper()
		b, _ := pack(t, root, o)
		var out []string
		_, err := untar.Walk(t.Context(), bytes.NewReader(b), func(e untar.Entry, _ io.Reader) error {
			out = append(out, e.Path)
			return nil
		}, untar.Options{})
		g.Expect(err).NotTo(HaveOccurred())
		return out
	}
	m := func(text string, re bool) *ignore.Matcher {
		p, err := ignore.Parse(strings.NewReader(text), "", ignore.Options{})
		g.Expect(err).NotTo(HaveOccurred())
		m, err := ignore.New(append(ignore.VCS(), p...), ignore.Options{ReincludeBelow: re})
		g.Expect(err).NotTo(HaveOccurred())
		return m
	}
	g.Expect(kept(tarball.Options{Ignore: m("/*\n!/deploy", false)})).To(Equal([]string{"deploy", "deploy/app.yaml", "deploy/sub", "deploy/sub/x.yaml"}))
	g.Expect(kept(tarball.Options{Ignore: m("/*\n!/deploy/sub", true)})).To(Equal([]string{"deploy", "deploy/sub", "deploy/sub/x.yaml"}), "no empty directory other")
	g.Expect(kept(tarball.Options{Ignore: m("/*\n!/deploy/sub", false)})).To(BeEmpty())
	g.Expect(kept(tarball.Options{Skip: func(p string, dir bool) bool { return dir && p == "deploy" || p == ".git" }})).To(Equal([]string{"README.md", "other", "other/deploy", "other/deploy/y.yaml"}))
	without := write(t, files[:2], text)
	b, _ := pack(t, without, tarball.Options{})
	b2, _ := pack(t, root, tarball.Options{Ignore: m("/*\n!/deploy", false)})
	g.Expect(bytes.Equal(b, b2)).To(BeTrue(), "what is excluded never changes the output")
	// A directory that cannot be read does not matter if it is excluded.
	g.Expect(os.Chmod(filepath.Join(root.Name(), "other"), 0)).To(Succeed())
	defer func() { g.Expect(os.Chmod(filepath.Join(root.Name(), "other"), 0o755)).To(Succeed()) }()
	g.Expect(kept(tarball.Options{Ignore: m("/*\n!/deploy", false)})).To(HaveLen(4))
}

// TAR-23
func TestModes(t *testing.T) {
	for policy, want := range map[tarball.ModePolicy]string{
		tarball.Normalised: "d 750, d/x 700, f 600", tarball.Portable: "d 755, d/x 755, f 644", tarball.Keep: "d 711, d/x 751, f 640",
	} {
		var b bytes.Buffer
		w := tarball.NewWriter(&b, tarball.Options{Compression: tarball.None, Modes: policy})
		err := errors.Join(w.Add("d", fs.ModeDir|0o711, 0, nil), w.Add("d/x", 0o751|fs.ModeSetuid, 0, nil), w.Add("f", 0o640, 0, nil))
		_, cerr := w.Close()
		if err = errors.Join(err, cerr); err != nil {
			t.Fatal(err)
		}
		var got []string
		for r := tar.NewReader(&b); ; {
			h, err := r.Next()
			if err != nil {
				break
			}
			got = append(got, fmt.Sprintf("%s %o", strings.TrimSuffix(h.Name, "/"), h.Mode))
		}
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("policy %d: %s", policy, s)
		}
	}
}

type add struct {
	path string
	mode fs.FileMode
	size int64
	data string
}

// TAR-29, TAR-24: what the Writer refuses, and that it stays refused.
func TestWriterRefuses(t *testing.T) {
	d, f := fs.ModeDir|0o755, fs.FileMode(0o644)
	cases := map[string]struct {
		adds []add
		want error
	}{
		"Order":         {[]add{{"b", f, 0, ""}, {"a", f, 0, ""}}, tarball.ErrOrder},
		"Twice":         {[]add{{"b", f, 0, ""}, {"b", f, 0, ""}}, tarball.ErrOrder},
		"FileThenDir":   {[]add{{"b", f, 0, ""}, {"b", d, 0, ""}}, tarball.ErrOrder},
		"FileDotDir":    {[]add{{"b", f, 0, ""}, {"b.c", f, 0, ""}, {"b", d, 0, ""}}, tarball.ErrOrder},
		"NoParent":      {[]add{{"d/b", f, 0, ""}}, tarball.ErrOrder},
		"OtherParent":   {[]add{{"a", d, 0, ""}, {"b/c", f, 0, ""}}, tarball.ErrOrder},
		"DirOrder":      {[]add{{"a", d, 0, ""}, {"a.b", f, 0, ""}}, tarball.ErrOrder},
		"TooShort":      {[]add{{"a", f, 5, "abc"}}, tarball.ErrChanged},
		"TooLong":       {[]add{{"a", f, 2, "abc"}}, tarball.ErrChanged},
		"Negative":      {[]add{{"a", f, -1, ""}}, tarball.ErrChanged},
		"Absolute":      {[]add{{"/a", f, 0, ""}}, tarball.ErrName},
		"DotDot":        {[]add{{"..", d, 0, ""}}, tarball.ErrName},
		"Unclean":       {[]add{{"a//b", f, 0, ""}}, tarball.ErrName},
		"TrailingSlash": {[]add{{"a/", d, 0, ""}}, tarball.ErrName},
		"Empty":         {[]add{{"", f, 0, ""}}, tarball.ErrName},
		"NUL":           {[]add{{"a\x00", f, 0, ""}}, tarball.ErrName},
		"Backslash":     {[]add{{`\a`, f, 0, ""}}, tarball.ErrName},
		"TooBig":        {[]add{{"a", f, 600 << 20, ""}}, tarball.ErrLimit},
		"LongName":      {[]add{{strings.Repeat("n", 256), f, 0, ""}}, tarball.ErrLimit},
		"TooDeep":       {[]add{{strings.Repeat("a/", 128) + "b", f, 0, ""}}, tarball.ErrLimit},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var b bytes.Buffer
			w := tarball.NewWriter(&b, tarball.Options{})
			var err error
			for _, a := range tc.adds {
				err = w.Add(a.path, a.mode, a.size, strings.NewReader(a.data))
			}
			g.Expect(errors.Is(err, tc.want)).To(BeTrue(), "%v", err)
			var ee *tarball.EntryError
			g.Expect(errors.As(err, &ee)).To(BeTrue())
			g.Expect(errors.Is(w.Add("z", 0o644, 0, nil), tc.want)).To(BeTrue(), "stays")
			_, cerr := w.Close()
			g.Expect(errors.Is(cerr, tc.want)).To(BeTrue())
			_, cerr = w.Close()
			g.Expect(errors.Is(cerr, tarball.ErrClosed)).To(BeTrue())
			_, err = untar.Walk(t.Context(), &b, nil, untar.Options{})
			g.Expect(err).To(HaveOccurred(), "no complete archive was written")
		})
	}
	g := NewWithT(t)
	_, err := tarball.NewWriter(io.Discard, tarball.Options{Digests: []string{"md5"}}).Close()
	g.Expect(errors.Is(err, digest.ErrUnsupported)).To(BeTrue())
}

// TAR-30: a single file is an archive with one entry.
func TestSingleFile(t *testing.T) {
	g := NewWithT(t)
	var b bytes.Buffer
	w := tarball.NewWriter(&b, tarball.Options{Modes: tarball.Portable})
	g.Expect(w.Add("values.yaml", 0o600, 4, strings.NewReader("a: 1"))).To(Succeed())
	res, err := w.Close()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Files).To(Equal(1))
	g.Expect(res.Dirs).To(BeZero())
	var got []untar.Entry
	var text []byte
	_, err = untar.Walk(t.Context(), &b, func(e untar.Entry, r io.Reader) (err error) {
		got = append(got, e)
		text, err = io.ReadAll(r)
		return err
	}, untar.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(Equal([]untar.Entry{{Path: "values.yaml", Mode: 0o644, Size: 4}}))
	g.Expect(string(text)).To(Equal("a: 1"))
}

// A writer that fails, at the first block and later; and limits of output.
func TestOutputFails(t *testing.T) {
	g := NewWithT(t)
	mine := errors.New("disk")
	big := make([]byte, 5<<18)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range big {
		big[i] = byte(r.Uint32())
	}
	root := write(t, []string{"a", "b", "c"}, func(string) []byte { return big })
	for _, at := range []int{0, 1 << 18, 9 << 18} {
		n := 0
		_, err := tarball.Pack(t.Context(), writerFunc(func(p []byte) (int, error) {
			if n += len(p); n > at {
				return 0, mine
			}
			return len(p), nil
		}), root, tarball.Options{})
		g.Expect(errors.Is(err, mine)).To(BeTrue(), "%v", err)
	}
	for _, l := range []tarball.Limits{{Compressed: 1 << 18}, {Expanded: 1 << 18}, {Entries: 2}, {File: 1 << 18}} {
		_, err := tarball.Pack(t.Context(), io.Discard, root, tarball.Options{Limits: l})
		g.Expect(errors.Is(err, tarball.ErrLimit)).To(BeTrue(), "%+v: %v", l, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := tarball.Pack(ctx, io.Discard, root, tarball.Options{})
	g.Expect(errors.Is(err, context.Canceled)).To(BeTrue())
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// FuzzWriter: whatever is accepted is an archive that untar accepts and that
// lists the same.
func FuzzWriter(f *testing.F) {
	f.Add("a|b/|b/c|ü", uint16(5))
	f.Add(strings.Repeat("x", 150)+"|z/|z/"+strings.Repeat("y", 200), uint16(600))
	f.Add("z/|z/"+strings.Repeat("y", 256), uint16(1))
	f.Fuzz(func(t *testing.T, list string, size uint16) {
		var b bytes.Buffer
		w := tarball.NewWriter(&b, tarball.Options{})
		var want []string
		for _, p := range strings.Split(list, "|") {
			mode := fs.FileMode(0o644)
			n := int64(size)
			if dir, ok := strings.CutSuffix(p, "/"); ok {
				p, mode, n = dir, fs.ModeDir|0o755, 0
			}
			if err := w.Add(p, mode, n, bytes.NewReader(make([]byte, n))); err != nil {
				_, _ = w.Close()
				return
			}
			want = append(want, p)
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var got []string
		_, err := untar.Walk(t.Context(), &b, func(e untar.Entry, _ io.Reader) error { got = append(got, e.Path); return nil }, untar.Options{})
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%q: %v, %q", want, err, got)
		}
	})
}

// TAR-24: a file without a content is refused, not written short.
func TestNoReader(t *testing.T) {
	g := NewWithT(t)
	var b bytes.Buffer
	w := tarball.NewWriter(&b, tarball.Options{})
	g.Expect(w.Add("empty", 0o644, 0, nil)).To(Succeed())
	err := w.Add("file", 0o644, 5, nil)
	g.Expect(errors.Is(err, tarball.ErrChanged)).To(BeTrue(), "%v", err)
	_, err = w.Close()
	g.Expect(errors.Is(err, tarball.ErrChanged)).To(BeTrue())
	g.Expect(b.Len()).To(BeZero())
}
