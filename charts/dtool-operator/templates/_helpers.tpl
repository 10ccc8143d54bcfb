{{/* Names. A release that is named as the chart gives its name alone. */}}
{{- define "dtool-operator.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "dtool-operator.fullname" -}}
{{- $name := include "dtool-operator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "dtool-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "dtool-operator.fullname" .) }}
{{- else }}
{{- required "serviceAccount.name: needed where serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "dtool-operator.leaseName" -}}
{{- .Values.leaderElection.leaseName | default (include "dtool-operator.fullname" .) }}
{{- end }}

{{/* Labels: of the Pods that Services and the Deployment select, and of every object. */}}
{{- define "dtool-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dtool-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dtool-operator.labels" -}}
{{ include "dtool-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Images: a dict of image (repository, tag, digest) and the root. */}}
{{- define "dtool-operator.imageOf" -}}
{{- if .image.digest }}
{{- printf "%s@%s" .image.repository .image.digest }}
{{- else }}
{{- printf "%s:%s" .image.repository (.image.tag | default .root.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "dtool-operator.workerImage" -}}
{{- $image := ternary .Values.workers.image .Values.image (not (empty .Values.workers.image.repository)) }}
{{- include "dtool-operator.imageOf" (dict "image" $image "root" .) }}
{{- end }}

{{/* Whether there is a signing endpoint: text, empty for no. */}}
{{- define "dtool-operator.isSigning" -}}
{{- if and .Values.workers.enabled .Values.signing.enabled }}yes{{ end }}
{{- end }}

{{- define "dtool-operator.signingURL" -}}
{{- $own := printf "https://%s-signing.%s.svc:%v" (include "dtool-operator.fullname" .) .Release.Namespace .Values.signing.port }}
{{- .Values.signing.url | default $own }}
{{- end }}

{{/* Resources: what was given, else what the number of transfers asks for. Measured: the operator takes 330 MiB
with 10,000 objects; a transfer 60 to 80 MiB, 260 with 100,000 items, 490 where large items pass through it. */}}
{{- define "dtool-operator.resources" -}}
{{- if .Values.resources }}
{{- toYaml .Values.resources }}
{{- else }}
{{- $transfers := int .Values.maxConcurrentTransfers -}}
requests:
  cpu: {{ add 100 (mul 100 $transfers) }}m
  memory: {{ add 256 (mul 128 $transfers) }}Mi
limits:
  memory: {{ add 512 (mul 512 $transfers) }}Mi
{{- end }}
{{- end }}

{{/* What the kubelet is to ask. Pod Security lets it ask no address but the Pod's: loopback is asked from within. */}}
{{- define "dtool-operator.probe" -}}
{{- $address := .root.Values.bindAddress }}
{{- if or (hasPrefix "127." $address) (eq $address "::1") }}
exec:
  command:
    - python3
    - -c
    - import urllib.request; urllib.request.urlopen("http://{{ contains ":" $address | ternary (printf "[%s]" $address) $address }}:{{ .root.Values.healthPort }}{{ .path }}")
{{- else }}
httpGet: {path: {{ .path }}, port: health}
{{- end }}
{{- end }}

{{/* The file that tells the operator what worker Pods have beside their work. */}}
{{- define "dtool-operator.workerPod" -}}
{{- $pod := pick .Values.workers "resources" "nodeSelector" "tolerations" "affinity" "priorityClassName" "imagePullSecrets" "serviceAccountName" }}
{{- /* Helm takes a key away whose value is null, and the operator one that is absent for its default */}}
{{- $context := deepCopy .Values.workers.securityContext }}
{{- range list "runAsUser" "runAsGroup" "fsGroup" }}
{{- if not (hasKey $context .) }}
{{- $_ := set $context . nil }}
{{- end }}
{{- end }}
{{- $_ := set $pod "securityContext" $context }}
{{- $_ := set $pod "env" (merge (deepCopy .Values.workers.env) (include "dtool-operator.proxies" . | fromYaml)) }}
{{- range $key, $value := $pod }}
{{- with $value }}
{{ $key }}: {{ toJson . }}
{{- end }}
{{- end }}
{{- end }}

{{/* The settings of the operator, as variables. */}}
{{- define "dtool-operator.settings" -}}
{{- $values := .Values -}}
- name: DTOOL_OPERATOR_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: DTOOL_OPERATOR_SERVICE_ACCOUNT
  valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}
{{- $plain := dict
  "STATE_DIR" "/var/lib/dtool-operator"
  "HEALTH_HOST" $values.bindAddress
  "HEALTH_PORT" $values.healthPort
  "MAX_TRANSFERS" $values.maxConcurrentTransfers
  "LEADER_ELECTION" $values.leaderElection.enabled
  "LEASE_NAME" (include "dtool-operator.leaseName" .)
  "WATCH_NAMESPACES" (join "," $values.watchNamespaces)
  "ADMIN_NAMESPACES" (join "," $values.adminNamespaces)
  "ALLOWED_ENDPOINTS" (join "," $values.allowedEndpoints)
  "ALLOWED_HTTP_HOSTS" (join "," $values.allowedHTTPHosts)
}}
{{- range $key, $value := $values.settings }}
{{- $_ := set $plain ($key | snakecase | upper) $value }}
{{- end }}
{{- if $values.workers.enabled }}
{{- $_ := set $plain "WORKER_IMAGE" (include "dtool-operator.workerImage" .) }}
{{- $_ := set $plain "WORKER_IMAGE_PULL_POLICY" ($values.workers.image.pullPolicy | default $values.image.pullPolicy) }}
{{- $_ := set $plain "WORKER_POD_FILE" "/etc/dtool-operator/worker/pod.yaml" }}
{{- if $values.trustedCA.configMapName }}
{{- $_ := set $plain "WORKER_CA_FILE" "/etc/dtool-operator/trusted/ca.crt" }}
{{- end }}
{{- $_ := set $plain "JOB_ABOVE_SIZE" $values.jobs.aboveSize }}
{{- $_ := set $plain "ITEMS_PER_SHARD" $values.jobs.itemsPerShard }}
{{- $_ := set $plain "MAX_SHARDS" $values.jobs.maxShards }}
{{- end }}
{{- if include "dtool-operator.isSigning" . }}
{{- $_ := set $plain "SIGNING_URL" (include "dtool-operator.signingURL" .) }}
{{- $_ := set $plain "SIGNING_HOST" $values.bindAddress }}
{{- $_ := set $plain "SIGNING_PORT" $values.signing.port }}
{{- $_ := set $plain "SIGNING_EXPIRY" $values.signing.expiry }}
{{- end }}
{{- range $key, $value := $plain }}
{{- /* numbers of a values file are floats, which print 1e+06 */}}
{{- $text := kindIs "float64" $value | ternary (printf "%.0f" $value) (toString $value) }}
{{- if $text }}
- name: DTOOL_OPERATOR_{{ $key }}
  value: {{ $text | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Variables that name proxies, as a map: the API server and the cluster's own are asked without one. */}}
{{- define "dtool-operator.proxies" -}}
{{- $proxy := .Values.proxy }}
{{- if or $proxy.httpProxy $proxy.httpsProxy }}
{{- $direct := "$(KUBERNETES_SERVICE_HOST),.svc,.cluster.local,localhost,127.0.0.1,::1" }}
{{- $named := dict "HTTP_PROXY" $proxy.httpProxy "HTTPS_PROXY" $proxy.httpsProxy "NO_PROXY" (list $proxy.noProxy $direct | compact | join ",") }}
{{- range $name, $value := $named }}
{{- if $value }}
{{ $name }}: {{ $value | quote }}
{{ lower $name }}: {{ $value | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Proxies and certificates, as variables. */}}
{{- define "dtool-operator.surroundings" -}}
{{- range $name, $value := include "dtool-operator.proxies" . | fromYaml }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- if .Values.trustedCA.configMapName }}
{{- range list "SSL_CERT_FILE" "AWS_CA_BUNDLE" "REQUESTS_CA_BUNDLE" }}
- name: {{ . }}
  value: /etc/dtool-operator/trusted/ca.crt
{{- end }}
{{- end }}
{{- end }}

{{/* Rights to see what becomes of the Pods of Jobs. */}}
{{- define "dtool-operator.podRules" -}}
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end }}

{{- define "dtool-operator.subjects" -}}
subjects:
  - kind: ServiceAccount
    name: {{ include "dtool-operator.serviceAccountName" . }}
    namespace: {{ .Release.Namespace }}
{{- end }}
