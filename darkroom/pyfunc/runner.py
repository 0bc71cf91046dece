"""Runs an MLflow pyfunc model in the model's own environment: ``python -I -u runner.py FOLDER``.

The model is in FOLDER/model. Frames come on standard input and go to standard output: eight bytes that say how long,
then an array as numpy writes it (.npy, no pickle). An empty frame is sent once the model is loaded; then each batch is
answered by float32[N, classes]. What the model prints goes to standard error. At the end of the input the process
removes FOLDER and ends, with every process that the model started in its group, in the middle of a batch too.
"""

from __future__ import annotations

import io
import os
import queue
import shutil
import signal
import struct
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import numpy as np

HEADER = struct.Struct(">Q")


def main(folder: Path) -> None:
    """Never returns: the process ends with its input, or by what the model raises."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    frames: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_listen, args=(incoming, frames, folder), daemon=True).start()

    from mlflow.pyfunc import load_model

    model = load_model(str(folder / "model"))
    dtype = model.metadata.get_input_schema().inputs[0].type
    _send(outgoing, b"")
    while True:
        pixels = np.load(io.BytesIO(frames.get()), allow_pickle=False)
        answer = np.asarray(model.predict(pixels.astype(dtype)), dtype=np.float32)
        frame = io.BytesIO()
        np.save(frame, answer, allow_pickle=False)
        _send(outgoing, frame.getvalue())


def _listen(incoming: BinaryIO, frames: queue.Queue[bytes], folder: Path) -> None:
    while len(header := incoming.read(HEADER.size)) == HEADER.size:
        frames.put(incoming.read(HEADER.unpack(header)[0]))
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def _send(outgoing: BinaryIO, frame: bytes) -> None:
    outgoing.write(HEADER.pack(len(frame)) + frame)
    outgoing.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
