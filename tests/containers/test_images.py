"""The Dockerfile as BuildKit reads it, the lock's parts that go into each image, and the scripts inside."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from infra.images.requirements_of import entries, select

pytestmark = pytest.mark.containers

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("airflow", "spark", "mlflow")
PARTS = (*IMAGES, "spark-training")
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SCRIPTS = sorted((ROOT / "infra" / "images").glob("*.sh"))


def ancestry(stages, name):
    """The stage's instructions and those of the stages that it is built on, nearest first."""
    while name in stages:
        yield from reversed(stages[name]["Instructions"])
        name = stages[name]["Base"]


@pytest.mark.parametrize("image", IMAGES)
def it_runs_an_image_as_a_plain_user(stages, image):
    user = next(one["Details"]["User"] for one in ancestry(stages, image) if one["Name"] == "user")
    assert user == "${CONTAINER_UID}"
    uid = next(
        argument["Value"]
        for one in ancestry(stages, image)
        if one["Name"] == "arg"
        for argument in one["Details"]["Args"]
        if argument["Key"] == "CONTAINER_UID"
    )
    assert int(uid) > 0


@pytest.mark.parametrize("image", IMAGES)
def it_leaves_compilers_and_caches_behind(stages, image):
    base = stages[image]["Base"]
    while base in stages:
        assert base in ("base", "java"), base
        base = stages[base]["Base"]
    assert any(one["Details"].get("From", "").endswith("-packages") for one in stages[image]["Instructions"])


def it_copies_only_what_the_build_context_lets_through(stages):
    allowed = [line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    for stage in stages.values():
        for one in stage["Instructions"]:
            if one["Name"] == "copy" and not one["Details"]["From"]:
                for source in one["Details"]["SourcePaths"]:
                    assert (ROOT / source).exists(), source
                    assert any(f"{source.rstrip('/')}/".startswith(f"{path}/") for path in allowed), source
            if one["Name"] == "copy" and one["Details"]["From"]:
                assert one["Details"]["From"] in stages


def it_pins_the_base_image_and_installs_by_hash(stages):
    text = (ROOT / "infra/images/Dockerfile").read_text()
    (pinned,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", text, flags=re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-[a-z]+", pinned)
    assert {stage["Base"] for stage in stages.values()} - set(stages) == {"${PYTHON_IMAGE}"}
    for line in re.findall(r"(?:uv )?pip install [^&\n]+", text):
        assert "--require-hashes" in line or "--no-deps /dist/" in line, line
    assert not re.search(r"--build-arg \S*(SECRET|PASSWORD|KEY)", text)


@pytest.mark.parametrize("image", PARTS)
def it_gives_an_image_everything_that_its_packages_ask_for(image):
    chosen = entries(select(image, LOCK, PROJECT))
    here = {one.metadata["Name"].lower().replace("_", "-").replace(".", "-"): one for one in metadata.distributions()}
    checked = 0
    for name in chosen:
        if name not in here:
            continue  # a package of another platform or Python
        checked += 1
        for line in here[name].requires or []:
            wanted = Requirement(line)
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
                assert wanted.name.lower().replace("_", "-").replace(".", "-") in chosen, (name, line)
    assert checked > 50
    assert all("--hash=sha256:" in block for block, _ in chosen.values())


def it_keeps_what_an_image_does_not_run_out_of_it():
    spark, mlflow = (set(entries(select(image, LOCK, PROJECT))) for image in ("spark", "mlflow"))
    assert not {name for name in spark if name.startswith(("apache-airflow", "tensorflow"))}
    assert {"pyspark", "onnxruntime", "deltalake", "great-expectations", "mlflow", "scikit-learn", "mahotas"} <= spark
    training = set(entries(select("spark-training", LOCK, PROJECT)))
    assert {"tensorflow", "tf2onnx"} | spark <= training
    assert not {name for name in training if name.startswith("apache-airflow")}
    assert not {name for name in mlflow if name.startswith(("apache-airflow", "tensorflow", "pyspark"))}
    assert {"mlflow", "psycopg2-binary", "boto3", "flask-wtf"} <= mlflow
    airflow = set(entries(select("airflow", LOCK, PROJECT)))
    assert {"apache-airflow-providers-cncf-kubernetes", "apache-airflow-providers-fab", "tensorflow"} <= airflow
    assert not {"pytest", "mypy", "ruff"} & (airflow | spark | mlflow)


def it_refuses_an_image_that_is_none():
    with pytest.raises(SystemExit, match="'worker' is no image"):
        select("worker", LOCK, PROJECT)


def it_says_when_the_lock_is_behind_the_project():
    with pytest.raises(SystemExit, match=r"not-locked.*make lock"):
        select("airflow", LOCK, {**PROJECT, "dependencies": [*PROJECT["dependencies"], "not-locked>=1"]})


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def it_has_scripts_that_their_shell_can_read(script):
    assert script.stat().st_mode & 0o111
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert "set -eu" in script.read_text()


def it_hands_a_command_the_content_of_its_secret_files(tmp_path):
    text = (ROOT / "infra/images/with_secrets.sh").read_text()
    secret = tmp_path / "secret"
    secret.write_text("a b'c$d")
    script = tmp_path / "with_secrets.sh"
    script.write_text(text.replace("/run/secrets/", f"{tmp_path}/"))
    show = "import os; print(os.environ['ONE'], 'ONE_FILE' in os.environ, os.environ['OTHER_FILE'])"
    done = subprocess.run(
        ["bash", str(script), sys.executable, "-c", show],
        env={"ONE_FILE": str(secret), "OTHER_FILE": "/elsewhere", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "a b'c$d False /elsewhere\n", done.stderr
    gone = subprocess.run(
        ["bash", str(script), "true"], env={"ONE_FILE": f"{tmp_path}/absent"}, capture_output=True, check=False
    )
    assert gone.returncode != 0
