"""Tiny random backbones of every family: 32 px images, 8 px patches (4 x 4), 2 blocks of 32 dimensions, 4 heads."""

import pytest
import torch
import transformers
from transformers import AutoConfig

from hf_relvit.modeling import FAMILIES

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
OWN = {
    "dinov2": {"intermediate_size": None},
    "dinov2_with_registers": {"intermediate_size": None},
    "dinov3_vit": {
        "num_register_tokens": 4,
        "pos_embed_rescale": None,
    },  # no random positions in training
    "beit": {"use_relative_position_bias": True},
}


@pytest.fixture(autouse=True)
def _quick_and_reproducible():
    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(
        1
    )  # with tiny tensors on a busy machine, more threads are 10 times slower
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=sorted(FAMILIES))
def family(request) -> str:
    return request.param


@pytest.fixture
def backbone():
    """Factory of tiny backbone configurations."""

    def make(family: str, **changes):
        values = {k: v for k, v in (TINY | OWN.get(family, {}) | changes).items() if v is not None}
        return AutoConfig.for_model(family, **values)

    return make


@pytest.fixture
def batch():
    """Factory of model inputs: images, labels and k objects of 2 x 2 patches that do not overlap."""

    def make(n: int = 3, k: int = 4, dtype=torch.float32) -> dict[str, torch.Tensor]:
        quarters = torch.tensor([[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]])
        order = torch.stack([torch.randperm(4)[:k] for _ in range(n)])
        return {
            "pixel_values": torch.randn(n, 3, 32, 32, dtype=dtype),
            "labels": torch.arange(n) % 2,
            "patches": quarters[order],
            "shape": torch.randint(0, 16, (n, k)),
            "color": torch.randint(0, 16, (n, k)),
        }

    return make


@pytest.fixture
def spread():
    """Make weights large, so that attention is far from uniform and a wrong token shows."""

    def apply(model):
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.dim() >= 2 or "bias_table" in name:
                    parameter.normal_(std=0.3)
        return model

    return apply
