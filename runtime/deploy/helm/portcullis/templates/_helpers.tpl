{{- define "portcullis.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "portcullis.labels" -}}
app.kubernetes.io/name: portcullis
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "portcullis.account" -}}
{{- default (include "portcullis.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "portcullis.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ printf "%s@%s" .repository .digest }}
{{- else -}}
{{ printf "%s:%s" .repository (default $.Chart.AppVersion .tag) }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* node.yaml: what the chart decides wins over what it is given. */ -}}
{{- define "portcullis.nodeConfig" -}}
{{- $status := dict "enabled" .Values.status.enabled -}}
{{- with .Values.status.groupLabel -}}{{- $_ := set $status "groupLabel" . -}}{{- end -}}
{{- $guard := dict "holdOnDenied" .Values.guard.holdOnDenied -}}
{{- with .Values.guard.canary -}}{{- $_ := set $guard "canary" . -}}{{- end -}}
{{- $own := dict "kubernetes" (dict "status" $status) "guard" $guard "state" "/var/lib/portcullis" "bpffs" "/sys/fs/bpf" -}}
{{- toYaml (merge $own (deepCopy .Values.agent.config)) -}}
{{- end -}}
