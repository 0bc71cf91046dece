"""Serves the reports of any lake behind Airflow's login: GET /darkroom/reports/<path below reports/>.

Airflow's plugin apps have no check of their own, so everything here passes one first: without a login every address
answers 401 and no bytes, and a user who may not see DAGs gets 403. Pages are sandboxed: whatever a report holds, it
can neither act as the reader nor reach another host.

Airflow loads plugins in every process, tasks included; so FastAPI and the lake are imported by the first request.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.responses import Response

URL_PREFIX = "/darkroom"

_HEADERS = {
    "Content-Security-Policy": (
        "sandbox allow-scripts; default-src 'none'; img-src data: 'self'; style-src 'unsafe-inline'; "
        "font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
_CHUNK_BYTES = 1 << 20
_SHOWN_IN_BROWSER = frozenset(
    {"text/html", "text/plain", "text/css", "application/json", "image/png", "image/jpeg", "image/svg+xml"}
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class ReportRoute:
    """The ASGI app that Airflow mounts; builds the FastAPI app when the first request comes."""

    @cached_property
    def app(self) -> FastAPI:
        return create_app()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def create_app() -> FastAPI:
    """The FastAPI app: one route, no documentation pages, a login check before any routing."""
    from fastapi import FastAPI

    app = FastAPI(title="Darkroom reports", docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def checked(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await _refusal(request) or await call_next(request)
        response.headers.update(_HEADERS)
        return response

    def report(path: str) -> Response:
        return serve(f"reports/{path}")

    app.add_api_route("/reports/{path:path}", report, methods=["GET", "HEAD"])
    return app


async def _refusal(request: Request) -> Response | None:
    """The empty answer to somebody who is not logged in (401) or may not see DAGs (403); None for the others."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.core_api.security import get_user
    from fastapi import HTTPException
    from fastapi.security import HTTPBearer
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import Response

    try:
        user = await get_user(request, None, await HTTPBearer(auto_error=False)(request))
    except HTTPException as error:
        return Response(status_code=error.status_code)
    allowed = await run_in_threadpool(lambda: get_auth_manager().is_authorized_dag(method="GET", user=user))
    return None if allowed else Response(status_code=403)


def serve(path: str) -> Response:
    """The lake's blob at ``path`` as a stream, or a page that says in one sentence why it cannot be had."""
    from starlette.responses import StreamingResponse

    from darkroom.errors import InvalidRequest, StorageUnavailable
    from darkroom.storage import open_lake

    try:
        stream = open_lake().open(path)
    except (FileNotFoundError, InvalidRequest):
        return _page(404, f"There is no report at {path}. Open it from the task that made it, or run that task again.")
    except StorageUnavailable as error:
        return _page(503, error.message)
    media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    headers = {} if media_type in _SHOWN_IN_BROWSER else {"Content-Disposition": "attachment"}
    return StreamingResponse(_chunks(stream), media_type=media_type, headers=headers)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk


def _page(status: int, sentence: str) -> Response:
    from starlette.responses import HTMLResponse

    from darkroom.html import Page

    return HTMLResponse(Page("No report here").text(sentence).render(), status_code=status)
