"""Collections of repositories."""

from __future__ import annotations

import json
import re
import secrets
from pathlib import Path

from .accounts import check_write, may_read
from .checks import check_name
from .errors import HubError, repo_not_found
from .messages import Answer, Request, route
from .store import TYPES, now, write_json


def _path(request: Request, slug: str) -> Path:
    return request.store.root / "collections" / f"{slug}.json"


def _all(request: Request) -> list[dict]:
    paths = sorted((request.store.root / "collections").glob("*/*.json"))
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return [c for c in found if may_read(request.account, c["owner"]["name"], c["private"])]


def _one(request: Request, write: bool = False) -> dict:
    found = [c for c in _all(request) if c["slug"] == request.groups["slug"]]
    if not found:
        raise HubError(404, "Collection not found")
    if write:
        check_write(request.account, found[0]["owner"]["name"])
    return found[0]


def _save(request: Request, collection: dict) -> dict:
    collection["lastUpdated"] = now()
    write_json(_path(request, collection["slug"]), collection)
    return _shown(collection)


def _shown(collection: dict) -> dict:
    return {**collection, "owner": collection["owner"]["name"]}


def create(request: Request) -> dict:
    wanted = request.json()
    owner, title = check_name(wanted.get("namespace")), wanted.get("title")
    check_write(request.account, owner)
    if not isinstance(title, str) or not 0 < len(title) < 60:
        raise HubError(400, '"title" must be a text of at most 59 characters')
    if len(wanted.get("description") or "") > 150:
        raise HubError(400, '"description" must have at most 150 characters')
    with request.store.lock:
        for other in _all(request):
            if (other["owner"]["name"], other["title"]) == (owner, title):
                raise HubError(
                    409, "You already have a collection with this title", slug=other["slug"]
                )
        slug = (
            f"{owner}/{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-')}-{secrets.token_hex(12)}"
        )
        facts = {
            "slug": slug,
            "title": title,
            "description": wanted.get("description"),
            "owner": {"name": owner},
        }
        facts |= {
            "items": [],
            "position": 0,
            "private": bool(wanted.get("private")),
            "theme": "blue",
            "upvotes": 0,
        }
        return _save(request, facts)


def add_item(request: Request) -> dict:
    wanted = request.json()
    item = wanted.get("item") or {}
    with request.store.lock:
        collection = _one(request, write=True)
        if item.get("type") in TYPES:
            repo = request.store.repo(item["type"], str(item.get("id")))
            if not may_read(request.account, repo.owner, repo.facts["private"]):
                raise repo_not_found()
        elif item.get("type") not in ("paper", "collection"):
            raise HubError(400, f"Invalid item type {item.get('type')!r}")
        if any((i["type"], i["id"]) == (item["type"], item["id"]) for i in collection["items"]):
            raise HubError(409, "Item is already in the collection")
        note = {"text": wanted["note"]} if wanted.get("note") else None
        position = len(collection["items"])
        entry = {
            "_id": secrets.token_hex(12),
            "id": item["id"],
            "type": item["type"],
            "position": position,
        }
        collection["items"].append(entry | ({"note": note} if note else {}))
        return _save(request, collection)


def update(request: Request) -> dict:
    wanted = request.json()
    with request.store.lock:
        collection = _one(request, write=True)
        known = ("title", "description", "private", "position", "theme")
        collection |= {name: wanted[name] for name in known if wanted.get(name) is not None}
        return {"data": _save(request, collection)}


def remove(request: Request) -> dict:
    with request.store.lock:
        _path(request, _one(request, write=True)["slug"]).unlink()
    return {}


def listing(request: Request) -> Answer:
    owners = request.query.get("owner", [])
    found = [_shown(c) for c in _all(request) if not owners or c["owner"]["name"] in owners]
    return Answer([{name: value for name, value in c.items() if name != "position"} for c in found])


_SLUG = "/api/collections/(?P<slug>[^/]+/[^/]+)"
ROUTES = [
    route("GET", "/api/collections", listing),
    route("POST", "/api/collections", create),
    route("GET", _SLUG, lambda request: _shown(_one(request))),
    route("PATCH", _SLUG, update),
    route("DELETE", _SLUG, remove),
    route("POST", f"{_SLUG}/items", add_item),
]
