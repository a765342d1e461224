// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package proof_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa/internal/fieldset"
	"github.com/gitops-kit/sdk/ssa/internal/proof"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields/managedfieldstest"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

func parse(t testing.TB, text string) map[string]any {
	t.Helper()
	j, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	var m map[string]any
	if err := json.Unmarshal(j, &m); err != nil {
		t.Fatal(err)
	}
	u.Object = ints(m).(map[string]any)
	return u.Object
}

// ints turns whole float64 into int64, as the decoders in use do.
func ints(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = ints(v[k])
		}
	case []any:
		for i := range v {
			v[i] = ints(v[i])
		}
	case float64:
		if v == float64(int64(v)) && v < 1<<53 && v > -1<<53 {
			return int64(v)
		}
	}
	return v
}

// SSA-22, SSA-36: where the recorded field set counts, too, what may be
// recorded in more than one way is not proved.
func TestExact(t *testing.T) {
	cases := map[string]struct{ payload, own, want string }{
		"Map":        {"{m: {a: 1}}", `{"f:m":{"f:a":{}}}`, proof.Proved},
		"MapWithDot": {"{m: {a: 1}}", `{"f:m":{".":{},"f:a":{}}}`, proof.Owned},
		"List":       {"{l: [{k: a}]}", `{"f:l":{"k:{\"k\":\"a\"}":{".":{},"f:k":{}}}}`, proof.Proved},
		"ListDot":    {"{l: [{k: a}]}", `{"f:l":{".":{},"k:{\"k\":\"a\"}":{".":{},"f:k":{}}}}`, proof.Owned},
		"AtomicMap":  {"{m: {a: 1}}", `{"f:m":{}}`, proof.Atomic},
		"AtomicList": {"{l: [1]}", `{"f:l":{}}`, proof.Atomic},
		"EmptyMap":   {"{m: {}}", `{"f:m":{}}`, proof.Proved},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			own, err := fieldset.Parse(tc.own)
			if err != nil {
				t.Fatal(err)
			}
			in := proof.Input{Payload: parse(t, tc.payload), Live: parse(t, tc.payload), Own: &own}
			if got := proof.Prove(in); got != proof.Proved {
				t.Errorf("without: %q", got)
			}
			in.Exact = true
			if got := proof.Prove(in); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// SSA-34: where a text is a quantity.
func TestBuiltinQuantity(t *testing.T) {
	cases := map[string]struct {
		kind, path string
		want       bool
	}{
		"Limit":       {"Deployment", "spec template spec containers  resources limits cpu", true},
		"Claim":       {"PersistentVolumeClaim", "spec resources requests storage", true},
		"SizeLimit":   {"Pod", "spec volumes  emptyDir sizeLimit", true},
		"DataKey":     {"ConfigMap", "data sizeLimit", false},
		"Annotation":  {"ConfigMap", "metadata annotations sizeLimit", false},
		"Capacity":    {"PersistentVolume", "spec capacity storage", true},
		"Hard":        {"ResourceQuota", "spec hard pods", true},
		"RangeMax":    {"LimitRange", "spec limits  max cpu", true},
		"OtherMax":    {"Deployment", "spec limits  max cpu", false},
		"AnyForm":     {"ControllerRevision", "data resources limits cpu", false},
		"MatchLabels": {"Deployment", "spec selector matchLabels cpu", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := proof.BuiltinQuantity(tc.kind, strings.Split(tc.path, " ")); got != tc.want {
				t.Errorf("%s is %t", tc.path, got)
			}
		})
	}
}

// SSA-32, SSA-33, SSA-34, SSA-35: each row of the table alone.
func TestRows(t *testing.T) {
	cases := map[string]struct{ payload, live, own, others, want string }{
		"Scalar":            {"{s: a}", "{s: a, t: b}", `{"f:s":{}}`, "", proof.Proved},
		"ScalarDiffers":     {"{s: a}", "{s: b}", `{"f:s":{}}`, "", proof.Differs},
		"ScalarMissing":     {"{s: a}", "{}", `{"f:s":{}}`, "", proof.Differs},
		"ScalarNotOurs":     {"{s: a}", "{s: a}", `{}`, "", proof.NotOwned},
		"ScalarWasAMap":     {"{s: a}", "{s: a}", `{"f:s":{"f:x":{}}}`, "", proof.Owned},
		"LeftOver":          {"{s: a}", "{s: a, t: b}", `{"f:s":{},"f:t":{}}`, "", proof.Owned},
		"Null":              {"{s: null}", "{s: null}", `{"f:s":{}}`, "", proof.Null},
		"EmptyMap":          {"{m: {}}", "{m: {}}", `{"f:m":{}}`, "", proof.Proved},
		"EmptyMapDropped":   {"{m: {}}", "{}", `{"f:m":{}}`, "", proof.Differs},
		"EmptyMapFilled":    {"{m: {}}", "{m: {a: b}}", `{"f:m":{}}`, "", proof.Differs},
		"EmptyList":         {"{l: []}", "{l: []}", `{"f:l":{}}`, "", proof.Proved},
		"EmptyListDropped":  {"{l: []}", "{}", `{"f:l":{}}`, "", proof.Differs},
		"Map":               {"{m: {a: 1}}", "{m: {a: 1, b: 2}}", `{"f:m":{"f:a":{}}}`, "", proof.Proved},
		"MapWithDot":        {"{m: {a: 1}}", "{m: {a: 1}}", `{"f:m":{".":{},"f:a":{}}}`, "", proof.Proved},
		"Atomic":            {"{m: {a: 1}}", "{m: {a: 1}}", `{"f:m":{}}`, "", proof.Proved},
		"AtomicExtra":       {"{m: {a: 1}}", "{m: {a: 1, b: 2}}", `{"f:m":{}}`, "", proof.Differs},
		"AtomicShared":      {"{m: {a: 1}}", "{m: {a: 1}}", `{"f:m":{}}`, `{"f:m":{"f:a":{}}}`, proof.Shared},
		"AtomicCoOwned":     {"{m: {a: 1}}", "{m: {a: 1}}", `{"f:m":{}}`, `{"f:m":{}}`, proof.Proved},
		"AtomicList":        {"{l: [1, 2]}", "{l: [1, 2]}", `{"f:l":{}}`, "", proof.Proved},
		"AtomicListOrder":   {"{l: [1, 2]}", "{l: [2, 1]}", `{"f:l":{}}`, "", proof.Differs},
		"Set":               {"{l: [a, b]}", "{l: [x, a, b]}", `{"f:l":{"v:\"a\"":{},"v:\"b\"":{}}}`, "", proof.Proved},
		"SetOrder":          {"{l: [a, b]}", "{l: [b, a]}", `{"f:l":{"v:\"a\"":{},"v:\"b\"":{}}}`, "", proof.Order},
		"SetTwiceLive":      {"{l: [a]}", "{l: [a, a]}", `{"f:l":{"v:\"a\"":{}}}`, "", proof.Ambiguous},
		"SetTwiceDesired":   {"{l: [a, a]}", "{l: [a, a]}", `{"f:l":{"v:\"a\"":{},"v:\"b\"":{}}}`, "", proof.Ambiguous},
		"SetGone":           {"{l: [a]}", "{l: [b]}", `{"f:l":{"v:\"a\"":{}}}`, "", proof.Differs},
		"Keyed":             {"{l: [{k: a, v: 1}]}", "{l: [{k: z}, {k: a, v: 1, w: 2}]}", `{"f:l":{"k:{\"k\":\"a\"}":{".":{},"f:k":{},"f:v":{}}}}`, "", proof.Proved},
		"KeyedDefault":      {"{l: [{k: a}]}", "{l: [{k: a, p: TCP}]}", `{"f:l":{"k:{\"k\":\"a\",\"p\":\"TCP\"}":{".":{},"f:k":{}}}}`, "", proof.NotOwned},
		"KeyedNotDefault":   {"{l: [{k: a}]}", "{l: [{k: a, p: TCP}]}", `{"f:l":{"k:{\"k\":\"a\",\"p\":\"TCP\"}":{".":{},"f:k":{},"f:p":{}}}}`, "", proof.NotOwned},
		"KeyedTwoDefaults":  {"{l: [{k: a}]}", "{l: [{k: a, p: TCP}, {k: a, p: UDP}]}", `{"f:l":{"k:{\"k\":\"a\",\"p\":\"TCP\"}":{".":{},"f:k":{}},"k:{\"k\":\"a\",\"p\":\"UDP\"}":{".":{},"f:k":{}}}}`, "", proof.Owned},
		"KeyedImplicitLive": {"{l: [{k: a}]}", "{l: [{k: a}]}", `{"f:l":{"k:{\"k\":\"a\",\"p\":\"TCP\"}":{".":{},"f:k":{}}}}`, "", proof.NotOwned},
		"KeyedLiveLacksKey": {"{l: [{k: a, p: TCP}]}", "{l: [{k: a}]}", `{"f:l":{"k:{\"k\":\"a\",\"p\":\"TCP\"}":{".":{},"f:k":{},"f:p":{}}}}`, "", proof.Differs},
		"KeyedDuplicate":    {"{l: [{k: a}]}", "{l: [{k: a}, {k: a}]}", `{"f:l":{"k:{\"k\":\"a\"}":{".":{},"f:k":{}}}}`, "", proof.Ambiguous},
		"KeyedReordered":    {"{l: [{k: a}, {k: b}]}", "{l: [{k: b}, {k: a}]}", `{"f:l":{"k:{\"k\":\"a\"}":{".":{},"f:k":{}},"k:{\"k\":\"b\"}":{".":{},"f:k":{}}}}`, "", proof.Order},
		"KeyedItemNotOurs":  {"{l: [{k: a}]}", "{l: [{k: a}]}", `{"f:l":{"k:{\"k\":\"a\"}":{"f:k":{}}}}`, "", proof.NotOwned},
		"Index":             {"{l: [a]}", "{l: [a]}", `{"f:l":{"i:0":{}}}`, "", proof.Indexed},
		"Mixed":             {"{l: [a, b]}", "{l: [a, b]}", `{"f:l":{"i:0":{},"v:\"b\"":{}}}`, "", proof.Indexed},
		"OneIsOnePointZero": {"{num: 1}", "{num: 1.0}", `{"f:num":{}}`, "", proof.Proved},
		"StringIsNoNumber":  {"{num: '80'}", "{num: 80}", `{"f:num":{}}`, "", proof.Differs},
		"QuantityElsewhere": {"{q: 1000m}", "{q: '1'}", `{"f:q":{}}`, "", proof.Differs},
		"Quantity":          {"{resources: {limits: {cpu: 1000m, memory: 1024Mi}}}", "{resources: {limits: {cpu: '1', memory: 1Gi}}}", `{"f:resources":{"f:limits":{"f:cpu":{},"f:memory":{}}}}`, "", proof.Proved},
		"QuantityNumber":    {"{resources: {limits: {cpu: 1}}}", "{resources: {limits: {cpu: '1'}}}", `{"f:resources":{"f:limits":{"f:cpu":{}}}}`, "", proof.Differs},
		"Identity":          {"{apiVersion: v1, kind: A, metadata: {name: a, namespace: b}, s: a}", "{apiVersion: v1, kind: A, metadata: {name: a, uid: x}, s: a}", `{"f:s":{}}`, "", proof.Proved},
		"Labels":            {"{metadata: {name: a, labels: {l: v}}}", "{metadata: {name: a, labels: {l: v, m: w}}}", `{"f:metadata":{"f:labels":{"f:l":{}}}}`, "", proof.Proved},
		"LabelLeftOver":     {"{metadata: {name: a}}", "{metadata: {name: a, labels: {l: v}}}", `{"f:metadata":{"f:labels":{"f:l":{}}}}`, "", proof.Owned},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			own, err := fieldset.Parse(tc.own)
			if err != nil {
				t.Fatal(err)
			}
			in := proof.Input{Payload: parse(t, tc.payload), Live: parse(t, tc.live), Own: &own, Quantity: func(names []string) bool { return proof.BuiltinQuantity("Pod", names) }}
			if tc.others != "" {
				o, err := fieldset.Parse(tc.others)
				if err != nil {
					t.Fatal(err)
				}
				in.Others = func() ([]fieldset.Set, bool) { return []fieldset.Set{o}, true }
			}
			if got := proof.Prove(in); got != tc.want {
				t.Fatalf("got %q, want %q", got, tc.want)
			}
		})
	}
	big := map[string]any{"n": int64(1<<53 + 1)}
	own, _ := fieldset.Parse(`{"f:n":{}}`)
	if got := proof.Prove(proof.Input{Payload: big, Live: map[string]any{"n": float64(1 << 53)}, Own: &own}); got != proof.Differs {
		t.Fatalf("2^53+1: %q", got)
	}
}

