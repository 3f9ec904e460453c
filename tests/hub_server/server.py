"""The HTTP side: connections, bodies, headers, and the failures that are switched on."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from .accounts import ACCOUNTS, Account
from .errors import HubError
from .faults import Fault, Faults
from .messages import Answer, Request
from .store import Store

PIECE = 1 << 16


class Hub:
    """A running Hub: ``with Hub(folder) as hub: HfApi(hub.url, token="local-relvit")``.

    Args:
        folder: for all that it stores; what is there from before is served.
        port: 0 for any free one.
        accounts: by token.
    """

    def __init__(
        self, folder: str | Path, port: int = 0, accounts: dict[str, Account] | None = None
    ):
        from . import collections, files, pages, repos, trees, uploads

        self.store = Store(folder)
        self.accounts = ACCOUNTS if accounts is None else accounts
        self.faults = Faults()
        self.requests: list[
            tuple[str, str, int]
        ] = []  # (method, path, status) of each that was answered
        self.routes = [
            *repos.ROUTES,
            *trees.ROUTES,
            *uploads.ROUTES,
            *files.ROUTES,
            *collections.ROUTES,
            *pages.ROUTES,
        ]
        self._secret = secrets.token_bytes(16)
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", port), type("Handler", (_Handler,), {"hub": self})
        )
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        # Another host, as on the real Hub: the client does not follow when it asks for facts, nor sends its token.
        self.storage_url = f"http://localhost:{self._server.server_address[1]}/_storage"

    def __enter__(self) -> Hub:
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *exception) -> None:
        self._server.shutdown()
        self._server.server_close()

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def fail(self, method: str = "", path: str = "", **options) -> None:
        """Switch on a ``Fault``."""
        self.faults.add(Fault(method, path, **options))

    def environment(self, cache: str | Path, token: str | None = "local-relvit") -> dict[str, str]:
        """What the environment of a user's process must say. ``cache``: the folder for HF_HOME."""
        variables = {
            "HF_ENDPOINT": self.url,
            "HF_HUB_DISABLE_XET": "1",  # this server speaks LFS only, and the client does not ask first
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HOME": str(cache),
        }
        return variables | ({"HF_TOKEN": token} if token else {})

    def signature(self, sha256: str) -> str:
        """Storage links need no token, as on the real Hub: whoever was given one may use it."""
        return hmac.new(self._secret, sha256.encode(), hashlib.sha256).hexdigest()[:32]

    def answer(self, request: Request) -> Answer:
        for method, pattern, function in self.routes:
            found = pattern.fullmatch(request.path)
            if found and (method == request.method or (method, request.method) == ("GET", "HEAD")):
                request.groups = {
                    name: unquote(value) for name, value in found.groupdict().items() if value
                }
                try:
                    result = function(request)
                    return result if isinstance(result, Answer) else Answer(result)
                except HubError as error:
                    headers = {"X-Error-Message": error.message} | (
                        {"X-Error-Code": error.code} if error.code else {}
                    )
                    commit = error.fields.pop("commit", None)
                    headers |= {"X-Repo-Commit": commit} if commit else {}
                    return Answer({"error": error.message, **error.fields}, error.status, headers)
                except ConnectionError:
                    raise
                except Exception:  # a fault of this server: seen by its user, and not tried again as a lost connection
                    traceback.print_exc()
                    return Answer({"error": "Internal Server Error"}, 500)
        return Answer({"error": f"Cannot {request.method} {request.path}"}, 404)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        fault = self.hub.faults.next(self.command, parts.path)
        drop = fault if fault and fault.status is None else None
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self._body(headers, drop if self.command != "GET" else None)
        query = parse_qs(parts.query, keep_blank_values=True)
        request = Request(self.hub, self.command, parts.path, query, headers, body)
        try:
            if fault and fault.status is not None:
                answer = Answer({"error": "switched to fail"}, fault.status)
            else:
                answer = self.hub.answer(request)
            for _ in body:  # what was not read would be taken for the next request
                pass
        except ConnectionError:
            self.close_connection = True
            self.hub.requests.append((self.command, parts.path, 0))
            return
        self.hub.requests.append((self.command, parts.path, answer.status))
        self._send(answer, drop)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _body(self, headers: dict[str, str], drop: Fault | None) -> Iterator[bytes]:
        """The pieces of the body; ConnectionError if it ends early or should."""
        left = drop.after if drop else None
        for piece in self._pieces(headers):
            if left is not None and (left := left - len(piece)) <= 0:
                break
            yield piece
        if drop:
            raise ConnectionError("switched to drop the connection")

    def _pieces(self, headers: dict[str, str]) -> Iterator[bytes]:
        if headers.get("expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while length := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                yield from self._exactly(length)
                self.rfile.readline()
            while self.rfile.readline().strip():  # trailers
                pass
            return
        yield from self._exactly(int(headers.get("content-length", 0)))

    def _exactly(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self.rfile.read(min(left, PIECE))
            if not piece:
                raise ConnectionError("the client went away")
            left -= len(piece)
            yield piece

    def _send(self, answer: Answer, drop: Fault | None) -> None:
        body, kind = answer.body, "application/json"
        if isinstance(body, tuple):
            length, kind = body[2], "application/octet-stream"
        else:
            if isinstance(body, str):
                body, kind = body.encode(), "text/html; charset=utf-8"
            elif isinstance(body, bytes):
                kind = "text/plain; charset=utf-8"
            else:
                body = json.dumps(body).encode()
            length = len(body)
        self.send_response_only(answer.status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(length),
            **answer.headers,
        }.items():
            self.send_header(name, " ".join(value.encode("ascii", "replace").decode().split()))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            self._write(body, drop)
        except ConnectionError:
            self.close_connection = True

    def _write(self, body, drop: Fault | None) -> None:
        if drop:
            self.close_connection = True
        if isinstance(body, bytes):
            self.wfile.write(body[: drop.after] if drop else body)
            return
        path, start, left = body
        left = min(left, drop.after) if drop else left
        with path.open("rb") as file:
            file.seek(start)
            while left:
                piece = file.read(min(left, PIECE))
                self.wfile.write(piece)
                left -= len(piece)
