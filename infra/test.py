"""The test suites, each with its budget on 2 cores: ``python -m infra.test <suite>``; ``all`` runs what CI runs."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Suite:
    """One suite: what it runs and how many minutes it may take on 2 cores."""

    minutes: float
    commands: list[list[str]] = field(default_factory=list)
    extra: str = ""  # the project's extra whose packages it needs and the laptop's environment does without
    threads: int = 2  # of a process


def _pytest(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "--durations=5", *arguments]


# Two processes, each with its own servers; what they share out says tests/groups.py.
TWO = ("-n", "2", "--dist", "loadscope", "--no-loadscope-reorder")


# The main job on HDFS; its server's fixtures are those of the integration suite.
HDFS = ("tests/integration/test_main_job.py::it_goes_from_images_to_predictions_of_one_date[hdfs]",)


def _script(name: str) -> list[str]:
    return [sys.executable, str(ROOT / "benchmarks" / name)]


SUITES = {
    "lint": Suite(0.5, [[str(BIN / "ruff"), "check", "."], [str(BIN / "ruff"), "format", "--check", "."]]),
    "types": Suite(0.5, [[str(BIN / "mypy")]]),
    "unit": Suite(7.5, [_pytest("tests/unit", *TWO)], threads=1),
    "kills": Suite(2.5, [_pytest("tests/crash/test_crash.py", "-n", "2", "--dist", "worksteal")], threads=1),
    "dags": Suite(0.5, [_pytest("tests/dags")]),
    "containers": Suite(1, [_pytest("tests/containers")], extra="kubernetes"),
    "integration": Suite(7.5, [_pytest("tests/integration", "-m", "not faults and not stack", *TWO)], threads=1),
    "e2e": Suite(10, [_pytest("tests/e2e")]),
    "faults": Suite(5, [_pytest("tests/integration", "-m", "faults")]),
    "stack": Suite(
        22, [_pytest("tests/stack/test_stack.py", "tests/stack/test_training_on_workers.py", *HDFS, "-m", "not faults")]
    ),
    "doors": Suite(5, [_pytest("tests/stack/test_stack_doors.py")]),
    "stack-faults": Suite(16, [_pytest("tests/stack", "-m", "faults")]),
    "crash": Suite(60, [_pytest("tests/crash")]),
    "bench": Suite(60, [_script(path.name) for path in sorted((ROOT / "benchmarks").glob("[a-z]*.py"))]),
}
IN_ALL = ("lint", "types", "unit", "kills", "dags", "containers", "integration", "e2e")


def packages_of(extra: str) -> Path:
    """A folder with what an extra needs beyond the environment, of the lock's versions; installed when not there."""
    part = [sys.executable, str(ROOT / "infra" / "images" / "requirements_of.py"), extra]
    wanted = subprocess.run(part, capture_output=True, text=True, check=True).stdout
    folder = ROOT / ".darkroom" / f"{extra}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        command = [str(BIN / "uv"), "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--compile-bytecode"]
        command += ["--python", sys.executable, "--target", str(partial), "-r", "-"]
        subprocess.run(command, input=wanted, text=True, check=True)
        partial.rename(folder)
    return folder


def run(names: list[str]) -> int:
    """Runs the suites in order, all of them even when one fails; returns the exit code."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # or each of some hundred processes compiles what it imports
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    environment["PATH"] = f"{BIN}{os.pathsep}{environment.get('PATH', os.defpath)}"
    lines = []
    failed = False
    for name in names:
        suite, started = SUITES[name], time.monotonic()
        print(f"\n=== {name} (budget {suite.minutes:g} min on 2 cores)", flush=True)
        path = environment["PYTHONPATH"]
        if suite.extra:
            path = os.pathsep.join([path, str(packages_of(suite.extra))])
        own = environment | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(suite.threads)}
        codes = [subprocess.run(command, cwd=ROOT, env=own, check=False).returncode for command in suite.commands]
        minutes = (time.monotonic() - started) / 60
        state = "failed" if any(codes) else "passed"
        over = "  OVER ITS BUDGET" if minutes > suite.minutes else ""
        lines.append(f"{name:<12} {state:<7} {minutes:5.1f} of {suite.minutes:g} min{over}")
        failed = failed or any(codes)
    print("\n" + "\n".join(lines), flush=True)
    return int(failed)


def main() -> int:
    wanted = sys.argv[1:]
    unknown = [name for name in wanted if name != "all" and name not in SUITES]
    if not wanted or unknown:
        print(
            f"usage: python -m infra.test all | {' | '.join(SUITES)}   (received: {' '.join(wanted) or 'nothing'})",
            file=sys.stderr,
        )
        return 2
    return run([part for name in wanted for part in (IN_ALL if name == "all" else (name,))])


if __name__ == "__main__":
    sys.exit(main())
