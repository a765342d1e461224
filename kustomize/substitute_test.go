// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/gitops-kit/sdk/kustomize"
)

func substituted(t *testing.T, tree string, s kustomize.Substitution) (*kustomize.Result, error) {
	t.Helper()
	return build(t, files(tree), kustomize.Options{Substitute: &s})
}

func values(pairs ...string) map[string]kustomize.Var {
	out := map[string]kustomize.Var{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = kustomize.Var{Value: pairs[i+1]}
	}
	return out
}

// KZ-75, KZ-81: a variable that is text becomes a boolean or number in the
// compatible mode, and keeps its type in the typed mode.
func TestTypes(t *testing.T) {
	tree := `
-- cm.yaml --
apiVersion: v1
kind: ConfigMap
metadata: {name: "t-${B}"}
data: {a: "${A}", b: "${B}", c: "${C}", d: plain}
-- deploy.yaml --
apiVersion: apps/v1
kind: Deployment
metadata: {name: d}
spec:
  replicas: ${N}
  template: {spec: {containers: [{name: a, image: i, args: ["${N}", "x${N}"], ports: [{containerPort: "${N}"}], livenessProbe: {httpGet: {port: "${N}"}}}], hostNetwork: "${T}"}}
-- foo.yaml --
apiVersion: example.com/v1
kind: Foo
metadata: {name: f}
spec:
  plain: ${N}
  quoted: "${N}"
  float: ${F}
  octal: ${B}
  yes: ${A}
  bool: ${T}
  text: a${N}
  exp: ${C}
`
	vars := values("A", "yes", "B", "004", "C", "1e3", "N", "3", "T", "true", "F", "2.5")
	t.Run("Typed", func(t *testing.T) {
		g := NewWithT(t)
		res, err := substituted(t, tree, kustomize.Substitution{Vars: vars, Mode: kustomize.Typed})
		g.Expect(err).NotTo(HaveOccurred())
		objects := res.Unstructured()
		g.Expect(objects[0].Object["data"]).To(Equal(map[string]any{"a": "yes", "b": "004", "c": "1e3", "d": "plain"}))
		g.Expect(objects[0].GetName()).To(Equal("t-004"))
		spec := objects[1].Object["spec"].(map[string]any)
		g.Expect(spec["replicas"]).To(Equal(int64(3)))
		pod := spec["template"].(map[string]any)["spec"].(map[string]any)
		c := pod["containers"].([]any)[0].(map[string]any)
		g.Expect(c["args"]).To(Equal([]any{"3", "x3"}))
		g.Expect(c["ports"]).To(Equal([]any{map[string]any{"containerPort": int64(3)}}))
		g.Expect(c["livenessProbe"]).To(Equal(map[string]any{"httpGet": map[string]any{"port": int64(3)}}))
		g.Expect(pod["hostNetwork"]).To(BeTrue())
		g.Expect(objects[2].Object["spec"]).To(Equal(map[string]any{
			"plain": int64(3), "quoted": "3", "float": 2.5, "octal": "004", "yes": "yes", "bool": true, "text": "a3", "exp": "1e3",
		}))
	})
	t.Run("Compatible", func(t *testing.T) {
		g := NewWithT(t)
		res, err := substituted(t, tree, kustomize.Substitution{Vars: vars})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(res.Unstructured()[0].Object["data"]).To(Equal(map[string]any{"a": true, "b": int64(4), "c": int64(1000), "d": "plain"}))
		g.Expect(res.Unstructured()[1].Object["spec"].(map[string]any)["replicas"]).To(Equal(int64(3)))
	})
	t.Run("WrongType", func(t *testing.T) {
		g := NewWithT(t)
		_, err := substituted(t, tree, kustomize.Substitution{Vars: values("A", "yes", "B", "x", "C", "y", "N", canary, "T", "true", "F", "2"), Mode: kustomize.Typed})
		var ve *kustomize.VariableError
		g.Expect(errors.As(err, &ve)).To(BeTrue(), "%v", err)
		g.Expect(ve.Name).To(Equal("N"))
		g.Expect(ve.Path).To(Equal(".spec.replicas"))
		g.Expect(ve.File + ":" + string(rune('0'+ve.Line))).To(Equal("deploy.yaml:5"))
		g.Expect(err.Error()).NotTo(ContainSubstring(canary))
	})
}

