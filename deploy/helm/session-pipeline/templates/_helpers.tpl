{{/* Names and labels. */}}
{{- define "pipeline.name" -}}
{{ default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "pipeline.fullname" -}}
{{- $name := include "pipeline.name" . -}}
{{- if .Values.fullnameOverride }}{{ .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* What selects the pods of a component: dict "root" $ "component" NAME. Never changes. */}}
{{- define "pipeline.selector" -}}
app.kubernetes.io/name: {{ include "pipeline.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "pipeline.labels" -}}
{{ include "pipeline.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "pipeline.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "pipeline.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "pipeline.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end }}
{{- end }}

{{/* Whether a setting is there for a component: dict "root" $ "component" NAME "setting" NAME; "yes" or nothing. */}}
{{- define "pipeline.has" -}}
{{- $own := get .root.Values .component -}}
{{- range list .root.Values.settings .root.Values.secretSettings $own.settings $own.secretSettings | compact -}}
{{- if hasKey . $.setting }}yes{{ end -}}
{{- end -}}
{{- end }}

{{/* What no schema can say. */}}
{{- define "pipeline.check" -}}
{{- $values := .Values -}}
{{- range $component := list "sink" "dashboard" "alerts" "migrate" -}}
{{- if and (get $values $component).enabled (not (include "pipeline.has" (dict "root" $ "component" $component "setting" "PIPELINE_CLICKHOUSE_URL"))) -}}
{{- fail (printf "%s needs to know where ClickHouse is: put PIPELINE_CLICKHOUSE_URL into secretSettings or %s.secretSettings" $component $component) -}}
{{- end -}}
{{- end -}}
{{- range $role := list "router" "sessionizer" "sink" -}}
{{- $own := get $values $role -}}
{{- if gt (int $own.replicas) (int $values.partitions) -}}
{{- fail (printf "%s.replicas is %d, but there are %d partitions: the others would have nothing to do" $role (int $own.replicas) (int $values.partitions)) -}}
{{- end -}}
{{- if and $own.autoscaling.enabled (gt (int $own.autoscaling.min) (int (default $values.partitions $own.autoscaling.max))) -}}
{{- fail (printf "%s.autoscaling.min is above its max" $role) -}}
{{- end -}}
{{- end -}}
{{- with .Values.receive -}}
{{- if and .enabled (not .noKeys) (not .keys.secret) -}}
{{- fail "receive can be reached from other pods: name the Secret with its key file in receive.keys.secret, or set receive.noKeys if whoever can reach it may send" -}}
{{- end -}}
{{- if and .autoscaling.enabled (gt (int .autoscaling.min) (int .autoscaling.max)) -}}
{{- fail "receive.autoscaling.min is above its max" -}}
{{- end -}}
{{- end -}}
{{- with .Values.dashboard -}}
{{- if and .enabled (not .noLogin) (not (include "pipeline.has" (dict "root" $ "component" "dashboard" "setting" "PIPELINE_DASHBOARD_PASSWORD"))) -}}
{{- fail "the dashboard asks for a password: put PIPELINE_DASHBOARD_PASSWORD into dashboard.secretSettings, or set dashboard.noLogin if something in front of it asks visitors who they are" -}}
{{- end -}}
{{- if and .enabled (gt (int .replicas) 1) (not (and .persistence.enabled (or .persistence.existingClaim (has "ReadWriteMany" .persistence.accessModes)))) -}}
{{- fail "replicas of the dashboard share a volume: set dashboard.persistence with ReadWriteMany or existingClaim, or one replica" -}}
{{- end -}}
{{- end -}}
{{- with .Values.alerts -}}
{{- if and .enabled (not .rules) -}}
{{- fail "alerts has no rules: put the text of their file into alerts.rules (deploy/ALERTS.md)" -}}
{{- end -}}
{{- end -}}
{{- range $component := list "receive" "dashboard" -}}
{{- $own := get $values $component -}}
{{- if and $own.ingress.enabled (not $own.ingress.host) -}}
{{- fail (printf "%s.ingress.host is missing" $component) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The environment of a component: dict "root" $ "component" NAME. What the chart itself sets comes last and wins. */}}
{{- define "pipeline.env" -}}
{{- $values := .root.Values -}}
{{- $own := get $values .component -}}
{{- $secret := merge (deepCopy (default dict $own.secretSettings)) (default dict $values.secretSettings) -}}
{{- range $key := keys (default dict $own.settings) }}{{ if not (hasKey $own.secretSettings $key) }}{{ $_ := unset $secret $key }}{{ end }}{{ end -}}
{{- $plain := merge (deepCopy (default dict $own.settings)) $values.settings -}}
{{- $_ := set $plain "PIPELINE_PARTITIONS" ($values.partitions | toString) -}}
{{- if $values.settingsFile }}{{ $_ := set $plain "PIPELINE_CONFIG" "/etc/session-pipeline/settings/settings.toml" }}{{ end -}}
{{- if has .component (list "router" "sessionizer" "sink" "receive" "alerts") -}}
{{- $_ := set $plain "PIPELINE_METRICS_PORT" "9464" -}}
{{- $_ := set $plain "PIPELINE_METRICS_HOST" "0.0.0.0" -}}
{{- end -}}
{{- if and (eq .component "receive") $own.keys.secret }}{{ $_ := set $plain "PIPELINE_RECEIVE_KEYS" (printf "/etc/session-pipeline/keys/%s" $own.keys.key) }}{{ end -}}
{{- if and (eq .component "dashboard") $own.persistence.enabled }}{{ $_ := set $plain "PIPELINE_DASHBOARD_DIR" "/var/lib/session-pipeline" }}{{ end -}}
{{- if eq .component "alerts" -}}
{{- /* It asks no Kafka, and has no business with how others log in there. */ -}}
{{- range $key := concat (keys $plain) (keys $secret) }}{{ if hasPrefix "PIPELINE_KAFKA_" $key }}{{ $_ := unset $plain $key }}{{ $_ := unset $secret $key }}{{ end }}{{ end -}}
{{- $_ := set $plain "PIPELINE_ALERTS" "/etc/session-pipeline/alerts/alerts.toml" -}}
{{- end -}}
{{- range $name := keys $plain | sortAlpha }}
{{- if not (hasKey $secret $name) }}
- name: {{ $name }}
  value: {{ get $plain $name | quote }}
{{- end }}
{{- end }}
{{- range $name := keys $secret | sortAlpha }}
{{- $source := get $secret $name }}
- name: {{ $name }}
  valueFrom:
    secretKeyRef:
      name: {{ $source.name }}
      key: {{ $source.key }}
{{- end }}
{{- if and $values.staticMembership (has .component (list "router" "sessionizer" "sink")) }}
- name: PIPELINE_KAFKA_INSTANCE_ID
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
{{- end }}

{{/* What a pod mounts: dict "root" $ "component" NAME "settingsMap" NAME OF THE CONFIGMAP. */}}
{{- define "pipeline.volumes" -}}
{{- $values := .root.Values -}}
{{- $own := get $values .component -}}
- name: tmp
  emptyDir: {}
{{- if $values.settingsFile }}
- name: settings
  configMap:
    name: {{ .settingsMap }}
{{- end }}
{{- if eq .component "alerts" }}
- name: alerts
  configMap:
    name: {{ include "pipeline.fullname" .root }}-alerts
{{- end }}
{{- if and (eq .component "receive") $own.keys.secret }}
- name: keys
  secret:
    secretName: {{ $own.keys.secret }}
{{- end }}
{{- if and (eq .component "dashboard") $own.persistence.enabled (not .once) }}
- name: state
  persistentVolumeClaim:
    claimName: {{ default (printf "%s-dashboard" (include "pipeline.fullname" .root)) $own.persistence.existingClaim }}
{{- end }}
{{- range concat (default list $values.mounts) (default list $own.mounts) }}
- name: {{ .name }}
  {{- if .secret }}
  secret:
    secretName: {{ .secret }}
  {{- else }}
  configMap:
    name: {{ .configMap }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "pipeline.volumeMounts" -}}
{{- $values := .root.Values -}}
{{- $own := get $values .component -}}
- {name: tmp, mountPath: /tmp}
{{- if $values.settingsFile }}
- {name: settings, mountPath: /etc/session-pipeline/settings, readOnly: true}
{{- end }}
{{- if eq .component "alerts" }}
- {name: alerts, mountPath: /etc/session-pipeline/alerts, readOnly: true}
{{- end }}
{{- if and (eq .component "receive") $own.keys.secret }}
- {name: keys, mountPath: /etc/session-pipeline/keys, readOnly: true}
{{- end }}
{{- if and (eq .component "dashboard") $own.persistence.enabled (not .once) }}
- {name: state, mountPath: /var/lib/session-pipeline}
{{- end }}
{{- range concat (default list $values.mounts) (default list $own.mounts) }}
- {name: {{ .name }}, mountPath: {{ .mountPath }}, readOnly: true}
{{- end }}
{{- end }}

{{/* Metadata of a pod. Nothing of the chart's version: a pod is replaced when something of it changes. */}}
{{- define "pipeline.podMetadata" -}}
{{- $pod := merge (deepCopy (default dict (get .root.Values .component).pod)) (default dict .root.Values.pod) -}}
labels:
  {{- include "pipeline.selector" . | nindent 2 }}
  {{- with $pod.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $annotations := default dict $pod.annotations }}
{{- if .root.Values.settingsFile }}{{ $annotations = merge (dict "checksum/settings" (sha256sum .root.Values.settingsFile)) $annotations }}{{ end }}
{{- if eq .component "alerts" }}{{ $annotations = merge (dict "checksum/rules" (sha256sum .root.Values.alerts.rules)) $annotations }}{{ end }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* A pod but for what is its role's own: dict "root" $ "component" NAME "settingsMap" NAME "args" LIST "grace" SECONDS "more" TEXT. */}}
{{- define "pipeline.podSpec" -}}
{{- $values := .root.Values -}}
{{- $own := get $values .component -}}
{{- $pod := merge (deepCopy (default dict $own.pod)) (default dict $values.pod) -}}
# Nothing in it asks Kubernetes for anything. And variables that Kubernetes makes of services would look like settings.
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ .grace }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with $values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $pod.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $pod.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if and $pod.spread (not .once) }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: {{ $pod.spread }}
    labelSelector:
      matchLabels:
        {{- include "pipeline.selector" . | nindent 8 }}
{{- end }}
containers:
  - name: {{ .component }}
    image: {{ include "pipeline.image" .root }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args: {{ toJson .args }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
    env:
      {{- include "pipeline.env" . | nindent 6 }}
    volumeMounts:
      {{- include "pipeline.volumeMounts" . | nindent 6 }}
    resources:
      {{- toYaml $own.resources | nindent 6 }}
    {{- with .more }}
    {{- . | nindent 4 }}
    {{- end }}
volumes:
  {{- include "pipeline.volumes" . | nindent 2 }}
{{- end }}
