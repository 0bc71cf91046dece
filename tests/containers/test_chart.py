"""The chart, linted and rendered by Helm with several values, each manifest checked against Kubernetes' own schema."""

from __future__ import annotations

import copy
import json
import re

import pytest
import yaml

from darkroom.settings import Settings
from infra import container_secrets
from tests.containers.manifests import CHART, VERSION, containers, embedded_pods, pods, problems, refusal, template
from tests.containers.programs import helm

pytestmark = pytest.mark.containers

EXTERNAL = (
    *("--set", "postgresql.enabled=false", "--set", "postgresql.host=db.example.org"),
    *("--set", "s3.enabled=false", "--set", "s3.endpoint=https://s3.example.org", "--set", "lake=s3://images/lake"),
)
VARIANTS = {
    "defaults": (),
    "external": EXTERNAL,
    "aws": (*EXTERNAL[:4], "--set", "s3.enabled=false", "--set", "s3.region=eu-central-1"),
    "open": ("--set", "networkPolicy.enabled=false", "--set", "airflow.logs.existingClaim=logs"),
    "private": (
        *("--set", "images.pullSecrets={registry}", "--set", "settings.DARKROOM_TRAIN_SCHEDULE=0 3 * * 0"),
        *("--set", "networkPolicy.allowFrom[0].namespaceSelector.matchLabels.name=ingress"),
        *("--set", "postgresql.storageClass=fast,s3.storageClass=fast,airflow.logs.storageClass=shared"),
    ),
}


@pytest.fixture(scope="module", params=VARIANTS)
def manifests(request):
    return template(*VARIANTS[request.param])


@pytest.mark.parametrize("variant", VARIANTS)
def it_lints(variant):
    done = helm("lint", "--strict", "--kube-version", VERSION, str(CHART), *VARIANTS[variant])
    assert done.returncode == 0, done.stdout + done.stderr


def it_renders_what_kubernetes_accepts(manifests):
    wrong = [line for one in [*manifests, *embedded_pods(manifests).values()] for line in problems(one)]
    assert wrong == []
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(names) == len(set(names))
    assert {one["metadata"]["namespace"] for one in manifests} == {"imaging"}


def the(kind, name, manifests):
    """The one manifest of this kind and name."""
    (found,) = [one for one in manifests if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


def it_would_see_a_wrong_manifest():
    deployment = the("Deployment", "demo-mlflow", template())
    for spoil in (
        lambda spec: spec.update(replica=1),
        lambda spec: spec.update(replicas="1"),
        lambda spec: spec["template"]["spec"]["containers"][0].update(securityContexts={}),
        lambda spec: spec["template"]["spec"]["containers"][0].pop("name"),
        lambda spec: spec.update(selector=None),
    ):
        spoiled = copy.deepcopy(deployment)
        spoil(spoiled["spec"])
        assert problems(spoiled)


def it_runs_every_pod_as_a_plain_user_without_capabilities(manifests):
    for name, pod in pods(manifests):
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, name
        assert context["runAsUser"] > 0, name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod["spec"]), name
        assert not any("hostPath" in volume for volume in pod["spec"].get("volumes", [])), name
        for container in containers(pod):
            own = container["securityContext"]
            assert own == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}, name


def it_states_image_resources_and_probes_of_every_container(manifests):
    for name, pod in pods(manifests):
        for container in containers(pod):
            if name == "demo-spark":
                continue  # Spark adds image and resources of its pods from its own configuration
            assert re.fullmatch(r"\S+:v?\d+\.\d+\S*", container["image"]), name
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name
    for one in manifests:
        if one["kind"] in ("Deployment", "StatefulSet"):
            for container in one["spec"]["template"]["spec"]["containers"]:
                assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container), one["metadata"]["name"]


def it_takes_every_secret_by_reference(manifests):
    assert not [one for one in manifests if one["kind"] == "Secret"]
    secret = re.compile(r"PASSWORD(?!_FILE)|SECRET(?!S_FOLDER)|ACCESS_KEY|FERNET")
    used = set()
    for name, pod in pods(manifests):
        for container in containers(pod):
            for variable in container.get("env", []):
                if secret.search(variable["name"]):
                    reference = variable["valueFrom"]["secretKeyRef"]
                    assert reference["name"] == "darkroom", (name, variable)
                    used.add(reference["key"])
        for volume in pod["spec"].get("volumes", []):
            if "secret" in volume:
                assert int(volume["secret"]["defaultMode"]) & 0o007 == 0, name
                used |= {item["key"] for item in volume["secret"]["items"]}
    for one in manifests:
        if one["kind"] == "ConfigMap":
            assert not [key for key in one["data"] if secret.search(key)]
    assert used <= set(container_secrets.NAMES)


def it_gives_a_task_no_key_of_airflow_and_no_database(manifests):
    task = embedded_pods(manifests)["demo-airflow-task"]
    names = {variable["name"] for variable in task["spec"]["containers"][0]["env"]}
    assert names == {"DARKROOM_S3_ACCESS_KEY", "DARKROOM_S3_SECRET_KEY", "MLFLOW_TRACKING_PASSWORD"}


