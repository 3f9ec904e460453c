"""The settings of training runs that a test can afford: a ViT of two blocks, sixteen images a step, on the CPU."""

from __future__ import annotations

from transformers import CONFIG_MAPPING

from hf_relvit.training.config import vit

TINY = dict(
    backbone=vit(2, 32, 2),
    images=128,
    batch_size=16,
    n_eval=32,
    warmup_steps=2,
    evaluations=4,
    bf16=False,
)


def vit_of(family: str, layers: int, hidden: int, heads: int, **settings) -> dict:
    """A backbone from scratch of any family: of a ViT's settings those that the family has."""
    known = CONFIG_MAPPING[family]().to_dict()
    values = vit(layers, hidden, heads) | {"model_type": family} | settings
    return {key: value for key, value in values.items() if key in known}


SMALL_CAUSAL = dict(pairs=16, test_pairs=16, epochs=1, scenes=32, test_scenes=16, layers=[1])
