"""Models with code of their own: read as data, refused unless they are allowed, and their answers never trusted."""

from __future__ import annotations

import inspect
import io
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from darkroom.errors import InvalidRequest, ModelError
from darkroom.kept import what_is_kept
from darkroom.model import load_package, write_package
from darkroom.package import GRAPH, MANIFEST, PYFUNC, pack, read_package, unzipped, zipped
from darkroom.pyfunc import runner
from darkroom.pyfunc.allowed import check_allowed
from darkroom.pyfunc.child import checked_answer
from darkroom.pyfunc.folder import Described, folder_digest
from darkroom.settings import get_settings
from darkroom.storage import Storage
from tests.packages import CLASSES, TRANSFORM, bright_or_dark, package_info
from tests.pyfuncs import PYTHON, model_files, pyfunc_info, tensor
from training.registry import _packed_code

pytestmark = pytest.mark.unit

URI = "models:/lights/1"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with an empty allow-list and no environment; the list."""
    path = tmp_path / "allowed.yaml"
    path.write_text("[]")
    monkeypatch.setenv("DARKROOM_ALLOWED_MODELS", str(path))
    monkeypatch.setenv("DARKROOM_ENVIRONMENTS", str(tmp_path / "environments"))
    get_settings.cache_clear()
    yield path
    get_settings.cache_clear()
    assert not (tmp_path / "environments").exists()


def allow(path: Path, digest: str, uri: str = URI) -> None:
    path.write_text(yaml.safe_dump([{"uri": uri, "digest": digest, "note": "read by hand"}]))


def it_has_a_digest_over_all_paths_and_contents() -> None:
    files = model_files()
    digest = folder_digest(files)
    assert folder_digest(dict(reversed(files.items()))) == digest
    moved = {**{name: data for name, data in files.items() if name != "m.py"}, "n.py": files["m.py"]}
    for other in (files | {"m.py": b""}, files | {"empty.txt": b""}, moved, {}):
        assert folder_digest(other) != digest


@pytest.mark.parametrize("path", ["../m.py", "/m.py", "a//m.py", "a\\m.py", "m.py\n0  python_model.pkl", "./m.py"])
def it_has_no_digest_of_paths_that_lead_elsewhere(path: str) -> None:
    with pytest.raises(ModelError, match="plain paths"):
        folder_digest(model_files() | {path: b""})


def it_is_tested_with_code_that_would_leave_a_mark(tmp_path: Path) -> None:
    for number, run in enumerate(
        (lambda files: exec(files["m.py"]), lambda files: pickle.loads(files["python_model.pkl"]))
    ):
        mark = tmp_path / str(number)
        run(model_files(mark))
        assert mark.exists()


def it_reads_what_a_model_takes_and_gives() -> None:
    described = Described.of(model_files())
    assert str(described.takes) == "uint8[-1, 16, 16, 1]"
    assert str(described.gives) == "float32[-1, 2]"
    assert described.python == PYTHON
    assert described.requirements.split() == ["mlflow-skinny", "numpy"]
    described.check(TRANSFORM.shape, 2)
    Described.of(model_files(inputs=[tensor("float32", -1, -1, -1, 1)])).check(TRANSFORM.shape, 2)


@pytest.mark.parametrize(
    ("inputs", "outputs", "told"),
    [
        ([tensor("uint8", -1, 8, 8, 1)], None, r"takes uint8\[-1, 8, 8, 1\].*\[-1, 16, 16, 1\].*transform"),
        ([tensor("uint8", -1, 16, 16, 3)], None, "takes uint8"),
        ([tensor("uint8", -1, 256)], None, "takes uint8"),
        ([tensor("uint8", 1, 16, 16, 1)], None, "takes uint8"),
        ([tensor("float64", -1, 16, 16, 1)], None, "takes float64.*Expected uint8 or float32"),
        (None, [tensor("float32", -1, 3)], r"gives float32\[-1, 3\].*\[-1, 2\]"),
        (None, [tensor("float32", -1)], "gives float32"),
        (None, [tensor("int64", -1, 2)], "gives int64"),
    ],
)
def it_refuses_a_signature_that_does_not_fit(inputs: Any, outputs: Any, told: str) -> None:
    described = Described.of(model_files(inputs=inputs, outputs=outputs))
    with pytest.raises(ModelError, match=told):
        described.check(TRANSFORM.shape, 2)


COLUMNS = [{"type": "double", "name": "x", "required": True}]
NAMED = [tensor("uint8", -1, 16, 16, 1) | {"name": "image"}]


@pytest.mark.parametrize("wrong", [COLUMNS, NAMED, [], [tensor("uint8", -1, 2)] * 2, {"type": "any"}, "x"])
def it_refuses_columns_and_anything_but_one_tensor(wrong: Any) -> None:
    for side in ("inputs", "outputs"):
        with pytest.raises(ModelError, match=rf"has as {side}.*Expected one TensorSpec without a name"):
            Described.of(model_files(**{side: wrong}))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b"a: [",
        b"flavors: {sklearn: {}}",
        b"flavors: {python_function: {}}",
        b"flavors: {python_function: {python_version: three}}",
    ],
)
def it_refuses_a_folder_of_something_else(content: bytes) -> None:
    with pytest.raises(ModelError, match="of no pyfunc model"):
        Described.of(model_files() | {"MLmodel": content})
    for name in ("MLmodel", "requirements.txt"):
        with pytest.raises(ModelError, match=f"holds no {name}"):
            Described.of({key: data for key, data in model_files().items() if key != name})
    with pytest.raises(ModelError, match="has as inputs: None"):
        Described.of(model_files() | {"MLmodel": b"flavors: {python_function: {python_version: 3.11.1}}"})


def it_allows_an_address_with_its_digest_and_nothing_else(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, other = "a" * 64, "b" * 64
    allow(machine, digest)
    check_allowed(URI, digest)
    with pytest.raises(ModelError, match=f"its digest is {other}, and .*allowed.yaml allows {digest}"):
        check_allowed(URI, other)
    with pytest.raises(ModelError, match=r"not allowed here: none of the 1 entries of .*allowed.yaml names it"):
        check_allowed("models:/lights/2", digest)
    monkeypatch.delenv("DARKROOM_ALLOWED_MODELS")
    get_settings.cache_clear()
    with pytest.raises(ModelError, match="not allowed here: DARKROOM_ALLOWED_MODELS names no allow-list"):
        check_allowed(URI, digest)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "a: [",
        "- models:/lights/1",
        "- {uri: models:/lights/1}",
        "- {uri: models:/lights/1, digest: abc}",
        f"- {{uri: '', digest: {'a' * 64}}}",
        f"- {{uri: models:/lights/1, digest: {'a' * 64}, anyone: true}}",
        f"- {{uri: models:/lights/1, digest: {'a' * 64}}}\n- 3",
        "!!python/object/apply:os.system [true]",
    ],
)
def it_allows_nothing_by_a_list_that_is_wrong(machine: Path, content: str) -> None:
    machine.write_text(content)
    with pytest.raises(InvalidRequest, match=r"allow-list .*\.yaml (is not valid|cannot be read).*Expected a list"):
        check_allowed(URI, "a" * 64)


def it_allows_nothing_by_a_list_that_is_not_there(machine: Path) -> None:
    machine.unlink()
    with pytest.raises(InvalidRequest, match="cannot be read"):
        check_allowed(URI, "a" * 64)
    machine.mkdir()
    with pytest.raises(InvalidRequest, match="cannot be read"):
        check_allowed(URI, "a" * 64)


def it_refuses_to_load_a_package_whose_model_is_not_allowed(lake: Storage, machine: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    files = model_files(mark)
    data = pack(pyfunc_info(files), zipped(files))
    with pytest.raises(ModelError, match="models:/lights/1 runs code of its own and is not allowed here"):
        load_package(lake, data)
    with pytest.raises(ModelError, match="not allowed here"):
        write_package(lake, "lamps", pyfunc_info(files), zipped(files))
    assert list(lake.list("packages")) == []
    assert not mark.exists()


def it_reads_a_package_that_it_would_not_run(lake: Storage, tmp_path: Path) -> None:
    files = model_files(tmp_path / "ran")
    data = pack(pyfunc_info(files), zipped(files))
    assert data == pack(pyfunc_info(files), zipped(files))
    package = read_package(lake, data)
    assert package.info.pyfunc is not None
    assert package.info.pyfunc.digest == folder_digest(unzipped(package.content))
    assert package.transform == TRANSFORM
    lake.write(f"packages/lamps/{package.package_id}.zip", data)
    from datetime import UTC, datetime

    kept = what_is_kept(lake, datetime(2100, 1, 1, tzinfo=UTC))  # which reads every package that is old enough
    assert kept.packages == set()
    assert not (tmp_path / "ran").exists()


def it_notices_a_model_that_was_changed_inside_a_package(lake: Storage, machine: Path, tmp_path: Path) -> None:
    files = model_files(tmp_path / "ran")
    info = pyfunc_info(files)
    allow(machine, folder_digest(files))
    for changed in (files | {"m.py": b"import os"}, files | {"more.py": b""}, {"MLmodel": files["MLmodel"]}, {}):
        with pytest.raises(ModelError, match=r"pyfunc model in a package has the digest .*it was changed"):
            load_package(lake, pack(info, zipped(changed)))
    with pytest.raises(ModelError, match="no readable zip"):
        load_package(lake, pack(info, b"no zip"))
    assert not (tmp_path / "ran").exists()


def it_refuses_packages_that_do_not_say_what_answers(lake: Storage) -> None:
    files = model_files()
    named = json.dumps(pyfunc_info(files).model_dump(mode="json")).encode()
    plain = json.dumps(package_info().model_dump(mode="json")).encode()
    for members, told in (
        ({MANIFEST: named, PYFUNC: zipped(files), GRAPH: bright_or_dark()}, "nothing else"),
        ({MANIFEST: named, GRAPH: bright_or_dark()}, "tells of pyfunc.zip"),
        ({MANIFEST: plain, PYFUNC: zipped(files)}, "tells of model.onnx"),
        ({MANIFEST: named}, "nothing else"),
    ):
        with pytest.raises(ModelError, match=told):
            load_package(lake, zipped(members))
    with pytest.raises(ValueError, match="answers with the classes"):
        pyfunc_info(files, order=("BRIGHT", "RED"))


def it_refuses_another_python_and_another_shape_before_it_builds(lake: Storage, machine: Path) -> None:
    for files, told in (
        (model_files(python="3.7.1"), f"saved with Python 3.7, and this machine's Darkroom runs on {PYTHON}"),
        (model_files(inputs=[tensor("uint8", -1, 8, 8, 1)]), "takes uint8"),
    ):
        allow(machine, folder_digest(files))
        with pytest.raises(ModelError, match=told):
            load_package(lake, pack(pyfunc_info(files), zipped(files)))


def it_has_its_runner_where_the_code_is_in_one_zip(tmp_path: Path) -> None:
    packed = _packed_code(tmp_path)
    asked = (
        "import inspect; from darkroom.pyfunc import runner; print(runner.__file__); print(inspect.getsource(runner))"
    )
    options: Any = {"env": {**os.environ, "PYTHONPATH": str(packed)}, "cwd": tmp_path}
    told = subprocess.run([sys.executable, "-c", asked], **options, capture_output=True, text=True, check=True)
    place, _, source = told.stdout.partition("\n")
    assert place.startswith(str(packed))
    assert source.strip() == inspect.getsource(runner).strip()


def frame(array: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


RIGHT = np.array([[0.25, 0.75], [1, 0]], np.float32)


def it_takes_an_answer_of_probabilities() -> None:
    for answer in (RIGHT, np.asfortranarray(RIGHT)):
        np.testing.assert_array_equal(checked_answer(frame(answer), 2, len(CLASSES)), RIGHT)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no array",
        frame(RIGHT)[:-1],
        frame(RIGHT) + b"more",
        frame(RIGHT[:1]),
        frame(RIGHT[:, :1]),
        frame(RIGHT[None]),
        frame(RIGHT.astype(np.float64)),
        frame(RIGHT.astype(">f4")),
        frame(np.array([[{}, 1], [2, 3]], dtype=object), allow_pickle=True),
        frame(RIGHT).replace(b"(2, 2)", b"(2,2e)"),
        frame(np.array([[np.nan, 1], [0, 1]], np.float32)),
        frame(np.array([[np.inf, -np.inf], [0, 1]], np.float32)),
        frame(np.array([[1.5, -0.5], [0, 1]], np.float32)),
        frame(np.array([[0, 0], [0, 1]], np.float32)),
        frame(np.array([[0.5, 0.51], [0, 1]], np.float32)),
    ],
)
def it_refuses_any_other_answer(answer: bytes) -> None:
    with pytest.raises(ModelError, match=r"pyfunc model answers.*Expected float32\[2, 2\], finite, not negative"):
        checked_answer(answer, 2, 2)
