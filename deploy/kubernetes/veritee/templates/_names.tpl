{{- define "veritee.name" -}}
{{- default .Release.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that select: dict "root" "component" */}}
{{- define "veritee.selector" -}}
app.kubernetes.io/name: veritee
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "veritee.labels" -}}
{{ include "veritee.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{/* An image by digest. Without one the measurement of what runs cannot be known. */}}
{{- define "veritee.image" -}}
{{- if not .image.digest -}}
{{- fail (printf "%s: image.digest: expected sha256:<64 hex>, found nothing. A tag can be moved; take the digest from the release statement" .component) -}}
{{- end -}}
{{ .image.repository }}@{{ .image.digest }}
{{- end -}}

{{/* The entries of `workers` over `workerDefaults`, as JSON. */}}
{{- define "veritee.workers" -}}
{{- $all := list -}}
{{- range .Values.workers }}{{ $all = append $all (mergeOverwrite (deepCopy $.Values.workerDefaults) (deepCopy .)) }}{{ end -}}
{{- toJson $all -}}
{{- end -}}

{{/* Egress to a URL: a port, since a NetworkPolicy knows no names. */}}
{{- define "veritee.portOf" -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- default (ternary "443" "80" (eq $url.scheme "https")) $port -}}
{{- end -}}

{{/* The log that receipts promise, as JSON; empty where there is none. */}}
{{- define "veritee.transparency" -}}
{{- $log := .Values.transparency -}}
{{- if ne (empty $log.url) (empty $log.origin) }}{{ fail "transparency: expected url and origin, or neither; found one" }}{{ end -}}
{{- if $log.url }}{{ toJson (dict "url" $log.url "origin" $log.origin) }}{{ else }}{}{{ end -}}
{{- end -}}

{{/* The release statements that a service shows, as JSON; empty where there are none. */}}
{{- define "veritee.releases" -}}
{{- $releases := .Values.releases -}}
{{- $paths := list -}}
{{- range $releases.keys }}{{ $paths = append $paths (printf "/etc/veritee/%s" .) }}{{ end -}}
{{- if $releases.configMap }}{{ toJson (dict "statements" $paths) }}{{ else }}{}{{ end -}}
{{- end -}}
