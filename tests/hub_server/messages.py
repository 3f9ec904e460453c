"""Requests, answers, and the table that says which function answers which request."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING

from .accounts import Account, account_of
from .errors import HubError
from .store import Store

if TYPE_CHECKING:
    from .server import Hub


@dataclass
class Answer:
    """``body``: what json can write, text (HTML), bytes, or (file, first byte, number of bytes)."""

    body: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    hub: Hub
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Iterator[bytes]
    groups: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        return self.hub.store

    @property
    def token(self) -> str | None:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme:
            return token.strip() if scheme.lower() == "bearer" else scheme
        cookie = SimpleCookie(self.headers.get("cookie", "")).get(
            "token"
        )  # of a browser, see pages.py
        return cookie.value if cookie else None

    @property
    def account(self) -> Account | None:
        return account_of(self.token, self.hub.accounts)

    def first(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]

    def read(self) -> bytes:
        return b"".join(self.body)

    def json(self) -> dict:
        try:
            value = json.loads(self.read() or b"{}")
        except ValueError as error:
            raise HubError(400, f"the body is no JSON: {error}") from error
        if not isinstance(value, dict):
            raise HubError(400, "the body must be a JSON object")
        return value


Route = tuple[str, re.Pattern, Callable[[Request], object]]
KIND = "(?P<kind>models|datasets|spaces)"
REPO = "(?P<repo>[^/]+/[^/]+)"
PREFIX = "(?:(?P<prefix>datasets|spaces)/)?"


def route(method: str, pattern: str, function: Callable[[Request], object]) -> Route:
    """``pattern`` is matched against the path as it was sent; each named part is unquoted by itself."""
    return method, re.compile(pattern), function
