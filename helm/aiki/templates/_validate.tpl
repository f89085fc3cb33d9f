{{/* What the schema cannot say: values that do not fit each other. Each refusal names the keys. */}}

{{- define "aiki.validate" -}}
{{- $found := list }}
{{- $store := .Values.store }}
{{- $secret := $store.existingSecret }}
{{- $named := list }}
{{- if .Values.valkey.enabled }}{{ $named = append $named "valkey.enabled" }}{{ end }}
{{- if $store.url }}{{ $named = append $named "store.url" }}{{ end }}
{{- if $store.hosts }}{{ $named = append $named "store.hosts" }}{{ end }}
{{- if and $secret.name $secret.urlKey }}{{ $named = append $named "store.existingSecret.urlKey" }}{{ end }}
{{- if .Values.coordinator.enabled }}
{{- if not $named }}
{{- $found = append $found "no store is named: set store.url, store.hosts or store.existingSecret.name with urlKey; or, only to try it, valkey.enabled=true" }}
{{- end }}
{{- if gt (len $named) 1 }}
{{- $found = append $found (printf "%s name a store each: keep one of them" (join " and " $named)) }}
{{- end }}
{{- if and (or $secret.urlKey $secret.userKey $secret.passwordKey) (not $secret.name) }}
{{- $found = append $found "store.existingSecret has keys but no name: set store.existingSecret.name" }}
{{- end }}
{{- if and $secret.name (not (or $secret.urlKey $secret.userKey $secret.passwordKey)) }}
{{- $found = append $found "store.existingSecret.name without a key: set urlKey, userKey or passwordKey" }}
{{- end }}
{{- if regexMatch "://[^/@]*:[^/@]+@" $store.url }}
{{- $found = append $found "store.url holds a password: put it into a Secret and name it with store.existingSecret.passwordKey, or the whole URL with urlKey" }}
{{- end }}
{{- if and $store.hosts (eq $store.mode "sentinel") (not $store.masterName) }}
{{- $found = append $found "store.mode sentinel needs store.masterName" }}
{{- end }}
{{- if and (eq $store.mode "standalone") (gt (len $store.hosts) 1) }}
{{- $found = append $found "store.hosts has several hosts, and store.mode is standalone: set it to sentinel or cluster" }}
{{- end }}
{{- if and $store.tls.existingSecret $store.hosts (not $store.tls.enabled) }}
{{- $found = append $found "store.tls.existingSecret without store.tls.enabled" }}
{{- end }}
{{- if ne (empty $store.tls.certKey) (empty $store.tls.keyKey) }}
{{- $found = append $found "store.tls.certKey and store.tls.keyKey go together" }}
{{- end }}
{{- if and .Values.valkey.enabled (eq $store.durability "replicated") }}
{{- $found = append $found "store.durability replicated needs replicas, and valkey.enabled has none" }}
{{- end }}
{{- if .Values.coordinatorAddress }}
{{- $found = append $found "coordinatorAddress is for a release without coordinators: set coordinator.enabled=false, or leave it out" }}
{{- end }}
{{- if lt (int .Values.coordinator.terminationGracePeriodSeconds) (add (int .Values.coordinator.preStopSeconds) 10 | int) }}
{{- $found = append $found "coordinator.terminationGracePeriodSeconds must be at least 10 more than coordinator.preStopSeconds" }}
{{- end }}
{{- if and .Values.coordinator.service.trafficDistribution (semverCompare "<1.31.0-0" .Capabilities.KubeVersion.Version) }}
{{- $found = append $found "coordinator.service.trafficDistribution needs Kubernetes 1.31" }}
{{- end }}
{{- $found = concat $found (include "aiki.validate.part" (list "coordinator" .Values.coordinator) | fromYamlArray) }}
{{- else }}
{{- if not .Values.coordinatorAddress }}
{{- $found = append $found "coordinator.enabled=false needs coordinatorAddress: whom should workers connect to?" }}
{{- end }}
{{- if or .Values.ingress.enabled .Values.grpcRoute.enabled .Values.valkey.enabled }}
{{- $found = append $found "ingress, grpcRoute and valkey are for coordinators, and coordinator.enabled is false" }}
{{- end }}
{{- end }}
{{- range $name, $group := include "aiki.workers" . | fromYaml }}
{{- $key := printf "workers.%s" $name }}
{{- if not (or $group.modules $group.command $group.args) }}
{{- $found = append $found (printf "%s.modules is empty: which Python modules does it serve?" $key) }}
{{- end }}
{{- if and $group.autoscaling.enabled (eq $group.autoscaling.type "hpa") (lt (int $group.autoscaling.minReplicas) 1) }}
{{- $found = append $found (printf "%s.autoscaling.minReplicas must be at least 1 with type hpa: only keda scales to zero" $key) }}
{{- end }}
{{- $found = concat $found (include "aiki.validate.part" (list $key $group) | fromYamlArray) }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- $found = append $found "ingress.hosts is empty" }}
{{- end }}
{{- if and .Values.ingress.enabled .Values.ingress.tls.enabled (not .Values.ingress.tls.secretName) (not .Values.certificate.enabled) }}
{{- $found = append $found "ingress.tls has no certificate: set ingress.tls.secretName or certificate.enabled=true" }}
{{- end }}
{{- if and .Values.grpcRoute.enabled (not .Values.grpcRoute.parentRefs) }}
{{- $found = append $found "grpcRoute.parentRefs is empty: which Gateway?" }}
{{- end }}
{{- if and .Values.certificate.enabled (not .Values.certificate.issuerRef.name) }}
{{- $found = append $found "certificate.issuerRef.name is empty: who signs it?" }}
{{- end }}
{{- if and .Values.tls.enabled (not (or .Values.certificate.enabled .Values.tls.existingSecret)) }}
{{- $found = append $found "tls.enabled needs a certificate: set tls.existingSecret or certificate.enabled=true" }}
{{- end }}
{{- if and .Values.tls.clientAuth (not (and .Values.tls.caKey .Values.tls.clientSecret)) }}
{{- $found = append $found "tls.clientAuth needs tls.caKey, and tls.clientSecret for the workers to show" }}
{{- end }}
{{- if $found }}
{{- fail (printf "\n\nThese values do not fit:\n  - %s\n" (join "\n  - " $found)) }}
{{- end }}
{{- end }}

{{/* What holds for coordinators and for each group of workers. Takes a list: key, values; gives a list. */}}
{{- define "aiki.validate.part" -}}
{{- $key := index . 0 }}
{{- $part := index . 1 }}
{{- $found := list }}
{{- $scaling := $part.autoscaling }}
{{- if and $scaling.enabled (gt (int $scaling.minReplicas) (int $scaling.maxReplicas)) }}
{{- $found = append $found (printf "%s.autoscaling.minReplicas is more than maxReplicas" $key) }}
{{- end }}
{{- $hpa := $scaling.hpa | default $scaling }}
{{- if and $scaling.enabled (eq ($scaling.type | default "hpa") "hpa") (not (or $hpa.targetCPUUtilizationPercentage $hpa.targetMemoryUtilizationPercentage $hpa.metrics)) }}
{{- $found = append $found (printf "%s.autoscaling has no metric to scale by" $key) }}
{{- end }}
{{- $budget := $part.podDisruptionBudget }}
{{- if and $budget.enabled (eq (eq (toString $budget.minAvailable) "") (eq (toString $budget.maxUnavailable) "")) }}
{{- $found = append $found (printf "%s.podDisruptionBudget: set one of minAvailable and maxUnavailable, and the other to \"\"" $key) }}
{{- end }}
{{- toYaml $found }}
{{- end }}
