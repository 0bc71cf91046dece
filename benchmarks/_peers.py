"""Daft, Ray Data and Hugging Face datasets as peers of preprocessing: JPEG files to Parquet of 224 x 224 pixels.

Each in its native form (its own decoder and resize) and with our decode.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.decode import one_thread
from darkroom.transform import ImageTransform

Way = Callable[[list[str], Path], object]
DONE = "peer: done"
FORMS = ("native", "our decode")
NAMES = {"daft": "Daft", "ray": "Ray Data", "datasets": "HF datasets"}


def absent_peers() -> list[str]:
    return [name for module, name in NAMES.items() if importlib.util.find_spec(module) is None]


class Peer:
    """One of these libraries in a process of its own, whose threads and forks disturb nobody else's."""

    def __init__(self, module: str, transform: ImageTransform, workers: int) -> None:
        pipe = subprocess.PIPE
        arguments = [module, transform.model_dump_json(), str(workers)]
        command = [sys.executable, __file__, *arguments]
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)

    def run(self, form: str, paths: list[str], out: Path) -> None:
        """Writes the images as Parquet below ``out``. ``form``: "native" or "our decode"."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps([form, paths, str(out)]), file=self._process.stdin, flush=True)
        for line in self._process.stdout:  # what the library itself prints goes by
            if line.startswith(DONE):
                break
        rows = sum(pq.ParquetFile(file).metadata.num_rows for file in out.rglob("*.parquet"))
        if rows != len(paths):
            raise RuntimeError(f"{rows} rows of {len(paths)} images were written by {self._process.args}.")

    def close(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()


def serve(module: str, transform: ImageTransform, workers: int) -> None:
    """Answers Peer's requests from standard input until it ends."""
    ways = {"daft": _daft, "ray": _ray, "datasets": _datasets}[module](transform, workers)
    for line in sys.stdin:
        form, paths, out = json.loads(line)
        ways[FORMS.index(form)](paths, Path(out))
        print(f"\n{DONE}", flush=True)


def _apply(transform: ImageTransform, path: str) -> bytes:
    return transform.apply(Path(path).read_bytes()).tobytes()


def _daft(transform: ImageTransform, workers: int) -> tuple[Way, Way]:
    import daft
    from daft import DataType, col

    def decode(paths: Any) -> list[bytes]:
        one_thread()
        return [_apply(transform, path) for path in paths.to_pylist()]

    ours = daft.udf(return_dtype=DataType.binary(), batch_size=32, use_process=False)(decode)

    def native(paths: list[str], out: Path) -> object:
        images = col("path").url.download().image.decode(mode="RGB").image.resize(transform.width, transform.height)
        frame = daft.from_pydict({"path": paths}).into_partitions(2 * workers).with_column("pixels", images)
        return frame.write_parquet(str(out), compression="none")

    def with_ours(paths: list[str], out: Path) -> object:
        frame = daft.from_pydict({"path": paths}).with_column("pixels", ours(col("path")))
        return frame.write_parquet(str(out), compression="none")

    return native, with_ours


def _ray(transform: ImageTransform, workers: int) -> tuple[Way, Way]:
    import ray

    def start() -> None:
        if not ray.is_initialized():
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            ray.data.DataContext.get_current().enable_progress_bars = False

    def decode(batch: pa.Table) -> pa.Table:
        one_thread()
        paths = batch["path"].to_pylist()
        return pa.table({"path": paths, "pixels": [_apply(transform, path) for path in paths]})

    def native(paths: list[str], out: Path) -> object:
        start()
        images = ray.data.read_images(paths, size=(transform.height, transform.width), mode="RGB", file_extensions=None)
        return images.write_parquet(str(out), compression="none")

    def with_ours(paths: list[str], out: Path) -> object:
        start()
        frame = ray.data.from_items([{"path": path} for path in paths], override_num_blocks=2 * workers)
        pixels = frame.map_batches(decode, batch_size=64, batch_format="pyarrow")
        return pixels.write_parquet(str(out), compression="none")

    return native, with_ours


def _row_by_pillow(size: tuple[int, int], row: dict[str, Any]) -> dict[str, bytes]:
    return {"pixels": row["image"].convert("RGB").resize(size).tobytes()}


def _row_by_ours(transform: ImageTransform, row: dict[str, Any]) -> dict[str, bytes]:
    one_thread()
    return {"pixels": _apply(transform, row["path"])}


def _datasets(transform: ImageTransform, workers: int) -> tuple[Way, Way]:
    import datasets

    datasets.disable_caching()
    datasets.disable_progress_bars()

    def listed(
        column: str, paths: list[str]
    ) -> Any:  # named, since its fingerprint cannot be taken of pyarrow 25's types
        table = datasets.table.InMemoryTable.from_pydict({column: paths})
        return datasets.Dataset(table, fingerprint="paths")

    by_pillow = partial(_row_by_pillow, (transform.width, transform.height))
    by_ours = partial(_row_by_ours, transform)

    def native(paths: list[str], out: Path) -> object:
        files = listed("image", paths).cast_column("image", datasets.Image())
        pixels = files.map(by_pillow, remove_columns=["image"], num_proc=workers, writer_batch_size=64)
        out.mkdir()
        return pixels.to_parquet(str(out / "pixels.parquet"), batch_size=64)

    def with_ours(paths: list[str], out: Path) -> object:
        files = listed("path", paths)
        pixels = files.map(by_ours, num_proc=workers, writer_batch_size=64)
        out.mkdir()
        return pixels.to_parquet(str(out / "pixels.parquet"), batch_size=64)

    return native, with_ours


if __name__ == "__main__":
    serve(sys.argv[1], ImageTransform.model_validate_json(sys.argv[2]), int(sys.argv[3]))
