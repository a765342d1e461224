// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/gitops-kit/sdk/ssa"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// mutationKinds are objects with every sort of list and map that managedFields
// know (atomic, set, keyed with and without defaults, unknown fields), among
// them all lists with keys that built-in kinds have. None of them affects
// other tests: policies have no binding, nothing is scheduled.
const mutationKinds = shop + `---
apiVersion: v1
kind: Pod
metadata: {name: pod, namespace: NS, finalizers: [example.com/a]}
spec:
  nodeSelector: {none: such}
  containers: [{name: c, image: "example.com/c:1", args: [x, z], ports: [{containerPort: 80}, {containerPort: 81, protocol: UDP}]}]
  tolerations: [{key: a, operator: Exists}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: ing, namespace: NS}
spec: {rules: [{host: a.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
apiVersion: GROUP/v1
kind: Widget
metadata: {name: widget, namespace: NS}
spec: {free: {a: 1, b: [1, 2]}, set: [a, b], keyed: [{id: x, v: 1}, {id: z, proto: UDP}], atomic: {p: 1, q: {r: s}}, num: 1.5, quota: 12000m, tags: [1, 2]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: role, namespace: NS}
rules: [{apiGroups: [""], resources: [pods], verbs: [get]}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: sts, namespace: NS}
spec:
  serviceName: web
  selector: {matchLabels: {app: s}}
  template:
    metadata: {labels: {app: s}}
    spec: {containers: [{name: c, image: "example.com/c:1", resources: {requests: {cpu: "0.5", memory: 1000M, ephemeral-storage: 1024Mi}, limits: {cpu: 1000m, memory: 2Gi}}}]}
`

const moreMutationKinds = mutationKinds + `---
apiVersion: v1
kind: PodTemplate
metadata: {name: tpl, namespace: NS}
template:
  metadata: {labels: {a: b}}
  spec:
    hostAliases: [{ip: 10.0.0.1, hostnames: [a, b]}, {ip: 10.0.0.2, hostnames: [c]}]
    imagePullSecrets: [{name: one}, {name: two}]
    schedulingGates: [{name: example.com/g}]
    topologySpreadConstraints: [{topologyKey: zone, whenUnsatisfiable: DoNotSchedule, maxSkew: 1, labelSelector: {matchLabels: {a: b}}}]
    resourceClaims: [{name: rc, resourceClaimName: x}]
    readinessGates: [{conditionType: example.com/r}]
    tolerations: [{key: a, operator: Exists}, {key: b, operator: Exists}]
    volumes: [{name: e, emptyDir: {sizeLimit: 1024Mi}}, {name: blk, persistentVolumeClaim: {claimName: x}}, {name: cm, configMap: {name: conf, items: [{key: a, path: a}]}}, {name: p, projected: {sources: [{secret: {name: cred}}]}}]
    initContainers: [{name: i, image: "example.com/i:1", command: [a, b]}]
    containers:
    - name: c
      image: example.com/c:1
      env: [{name: A, value: "1"}, {name: P, valueFrom: {fieldRef: {fieldPath: metadata.name}}}, {name: B, value: "2"}]
      ports: [{containerPort: 80, name: http}, {containerPort: 80, protocol: UDP}]
      volumeMounts: [{name: e, mountPath: /e}, {name: cm, mountPath: /cm, readOnly: true}]
      volumeDevices: [{name: blk, devicePath: /dev/x}]
      resources: {limits: {cpu: "1", memory: 1000Mi}, claims: [{name: rc}]}
      securityContext: {capabilities: {add: [NET_ADMIN, SYS_TIME], drop: [ALL]}}
      livenessProbe: {httpGet: {port: 80, path: /, httpHeaders: [{name: a, value: b}]}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: sa, namespace: NS}
secrets: [{name: one}, {name: two}]
imagePullSecrets: [{name: a}, {name: b}]
---
apiVersion: v1
kind: LimitRange
metadata: {name: range, namespace: NS}
spec: {limits: [{type: PersistentVolumeClaim, max: {storage: 4096Gi}, min: {storage: 1024Mi}}]}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota, namespace: NS}
spec: {hard: {count/leases.coordination.k8s.io: "1000", count/events: "0.5k"}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: net, namespace: NS}
spec: {podSelector: {matchLabels: {a: b}}, policyTypes: [Ingress], ingress: [{from: [{podSelector: {matchLabels: {c: d}}}], ports: [{port: 80}]}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: pdb, namespace: NS}
spec: {maxUnavailable: 1, selector: {matchLabels: {none: such}, matchExpressions: [{key: a, operator: In, values: [b, c]}]}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: hpa, namespace: NS}
spec: {maxReplicas: 3, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: none}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: cron, namespace: NS}
spec: {suspend: true, schedule: "0 0 1 1 *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "example.com/c:1", ports: [{containerPort: 1}]}]}}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: job, namespace: NS}
spec: {suspend: true, podFailurePolicy: {rules: [{action: Ignore, onExitCodes: {operator: In, values: [1, 2]}}]}, template: {spec: {restartPolicy: Never, containers: [{name: c, image: "example.com/c:1"}]}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: ds, namespace: NS}
spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {nodeSelector: {none: such}, containers: [{name: c, image: "example.com/c:1"}]}}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: slice, namespace: NS}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1], conditions: {ready: true}}]
ports: [{name: a, port: 80}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NS-vap}
spec:
  matchConstraints: {resourceRules: [{apiGroups: [none.example.com], apiVersions: ["*"], operations: [CREATE], resources: [nothing]}]}
  matchConditions: [{name: m1, expression: "true"}, {name: m2, expression: "true"}]
  variables: [{name: v, expression: "1"}, {name: w, expression: "2"}]
  validations: [{expression: "true", message: ok}]
  auditAnnotations: [{key: k, valueExpression: "'x'"}]
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: NS-class}
provisioner: example.com/none
parameters: {a: b}
mountOptions: [x, z]
allowedTopologies: [{matchLabelExpressions: [{key: zone, values: [a, b]}]}]
---
apiVersion: GROUP/v1
kind: Gadget
metadata: {name: gadget, namespace: NS}
spec: {a: {b: [1, {c: d}]}, n: 1.0, list: [{name: x}, {name: z}], none: {}}
top: [a]
`

