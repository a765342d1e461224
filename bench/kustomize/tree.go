// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const overlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
namespace: prod
namePrefix: blue-
resources: [../base]
labels: [{pairs: {team: core}, includeSelectors: true}]
images: [{name: example.com/app, newTag: "2"}]
patches:
- target: {kind: Deployment}
  patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: any}
    spec: {template: {spec: {containers: [{name: app, resources: {limits: {memory: 1Gi}}}]}}}
`

// writeTree writes a base with n objects, one a file, and an overlay over it.
func writeTree(root, op string, n int) error {
	var names []string
	put := func(name, text string) error {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		return os.WriteFile(name, []byte(text), 0o644)
	}
	for i := range n {
		name := fmt.Sprintf("o%d.yaml", i)
		names = append(names, name)
		if err := put("base/"+name, object(op, i)); err != nil {
			return err
		}
	}
	if op == "plain" || op == "substitute" {
		return nil
	}
	if err := put("base/kustomization.yaml", "resources:\n- "+strings.Join(names, "\n- ")+"\n"); err != nil {
		return err
	}
	return put("top/kustomization.yaml", overlay)
}

func object(op string, i int) string {
	value := "value"
	if op == "substitute" {
		value = "${host}/${region:-eu}"
	}
	switch i % 4 {
	case 0:
		return fmt.Sprintf(`apiVersion: apps/v1
kind: Deployment
metadata:
  name: app-%d
  labels: {app: app-%d}
spec:
  replicas: 2
  selector:
    matchLabels: {app: app-%d}
  template:
    metadata:
      labels: {app: app-%d}
    spec:
      serviceAccountName: app-%d
      containers:
      - name: app
        image: example.com/app:1
        args: [--listen, ":8080", %q]
        ports: [{containerPort: 8080}]
        envFrom:
        - configMapRef: {name: app-%d}
        resources:
          requests: {cpu: 100m, memory: 128Mi}
        readinessProbe:
          httpGet: {path: /healthz, port: 8080}
`, i, i, i, i, i+3, value, i+1)
	case 1:
		return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: app-%d\ndata:\n  a: %q\n  b: |\n    line one\n    line two\n", i, value)
	case 2:
		return fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata:\n  name: app-%d\n  annotations: {note: %q}\nspec:\n  selector: {app: app-%d}\n  ports:\n  - {port: 80, targetPort: 8080}\n", i, value, i-2)
	}
	return fmt.Sprintf("apiVersion: v1\nkind: ServiceAccount\nmetadata:\n  name: app-%d\n", i)
}
