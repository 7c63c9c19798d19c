{{/*
The pod of a role, with what all enclaves have in common.
dict: root, role, component, values (image, epc, resources, drainSeconds, annotations, affinity, ...), ports (name to number), startupMinutes, volumes, mounts, secrets (variable to secret)
*/}}
{{- define "veritee.pod" -}}
{{- $sgx := .root.Values.sgx -}}
metadata:
  labels: {{- include "veritee.selector" . | nindent 4 }}
  annotations:
    {{- if $sgx.quoteProvider }}
    sgx.intel.com/quote-provider: {{ $sgx.quoteProvider | quote }}
    {{- end }}
    veritee.dev/configuration: {{ .configuration | sha256sum }}
    {{- with .values.annotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add .values.drainSeconds 15 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 10001
    runAsGroup: 10001
    fsGroup: 10001
    {{- with $sgx.supplementalGroups }}
    supplementalGroups: {{- toYaml . | nindent 6 }}
    {{- end }}
    seccompProfile: {type: RuntimeDefault}
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with $sgx.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $sgx.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .values.topologySpreadConstraints }}
  topologySpreadConstraints: {{- toYaml . | nindent 4 }}
  {{- end }}
  initContainers:
    # The address of a pod is known only once it runs; the arguments of an enclave are measured and say nothing of it.
    - name: configuration
      image: {{ include "veritee.image" (dict "image" .values.image "component" .component) }}
      command: [/bin/sh, -ec]
      args:
        - |
          case "$POD_IP" in *:*) address="[$POD_IP]" ;; *) address="$POD_IP" ;; esac
          sed "s/@ADDRESS@/$address/g; s/@POD@/$POD_NAME/g" /configuration/config.json >/etc/veritee/config.json
          # Links, so that a new version of a ConfigMap is seen by the running service.
          for file in /collateral/*.json /admission/*.json /releases/*.json /releases/*.tlog-proof /operator/*.key; do [ ! -f "$file" ] || ln -sf "$file" /etc/veritee/; done
      env:
        - name: POD_IP
          valueFrom: {fieldRef: {fieldPath: status.podIP}}
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
      securityContext: {{- include "veritee.containerSecurity" . | nindent 8 }}
      resources:
        requests: {cpu: 10m, memory: 16Mi}
        limits: {cpu: 100m, memory: 64Mi}
      volumeMounts:
        - {name: configuration, mountPath: /configuration, readOnly: true}
        - {name: etc, mountPath: /etc/veritee}
        {{- include "veritee.dataMounts" . | nindent 8 }}
  containers:
    - name: {{ .role }}
      image: {{ include "veritee.image" (dict "image" .values.image "component" .component) }}
      securityContext: {{- include "veritee.containerSecurity" . | nindent 8 }}
      {{- $secrets := dict }}
      {{- range $variable, $secret := .secrets }}{{ if $secret }}{{ $_ := set $secrets $variable $secret }}{{ end }}{{ end }}
      {{- if $secrets }}
      env:
        {{- range $variable, $secret := $secrets }}
        - name: {{ $variable }}
          valueFrom: {secretKeyRef: {name: {{ $secret }}, key: token}}
        {{- end }}
      {{- end }}
      ports:
        {{- range $name, $port := .ports }}
        - {name: {{ $name }}, containerPort: {{ $port }}}
        {{- end }}
      startupProbe:
        httpGet: {path: /healthz, port: metrics}
        periodSeconds: 10
        failureThreshold: {{ mul .startupMinutes 6 }}
      livenessProbe:
        httpGet: {path: /healthz, port: metrics}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      readinessProbe:
        httpGet: {path: /readyz, port: metrics}
        periodSeconds: 5
        timeoutSeconds: 5
      resources:
        requests:
          {{- toYaml .values.resources.requests | nindent 10 }}
          sgx.intel.com/enclave: {{ $sgx.enclave | quote }}
          sgx.intel.com/provision: {{ $sgx.provision | quote }}
          sgx.intel.com/epc: {{ .values.epc | quote }}
        limits:
          {{- toYaml .values.resources.limits | nindent 10 }}
          sgx.intel.com/enclave: {{ $sgx.enclave | quote }}
          sgx.intel.com/provision: {{ $sgx.provision | quote }}
          sgx.intel.com/epc: {{ .values.epc | quote }}
      volumeMounts:
        - {name: etc, mountPath: /etc/veritee, readOnly: true}
        {{- include "veritee.dataMounts" . | nindent 8 }}
        - {name: state, mountPath: /var/lib/veritee/state}
        {{- if .values.modelClaim }}
        - {name: models, mountPath: /var/lib/veritee/models, readOnly: true}
        {{- end }}
        {{- if $sgx.aesmHostPath }}
        - {name: aesm, mountPath: /var/run/aesmd}
        {{- end }}
  volumes:
    - name: configuration
      configMap: {name: {{ include "veritee.name" .root }}-{{ .component }}}
    - name: etc
      emptyDir: {medium: Memory, sizeLimit: 16Mi}
    {{- with .root.Values.collateral }}{{- if .configMap }}
    - name: collateral
      configMap: {name: {{ .configMap }}, items: [{key: {{ .key }}, path: collateral.json}]}
    {{- end }}{{- end }}
    {{- if ne .role "broker" }}{{- with .root.Values.admission }}{{- if .configMap }}
    - name: admission
      configMap: {name: {{ .configMap }}, items: [{key: {{ .key }}, path: manifest.json}]}
    {{- end }}{{- end }}{{- end }}
    {{- with .root.Values.releases }}{{- if .configMap }}
    - name: releases
      configMap: {name: {{ .configMap }}}
    {{- end }}{{- end }}
    {{- if .values.operatorKeySecret }}
    - name: operator
      secret: {secretName: {{ .values.operatorKeySecret }}, items: [{key: operator.key, path: operator.key}]}
    {{- end }}
    {{- if .values.modelClaim }}
    - name: models
      persistentVolumeClaim: {claimName: {{ .values.modelClaim }}, readOnly: true}
    {{- end }}
    {{- if $sgx.aesmHostPath }}
    - name: aesm
      hostPath: {path: {{ $sgx.aesmHostPath }}, type: Directory}
    {{- end }}
{{- end -}}

{{/* What is kept in objects of the cluster and linked from /etc/veritee. */}}
{{- define "veritee.dataMounts" -}}
{{- if .root.Values.collateral.configMap }}
- {name: collateral, mountPath: /collateral, readOnly: true}
{{- end }}
{{- if and .root.Values.admission.configMap (ne .role "broker") }}
- {name: admission, mountPath: /admission, readOnly: true}
{{- end }}
{{- if .root.Values.releases.configMap }}
- {name: releases, mountPath: /releases, readOnly: true}
{{- end }}
{{- if .values.operatorKeySecret }}
- {name: operator, mountPath: /operator, readOnly: true}
{{- end }}
{{- end -}}