const widgetSchema = `{type: object, properties: {spec: {type: object, properties: {
  free: {type: object, x-kubernetes-preserve-unknown-fields: true}, num: {type: number}, quota: {type: string},
  set: {type: array, x-kubernetes-list-type: set, items: {type: string}}, tags: {type: array, items: {type: integer}},
  keyed: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [id, proto], items: {type: object, required: [id], properties: {id: {type: string}, proto: {type: string, default: TCP}, v: {type: integer}}}},
  atomic: {type: object, x-kubernetes-map-type: atomic, x-kubernetes-preserve-unknown-fields: true}}}}}`

// gadgets is a definition that says nothing about its objects, in two
// versions, without a status subresource.
func gadgets(e *env, group string) *unstructured.Unstructured {
	u := e.objects(crd(group, "{type: object, x-kubernetes-preserve-unknown-fields: true}"))[0]
	u.SetName("gadgets." + group)
	_ = unstructured.SetNestedStringMap(u.Object, map[string]string{"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"}, "spec", "names")
	versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
	v1, _ := versions[0].(map[string]any)
	delete(v1, "subresources")
	v2 := maps.Clone(v1)
	v1["storage"], v2["name"] = false, "v2"
	_ = unstructured.SetNestedSlice(u.Object, []any{v1, v2}, "spec", "versions")
	return u
}

// mutator changes one object, desired or live, as its random source says.
type mutator struct {
	e       *env
	dynamic dynamic.Interface
	r       *rand.Rand
	past    *[]map[string]any // bodies that the live object had
}

