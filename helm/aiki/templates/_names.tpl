{{/* Names and labels. Every template here takes the root context unless it says otherwise. */}}

{{- define "aiki.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for what is put behind it. */}}
{{- define "aiki.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "aiki.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "aiki.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels that never change. Takes a list: root, component. */}}
{{- define "aiki.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "aiki.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Takes a list: root, component. */}}
{{- define "aiki.labels" -}}
{{- $root := index . 0 -}}
{{ include "aiki.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: aiki
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The start of `metadata`, without the name. Takes a dict: root, component, annotations, labels. */}}
{{- define "aiki.metadata" -}}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- $fixed := include "aiki.labels" (list .root .component) | fromYaml }}
  {{- toYaml (mustMerge $fixed (deepCopy (.labels | default dict))) | nindent 2 }}
{{- with mustMerge (deepCopy (.annotations | default dict)) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Takes a dict: root, image. */}}
{{- define "aiki.image" -}}
{{- $registry := .image.registry | default .root.Values.imageRegistry | trimSuffix "/" -}}
{{- $name := empty $registry | ternary .image.repository (printf "%s/%s" $registry .image.repository) -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{- define "aiki.coordinator.serviceAccount" -}}
{{- .Values.coordinator.serviceAccount.name | default (.Values.coordinator.serviceAccount.create | ternary (printf "%s-coordinator" (include "aiki.fullname" .)) "default") }}
{{- end }}

{{/* Takes a dict: root, name, group. */}}
{{- define "aiki.worker.name" -}}
{{- printf "%s-worker-%s" (include "aiki.fullname" .root) .name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Takes a dict: root, name, group. */}}
{{- define "aiki.worker.serviceAccount" -}}
{{- .group.serviceAccount.name | default (.group.serviceAccount.create | ternary (include "aiki.worker.name" .) "default") }}
{{- end }}

{{/* Where workers and clients connect: all coordinators by name, so that each client spreads over them by itself. */}}
{{- define "aiki.address" -}}
{{- if .Values.coordinator.enabled -}}
{{ include "aiki.fullname" . }}-headless.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:{{ .Values.coordinator.ports.grpc }}
{{- else -}}
{{ .Values.coordinatorAddress }}
{{- end }}
{{- end }}

{{/* By which clients inside the cluster reach some coordinator. */}}
{{- define "aiki.service" -}}
{{ include "aiki.fullname" . }}.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:{{ .Values.coordinator.service.port }}
{{- end }}

{{- define "aiki.certificateSecret" -}}
{{- .Values.certificate.secretName | default (printf "%s-tls" (include "aiki.fullname" .)) }}
{{- end }}

{{/* The groups of workers that are on, each with the defaults under it, as a map. */}}
{{- define "aiki.workers" -}}
{{- $groups := dict }}
{{- range $name, $own := .Values.workers }}
{{- $group := mustMergeOverwrite (deepCopy $.Values.workerDefaults) (deepCopy ($own | default dict)) }}
{{- if $group.enabled }}
{{- $_ := set $groups $name $group }}
{{- end }}
{{- end }}
{{- toYaml $groups }}
{{- end }}
