// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package gitmodules_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/git/internal/gitmodules"
)

var files = []string{
	"[submodule \"a\"]\n\tpath = a\n\turl = ../a\n",
	"# c\n; d\n[submodule \"a b\"]path=x\\\n y\n url = \"q \\\" \\t\" tail # comment\n",
	"[core]\n\tbare\n[submodule \"x\"]\n\tpath\n",
	"[submodule \"\\\"\\\\\"]\n\turl = \"a;b\" ; c\n\tPATH = p\n",
	"[submodule.old]\n\tpath = p\n\turl = u\n",
	"\ufeff[submodule \"bom\"]\r\n\tpath = p\r\n",
}

// FuzzParse feeds any bytes to the parser of .gitmodules.
func FuzzParse(f *testing.F) {
	for _, s := range files {
		f.Add([]byte(s))
	}
	f.Add([]byte("[submodule \"a"))
	f.Add([]byte("[a]\nb = \"c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		mods, err := gitmodules.Parse(b)
		if err != nil {
			if !errors.Is(err, gitmodules.ErrSyntax) {
				t.Fatalf("no type: %v", err)
			}
			return
		}
		seen := map[string]bool{}
		for _, m := range mods {
			if seen[m.Name] {
				t.Fatalf("%q twice", m.Name)
			}
			seen[m.Name] = true
			if gitmodules.ValidName(m.Name) && (m.Name == "" || strings.Contains("/"+strings.ReplaceAll(m.Name, `\`, "/")+"/", "/../") || strings.HasPrefix(m.Name, "-")) {
				t.Fatalf("%q is accepted", m.Name)
			}
		}
	})
}

// GIT-60: what is read is what git reads.
func TestAgainstGit(t *testing.T) {
	for _, text := range files {
		mods, err := gitmodules.Parse([]byte(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		for _, m := range mods {
			for key, want := range map[string]string{"path": m.Path, "url": m.URL} {
				cmd := exec.CommandContext(t.Context(), "git", "config", "-f", "-", "--get", "submodule."+m.Name+"."+key)
				cmd.Dir = filepath.Dir(t.TempDir())
				cmd.Stdin = strings.NewReader(text)
				out, err := cmd.Output()
				if err != nil && want != "" || err == nil && strings.TrimSpace(string(out)) != want {
					t.Errorf("%q: %s of %q is %q here, %q for git (%v)", text, key, m.Name, want, out, err)
				}
			}
		}
	}
}
