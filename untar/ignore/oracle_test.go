// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ignore_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/untar/ignore"
)

// oracle is a repository in which git itself judges paths.
type oracle struct {
	t   testing.TB
	dir string
}

func newOracle(t testing.TB) *oracle {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("git is not installed: apt-get install git")
		}
		t.Skip("git is not installed: apt-get install git")
	}
	o := &oracle{t: t, dir: t.TempDir()}
	o.git("init", "-q", ".")
	return o
}

func (o *oracle) git(args ...string) []byte {
	o.t.Helper()
	return o.run(nil, args...)
}

func (o *oracle) run(in []byte, args ...string) []byte {
	o.t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "core.excludesFile=/dev/null"}, args...)...)
	cmd.Dir = o.dir
	cmd.Stdin = bytes.NewReader(in)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+o.dir, "GIT_CEILING_DIRECTORIES="+filepath.Dir(o.dir), "LC_ALL=C")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!asExit(err, &exit) || exit.ExitCode() != 1) {
		o.t.Fatalf("git %v: %v: %s", args, err, stderr.String())
	}
	return out
}

func asExit(err error, to **exec.ExitError) bool {
	e, ok := err.(*exec.ExitError) //nolint:errorlint // exec returns it plain
	*to = e
	return ok
}

// put makes a path; one that ends in a slash is a directory.
func (o *oracle) put(path, content string) {
	o.t.Helper()
	full := filepath.Join(o.dir, filepath.FromSlash(path))
	if strings.HasSuffix(path, "/") {
		if err := os.MkdirAll(full, 0o755); err != nil {
			o.t.Fatal(err)
		}
		return
	}
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		o.t.Fatal(err)
	}
}

// verdict is one answer of git or of ours.
type verdict struct {
	ignored bool
	where   string // "file:line:pattern", empty if none
}

// judge asks git about paths; a trailing slash marks a directory.
func (o *oracle) judge(paths []string) []verdict {
	o.t.Helper()
	var in bytes.Buffer
	for _, p := range paths {
		in.WriteString(strings.TrimSuffix(p, "/"))
		in.WriteByte(0)
	}
	fields := strings.Split(string(o.run(in.Bytes(), "check-ignore", "--no-index", "-v", "-n", "-z", "--stdin")), "\x00")
	if len(fields) != 4*len(paths)+1 {
		o.t.Fatalf("git judged %d of %d paths", len(fields)/4, len(paths))
	}
	out := make([]verdict, len(paths))
	for i := range paths {
		f := fields[4*i:]
		if f[0] != "" {
			out[i] = verdict{ignored: !strings.HasPrefix(f[2], "!"), where: f[0] + ":" + f[1] + ":" + f[2]}
		}
	}
	return out
}

func ours(m *ignore.Matcher, path string) verdict {
	v := m.Match(strings.TrimSuffix(path, "/"), strings.HasSuffix(path, "/"))
	out := verdict{ignored: v.Ignored}
	if v.Pattern != nil {
		out.where = v.Pattern.File + ":" + strconv.Itoa(v.Pattern.Line) + ":" + v.Pattern.Text
	}
	return out
}

// compare runs both over one set of ignore files and paths.
func (o *oracle) compare(files map[string]string, paths []string) (verdicts int) {
	o.t.Helper()
	for name, text := range files {
		o.put(name, text)
	}
	defer func() {
		for name := range files {
			if err := os.Remove(filepath.Join(o.dir, name)); err != nil {
				o.t.Fatal(err)
			}
		}
	}()
	patterns, err := ignore.Load(os.DirFS(o.dir), ignore.LoadOptions{Names: []string{".gitignore"}})
	if err != nil {
		o.t.Fatal(err)
	}
	m, err := ignore.New(patterns, ignore.Options{})
	if err != nil {
		o.t.Fatal(err)
	}
	want := o.judge(paths)
	w := m.Walker()
	for i, p := range paths {
		if got := ours(m, p); got != want[i] {
			o.t.Fatalf("path %q with %q:\n git  %+v\n ours %+v", p, files, want[i], got)
		}
		var kept bool
		if strings.HasSuffix(p, "/") {
			kept = w.Enter(strings.TrimSuffix(p, "/")) == ignore.Keep
		} else {
			kept = w.File(p)
		}
		if kept == want[i].ignored {
			o.t.Fatalf("path %q with %q: walker says kept=%t", p, files, kept)
		}
	}
	return len(paths)
}

