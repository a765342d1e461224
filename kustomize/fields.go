// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package kustomize

import (
	"slices"
	"sync"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/kyaml/resid"
)

// fieldSpec is a place in the objects of a type. Sequences on the way are
// entered without a step of their own.
type fieldSpec struct {
	group, version, kind string // "" matches all
	path                 []string
	create               bool
}

func (f *fieldSpec) matches(group, version, kind string) bool {
	return (f.group == "" || f.group == group) && (f.version == "" || f.version == version) && (f.kind == "" || f.kind == kind)
}

func at(path ...string) []string { return path }

// The workload kinds, where their pod template is, and the group that
// kustomize asks for where it labels or annotates the template.
var (
	labelTemplate = []fieldSpec{ //nolint:gochecknoglobals // constant
		{version: "v1", kind: "ReplicationController"},
		{kind: "Deployment"},
		{kind: "ReplicaSet"},
		{kind: "DaemonSet"},
		{group: "apps", kind: "StatefulSet"},
		{group: "batch", kind: "Job"},
	}
	noteTemplate = []fieldSpec{ //nolint:gochecknoglobals // constant
		{version: "v1", kind: "ReplicationController"},
		{kind: "Deployment"},
		{kind: "ReplicaSet"},
		{kind: "DaemonSet"},
		{kind: "StatefulSet"},
		{group: "batch", kind: "Job"},
	}
)

// metadataSpecs are where labels or annotations of an object and its templates
// live.
func metadataSpecs(field string, templates []fieldSpec) []fieldSpec {
	out := []fieldSpec{{path: at("metadata", field), create: true}}
	for _, t := range templates {
		t.path, t.create = at("spec", "template", "metadata", field), true
		out = append(out, t)
	}
	return append(out,
		fieldSpec{group: "batch", kind: "CronJob", path: at("spec", "jobTemplate", "metadata", field), create: true},
		fieldSpec{group: "batch", kind: "CronJob", path: at("spec", "jobTemplate", "spec", "template", "metadata", field), create: true})
}

// The tables of the default configuration.
//
//nolint:gochecknoglobals // constants, made once
var (
	templateLabelSpecs = sync.OnceValue(func() []fieldSpec { return metadataSpecs("labels", labelTemplate) })
	annotationSpecs    = sync.OnceValue(func() []fieldSpec { return metadataSpecs("annotations", noteTemplate) })
	claimLabelSpecs    = sync.OnceValue(func() []fieldSpec {
		return []fieldSpec{{group: "apps", kind: "StatefulSet", path: at("spec", "volumeClaimTemplates[]", "metadata", "labels"), create: true}}
	})
	selectorSpecs = sync.OnceValue(func() []fieldSpec {
		out := []fieldSpec{
			{version: "v1", kind: "Service", path: at("spec", "selector"), create: true},
			{version: "v1", kind: "ReplicationController", path: at("spec", "selector"), create: true},
			{kind: "Deployment", path: at("spec", "selector", "matchLabels"), create: true},
			{kind: "ReplicaSet", path: at("spec", "selector", "matchLabels"), create: true},
			{kind: "DaemonSet", path: at("spec", "selector", "matchLabels"), create: true},
			{group: "apps", kind: "StatefulSet", path: at("spec", "selector", "matchLabels"), create: true},
			{group: "batch", kind: "Job", path: at("spec", "selector", "matchLabels")},
			{group: "batch", kind: "CronJob", path: at("spec", "jobTemplate", "spec", "selector", "matchLabels")},
			{group: "policy", kind: "PodDisruptionBudget", path: at("spec", "selector", "matchLabels")},
			{group: "networking.k8s.io", kind: "NetworkPolicy", path: at("spec", "podSelector", "matchLabels")},
			{group: "networking.k8s.io", kind: "NetworkPolicy", path: at("spec", "ingress", "from", "podSelector", "matchLabels")},
			{group: "networking.k8s.io", kind: "NetworkPolicy", path: at("spec", "egress", "to", "podSelector", "matchLabels")},
		}
		for _, kind := range []string{"Deployment", "StatefulSet"} {
			pod := at("spec", "template", "spec")
			add := func(rest ...string) {
				out = append(out, fieldSpec{group: "apps", kind: kind, path: slices.Concat(pod, rest)})
			}
			for _, side := range []string{"podAffinity", "podAntiAffinity"} {
				add("affinity", side, "preferredDuringSchedulingIgnoredDuringExecution", "podAffinityTerm", "labelSelector", "matchLabels")
				add("affinity", side, "requiredDuringSchedulingIgnoredDuringExecution", "labelSelector", "matchLabels")
			}
			add("topologySpreadConstraints", "labelSelector", "matchLabels")
		}
		return slices.Concat(out, templateLabelSpecs(), claimLabelSpecs())
	})
	namespaceSpecs = sync.OnceValue(func() []fieldSpec {
		return []fieldSpec{
			{version: "v1", kind: "Namespace", path: at("metadata", "name"), create: true},
			{group: "apiregistration.k8s.io", kind: "APIService", path: at("spec", "service", "namespace"), create: true},
			{
				group: "apiextensions.k8s.io", kind: "CustomResourceDefinition",
				path: at("spec", "conversion", "webhook", "clientConfig", "service", "namespace"),
			},
		}
	})
	imageVolumeSpecs = sync.OnceValue(func() []fieldSpec {
		return []fieldSpec{
			{path: at("spec", "volumes[]", "image", "reference")},
			{path: at("spec", "template", "spec", "volumes[]", "image", "reference")},
			{path: at("spec", "jobTemplate", "spec", "template", "spec", "volumes[]", "image", "reference")},
			{path: at("spec", "containers[]", "image")},
			{path: at("spec", "initContainers[]", "image")},
			{path: at("spec", "template", "spec", "containers[]", "image")},
			{path: at("spec", "template", "spec", "initContainers[]", "image")},
		}
	})
)

