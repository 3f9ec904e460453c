"""Publish a whole house: data sets, models, their benchmark, the Space, and a collection of them.

1. Look at every repository first: one that is another project's stops the release before anything is sent.
2. Push part by part. Each is one commit, or none if nothing changed: after an interruption the same call goes on.
3. Tag models, benchmark and Space with the version of the package; data sets have the tag of their generator.
4. Put the published ones into the collection of the owner.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from huggingface_hub import HfApi

from .. import __version__
from ..building.card import MARK as SCENES
from .client import check_id, check_ours, hub_errors, signed_in

COLLECTION = "hf_relvit"
"""Title of the collection, by which it is found again."""
DESCRIPTION = (
    "Do vision transformers see relations between objects? Stimuli, models with alignments, a demo."
)
_FILE_LINE = re.compile(r"\s*[\d.]+ MB  \S+")


@dataclass(frozen=True)
class Part:
    """A repository of the house.

    Attributes:
        repo: "owner/name".
        repo_type: "dataset", "model" or "space".
        mark: tag of the card by which we know it as ours.
        note: a sentence for the collection.
        push: publishes it, called with ``public``, ``dry_run`` and ``say``; None where there is nothing to publish.
        missing: names of absent configs, or the reason.
    """

    repo: str
    repo_type: Literal["dataset", "model", "space"]
    mark: str
    note: str
    push: Callable[..., object] | None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """Outcome of a part.

    Attributes:
        repo, repo_type: of the part.
        state: "would be sent", "published", "unchanged" or "missing".
        commit: the last one; None for a dry run and where there is nothing.
        missing: number of things that are not there.
    """

    repo: str
    repo_type: str
    state: str
    commit: str | None = None
    missing: int = 0


def release(
    parts: Iterable[Part],
    owner: str,
    *,
    public: bool = False,
    dry_run: bool = False,
    say: Callable[[str], object] = print,
) -> list[Outcome]:
    """Publish the parts and their collection; see the head of this module.

    Args:
        parts: in the order of publishing: a card links only repositories that are there already.
        owner: of all of them.
        public: for everybody to see; new repositories are private by default, existing ones stay as they are.
        dry_run: list repositories with their sizes; nothing is sent, and no account is needed.
        say: gets each line.

    Raises:
        RelViTError: no network, no token, an owner without rights, a name that is taken. Every repository is then
            whole, as it was before or as it is now.
    """
    parts = list(parts)
    check_id(f"{owner}/{COLLECTION}")
    for part in parts:
        if part.missing:
            first = ", ".join(part.missing[:3])
            more = ", ..." if len(part.missing) > 3 else ""
            say(f"missing in {part.repo}, {len(part.missing)}: {first}{more}")
    if dry_run:
        return [_rehearsed(part, public, say) for part in parts]
    api = signed_in(f"{owner}/{COLLECTION}")
    heads = {part.repo: check_ours(api, part.repo, part.repo_type, part.mark) for part in parts}
    outcomes = [_published(api, part, heads[part.repo], public, say) for part in parts]
    there = [part for part, outcome in zip(parts, outcomes) if outcome.commit is not None]
    _collect(api, owner, there, public, say)
    return outcomes


def _rehearsed(part: Part, public: bool, say: Callable[[str], object]) -> Outcome:
    if part.push is None:
        return Outcome(part.repo, part.repo_type, "missing", missing=len(part.missing))

    def without_files(line: str) -> None:
        if not _FILE_LINE.fullmatch(line):
            say(line)

    part.push(public=public, dry_run=True, say=without_files)
    return Outcome(part.repo, part.repo_type, "would be sent", missing=len(part.missing))


def _published(
    api: HfApi,
    part: Part,
    head: str | None,
    public: bool,
    say: Callable[[str], object],
) -> Outcome:
    if part.push is None:
        state = "missing" if head is None else "unchanged"
        return Outcome(part.repo, part.repo_type, state, head, len(part.missing))
    part.push(public=public, dry_run=False, say=say)
    with hub_errors(part.repo):
        commit = api.repo_info(part.repo, repo_type=part.repo_type).sha
    if part.mark != SCENES:  # which have the tag of their generator
        _tag(api, part, str(commit), say)
    state = "unchanged" if commit == head else "published"
    return Outcome(part.repo, part.repo_type, state, commit, len(part.missing))


def _tag(
    api: HfApi,
    part: Part,
    commit: str,
    say: Callable[[str], object],
) -> None:
    """Give the commit the tag of this version; a tag that is there stays where it is."""
    tag = f"v{__version__}"
    with hub_errors(part.repo):
        refs = api.list_repo_refs(part.repo, repo_type=part.repo_type)
        tagged = {each.name: each.target_commit for each in refs.tags}
        if tag not in tagged:
            api.create_tag(part.repo, tag=tag, revision=commit, repo_type=part.repo_type)
        elif tagged[tag] != commit:
            say(f"{part.repo}: {tag} stays at {tagged[tag][:12]}; raise the version for a tag here")


def _collect(
    api: HfApi,
    owner: str,
    parts: list[Part],
    public: bool,
    say: Callable[[str], object],
) -> None:
    """Put the parts into the collection of the owner, which is made if there is none."""
    with hub_errors(f"the collection {COLLECTION} of {owner}"):
        found = [each for each in api.list_collections(owner=owner) if each.title == COLLECTION]
        if found:
            collection = api.get_collection(found[0].slug)
        else:
            collection = api.create_collection(
                COLLECTION, namespace=owner, description=DESCRIPTION, private=not public
            )
        if public and collection.private:
            api.update_collection_metadata(collection.slug, private=False)
        inside = {(item.item_type, item.item_id) for item in collection.items}
        for part in parts:
            if (part.repo_type, part.repo) not in inside:
                api.add_collection_item(
                    collection.slug, part.repo, part.repo_type, note=part.note, exists_ok=True
                )
    say(f"collection: {api.endpoint}/collections/{collection.slug} ({len(parts)} repositories)")
