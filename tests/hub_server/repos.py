"""Repositories: create, delete, describe, list."""

from __future__ import annotations

from urllib.parse import urlencode

from .accounts import check_write, may_read, whoami
from .checks import card_errors, check_name
from .errors import HubError, repo_not_found
from .messages import KIND, REPO, Answer, Request, route
from .store import TYPES, Repo

PAGE = 1000


def readable(request: Request) -> Repo:
    """The repository that the path names, if the visitor may see it."""
    kind = request.groups.get("kind") or request.groups.get("prefix") or "models"
    repo = request.store.repo(kind.removesuffix("s"), request.groups["repo"])
    if not may_read(request.account, repo.owner, repo.facts["private"]):
        raise repo_not_found()
    return repo


def writable(request: Request) -> Repo:
    repo = readable(request)
    check_write(request.account, repo.owner)
    return repo


def page(items: list, request: Request) -> Answer:
    """One page of a list, with the link to the next one."""
    start, limit = (
        int(request.first("cursor", "0")),
        min(int(request.first("limit", str(PAGE))), PAGE),
    )
    headers = {}
    if start + limit < len(items):
        query = urlencode({**request.query, "cursor": start + limit}, doseq=True)
        headers["Link"] = f'<{request.hub.url}{request.path}?{query}>; rel="next"'
    return Answer(items[start : start + limit], headers=headers)


def create(request: Request) -> dict:
    wanted = request.json()
    owner = _owner(request, wanted)
    name, kind = check_name(wanted.get("name")), wanted.get("type") or "model"
    if kind not in TYPES:
        raise HubError(400, f"Invalid repo type {kind!r}")
    if kind == "space" and wanted.get("sdk") not in ("gradio", "docker", "static", "streamlit"):
        raise HubError(400, f"Invalid sdk {wanted.get('sdk')!r}")
    private = bool(wanted.get("private")) or wanted.get("visibility") == "private"
    url = f"{request.hub.url}/{'' if kind == 'model' else kind + 's/'}{owner}/{name}"
    try:
        request.store.create(kind, f"{owner}/{name}", private, wanted.get("sdk"))
    except HubError as error:
        error.fields["url"] = url
        raise
    return {"url": url, "name": f"{owner}/{name}", "private": private}


def _owner(request: Request, wanted: dict) -> str:
    """The namespace that a request names, by default the user's own; if the user may write there."""
    account = request.account
    owner = wanted.get("organization") or (account.name if account else "")
    check_write(account, owner)
    return check_name(owner)


def _named(request: Request) -> Repo:
    wanted = request.json()
    kind, owner, name = (
        wanted.get("type") or "model",
        _owner(request, wanted),
        check_name(wanted.get("name")),
    )
    request.groups = {"kind": f"{kind}s", "repo": f"{owner}/{name}"}
    return writable(request)


def delete(request: Request) -> dict:
    request.store.delete(_named(request))
    return {}


def settings(request: Request) -> dict:
    repo, wanted = writable(request), request.json()
    with request.store.lock:
        if "private" in wanted or "visibility" in wanted:
            repo.facts["private"] = (
                bool(wanted.get("private")) or wanted.get("visibility") == "private"
            )
        repo.save()
    return {"private": repo.facts["private"]}


def described(repo: Repo, revision: str, files: bool = True) -> dict:
    commit = repo.commit(revision)
    card = repo.card(commit)
    tags = [str(tag) for tag in card.get("tags") or []]
    for key, prefix in (
        ("license", "license:"),
        ("datasets", "dataset:"),
        ("base_model", "base_model:"),
    ):
        values = card.get(key) or []
        tags += [f"{prefix}{value}" for value in (values if isinstance(values, list) else [values])]
    for key in ("library_name", "pipeline_tag"):
        tags += [card[key]] if key in card else []
    facts = {
        "_id": commit["sha"][:24],
        "id": repo.id,
        "modelId": repo.id,
        "author": repo.owner,
        "sha": commit["sha"],
        "private": repo.facts["private"],
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": tags,
        "cardData": card,
        "createdAt": repo.facts["created"],
        "lastModified": commit["date"],
        **{key: card[key] for key in ("library_name", "pipeline_tag") if key in card},
        **({"model-index": card["model-index"]} if "model-index" in card else {}),
        **({"sdk": repo.facts["sdk"]} if repo.facts["sdk"] else {}),
    }
    if files:
        facts["siblings"] = [
            {
                "rfilename": path,
                "size": entry["size"],
                "blobId": entry["oid"],
                "lfs": lfs_facts(entry),
            }
            for path, entry in sorted(commit["files"].items())
        ]
    return facts


def lfs_facts(entry: dict) -> dict | None:
    if not entry["lfs"]:
        return None
    return {
        "oid": entry["sha256"],
        "sha256": entry["sha256"],
        "size": entry["size"],
        "pointerSize": 130,
    }


def info(request: Request) -> dict:
    return described(readable(request), request.groups.get("revision", "main"))


def listing(request: Request) -> Answer:
    account, author = request.account, request.first("author")
    words = [word.lower() for word in request.query.get("search", [])]
    wanted = set(request.query.get("filter", []))
    found = []
    for repo in request.store.repos(request.groups["kind"].removesuffix("s")):
        if not may_read(account, repo.owner, repo.facts["private"]) or author not in (
            "",
            repo.owner,
        ):
            continue
        facts = described(repo, "main", files=bool(request.first("full")))
        if all(word in repo.id.lower() for word in words) and wanted <= {
            *facts["tags"],
            facts.get("pipeline_tag"),
        }:
            found.append(facts)
    return page(found, request)


def validate_yaml(request: Request) -> Answer:
    wanted = request.json()
    errors, warnings = card_errors(wanted.get("content", ""), wanted.get("repoType") or "model")
    body = {
        "errors": [{"message": e} for e in errors],
        "warnings": [{"message": w} for w in warnings],
    }
    return Answer(body, 400 if errors else 200)


_API = f"/api/{KIND}/{REPO}"
ROUTES = [
    route("GET", "/api/whoami-v2", lambda request: whoami(request.account)),
    route("POST", "/api/validate-yaml", validate_yaml),
    route("POST", "/api/repos/create", create),
    route("DELETE", "/api/repos/delete", delete),
    route("GET", f"/api/{KIND}", listing),
    route("GET", _API, info),
    route("PUT", f"{_API}/settings", settings),
    route("GET", f"{_API}/revision/(?P<revision>[^/]+)", info),
]