var templates = map[schema.GroupVersionKind]string{
	{Group: "apps", Version: "v1", Kind: "Deployment"}: `{apiVersion: apps/v1, kind: Deployment, metadata: {name: a, namespace: b, labels: {x: z}, annotations: {q: r}}, spec: {replicas: 2, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {nodeSelector: {k: v}, tolerations: [{key: a}], containers: [{name: c, image: i, args: [q, w], env: [{name: A, value: "1"}, {name: B, value: "2"}], ports: [{containerPort: 80, protocol: TCP}, {containerPort: 81, protocol: UDP}], resources: {limits: {cpu: 100m}}}, {name: d, image: j}], volumes: [{name: v, emptyDir: {}}]}}}}`,
	{Version: "v1", Kind: "Service"}:                   `{apiVersion: v1, kind: Service, metadata: {name: a, namespace: b}, spec: {selector: {a: b}, externalIPs: [1.2.3.4], ports: [{port: 80, protocol: TCP, name: h}, {port: 81, protocol: TCP, name: i}]}}`,
	{Version: "v1", Kind: "ConfigMap"}:                 `{apiVersion: v1, kind: ConfigMap, metadata: {name: a, namespace: b, finalizers: [x/a, x/b]}, data: {a: b, c: d}}`,
	{Version: "v1", Kind: "Secret"}:                    `{apiVersion: v1, kind: Secret, metadata: {name: a, namespace: b}, data: {a: YQ==}, type: Opaque}`,
}

