"""What deltalake raises, as one of our errors: its text is all that tells one cause from another."""

from __future__ import annotations

import re

from darkroom.errors import DarkroomError, InvalidRequest, StorageUnavailable
from darkroom.storage.connection import FULL_ADVICE, is_full
from darkroom.storage.folder import ADVICE

_FORBIDDEN = re.compile(r"\b(401 Unauthorized|403 Forbidden)\b|<Code>AccessDenied|lacked the necessary privileges")
_SYSTEM = re.compile(r"\(os error (\d+)\)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def explained(error: Exception, what: str) -> DarkroomError:
    """What deltalake says about the storage, as our error. Its text is all that tells one cause from another."""
    said = sentence(error)
    if _FORBIDDEN.search(said):
        return InvalidRequest(
            f"{what}: {said}. The login may not do this. Check DARKROOM_S3_ACCESS_KEY and the rights on the bucket. "
            "Nothing was left half-written."
        )
    number = _SYSTEM.search(said)
    usual = FULL_ADVICE if is_full(said) else "Check that the address answers and run it again."
    advice = ADVICE.get(int(number.group(1)) if number else 0, usual)
    return StorageUnavailable(f"{what}: {said}. {advice} Nothing was left half-written.")


def sentence(error: Exception) -> str:
    """The error's text on one line, without colours and stack."""
    lines = [line.strip(" ↳") for line in _COLOURS.sub("", str(error)).splitlines()]
    kept = [line.strip(" ↳") for line in lines if line and not re.match(r"(\d+: |at |BACKTRACE)", line.strip())]
    return " ".join(kept)[:600].rstrip(". ")
