"""Whether the Hub answers, asked once: its client asks six times, with pauses, for each file of a checkpoint."""

from __future__ import annotations

import warnings
from pathlib import Path

from ..errors import RelViTError, RelViTWarning

PATIENCE = 10
"""Seconds until the Hub counts as out of reach."""


def check_reachable(path_or_id: str, revision: str | None = None) -> None:
    """Go on with the cache where the Hub of a checkpoint is out of reach.

    Args:
        path_or_id: folder, for which nobody is asked, or Hub id.
        revision: on the Hub; None for the newest.

    Raises:
        RelViTError: the Hub is out of reach, and the cache does not have the checkpoint.
    """
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if Path(path_or_id).exists() or constants.HF_HUB_OFFLINE:
        return
    try:
        cached = try_to_load_from_cache(path_or_id, "config.json", revision=revision)
    except HFValidationError:
        return  # no id either: opening it says so
    trouble = _trouble(constants.ENDPOINT)
    if trouble is None:
        return
    if not isinstance(cached, str):
        raise _unreachable(path_or_id, constants.ENDPOINT, trouble)
    constants.HF_HUB_OFFLINE = True
    warnings.warn(
        f"the Hub at {constants.ENDPOINT} is out of reach ({trouble}): {path_or_id} is taken from the cache",
        RelViTWarning,
        stacklevel=2,
    )


def _unreachable(path_or_id: str, endpoint: str, trouble: str) -> RelViTError:
    return RelViTError(
        f"{path_or_id} is no folder, and the Hub at {endpoint} is out of reach ({trouble}): check the "
        "path or the connection",
        page="hub-out-of-reach",
    )


def _trouble(endpoint: str) -> str | None:
    """Why there is no connection; None if there is one."""
    from huggingface_hub import get_session
    from huggingface_hub.errors import HTTPError

    try:
        get_session().head(endpoint, timeout=PATIENCE)
    except HTTPError as error:
        return " ".join(str(error).split()) or type(error).__name__
    return None
