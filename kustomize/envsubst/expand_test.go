// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package envsubst_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/kustomize/envsubst"
)

var vars = map[string]string{"v": "abcabc", "e": "", "u": "héllo", "n": "-2", "p": "a/b.c", "s": "x y", "st": "*", "cur": "${v}"}

// row is an expression, its value, and whether bash agrees.
type row struct{ in, want, fail string }

// KZ-76: the grammar.
var table = []row{
	{"${v}", "abcabc", ""},
	{"${e}", "", ""},
	{"a${v}b", "aabcabcb", ""},
	{"${v}${v}", "abcabcabcabc", ""},
	{"${#v}", "6", ""},
	{"${#u}", "6", ""},
	{"${#e}", "0", ""},
	{"${x:-d}", "d", ""},
	{"${x:=d}", "d", ""},
	{"${x=d}", "d", ""},
	{"${e:-d}", "d", ""},
	{"${e:=d}", "d", ""},
	{"${e=d}", "d", ""},
	{"${v:-d}", "abcabc", ""},
	{"${v=d}", "abcabc", ""},
	{"${x:-a${v}b}", "aabcabcb", ""},
	{"${x:-}", "", ""},
	{"${x:=}", "", ""},
	{"${x:-id$v}", "id$v", ""},
	{"${x:-${y:-${z:-deep}}}", "deep", ""},
	{"${v:-${unset}}", "abcabc", ""}, // what does not count is not evaluated
	{"${x:+alt}", "alt", ""},
	{"${v:+alt}", "abcabc", ""},
	{"${x:?m}", "m", ""},
	{"${v:?m}", "abcabc", ""},
	{"${x-d}", "", "missing closing brace"},
	{"${v+a}", "", "missing closing brace"},
	{"${v?m}", "", "missing closing brace"},
	{"${v@Q}", "", "missing closing brace"},
	{"${v^}", "Abcabc", ""},
	{"${v^^}", "ABCABC", ""},
	{"${v,}", "abcabc", ""},
	{"${v,,}", "abcabc", ""},
	{"${u^^}", "HÉLLO", ""},
	{"${e^^}", "", ""},
	{"${v^^b}", "", "bad substitution"},
	{"${v^b}", "", "bad substitution"},
	{"${v:2}", "cabc", ""},
	{"${v:2:2}", "ca", ""},
	{"${v:9}", "", ""},
	{"${v:2:99}", "cabc", ""},
	{"${v:0:0}", "", ""},
	{"${v:0}", "abcabc", ""},
	{"${v:${n}}", "bc", ""},
	{"${v:${n}:1}", "b", ""},
	{"${v: -2}", "abcabc", ""},
	{"${v:n}", "abcabc", ""},
	{"${v:1:n}", "abcabc", ""},
	{"${v:0:-1}", "abcab", ""},
	{"${v:4:-3}", "", "bad substitution"},
	{"${v::2}", "", "unable to parse substitution within function"},
	{"${v:1:}", "", "unable to parse substitution within function"},
	{"${v:}", "", "unable to parse substitution within function"},
	{"${u:2}", "", "offset splits a character"},
	{"${u:3}", "llo", ""},
	{"${u:0:2}", "", "offset splits a character"},
	{"${v#a}", "bcabc", ""},
	{"${v##*b}", "c", ""},
	{"${v#*b}", "cabc", ""},
	{"${v##*}", "", ""},
	{"${v#z}", "abcabc", ""},
	{"${v#}", "abcabc", ""},
	{"${v%c}", "abcab", ""},
	{"${v%b*}", "abca", ""},
	{"${v%%b*}", "a", ""},
	{"${v%%*}", "", ""},
	{"${v%z}", "abcabc", ""},
	{"${v#*}", "bcabc", ""},
	{"${v%*}", "abcab", ""},
	{"${u#??}", "llo", ""},
	{"${p##*/}", "b.c", ""},
	{"${p%.*}", "a/b", ""},
	{"${v#[a-c]}", "bcabc", ""},
	{"${v#[^b]}", "bcabc", ""},
	{"${v#[!b]}", "abcabc", ""},
	{"${v%[a-c]}", "abcabc", ""},
	{"${v%%[c]}", "abcabc", ""},
	{"${v#[}", "abcabc", ""},
	{"${st#\\*}", "", ""},
	{"${v#\\a}", "bcabc", ""},
	{"${v%\\c}", "abcab", ""},
	{"${v#${x:-a}}", "bcabc", ""},
	{"${v/b/X}", "aXcabc", ""},
	{"${v//b/X}", "aXcaXc", ""},
	{"${v/#a/X}", "Xbcabc", ""},
	{"${v/%c/X}", "abcabX", ""},
	{"${v/b/}", "acabc", ""},
	{"${v//b/}", "acac", ""},
	{"${v/*/X}", "abcabc", ""},
	{"${p/\\//-}", "a-b.c", ""},
	{"${p//./\\\\}", "a/b\\c", ""},
	{"${v/#b/X}", "abcabc", ""},
	{"${v/%b/X}", "abcabc", ""},
	{"${v/#a/}", "abcabc", ""},
	{"${v/%c/}", "abcabc", ""},
	{"${v/b}", "", "bad substitution"},
	{"${v///X}", "abcabc", ""},
	{"${v/b/${e:-Y}}", "aYcabc", ""},
	{"${}", "", "unable to parse variable name"},
	{"${!v}", "", "unable to parse variable name"},
	{"${#}", "", "unable to parse variable name"},
	{"${ v}", "", "unable to parse variable name"},
	{"${v", "", "missing closing brace"},
	{"${v:-a", "", "missing closing brace"},
	{"${v^", "", "missing closing brace"},
	{"${#v", "", "missing closing brace"},
	{"$v", "$v", ""},
	{"$", "$", ""},
	{"a$", "a$", ""},
	{"$$", "$", ""},
	{"$${v}", "${v}", ""},
	{"$$$${v}", "$${v}", ""},
	{"$$${v}", "$abcabc", ""},
	{"$(v)", "$(v)", ""},
	{"$1 $@", "$1 $@", ""},
	{"\\${v}", "\\abcabc", ""},
	{"'${v}'", "'abcabc'", ""},
	{"\"${v}\"", "\"abcabc\"", ""},
	{"{v}", "{v}", ""},
	{"}${v}}", "}abcabc}", ""},
	{"${cur}", "${v}", ""}, // KZ-72: a single pass
	{"${s}", "x y", ""},
}