// reference is a field of one type that names an object of another.
type reference struct {
	target resid.Gvk
	from   fieldSpec
}

// podKinds are the kinds with a pod in them, and where it is.
var podKinds = []fieldSpec{ //nolint:gochecknoglobals // constant
	{version: "v1", kind: "Pod", path: at("spec")},
	{kind: "PodTemplate", path: at("template", "spec")},
	{kind: "Deployment", path: at("spec", "template", "spec")},
	{kind: "ReplicaSet", path: at("spec", "template", "spec")},
	{kind: "DaemonSet", path: at("spec", "template", "spec")},
	{kind: "StatefulSet", path: at("spec", "template", "spec")},
	{kind: "Job", path: at("spec", "template", "spec")},
	{kind: "CronJob", path: at("spec", "jobTemplate", "spec", "template", "spec")},
}

// ownerKinds are those in which a pod's account, claim and priority are named.
var ownerKinds = []fieldSpec{ //nolint:gochecknoglobals // constant
	{kind: "Pod", path: at("spec")},
	{kind: "StatefulSet", path: at("spec", "template", "spec")},
	{kind: "Deployment", path: at("spec", "template", "spec")},
	{kind: "ReplicationController", path: at("spec", "template", "spec")},
	{kind: "CronJob", path: at("spec", "jobTemplate", "spec", "template", "spec")},
	{kind: "Job", path: at("spec", "template", "spec")},
	{kind: "DaemonSet", path: at("spec", "template", "spec")},
}

const (
	rbacGroup      = "rbac.authorization.k8s.io"
	admissionGroup = "admissionregistration.k8s.io"
)

// references is the default table of name references, in the order in which
// kustomize applies those of one field.
//
//nolint:gochecknoglobals // constant, made once
var references = sync.OnceValue(func() []reference {
	var out []reference
	add := func(target resid.Gvk, group, kind string, path ...string) {
		out = append(out, reference{target, fieldSpec{group: group, kind: kind, path: path}})
	}
	pods := func(target resid.Gvk, kinds []fieldSpec, paths ...[]string) {
		for _, k := range kinds {
			for _, p := range paths {
				k := k
				k.path = slices.Concat(k.path, p)
				out = append(out, reference{target, k})
			}
		}
	}
	for _, kind := range []string{"Deployment", "ReplicationController", "ReplicaSet", "StatefulSet"} {
		add(resid.Gvk{Kind: kind}, "", "HorizontalPodAutoscaler", "spec", "scaleTargetRef", "name")
	}
	configMap, secret := resid.Gvk{Version: "v1", Kind: "ConfigMap"}, resid.Gvk{Version: "v1", Kind: "Secret"}
	for _, c := range []string{"containers", "initContainers"} {
		pods(configMap, podKinds, at(c, "env", "valueFrom", "configMapKeyRef", "name"), at(c, "envFrom", "configMapRef", "name"))
		pods(secret, podKinds, at(c, "env", "valueFrom", "secretKeyRef", "name"), at(c, "envFrom", "secretRef", "name"))
	}
	pods(configMap, podKinds, at("volumes", "configMap", "name"), at("volumes", "projected", "sources", "configMap", "name"))
	pods(secret, podKinds, at("volumes", "secret", "secretName"), at("volumes", "projected", "sources", "secret", "name"), at("imagePullSecrets", "name"))
	moreReferences(add, configMap, secret)
	pods(resid.Gvk{Version: "v1", Kind: "ServiceAccount"}, ownerKinds, at("serviceAccountName"))
	pods(resid.Gvk{Version: "v1", Kind: "PersistentVolumeClaim"}, ownerKinds, at("volumes", "persistentVolumeClaim", "claimName"))
	pods(resid.Gvk{Group: "scheduling.k8s.io", Version: "v1", Kind: "PriorityClass"}, ownerKinds, at("priorityClassName"))
	slices.SortStableFunc(out, func(a, b reference) int {
		switch {
		case a.target.IsLessThan(b.target):
			return -1
		case b.target.IsLessThan(a.target):
			return 1
		}
		return 0
	})
	return out
})