func clone(m map[string]any) map[string]any { return runtime.DeepCopyJSON(m) }

func places(v any, at []string, out *[][]string) {
	switch v := v.(type) {
	case map[string]any:
		for k, c := range v {
			if len(at) == 0 && (k == "apiVersion" || k == "kind") || len(at) == 1 && (k == "name" || k == "namespace") && at[0] == "metadata" {
				continue
			}
			p := append(slices.Clip(at), k)
			*out = append(*out, p)
			places(c, p, out)
		}
	case []any:
		for i, c := range v {
			p := append(slices.Clip(at), strconv.Itoa(i))
			*out = append(*out, p)
			places(c, p, out)
		}
	}
}

// mutate changes, drops, adds or reorders something.
func mutate(m map[string]any, r *rand.Rand) map[string]any {
	m = clone(m)
	var all [][]string
	places(m, nil, &all)
	if len(all) == 0 {
		return m
	}
	p := all[r.IntN(len(all))]
	return edit(m, p, r).(map[string]any)
}

func edit(v any, p []string, r *rand.Rand) any {
	switch t := v.(type) {
	case map[string]any:
		if len(p) > 1 {
			t[p[0]] = edit(t[p[0]], p[1:], r)
			return t
		}
		if r.IntN(3) == 0 {
			delete(t, p[0])
			return t
		}
		t[p[0]] = other(t[p[0]], r)
	case []any:
		i, _ := strconv.Atoi(p[0])
		if len(p) > 1 {
			t[i] = edit(t[i], p[1:], r)
			return t
		}
		switch r.IntN(3) {
		case 0:
			return append(t[:i:i], t[i+1:]...)
		case 1:
			j := r.IntN(len(t))
			t[i], t[j] = t[j], t[i]
		default:
			t[i] = other(t[i], r)
		}
	}
	return v
}

