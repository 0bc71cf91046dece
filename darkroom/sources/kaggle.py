"""A dataset of Kaggle, by kagglehub's handle: asked of its API, fetched as one archive, streamed like any archive.

kagglehub's own ``dataset_download`` unpacks to disk without limits. Here its client finds the version and the signed
address of the archive; the transfer, the limits and the checks of members are those of the archive source.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from darkroom.contract import stable_hash
from darkroom.errors import DarkroomError, InvalidRequest, SourceError, StorageUnavailable
from darkroom.settings import get_settings
from darkroom.sources.archive import CheckedArchive, of_content, sha256_of
from darkroom.sources.base import OpenedSource, Progress
from darkroom.sources.config import KaggleSource
from darkroom.sources.download import Download

_RULES = 1  # raise it when other members of a dataset's archive are taken than before
_TIMEOUT = (10.0, 60.0)  # seconds to connect, and without a byte
_RETRIES = 4
_BUSY = (408, 429, 500, 502, 503, 504)
_IN_ENVIRONMENT = "KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY"


class KaggleReader:
    """A dataset's version is asked for once; with a version in its handle nothing is asked until it is fetched."""

    def __init__(self, config: KaggleSource) -> None:
        from kagglehub.handle import parse_dataset_handle

        self._handle = parse_dataset_handle(config.handle)
        self.name = f"The Kaggle dataset {config.handle}"

    def quick_fingerprint(self) -> str | None:
        if not self._handle.is_versioned():
            number = self._asked(self._current_version)
            if not number:
                raise SourceError(f"{self.name} has no version yet. Publish one, or name another dataset.")
            self._handle = self._handle.with_version(number)
        return stable_hash(["kaggle", _RULES, str(self._handle)], 32)

    @contextmanager
    def opened(self, progress: Progress) -> Iterator[OpenedSource]:
        fingerprint = self.quick_fingerprint()
        url, md5 = self._asked(self._archive)
        settings = get_settings()
        download = Download(
            url, settings.home / "downloads", settings.max_archive_bytes, signed=f"The Kaggle dataset {self._handle}"
        )
        with download.file(progress) as file:
            if md5 and _md5(file) != md5:
                file.unlink()
                raise StorageUnavailable(
                    f"{self.name} arrived damaged: its MD5 is not the announced {md5}. Run it again."
                )
            fingerprints = (of_content(sha256_of(file)), *([fingerprint] if fingerprint else []))
            yield CheckedArchive(file, self.name, fingerprints, progress)

    def _current_version(self, client: Any) -> int | None:
        from kagglesdk.datasets.types.dataset_api_service import ApiGetDatasetRequest

        request = ApiGetDatasetRequest()
        request.owner_slug, request.dataset_slug = self._handle.owner, self._handle.dataset
        number = client.datasets.dataset_api_client.get_dataset(request).current_version_number
        return int(number) if number else None

    def _archive(self, client: Any) -> tuple[str, str | None]:
        """The signed address of the version's archive, and its MD5 (base64) where the server tells it."""
        from kagglehub.integrity import get_md5_checksum_from_response
        from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

        request = ApiDownloadDatasetRequest()
        request.owner_slug, request.dataset_slug = self._handle.owner, self._handle.dataset
        request.dataset_version_number = self._handle.version
        with client.datasets.dataset_api_client.download_dataset(request) as response:  # its body is not read
            return str(response.url), get_md5_checksum_from_response(response)

    def _asked(self, question: Callable[[Any], Any]) -> Any:
        """What Kaggle answers to a question, put to a client that is logged in. No message holds the login."""
        import requests

        try:
            with _client() as client:
                return question(client)
        except requests.HTTPError as error:
            raise self._refused(error) from None
        except requests.RequestException as error:
            kind = type(error).__name__
            raise StorageUnavailable(
                f"{self.name} cannot be asked for: Kaggle did not answer ({kind}). Check that this machine reaches "
                "www.kaggle.com, and run it again."
            ) from None

    def _refused(self, error: Any) -> DarkroomError:
        status = _status(error.response)
        if status == 401:
            return InvalidRequest(f"{self.name}: Kaggle refused the login (401). Correct {_IN_ENVIRONMENT}.")
        if status == 403:
            return SourceError(
                f"{self.name} may not be read (403): it is private, wants its terms accepted on its page, or is not "
                f"there. Check the handle and the rights of the login ({_IN_ENVIRONMENT})."
            )
        if status == 404:
            return SourceError(
                f"{self.name} is not there (404). Expected owner/dataset or owner/dataset/versions/3, as in the "
                "address of its page. Correct the handle."
            )
        if status in _BUSY:
            return StorageUnavailable(f"{self.name} cannot be asked for: Kaggle is busy ({status}). Run it again.")
        return SourceError(f"{self.name} was refused: Kaggle answered {status}. Check the handle and the login.")


def _status(response: Any) -> int:
    """The status of a refusal; Kaggle may tell it in the body of an answer that is called a success."""
    if response.ok:
        with suppress(ValueError, KeyError, TypeError):
            return int(response.json()["code"])
    return int(response.status_code)


@contextmanager
def _client() -> Iterator[Any]:
    """Kaggle's own client, which never prints, never waits without end and tries again when the server is busy."""
    import requests
    from kagglehub import __version__
    from kagglehub.config import get_kaggle_credentials
    from kagglesdk.kaggle_client import KaggleClient
    from kagglesdk.kaggle_env import KaggleEnv, get_endpoint
    from urllib3.util import Retry

    class _Patient(requests.adapters.HTTPAdapter):
        def send(self, *arguments: Any, **options: Any) -> requests.Response:
            return super().send(*arguments, **{**options, "timeout": _TIMEOUT})

    _check_login_files()
    try:
        login = get_kaggle_credentials()
    except ValueError as error:
        raise InvalidRequest(f"{error}. Expected the kaggle.json that Kaggle gave. Fetch it again.") from None
    named = {"username": login.username, "password": login.key, "api_token": login.api_key} if login else {}
    with KaggleClient(KaggleEnv.PROD, user_agent=f"darkroom kagglehub/{__version__}", **named) as client:
        retry = Retry(_RETRIES, backoff_factor=0.2, status_forcelist=_BUSY, allowed_methods=None, raise_on_status=False)
        # The client has no setting for either; its session is made by then, and requests offers the adapter for it.
        # Only the API is asked again: a retry is logged with its address, and that of the store is signed.
        session = client.http_client()._session
        session.mount("https://", _Patient())
        session.mount(get_endpoint(KaggleEnv.PROD), _Patient(max_retries=retry))
        yield client


def _check_login_files() -> None:
    """Refuses a login in a file that others can read, of the files that Kaggle's client would take one from."""
    token = os.environ.get("KAGGLE_API_TOKEN", "")
    home = Path("~/.kaggle").expanduser()
    files = [Path(token)] if token else [home / "access_token", home / "access_token.txt"]
    if not token and not (os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY")):
        files += [Path(os.environ.get("KAGGLE_CONFIG_DIR") or home) / "kaggle.json", home / "kaggle.json"]
    for file in files:
        if file.is_file() and stat.S_IMODE(file.stat().st_mode) & 0o077:
            raise InvalidRequest(
                f"The Kaggle login in {file} can be read by others. Expected mode 0600. Run: chmod 600 {file}"
            )


def _md5(file: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return base64.b64encode(digest.digest()).decode()
