"""How a job tells its caller what came of it: result.json or error.json, so that errors keep their class."""

from __future__ import annotations

import argparse
import json
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from darkroom.errors import DarkroomError, InvalidRequest, MachineryError

RESULT_FILE = "result.json"
ERROR_FILE = "error.json"
MARK = "DARKROOM_OUTCOME"

Work = Callable[[dict[str, Any]], dict[str, Any]]


def run_job(argv: Sequence[str], work: Work) -> int:
    """Parse the request, do the work, leave the outcome. Returns the exit code: 0, or 1 after any error.

    ``argv`` is ``["--request", <JSON object>, "--outcome", <place>]``. The place is an absolute local folder, a path
    relative to the lake, or a URI; it receives result.json or error.json (``DarkroomError.as_dict``). The same
    content is printed as one line that starts with ``DARKROOM_OUTCOME``, for a caller that cannot reach the place.
    """
    outcome = ""
    try:
        arguments = _parse(argv)
        outcome = arguments.outcome
        content, name, code = work(_request(arguments.request)), RESULT_FILE, 0
        text = _as_json(content)
    except Exception as error:  # noqa: BLE001 - the border of the process: every error becomes an outcome
        traceback.print_exc()
        content, name, code = as_darkroom_error(error).as_dict(), ERROR_FILE, 1
        text = _as_json(content)
    try:
        if outcome:
            _leave(outcome, name, text.encode())
    except Exception:  # noqa: BLE001 - the marked line below still carries the outcome
        traceback.print_exc()
    sys.stderr.flush()
    # A line feed first: whatever the job printed last may not have ended its line.
    print(f"\n{MARK} {json.dumps({'file': name, 'content': content}, sort_keys=True)}", flush=True)
    if code:
        print(content["message"], flush=True)
    return code


def read_outcome(line: str) -> dict[str, Any] | None:
    """The result in a marked line, or None when the line is not one. Raises the error that the line tells of."""
    _, mark, text = line.partition(f"{MARK} ")
    if not mark:
        return None
    told = json.loads(text)
    if told["file"] == ERROR_FILE:
        raise DarkroomError.from_dict(told["content"])
    content: dict[str, Any] = told["content"]
    return content


def as_darkroom_error(error: Exception) -> DarkroomError:
    """The error itself when it is one of ours, ours behind a Spark worker's traceback, or a MachineryError."""
    if isinstance(error, DarkroomError):
        return error
    text = message_of(error) or "its message is lost with the process that it came from"
    if ours := re.findall(r"^darkroom\.errors\.(\w+): (.+)$", text, re.MULTILINE):
        return DarkroomError.from_dict({"error": ours[-1][0], "message": ours[-1][1]})
    first_line = next(iter(text.splitlines()), "")
    return MachineryError(
        f"The job stopped with {type(error).__name__}: {first_line}. Expected it to end with a result. "
        "See the traceback in the log; if it names a server, check that it answers, then run the task again."
    )


def message_of(error: Exception) -> str:
    """The message of any error. An error of Java asks its JVM for it: empty where that has ended."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - py4j raises several of its own, and RecursionError
        return ""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidRequest(f"The job got arguments it cannot read: {message}. {self.format_usage().strip()}")


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(add_help=False)
    parser.add_argument("--request", required=True)
    parser.add_argument("--outcome", required=True)
    return parser.parse_args(list(argv))


def _request(text: str) -> dict[str, Any]:
    try:
        request = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"The request is not JSON ({error}). Expected one JSON object. Got: {text[:200]}"
        ) from None
    if not isinstance(request, dict):
        raise InvalidRequest(f"The request is a JSON {type(request).__name__}. Expected an object. Got: {text[:200]}")
    return request


def _as_json(content: dict[str, Any]) -> str:
    try:
        return json.dumps(content, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise MachineryError(
            f"The job's result cannot be kept as JSON ({error}). Expected text, finite numbers, lists and maps. "
            "This is a fault of the job: report it with the log."
        ) from error


def _leave(place: str, name: str, content: bytes) -> None:
    if Path(place).is_absolute():
        folder = Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{name}.partial"
        partial.write_bytes(content)
        partial.replace(folder / name)
        return
    from darkroom.storage import open_lake, open_storage

    if "://" in place:
        open_storage(place).write(name, content)
    else:
        open_lake().write(f"{place.rstrip('/')}/{name}", content)