// paths lists the places below v that a mutation may hit, in order.
func paths(v any, at []string, out *[][]string) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			p := append(slices.Clip(at), k)
			*out = append(*out, p)
			paths(v[k], p, out)
		}
	case []any:
		for i, c := range v {
			p := append(slices.Clip(at), strconv.Itoa(i))
			*out = append(*out, p)
			paths(c, p, out)
		}
	}
}

func body(u *unstructured.Unstructured) map[string]any {
	out := maps.Clone(u.Object)
	for _, k := range []string{"apiVersion", "kind", "metadata", "status"} {
		delete(out, k)
	}
	return out
}

// object changes an object at a random place.
func (m *mutator) object(u *unstructured.Unstructured) {
	var all [][]string
	paths(body(u), nil, &all)
	if len(all) > 0 {
		change(u.Object, all[m.r.IntN(len(all))], m.r)
	}
}

func change(v any, p []string, r *rand.Rand) any {
	switch t := v.(type) {
	case map[string]any:
		if len(p) > 1 {
			t[p[0]] = change(t[p[0]], p[1:], r)
			return t
		}
		if r.IntN(4) == 0 {
			delete(t, p[0])
			return t
		}
		t[p[0]] = scalar(t[p[0]], r)
		return t
	case []any:
		i, _ := strconv.Atoi(p[0])
		if i >= len(t) {
			return t
		}
		if len(p) > 1 {
			t[i] = change(t[i], p[1:], r)
			return t
		}
		switch r.IntN(5) {
		case 0:
			return append(t[:i:i], t[i+1:]...)
		case 1:
			j := r.IntN(len(t))
			t[i], t[j] = t[j], t[i]
			return t
		case 2: // twice the same
			return append(slices.Clip(t), (&unstructured.Unstructured{Object: map[string]any{"x": t[i]}}).DeepCopy().Object["x"])
		}
		t[i] = scalar(t[i], r)
		return t
	}
	return v
}

func scalar(v any, r *rand.Rand) any {
	odd := []any{nil, map[string]any{}, []any{}, "", "x", int64(7), 1.0, true, "100m", "0.1", "1Gi", "1024Mi"}
	switch v := v.(type) {
	case string:
		if r.IntN(3) > 0 {
			return v + strconv.Itoa(r.IntN(3))
		}
	case int64:
		if r.IntN(3) > 0 {
			return v + int64(r.IntN(3))
		}
	case map[string]any:
		if r.IntN(2) == 0 {
			v["n"+strconv.Itoa(r.IntN(3))] = "v"
			return v
		}
	}
	return odd[r.IntN(len(odd))]
}