func TestTable(t *testing.T) {
	for _, r := range table {
		got, err := envsubst.Expand(r.in, envsubst.Options{Vars: vars})
		switch {
		case r.fail != "" && (err == nil || err.Error() != r.fail || !errors.Is(err, envsubst.ErrSyntax)):
			t.Errorf("%s: got %q, %v; want error %q", r.in, got, err, r.fail)
		case r.fail == "" && (err != nil || got != r.want):
			t.Errorf("%s: got %q, %v; want %q", r.in, got, err, r.want)
		}
	}
}

// KZ-77: an unset variable is an error unless an operator gives a default.
func TestStrict(t *testing.T) {
	g := NewWithT(t)
	for _, in := range []string{"${x}", "${#x}", "${x^}", "${x:1}", "${x#a}", "${x%a}", "${x/a/b}", "${x:-${y}}"} {
		_, err := envsubst.Expand(in, envsubst.Options{})
		g.Expect(errors.Is(err, envsubst.ErrUnset)).To(BeTrue(), in)
		var ee *envsubst.Error
		g.Expect(errors.As(err, &ee) && ee.Terminal()).To(BeTrue())
		g.Expect(err.Error()).To(Equal(fmt.Sprintf("variable not set (strict mode): %q", ee.Name)))
		_, err = envsubst.Expand(in, envsubst.Options{Lenient: true})
		g.Expect(err).NotTo(HaveOccurred(), in)
	}
	for _, in := range []string{"${x:-}", "${x:=}", "${x=}", "${x:+}", "${x:?}", "$${x}"} {
		_, err := envsubst.Expand(in, envsubst.Options{})
		g.Expect(err).NotTo(HaveOccurred(), in)
	}
}