{{- define "veritee.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* A set of one role: configuration, headless service and pods with storage of their own. Same dict, with `replicas` and `configuration` (JSON). */}}
{{- define "veritee.set" -}}
{{- $name := printf "%s-%s" (include "veritee.name" .root) .component -}}
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ $name }}
  labels: {{- include "veritee.labels" . | nindent 4 }}
data:
  config.json: | {{- .configuration | nindent 4 }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}-pods
  labels: {{- include "veritee.labels" . | nindent 4 }}
spec:
  clusterIP: None
  # A worker registers with controllers that have no worker yet.
  publishNotReadyAddresses: true
  selector: {{- include "veritee.selector" . | nindent 4 }}
  ports:
    {{- range $port, $number := .ports }}
    - {name: {{ $port }}, port: {{ $number }}, targetPort: {{ $port }}}
    {{- end }}
---
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: {{ $name }}
  labels: {{- include "veritee.labels" . | nindent 4 }}
spec:
  serviceName: {{ $name }}-pods
  {{- if not .scaled }}
  replicas: {{ .replicas }}
  {{- end }}
  podManagementPolicy: Parallel
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: Retain}
  selector:
    matchLabels: {{- include "veritee.selector" . | nindent 6 }}
  template: {{- include "veritee.pod" . | nindent 4 }}
  volumeClaimTemplates:
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata: {name: state}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .values.storage.className }}
        storageClassName: {{ . }}
        {{- end }}
        resources: {requests: {storage: {{ .values.storage.size }}}}
{{- end -}}