// live changes the live object as somebody else does. Many writes are refused:
// that is a mutation, too.
func (m *mutator) live(u *unstructured.Unstructured) {
	e := m.e
	now := e.live(u)
	if now == nil {
		return
	}
	*m.past = append(*m.past, body(now))
	gvk := u.GroupVersionKind()
	w := ssa.Write{Resource: e.resource(gvk.Group, gvk.Version, gvk.Kind), Namespace: u.GetNamespace(), Name: u.GetName(), FieldManager: "other" + strconv.Itoa(m.r.IntN(3))}
	edited := now.DeepCopy()
	edited.SetManagedFields(nil)
	m.object(edited)
	partial := u.DeepCopy()
	if m.r.IntN(2) == 0 {
		m.object(partial)
	}
	switch m.r.IntN(15) {
	case 0, 1: // an update somewhere
		w.Verb, w.Object = ssa.VerbUpdate, edited
	case 2, 3: // another manager applies the object, forced or not
		w.Verb, w.Object, w.Force = ssa.VerbApply, partial, m.r.IntN(2) == 0
	case 4: // or only a part of it
		fields := body(partial)
		for _, k := range slices.Sorted(maps.Keys(fields)) {
			if m.r.IntN(2) == 0 {
				delete(partial.Object, k)
			}
		}
		w.Verb, w.Object, w.Force = ssa.VerbApply, partial, true
	case 5: // or lets go of everything
		w.Verb, w.Object = ssa.VerbApply, e.objects("apiVersion: " + u.GetAPIVersion() + "\nkind: " + u.GetKind() + "\nmetadata: {name: " + u.GetName() + ", namespace: \"" + u.GetNamespace() + "\"}\n")[0]
	case 6: // managedFields are wiped or edited
		w.Verb, w.Patch = ssa.VerbJSONPatch, m.managedFields(now)
	case 7: // labels
		w.Verb, w.Patch = ssa.VerbJSONPatch, fmt.Appendf(nil, `[{"op":"add","path":"/metadata/labels/l%d","value":"%d"}]`, m.r.IntN(3), m.r.IntN(3))
	case 8: // our own field manager, but with an update
		w.Verb, w.Object, w.FieldManager = ssa.VerbUpdate, edited, testManager
	case 9: // or somebody who applies in our name
		w.Verb, w.Object, w.Force, w.FieldManager = ssa.VerbApply, partial, true, testManager
	case 10: // back to what it was at some time
		maps.Copy(now.Object, (*m.past)[m.r.IntN(len(*m.past))])
		now.SetManagedFields(nil)
		w.Verb, w.Object = ssa.VerbUpdate, (&unstructured.Unstructured{Object: now.Object}).DeepCopy()
	case 11: // status or scale
		m.subresource(w)
		return
	case 12: // another version of the kind
		if gvk.Kind != "Gadget" {
			return
		}
		w.Resource = e.resource(gvk.Group, "v2", gvk.Kind)
		partial.SetAPIVersion(gvk.Group + "/v2")
		w.Verb, w.Object, w.Force = ssa.VerbApply, partial, true
		if m.r.IntN(4) == 0 {
			w.FieldManager = testManager
		}
	case 13: // finalizers and owners
		w.Verb, w.Patch = ssa.VerbJSONPatch, fmt.Appendf(nil, `[{"op":"add","path":"/metadata/finalizers","value":["example.com/%c"]}]`, 'a'+rune(m.r.IntN(2)))
	case 14: // deletion
		if m.r.IntN(4) > 0 {
			w.Verb, w.Patch = ssa.VerbJSONPatch, []byte(`[{"op":"remove","path":"/metadata/finalizers"}]`)
		} else {
			w.Verb, w.Propagation = ssa.VerbDelete, "Background"
		}
	}
	_, _ = e.cluster.Send(e.t.Context(), w)
}

func (m *mutator) managedFields(now *unstructured.Unstructured) []byte {
	entries := now.GetManagedFields()
	if len(entries) == 0 || m.r.IntN(3) == 0 {
		return []byte(`[{"op":"replace","path":"/metadata/managedFields","value":[{}]}]`)
	}
	i := m.r.IntN(len(entries))
	switch m.r.IntN(3) {
	case 0:
		entries[i].Manager += "x"
	case 1: // one record is lost
		entries = append(entries[:i:i], entries[i+1:]...)
	case 2: // one becomes another's
		entries[i].FieldsV1 = entries[m.r.IntN(len(entries))].FieldsV1
	}
	b, _ := json.Marshal(entries)
	return []byte(`[{"op":"replace","path":"/metadata/managedFields","value":` + string(b) + `}]`)
}

func (m *mutator) subresource(w ssa.Write) {
	var c dynamic.ResourceInterface = m.dynamic.Resource(w.Resource.GVR)
	if w.Namespace != "" {
		c = m.dynamic.Resource(w.Resource.GVR).Namespace(w.Namespace)
	}
	o := metav1.PatchOptions{FieldManager: w.FieldManager}
	if m.r.IntN(2) == 0 {
		patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, m.r.IntN(3))
		_, _ = c.Patch(m.e.t.Context(), w.Name, types.MergePatchType, patch, o, "scale")
		return
	}
	patch := fmt.Appendf(nil, `{"status":{"observedGeneration":%d}}`, m.r.IntN(3))
	_, _ = c.Patch(m.e.t.Context(), w.Name, types.MergePatchType, patch, o, "status")
}
