"""The answer to a request that the Hub refuses."""

from __future__ import annotations


class HubError(Exception):
    """Args: HTTP status, message for people, the ``X-Error-Code`` by which the client tells errors apart."""

    def __init__(self, status: int, message: str, code: str | None = None, **fields):
        super().__init__(message)
        self.status, self.message, self.code, self.fields = status, message, code, fields


def repo_not_found() -> HubError:
    """Also for private repositories, so that nobody learns that they exist."""
    return HubError(404, "Repository not found", "RepoNotFound")


def revision_not_found(revision: str) -> HubError:
    return HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")


def entry_not_found(path: str) -> HubError:
    return HubError(404, f"Entry not found: {path}", "EntryNotFound")