func other(v any, r *rand.Rand) any {
	switch v := v.(type) {
	case string:
		return v + strconv.Itoa(r.IntN(2))
	case int64:
		return v + int64(r.IntN(2))
	case map[string]any:
		if r.IntN(3) == 0 {
			return map[string]any{}
		}
		v["n"+strconv.Itoa(r.IntN(2))] = "v"
		return v
	case []any:
		return []any{}
	}
	return v
}

// SSA-36, D3: random sequences of applies and updates, driven through the API
// machinery's own field manager: what is proved unchanged, an apply leaves
// unchanged, values and field set. GITOPS_KIT_LONG=1 makes 120,000 cases.
func TestAgainstFieldManager(t *testing.T) {
	converter := applyconfigurations.NewTypeConverter(scheme.Scheme)
	n, seed := 4_000, uint64(7)
	if os.Getenv("GITOPS_KIT_LONG") == "1" {
		n = 120_000
	}
	if s, err := strconv.ParseUint(os.Getenv("GITOPS_KIT_SEED"), 10, 64); err == nil {
		seed = s
	}
	r := rand.New(rand.NewPCG(seed, 7))
	var kinds []schema.GroupVersionKind
	for _, k := range []string{"Deployment", "Service", "ConfigMap", "Secret"} {
		for gvk := range templates {
			if gvk.Kind == k {
				kinds = append(kinds, gvk)
			}
		}
	}
	proved, refused := 0, 0
	for i := 0; i < n; {
		gvk := kinds[r.IntN(len(kinds))]
		fm := managedfieldstest.NewTestFieldManager(converter, gvk)
		desired := parse(t, templates[gvk])
		for range r.IntN(5) + 2 {
			i++
			u := &unstructured.Unstructured{Object: clone(desired)}
			switch r.IntN(6) {
			case 0, 1:
				_ = fm.Apply(u, "ours", true)
			case 2:
				_ = fm.Apply(&unstructured.Unstructured{Object: mutate(desired, r)}, "theirs", r.IntN(2) == 0)
			case 3:
				if live, err := runtime.DefaultUnstructuredConverter.ToUnstructured(fm.Live()); err == nil && len(live) > 0 {
					_ = fm.Update(&unstructured.Unstructured{Object: mutate(live, r)}, "updater")
				}
			case 4:
				_ = fm.Apply(u, "ours", true)
				desired = mutate(desired, r)
			case 5:
				_ = fm.Update(u, "ours")
			}
			if r.IntN(4) == 0 {
				desired = mutate(desired, r)
			}
			if !check(t, fm, desired, &proved, &refused) {
				t.Fatalf("case %d", i)
			}
		}
	}
	t.Logf("%d cases, %d proved, %d not", n, proved, refused)
	if proved < n/20 {
		t.Fatalf("only %d proved", proved)
	}
}

