// Copyright The gitops-kit Authors.
// SPDX-License-Identifier: Apache-2.0

package ssa_test

import (
	"strings"
	"testing"

	"github.com/gitops-kit/sdk/ssa"
	. "github.com/onsi/gomega"
)

// SSA-32…35, SSA-38, D3: manifests as people write them, of every usual kind,
// are proved from managedFields alone, whatever the spelling; those where the
// server puts a default into a value that is owned as a whole are remembered
// instead.
func TestProofRate(t *testing.T) {
	t.Parallel()
	e := newEnv(t, ssa.Options{})
	g := e.g
	group := e.ns + ".example.com"
	definition := e.objects(crd(group, widgetSchema))
	e.apply(definition, ssa.PlanOptions{})
	t.Cleanup(func() { e.cleanup(definition) })
	objects := e.objects(replaceGroup(manifests, group))
	g.Expect(len(objects)).To(BeNumerically(">=", 40))
	t.Cleanup(func() {
		for _, u := range objects {
			if u.GetNamespace() == "" {
				e.delete(u)
			}
		}
	})
	e.apply(objects, ssa.PlanOptions{})
	atomic := map[string]string{
		"Deployment/api":                        "fieldRef gets an apiVersion, resourceFieldRef a divisor",
		"StatefulSet/db":                        "volumeClaimTemplates get a volumeMode",
		"ValidatingAdmissionPolicy/policy":      "resourceRules get a scope",
		"ValidatingWebhookConfiguration/checks": "rules get a scope",
	}
	for _, memo := range []*ssa.Memo{nil, ssa.NewMemo(ssa.MemoOptions{})} {
		m, err := ssa.NewManager(e.cluster, ssa.Options{Owner: e.owner, Memo: memo}) // managedFields are text there
		g.Expect(err).NotTo(HaveOccurred())
		plan := func() *ssa.Plan {
			p, err := m.Plan(t.Context(), objects, ssa.PlanOptions{VerifyEvery: 1 << 30})
			g.Expect(err).NotTo(HaveOccurred())
			for i := range p.Entries {
				en := &p.Entries[i]
				name := en.ID.Kind + "/" + strings.TrimPrefix(en.ID.Name, e.ns+"-")
				g.Expect(en.Decision).To(Equal(ssa.DecisionUnchanged), "%s: %v", name, en.Changes)
				g.Expect(en.Why != ssa.WhyProved).To(Equal(atomic[name] != ""), "%s is %s, %s %s", name, en.Why, en.Unproved, atomic[name])
			}
			return p
		}
		p := plan()
		g.Expect(p.Unproved).To(Equal(map[string]int{"Differs": len(atomic)}))
		if memo != nil { // when controllers have come to rest nothing is asked any more
			g.Eventually(func() int { return plan().Requests.DryRun }).Should(BeZero())
		}
	}
}

const manifests = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: api, namespace: NS, annotations: {example.com/role: "arn:x"}}
automountServiceAccountToken: false
---
apiVersion: v1
kind: ConfigMap
metadata: {name: nginx, namespace: NS, labels: {app.kubernetes.io/name: nginx, app.kubernetes.io/part-of: shop}}
data:
  nginx.conf: |
    events {}
    http { server { listen 8080; } }
  empty: ""
binaryData: {blob: AAEC}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: frozen, namespace: NS}
immutable: true
data: {a: b}
---
apiVersion: v1
kind: Secret
metadata: {name: db, namespace: NS}
type: Opaque
stringData: {password: example, url: "postgres://db:5432/shop"}
---
apiVersion: v1
kind: Secret
metadata: {name: pull, namespace: NS}
type: kubernetes.io/dockerconfigjson
stringData: {.dockerconfigjson: '{"auths":{}}'}
---
apiVersion: v1
kind: Service
metadata: {name: api, namespace: NS}
spec:
  selector: {app: api}
  ports:
  - {name: http, port: 80, targetPort: http}
  - {name: metrics, port: 9090, targetPort: 9090}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: NS}
