"""What every kind of model reaches on real images: ``make bench-models ROWS="xray ct" SEEDS=5``.

Measures what docs/model-results.json lacks for the configs as they are, a process a config and seed, and writes
docs/model-results.md. Hours of work: it can be stopped at any time, and what was measured is not measured again. The
lake lies in .darkroom/bench-models.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.models.rows import ROWS, SPEEDS, Row, Speed
from benchmarks.models.table import page
from darkroom.codedigest import code_digest
from darkroom.settings import get_settings
from training.config import load_config, wanted_features

ROOT = Path(__file__).resolve().parents[2]
RESULTS, PAGE = ROOT / "docs" / "model-results.json", ROOT / "docs" / "model-results.md"


def prepared(row: Row, home: Path) -> dict[str, str]:
    """The row's dataset on the lake, with what its configs read: {"dataset", "version", "split_id"}."""
    from darkroom.sources import fetch, parse_source
    from darkroom.splitting_flow import split_dataset
    from darkroom.storage import open_lake
    from spark_apps.jobs import manifest, preprocess

    form = row.request(home / "samples")
    raw = fetch(parse_source(form.source_config()), form.dataset, open_lake())
    made = manifest.make({"dataset": form.dataset, "raw_index": raw.index_path, "layout": form.layout()})
    asked = {"dataset": form.dataset, "version": made["version"]}
    split = split_dataset(open_lake(), {**asked, "options": form.split_options()})
    chosen = {**asked, "split_id": split["split_id"]}
    configs = [load_config(name) for name in row.configs]
    transforms = {config.transform.hash: config.transform.model_dump(mode="json") for config in configs}
    preprocess.make({**chosen, "transforms": list(transforms.values()), "features": wanted_features(configs)})
    return chosen


def measured(row: Row, chosen: dict[str, str], config: str, seed: int) -> dict[str, Any]:
    """One fit (or five, on folds) in a process of its own, with what it took."""
    task = {"row": row.name, "config": config, "seed": seed, "kfold": row.kfold, **chosen}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, str(Path(__file__).with_name("measure.py")), json.dumps(task)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        **{name: task[name] for name in ("row", "config", "seed")},
        **_stamp(),
        "config_digest": load_config(config).digest,
        "minutes": round((time.monotonic() - began) / 60, 2),
        "cpu_minutes": round(spent / 60, 2),
        **json.loads(done.stdout.splitlines()[-1]),
    }


def timed(speed: Speed) -> dict[str, Any]:
    """What a benchmark of speed says, in a process of its own."""
    command = [sys.executable, str(ROOT / "benchmarks" / speed.script)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    words = [line.rstrip() for line in done.stdout.splitlines() if not line.startswith("{")]
    return {"row": speed.name, **_stamp(), "text": "\n".join(words).strip()}


def _stamp() -> dict[str, str]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "code": code_digest()[:12],
        "machine": f"{os.cpu_count()} x {platform.machine()}",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    known = [row.name for row in (*ROWS, *SPEEDS)]
    parser.add_argument("--rows", nargs="*", default=known, choices=known)
    parser.add_argument("--configs", nargs="*", default=[], help="only these of each row")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--again", action="store_true", help="also what was measured; the newest figures count")
    asked = parser.parse_args()
    home = ROOT / ".darkroom" / "bench-models"
    home.mkdir(parents=True, exist_ok=True)
    os.environ.update(DARKROOM_LAKE=str(home / "lake"), PYSPARK_PYTHON=sys.executable)
    os.environ["SPARK_CONF_DIR"] = str(ROOT / "infra/local/spark")
    get_settings.cache_clear()
    results = _results()
    for row in (row for row in ROWS if row.name in asked.rows):
        todo = [
            (config, seed)
            for seed in range(asked.seeds)
            for config in row.configs
            if not asked.configs or config in asked.configs
            if asked.again or not any(_same(one, row, config, seed) for one in results)
        ]
        chosen = prepared(row, home) if todo else {}
        for config, seed in todo:
            print(f"{row.name}: {config}, seed {seed}", file=sys.stderr, flush=True)
            found = measured(row, chosen, config, seed)
            print(json.dumps(found["metrics"]), flush=True)
            results = _keep(found)
    for speed in (speed for speed in SPEEDS if speed.name in asked.rows):
        if asked.again or not any(one["row"] == speed.name for one in results):
            print(speed.title, file=sys.stderr, flush=True)
            results = _keep(timed(speed))
    PAGE.write_text(page(_results()))
    return 0


def _results() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    return found


def _keep(found: dict[str, Any]) -> list[dict[str, Any]]:
    results = [*_results(), found]  # another process may have added some
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(page(results))
    return results


def _same(one: dict[str, Any], row: Row, config: str, seed: int) -> bool:
    """Whether it was measured with these options. Other code may measure otherwise; the table says which it was."""
    asked = {"row": row.name, "config": config, "seed": seed, "config_digest": load_config(config).digest}
    return all(one.get(name) == value for name, value in asked.items())


if __name__ == "__main__":
    sys.exit(main())
