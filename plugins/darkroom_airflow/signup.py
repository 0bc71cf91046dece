"""Self sign-up for the stack: GET and POST /signup, off unless DARKROOM_SELF_SIGNUP is true.

Who signs up becomes a Viewer of Airflow, nothing more; an administrator may raise the account later. FAB's own form
wants reCAPTCHA and mail, which a server without the internet has not. Airflow loads plugins in every process, tasks
included; so Starlette is imported by the first request.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING

from darkroom_airflow.reports import Receive, Scope, Send

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

SIGNUP_PREFIX = "/signup"
NAME = re.compile(r"[a-z][a-z0-9._-]{1,30}")
LEAST_PASSWORD, MOST_PASSWORD = 12, 200
MOST_IN_AN_HOUR = 20

log = logging.getLogger(__name__)

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_FORM = """<form method="post" autocomplete="off">
<p><label>Name<br><input name="name" required pattern="[a-z][a-z0-9._\\-]{1,30}" maxlength="31"></label></p>
<p><label>Password<br><input name="password" type="password" required minlength="12" maxlength="200"></label></p>
<p><button>Sign up</button></p></form>"""


class SignupRoute:
    """The ASGI app that Airflow mounts; builds the Starlette app when the first request comes."""

    @cached_property
    def app(self) -> Starlette:
        return create_app()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


def create_app() -> Starlette:
    """A form and its answer, 404 where sign-up is off or FAB does not keep the accounts."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import Response
    from starlette.routing import Route

    made: deque[float] = deque(maxlen=MOST_IN_AN_HOUR)

    async def form(_: Request) -> Response:
        return _page(200, "") if _is_on() else Response(status_code=404, headers=_HEADERS)

    async def sign_up(request: Request) -> Response:
        if not _is_on():
            return Response(status_code=404, headers=_HEADERS)
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _page(403, "Sign up from this page.")
        given = await request.form(max_files=0, max_fields=4)
        name, password = str(given.get("name", "")), str(given.get("password", ""))
        if fault := _fault(name, password):
            return _page(400, fault)
        if len(made) == MOST_IN_AN_HOUR and time.monotonic() - made[0] < 3600:
            return _page(429, "Too many accounts were made in the last hour. Try again later, or ask an administrator.")
        if not await run_in_threadpool(_add_viewer, name, password):
            return _page(409, f"The name {name} is taken. Choose another one.")
        made.append(time.monotonic())
        log.info("%s has signed up as a Viewer.", name)
        return _page(201, f"{name} may now log in, as a viewer.", form=False)

    return Starlette(routes=[Route("/", form, methods=["GET"]), Route("/", sign_up, methods=["POST"])])


def _is_on() -> bool:
    from airflow.api_fastapi.app import get_auth_manager

    from darkroom.settings import get_settings

    return get_settings().self_signup and type(get_auth_manager()).__name__ == "FabAuthManager"


def _fault(name: str, password: str) -> str:
    if not NAME.fullmatch(name):
        return "A name is 2 to 31 small letters, digits, dots, dashes and underscores, and begins with a letter."
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD or name in password:
        return f"A password has {LEAST_PASSWORD} to {MOST_PASSWORD} characters and does not hold the name."
    return ""


def _add_viewer(name: str, password: str) -> bool:
    """Whether the account was made; False where the name is taken."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    with get_application_builder() as builder:
        manager = builder.sm
        if manager.find_user(username=name) is not None:
            return False
        role = manager.find_role("Viewer")
        return bool(manager.add_user(name, name, "-", f"{name}@localhost.invalid", role, password))


def _page(status: int, sentence: str, *, form: bool = True) -> Response:
    from starlette.responses import HTMLResponse

    from darkroom.html import escape

    told = f"<p role='status'>{escape(sentence)}</p>" if sentence else ""
    body = f"<!doctype html><meta charset='utf-8'><title>Sign up</title><h1>Sign up</h1>{told}{_FORM if form else ''}"
    style = "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:26rem;margin:4rem auto;padding:0 1rem}</style>"
    return HTMLResponse(body + style, status_code=status, headers=_HEADERS)