spec: {clusterIP: None, publishNotReadyAddresses: true, selector: {app: db}, ports: [{port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: NS}
spec: {type: ExternalName, externalName: api.example.com}
---
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: NS, annotations: {example.com/lb: internal}}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, selector: {app: edge}, ports: [{name: https, port: 443, protocol: TCP}, {name: quic, port: 443, protocol: UDP}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: NS, labels: {app: api}}
spec:
  replicas: 0
  revisionHistoryLimit: 3
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 0}}
  selector: {matchLabels: {app: api}}
  template:
    metadata:
      labels: {app: api}
      annotations: {prometheus.io/scrape: "true", prometheus.io/port: "9090"}
    spec:
      serviceAccountName: api
      securityContext: {runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000, seccompProfile: {type: RuntimeDefault}}
      terminationGracePeriodSeconds: 60
      imagePullSecrets: [{name: pull}]
      initContainers:
      - name: migrate
        image: example.com/api:1.2.3
        command: ["/bin/migrate", "up"]
        envFrom: [{secretRef: {name: db}}]
      containers:
      - name: api
        image: example.com/api:1.2.3
        imagePullPolicy: IfNotPresent
        args: [--verbose, --port=8080]
        ports: [{name: http, containerPort: 8080}, {name: metrics, containerPort: 9090, protocol: TCP}]
        env:
        - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}
        - {name: MODE, value: production}
        resources: {requests: {cpu: 100m, memory: 128Mi}, limits: {memory: 256Mi}}
        livenessProbe: {httpGet: {path: /healthz, port: http}, initialDelaySeconds: 5, periodSeconds: 10}
        readinessProbe: {tcpSocket: {port: 8080}}
        startupProbe: {exec: {command: [cat, /tmp/ready]}, failureThreshold: 30}
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
        lifecycle: {preStop: {exec: {command: [sleep, "5"]}}}
        volumeMounts: [{name: tmp, mountPath: /tmp}, {name: conf, mountPath: /etc/api, readOnly: true}]
      - name: proxy
        image: example.com/proxy@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
        resources: {requests: {cpu: 10m}}
      volumes:
      - {name: tmp, emptyDir: {}}
      - {name: conf, configMap: {name: nginx, items: [{key: nginx.conf, path: nginx.conf}]}}
      affinity:
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - {weight: 100, podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: api}}}}
      tolerations: [{key: dedicated, operator: Equal, value: api, effect: NoSchedule}]
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: api}}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: spelled, namespace: NS}
spec:
  replicas: 0
  selector: {matchLabels: {app: spelled}}
  template:
    metadata: {labels: {app: spelled}}
    spec:
      containers:
      - {name: a, image: example.com/a, resources: {requests: {cpu: "0.1", memory: 1024Mi}, limits: {cpu: 1000m, memory: 2G}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: minimal, namespace: NS}
spec: {replicas: 0, selector: {matchLabels: {app: minimal}}, template: {metadata: {labels: {app: minimal}}, spec: {containers: [{name: a, image: a}]}}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: NS}
spec:
  serviceName: db
  replicas: 0
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - {name: db, image: "example.com/db:16", ports: [{containerPort: 5432, name: sql}], volumeMounts: [{name: data, mountPath: /data}]}
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Gi}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent, namespace: NS}
spec:
  selector: {matchLabels: {app: agent}}
  updateStrategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 10%}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      nodeSelector: {none: such}
      hostNetwork: true
      tolerations: [{operator: Exists}]
      containers:
      - {name: agent, image: "example.com/agent:1", securityContext: {privileged: true}, volumeMounts: [{name: root, mountPath: /host, mountPropagation: HostToContainer}]}
      volumes: [{name: root, hostPath: {path: /}}]
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: old, namespace: NS}
spec: {replicas: 0, selector: {matchLabels: {app: old}}, template: {metadata: {labels: {app: old}}, spec: {containers: [{name: a, image: a}]}}}
---
apiVersion: batch/v1
kind: Job
metadata: {name: once, namespace: NS}
spec: {suspend: true, backoffLimit: 2, ttlSecondsAfterFinished: 600, template: {spec: {restartPolicy: Never, containers: [{name: j, image: j, command: [sh, -c, "echo hi"]}]}}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: NS}
spec: {schedule: "0 3 * * *", suspend: true, concurrencyPolicy: Forbid, successfulJobsHistoryLimit: 1, jobTemplate: {spec: {template: {spec: {restartPolicy: OnFailure, containers: [{name: j, image: j}]}}}}}
---
apiVersion: v1
kind: PodTemplate
metadata: {name: shape, namespace: NS}
template: {metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: a}]}}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: api, namespace: NS}
spec:
  minReplicas: 2
  maxReplicas: 10
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: nothing}
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}]
  behavior: {scaleDown: {stabilizationWindowSeconds: 300, policies: [{type: Percent, value: 50, periodSeconds: 60}]}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: api, namespace: NS}
