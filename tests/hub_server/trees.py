"""What is in a repository: files and folders, commits, branches and tags."""

from __future__ import annotations

from urllib.parse import parse_qs

from .errors import HubError, entry_not_found
from .messages import KIND, REPO, Answer, Request, route
from .repos import lfs_facts, page, readable, writable
from .store import Repo


def _entries(repo: Repo, commit: dict, expand: bool) -> dict[str, dict]:
    """Files and folders of a commit, by path."""
    found = {}
    for path, entry in commit["files"].items():
        parts = path.split("/")
        for i in range(1, len(parts)):
            folder = "/".join(parts[:i])
            found[folder] = {"type": "directory", "oid": commit["sha"], "size": 0, "path": folder}
        found[path] = {"type": "file", "oid": entry["oid"], "size": entry["size"], "path": path}
        if entry["lfs"]:
            found[path]["lfs"] = lfs_facts(entry)
    if expand:
        for path, what in found.items():
            last = _last(repo, commit, path)
            what["lastCommit"] = {"id": last["sha"], "title": last["title"], "date": last["date"]}
    return found


def _last(repo: Repo, commit: dict, path: str) -> dict:
    """The commit that last changed a file or anything in a folder."""

    def there(of: dict) -> dict:
        return {
            p: e["sha256"] for p, e in of["files"].items() if p == path or p.startswith(f"{path}/")
        }

    for earlier in repo.history(commit["sha"]):
        if there(earlier) != there(commit):
            break
        commit = earlier
    return commit


def tree(request: Request) -> Answer:
    repo, folder = readable(request), request.groups.get("path", "").strip("/")
    commit = repo.commit(request.groups["revision"])
    recursive = request.first("recursive").lower() in ("true", "1")
    entries = _entries(repo, commit, request.first("expand").lower() in ("true", "1"))
    if folder and entries.get(folder, {}).get("type") != "directory":
        raise entry_not_found(folder)
    inside = {
        path: what for path, what in entries.items() if not folder or path.startswith(f"{folder}/")
    }
    deep = folder.count("/") + 1 if folder else 0
    return page(
        [what for path, what in sorted(inside.items()) if recursive or path.count("/") == deep],
        request,
    )


def paths_info(request: Request) -> list:
    repo = readable(request)
    if request.headers.get("content-type", "").startswith("application/json"):
        wanted = request.json()
        paths, expand = wanted.get("paths", []), bool(wanted.get("expand"))
    else:
        form = parse_qs(request.read().decode())
        paths, expand = form.get("paths", []), form.get("expand", [""])[0].lower() in ("true", "1")
    entries = _entries(repo, repo.commit(request.groups["revision"]), expand)
    return [entries[path.strip("/")] for path in paths if path.strip("/") in entries]


def refs(request: Request) -> dict:
    repo = readable(request)

    def named(kind: str, folder: str) -> list[dict]:
        found = sorted(repo.facts[kind].items())
        return [
            {"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": sha}
            for name, sha in found
        ]

    return {
        "branches": named("branches", "heads"),
        "tags": named("tags", "tags"),
        "converts": [],
        "pullRequests": [],
    }


def commits(request: Request) -> Answer:
    history = readable(request).history(request.groups["revision"])
    keys = ("title", "message", "date")
    return page(
        [
            {"id": c["sha"], "authors": [{"user": c["author"]}], **{k: c[k] for k in keys}}
            for c in history
        ],
        request,
    )


def add_ref(request: Request) -> dict:
    repo, wanted, kind = writable(request), request.json(), request.groups["ref"]
    name = request.groups["name"] if kind == "branch" else wanted.get("tag")
    refs = "branches" if kind == "branch" else "tags"
    if (
        not isinstance(name, str)
        or not name
        or ".." in name
        or name.startswith(("-", "/"))
        or " " in name
    ):
        raise HubError(400, f"Invalid {kind} name: {name!r}")
    with request.store.lock:
        target = repo.sha(
            wanted.get("startingPoint", "main") if kind == "branch" else request.groups["name"]
        )
        if name in repo.facts[refs]:
            raise HubError(409, f"{kind} {name} exists already")
        repo.facts[refs][name] = target
        repo.save()
    return {}


def remove_ref(request: Request) -> dict:
    repo, kind, name = writable(request), request.groups["ref"], request.groups["name"]
    refs = repo.facts["branches" if kind == "branch" else "tags"]
    with request.store.lock:
        if (kind, name) == ("branch", "main"):
            raise HubError(403, "main cannot be deleted")
        if name not in refs:
            raise HubError(404, f"no {kind} {name}", "RevisionNotFound")
        del refs[name]
        repo.save()
    return {}


_API = f"/api/{KIND}/{REPO}"
ROUTES = [
    route("GET", f"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", tree),
    route("POST", f"{_API}/paths-info/(?P<revision>[^/]+)", paths_info),
    route("GET", f"{_API}/refs", refs),
    route("GET", f"{_API}/commits/(?P<revision>[^/]+)", commits),
    route("POST", f"{_API}/(?P<ref>branch|tag)/(?P<name>[^/]+)", add_ref),
    route("DELETE", f"{_API}/(?P<ref>branch|tag)/(?P<name>[^/]+)", remove_ref),
]
