"""Limits for strangers on the server: the allowed routes, how many calls may wait, and no token of the owner.

Gradio opens many routes for features that the Space does not have (run history in the Hub's buckets, monitoring, a
proxy, deep links), and a new version may open others. So requests are allowed by name, before Gradio sees them.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Iterable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_JOIN = "/gradio_api/queue/join"
_FUNCTIONS = "(scene|swap|push|score|react)"
_MCP = "/gradio_api/mcp/?"
"""For agents: one POST per message, without sessions; its tools are the functions above."""
ROUTES = {
    "GET": (
        "/",  # the page and what it loads
        "/assets/.+",
        "/static/.+",
        "/favicon.ico",
        "/manifest.json",
        "/robots.txt",
        "/theme.css",
        "/gradio_api/theme.css",
        "/config/?",  # for the client library
        "/gradio_api/info/?",
        "/gradio_api/app_id/?",
        "/gradio_api/startup-events",  # asked once, by the process itself
        "/gradio_api/heartbeat/[^/]+",  # events and their answers
        "/gradio_api/queue/data",
        f"/gradio_api/call/{_FUNCTIONS}/[^/]+",
        "/gradio_api/upload_progress",
    ),
    "POST": (_JOIN, f"/gradio_api/call/{_FUNCTIONS}", "/gradio_api/upload", _MCP),
}
"""Regular expressions of whole paths; HEAD is allowed where GET is. All else is answered 404."""

MAX_WAITING = 96
"""Calls that wait for the model, of all visitors: about ten seconds of work."""
MAX_WAITING_EACH = 32
"""Calls that wait, of one address: a class room behind one address, but no flood."""
MAX_BODY = 64_000
"""Bytes of a call; the largest of the page's own has about 2,000. Uploads have a limit of their own."""
MAX_SESSIONS = 50
"""Sessions that Gradio remembers, about 120 kB each. All that a person set up is in the link."""

MAX_ANSWERS = 4 * MAX_WAITING
"""Sessions whose answers are kept until they are fetched."""

TOO_MANY = (
    f"{MAX_WAITING_EACH} of your calls are waiting already: expected to wait for one of their answers; "
    "try again in a few seconds."
)
BUSY = (
    f"{MAX_WAITING} calls of all visitors are waiting already: the Space is busy; try again in a few "
    "seconds."
)

_TOKENS = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HUGGINGFACE_HUB_TOKEN",
    "HUGGINGFACE_TOKEN",
    "OAUTH_CLIENT_SECRET",
    "HF_OIDC_RESOURCE",
)


def allowed(method: str, path: str) -> bool:
    """Whether a request may reach Gradio."""
    method = "GET" if method == "HEAD" else method
    return any(re.fullmatch(route, path) for route in ROUTES.get(method, ()))


class Gate:
    """ASGI middleware: routes by name, calls of bounded size and number, of functions that the page has.

    Args:
        app: Gradio's.
        waiting: the addresses of the visitors whose calls wait at this moment, one for each call.
        functions: the indices of the page's functions.
    """

    def __init__(
        self,
        app: Application,
        waiting: Callable[[], Iterable[str]],
        functions: Callable[[], Container[int]],
    ):
        self.app = app
        self.waiting = waiting
        self.functions = functions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif refusal := self.refusal(scope):
            await _answer(send, *refusal)
        elif scope["path"] == _JOIN:
            body = await _read(receive)
            if _function(body) in self.functions():
                await self.app(scope, _again(body, receive), send)
            else:
                await _answer(send, 422, "No function of this page: expected its fn_index.")
        else:
            await self.app(scope, receive, send)

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence for a request that may not pass."""
        if not allowed(scope["method"], scope["path"]):
            return 404, "Not found: the Space does not have this page."
        if scope["method"] != "POST" or scope["path"].endswith("/upload"):
            return None
        length = dict(scope["headers"]).get(b"content-length", b"")
        if not length.isdigit() or int(length) > MAX_BODY:
            return 413, f"The call is too large: expected at most {MAX_BODY} bytes."
        waiting = Counter(self.waiting())
        if waiting[visitor(scope)] >= MAX_WAITING_EACH:
            return 429, TOO_MANY
        if waiting.total() >= MAX_WAITING:
            return 503, BUSY
        return None


async def _read(receive: Receive) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """``receive`` with a body that was read already put back in front."""
    parts = [
        {
            "type": "http.request",
            "body": body,
            "more_body": False,
        }
    ]

    async def replay() -> dict[str, Any]:
        return parts.pop() if parts else await receive()

    return replay


def _function(body: bytes) -> int:
    """The function that a call names; -1 if it names none."""
    try:
        index = json.loads(body)["fn_index"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return -1
    return index if type(index) is int else -1


def visitor(scope: Scope) -> str:
    """The address of who asks; behind a proxy that the server trusts, the one that the proxy names."""
    return (scope.get("client") or ("unknown",))[0]


async def _answer(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": headers,
        }
    )
    await send({"type": "http.response.body", "body": body})


def forget_tokens() -> None:
    """Take the owner's token out of this process: all that it asks the Hub for are public backbones.

    ``huggingface_hub`` reads variables when it is imported and the file of ``hf auth login`` at each call, so both are
    changed: the environment, for later imports, and its constants.
    """
    from huggingface_hub import constants

    for name in _TOKENS:
        os.environ.pop(name, None)
    os.environ["HF_TOKEN_PATH"] = constants.HF_TOKEN_PATH = os.devnull
    os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"
    constants.HF_HUB_DISABLE_IMPLICIT_TOKEN = True


def reach_itself(host: str | None) -> None:
    """Gradio asks its own address once it listens: let no HTTP_PROXY of the machine stand between."""
    direct = ["localhost", "127.0.0.1", host or "localhost"]
    known = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [name.strip() for name in known.split(",")] + direct
    for variable in ("no_proxy", "NO_PROXY"):  # the first wins where both are set
        os.environ[variable] = ",".join(dict.fromkeys(filter(None, names)))
