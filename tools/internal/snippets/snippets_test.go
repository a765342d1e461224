// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package snippets_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/gitops-kit/sdk/tools/internal/snippets"
)

const source = `// Licence.

package x

func Example() {
	if true {
		println("a")
	}
	// Output: a
}
`

func TestPage(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := map[string]struct{ in, want string }{
		"Function": {
			in:   "text\n<!-- example: x.go Example -->\n\n```go\nold\n```\nmore",
			want: "text\n<!-- example: x.go Example -->\n\n```go\nif true {\n\tprintln(\"a\")\n}\n```\nmore",
		},
		"File":    {in: "<!-- example: x.go * -->\n```go\n```\n", want: "<!-- example: x.go * -->\n```go\n" + source[len("// Licence.\n\n"):] + "```\n"},
		"Unbound": {in: "```go\nleft alone\n```\n", want: "```go\nleft alone\n```\n"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := snippets.Page(dir, []byte(tc.in))
			if err != nil || string(got) != tc.want {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
	if _, err := snippets.Page(dir, []byte("<!-- example: x.go Gone -->\n```go\n```\n")); err == nil {
		t.Error("a block bound to nothing is an error")
	}
}