def it_sets_only_settings_that_exist(manifests):
    known = {f"DARKROOM_{name.upper()}" for name in Settings.model_fields}
    text = yaml.safe_dump_all(manifests)
    ours = set(re.findall(r"\bDARKROOM_[A-Z0-9_]+", text))
    assert ours
    assert ours <= known, ours - known


def it_lets_only_three_accounts_talk_to_the_cluster(manifests):
    accounts = {one["metadata"]["name"] for one in manifests if one["kind"] == "ServiceAccount"}
    assert accounts == {"demo-scheduler", "demo-task", "demo-spark"}
    for name, pod in pods(manifests):
        account = pod["spec"].get("serviceAccountName")
        if account is None and name != "demo-spark":  # Spark puts the driver's account in
            assert pod["spec"]["automountServiceAccountToken"] is False, name
    for role in (one for one in manifests if one["kind"] == "Role"):
        for rule in role["rules"]:
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
            assert not {"secrets", "pods/exec", "serviceaccounts", "roles"} & set(rule["resources"])
    assert not [one for one in manifests if one["kind"].startswith("ClusterRole")]


def it_submits_spark_jobs_to_the_cluster_in_cluster_mode(manifests):
    airflow = the("ConfigMap", "demo-airflow", manifests)["data"]
    connection = json.loads(airflow["AIRFLOW_CONN_SPARK_DEFAULT"])
    assert connection["host"].startswith("k8s://https://")
    assert connection["extra"] == {"deploy-mode": "cluster", "namespace": "imaging"}
    assert airflow["AIRFLOW__CORE__EXECUTOR"] == "KubernetesExecutor"
    spark = the("ConfigMap", "demo-spark", manifests)["data"]
    conf = dict(line.split(" ", 1) for line in spark["spark-defaults.conf"].splitlines())
    assert conf["spark.ui.enabled"] == "false"
    assert conf["spark.authenticate"] == "true"
    assert conf["spark.kubernetes.driver.secretKeyRef.DARKROOM_S3_SECRET_KEY"] == "darkroom:lake-secret-key"
    assert conf["spark.kubernetes.authenticate.driver.serviceAccountName"] == "demo-spark"


def it_publishes_nothing_outside_the_cluster(manifests):
    services = [one for one in manifests if one["kind"] == "Service"]
    assert {one["spec"].get("type", "ClusterIP") for one in services} == {"ClusterIP"}
    assert not [one for one in manifests if one["kind"] == "Ingress"]


def it_selects_the_pods_that_it_makes(manifests):
    labels = [pod["metadata"]["labels"] for _, pod in pods(manifests)]
    selectors = [one["spec"]["selector"] for one in manifests if one["kind"] == "Service"]
    selectors += [one["spec"]["podSelector"]["matchLabels"] for one in manifests if one["kind"] == "NetworkPolicy"]
    for selector in selectors:
        assert any(selector.items() <= one.items() for one in labels), selector


def it_opens_a_port_only_to_those_who_need_it():
    policies = {one["metadata"]["name"]: one["spec"] for one in template() if one["kind"] == "NetworkPolicy"}
    assert "ingress" not in policies["demo-closed"]
    (rule,) = policies["demo-postgresql"]["ingress"]
    (peers,) = rule["from"]
    assert rule["ports"] == [{"port": 5432, "protocol": "TCP"}]
    allowed = peers["podSelector"]["matchExpressions"][0]["values"]
    assert set(allowed) == {"api", "scheduler", "dags", "triggerer", "init", "mlflow"}
    assert policies["demo-postgresql"]["egress"] == []
    components = {pod["metadata"]["labels"]["app.kubernetes.io/component"] for _, pod in pods(template())}
    for spec in policies.values():
        for one in spec.get("ingress", []):
            for peer in one["from"]:
                for expression in peer["podSelector"].get("matchExpressions", []):
                    assert set(expression["values"]) <= components


def it_leaves_out_what_is_outside():
    names = {one["metadata"]["name"] for one in template(*EXTERNAL)}
    assert not {"demo-postgresql", "demo-s3", "demo-s3-init-1"} & names
    text = yaml.safe_dump_all(template(*EXTERNAL))
    assert "airflow@db.example.org:5432/airflow" in text
    assert "https://s3.example.org" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "images.airflow=darkroom-airflow:latest"), "images.airflow|images/airflow"),
        (("--set", "images.airflow=darkroom-airflow"), "images.airflow|images/airflow"),
        (("--set", "postgresql.enabled=false"), "postgresql"),
        (("--set", "settings.DARKROOM_S3_SECRET_KEY=x"), "DARKROOM_S3_SECRET_KEY"),
        (("--set", "airflow.replicas=2"), "airflow"),
        (("--set", "mlflow.allowedHosts={*}"), "allowedHosts"),
        (("--set", "lake=/home/me/lake"), "lake"),
        (("--set", "spark.master=spark://master:7077"), "spark"),
    ],
)
def it_refuses_values_that_cannot_work(arguments, said):
    assert re.search(said, refusal(*arguments))