// moreReferences are those outside pods.
func moreReferences(add func(target resid.Gvk, group, kind string, path ...string), configMap, secret resid.Gvk) {
	const notes = "nginx.ingress.kubernetes.io/"
	add(configMap, "", "Node", "spec", "configSource", "configMap")
	add(configMap, "", "Ingress", "metadata", "annotations", notes+"fastcgi-params-configmap")
	for _, kind := range []string{"Role", "ClusterRole"} {
		add(configMap, "", kind, "rules", "resourceNames")
		add(secret, "", kind, "rules", "resourceNames")
	}
	for _, key := range []string{"ingress.kubernetes.io/auth-secret", notes + "auth-secret", notes + "auth-tls-secret"} {
		add(secret, "", "Ingress", "metadata", "annotations", key)
	}
	add(secret, "", "Ingress", "spec", "tls", "secretName")
	add(secret, "", "ServiceAccount", "imagePullSecrets", "name")
	for _, key := range []string{"secretName", "adminSecretName", "userSecretName", "secretRef"} {
		add(secret, "", "StorageClass", "parameters", key)
	}
	add(secret, "serving.knative.dev", "Service", "spec", "template", "spec", "containers", "env", "valueFrom", "secretKeyRef", "name")
	add(secret, "", "PersistentVolume", "spec", "azureFile", "secretName")

	service := resid.Gvk{Version: "v1", Kind: "Service"}
	add(service, "apps", "StatefulSet", "spec", "serviceName")
	add(service, "", "Ingress", "spec", "rules", "http", "paths", "backend", "serviceName")
	add(service, "", "Ingress", "spec", "backend", "serviceName")
	add(service, "", "Ingress", "spec", "rules", "http", "paths", "backend", "service", "name")
	add(service, "", "Ingress", "spec", "defaultBackend", "service", "name")
	add(service, "apiregistration.k8s.io", "APIService", "spec", "service", "name")
	add(service, admissionGroup, "ValidatingWebhookConfiguration", "webhooks", "clientConfig", "service")
	add(service, admissionGroup, "MutatingWebhookConfiguration", "webhooks", "clientConfig", "service")

	role, clusterRole := resid.Gvk{Group: rbacGroup, Kind: "Role"}, resid.Gvk{Group: rbacGroup, Kind: "ClusterRole"}
	add(role, rbacGroup, "RoleBinding", "roleRef", "name")
	add(clusterRole, rbacGroup, "RoleBinding", "roleRef", "name")
	add(clusterRole, rbacGroup, "ClusterRoleBinding", "roleRef", "name")
	account := resid.Gvk{Version: "v1", Kind: "ServiceAccount"}
	add(account, rbacGroup, "RoleBinding", "subjects")
	add(account, rbacGroup, "ClusterRoleBinding", "subjects")

	volume := resid.Gvk{Version: "v1", Kind: "PersistentVolume"}
	add(volume, "", "PersistentVolumeClaim", "spec", "volumeName")
	add(volume, "", "ClusterRole", "rules", "resourceNames")
	class := resid.Gvk{Group: "storage.k8s.io", Version: "v1", Kind: "StorageClass"}
	add(class, "", "PersistentVolume", "spec", "storageClassName")
	add(class, "", "PersistentVolumeClaim", "spec", "storageClassName")
	add(class, "", "StatefulSet", "spec", "volumeClaimTemplates", "spec", "storageClassName")
	add(resid.Gvk{Group: admissionGroup, Kind: "ValidatingAdmissionPolicy"}, admissionGroup, "ValidatingAdmissionPolicyBinding", "spec", "policyName")
}

// visit calls f for every node at a path. With create, missing maps on the way
// and the last field are made, the latter as kind. It bails where kustomize
// would convert a null or fail.
func visit(n *yaml.Node, path []string, create bool, kind yaml.Kind, f func(*yaml.Node) error) error {
	if len(path) == 0 {
		return f(n)
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, c := range n.Content {
			if err := visit(c, path, create, kind, f); err != nil {
				return err
			}
		}
		return nil
	case yaml.MappingNode:
	default:
		return errBail
	}
	name := path[0]
	missing := create // whether to make what is missing
	if l := len(name) - 2; l > 0 && name[l:] == "[]" {
		name, missing = name[:l], false
	}
	next := child(n, name)
	switch {
	case next == nil && !missing:
		return nil
	case next == nil:
		next = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		if len(path) == 1 {
			next = &yaml.Node{Kind: kind}
		}
		n.Content = append(n.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: name}, next)
	case isNull(next) && create:
		return errBail
	case isNull(next):
		return nil
	}
	return visit(next, path[1:], create, kind, f)
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// setString sets a scalar to a string.
func setString(n *yaml.Node, s string) error {
	if n.Kind != yaml.ScalarNode {
		return errBail
	}
	*n = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: n.Style &^ yaml.TaggedStyle, Line: n.Line}
	return nil
}

// setEntry sets a key of a map to a string.
func setEntry(n *yaml.Node, key, value string) error {
	if n.Kind != yaml.MappingNode {
		return errBail
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return setString(n.Content[i+1], value)
		}
	}
	n.Content = append(n.Content,
		&yaml.Node{Kind: yaml.ScalarNode, Value: key}, // without a tag, as kyaml writes it
		&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value})
	return nil
}
