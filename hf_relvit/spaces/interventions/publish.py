"""The Space as a repository of its own: app.py, its card, its requirements, and this package beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path

from . import app

MARK = "relvit-space"
"""Tag of the card that says that a Space is ours."""
_AT_ROOT = ("app.py", "README.md", "requirements.txt")
_KINDS = (".py", ".css", ".html", ".json", ".safetensors", ".parquet")
_LEFT_OUT = ("dataset_builders", "model_cards", "cli", "__pycache__")


def space_files() -> dict[str, Path]:
    """Files for the Hub: path in the repository -> file. Nothing but files that this repository ships.

    Raises:
        RelViTError: the models are not there: an installed package comes without them.
    """
    from hf_relvit.errors import RelViTError

    released = app.models()
    if not released:
        raise RelViTError(
            f"no models in {app.RELEASED} (installed packages come without them): publish the Space from a "
            "clone of the repository"
        )
    package = Path(str(files("hf_relvit")))
    spaces = Path(str(files("hf_relvit.spaces")))
    here = Path(__file__).parent
    found = {name: here / name for name in _AT_ROOT}
    places = [(package, "hf_relvit"), (spaces, "hf_relvit/spaces")]
    places += [(folder, f"{app.RELEASED.name}/{folder.name}") for folder in released]
    for root, prefix in places:
        for path in _allowed(root):
            found[f"{prefix}/{path.relative_to(root).as_posix()}"] = path
    return found


def _allowed(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        hidden = any(part.startswith(".") or part in _LEFT_OUT for part in parts)
        if path.suffix in _KINDS and path.is_file() and not path.is_symlink() and not hidden:
            yield path


def push_space(
    repo: str,
    *,
    base: str | None = None,
    public: bool = False,
    dry_run: bool = False,
    say: Callable[[str], object] = print,
) -> None:
    """Publish the Space, or list its files. A second push of the same changes nothing.

    Args:
        repo: OWNER/NAME.
        base: Hub id of the adapters' backbone, to be named in place of a folder of this machine. The Space has no
            token: it opens a public one only, and leaves the adapters out otherwise.
        public: for everybody to see; private without it.
        dry_run: list files and sizes, send nothing.
        say: gets each line.

    Raises:
        RelViTError: no token, no right to write there, a Space of another project, no connection.
    """
    from hf_relvit.hub.bases import named_base, on_base
    from hf_relvit.hub.outgoing import checked
    from hf_relvit.hub.publish import Publication, publish_or_list

    sources = space_files()
    chosen = {name: checked(name, path, path.parent) for name, path in sources.items()}
    if base is not None:
        chosen = on_base(chosen, named_base(base, dry_run=dry_run))
    publication = Publication(
        repo,
        "space",
        MARK,
        chosen,
        "Publish the Space",
        replaced=lambda name: name != ".gitattributes",
        options={"space_sdk": "gradio"},
    )
    publish_or_list(publication, public=public, dry_run=dry_run, say=say)