// KZ-72, KZ-78: bounds, and errors without values.
func TestBounds(t *testing.T) {
	g := NewWithT(t)
	big := strings.Repeat("s3cret", 1<<17)
	o := envsubst.Options{Vars: map[string]string{"b": big, "nul": "a\x00b", "bad": "a\xffb"}, Limits: envsubst.Limits{Object: 1 << 20}}
	limit := func(in, name string) {
		t.Helper()
		_, err := envsubst.Expand(in, o)
		var le *envsubst.LimitError
		g.Expect(errors.As(err, &le)).To(BeTrue(), "%v", err)
		g.Expect(le.Name).To(Equal(name))
	}
	limit("${b}${b}", "substitution-object")
	limit("${b//s/${b}}", "substitution-object")
	limit(strings.Repeat("${b##*}", 1000), "substitution-object")
	var used int64
	o.Used, o.Limits.Total = &used, 1<<20
	_, err := envsubst.Expand("${b}", o)
	g.Expect(err).NotTo(HaveOccurred())
	limit("${b}", "substitution-total")
	for _, in := range []string{"${nul}", "${bad}", "a\x00", "a\xff"} {
		_, err := envsubst.Expand(in, o)
		g.Expect(errors.Is(err, envsubst.ErrSyntax)).To(BeTrue())
		g.Expect(err.Error()).NotTo(ContainSubstring("s3cret"))
	}
	_, err = envsubst.Expand(strings.Repeat("${x:-", 33)+strings.Repeat("}", 33), envsubst.Options{})
	g.Expect(errors.Is(err, envsubst.ErrSyntax)).To(BeTrue())
	_, err = envsubst.Expand(strings.Repeat("${x:-", 32)+strings.Repeat("}", 32), envsubst.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	out, err := envsubst.Expand(strings.Repeat("$$", 5<<20), envsubst.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(out).To(HaveLen(5 << 20))
}

// bash needs the program; CI has it.
func bash(t *testing.T, script string) string {
	t.Helper()
	path, err := exec.LookPath("bash")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("bash is not installed")
		}
		t.Skip("bash is not installed: apt-get install bash")
	}
	cmd := exec.Command(path)
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = []string{"LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("bash: %v\n%s", err, out)
	}
	return string(out)
}

// TestBash compares random expressions of the common subset with bash.
func TestBash(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	lit := func() string { return pick("a", "b", "ab", "bc", "x", "abc", "c") }
	pat := func() string {
		var b strings.Builder
		for range 1 + r.IntN(3) {
			b.WriteString(pick("a", "b", "c", "*", "?", "x"))
		}
		return b.String()
	}
	values := []string{"", "abcabc", "aabbcc", "a/b/c", "x", "abc.def-ghi", "ABCabc"}
	var exprs, wants []string
	var script strings.Builder
	for len(exprs) < 2000 {
		v := pick(values...)
		op := pick("", "^", "^^", ",", ",,", ":-"+lit(), ":="+lit(), fmt.Sprintf(":%d", r.IntN(8)), fmt.Sprintf(":%d:%d", r.IntN(8), r.IntN(8)), "#"+pat(), "##"+pat(), "%"+pat(), "%%"+pat(),
			"/"+lit()+"/"+lit(), "//"+lit()+"/"+lit(), "/#"+lit()+"/"+lit(), "/%"+lit()+"/"+lit())
		if (op == "#" || op == "%") || (strings.HasPrefix(op, "#") || strings.HasPrefix(op, "%")) && strings.Trim(op[1:], "*#%") == "" {
			continue // the shortest match is never empty here
		}
		if onlyStars(op) {
			continue
		}
		expr := "${v" + op + "}"
		if r.IntN(9) == 0 {
			expr = "${#v}"
		}
		got, err := envsubst.Expand(expr, envsubst.Options{Vars: map[string]string{"v": v}})
		if err != nil {
			t.Fatalf("%s with %q: %v", expr, v, err)
		}
		exprs, wants = append(exprs, fmt.Sprintf("%s with v=%q", expr, v)), append(wants, got)
		fmt.Fprintf(&script, "v='%s'; printf '%%s\\n' \"%s\"\n", v, expr)
	}
	out := strings.Split(bash(t, script.String()), "\n")
	for i, want := range wants {
		if out[i] != want {
			t.Errorf("%s: got %q, bash prints %q", exprs[i], want, out[i])
		}
	}
}

// onlyStars finds trim patterns that can match nothing, where the shortest
// match differs.
func onlyStars(op string) bool {
	if op == "" || op[0] != '#' && op[0] != '%' {
		return false
	}
	return strings.Trim(strings.TrimLeft(op, "#%"), "*") == ""
}

func FuzzExpand(f *testing.F) {
	for _, r := range table {
		f.Add(r.in, "abc", false)
	}
	f.Fuzz(func(t *testing.T, in, value string, lenient bool) {
		var used int64
		out, err := envsubst.Expand(in, envsubst.Options{
			Vars: map[string]string{"v": value, "a": "b"}, Lenient: lenient, Used: &used, Limits: envsubst.Limits{Object: 1 << 16},
		})
		if err == nil && len(out) > 1<<16 {
			t.Fatalf("%d bytes", len(out))
		}
		if err == nil && !strings.Contains(in, "$") && out != in {
			t.Fatalf("%q became %q", in, out)
		}
	})
}
