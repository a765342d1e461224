// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing/fstest"
)

// randomTree writes kustomizations the indexed engine covers, with objects that
// refer to each other by name.
type randomTree struct {
	*rand.Rand
	files fstest.MapFS
	seen  map[string]bool
	n     int
}

func newRandomTree(seed uint64) *randomTree {
	return &randomTree{Rand: rand.New(rand.NewPCG(seed, 7)), files: fstest.MapFS{}, seen: map[string]bool{}}
}

func (r *randomTree) pick(list ...string) string { return list[r.IntN(len(list))] }
func (r *randomTree) chance(n int) bool          { return r.IntN(n) == 0 }
func (r *randomTree) name() string {
	return r.pick("app", "web", "db", "app-db", "default", "x1", "cache", "api")
}

func (r *randomTree) put(name, text string) {
	r.files[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
}

// pod is a pod spec at an indentation.
func (r *randomTree) pod(indent int) string {
	text := `containers:
- name: a
  image: ` + r.pick("nginx", "nginx:1.2", "example.com/app@sha256:abcd", "example.com/app:v1@sha256:ff", "busybox", `"redis:1"`) + `
  env:
  - name: A
    valueFrom: {configMapKeyRef: {name: ` + r.name() + `, key: k}}
  - name: B
    valueFrom:
      secretKeyRef:
        name: ` + r.name() + `
        key: k
  envFrom:
  - configMapRef: {name: ` + r.name() + `}
  - secretRef: {name: ` + r.name() + `}
initContainers:
- {name: i, image: "nginx:2", args: ["8080", yes, 'on', 1.5, 1e3, 0x10, ~]}
serviceAccountName: ` + r.name() + `
imagePullSecrets: [{name: ` + r.name() + `}]
volumes:
- name: v
  configMap: {name: ` + r.name() + `}
- name: w
  secret: {secretName: ` + r.name() + `}
- name: p
  projected: {sources: [{configMap: {name: ` + r.name() + `}}, {secret: {name: ` + r.name() + `}}]}
- name: c
  persistentVolumeClaim: {claimName: ` + r.name() + `}
- name: im
  image: {reference: "nginx:3"}
priorityClassName: ` + r.name() + `
`
	if r.chance(3) {
		text += "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {matchLabels: {app: x}}}]}}\n"
	}
	pad := strings.Repeat(" ", indent)
	return pad + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+pad) + "\n"
}

func (r *randomTree) meta(kind string) string {
	name := r.name()
	for r.seen[kind+"/"+name] {
		r.n++
		name = r.name() + fmt.Sprintf("-%d", r.n)
	}
	r.seen[kind+"/"+name] = true
	ns := ""
	if r.chance(5) {
		ns = r.pick("one", "two", "default")
	}
	text := "metadata:\n  name: " + name + "\n"
	if ns != "" {
		text += "  namespace: " + ns + "\n"
	}
	if r.chance(4) {
		text += "  labels: {app: " + name + ", tier: \"1\"}\n"
	}
	if r.chance(4) {
		text += "  annotations:\n    note: \"" + r.pick("true", "a b", "1") + "\"\n"
	}
	if r.chance(20) {
		text += "  annotations: {config.kubernetes.io/local-config: \"true\"}\n"
		text = strings.Replace(text, "  annotations:\n    note", "  x:\n    note", 1)
	}
	return text
}

