"""The environment of launchers (torchrun, accelerate, clusters), read in one place and checked."""

from __future__ import annotations

import os

from ..errors import RelViTError

_PLANS = ("USE_FSDP", "USE_DEEPSPEED", "USE_MEGATRON_LM", "USE_PARALLELISM_CONFIG")


def world_size() -> int:
    """How many processes train together.

    Raises:
        RelViTError: a variable of the launcher that is no number.
    """
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        value = os.environ.get(name)
        if value is not None and not value.isdecimal():
            raise RelViTError(
                f"the environment has {name}={value!r}: expected a number; unset it, or start with torchrun"
            )
    return max(int(os.environ.get("WORLD_SIZE", "1")), 1)


def is_main_process() -> bool:
    """Whether this process writes the files of a run."""
    return os.environ.get("RANK", "0") == "0"


def check_launcher(bf16: bool, accumulation: int) -> None:
    """Raise RelViTError if `accelerate launch` asks for something else than the settings of the run.

    Its variables would change the run, and nothing in the folder would say so.

    Args:
        bf16: whether the run trains under bf16 autocast.
        accumulation: gradient accumulation steps of the run.
    """
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION") or "no"
    if precision not in ("no", "bf16" if bf16 else "no"):
        raise RelViTError(
            f"the environment has ACCELERATE_MIXED_PRECISION={precision}, the run has bf16: "
            f"{str(bf16).lower()}: unset it, or set bf16 in the settings"
        )
    steps = os.environ.get("ACCELERATE_GRADIENT_ACCUMULATION_STEPS") or str(accumulation)
    if steps not in ("1", str(accumulation)):
        raise RelViTError(
            f"the environment has ACCELERATE_GRADIENT_ACCUMULATION_STEPS={steps}, the run has {accumulation}: "
            "unset it, or set trainer: {gradient_accumulation_steps: ...}"
        )
    compiler = os.environ.get("ACCELERATE_DYNAMO_BACKEND") or "no"
    if compiler.lower() != "no":
        raise RelViTError(
            f"the environment has ACCELERATE_DYNAMO_BACKEND={compiler}: unset it, and set compile: true instead"
        )
    for plan in _PLANS:
        if os.environ.get(f"ACCELERATE_{plan}", "false").lower() in ("1", "true", "yes", "on"):
            raise RelViTError(
                f"the environment has ACCELERATE_{plan}: a model must be whole in each process; unset it"
            )
