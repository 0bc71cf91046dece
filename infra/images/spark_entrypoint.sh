#!/usr/bin/env bash
# What a Spark container runs. On a standalone cluster: master, worker. On Kubernetes Spark itself calls driver and
# executor, with the variables that its documentation of custom images names. Anything else is run as it is.
set -euo pipefail

case "${1:-}" in
  master)
    # SPARK_LOCAL_IP: the web page, which has no login, binds to this container's loopback and answers its health check.
    export SPARK_LOCAL_IP=127.0.0.1
    command=(spark-class org.apache.spark.deploy.master.Master
      --host "$(hostname)" --port 7077 --webui-port 8080)
    ;;
  worker)
    export SPARK_LOCAL_IP=127.0.0.1
    command=(spark-class org.apache.spark.deploy.worker.Worker
      --host "$(hostname)" --webui-port 8081 --work-dir /tmp/spark-work "${@:2}")
    ;;
  driver)
    command=(spark-submit
      --conf "spark.driver.bindAddress=$SPARK_DRIVER_BIND_ADDRESS"
      --conf "spark.executorEnv.SPARK_DRIVER_POD_IP=$SPARK_DRIVER_BIND_ADDRESS"
      --deploy-mode client "${@:2}")
    ;;
  executor)
    readarray -t options < <(env | grep '^SPARK_JAVA_OPT_' | sort -t_ -k4 -n | sed 's/[^=]*=\(.*\)/\1/')
    command=("${JAVA_HOME:-/usr}/bin/java" "${options[@]}"
      "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" -cp "$SPARK_CONF_DIR:$SPARK_HOME/jars/*"
      org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend
      --driver-url "$SPARK_DRIVER_URL" --executor-id "$SPARK_EXECUTOR_ID" --cores "$SPARK_EXECUTOR_CORES"
      --app-id "$SPARK_APPLICATION_ID" --hostname "$SPARK_EXECUTOR_POD_IP"
      --resourceProfileId "$SPARK_RESOURCE_PROFILE_ID" --podName "$SPARK_EXECUTOR_POD_NAME")
    ;;
  *)
    command=("$@")
    ;;
esac
exec /opt/darkroom/bin/with_secrets.sh "${command[@]}"
