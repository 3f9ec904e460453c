"""Files out: whole or by range; large ones through a storage link, as on the real Hub."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from .errors import HubError
from .messages import PREFIX, REPO, Answer, Request, route
from .repos import readable


def ranged(path: Path, request: Request, headers: dict[str, str]) -> Answer:
    """A file, or the part of it that the header Range names."""
    size, wanted = path.stat().st_size, request.headers.get("range", "")
    headers = {"Accept-Ranges": "bytes", **headers}
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
    if not found or found[1] == found[2] == "":
        return Answer((path, 0, size), headers=headers)
    if found[1]:
        start, end = int(found[1]), min(int(found[2]) if found[2] else size - 1, size - 1)
    else:
        start, end = max(size - int(found[2]), 0), size - 1
    if start > end:
        return Answer(b"", 416, {**headers, "Content-Range": f"bytes */{size}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{size}"
    return Answer((path, start, end - start + 1), 206, headers)


def resolve(request: Request) -> Answer:
    repo, path = readable(request), request.groups["path"]
    commit = repo.commit(request.groups["revision"])
    try:
        entry = repo.entry(commit, path)
    except HubError as error:
        error.fields["commit"] = commit["sha"]
        raise
    headers = {
        "X-Repo-Commit": commit["sha"],
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(Path(path).name)}",
    }
    if not entry["lfs"]:
        content = request.store.objects.path(entry["sha256"])
        return ranged(content, request, {**headers, "ETag": f'"{entry["oid"]}"'})
    link = f"{request.hub.storage_url}/{entry['sha256']}?signature={request.hub.signature(entry['sha256'])}"
    link += f"&name={quote(Path(path).name)}"
    large = {
        "X-Linked-Etag": f'"{entry["sha256"]}"',
        "X-Linked-Size": str(entry["size"]),
        "Location": link,
    }
    return Answer(b"", 302, {**headers, **large, "ETag": f'"{entry["oid"]}"'})


def storage(request: Request) -> Answer:
    oid = request.groups["oid"]
    if request.first("signature") != request.hub.signature(oid):
        raise HubError(403, "SignatureDoesNotMatch")
    if oid not in request.store.objects:
        raise HubError(404, "NoSuchKey")
    headers = {"ETag": f'"{oid}"'}
    if request.first("name").endswith(".png"):
        headers["Content-Type"] = "image/png"
    return ranged(request.store.objects.path(oid), request, headers)


ROUTES = [
    route("GET", f"/{PREFIX}{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", resolve),
    route("GET", "/_storage/(?P<oid>[0-9a-f]{64})", storage),
]
