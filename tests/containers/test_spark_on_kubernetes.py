"""SparkJobOperator through a k8s:// connection: the real operator and the real spark-submit.

A cluster cannot be had here. What stands in for its API server keeps what is sent to it and answers as the API does for
the few requests that are made; in place of the driver pod it leaves the outcome that a driver would.
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from darkroom.errors import InvalidRequest, MachineryError
from darkroom.settings import get_settings
from tests.integration.servers import left_out

pytestmark = [pytest.mark.containers, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
SECRET = "a-secret-that-no-manifest-may-hold"


class Cluster:
    """What was sent to the API server, and what becomes of a driver pod."""

    def __init__(self, lake: Path) -> None:
        self.lake = lake
        self.sent: list[dict] = []
        self.pods: dict[str, dict] = {}
        self.outcome: tuple[str, dict] | None = ("result.json", {"changed": True})
        self.starts = True

    def accept(self, thing: dict) -> dict:
        self.sent.append(thing)
        thing["metadata"] |= {"uid": f"uid-{len(self.sent)}", "resourceVersion": "1"}
        if thing["kind"] == "Pod":
            self.pods[thing["metadata"]["name"]] = thing | {"status": {"phase": "Running"}}
            if self.starts:
                self.finish(thing["metadata"]["name"])
        return thing

    def finish(self, name: str) -> None:
        """The driver does its work and ends."""
        arguments = self.pods[name]["spec"]["containers"][0]["args"]
        if self.outcome:
            file, content = self.outcome
            place = self.lake / arguments[arguments.index("--outcome") + 1]
            place.mkdir(parents=True)
            (place / file).write_text(json.dumps(content))
        good = self.outcome is not None and self.outcome[0] == "result.json"
        self.pods[name]["status"]["phase"] = "Succeeded" if good else "Failed"

    def server(self) -> ThreadingHTTPServer:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.answer(201, cluster.accept(self.body() | {"sent_to": self.path}))

            def do_PATCH(self) -> None:
                self.answer(200, cluster.accept(self.body()))

            def do_GET(self) -> None:
                pod = cluster.pods.get(self.path.split("?")[0].rpartition("/")[2])
                status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
                self.answer(200, pod) if pod else self.answer(404, status)

            def do_DELETE(self) -> None:
                self.answer(200, cluster.pods.pop(self.path.split("?")[0].rpartition("/")[2], {}))

            def body(self) -> dict:
                return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

            def answer(self, code: int, content: dict) -> None:
                data = json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    try:
        import airflow.providers.cncf.kubernetes.kube_client  # noqa: F401 - whether it is there
    except ImportError:
        left_out("SparkJobOperator on Kubernetes", "its provider is not installed here. Run: make containers")
    cluster = Cluster(tmp_path / "lake")
    server = cluster.server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "users": [{"name": "me", "user": {"token": "none"}}],
    }  # fmt: skip
    (tmp_path / "kubeconfig").write_text(json.dumps(config))
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "log4j2.properties").write_text((ROOT / "infra/images/spark/log4j2.properties").read_text())
    (conf / "spark-defaults.conf").write_text(
        "spark.kubernetes.container.image darkroom-spark:0.1.0\n"
        "spark.kubernetes.driver.secretKeyRef.DARKROOM_S3_SECRET_KEY darkroom:lake-secret-key\n"
    )
    connection = {
        "conn_type": "spark", "host": f"k8s://{url}", "extra": {"deploy-mode": "cluster", "namespace": "imaging"},
    }  # fmt: skip
    for name, value in {
        "AIRFLOW_CONN_SPARK_DEFAULT": json.dumps(connection),
        "AIRFLOW__KUBERNETES_EXECUTOR__IN_CLUSTER": "False",
        "AIRFLOW__KUBERNETES_EXECUTOR__CONFIG_FILE": str(tmp_path / "kubeconfig"),
        "KUBECONFIG": str(tmp_path / "kubeconfig"),
        "SPARK_CONF_DIR": str(conf),
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "DARKROOM_LAKE": str(cluster.lake),
        "DARKROOM_S3_SECRET_KEY": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    yield cluster
    server.shutdown()
    server.server_close()
    thread.join()
    get_settings.cache_clear()


@pytest.fixture
def context(monkeypatch):
    """What Airflow hands to each attempt of one task: its task instance, and what earlier attempts remembered."""
    kept: dict[str, object] = {}
    state = SimpleNamespace(get=kept.get, set=lambda key, value, **_: kept.__setitem__(key, value))
    ti = SimpleNamespace(dag_id="prepare_dataset", task_id="manifest", stats_tags={}, xcom_push=lambda *_: None)
    monkeypatch.setenv("DARKROOM_RUN", "")  # a task sets it in its own process
    return {"ti": ti, "task_state_store": state, "dag_run": SimpleNamespace(dag_id="prepare_dataset", run_id="by hand")}


def attempt():
    """A new attempt's operator, in what would be a new process."""
    from darkroom_airflow.operators import SparkJobOperator

    return SparkJobOperator(
        task_id="manifest", conn_id="spark_default", job="spark_apps.jobs.manifest", request={"dataset": "phantom"}
    )


def drivers(cluster):
    return [one for one in cluster.sent if one["kind"] == "Pod"]


def it_submits_one_driver_pod_and_returns_what_it_left_in_the_lake(cluster, context):
    cluster.outcome = ("result.json", {"version": "abc"})
    assert attempt().execute(context) == {"version": "abc"}
    (pod,) = drivers(cluster)
    container = pod["spec"]["containers"][0]
    assert pod["sent_to"].startswith("/api/v1/namespaces/imaging/pods")
    assert re.fullmatch(r"darkroom-[0-9a-f]{32}-driver", pod["metadata"]["name"])
    assert container["image"] == "darkroom-spark:0.1.0"
    assert container["args"][0] == "driver"
    assert f"local://{ROOT}/spark_apps/jobs/manifest.py" in container["args"]
    run = next(one for one in container["env"] if one["name"] == "DARKROOM_RUN")
    assert run["value"].endswith("/dags/prepare_dataset/runs/by%20hand")
    secret = next(one for one in container["env"] if one["name"] == "DARKROOM_S3_SECRET_KEY")
    assert secret["valueFrom"]["secretKeyRef"] == {"name": "darkroom", "key": "lake-secret-key"}
    assert SECRET not in json.dumps(cluster.sent)


def it_waits_for_the_driver_of_an_attempt_that_died(cluster, context):
    class Died(BaseException):
        """The attempt's process is gone: nothing of it runs on."""

    first = attempt()
    cluster.starts = False

    def die(*_):
        raise Died

    first.poll_until_complete = die
    with pytest.raises(Died):
        first.execute(context)
    (pod,) = drivers(cluster)
    cluster.outcome = ("result.json", {"version": "of the first driver"})
    cluster.finish(pod["metadata"]["name"])
    assert attempt().execute(context) == {"version": "of the first driver"}
    assert len(drivers(cluster)) == 1


def it_raises_the_drivers_own_error_and_starts_anew_on_the_next_attempt(cluster, context):
    cluster.outcome = ("error.json", InvalidRequest("The dataset has no images.").as_dict())
    with pytest.raises(InvalidRequest, match="no images"):
        attempt().execute(context)
    cluster.outcome = ("result.json", {"version": "second"})
    assert attempt().execute(context) == {"version": "second"}
    assert len({one["metadata"]["name"] for one in drivers(cluster)}) == 2


def it_says_so_when_a_driver_ended_without_an_outcome(cluster, context):
    cluster.outcome = None
    with pytest.raises(MachineryError, match="ended without a result"):
        attempt().execute(context)