// rows are sentences of gitignore(5) and corners of the pattern language:
// patterns, then paths with the verdict in front (i ignored, k kept).
var rows = []struct{ patterns, paths string }{
	{"", "k a k d/"},
	{"\n\n", "k a"},
	{"# comment", "k # k comment"},
	{"\\#file", "i #file k file"},
	{"#file", "k #file"},
	{"\\!file", "i !file k file"},
	{"*\n!file", "k file i other"},
	{"file", "i file i d/file i d/e/file k files k afile"},
	{"file ", "i file"},
	{"file   ", "i file"},
	{"file\t", "k file"},
	{"fo\\o", "i foo"},
	{"foo\\", "k foo"},
	{"/file", "i file k d/file"},
	{"d/file", "i d/file k e/d/file"},
	{"/d/file", "i d/file k e/d/file"},
	{"file/", "k file i dir/x/file/"},
	{"d/", "i d/ i d/a i d/e/f i x/d/ i x/d/a"},
	{"/d/", "i d/ i d/a k x/d/ k x/d/a"},
	{"d", "i d/ i d/a"},
	{"x/d/", "i x/d/ i x/d/a k d/"},
	{"*", "i a i d/ i d/a"},
	{"*.o", "i a.o i d/a.o i .o k o k a.oo"},
	{"a*", "i a i ab i abc k ba"},
	{"*a", "i a i ba k ab"},
	{"a*b", "i ab i axb i axxb k axbc"},
	{"a*b*c", "i abc i axbxc k acb"},
	{"**", "i a i d/a"},
	{"a**", "i a i ab k ba"},
	{"a**b", "i ab i axb k a/b"},
	{"?", "i a k ab k dd/ab i d/ab"},
	{"a?c", "i abc k ac k abbc"},
	{"d/?", "i d/a k d/ab i d/e/a k d/ee/a"},
	{"d/*", "i d/a i d/ab i d/e/ i d/e/a k x/d/a"},
	{"d/*.c", "i d/a.c k d/e/a.c k x/d/a.c"},
	{"*/a", "i d/a k d/e/a k a"},
	{"/*", "i a i d/ i d/a"},
	{"/*.c", "i a.c k d/a.c"},
	{"[ab]", "i a i b k c"},
	{"[a-c]", "i a i b i c k d1"},
	{"[!a]", "k a i b"},
	{"[^a]", "k a i b"},
	{"[]]", "i ] k a"},
	{"[]a]", "i ] i a k b"},
	{"[!]a]", "k ] k a i b"},
	{"[a-]", "i a i - k b"},
	{"[-a]", "i a i - k b"},
	{"[a", "k a k [a"},
	{"a[", "k a k a["},
	{"[", "k ["},
	{"\\[a", "i [a k a"},
	{"[\\]]", "i ] k a"},
	{"[\\a]", "i a k b"},
	{"[a\\]b]", "i a i ] i b"},
	{"[[:alpha:]]", "i a i Z k 1 k -"},
	{"[[:digit:]]", "i 1 k a"},
	{"[[:alnum:]]", "i 1 i a k -"},
	{"[[:upper:]]", "i A k a"},
	{"[[:lower:]]", "i a k A"},
	{"[[:space:]]", "i   k a"},
	{"[[:punct:]]", "i - i ! k a"},
	{"[[:xdigit:]]", "i a i F i 9 k g"},
	{"[[:blank:]x]", "i x k a"},
	{"[[:cntrl:]x]", "i x k a"},
	{"[[:graph:]]", "i a i - k aa"},
	{"[[:print:]]", "i a i -"},
	{"[[:nope:]]", "k a k n"},
	{"[[:alpha:]1]", "i a i 1 k 2"},
	{"[![:alpha:]]", "k a i 1"},
	{"[[:alpha]", "i a i [ k z1 k q"},
	{"[a-c-e]", "i b i - i e k d1"},
	{"[c-a]", "k a k b"},
	{"[a-\\c]", "i b"},
	{"[*]", "i * k a"},
	{"[?]", "i ? k a"},
	{"\\*", "i * k a"},
	{"\\?", "i ? k a"},
	{"a\\*b", "i a*b k axb"},
	{"[.]x", "i .x k ax"},
	{"*x", "i .x i ax"},
	{".*", "i .x k ax i d/.x"},
	{"d[/]a", "k d/a"},
	{"d?a", "k d/a"},
	{"d*a", "k d/a i da"},
	{"[d-e/]x", "i dx i ex"},
	{"**/a", "i a i d/a i d/e/a k ab"},
	{"**/d/a", "i d/a i x/d/a i x/y/d/a k d/e/a"},
	{"**/d/", "i d/ i x/d/ k y/a"},
	{"d/**", "k d/ i d/a i d/e/ i d/e/a k x/d/a"},
	{"/d/**", "k d/ i d/a k x/d/a"},
	{"d/**/", "k d/a i d/e/ i d/e/a k d/"},
	{"a/**/b", "i a/b i a/x/b i a/x/y/b k a/bb k x/a/b"},
	{"a/**/b/c", "i a/b/c i a/x/b/c k a/b/x/c"},
	{"**/a/**/b", "i a/b i x/a/b i x/a/y/b"},
	{"**/", "i d/ k f"},
	{"/**", "i a i d/a"},
	{"/**/a", "i a i d/a"},
	{"**/*.c", "i a.c i d/a.c i d/e/a.c"},
	{"**.c", "i a.c i d/a.c"},
	{"d/**.c", "i d/a.c k d/e/a.c"},
	{"foo**/bar", "i foox/bar i foox/y/bar i foo/bar k bar"},
	{"foo/**bar", "i foo/bar i foo/xbar k foo/x/bar"},
	{"a/***/b", "i a/b i a/x/b"},
	{"a//b", "k a/b"},
	{"a/./b", "k a/b"},
	{"./a", "k a"},
	{"../a", "k a"},
	{"/", "k a k d/"},
	{"//", "k a k d/"},
	{"!", "k a"},
	{"!/", "k a"},
	{"!a", "k a"},
	{"a\n!a", "k a"},
	{"a\n!a\na", "i a"},
	{"!a\na", "i a"},
	{"*.c\n!main.c", "i a.c k main.c k d/main.c"},
	{"d/\n!d/keep", "i d/ i d/keep"},
	{"d/*\n!d/keep", "k d/ k d/keep i d/other"},
	{"/*\n!/foo\n/foo/*\n!/foo/bar", "i a k foo/ k foo/bar/ k foo/bar/x i foo/baz"},
	{"*\n!*/\n!*.yaml", "k a.yaml k d/a.yaml k d/e/a.yaml i a.txt i d/a.txt k d/"},
	{"*\n!assets/\n!assets/**\n!.git*", "k assets/foo/bar.html i x/y k .gitkeep"},
	{"/*\n!/deploy", "k deploy/app.yaml k deploy/sub/x.yaml i README.md i other/deploy/y.yaml"},
	{"/*\n!/deploy/sub", "i deploy/app.yaml i deploy/sub/x.yaml i README.md"},
	{"a\\ ", "i a  k a"},
	{"a\\  ", "i a "},
	{"a b", "i a b k a"},
	{"ä", "i ä k a"},
	{"?", "k ä"},
	{"??", "i ä"},
	{"[ä]x", "k äx"},
	{"a\r", "i a"},
	{"a\r\nb\r", "i a i b"},
	{"\ufeffa", "i a"},
	{"a/b/c/", "i a/b/c/ i a/b/c/d k a/b/cc/"},
	{"*/", "i d/ k a"},
	{"d*/", "i dx/ k dx2 i d/"},
	{"*.tar.gz", "i a.tar.gz k a.gz k tar.gz"},
	{"A", "i A k a"},
	{"a{b,c}", "i a{b,c} k ab"},
	{"$a", "i $a"},
	{"(a|b)", "i (a|b)"},
	{"a+", "i a+ k aa"},
	{"~", "i ~"},
}

