"""Contents in, commits in: what the client asks before, the LFS protocol, and the commit itself."""

from __future__ import annotations

import base64
import binascii
import json
import re

from .accounts import check_write
from .checks import card_errors, check_path
from .errors import HubError, entry_not_found, revision_not_found
from .messages import KIND, PREFIX, REPO, Answer, Request, route
from .repos import writable
from .store import LFS_SUFFIXES, Repo, Store

LARGEST_REGULAR = 10 * 1024 * 1024


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except binascii.Error as error:
        raise HubError(400, f"content is no base64: {error}") from error


def _must_be_large(path: str, size: int, start: bytes) -> bool:
    return size > LARGEST_REGULAR or path.lower().endswith(LFS_SUFFIXES) or b"\0" in start


def _branch(repo: Repo, revision: str) -> str:
    name = revision.removeprefix("refs/heads/")
    if name not in repo.facts["branches"]:
        raise revision_not_found(revision)
    return name


def preupload(request: Request) -> dict:
    """For each file: how it must be uploaded, and what is there under its name."""
    repo = writable(request)
    files = repo.commit(_branch(repo, request.groups["revision"]))["files"]
    answers = []
    for file in request.json().get("files", []):
        path, size = check_path(file.get("path")), int(file.get("size", 0))
        mode = (
            "lfs"
            if _must_be_large(path, size, _decoded(file.get("sample", ""))) and size
            else "regular"
        )
        there = files.get(path)
        oid = there and (there["sha256"] if there["lfs"] else there["oid"])
        answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
    return {"files": answers}


def batch(request: Request) -> Answer:
    """Where to send which content; nothing for those that are here."""
    repo, wanted = writable(request), request.json()
    if wanted.get("operation") != "upload" or "basic" not in wanted.get("transfers", ["basic"]):
        raise HubError(422, "only uploads with the transfer basic are spoken here")
    objects, prefix = [], request.groups.get("prefix", "")
    base = f"{request.hub.url}/{prefix + '/' if prefix else ''}{repo.id}.git/info/lfs"
    for item in wanted.get("objects", []):
        oid, size = str(item.get("oid")), item.get("size")
        if not re.fullmatch("[0-9a-f]{64}", oid) or not isinstance(size, int) or size < 1:
            error = {"code": 422, "message": f"Invalid object {oid}"}
            objects.append(
                {"oid": oid, "size": size if isinstance(size, int) else 0, "error": error}
            )
            continue
        answer = {"oid": oid, "size": size, "authenticated": True}
        if oid not in request.store.objects:
            href = f"{request.hub.storage_url}/{oid}?size={size}&signature={request.hub.signature(oid)}"
            answer["actions"] = {"upload": {"href": href}, "verify": {"href": f"{base}/verify"}}
        objects.append(answer)
    return Answer(
        {"transfer": "basic", "objects": objects},
        headers={"Content-Type": "application/vnd.git-lfs+json"},
    )


def put(request: Request) -> Answer:
    """The content itself. Stored only if its hash and size are as announced."""
    oid = request.groups["oid"]
    if request.first("signature") != request.hub.signature(oid):
        raise HubError(403, "SignatureDoesNotMatch")
    length = request.headers.get("content-length")
    if length is not None and length != request.first("size"):
        raise HubError(
            400, f"EntityTooLarge: announced {request.first('size')} bytes, sent {length}"
        )
    request.store.objects.add(request.body, oid)
    return Answer(b"", headers={"ETag": f'"{oid}"'})


def verify(request: Request) -> dict:
    writable(request)
    wanted = request.json()
    oid, size = str(wanted.get("oid")), wanted.get("size")
    if oid not in request.store.objects:
        raise HubError(404, f"LFS object {oid} was not uploaded")
    if (there := request.store.objects.path(oid).stat().st_size) != size:
        raise HubError(422, f"LFS object {oid} has {there} bytes, not {size}")
    return {}


