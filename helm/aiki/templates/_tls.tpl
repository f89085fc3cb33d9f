{{/* TLS between coordinators and those who connect to them. */}}

{{- define "aiki.tls.secret" -}}
{{- .Values.tls.existingSecret | default (include "aiki.certificateSecret" .) }}
{{- end }}

{{- define "aiki.tls.server.env" -}}
{{- if .Values.tls.enabled }}
- name: AIKI_SERVER_TLS_CERT
  value: /etc/aiki/tls/tls.crt
- name: AIKI_SERVER_TLS_KEY
  value: /etc/aiki/tls/tls.key
{{- if .Values.tls.clientAuth }}
- name: AIKI_SERVER_TLS_CLIENT_CA
  value: /etc/aiki/tls/{{ .Values.tls.caKey }}
{{- end }}
{{- end }}
{{- end }}

{{- define "aiki.tls.client.env" -}}
{{- if .Values.tls.enabled }}
{{- if .Values.tls.caKey }}
- name: AIKI_TLS_CA
  value: /etc/aiki/ca/{{ .Values.tls.caKey }}
{{- else }}
- name: AIKI_TLS
  value: "true"
{{- end }}
{{- if .Values.tls.clientSecret }}
- name: AIKI_TLS_CERT
  value: /etc/aiki/client/tls.crt
- name: AIKI_TLS_KEY
  value: /etc/aiki/client/tls.key
{{- end }}
{{- end }}
{{- end }}

{{- define "aiki.tls.client.volumeMounts" -}}
{{- if and .Values.tls.enabled .Values.tls.caKey }}
- name: ca
  mountPath: /etc/aiki/ca
  readOnly: true
{{- end }}
{{- if and .Values.tls.enabled .Values.tls.clientSecret }}
- name: client
  mountPath: /etc/aiki/client
  readOnly: true
{{- end }}
{{- end }}

{{/* Of the coordinators' Secret only the authority: its key is theirs alone. */}}
{{- define "aiki.tls.client.volumes" -}}
{{- if and .Values.tls.enabled .Values.tls.caKey }}
- name: ca
  secret:
    secretName: {{ include "aiki.tls.secret" . }}
    defaultMode: 0440
    items:
      - key: {{ .Values.tls.caKey }}
        path: {{ .Values.tls.caKey }}
{{- end }}
{{- if and .Values.tls.enabled .Values.tls.clientSecret }}
- name: client
  secret:
    secretName: {{ .Values.tls.clientSecret }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{/* How a coordinator is probed. Takes a list: root, liveness or readiness. */}}
{{- define "aiki.coordinator.probe" -}}
{{- $root := index . 0 }}
{{- if $root.Values.tls.enabled }}
httpGet:
  path: /{{ eq (index . 1) "liveness" | ternary "livez" "readyz" }}
  port: http
{{- else }}
grpc:
  port: {{ $root.Values.coordinator.ports.grpc }}
  service: {{ index . 1 }}
{{- end }}
{{- end }}
