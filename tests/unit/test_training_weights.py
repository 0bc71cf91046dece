"""Weights from elsewhere: by HTTP, from the lake or a folder; whatever is wrong with them is one clear error."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.errors import DarkroomError, SourceError, StorageUnavailable
from darkroom.settings import get_settings
from darkroom.storage import Storage
from training.networks.weights import HOW, fetched, fill, from_imagenet

pytestmark = pytest.mark.unit


class Server:
    """Serves the files that a test puts into ``files``; ``cut`` ends an answer after so many bytes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut: int | None = None
        self.requests = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Quiet."""

            def do_GET(self) -> None:
                outer.requests += 1
                data = outer.files.get(self.path)
                if data is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: outer.cut])

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DARKROOM_MAX_WEIGHTS_BYTES", "1000000")
    get_settings.cache_clear()
    yield tmp_path / "home"
    get_settings.cache_clear()


def small_network(width: int = 4, seed: int = 0) -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    inputs = keras.Input((8, 8, 3))
    value = layers.BatchNormalization()(layers.Conv2D(width, 3)(inputs))
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(value)))


def saved(model: Any, path: Path) -> bytes:
    """The weights as ``save_weights`` writes them, or as keras.applications keeps them, by the file's name."""
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        import h5py
        from keras.src.legacy.saving import legacy_h5_format

        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path.read_bytes()


def read(lake: Storage, address: str, sha256: str | None = None) -> bytes:
    with fetched(lake, address, sha256, pause=0.0) as path:
        return path.read_bytes()


def it_finds_a_file_wherever_it_is(lake: Storage, server: Server, tmp_path: Path) -> None:
    data = b"some weights"
    server.files["/w.h5"] = data
    lake.write("weights/w.h5", data)
    (tmp_path / "w.h5").write_bytes(data)
    places = ["weights/w.h5", f"{tmp_path}/w.h5", f"file://{tmp_path}/w.h5", f"{server.address}/w.h5"]
    assert [read(lake, place) for place in places] == [data] * 4


def it_fetches_what_has_a_checksum_once(lake: Storage, server: Server, home: Path) -> None:
    server.files["/w.h5"] = data = b"some weights"
    digest = hashlib.sha256(data).hexdigest()
    address = f"{server.address}/w.h5"
    assert [read(lake, address, digest) for _ in range(2)] == [data] * 2
    assert server.requests == 1
    (home / "weights" / digest).write_bytes(b"damaged")
    assert read(lake, address, digest) == data
    assert server.requests == 2


def refused(lake: Storage, kind: type[DarkroomError], address: str, told: str, sha256: str | None = None) -> None:
    with pytest.raises(kind, match=told) as caught:
        read(lake, address, sha256)
    assert type(caught.value) is kind
    assert caught.value.message.endswith(HOW)
    assert "secret" not in caught.value.message


def it_says_what_is_wrong_and_how_to_give_a_file(lake: Storage, server: Server, tmp_path: Path) -> None:
    lake.write("large.h5", bytes(1_000_001))
    server.files |= {"/w.h5": b"weights", "/large.h5": bytes(1_000_001)}
    here = server.address
    refused(lake, SourceError, "weights/none.h5", "There is no file")
    refused(lake, SourceError, f"{tmp_path}/none.h5", "There is no file")
    refused(lake, SourceError, f"{here}/none.h5?token=secret", "404")
    refused(lake, SourceError, "large.h5", "DARKROOM_MAX_WEIGHTS_BYTES")
    refused(lake, SourceError, f"{here}/large.h5", "DARKROOM_MAX_WEIGHTS_BYTES")
    refused(lake, SourceError, f"{here}/w.h5", "Expected 0000.*another one", "0" * 64)
    server.cut = 3
    refused(lake, StorageUnavailable, f"{here}/w.h5", "did not give the whole file")
    server.close()
    refused(lake, StorageUnavailable, f"{here}/w.h5", "did not give the whole file.*refused")


@pytest.mark.parametrize("name", ["found.weights.h5", "found.h5"])
def it_takes_both_layouts(tmp_path: Path, name: str) -> None:
    model, other = small_network(seed=1), small_network(seed=2)
    saved(model, tmp_path / name)
    (tmp_path / name).rename(tmp_path / "any-name")
    fill(other, tmp_path / "any-name", "any-name", "a small network")
    for mine, theirs in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", ["found.weights.h5", "found.h5"])
def it_refuses_a_file_that_does_not_fit(tmp_path: Path, name: str) -> None:
    import keras

    model = small_network()
    whole = saved(small_network(seed=1), tmp_path / name)
    wider = saved(small_network(width=5), tmp_path / f"wider-{name}")
    deeper = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    broken = small_network()
    broken.set_weights([np.full_like(value, np.nan) for value in broken.get_weights()])
    unlike = {
        "wider": wider,
        "deeper": saved(deeper, tmp_path / f"deeper-{name}"),
        "nan": saved(broken, tmp_path / f"nan-{name}"),
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "words": b"<html>Sign in to go on</html>",
    }
    for what, data in unlike.items():
        (tmp_path / what).write_bytes(data)
        with pytest.raises(SourceError, match=r"a small network in HDF5") as caught:
            fill(model, tmp_path / what, what, "a small network")
        assert caught.value.message.endswith(HOW), what
        assert "docs/transfer.md" in caught.value.message


def it_runs_nothing_of_a_whole_model_with_code(tmp_path: Path) -> None:
    """A saved model may hold a Lambda layer, which is code: only its weights would be read, and they do not fit."""
    import keras

    model = small_network()
    called: list[int] = []
    evil = keras.layers.Lambda(lambda value: (called.append(1), value)[1])
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, evil(inputs)).save(tmp_path / "evil.h5")
    called.clear()
    with pytest.raises(SourceError, match="does not fit"):
        fill(model, tmp_path / "evil.h5", "evil.h5", "a small network")
    assert called == []


def it_tells_of_keras_own_download(server: Server, tmp_path: Path) -> None:
    import keras

    def get(name: str, file_hash: str | None = None) -> str:
        path = keras.utils.get_file(name, f"{server.address}/{name}", cache_dir=str(tmp_path), file_hash=file_hash)
        return Path(path).read_text()

    server.files["/w.h5"] = b"weights"
    assert from_imagenet(lambda: get("w.h5"), "resnet50") == "weights"
    with pytest.raises(SourceError, match=r"resnet50 could not be had .*404.*docs/transfer\.md"):
        from_imagenet(lambda: get("none.h5"), "resnet50")
    with pytest.raises(SourceError, match=r"hash does not match.*docs/transfer\.md"):
        from_imagenet(lambda: get("w.h5", "0" * 32), "resnet50")
    server.cut = 3
    with pytest.raises(StorageUnavailable, match=r"resnet50 could not be had"):
        from_imagenet(lambda: get("w.h5", "0" * 64), "resnet50")
    server.close()
    with pytest.raises(StorageUnavailable, match=r"refused.*docs/transfer\.md"):
        from_imagenet(lambda: get("other.h5"), "resnet50")