def commit(request: Request) -> dict:
    """Operations, one JSON object a line, after a header; all of them or none."""
    repo = writable(request)
    account = check_write(request.account, repo.owner)
    if request.first("create_pr"):
        raise HubError(400, "this server has no pull requests")
    try:
        lines = [json.loads(line) for line in request.read().splitlines() if line.strip()]
        operations = [(line["key"], line["value"]) for line in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise HubError(400, f"Invalid commit payload: {error}") from error
    if not operations or operations[0][0] != "header":
        raise HubError(400, "Invalid commit payload: the first line must be the header")
    header = operations[0][1]
    if not header.get("summary"):
        raise HubError(400, '"summary" is required')
    with request.store.lock:
        repo = request.store.repo(repo.folder.parent.parent.name.removesuffix("s"), repo.id)
        branch = _branch(repo, request.groups["revision"])
        head = repo.facts["branches"][branch]
        if header.get("parentCommit") not in (None, head):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repo.commit(head)["files"])
        for key, value in operations[1:]:
            _apply(request.store, files, key, value)
        _check_tree(request, repo, files)
        if files != repo.commit(head)["files"]:
            head = repo.add_commit(
                branch, files, account.name, header["summary"], header.get("description", "")
            )
    return {
        "success": True,
        "commitOid": head,
        "commitUrl": f"{request.hub.url}/{repo.id}/commit/{head}",
        "hookOutput": "",
    }


def _apply(store: Store, files: dict, key: str, value: dict) -> None:
    path = check_path(
        str(value.get("path", "")).rstrip("/") if key == "deletedFolder" else value.get("path")
    )
    if key == "file":
        content = _decoded(value.get("content"))
        if _must_be_large(path, len(content), content[:512]) and content:
            raise HubError(
                400,
                f"{path} is binary or larger than 10 MiB: it must be uploaded as a large file (LFS)",
            )
        files[path] = store.regular(content)
    elif key == "lfsFile":
        oid = str(value.get("oid"))
        if oid not in store.objects:
            raise HubError(
                400, f"LFS pointer of {path} points to a content that does not exist: {oid}"
            )
        files[path] = store.large(oid)
        if value.get("size", files[path]["size"]) != files[path]["size"]:
            raise HubError(400, f"{path} has {files[path]['size']} bytes, not {value['size']}")
    elif key == "deletedFile":
        if path not in files:
            raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        del files[path]
    elif key == "deletedFolder":
        inside = [name for name in files if name.startswith(f"{path}/")]
        if not inside:
            raise entry_not_found(path)
        for name in inside:
            del files[name]
    else:
        raise HubError(400, f"Invalid commit payload: unknown key {key!r}")


def _check_tree(request: Request, repo: Repo, files: dict) -> None:
    for path in files:
        parts = path.split("/")
        if any("/".join(parts[:i]) in files for i in range(1, len(parts))):
            raise HubError(400, f"{path}: one of its folders is a file")
    if "README.md" in files:
        kind = repo.folder.parent.parent.name.removesuffix("s")
        card = request.store.objects.path(files["README.md"]["sha256"]).read_text(
            encoding="utf-8", errors="replace"
        )
        errors, _ = card_errors(card, kind)
        if errors:
            raise HubError(400, "Invalid metadata in README.md: " + "; ".join(errors))


_API = f"/api/{KIND}/{REPO}"
_LFS = f"/{PREFIX}(?P<repo>[^/]+/[^/]+)\\.git/info/lfs"
ROUTES = [
    route("POST", f"{_API}/preupload/(?P<revision>[^/]+)", preupload),
    route("POST", f"{_API}/commit/(?P<revision>[^/]+)", commit),
    route("POST", f"{_LFS}/objects/batch", batch),
    route("POST", f"{_LFS}/verify", verify),
    route("PUT", "/_storage/(?P<oid>[0-9a-f]{64})", put),
]
