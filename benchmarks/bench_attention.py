"""Attention stages on ViT-B/16 against a plain sdpa forward, and against full eager maps.

Both sides take turns in one process, so a busy machine slows both. Memory is what the forward keeps for the analysis.
"""

from __future__ import annotations

import statistics
import time

import machine
import torch
from transformers import ViTConfig

from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling import RelViTConfig, RelViTForImageClassification, record_object_attention
from hf_relvit.stimuli.scenes import sample

BATCH, ROUNDS = 16, 5


@torch.inference_mode()
def main() -> None:
    torch.manual_seed(0)
    model = RelViTForImageClassification(RelViTConfig(backbone_config=ViTConfig())).eval()
    geometry = model.config.geometry
    tokens = torch.from_numpy(geometry.tokens(sample("discrimination", GEOMETRIES["b16"], "test", BATCH).patches()))
    pixels = torch.randn(BATCH, 3, 224, 224)

    def plain():
        model.set_attn_implementation("sdpa")
        return timed(lambda: model(pixel_values=pixels))

    def stages():
        model.set_attn_implementation("relvit")
        with record_object_attention(tokens, geometry.prefix_tokens) as record:
            seconds, out = timed(lambda: model(pixel_values=pixels))
        return seconds, out, record.mass

    def maps():
        model.set_attn_implementation("eager")
        return timed(lambda: model(pixel_values=pixels, output_attentions=True))

    plain(), stages(), maps()
    times = {"plain sdpa": [], "attention stages": [], "full eager maps": []}
    for _ in range(ROUNDS):
        seconds, expected = plain()
        times["plain sdpa"].append(seconds)
        seconds, got, mass = stages()
        times["attention stages"].append(seconds)
        seconds, full = maps()
        times["full eager maps"].append(seconds)
    rate = {name: BATCH / statistics.median(values) for name, values in times.items()}
    index = tokens.flatten(1)[:, None, :, None].expand(-1, 12, -1, geometry.sequence_length)
    worst = 0.0
    for layer, attention in enumerate(full.attentions):
        rows = attention.gather(2, index).unflatten(2, tokens.shape[1:])
        for j in range(tokens.shape[1]):
            target = tokens[:, None, None, None, j].expand(*rows.shape[:4], -1)
            exact = rows.gather(4, target).sum(4)
            worst = max(worst, (exact.mean(3) - mass[layer][..., j]).abs().max().item())
    size = lambda tensors: sum(t.numel() * t.element_size() for t in tensors) / BATCH / 1e3  # noqa: E731
    rows_kept = 12 * tokens[0].numel() * geometry.sequence_length * 4 * 12 / 1e3
    machine.write(
        "attention",
        [
            {"what": name, "images_per_second": value, "ratio_to_plain": value / rate["plain sdpa"]}
            for name, value in rate.items()
        ]
        + [
            {"what": "kept: full maps, kB an image", "value": size(full.attentions)},
            {"what": "kept: stages, kB an image", "value": size(mass)},
            {"what": "object rows of all layers at once, kB an image", "value": rows_kept},
            {"what": "full maps / object rows", "value": size(full.attentions) / rows_kept},
            {"what": "largest difference to eager maps", "value": worst},
            {
                "what": "largest difference of logits to sdpa",
                "value": (got.logits - expected.logits).abs().max().item(),
            },
        ],
    )


def timed(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
