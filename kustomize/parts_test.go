// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/gitops-kit/sdk/kustomize"
	"github.com/gitops-kit/sdk/kustomize/envsubst"
)

func word(r *rand.Rand, list ...string) string { return list[r.IntN(len(list))] }

// randomText is a string with expressions, as manifests hold them.
func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(5) {
		b.WriteString(word(r, "${A}", "${B}", "$${C}", "$$", "${E:-x y}", "${F:=}", "https://", "/path", "a b", ": ", " #", "-", "yes", "true", "1",
			"host.${A}:80", "\n", "\n  ", " ", "$", "x=${A}", "{{ .V }}", "\"q\"", "it's", "${A^^}", "${N}", "é", "a, b", "[x]", "${G:-true}", "\t", "${L}", strings.Repeat("long word ", 12)))
	}
	return b.String()
}

// KZ-75: replacing in place gives what replacing in the text gives.
func TestInPlaceEqualsText(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	vars := map[string]string{
		"A": "value", "B": "yes", "N": "8080", "G": "", "L": "a: b # c", "E": "", "F": "",
	}
	direct := 0
	for i := range 30_000 {
		obj := map[string]any{"kind": "ConfigMap", "data": map[string]any{"a": randomText(r), "b": randomText(r), "n": int64(3)}, "l": []any{randomText(r), "plain"}}
		vars["B"] = word(r, "yes", "x", "1e3", "0755", "-", "", "a b", "no", "null", "~", "x:y", "end ", " start", "#", "&a", "/", "on")
		o := envsubst.Options{Vars: vars, Lenient: i%2 == 0}
		got, ok := kustomize.ExpandInPlace(obj, o)
		if !ok {
			continue
		}
		direct++
		want, err := kustomize.ExpandText(obj, o)
		if err != nil {
			t.Fatalf("%q: in place works, text does not: %v", obj, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			y, _ := sigsyaml.Marshal(obj)
			t.Fatalf("%s\n-text +in place:\n%s", y, diff)
		}
	}
	if direct < 1000 {
		t.Fatalf("only %d of 30,000 were replaced in place", direct)
	}
}

// randomSpec is a pod template with the lists that merge by key.
func randomSpec(r *rand.Rand, patch bool) string {
	var b strings.Builder
	add := func(n int, format string, args ...any) {
		if r.IntN(n) == 0 {
			fmt.Fprintf(&b, format+"\n", args...)
		}
	}
	b.WriteString("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: a\n")
	add(3, "  labels: {l: m}")
	add(3, "  annotations: {n: %q}", word(r, "1", "x"))
	add(4, "  finalizers: [%s]", word(r, "a", "b", "a, b"))
	b.WriteString("spec:\n")
	add(2, "  replicas: %s", word(r, "1", "2", "3", "4", "null"))
	add(3, "  strategy: {type: %s}", word(r, "Recreate", "RollingUpdate"))
	add(4, "  strategy2: {a: %s}", word(r, "{}", "[]", "x", "1.5"))
	b.WriteString("  template:\n    spec:\n")
	if patch {
		add(16, "      $patch: %s", word(r, "replace", "merge"))
	}
	add(3, "      nodeSelector: {%s: x}", word(r, "a", "b"))
	add(4, "      tolerations: [{key: %s, operator: Exists}]", word(r, "a", "b"))
	add(3, "      hostAliases: [{ip: 1.2.3.4, hostnames: [%s]}]", word(r, "a", "b"))
	b.WriteString("      containers:\n")
	for _, name := range []string{"c1", "c2", word(r, "c3", "c1", "c4")}[:1+r.IntN(3)] {
		fmt.Fprintf(&b, "      - name: %s\n", name)
		add(2, "        image: %s", word(r, "i:1", "\"i:2\""))
		add(2, "        args: [%s]", word(r, "a", "b, c", "8080", "\"1\""))
		add(2, "        env: [{name: A, value: %q}, {name: %s, value: x}]", word(r, "1", "y"), word(r, "B", "C"))
		add(map[bool]int{true: 8, false: 2}[patch], "        ports: [{containerPort: %s}, {containerPort: 90%s}]", word(r, "80", "81"), word(r, "", ", protocol: UDP"))
		add(3, "        volumeMounts: [{mountPath: /%s, name: v}]", word(r, "a", "b"))
		add(4, "        resources: {limits: {cpu: %s}}", word(r, "1", "100m", "\"2\"", "\"3\"", "5", "null"))
		if patch {
			add(20, "        $patch: delete")
		}
	}
	add(3, "      volumes: [{name: v, emptyDir: {}}, {name: %s, configMap: {name: c}}]", word(r, "w", "x"))
	add(4, "      imagePullSecrets: [{name: %s}]", word(r, "a", "b"))
	return b.String()
}

// KZ-55: the strategic merges done here equal those of kyaml.
func TestMergeEqualsEngine(t *testing.T) {
	mustBuild(t, files("-- a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"), kustomize.Options{}) // warms the schema
	r := rand.New(rand.NewPCG(3, 4))
	quick := 0
	for range 4_000 {
		dest, patch := randomSpec(r, false), randomSpec(r, true)
		got, want, err := kustomize.Merges(dest, patch)
		if got == nil {
			continue
		}
		quick++
		if err != nil {
			t.Fatalf("%s---\n%s: kyaml refuses: %v", dest, patch, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s---\n%s\n-kyaml +ours:\n%s", dest, patch, diff)
		}
	}
	t.Logf("%d merged here", quick)
	if quick < 600 {
		t.Fatalf("only %d of 4,000 were merged here", quick)
	}
}