spec: {minAvailable: 50%, selector: {matchLabels: {app: api}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: NS}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ingress}}}], ports: [{port: 8080, protocol: TCP}]}]
  egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: default-deny, namespace: NS}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: shop, namespace: NS, annotations: {cert-manager.io/cluster-issuer: letsencrypt}}
spec:
  ingressClassName: nginx
  tls: [{hosts: [shop.example.com], secretName: shop-tls}]
  rules:
  - host: shop.example.com
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: api, port: {name: http}}}}, {path: /static, pathType: Exact, backend: {service: {name: api, port: {number: 80}}}}]}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: NS-nginx}
spec: {controller: k8s.io/ingress-nginx}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: api, namespace: NS}
rules:
- {apiGroups: [""], resources: [configmaps, secrets], verbs: [get, list, watch]}
- {apiGroups: [apps], resources: [deployments/scale], resourceNames: [api], verbs: [patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: api, namespace: NS}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: api}
subjects: [{kind: ServiceAccount, name: api, namespace: NS}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: NS-reader}
rules: [{nonResourceURLs: [/metrics], verbs: [get]}, {apiGroups: ["*"], resources: ["*"], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: NS-reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: NS-reader}
subjects: [{kind: Group, name: example:readers, apiGroup: rbac.authorization.k8s.io}]
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: quota, namespace: NS}
spec: {hard: {requests.cpu: "100", requests.memory: 100Gi, persistentvolumeclaims: "50"}}
---
apiVersion: v1
kind: LimitRange
metadata: {name: limits, namespace: NS}
spec: {limits: [{type: Container, default: {cpu: 500m, memory: 512Mi}, defaultRequest: {cpu: 50m, memory: 64Mi}, max: {memory: 4Gi}}]}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: files, namespace: NS}
spec: {storageClassName: NS-slow, accessModes: [ReadWriteMany], resources: {requests: {storage: 5Gi}}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: NS-volume}
spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], persistentVolumeReclaimPolicy: Retain, storageClassName: NS-none, hostPath: {path: /data}}
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: NS-slow}
provisioner: example.com/none
parameters: {type: slow}
volumeBindingMode: WaitForFirstConsumer
allowVolumeExpansion: true
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: NS-high}
value: 1000
description: for what must run
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: NS-sandbox}
handler: runsc
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: outside, namespace: NS, labels: {kubernetes.io/service-name: outside}}
addressType: IPv4
ports: [{name: https, port: 443, protocol: TCP}]
endpoints: [{addresses: [192.0.2.1], conditions: {ready: true}}]
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: lock, namespace: NS}
spec: {holderIdentity: nobody, leaseDurationSeconds: 15}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: NS-checks}
webhooks:
- name: check.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  namespaceSelector: {matchLabels: {none: such}}
  clientConfig: {service: {name: check, namespace: NS, path: /validate}}
  rules: [{apiGroups: [GROUP], apiVersions: [v1], operations: [CREATE], resources: [nothing]}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: NS-policy}
spec:
  failurePolicy: Ignore
  matchConstraints: {resourceRules: [{apiGroups: [GROUP], apiVersions: [v1], operations: [CREATE], resources: [nothing]}]}
  validations: [{expression: "true"}]
---
apiVersion: v1
kind: Namespace
metadata: {name: NS-more, labels: {pod-security.kubernetes.io/enforce: restricted}}
---
apiVersion: GROUP/v1
kind: Widget
metadata: {name: w, namespace: NS}
spec: {num: 1}
`