func (r *randomTree) object() string {
	switch r.IntN(21) {
	case 0, 1:
		kind := r.pick("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
		extra := "  serviceName: " + r.name() + "\n"
		if kind == "StatefulSet" && r.chance(2) {
			extra += "  volumeClaimTemplates:\n  - metadata: {name: d}\n    spec: {storageClassName: " + r.name() + "}\n"
		}
		sel := ""
		if r.chance(2) {
			sel = "  selector: {matchLabels: {app: x}}\n"
		}
		return "apiVersion: apps/v1\nkind: " + kind + "\n" + r.meta(kind) + "spec:\n  replicas: 2\n" + sel + extra +
			"  template:\n    metadata: {labels: {app: x}}\n    spec:\n" + r.pod(6)
	case 2:
		return "apiVersion: batch/v1\nkind: CronJob\n" + r.meta("CronJob") + "spec:\n  schedule: '* * * * *'\n  jobTemplate:\n    spec:\n      template:\n        spec:\n" + r.pod(10)
	case 3:
		return "apiVersion: batch/v1\nkind: Job\n" + r.meta("Job") + "spec:\n  template:\n    spec:\n" + r.pod(6)
	case 4:
		return "apiVersion: v1\nkind: Pod\n" + r.meta("Pod") + "spec:\n" + r.pod(2)
	case 5:
		return "apiVersion: v1\nkind: Service\n" + r.meta("Service") + "spec:\n  ports: [{port: 80, targetPort: http}]\n  selector: {app: x}\n"
	case 6, 7:
		return "apiVersion: v1\nkind: ConfigMap\n" + r.meta("ConfigMap") + "data:\n  a: \"" + r.pick("1", "yes", "x y") + "\"\n  b: |\n    line\n      more\n    end\n  c: >-\n    folded\n    text\n\n    para\n  d: 'it''s'\n"
	case 8:
		return "apiVersion: v1\nkind: Secret\n" + r.meta("Secret") + "data: {p: aGVsbG8=}\nstringData: {q: '007'}\n"
	case 9:
		return "apiVersion: v1\nkind: ServiceAccount\n" + r.meta("ServiceAccount") + "imagePullSecrets: [{name: " + r.name() + "}]\n"
	case 10:
		return "apiVersion: rbac.authorization.k8s.io/v1\nkind: " + r.pick("RoleBinding", "ClusterRoleBinding") + "\n" + r.meta("") +
			"roleRef: {apiGroup: rbac.authorization.k8s.io, kind: " + r.pick("Role", "ClusterRole") + ", name: " + r.name() + "}\n" +
			"subjects:\n- {kind: ServiceAccount, name: " + r.name() + ", namespace: " + r.pick("one", "two", "default") + "}\n- {kind: ServiceAccount, name: " + r.name() + "}\n"
	case 11:
		return "apiVersion: rbac.authorization.k8s.io/v1\nkind: " + r.pick("Role", "ClusterRole") + "\n" + r.meta("") +
			"rules: [{apiGroups: [''], resources: [secrets], resourceNames: [" + r.name() + ", other], verbs: [get]}]\n"
	case 12:
		return "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\n" + r.meta("") +
			"spec: {scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: " + r.name() + "}, maxReplicas: 3}\n"
	case 13:
		return "apiVersion: networking.k8s.io/v1\nkind: Ingress\n" + r.meta("") +
			"spec:\n  tls: [{secretName: " + r.name() + "}]\n  rules:\n  - http: {paths: [{path: /, backend: {service: {name: " + r.name() + ", port: {number: 80}}}}]}\n"
	case 14:
		r.n++
		return "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + r.pick("one", "two", "three") + fmt.Sprint(r.n) + "}\n"
	case 15:
		return "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: foos.example.com" + fmt.Sprint(r.n) + "}\nspec:\n  group: example.com\n  names: {kind: Foo}\n  containers: [{image: nginx}]\n"
	case 16:
		return "apiVersion: example.com/v1\nkind: Foo\n" + r.meta("Foo") + "spec:\n  deep:\n    containers: [{image: 'nginx:9', name: z}]\n  list: [{name: a, v: 1}, {name: b, v: 2}]\n  n: null\n  e: {}\n  f: []\n"
	case 17:
		return "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n" + r.meta("") + "spec:\n  podSelector: {matchLabels: {app: x}}\n  ingress: [{from: [{podSelector: {matchLabels: {a: b}}}, {ipBlock: {cidr: 10.0.0.0/8}}]}]\n"
	case 18:
		return "apiVersion: v1\nkind: PersistentVolumeClaim\n" + r.meta("") + "spec: {volumeName: " + r.name() + ", storageClassName: " + r.name() + "}\n"
	case 19:
		return "apiVersion: storage.k8s.io/v1\nkind: StorageClass\n" + r.meta("") + "parameters: {secretName: " + r.name() + "}\n"
	default:
		return "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\n" + r.meta("") +
			"webhooks: [{name: h, clientConfig: {service: {name: " + r.name() + ", namespace: " + r.pick("one", "default") + "}}}]\n"
	}
}

