{{- define "darkroom.labels" -}}
app.kubernetes.io/name: darkroom
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "darkroom.metadata" -}}
name: {{ .root.Release.Name }}-{{ .component }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "darkroom.labels" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
  helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- /* What every pod of ours has in common. */ -}}
{{- define "darkroom.pod" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .uid | default 50000 }}
  runAsGroup: {{ .uid | default 50000 }}
  fsGroup: {{ .uid | default 50000 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{- define "darkroom.container" -}}
imagePullPolicy: {{ .Values.images.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
{{- end }}

{{- /* One environment variable from the Secret: dict root name key */ -}}
{{- define "darkroom.secret" -}}
- name: {{ .name }}
  valueFrom: {secretKeyRef: {name: {{ .root.Values.secretName }}, key: {{ .key }}}}
{{- end }}

{{- define "darkroom.http" -}}
httpGet: {path: {{ .path }}, port: {{ .port }}}
timeoutSeconds: 10
periodSeconds: {{ .period | default 10 }}
failureThreshold: {{ .failures | default 6 }}
{{- end }}

{{- define "darkroom.databaseHost" -}}
{{- if .Values.postgresql.enabled }}{{ .Release.Name }}-postgresql{{ else }}{{ .Values.postgresql.host }}{{ end }}:{{ .Values.postgresql.port }}
{{- end }}

{{- define "darkroom.s3Endpoint" -}}
{{- if .Values.s3.enabled }}http://{{ .Release.Name }}-s3:9000{{ else }}{{ .Values.s3.endpoint }}{{ end }}
{{- end }}

{{- /* Darkroom's own settings, as a map: in Airflow's pods by a ConfigMap, in Spark's by its configuration. */ -}}
{{- define "darkroom.settings" -}}
{{- $ours := dict
  "DARKROOM_HOME" "/home/darkroom/work"
  "DARKROOM_LAKE" .Values.lake
  "DARKROOM_S3_ENDPOINT" (include "darkroom.s3Endpoint" .)
  "DARKROOM_S3_REGION" .Values.s3.region
  "DARKROOM_MLFLOW_TRACKING_URI" (printf "http://%s-mlflow:5500" .Release.Name)
  "DARKROOM_AIRFLOW_URL" .Values.airflow.url
  "MLFLOW_TRACKING_URI" (printf "http://%s-mlflow:5500" .Release.Name)
  "MLFLOW_TRACKING_USERNAME" "darkroom" -}}
{{- merge $ours .Values.settings | toYaml }}
{{- end }}

{{- /* The secrets of those who work on the lake: variable -> key of the Secret. */ -}}
{{- define "darkroom.keys" -}}
DARKROOM_S3_ACCESS_KEY: lake-access-key
DARKROOM_S3_SECRET_KEY: lake-secret-key
MLFLOW_TRACKING_PASSWORD: mlflow-service-password
{{- end }}

{{- define "darkroom.workEnv" -}}
{{- $root := . }}
{{- range $name, $key := include "darkroom.keys" . | fromYaml }}
{{ include "darkroom.secret" (dict "root" $root "name" $name "key" $key) }}
{{- end }}
{{- end }}

{{- define "darkroom.airflowVolumes" -}}
- name: logs
  persistentVolumeClaim: {claimName: {{ .Values.airflow.logs.existingClaim | default (printf "%s-airflow-logs" .Release.Name) }}}
- name: spark
  configMap: {name: {{ .Release.Name }}-spark}
- name: task
  configMap: {name: {{ .Release.Name }}-airflow-task}
{{- end }}

{{- /* Airflow's own processes: the database and the keys, beside what a task has. */ -}}
{{- define "darkroom.airflowEnv" -}}
- name: AIRFLOW__DATABASE__SQL_ALCHEMY_CONN
  value: postgresql+psycopg2://airflow@{{ include "darkroom.databaseHost" . }}/airflow
{{ include "darkroom.secret" (dict "root" . "name" "PGPASSWORD" "key" "airflow-database-password") }}
{{ include "darkroom.secret" (dict "root" . "name" "AIRFLOW__CORE__FERNET_KEY" "key" "airflow-fernet-key") }}
{{ include "darkroom.secret" (dict "root" . "name" "AIRFLOW__API_AUTH__JWT_SECRET" "key" "airflow-jwt-secret") }}
{{ include "darkroom.secret" (dict "root" . "name" "AIRFLOW__API__SECRET_KEY" "key" "airflow-api-secret") }}
{{- include "darkroom.workEnv" . }}
{{- end }}
