{{/* What the pods of coordinators and of workers have in common. */}}

{{/* `metadata` of a pod. Takes a dict: root, component, part (its values). */}}
{{- define "aiki.pod.metadata" -}}
labels:
  {{- toYaml (mustMerge (include "aiki.labels" (list .root .component) | fromYaml) (deepCopy .part.podLabels)) | nindent 2 }}
{{- with mustMerge (deepCopy .part.podAnnotations) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Where the pod runs, and as whom. Takes a dict: root, component, part. */}}
{{- define "aiki.pod.placement" -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .part.podSecurityContext | nindent 2 }}
enableServiceLinks: false
{{- with .part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .part.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- with .part.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if or .part.topologySpread.enabled .part.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- if .part.topologySpread.enabled }}
  {{- range .part.topologySpread.keys }}
  - topologyKey: {{ . }}
    maxSkew: {{ $.part.topologySpread.maxSkew }}
    whenUnsatisfiable: {{ $.part.topologySpread.whenUnsatisfiable }}
    # Each generation of pods is spread by itself, so that an update ends as even as it began.
    matchLabelKeys: [pod-template-hash]
    labelSelector:
      matchLabels:
        {{- include "aiki.selector" (list $.root $.component) | nindent 8 }}
  {{- end }}
  {{- end }}
  {{- with .part.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- with .part.initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Settings by name as environment. Takes a list: prefix, settings. */}}
{{- define "aiki.settings.env" -}}
{{- $prefix := index . 0 }}
{{- range $name, $value := index . 1 }}
- name: {{ $prefix }}_{{ upper $name }}
  value: {{ kindIs "float64" $value | ternary ($value | toJson) ($value | toString) | quote }}
{{- end }}
{{- end }}

{{/* OpenTelemetry's own variables. Takes a list: root, service name. */}}
{{- define "aiki.telemetry.env" -}}
{{- $telemetry := (index . 0).Values.telemetry }}
{{- if $telemetry.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ $telemetry.otlpEndpoint | quote }}
- name: OTEL_EXPORTER_OTLP_PROTOCOL
  value: {{ $telemetry.otlpProtocol }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ $telemetry.samplingRatio | toString | quote }}
- name: OTEL_SERVICE_NAME
  value: {{ index . 1 }}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name=$(K8S_NAMESPACE),k8s.pod.name=$(K8S_POD)
{{- end }}
{{- end }}

{{/* Who it is, before what refers to it. */}}
{{- define "aiki.identity.env" -}}
- name: K8S_POD
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: K8S_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- end }}

{{/* A budget of pods that may be gone. Takes a dict: root, component, name, budget. */}}
{{- define "aiki.podDisruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  {{- include "aiki.metadata" (dict "root" .root "component" .component) | nindent 2 }}
spec:
  {{- if ne (toString .budget.minAvailable) "" }}
  minAvailable: {{ .budget.minAvailable }}
  {{- else }}
  maxUnavailable: {{ .budget.maxUnavailable }}
  {{- end }}
  # A pod that is not ready holds up no node drain.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "aiki.selector" (list .root .component) | nindent 6 }}
{{- end }}

{{/* By CPU and memory. Takes a dict: root, component, name, scaling (min, max, behavior), hpa (targets). */}}
{{- define "aiki.horizontalPodAutoscaler" -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .name }}
  {{- include "aiki.metadata" (dict "root" .root "component" .component) | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .name }}
  minReplicas: {{ .scaling.minReplicas }}
  maxReplicas: {{ .scaling.maxReplicas }}
  metrics:
    {{- range $resource, $target := dict "cpu" .hpa.targetCPUUtilizationPercentage "memory" .hpa.targetMemoryUtilizationPercentage }}
    {{- if $target }}
    - type: Resource
      resource:
        name: {{ $resource }}
        target:
          type: Utilization
          averageUtilization: {{ $target }}
    {{- end }}
    {{- end }}
    {{- with .hpa.metrics }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .scaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
