"""The process that runs a pyfunc model, as its parent sees it: asked a batch at a time, and never trusted."""

from __future__ import annotations

import inspect
import io
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from darkroom.errors import ModelError
from darkroom.pyfunc import runner
from darkroom.pyfunc.environment import BASIC, chosen, last_words

_KEPT = 8192  # bytes of what it printed last
_HEAD = 4096  # bytes that the head of an .npy file may take
_PIPE = 65536


class Child:
    """A running model. It ends with this object, with ``end``, or with the process that started it.

    It sees a folder of its own as its home, and of this process's variables those that name paths and languages. It
    may still read what its user may read, and reach the network.
    """

    def __init__(self, python: Path, files: Mapping[str, bytes], threads: int, seconds: float) -> None:
        self._seconds = seconds
        folder = Path(tempfile.mkdtemp(prefix="darkroom-pyfunc-"))
        for name, content in files.items():
            path = folder / "model" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        script = folder / "runner.py"
        script.write_text(inspect.getsource(runner))  # its module may be in a zip
        libraries = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        self._process = subprocess.Popen(
            [str(python), "-I", "-u", str(script), str(folder)],
            cwd=folder,
            env={**chosen(BASIC), "HOME": str(folder), **quiet, **dict.fromkeys(libraries, str(threads))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.end = weakref.finalize(self, _end, self._process, folder, os.getpid())
        sent, answered, printed = self._process.stdin, self._process.stdout, self._process.stderr
        assert sent is not None
        assert answered is not None
        assert printed is not None
        self._in, self._out = sent.fileno(), answered.fileno()
        os.set_blocking(self._in, False)
        self._printed = bytearray()
        self._reader = threading.Thread(target=_keep_last, args=(printed, self._printed), daemon=True)
        self._reader.start()
        self._exchange(b"", 0, "start")

    def ask(self, pixels: np.ndarray, classes: int) -> np.ndarray:
        """float32[N, classes] for uint8[N, H, W, C].

        Raises ModelError where it dies, is late, or answers anything else; it is of no more use then.
        """
        frame = io.BytesIO()
        np.save(frame, np.ascontiguousarray(pixels), allow_pickle=False)
        data = frame.getvalue()
        answer = self._exchange(runner.HEADER.pack(len(data)) + data, len(pixels) * classes * 4 + _HEAD, "answer")
        return checked_answer(answer, len(pixels), classes)

    def _exchange(self, outgoing: bytes, limit: int, what: str) -> bytes:
        """Sends what there is to send, and receives one frame of at most ``limit`` bytes."""
        deadline = time.monotonic() + self._seconds
        left, received, wanted = memoryview(outgoing), bytearray(), runner.HEADER.size
        with selectors.DefaultSelector() as ready:
            ready.register(self._out, selectors.EVENT_READ)
            if left:
                ready.register(self._in, selectors.EVENT_WRITE)
            while len(received) < wanted:
                events = ready.select(max(0.0, deadline - time.monotonic()))
                if not events and time.monotonic() >= deadline:
                    raise self._failed(f"did not {what} within {self._seconds:g} s (DARKROOM_PYFUNC_SECONDS)")
                for key, _ in events:
                    if key.fd == self._in:
                        left = left[self._write(left[:_PIPE]) :]
                        if not left:
                            ready.unregister(self._in)
                    elif block := os.read(self._out, _PIPE):
                        received += block
                    else:
                        with suppress(subprocess.TimeoutExpired):
                            self._process.wait(5)  # for its own exit code
                        raise self._failed(f"ended before it could {what}")
                if len(received) >= runner.HEADER.size:
                    size = runner.HEADER.unpack_from(received)[0]
                    wanted = runner.HEADER.size + size
                    if size > limit or len(received) > wanted:
                        raise self._failed(f"sent {max(size, len(received)):,} bytes where at most {limit:,} were due")
        return bytes(received[runner.HEADER.size :])

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self._in, data)
        except BrokenPipeError:  # it is gone, which its output tells
            return len(data)

    def _failed(self, what: str) -> ModelError:
        self.end()
        self._reader.join(timeout=5)
        code = self._process.returncode
        return ModelError(
            f"The process of the pyfunc model {what}; its exit code is {code}. It printed last: "
            f"{last_words(bytes(self._printed))}. Expected an answer to each batch. Mend the model and save it again."
        )


def checked_answer(frame: bytes, images: int, classes: int) -> np.ndarray:
    """The probabilities in an .npy file. Raises ModelError for anything but float32[images, classes] of them."""
    expected = f"Expected float32[{images}, {classes}], finite, not negative, each row with the sum 1."
    stream = io.BytesIO(frame)
    try:
        np.lib.format.read_magic(stream)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        if dtype != np.float32 or shape != (images, classes):
            raise ModelError(f"The pyfunc model answers {dtype}{list(shape)}. {expected}")
        found = np.frombuffer(frame, np.float32, offset=stream.tell())
        answer = found.reshape(shape, order="F" if fortran else "C")
    except ValueError as error:
        raise ModelError(f"The pyfunc model answers with no array ({error}). {expected}") from error
    with np.errstate(invalid="ignore", over="ignore"):
        right = np.isfinite(answer).all(axis=1) & (answer >= 0).all(axis=1) & (np.abs(answer.sum(axis=1) - 1) < 1e-3)
    if not right.all():
        raise ModelError(f"The pyfunc model answers {answer[int(np.argmin(right))].tolist()[:10]}. {expected}")
    return answer


def _keep_last(stream: IO[bytes], kept: bytearray) -> None:
    while block := os.read(stream.fileno(), _PIPE):
        kept += block
        del kept[:-_KEPT]


def _end(process: subprocess.Popen[bytes], folder: Path, owner: int) -> None:
    if os.getpid() != owner:  # a fork of the process that it belongs to
        return
    with suppress(ProcessLookupError):  # it has ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    shutil.rmtree(folder, ignore_errors=True)
