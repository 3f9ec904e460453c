"""Storage on disk: contents by their SHA-256, commits as whole snapshots, one folder a repository.

    objects/ab/abcdef...                          content
    repos/datasets/relvit/rmts/repo.json          facts, branches and tags
    repos/datasets/relvit/rmts/commits/SHA.json   {sha, parent, title, message, author, date, files}
    collections/relvit/SLUG.json

Every file appears under its name only when it is whole, so that a killed server loses at most the request in flight.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from .checks import metadata
from .errors import HubError, entry_not_found, repo_not_found, revision_not_found

TYPES = ("model", "dataset", "space")
_LARGE = """
.7z .arrow .bin .ckpt .gif .gz .h5 .jpeg .jpg .joblib .model .mp4 .msgpack .npy .npz .onnx .parquet .pickle .pkl .png
.pt .pth .safetensors .tar .tflite .wasm .wav .webp .xz .zip .zst
"""
LFS_SUFFIXES = tuple(_LARGE.split())


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{threading.get_ident()}.tmp")
    temporary.write_text(json.dumps(value, indent=1), encoding="utf-8")
    os.replace(temporary, path)


class Objects:
    """Contents by their SHA-256."""

    def __init__(self, root: Path):
        self.root, self.incoming = root / "objects", root / "incoming"
        shutil.rmtree(self.incoming, ignore_errors=True)  # of a server that was killed
        self.incoming.mkdir(parents=True)

    def path(self, sha256: str) -> Path:
        return self.root / sha256[:2] / sha256

    def __contains__(self, sha256: str) -> bool:
        return bool(re.fullmatch(r"[0-9a-f]{64}", sha256)) and self.path(sha256).exists()

    def add(self, pieces: Iterator[bytes], sha256: str | None = None) -> tuple[str, int]:
        """Store a content; HubError 400 if it does not have the hash that it should have."""
        digest, size = hashlib.sha256(), 0
        with tempfile.NamedTemporaryFile(dir=self.incoming, delete=False) as file:
            try:
                for piece in pieces:
                    file.write(piece)
                    digest.update(piece)
                    size += len(piece)
                file.close()
                found = digest.hexdigest()
                if sha256 not in (None, found):
                    raise HubError(400, f"the content has the SHA-256 {found}, not {sha256}")
                self.path(found).parent.mkdir(parents=True, exist_ok=True)
                os.replace(file.name, self.path(found))
            finally:
                Path(file.name).unlink(missing_ok=True)
        return found, size


class Repo:
    """One repository. ``files`` of a commit: {path: {oid, sha256, size, lfs}}, where ``oid`` is git's."""

    def __init__(self, folder: Path, objects: Objects):
        self.folder, self.objects = folder, objects
        self.facts = json.loads((folder / "repo.json").read_text(encoding="utf-8"))

    @property
    def id(self) -> str:
        return self.facts["id"]

    @property
    def owner(self) -> str:
        return self.id.split("/")[0]

    def save(self) -> None:
        write_json(self.folder / "repo.json", self.facts)

    def sha(self, revision: str) -> str:
        """The commit of a branch, a tag or (the start of) a commit id."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        for refs in (self.facts["branches"], self.facts["tags"]):
            if name in refs:
                return refs[name]
        if re.fullmatch(r"[0-9a-f]{7,40}", revision):
            found = [path.stem for path in (self.folder / "commits").glob(f"{revision}*.json")]
            if len(found) == 1:
                return found[0]
        raise revision_not_found(revision)

    def commit(self, revision: str) -> dict:
        return json.loads(
            (self.folder / "commits" / f"{self.sha(revision)}.json").read_text(encoding="utf-8")
        )

    def history(self, revision: str) -> Iterator[dict]:
        sha: str | None = self.sha(revision)
        while sha:
            commit = self.commit(sha)
            yield commit
            sha = commit["parent"]

    def add_commit(
        self, branch: str, files: dict, author: str, title: str, message: str = ""
    ) -> str:
        parent = self.facts["branches"].get(branch)
        commit = {
            "parent": parent,
            "title": title,
            "message": message,
            "author": author,
            "date": now(),
            "files": files,
        }
        commit["sha"] = hashlib.sha1(json.dumps([self.id, commit]).encode()).hexdigest()
        write_json(self.folder / "commits" / f"{commit['sha']}.json", commit)
        self.facts["branches"][branch] = commit["sha"]
        self.facts["modified"] = commit["date"]
        self.save()
        return commit["sha"]

    def entry(self, commit: dict, path: str) -> dict:
        if path not in commit["files"]:
            raise entry_not_found(path)
        return commit["files"][path]

    def read(self, commit: dict, path: str) -> bytes:
        return self.objects.path(self.entry(commit, path)["sha256"]).read_bytes()

    def card(self, commit: dict) -> dict:
        """The header of README.md."""
        readme = self.read(commit, "README.md") if "README.md" in commit["files"] else b""
        return metadata(readme.decode())


class Store:
    """All repositories. ``lock`` is held while anything but contents is changed."""

    def __init__(self, root: str | Path):
        self.root = Path(root).resolve()
        self.objects = Objects(self.root)
        self.lock = threading.RLock()

    def _folder(self, kind: str, repo_id: str) -> Path:
        return self.root / "repos" / f"{kind}s" / repo_id

    def repo(self, kind: str, repo_id: str) -> Repo:
        folder = self._folder(kind, repo_id)
        if (
            not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", repo_id)
            or not (folder / "repo.json").exists()
        ):
            raise repo_not_found()
        return Repo(folder, self.objects)

    def repos(self, kind: str) -> list[Repo]:
        files = (self.root / "repos" / f"{kind}s").glob("*/*/repo.json")
        repos = [Repo(path.parent, self.objects) for path in files]
        return sorted(repos, key=lambda repo: repo.facts["modified"], reverse=True)

    def create(self, kind: str, repo_id: str, private: bool, sdk: str | None) -> Repo:
        folder = self._folder(kind, repo_id)
        with self.lock:
            if (folder / "repo.json").exists():
                raise HubError(409, "You already created this repo")
            facts = {
                "id": repo_id,
                "private": private,
                "sdk": sdk,
                "created": now(),
                "branches": {},
                "tags": {},
            }
            shutil.rmtree(folder, ignore_errors=True)
            write_json(folder / "repo.json", facts)
            repo = Repo(folder, self.objects)
            rules = "".join(
                f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES
            )
            repo.add_commit(
                "main",
                {".gitattributes": self.regular(rules.encode())},
                repo.owner,
                "initial commit",
            )
        return repo

    def delete(self, repo: Repo) -> None:
        with self.lock:
            (repo.folder / "repo.json").unlink()
            shutil.rmtree(repo.folder)
            with contextlib.suppress(OSError):
                repo.folder.parent.rmdir()

    def regular(self, content: bytes) -> dict:
        """Store a small file; its entry for a commit."""
        sha256, size = self.objects.add(iter([content]))
        return {"oid": git_oid(content), "sha256": sha256, "size": size, "lfs": False}

    def large(self, sha256: str) -> dict:
        """The entry of a content that was uploaded before."""
        size = self.objects.path(sha256).stat().st_size
        return {"oid": git_oid(pointer(sha256, size)), "sha256": sha256, "size": size, "lfs": True}


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def pointer(sha256: str, size: int) -> bytes:
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    )