func check(t *testing.T, fm managedfieldstest.TestFieldManager, desired map[string]any, proved, refused *int) bool {
	t.Helper()
	live, err := runtime.DefaultUnstructuredConverter.ToUnstructured(fm.Live())
	if err != nil {
		return true
	}
	before := fm.ManagedFields()
	own, others, ok := sets(t, before)
	if !ok {
		return true
	}
	in := proof.Input{Payload: desired, Live: live, Own: own, Others: func() ([]fieldset.Set, bool) { return others, true }}
	if proof.Prove(in) != proof.Proved {
		*refused++
		return true
	}
	*proved++
	err = fm.Apply(&unstructured.Unstructured{Object: clone(desired)}, "ours", true)
	after, _ := runtime.DefaultUnstructuredConverter.ToUnstructured(fm.Live())
	if err != nil || !reflect.DeepEqual(bare(live), bare(after)) || !grown(t, fieldsOf(before), fieldsOf(fm.ManagedFields())) {
		d, _ := json.Marshal(desired)
		b, _ := json.Marshal(live)
		a, _ := json.Marshal(after)
		t.Errorf("proved, but the apply changes it (%v)\ndesired %s\nbefore %s\nafter %s\nfields %s\n then %s", err, d, b, a, fieldsOf(before), fieldsOf(fm.ManagedFields()))
		return false
	}
	return true
}

