"""The kind pyfunc: what is refused before a model is fetched, and that nothing of it runs while it is checked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from darkroom.cli import main
from darkroom.errors import DarkroomError, InvalidRequest, MachineryError, ModelError, SourceError
from darkroom.package import unzipped
from darkroom.pyfunc.folder import folder_digest
from darkroom.settings import get_settings
from darkroom.storage import Storage, open_storage
from tests.packages import TRANSFORM, write_dataset
from tests.pyfuncs import model_files, tensor, written
from training.config import parse_config
from training.data import read_split
from training.kinds import Job, fit

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, Any]:
    lake = open_storage(str(tmp_path_factory.mktemp("pyfunc") / "lake"))
    asked = write_dataset(lake, "lamps", [TRANSFORM], train=4, other=4)
    return lake, read_split(lake, "lamps", asked["split_id"])


@pytest.fixture(autouse=True)
def allowed(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty allow-list; no environment is built by any test, and no model's code leaves its mark."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DARKROOM_MLFLOW_TRACKING_URI", f"sqlite:///{shutil.copy(empty_store, tmp_path)}")
    monkeypatch.setenv("DARKROOM_ALLOWED_MODELS", str(tmp_path / "allowed.yaml"))
    monkeypatch.setenv("DARKROOM_ENVIRONMENTS", str(tmp_path / "environments"))
    (tmp_path / "allowed.yaml").write_text("[]")
    get_settings.cache_clear()
    yield tmp_path / "allowed.yaml"
    get_settings.cache_clear()
    assert not (tmp_path / "environments").exists()
    assert not (tmp_path / "ran").exists()


def job_of(dataset: tuple[Storage, Any], uri: Path | str, digest: str, **changes: Any) -> Job:
    lake, split = dataset
    transform = {"width": TRANSFORM.width, "height": TRANSFORM.height}
    options = {"name": "mine", "kind": "pyfunc", "transform": transform, "uri": str(uri), "model_digest": digest}
    return Job(lake, "lamps", split, parse_config(options | changes), 0)


def allow(path: Path, uri: Path | str, digest: str) -> None:
    path.write_text(yaml.safe_dump([{"uri": str(uri), "digest": digest}]))


def it_refuses_what_is_not_allowed_before_it_fetches_anything(dataset: tuple[Storage, Any], allowed: Path) -> None:
    for uri in ("/no/such/folder", "models:/nobody/1", "http://127.0.0.1:9/model", "s3://no-bucket/model"):
        with pytest.raises(ModelError, match="is not allowed here: none of the 0 entries"):
            fit(job_of(dataset, uri, "a" * 64))


def it_takes_an_allowed_model_as_it_is(dataset: tuple[Storage, Any], allowed: Path, tmp_path: Path) -> None:
    files = model_files(tmp_path / "ran")
    folder, digest = written(tmp_path / "model", files), folder_digest(files)
    allow(allowed, folder, digest)
    fitted = fit(job_of(dataset, folder, digest, classes=["DARK", "BRIGHT"]))
    assert fitted.pyfunc is not None
    assert fitted.pyfunc.model_dump() == {"uri": str(folder), "digest": digest, "classes": ("DARK", "BRIGHT")}
    assert unzipped(fitted.graph) == files
    assert fit(job_of(dataset, folder, digest)).pyfunc == fitted.pyfunc.model_copy(
        update={"classes": ("BRIGHT", "DARK")}
    )


def it_refuses_a_model_that_is_another_one_by_now(dataset: tuple[Storage, Any], allowed: Path, tmp_path: Path) -> None:
    files = model_files(tmp_path / "ran")
    folder, digest = written(tmp_path / "model", files), folder_digest(files)
    allow(allowed, folder, digest)
    (folder / "m.py").write_text("import os")
    with pytest.raises(ModelError, match=rf"has the digest \w{{64}}. Expected {digest}.*was changed"):
        fit(job_of(dataset, folder, digest))


@pytest.mark.parametrize(
    ("files", "changes", "error", "told"),
    [
        (model_files(inputs=[tensor("uint8", -1, 8, 8, 1)]), {}, ModelError, "takes uint8"),
        (model_files(outputs=[tensor("float32", -1, 3)]), {}, ModelError, "a probability for each of the 2 classes"),
        (model_files(inputs=[{"type": "double", "name": "x"}]), {}, ModelError, "one TensorSpec"),
        ({"notes.txt": b"no model"}, {}, ModelError, "holds no MLmodel"),
        ({}, {}, SourceError, "has no folder of files"),
        (model_files(), {"classes": ["BRIGHT", "RED"]}, InvalidRequest, "Expected those of the dataset"),
        (model_files(), {"classes": ["BRIGHT", "DARK", "RED"]}, InvalidRequest, "Expected those of the dataset"),
    ],
)
def it_refuses_a_model_that_does_not_fit(
    dataset: tuple[Storage, Any],
    allowed: Path,
    tmp_path: Path,
    files: dict[str, bytes],
    changes: dict[str, Any],
    error: type[DarkroomError],
    told: str,
) -> None:
    (tmp_path / "model").mkdir()
    folder, digest = written(tmp_path / "model", files), folder_digest(files)
    allow(allowed, folder, digest)
    with pytest.raises(error, match=told):
        fit(job_of(dataset, folder, digest, **changes))


def it_refuses_a_model_that_is_nowhere_or_too_large(
    dataset: tuple[Storage, Any], allowed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for uri, error in {
        tmp_path / "nowhere": SourceError,
        "models:/nobody/1": SourceError,
        "runs:/0123/model": SourceError,
        "gopher://x/y": MachineryError,
    }.items():
        allow(allowed, uri, "a" * 64)
        with pytest.raises(error, match=r"cannot be fetched .*Expected an address that MLflow knows"):
            fit(job_of(dataset, uri, "a" * 64))
    folder = written(tmp_path / "model", model_files())
    allow(allowed, folder, "a" * 64)
    monkeypatch.setenv("DARKROOM_MAX_WEIGHTS_BYTES", "100")
    get_settings.cache_clear()
    with pytest.raises(SourceError, match=r"Expected at most 100.*DARKROOM_MAX_WEIGHTS_BYTES"):
        fit(job_of(dataset, folder, "a" * 64))


@pytest.mark.parametrize(
    "wrong",
    [
        {"model_digest": "abc"},
        {"classes": ["one"]},
        {"search": {"space": {"seed": {"low": 0, "high": 2}}}},
    ],
)
def it_refuses_options_that_make_no_sense(dataset: tuple[Storage, Any], wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="'mine' is not valid"):
        job_of(dataset, "models:/lights/1", "a" * 64, **wrong)
    with pytest.raises(InvalidRequest, match="'mine' is not valid"):
        job_of(dataset, "", "a" * 64)


def it_tells_the_entry_that_allows_a_model_and_runs_nothing(
    dataset: tuple[Storage, Any], allowed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = model_files(tmp_path / "ran")
    folder = written(tmp_path / "model", files)
    assert main(["model", "digest", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "takes uint8[-1, 16, 16, 1], gives float32[-1, 2]" in told
    assert "needs mlflow-skinny, numpy" in told
    allowed.write_text(told[told.index("- uri:") :])
    assert fit(job_of(dataset, folder, folder_digest(files))).pyfunc is not None
