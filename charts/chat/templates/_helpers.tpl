{{- /*
The parts of the chat, and all in which they differ: whether it is one of the services with a database or only the page,
whether other parts ask it, the paths that the ingress sends to it, and how long an ending pod may take. `drain` is the time in seconds for which a
pod still serves after it was told to end, so that the ingress and kube-proxy have stopped sending to it; `grace` includes
it and the 15 s in which a service lets its requests and connections go.
*/ -}}
{{- define "chat.parts" -}}
- {name: auth, service: true, asked: true, paths: [/api/auth], drain: 2, grace: 20}
- {name: gateway, service: true, asked: false, paths: [/ws], drain: 3, grace: 30}
- {name: messaging, service: true, asked: true, paths: [/api/conversations, /api/messages], drain: 2, grace: 20}
- {name: presence, service: true, asked: false, paths: [/api/presence], drain: 2, grace: 20}
- {name: groups, service: true, asked: true, paths: [/api/groups, /api/invitations, /api/contacts, /api/blocks], drain: 2, grace: 20}
- {name: frontend, service: false, asked: false, paths: [/], drain: 2, grace: 20}
{{- end }}

{{- /* Which of the other parts a part asks. */ -}}
{{- define "chat.asks" -}}
auth: []
gateway: [auth, messaging]
messaging: [auth]
presence: [auth, groups, messaging]
groups: [auth]
frontend: []
{{- end }}

{{- /*
The files by which a part proves who it is, and verifies who asks it (docs/adr/0021-identities-of-services.md). A token is good for an hour and renewed by the kubelet.
Each part that is asked has an audience of its own, so that it cannot pass for those who ask it. One that is asked shows the API a token
to get the keys; by itself it has no rights there.
*/ -}}
{{- define "chat.identity" -}}
{{- range index (include "chat.asks" . | fromYaml) .part.name }}
- serviceAccountToken: {path: {{ . }}, audience: chat/{{ . }}, expirationSeconds: 3600}
{{- end }}
{{- if .part.asked }}
- serviceAccountToken: {path: token, expirationSeconds: 3600}
- configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
- downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}
{{- end }}

{{- define "chat.selector" -}}
app.kubernetes.io/name: {{ .part.name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "chat.labels" -}}
{{ include "chat.selector" . }}
app.kubernetes.io/part-of: {{ .root.Chart.Name }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{- /* Whether the whole chat or this part of it is to be rendered. */ -}}
{{- define "chat.wants" -}}
{{- if has .root.Values.part (list "" .part) }}yes{{ end }}
{{- end }}

{{- /* Whether the services log in to Kafka with passwords. */ -}}
{{- define "chat.passwords" -}}
{{- if and .Values.kafka.sasl (ne .Values.kafka.sasl "OAUTHBEARER") }}yes{{ end }}
{{- end }}

{{- /* The selector of the namespace of that name; of every one where it is empty. */ -}}
{{- define "chat.namespace" -}}
{{- if . }}matchLabels:
  kubernetes.io/metadata.name: {{ . }}
{{- else }}{}
{{- end }}
{{- end }}

{{- /* The way to the cluster's name service, as a rule for egress. A policy sees its pods' own port, which is not always 53. */ -}}
{{- define "chat.dns" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
    - {port: 8053, protocol: UDP}
    - {port: 8053, protocol: TCP}
{{- end }}

{{- /* The settings of one part. */ -}}
{{- define "chat.env" -}}
- name: LISTEN
  value: ":8080"
- name: HEALTH
  value: ":8081"
- name: LOG_LEVEL
  value: {{ .root.Values.logLevel }}
{{- if .part.service }}
- name: KAFKA_BROKERS
  value: {{ join "," .root.Values.kafka.brokers | quote }}
{{- with .root.Values.kafka }}
- name: KAFKA_PARTITIONS
  value: {{ .partitions | quote }}
- name: KAFKA_TLS
  value: {{ if eq .tls "ca" }}/kafka/ca.crt{{ else }}{{ .tls | quote }}{{ end }}
{{- if .sasl }}
- name: KAFKA_SASL
  value: {{ .sasl }}
{{- if ne .sasl "OAUTHBEARER" }}
- name: KAFKA_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret | default (printf "%s-kafka" $.root.Release.Name) }}
      key: {{ $.part.name }}
{{- end }}
{{- end }}
{{- end }}
{{- if ne .part.name "gateway" }}
- name: MONGODB_URI
  valueFrom:
    secretKeyRef:
      name: {{ .root.Values.mongodb.existingSecret | default (printf "%s-mongodb" .root.Release.Name) }}-{{ .part.name }}
      key: uri
- name: MONGODB_DATABASE
  value: {{ .part.name }}
{{- end }}
{{- range index (include "chat.asks" . | fromYaml) .part.name }}
- name: {{ upper . }}_URL
  value: http://{{ . }}:8080
{{- end }}
{{- if eq .part.name "gateway" }}
- name: ALLOWED_ORIGINS
  value: {{ .root.Values.url | quote }}
- name: SHADOW_URL
  value: http://gateway-comparer:8080
{{- end }}
{{- if and .root.Values.trustedProxies (has .part.name (list "auth" "gateway")) }}
- name: TRUSTED_PROXIES
  value: {{ join "," .root.Values.trustedProxies | quote }}
{{- end }}
{{- with .root.Values.tracing }}
{{- if .endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .endpoint | quote }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ .ratio | quote }}
{{- end }}
{{- end }}
{{- if eq .part.name "auth" }}
- name: KEY_ENCRYPTION_SECRET
  valueFrom:
    secretKeyRef:
      name: {{ .root.Values.keyEncryption.existingSecret | default (printf "%s-auth" .root.Release.Name) }}
      key: keyEncryption
- name: KEY_LIFE
  value: {{ .root.Values.keyLife | quote }}
- name: SESSION_LIFE
  value: {{ .root.Values.sessionLife | quote }}
- name: REGISTRATION_RATE
  value: {{ .root.Values.registrationRate | quote }}
{{- end }}
{{- if eq .part.name "gateway" }}
{{- range $who, $rate := .root.Values.rates }}
- name: {{ upper $who }}_RATE
  value: {{ $rate | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