// grown reports whether two field sets are the same, except that a map which
// was owned as a whole may be owned by its keys afterwards. That happens to
// maps that we applied empty and somebody else filled with our values before
// the record of it was lost: without a schema they look like atomic ones, and
// the values do not change.
func grown(t *testing.T, before, after string) bool {
	t.Helper()
	if before == after {
		return true
	}
	b, err := fieldset.Parse(before)
	if err != nil {
		t.Fatal(err)
	}
	a, err := fieldset.Parse(after)
	if err != nil {
		t.Fatal(err)
	}
	var covered func(i, j int32) bool
	covered = func(i, j int32) bool {
		n := 0
		for c := b.First(i); c != 0; c = b.Next(c) {
			d := a.Child(j, b.At(c).Kind, b.At(c).Name)
			if d == 0 || b.HasChildren(c) && !covered(c, d) {
				return false
			}
			n++
		}
		for d := a.First(j); d != 0; d = a.Next(d) {
			n--
		}
		return n == 0
	}
	return covered(fieldset.Root, fieldset.Root)
}

func bare(m map[string]any) map[string]any {
	m = clone(m)
	if meta, ok := m["metadata"].(map[string]any); ok {
		delete(meta, "managedFields")
		for _, k := range []string{"resourceVersion", "name", "namespace"} { // identity is no field to own
			delete(meta, k)
		}
	}
	return m
}

func fieldsOf(list []metav1.ManagedFieldsEntry) string {
	for _, e := range list {
		if e.Manager == "ours" && e.Operation == metav1.ManagedFieldsOperationApply {
			return string(e.FieldsV1.GetRawBytes())
		}
	}
	return ""
}

func sets(t *testing.T, list []metav1.ManagedFieldsEntry) (own *fieldset.Set, others []fieldset.Set, ok bool) {
	t.Helper()
	for _, e := range list {
		s, err := fieldset.Parse(string(e.FieldsV1.GetRawBytes()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Manager == "ours" && e.Operation == metav1.ManagedFieldsOperationApply {
			own = &s
			continue
		}
		others = append(others, s)
	}
	return own, others, own != nil
}

// SSA-37
func TestProofAllocations(t *testing.T) {
	converter := applyconfigurations.NewTypeConverter(scheme.Scheme)
	gvk := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	fm := managedfieldstest.NewTestFieldManager(converter, gvk)
	desired := parse(t, templates[gvk])
	if err := fm.Apply(&unstructured.Unstructured{Object: clone(desired)}, "ours", true); err != nil {
		t.Fatal(err)
	}
	live, err := runtime.DefaultUnstructuredConverter.ToUnstructured(fm.Live())
	if err != nil {
		t.Fatal(err)
	}
	text := fieldsOf(fm.ManagedFields())
	allocs := testing.AllocsPerRun(50, func() {
		own, err := fieldset.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if why := proof.Prove(proof.Input{Payload: desired, Live: live, Own: &own}); why != proof.Proved {
			t.Fatal(why)
		}
	})
	t.Logf("%v allocations", allocs)
	if allocs > 40 {
		t.Fatalf("%v allocations", allocs)
	}
}

// Proof never panics, whatever it is given.
func FuzzProve(f *testing.F) {
	f.Add(`{"a":1}`, `{"a":1}`, `{"f:a":{}}`)
	f.Add(`{"l":[{"k":"a"}]}`, `{"l":[{"k":"a"}]}`, `{"f:l":{"k:{\"k\":\"a\"}":{}}}`)
	f.Fuzz(func(t *testing.T, p, l, s string) {
		var pm, lm map[string]any
		own, err := fieldset.Parse(s)
		if err != nil || json.Unmarshal([]byte(p), &pm) != nil || json.Unmarshal([]byte(l), &lm) != nil {
			return
		}
		if proof.Prove(proof.Input{Payload: pm, Live: lm, Own: &own, Quantity: func([]string) bool { return true }}) == proof.Proved && len(pm) > 0 && own.Empty() && pm["apiVersion"] == nil && pm["kind"] == nil && pm["metadata"] == nil {
			t.Fatal("proved without owning anything")
		}
	})
}
