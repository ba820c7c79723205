{{- /* The two servers, and all in which they differ. */ -}}
{{- define "databases.parts" -}}
- {name: kafka, port: 9092, env: {ADVERTISED: {{ printf "kafka.%s.svc.cluster.local:9092" .Release.Namespace | quote }}}}
- {name: mongodb, port: 27017, env: {}}
{{- end }}

{{- define "databases.selector" -}}
app.kubernetes.io/name: {{ .part.name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "databases.labels" -}}
{{ include "databases.selector" . }}
app.kubernetes.io/part-of: {{ .root.Chart.Name }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}
