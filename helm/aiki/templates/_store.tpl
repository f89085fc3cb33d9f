{{/* The coordinators' store: where it is, and what is secret about it. */}}

{{/* The URL, without what is secret; empty when it comes from a Secret. */}}
{{- define "aiki.store.url" -}}
{{- $store := .Values.store -}}
{{- if .Values.valkey.enabled -}}
redis://{{ include "aiki.fullname" . }}-valkey.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}:6379/0
{{- else if $store.url -}}
{{ $store.url }}
{{- else if $store.hosts -}}
{{- $scheme := $store.tls.enabled | ternary "rediss" "redis" -}}
{{- if eq $store.mode "standalone" -}}
{{ printf "%s://%s/%v" $scheme (join "," $store.hosts) (int $store.database) }}
{{- else if eq $store.mode "sentinel" -}}
{{ printf "%s+sentinel://%s/%s" $scheme (join "," $store.hosts) $store.masterName }}
{{- else -}}
{{ printf "%s+cluster://%s" $scheme (join "," $store.hosts) }}
{{- end -}}
{{- include "aiki.store.tlsQuery" . }}
{{- end -}}
{{- end }}

{{/* Which files the mounted certificates are. */}}
{{- define "aiki.store.tlsQuery" -}}
{{- $tls := .Values.store.tls -}}
{{- if and $tls.enabled $tls.existingSecret -}}
{{- $given := list -}}
{{- range $name, $key := dict "ca" $tls.caKey "cert" $tls.certKey "key" $tls.keyKey -}}
{{- if $key }}{{ $given = append $given (printf "%s=/etc/aiki/store-tls/%s" $name $key) }}{{ end -}}
{{- end -}}
{{- if $given }}?{{ join "&" $given }}{{ end -}}
{{- end -}}
{{- end }}

{{/* What is read from the Secret, as a map of setting to key. */}}
{{- define "aiki.store.secrets" -}}
{{- $secret := .Values.store.existingSecret }}
{{- $items := dict }}
{{- if and $secret.name (not .Values.valkey.enabled) }}
{{- if $secret.urlKey }}{{ $_ := set $items "store" $secret.urlKey }}{{ end }}
{{- if $secret.userKey }}{{ $_ := set $items "store_user" $secret.userKey }}{{ end }}
{{- if $secret.passwordKey }}{{ $_ := set $items "store_password" $secret.passwordKey }}{{ end }}
{{- end }}
{{- toYaml $items }}
{{- end }}

{{- define "aiki.store.env" -}}
{{- $secrets := include "aiki.store.secrets" . | fromYaml }}
{{- if not $secrets.store }}
- name: AIKI_SERVER_STORE
  value: {{ include "aiki.store.url" . | quote }}
{{- end }}
{{- range $setting, $_ := $secrets }}
- name: AIKI_SERVER_{{ upper $setting }}_FILE
  value: /etc/aiki/store/{{ $setting }}
{{- end }}
- name: AIKI_SERVER_DURABILITY
  value: {{ .Values.store.durability }}
- name: AIKI_SERVER_PARTITIONS
  value: {{ .Values.store.partitions | quote }}
{{- if .Values.store.allowUnsafe }}
- name: AIKI_SERVER_ALLOW_UNSAFE
  value: "true"
{{- end }}
{{- end }}

{{- define "aiki.store.volumeMounts" -}}
{{- if include "aiki.store.secrets" . | fromYaml }}
- name: store
  mountPath: /etc/aiki/store
  readOnly: true
{{- end }}
{{- if and .Values.store.tls.existingSecret (not .Values.valkey.enabled) }}
- name: store-tls
  mountPath: /etc/aiki/store-tls
  readOnly: true
{{- end }}
{{- end }}

{{- define "aiki.store.volumes" -}}
{{- with include "aiki.store.secrets" . | fromYaml }}
- name: store
  secret:
    secretName: {{ $.Values.store.existingSecret.name }}
    defaultMode: 0440
    items:
      {{- range $setting, $key := . }}
      - key: {{ $key | quote }}
        path: {{ $setting }}
      {{- end }}
{{- end }}
{{- if and .Values.store.tls.existingSecret (not .Values.valkey.enabled) }}
- name: store-tls
  secret:
    secretName: {{ .Values.store.tls.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- end }}
