"""The few named errors. Each is the user's (never retried) or the machinery's (retried).

A message says what was received, what was expected and what to do. Errors cross process borders
(a Spark job's error.json) through ``as_dict`` and ``from_dict`` and keep their class.
"""

from __future__ import annotations

from typing import Any


class DarkroomError(Exception):
    """The base of every error that Darkroom raises on purpose.

    ``page`` is the lake path of a report that explains more, when there is one.
    """

    retryable = False

    def __init__(self, message: str, *, page: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.page = page

    def as_dict(self) -> dict[str, Any]:
        return {"error": type(self).__name__, "message": self.message, "page": self.page}

    @staticmethod
    def from_dict(value: dict[str, Any]) -> DarkroomError:
        """The error that ``as_dict`` described; an unknown name becomes a MachineryError."""
        kind = _named_errors().get(str(value.get("error")), MachineryError)
        return kind(str(value.get("message", "no message was recorded")), page=value.get("page"))


class UserError(DarkroomError):
    """What was asked for, or the data that was given, cannot be used. Trying again cannot help."""


class MachineryError(DarkroomError):
    """Something outside failed (a server, a disk, a process). Trying again may help."""

    retryable = True


class InvalidRequest(UserError):
    """Parameters, a configuration or a setting are wrong."""


class SourceError(UserError):
    """A dataset cannot be taken from where it was said to be, or must not be (an unsafe archive)."""


class DataError(UserError):
    """The images, labels or splits cannot carry the work that was asked for."""


class ValidationFailed(UserError):
    """An expectation about the data was not met."""


class ModelError(UserError):
    """A model package is missing, damaged, of an unknown format, or does not fit its data."""


class NoChampion(UserError):
    """A model has no champion yet, so nothing can be classified with it."""


class StorageUnavailable(MachineryError):
    """A lake, or a server behind it, did not answer or could not take a write."""


class CommitConflict(MachineryError):
    """Another writer committed to the same table partition first; nothing of this attempt shows."""


def _named_errors() -> dict[str, type[DarkroomError]]:
    found: dict[str, type[DarkroomError]] = {}
    pending: list[type[DarkroomError]] = [DarkroomError]
    while pending:
        kind = pending.pop()
        found[kind.__name__] = kind
        pending.extend(kind.__subclasses__())
    return found
