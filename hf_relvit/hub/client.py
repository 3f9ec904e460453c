"""The one way to the Hub: a client whose user is known, and errors that say what to do.

    api = signed_in("relvit/rmts")  # no token, expired token, somebody else's namespace: RelViTError
    head = check_ours(api, "relvit/rmts", "dataset", mark="relvit-scenes")  # another project's: RelViTError
    create(api, "relvit/rmts", "dataset", public=False)

Wrap any other call of ``api`` in ``hub_errors(repo)``. Tokens stay where ``huggingface_hub`` keeps them
(``hf auth login`` or HF_TOKEN): no function of ours takes one, and no message shows one.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from huggingface_hub import HfApi, RepoCard
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # of the HTTP library that this huggingface_hub uses: no connection, time-outs
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id

from ..errors import RelViTError
from ..progress import transfer_bars

_NAME = r"[A-Za-z0-9_]([\w.-]*[A-Za-z0-9_])?"
_TOKEN = re.compile(r"hf_\w{8,}")
_LOGIN = "run `hf auth login`"


def check_id(repo: str) -> str:
    """``repo``, if it is a name owner/name that the Hub takes, which is found out without the Hub.

    Raises:
        RelViTError: it is not, for instance for "../x", "a/b/c", a letter that is not ASCII or two hyphens in a row.
    """
    ours = re.fullmatch(f"{_NAME}/{_NAME}", repo, re.ASCII) is not None and len(repo) <= 96
    try:
        validate_repo_id(repo)
    except HFValidationError:
        ours = False
    if not ours:
        raise RelViTError(
            f"{repo!r} is no name of a repository: write OWNER/NAME, such as relvit/rmts"
        )
    return repo


def signed_in(repo: str) -> HfApi:
    """A client for a user who may write to the owner of ``repo``.

    Raises:
        RelViTError: a malformed name, no token, an expired or unknown one, one that may only read, another owner.
    """
    owner = check_id(repo).split("/")[0]
    api = HfApi(library_name="hf_relvit")
    with hub_errors(repo):
        user = api.whoami()
    mine = [user["name"], *(org["name"] for org in user.get("orgs", []))]
    if owner not in mine:
        raise RelViTError(
            f"{repo}: you are {user['name']} and cannot write to {owner}: name one of {', '.join(mine)}",
            page="read-only-token",
        )
    if user.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise RelViTError(
            f"{repo}: your token may only read: make one that may write, and {_LOGIN}",
            page="read-only-token",
        )
    return api


def check_ours(api: HfApi, repo: str, repo_type: str, mark: str) -> str | None:
    """The last commit of a repository of ours.

    Args:
        repo_type: "model", "dataset" or "space".
        mark: the tag in the header of its card that says that it is ours.

    Returns:
        The commit, or None if there is no such repository.

    Raises:
        RelViTError: the repository is of another project: files, and no card with the mark.
    """
    with hub_errors(repo):
        try:
            facts = api.repo_info(repo, repo_type=repo_type)
        except RepositoryNotFoundError:
            return None
        files = {file.rfilename for file in getattr(facts, "siblings", None) or []}
        tags = []
        if "README.md" in files:
            card = api.hf_hub_download(repo, "README.md", repo_type=repo_type, revision=facts.sha)
            tags = RepoCard.load(card, ignore_metadata_errors=True).data.get("tags") or []
    if files - {".gitattributes"} and mark not in tags:
        raise RelViTError(
            f"{repo} is another project's: its card lacks the tag {mark}; choose another name",
            page="other-project",
        )
    return facts.sha


def create(api: HfApi, repo: str, repo_type: str, public: bool, **options) -> None:
    """Make the repository if it is not there: private, unless ``public``. A public one is never hidden.

    ``options`` go to ``HfApi.create_repo`` (a Space needs ``space_sdk``).
    """
    with hub_errors(repo):
        api.create_repo(repo, repo_type=repo_type, private=not public, exist_ok=True, **options)
        if public and api.repo_info(repo, repo_type=repo_type).private:
            api.update_repo_settings(repo, repo_type=repo_type, private=False)


@contextlib.contextmanager
def hub_errors(repo: str) -> Iterator[None]:
    """Turn errors of ``huggingface_hub`` into a RelViTError, one line with the cure; no bars in a log."""
    try:
        with transfer_bars():
            yield
    except RelViTError:
        raise
    except Exception as error:
        for cause in _causes(error):
            if told := _told(cause):
                raise RelViTError(_TOKEN.sub("hf_...", f"{repo}: {told}")) from error
        raise


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _told(error: BaseException) -> str:
    if isinstance(error, LocalTokenNotFoundError):
        return f"you are not signed in to the Hub: {_LOGIN}"
    if isinstance(error, OfflineModeIsEnabled):
        return "offline by HF_HUB_OFFLINE: unset it to reach the Hub"
    if isinstance(error, HfHubHTTPError):
        status, reason = error.response.status_code, " ".join((error.server_message or "").split())
        known = {
            401: f"your token is unknown or expired: {_LOGIN} (HF_TOKEN, if it is set, goes before)",
            403: f"the Hub forbids it ({reason}): {_LOGIN} with a token that may write there",
            404: "not found on the Hub, or private and not yours: check the name, and that you are signed in",
            409: f"the Hub reports a conflict ({reason}): run the same command again",
            412: "somebody else pushed at the same time; nothing of theirs was changed: run the same command again",
            429: "the Hub asks for patience (too many requests): run the same command again in some minutes",
        }
        if status >= 500:
            return (
                f"the Hub had an error ({status}); sent files are kept: run the same command again"
            )
        return known.get(status) or f"the Hub refused ({status}: {reason})"
    if isinstance(error, ConnectionError) and "xet" in str(error):
        return "the transfer by Xet broke: run the same command again, with HF_HUB_DISABLE_XET=1 if that does not help"
    if isinstance(error, (HTTPError, ConnectionError, TimeoutError)):
        return "the Hub cannot be reached, or the connection broke; sent files are kept: run the same command again"
    return ""
