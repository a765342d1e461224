// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ignore_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/untar/ignore"
)

func matcher(t testing.TB, text string, o ignore.Options) *ignore.Matcher {
	t.Helper()
	patterns, err := ignore.Parse(strings.NewReader(text), "", o)
	if err != nil {
		t.Fatal(err)
	}
	m, err := ignore.New(patterns, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func kept(m *ignore.Matcher, paths ...string) []string {
	var out []string
	for _, p := range paths {
		if !m.Match(p, strings.HasSuffix(p, "/")).Ignored {
			out = append(out, p)
		}
	}
	return out
}

// IGN-3: the reported cases, in both semantics.
func TestReincludeBelowCases(t *testing.T) {
	paths := []string{"deploy/app.yaml", "deploy/sub/x.yaml", "README.md", "other/deploy/y.yaml"}
	cases := map[string]struct {
		reason       string
		patterns     string
		git, reincl  []string
		packsNoOther bool
	}{
		"Directory": {
			reason: "a directory that was re-included itself", patterns: "/*\n!/deploy",
			git: paths[:2], reincl: paths[:2],
		},
		"Below": {
			reason: "something below an excluded directory", patterns: "/*\n!/deploy/sub",
			git: nil, reincl: paths[1:2],
		},
		"Earlier": {
			reason: "an earlier ! pattern brings nothing back", patterns: "!/deploy/sub\n/*",
			git: nil, reincl: nil,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			g.Expect(kept(matcher(t, tc.patterns, ignore.Options{}), paths...)).To(Equal(tc.git), tc.reason)
			g.Expect(kept(matcher(t, tc.patterns, ignore.Options{ReincludeBelow: true}), paths...)).To(Equal(tc.reincl), tc.reason)
		})
	}
}

// IGN-9
func TestWalkerDecisions(t *testing.T) {
	g := NewWithT(t)
	w := matcher(t, "/*\n!/deploy/sub", ignore.Options{ReincludeBelow: true}).Walker()
	g.Expect(w.Enter("deploy")).To(Equal(ignore.Descend), "something below may come back")
	g.Expect(w.File("deploy/app.yaml")).To(BeFalse())
	g.Expect(w.Enter("deploy/sub")).To(Equal(ignore.Keep))
	g.Expect(w.File("deploy/sub/x.yaml")).To(BeTrue())
	g.Expect(w.Enter("other")).To(Equal(ignore.Prune), "nothing below can come back")
	w = matcher(t, "/*\n!/deploy/sub", ignore.Options{}).Walker()
	g.Expect(w.Enter("deploy")).To(Equal(ignore.Prune))
	var none *ignore.Matcher
	g.Expect(none.Match("a", false)).To(Equal(ignore.Verdict{}))
	g.Expect(none.Walker().Enter("a")).To(Equal(ignore.Keep))
	g.Expect(none.Walker().File("a")).To(BeTrue())
	g.Expect(none.Problems()).To(BeEmpty())
}

// model judges by the text of IGN-2 and IGN-3 alone, one pattern at a time.
func model(patterns []ignore.Pattern, p string, dir bool) bool {
	own := func(p string, dir bool) (last int, negate bool) {
		last = -1
		for i, one := range patterns {
			text, neg := strings.CutPrefix(one.Text, "!")
			one.Text = text
			m, err := ignore.New([]ignore.Pattern{one}, ignore.Options{})
			if err != nil {
				panic(err)
			}
			parent := path.Dir(p)
			if m.Match(p, dir).Ignored && (parent == "." || !m.Match(parent, true).Ignored) {
				last, negate = i, neg
			} else if parent != "." && m.Match(parent, true).Ignored && matchesItself(one, p, dir) {
				last, negate = i, neg
			}
		}
		return last, negate
	}
	excluded := -1
	parts := strings.Split(p, "/")
	for i := range parts {
		isDir := dir || i < len(parts)-1
		last, negate := own(strings.Join(parts[:i+1], "/"), isDir)
		switch {
		case excluded >= 0 && last <= excluded:
		case last < 0:
		case negate:
			excluded = -1
		default:
			excluded = last
		}
	}
	return excluded >= 0
}

// matchesItself asks whether a pattern matches a path whose parent it
// matches, too: the same question for a sibling root.
func matchesItself(one ignore.Pattern, p string, dir bool) bool {
	not := one
	not.Text = "!" + one.Text
	all := []ignore.Pattern{one, not}
	m, err := ignore.New(all, ignore.Options{ReincludeBelow: true})
	if err != nil {
		panic(err)
	}
	v := m.Match(p, dir)
	return !v.Ignored && v.Pattern != nil && v.Pattern.Text == not.Text
}

// IGN-3: random patterns against the model.
func TestReincludeBelowModel(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	texts := []string{"a", "b", "*", "/a", "/*", "a/", "a/b", "*.y", "x*", "**/b", "a/**", "b/*", "c"}
	var paths []string
	for _, d := range []string{"", "a/", "b/", "a/b/", "a/a/", "b/c/"} {
		for _, f := range []string{"a", "b", "x.y", "c"} {
			paths = append(paths, d+f)
		}
	}
	for range 400 {
		var patterns []ignore.Pattern
		for i := range 1 + r.IntN(5) {
			text := texts[r.IntN(len(texts))]
			if r.IntN(2) == 0 {
				text = "!" + text
			}
			patterns = append(patterns, ignore.Pattern{Line: i + 1, Text: text})
		}
		m, err := ignore.New(patterns, ignore.Options{ReincludeBelow: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range paths {
			if got, want := m.Match(p, false).Ignored, model(patterns, p, false); got != want {
				t.Fatalf("%v path %q: ignored=%t, model says %t", patterns, p, got, want)
			}
		}
	}
}

// IGN-5
func TestSets(t *testing.T) {
	g := NewWithT(t)
	m, err := ignore.New(slices.Concat(ignore.VCS(), ignore.Defaults()), ignore.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kept(m,
		".git/", ".git/config", ".gitignore", "d/.gitmodules", ".gitattributes", "logo.jpg", "d/logo.png", "x.tar.gz", "x.zip",
		".github/", ".github/workflows/x.yaml", ".circleci/config.yml", ".travis.yml", ".gitlab-ci.yml", "appveyor.yml",
		".drone.yml", "cloudbuild.yaml", "codeship-services.yml", "codeship-steps.yml", ".goreleaser.yml", "d/.sops.yaml", ".flux.yaml",
		"app.yaml", ".git2/x", "x.tar", "github/x", "travis.yml",
	)).To(Equal([]string{"app.yaml", ".git2/x", "x.tar", "github/x", "travis.yml"}))
	first := ignore.VCS()
	first[0].Text = "changed"
	g.Expect(ignore.VCS()[0].Text).To(Equal(".git/"), "each call returns a new slice")
}

// IGN-6
func TestLoad(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	for name, text := range map[string]string{
		".sourceignore": "\xef\xbb\xbfskipped/\r\n*.txt  \r\n", "a/.sourceignore": "!keep.txt\n", "a/b/.sourceignore": "# only a comment\n",
		"skipped/.sourceignore": "nothing", ".git/.sourceignore": "nothing", "pruned/.sourceignore": "nothing", "a/keep.txt": "", "keep.txt": "",
	} {
		full := filepath.Join(dir, name)
		g.Expect(os.MkdirAll(filepath.Dir(full), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(full, []byte(text), 0o644)).To(Succeed())
	}
	g.Expect(os.Mkdir(filepath.Join(dir, "c"), 0o755)).To(Succeed())
	g.Expect(os.Symlink("../.sourceignore", filepath.Join(dir, "c", ".sourceignore"))).To(Succeed())
	g.Expect(os.MkdirAll(filepath.Join(dir, "d", ".sourceignore"), 0o755)).To(Succeed())
	root, err := os.OpenRoot(dir)
	g.Expect(err).NotTo(HaveOccurred())
	defer root.Close()
	got, err := ignore.Load(root.FS(), ignore.LoadOptions{Prune: []ignore.Pattern{{Text: "pruned"}}, Prefix: "repo/"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmp.Diff([]ignore.Pattern{
		{File: "repo/.sourceignore", Line: 1, Text: "skipped/"},
		{File: "repo/.sourceignore", Line: 2, Text: "*.txt"},
		{File: "repo/a/.sourceignore", Line: 1, Text: "!keep.txt", Dir: "a"},
	}, got)).To(BeEmpty())
	m, err := ignore.New(got, ignore.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(kept(m, "keep.txt", "a/keep.txt", "a/b/keep.txt", "b/keep.txt")).To(Equal([]string{"a/keep.txt", "a/b/keep.txt"}))
	none, err := ignore.Load(fstest.MapFS{"x": {}}, ignore.LoadOptions{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(none).To(BeEmpty(), "the caller adds the defaults")
}

// IGN-7, C04
func TestLimits(t *testing.T) {
	g := NewWithT(t)
	limit := func(err error) string {
		var l *ignore.LimitError
		if !errors.As(err, &l) || !errors.Is(err, ignore.ErrLimit) {
			return fmt.Sprint(err)
		}
		return l.Name
	}
	lines := func(n int) string { return strings.Repeat("a\n", n) }
	_, err := ignore.Parse(strings.NewReader(lines(10_000)), "", ignore.Options{})
	g.Expect(err).NotTo(HaveOccurred(), "the limit itself is accepted")
	_, err = ignore.Parse(strings.NewReader(lines(10_001)), "", ignore.Options{})
	g.Expect(limit(err)).To(Equal("ignore-patterns"))
	_, err = ignore.Parse(strings.NewReader(lines(10_001)), "", ignore.Options{Limits: ignore.Limits{Patterns: -1}})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = ignore.New(make([]ignore.Pattern, 10_001), ignore.Options{})
	g.Expect(limit(err)).To(Equal("ignore-patterns"))
	_, err = ignore.Parse(strings.NewReader(strings.Repeat("#\n", 1<<19)), "", ignore.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	_, err = ignore.Parse(strings.NewReader(strings.Repeat("#\n", 1<<19)+"#"), "", ignore.Options{})
	g.Expect(limit(err)).To(Equal("ignore-bytes"))
	_, err = ignore.Parse(strings.NewReader(strings.Repeat("a", 4097)), "", ignore.Options{})
	g.Expect(limit(err)).To(Equal("ignore-line"))
	_, err = ignore.Parse(strings.NewReader(strings.Repeat("a", 4096)), "", ignore.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	tree := fstest.MapFS{}
	for i := range 3 {
		tree[fmt.Sprintf("d%d/.sourceignore", i)] = &fstest.MapFile{Data: []byte(strings.Repeat("#", 400))}
	}
	_, err = ignore.Load(tree, ignore.LoadOptions{Options: ignore.Options{Limits: ignore.Limits{Bytes: 1000}}})
	g.Expect(limit(err)).To(Equal("ignore-bytes"), "all files together")
	g.Expect(ignore.Limits{Patterns: -1, Bytes: -1}.Unlimited()).To(Equal([]string{"ignore-patterns", "ignore-bytes"}))
}

// IGN-7
func TestProblems(t *testing.T) {
	g := NewWithT(t)
	m := matcher(t, "ok\n[a\nb\\\n[[:nope:]]\n/\n", ignore.Options{File: "f"})
	var lines []int
	for _, p := range m.Problems() {
		lines = append(lines, p.Pattern.Line)
	}
	g.Expect(lines).To(Equal([]int{2, 3, 4, 5}))
	g.Expect(m.Match("[a", false).Ignored).To(BeFalse())
}

// IGN-8: an exponential matcher would not come back.
func TestPathologicalPatterns(t *testing.T) {
	g := NewWithT(t)
	long := strings.Repeat("a", 4096)
	for _, p := range []string{
		strings.Repeat("a*", 500) + "b", strings.Repeat("*a", 500) + "b", strings.Repeat("**/", 300) + "b", "/" + strings.Repeat("a*", 500) + "b",
		strings.Repeat("[a]*", 300) + "b", strings.Repeat("?*", 500) + "b",
	} {
		m := matcher(t, p, ignore.Options{})
		g.Expect(m.Match(long, false).Ignored).To(BeFalse())
		g.Expect(m.Match(strings.Repeat("a/", 127)+"a", false).Ignored).To(BeFalse())
		g.Expect(m.Problems()).To(BeEmpty())
	}
}

// untar.md §7: no allocation per path.
func TestNoAllocations(t *testing.T) {
	patterns := slices.Concat(ignore.VCS(), ignore.Defaults(), []ignore.Pattern{{Text: "docs/**/*.md"}, {Text: "/build/"}, {Text: "a?c"}, {Text: "!keep"}})
	m, err := ignore.New(patterns, ignore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w := m.Walker()
	n := testing.AllocsPerRun(100, func() {
		w.Enter("apps")
		w.Enter("apps/base")
		w.File("apps/base/deployment.yaml")
		w.File("apps/base/logo.png")
		w.Enter("docs")
		w.File("docs/readme.md")
		m.Match("apps/base/x/y.yaml", false)
	})
	if n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkWalker(b *testing.B) {
	m, err := ignore.New(slices.Concat(ignore.VCS(), ignore.Defaults()), ignore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	var paths []string
	for i := range 1000 {
		paths = append(paths, fmt.Sprintf("apps/d%d/f%d.yaml", i/20, i))
	}
	b.ReportAllocs()
	for b.Loop() {
		w := m.Walker()
		for _, p := range paths {
			w.File(p)
		}
	}
}

// reference is the pattern language written down the slow way: the set of
// positions that each step of the pattern can reach.
func reference(pattern, name string, deep bool) bool {
	at := map[int]bool{0: true}
	for i := 0; i < len(pattern); {
		next := map[int]bool{}
		stars := 0
		for i+stars < len(pattern) && pattern[i+stars] == '*' {
			stars++
		}
		if stars > 0 {
			left := i == 0 || pattern[i-1] == '/'
			end := i + stars
			atEnd, slash := end == len(pattern), end < len(pattern) && pattern[end] == '/'
			escaped := strings.HasPrefix(pattern[end:], `\/`)
			cross := deep && stars > 1 && left && (atEnd || slash || escaped)
			for p := range at {
				if cross && slash { // nothing, or up to a slash
					next[p] = true
					for q := p; q < len(name); q++ {
						if name[q] == '/' {
							next[q+1] = true
						}
					}
					continue
				}
				next[p] = true
				for q := p; q < len(name) && (cross || name[q] != '/'); q++ {
					next[q+1] = true
				}
			}
			i = end
			if cross && slash {
				i++
			}
			at = next
			continue
		}
		one := func(b byte) bool { return b == pattern[i] }
		size := 1
		switch pattern[i] {
		case '?':
			one = func(b byte) bool { return b != '/' }
		case '\\':
			if i+1 == len(pattern) {
				return false
			}
			c := pattern[i+1]
			one, size = func(b byte) bool { return b == c }, 2
		case '[':
			return false // brackets are left to git
		}
		for p := range at {
			if p < len(name) && one(name[p]) {
				next[p+1] = true
			}
		}
		i += size
		at = next
	}
	return at[len(name)]
}

// IGN-8, IGN-9: matching against the slow reference; Walker against Match.
func FuzzMatch(f *testing.F) {
	for _, row := range rows {
		f.Add(row.patterns, strings.TrimPrefix(row.paths, "i "))
	}
	f.Add("**/a*b/**/c?", "x/ab/y/cc")
	f.Fuzz(func(t *testing.T, text, name string) {
		patterns, err := ignore.Parse(strings.NewReader(text), "", ignore.Options{})
		if err != nil {
			return
		}
		name = strings.Trim(path.Clean("/"+name), "/")
		if name == "" || strings.ContainsRune(name, 0) {
			return
		}
		for _, o := range []ignore.Options{{}, {ReincludeBelow: true}} {
			m, err := ignore.New(patterns, o)
			if err != nil {
				return
			}
			if got, want := m.Walker().File(name), !m.Match(name, false).Ignored; got != want {
				t.Fatalf("walker keeps %t, match %t", got, want)
			}
			if dir := path.Dir(name); dir != "." && m.Walker().Enter(dir) == ignore.Prune && !m.Match(name, false).Ignored {
				t.Fatalf("%q was pruned, %q is kept", dir, name)
			}
		}
		if len(patterns) != 1 || strings.Contains(name, "/") {
			return
		}
		p := patterns[0].Text
		if strings.ContainsAny(p, "[/") || strings.HasPrefix(p, "!") {
			return
		}
		m, _ := ignore.New(patterns, ignore.Options{})
		if got, want := m.Match(name, false).Ignored, reference(p, name, false); got != want && len(m.Problems()) == 0 {
			t.Fatalf("pattern %q name %q: %t, reference %t", p, name, got, want)
		}
	})
}

// FuzzParse reads any bytes as an ignore file.
func FuzzParse(f *testing.F) {
	f.Add([]byte("\xef\xbb\xbfa\r\n#b\n!c \\ \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		patterns, err := ignore.Parse(strings.NewReader(string(data)), "d", ignore.Options{})
		if err != nil {
			if !errors.Is(err, ignore.ErrLimit) {
				t.Fatal(err)
			}
			return
		}
		if _, err := ignore.New(patterns, ignore.Options{}); err != nil {
			t.Fatal(err)
		}
	})
}
