"""The part of requirements.lock that one image, or a laptop, needs, hashes and all.

``python requirements_of.py airflow``, or ``spark``, ``spark-training``, ``mlflow``, ``wheel``, ``laptop``; or an extra
of the project, such as ``kubernetes`` or ``openlineage``: what it needs and a laptop does without.

The lock file says for each package which others asked for it (``# via``), so the closure of a few names is found
without a registry: every image gets the very versions and files that the laptop has. Standard library only, since it
runs before anything is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

# Spark's drivers and workers decode, validate, and train with MLlib and scikit-learn. Airflow is not theirs.
NOT_IN_SPARK = ("apache-airflow", "asyncpg", "boto3", "psycopg2", "supervisor", "venv-pack")
# Theirs only where networks are trained on the cluster: half of the image.
NETWORKS = ("tensorflow", "tf2onnx")
# Extras that the Airflow image has and a laptop does without.
LEFT_OUT = ("kubernetes", "openlineage")
MLFLOW = ("mlflow", "psycopg2-binary", "boto3", "flask-wtf")


def roots(image: str, project: dict[str, Any]) -> set[str]:
    """The names that an image starts from. Raises SystemExit for an unknown image."""
    direct = {_name(line) for line in project["dependencies"]}
    extras = project["optional-dependencies"]
    if image == "airflow":
        return direct | {_name(line) for extra in LEFT_OUT for line in extras[extra]}
    if image == "laptop":
        return direct | {_name(line) for line in extras["dev"]}
    if image in LEFT_OUT:
        return direct | {_name(line) for line in extras[image]}
    if image == "spark-training":
        return {name for name in direct if not name.startswith(NOT_IN_SPARK)}
    if image == "spark":
        return roots("spark-training", project) - set(NETWORKS)
    if image == "mlflow":
        return set(MLFLOW)
    if image == "wheel":
        return {"setuptools"}
    known = ", ".join(("airflow", "spark", "spark-training", "mlflow", "wheel", "laptop", *LEFT_OUT))
    raise SystemExit(f"requirements_of.py: {image!r} is no image. Expected one of {known}.")


def entries(lock: str) -> dict[str, tuple[str, set[str]]]:
    """Each package of the lock: its lines, and the names of the packages that asked for it."""
    found: dict[str, tuple[str, set[str]]] = {}
    for block in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]:
        parents = re.findall(r"^    #(?: via)? +([a-z0-9][a-z0-9.-]*)", block, flags=re.MULTILINE)
        name = _name(block)
        lines, earlier = found.get(name, ("", set()))  # one name can have a version for each Python
        found[name] = (lines + block, earlier | set(parents))
    return found


def select(image: str, lock: str, project: dict[str, Any]) -> str:
    """The lock's entries that ``image`` needs. Raises SystemExit when a name is not in the lock."""
    found = entries(lock)
    wanted = roots(image, project)
    if missing := wanted - set(found):
        raise SystemExit(f"requirements_of.py: {', '.join(sorted(missing))} not in requirements.lock. Run: make lock")
    while more := {name for name, (_, parents) in found.items() if name not in wanted and parents & wanted}:
        wanted |= more
    if image in LEFT_OUT:
        wanted -= set(entries(select("laptop", lock, project)))
    return "".join(found[name][0] for name in sorted(wanted))


def _name(line: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", line.strip(), maxsplit=1)[0].lower()


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    print(select(sys.argv[1], (ROOT / "requirements.lock").read_text(), project), end="")