// mark is what stands in front of a path of a row.
var mark = regexp.MustCompile(`(?:^| )([ik]) `)

// clear removes everything but the repository.
func (o *oracle) clear() {
	o.t.Helper()
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == ".git" {
			continue
		}
		if err := os.RemoveAll(filepath.Join(o.dir, e.Name())); err != nil {
			o.t.Fatal(err)
		}
	}
}

// IGN-1, IGN-2, IGN-4
func TestTable(t *testing.T) {
	o := newOracle(t)
	if len(rows) < 120 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, row := range rows {
		var paths []string
		var want []bool
		at := mark.FindAllStringSubmatchIndex(row.paths, -1)
		for i, m := range at {
			end := len(row.paths)
			if i+1 < len(at) {
				end = at[i+1][0]
			}
			paths = append(paths, row.paths[m[1]:end])
			want = append(want, row.paths[m[2]] == 'i')
			o.put(paths[i], "x")
		}
		o.compare(map[string]string{".gitignore": row.patterns}, paths)
		patterns, err := ignore.Parse(strings.NewReader(row.patterns), "", ignore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		m, err := ignore.New(patterns, ignore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range paths {
			if got := ours(m, p).ignored; got != want[i] {
				t.Errorf("pattern %q path %q: ignored=%t", row.patterns, p, got)
			}
		}
		o.clear()
	}
}

// IGN-1, IGN-2, IGN-10
func TestRandom(t *testing.T) {
	const wanted = 200_000
	o := newOracle(t)
	r := rand.New(rand.NewPCG(2026, 11))
	var paths []string
	for _, d := range []string{"", "a/", "b/", "ab/", "a/b/", "a/a/", "b/ab/", "a/b/c/", ".x/", "a.b/", "a/b/c/a/", "-/"} {
		if d != "" {
			paths = append(paths, d)
		}
		for _, f := range []string{"x", "ax", "xa", "x.y", "a.y", "b.x.y", "!x", "#x", "[x]", "x y", "xx", "*", "c-", "A", "Z9", "\\"} {
			paths = append(paths, d+f)
		}
	}
	for _, p := range paths {
		o.put(p, "")
	}
	slices.Sort(paths)
	pieces := []string{"a", "b", "c", "x", "y", ".", "*", "**", "?", "/", "/", "[ab]", "[!a]", "[a-c]", "[[:alpha:]]", "[x", "]", "\\", "-", "ab", ".y", "**/", "/**", "*.", "[^x]", " ", "!", "#", "\\*", "[]x]", "Z9", "[\\]]"}
	line := func() string {
		var b strings.Builder
		if r.IntN(4) == 0 {
			b.WriteString("!")
		}
		for range 1 + r.IntN(5) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		if r.IntN(4) == 0 {
			b.WriteString("/")
		}
		return b.String()
	}
	file := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteString(line())
			b.WriteString([]string{"\n", "\r\n", " \n"}[r.IntN(3)])
		}
		return b.String()
	}
	for n := 0; n < wanted; {
		files := map[string]string{".gitignore": file(1 + r.IntN(8))}
		for _, d := range []string{"a/", "a/b/", "b/", ".x/"} {
			if r.IntN(3) == 0 {
				files[d+".gitignore"] = file(1 + r.IntN(4))
			}
		}
		n += o.compare(files, paths)
	}
}
