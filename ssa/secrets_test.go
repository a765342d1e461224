// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
)

// N26, SSA-98: no secret value in anything that can be printed.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	const canary = "hunter2-canary"
	e := newEnv(t, ssa.Options{DigestKey: []byte("key"), Sensitive: []ssa.PathRule{{Paths: []string{"/spec/password"}, Target: ssa.Match{Kind: "Widget"}}}})
	g := e.g
	group := e.ns + ".example.com"
	definition := e.objects(crd(group, "{type: object, properties: {spec: {type: object, properties: {password: {type: string, maxLength: 20}, user: {type: string}}}}}"))
	e.apply(definition, ssa.PlanOptions{})
	t.Cleanup(func() { e.cleanup(definition) })
	var sink strings.Builder
	see := func(vs ...any) {
		for _, v := range vs {
			if v == nil {
				continue
			}
			fmt.Fprintf(&sink, "%v\n%+v\n%s\n", v, v, v)
			if b, err := json.Marshal(v); err == nil {
				sink.Write(b)
			}
			if err, ok := v.(error); ok {
				for u := errors.Unwrap(err); u != nil; u = errors.Unwrap(u) {
					fmt.Fprintf(&sink, "%+v\n%#v\n", u, u)
				}
				if oe, ok := errors.AsType[*ssa.ObjectError](err); ok {
					fmt.Fprintf(&sink, "%+v\n%#v\n%+v\n", oe, oe, oe.Err)
				}
			}
		}
	}
	texts := []string{
		"apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: NS}\nstringData: {k: " + canary + "}\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: bad, namespace: NS}\ndata: {k: '" + canary + "!'}\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: typed, namespace: NS}\ntype: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: '" + canary + "{'}\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: im, namespace: NS}\nimmutable: true\nstringData: {k: " + canary + "}\n",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: last, namespace: NS, annotations: {" + lastApplied + ": '{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"data\":{\"k\":\"" + canary + "\"}}'}}\n",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: marked, namespace: NS, labels: {gitops-kit.github.io/sensitive: \"true\"}}\ndata: {k: " + canary + "}\n",
		"apiVersion: " + group + "/v1\nkind: Widget\nmetadata: {name: w, namespace: NS}\nspec: {password: " + canary + ", user: u}\n",
		"apiVersion: " + group + "/v1\nkind: Widget\nmetadata: {name: long, namespace: NS}\nspec: {password: " + canary + canary + "}\n",
	}
	for round := range 2 {
		objects := e.objects(strings.ReplaceAll(strings.Join(texts, "---\n"), canary, canary+fmt.Sprint(round)))
		p, err := e.m.Plan(t.Context(), objects, ssa.PlanOptions{Takeover: ssa.Takeover{Annotations: []string{lastApplied}}})
		see(p, err, p.Entries, p.Diff(ssa.DiffOptions{All: true}), p.Diff(ssa.DiffOptions{}).String(), ssa.DriftReport(p, ssa.DriftOptions{}))
		for _, o := range objects {
			x, err := e.m.Explain(t.Context(), o, ssa.PlanOptions{})
			see(x, err)
		}
		r, err := e.m.Apply(t.Context(), p, ssa.ApplyOptions{ContinueOnError: true})
		see(r, err, r.Outcomes, r.String())
		dp, err := e.m.PlanDelete(t.Context(), r.Inventory(), ssa.DeleteOptions{})
		see(err)
		b, _ := json.Marshal(dp)
		sink.Write(b)
	}
	_, err := ssa.ReadObjects(strings.NewReader("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  a: "+canary+"\n  a: "+canary+"\n\t"+canary), ssa.ReadOptions{})
	see(err)
	all := sink.String()
	g.Expect(all).To(ContainSubstring("*** (before)"))
	g.Expect(all).To(ContainSubstring("message withheld"))
	for _, form := range []string{canary, base64.StdEncoding.EncodeToString([]byte(canary + "0")), base64.StdEncoding.EncodeToString([]byte(canary))[:12]} {
		if i := strings.Index(all, form); i >= 0 {
			t.Fatalf("%q leaks: …%s…", form, all[max(0, i-300):min(len(all), i+100)])
		}
	}
}