// KZ-77: an empty default is a default.
func TestEmptyDefault(t *testing.T) {
	g := NewWithT(t)
	res, err := substituted(t, "-- cm.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: ${FOO:=}\n  b: \"${FOO:-}\"\n  c: x${FOO:=}y\n", kustomize.Substitution{Always: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Unstructured()[0].Object["data"]).To(Equal(map[string]any{"a": nil, "b": nil, "c": "xy"}))
	_, err = substituted(t, "-- cm.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: b\n  d: ${FOO}\n", kustomize.Substitution{Always: true})
	var ve *kustomize.VariableError
	g.Expect(errors.As(err, &ve)).To(BeTrue())
	g.Expect(err).To(MatchError("post build failed for 'ConfigMap.v1/a': variable not set (strict mode): \"FOO\" (from cm.yaml:6)"))
	g.Expect(errors.Is(err, kustomize.ErrVariable)).To(BeTrue())
}

// KZ-76, KZ-80: escaped and undeclared variables.
func TestEscapedAndUndeclared(t *testing.T) {
	g := NewWithT(t)
	tree := "-- cm.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  a: $${TOKEN}\n  b: ${DD_API_KEY}\n  c: ${D}\n"
	_, err := substituted(t, tree, kustomize.Substitution{Vars: values("D", "x")})
	var ve *kustomize.VariableError
	g.Expect(errors.As(err, &ve)).To(BeTrue())
	g.Expect(ve.Name + ve.File).To(Equal("DD_API_KEYcm.yaml"))
	g.Expect(ve.Line).To(Equal(6))
	res, err := substituted(t, tree, kustomize.Substitution{Vars: values("D", "x"), Mode: kustomize.Typed})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Unstructured()[0].Object["data"]).To(Equal(map[string]any{"a": "$${TOKEN}", "b": "${DD_API_KEY}", "c": "x"}), "only declared names are seen")
	res, err = substituted(t, tree, kustomize.Substitution{Vars: values("D", "x"), Lenient: true})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(res.Unstructured()[0].Object["data"]).To(Equal(map[string]any{"a": "${TOKEN}", "b": nil, "c": "x"}))
	_, err = substituted(t, tree, kustomize.Substitution{Vars: values("D", "x"), Mode: kustomize.Typed, FailUndeclared: true})
	g.Expect(errors.As(err, &ve)).To(BeTrue())
	g.Expect(ve.Name).To(Equal("DD_API_KEY"))
}

// KZ-80, KZ-82, KZ-84: text of other languages survives the typed mode.
func TestTypedLeavesText(t *testing.T) {
	g := NewWithT(t)
	script := "#!/bin/sh\nset -e\nfor f in *; do echo \"$f ${f%.txt} ${HOME:-x} $(date)\"; done\nproxy_set_header Host $host;\n{{ .Values.x }} ${__rate_interval}\n${name}\n"
	tree := "-- cm.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  s: |\n    " + strings.ReplaceAll(strings.TrimSuffix(script, "\n"), "\n", "\n    ") + "\nbinaryData: {b: \"${name}\"}\n" +
		"-- s.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {d: \"${name}\"}\nstringData: {d: \"${name}\"}\n" +
		"-- crd.yaml --\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com}\nspec: {group: example.com, names: {kind: Foo}, versions: [{name: v1, schema: {openAPIV3Schema: {description: \"use ${name}\", type: object, properties: {spec: {type: object, properties: {n: {type: integer}, s: {type: string}, p: {x-kubernetes-int-or-string: true}}}}}}}]}\n" +
		"-- foo.yaml --\napiVersion: example.com/v1\nkind: Foo\nmetadata: {name: f}\nspec: {n: \"${num}\", s: \"${num}\", p: \"${num}\", \"${name}\": key}\n"
	var seen []kustomize.Replacement
	res, err := substituted(t, tree, kustomize.Substitution{
		Vars: values("name", "a: b\n- c # d", "num", "8080"), Mode: kustomize.Typed, Explain: func(r kustomize.Replacement) { seen = append(seen, r) },
	})
	g.Expect(err).NotTo(HaveOccurred())
	byKind := map[string]map[string]any{}
	for _, u := range res.Unstructured() {
		byKind[u.GetKind()] = u.Object
	}
	g.Expect(byKind["ConfigMap"]["data"]).To(Equal(map[string]any{"s": strings.Replace(script, "${name}", "a: b\n- c # d", 1)}))
	g.Expect(byKind["ConfigMap"]["binaryData"]).To(Equal(map[string]any{"b": "${name}"}))
	g.Expect(byKind["Secret"]["data"]).To(Equal(map[string]any{"d": "${name}"}))
	g.Expect(byKind["Secret"]["stringData"]).To(Equal(map[string]any{"d": "a: b\n- c # d"}))
	g.Expect(byKind["Foo"]["spec"]).To(Equal(map[string]any{"n": int64(8080), "s": "8080", "p": int64(8080), "${name}": "key"}))
	g.Expect(seen).To(HaveLen(5))
	for _, r := range seen {
		g.Expect(r.File).NotTo(BeEmpty())
		g.Expect(r.Line).To(BeNumerically(">", 0))
		g.Expect(r.Path).To(HavePrefix("."))
	}
}

