"""The allow-list: which models with code of their own may run on this machine.

One YAML file, which the setting allowed_models names; a list of entries ``{uri, digest, note}``. It is read at every
load, by the process that loads. Without it nothing is allowed.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from darkroom.errors import InvalidRequest, ModelError
from darkroom.settings import get_settings
from darkroom.sources.base import without_login

SETTING = "DARKROOM_ALLOWED_MODELS"
HOW = "docs/bring-your-own.md says how a model is allowed."


class Allowed(BaseModel):
    """One model that may run: its address as configs write it, and the digest of its folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str = Field(min_length=1)
    digest: str = Field(pattern="^[0-9a-f]{64}$")
    note: str = ""


def check_allowed(uri: str, digest: str) -> None:
    """Raises ModelError, with the reason, unless the list has just this address with this digest.

    Raises InvalidRequest for a list that is missing or no list of entries: nothing is allowed by it.
    """
    named = get_settings().allowed_models
    shown = without_login(uri)
    refused = f"The model {shown} runs code of its own and is not allowed here:"
    if not named:
        raise ModelError(f"{refused} {SETTING} names no allow-list. Expected one with its digest {digest}. {HOW}")
    entries = read_allowed(Path(named).expanduser())
    digests = [entry.digest for entry in entries if entry.uri == uri]
    if not digests:
        raise ModelError(
            f"{refused} none of the {len(entries)} entries of {named} names it. Expected one with its digest {digest}. "
            f"{HOW}"
        )
    if digest not in digests:
        raise ModelError(
            f"{refused} its digest is {digest}, and {named} allows {', '.join(digests)}. Look at what changed, "
            f"then allow it or name the one that is allowed. {HOW}"
        )


def read_allowed(path: Path) -> list[Allowed]:
    """The entries of an allow-list. Raises InvalidRequest for a file that is missing or holds anything else."""
    expected = f"Expected a list of {{uri, digest, note}}. Correct the file, or {SETTING}. {HOW}"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return TypeAdapter(list[Allowed]).validate_python(content)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or "the whole"
        raise InvalidRequest(f"The allow-list {path} is not valid: {place}: {fault['msg']}. {expected}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InvalidRequest(f"The allow-list {path} cannot be read ({reason}). {expected}") from error