// base writes a kustomization directory with objects of its own.
func (r *randomTree) base(dir string, subs ...string) {
	var entries []string
	for range 1 + r.IntN(3) {
		r.n++
		file := fmt.Sprintf("f%d.yaml", r.n)
		var docs []string
		for range 1 + r.IntN(4) {
			docs = append(docs, r.object())
		}
		r.put(dir+"/"+file, strings.Join(docs, "---\n"))
		entries = append(entries, file)
	}
	entries = append(entries, subs...)
	r.put(dir+"/kustomization.yaml", "resources: ["+strings.Join(entries, ", ")+"]\n"+r.operators(dir))
}

// operators writes a random selection of transformers.
func (r *randomTree) operators(dir string) string {
	var b strings.Builder
	add := func(n int, text string) {
		if r.chance(n) {
			b.WriteString(text + "\n")
		}
	}
	add(3, "namespace: "+r.pick("one", "prod", "default"))
	add(3, "namePrefix: "+r.pick("a-", "prod-", "x"))
	add(4, "nameSuffix: "+r.pick("-v1", "-z"))
	add(4, "commonLabels: {team: core, v: \"1\"}")
	add(4, "labels: [{pairs: {l: m}, includeSelectors: "+r.pick("true", "false")+", includeTemplates: "+r.pick("true", "false")+"}]")
	add(4, "commonAnnotations: {note: \"yes\", z: q}")
	add(3, "images: [{name: nginx, newTag: \"7\"}, {name: example.com/app, newName: other, digest: \"sha256:11\"}, {name: busybox, newName: nginx}]")
	add(3, "configMapGenerator: [{name: "+r.pick("gen", "app", dir)+", literals: [a=b, c=d]"+r.pick("", ", options: {disableNameSuffixHash: true}", ", options: {labels: {g: h}, annotations: {k: v}}")+"}]")
	add(4, "secretGenerator: [{name: "+r.pick("sec", "app")+", literals: [p=q], type: Opaque}]")
	add(6, "generatorOptions: {disableNameSuffixHash: true, labels: {x: y}}")
	add(8, "sortOptions: {order: legacy}")
	add(12, "replicas: [{name: "+r.name()+", count: 5}]")
	if r.chance(3) {
		b.WriteString("patches:\n")
		for range 1 + r.IntN(2) {
			b.WriteString(r.pick(
				"- target: {kind: Deployment}\n  patch: |-\n    apiVersion: apps/v1\n    kind: Deployment\n    metadata: {name: any, labels: {patched: \"true\"}}\n    spec: {template: {spec: {containers: [{name: a, image: patched}, {name: new, image: nginx}]}}}\n",
				"- target: {kind: \"Config.*\"}\n  patch: |-\n    - {op: add, path: /data/new, value: \"8080\"}\n    - {op: add, path: /metadata/labels, value: {j: \"1\"}}\n",
				"- target: {kind: ConfigMap, name: "+r.name()+"}\n  patch: |-\n    - {op: add, path: /metadata/annotations/j, value: x}\n",
				"- patch: |-\n    apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: "+r.name()+"}\n    data: {a: null, n: \"5\"}\n",
				"- target: {kind: Service}\n  patch: |-\n    $patch: delete\n    apiVersion: v1\n    kind: Service\n    metadata: {name: x}\n",
				"- target: {labelSelector: app}\n  patch: |-\n    apiVersion: v1\n    kind: Any\n    metadata: {name: x, annotations: {sel: \"1\"}}\n",
				"- target: {group: example.com}\n  patch: |-\n    apiVersion: example.com/v1\n    kind: Foo\n    metadata: {name: x}\n    spec: {list: [{name: a, v: 3}]}\n",
			))
		}
	}
	add(14, "patchesStrategicMerge:\n- |-\n  apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: "+r.name()+"}\n  data: {sm: \"1\"}")
	add(8, "patchesJson6902:\n- target: {version: v1, kind: ConfigMap, name: "+r.name()+"}\n  patch: |-\n    - {op: add, path: /data/j6, value: \"1\"}")
	_ = dir
	return b.String()
}

// build writes a tree and returns its root.
func (r *randomTree) build() fstest.MapFS {
	r.base("b1")
	top := []string{"../b1"}
	if r.chance(2) {
		r.base("b2")
		top = append(top, "../b2")
	}
	if r.chance(3) {
		r.put("c/kustomization.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"+r.operators("c"))
		if r.chance(2) {
			r.base("top", top...)
			k := r.files["top/kustomization.yaml"]
			k.Data = append(k.Data, "components: [../c]\n"...)
			return r.files
		}
	}
	r.base("top", top...)
	return r.files
}