// KZ-70, KZ-71, KZ-72: when it runs, and what a name may be.
func TestSubstitutionRules(t *testing.T) {
	g := NewWithT(t)
	tree := "-- a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {kustomize.toolkit.fluxcd.io/substitute: disabled}}\ndata: {v: \"${A}\"}\n" +
		"-- b.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b, annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}}\ndata: {v: \"${A}\"}\n" +
		"-- c.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {v: \"${A}\"}\n"
	get := func(res *kustomize.Result, i int) any {
		return res.Unstructured()[i].Object["data"].(map[string]any)["v"]
	}
	res, err := substituted(t, tree, kustomize.Substitution{Vars: values("A", "${B}x\ny", "B", "no")})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]any{get(res, 0), get(res, 1), get(res, 2)}).To(Equal([]any{"${A}", "${A}", "${B}xy"}))
	res, err = substituted(t, tree, kustomize.Substitution{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(get(res, 2)).To(Equal("${A}"))
	for _, name := range []string{"1a", "a-b", "", "a b", "é"} {
		_, err := substituted(t, tree, kustomize.Substitution{Vars: values(name, canary)})
		g.Expect(err).To(MatchError("'" + name + "' var name is invalid, must match '^[_[:alpha:]][_[:alpha:][:digit:]]*$'"))
		g.Expect(errors.Is(err, kustomize.ErrVariable)).To(BeTrue())
	}
	_, err = substituted(t, tree, kustomize.Substitution{Vars: values("A", strings.Repeat("x", 1<<20+1))})
	expectLimit(g, err, "substitution-value")
	many := map[string]kustomize.Var{}
	for i := range 10_001 {
		many["v"+strings.Repeat("x", i%7)+string(rune('a'+i%26))+strings.Repeat("1", i/1000)+strings.Repeat("2", i%1000)] = kustomize.Var{}
	}
	if len(many) > 10_000 {
		_, err = substituted(t, tree, kustomize.Substitution{Vars: many})
		expectLimit(g, err, "substitution-vars")
	}
}

// KZ-74: what substitution makes of an identity is checked.
func TestIdentityAfterSubstitution(t *testing.T) {
	g := NewWithT(t)
	tree := "-- a.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"${A}\"}\n-- b.yaml --\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n"
	_, err := substituted(t, tree, kustomize.Substitution{Vars: values("A", "b")})
	g.Expect(errors.Is(err, kustomize.ErrDuplicateObject)).To(BeTrue(), "%v", err)
	g.Expect(err.Error()).To(And(ContainSubstring("a.yaml:1"), ContainSubstring("b.yaml:1")))
	_, err = substituted(t, tree, kustomize.Substitution{Vars: values("A", "")})
	g.Expect(errors.Is(err, kustomize.ErrInvalid)).To(BeTrue(), "%v", err)
	_, err = substituted(t, tree, kustomize.Substitution{Vars: values("A", "x: [")})
	g.Expect(err).To(HaveOccurred())
}

// N26, KZ-73: no value reaches an error.
func TestSecretsInErrors(t *testing.T) {
	for name, tc := range map[string]struct{ tree, sub string }{
		"BrokenYAML": {"-- a.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {k: ${S}}\n", canary + ": [\"{"},
		"StringData": {"-- kustomization.yaml --\nresources: [a.yaml]\npatches: [{patch: '[{\"op\": \"test\", \"path\": \"/stringData/k\", \"value\": \"other\"}]', target: {kind: Secret}}]\n-- a.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {k: " + canary + "}\n", "x"},
		"NoName":     {"-- kustomization.yaml --\nresources: [a.yaml]\n-- a.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {labels: {}}\nstringData: {k: " + canary + "}\n", "x"},
		"WrongKind":  {"-- kustomization.yaml --\nresources: [a.yaml]\nlabels: [{pairs: {a: b}}]\n-- a.yaml --\napiVersion: v1\nkind: Secret\nmetadata: {name: a, labels: [" + canary + "]}\nstringData: {k: " + canary + "}\n", "x"},
		"Generator":  {"-- kustomization.yaml --\nsecretGenerator: [{name: a, literals: [\"k=" + canary + "\"]}, {name: a, literals: [\"k=" + canary + "\"]}]\n", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, err := substituted(t, tc.tree, kustomize.Substitution{Vars: map[string]kustomize.Var{"S": {Value: tc.sub, Secret: true}}})
			g.Expect(err).To(HaveOccurred())
			g.Expect(err.Error()).NotTo(ContainSubstring(canary))
		})
	}
}
