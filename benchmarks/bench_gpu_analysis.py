"""The analyses of ViT-B/16 on one GPU: alignments in all layers, attention stages, scenes brought to the device.

The alignments are the paper's: 2,000 pairs, 20 epochs, batches of 64, shape and color in every layer, each scored on
500 other pairs. The model is untrained, which costs the same.
"""

from __future__ import annotations

from gpu import DEVICE, Size, keep, now, seconds, size_from_arguments
from torch import Generator, autocast, bfloat16, inference_mode
from torch.nn.functional import cross_entropy

from hf_relvit.analysis.activations import Site, forward_from
from hf_relvit.analysis.alignment_methods import DASConfig, fit_alignment
from hf_relvit.analysis.attention import measure_attention
from hf_relvit.analysis.das_rotation import LearnedSubspace
from hf_relvit.analysis.interchange import capture_pair_residuals
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling import record_object_attention
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.processing import to_device
from hf_relvit.stimuli.counterfactuals import PROPERTIES, sample_counterfactuals
from hf_relvit.stimuli.objects import ObjectSet
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.scenes import sample
from hf_relvit.training.device_rendering import DeviceRenderer
from hf_relvit.training.precision import computes_bf16

CACHE_GB = 40.0
BATCH = 64


def alignments(size: Size) -> tuple[list[dict], float]:
    """One row per layer, and the seconds of all: what a study does in its cells, from pairs of scenes to scores."""
    model, processor = size.model()
    sites = [Site("resid_post", layer) for layer in range(size.layers)]
    rows = {layer: {"what": f"alignment, block {layer}"} for layer in range(size.layers)}
    capturing, begin = 0.0, now()
    for prop in PROPERTIES:
        start = now()
        data = {}
        for split, n in (("train", size.pairs), ("test", size.test_pairs)):
            pairs = sample_counterfactuals(
                "discrimination", GEOMETRIES[size.geometry], prop, split, n
            )
            data[split] = capture_pair_residuals(
                Checkpoint(model, processor), pairs, sites, cache_gb=CACHE_GB
            )
        capturing += now() - start
        for layer in range(size.layers):
            start = now()
            config = DASConfig(
                epochs=size.epochs, batch_size=BATCH, bf16=computes_bf16(), cache_gb=CACHE_GB
            )
            found = fit_alignment(Checkpoint(model, processor), data["train"], layer, config)
            fitted = now()
            score_alignment(Checkpoint(model, processor), found, data["test"], bf16=computes_bf16())
            rows[layer] |= {
                f"{prop}_seconds": fitted - start,
                f"{prop}_scoring_seconds": now() - fitted,
            }
            print(f"  {prop}, block {layer}: {fitted - start:.2f} s", flush=True)
    whole = now() - begin
    rows = [
        *rows.values(),
        {"what": "capture of all states, both properties", "seconds": capturing},
    ]
    return [
        *rows,
        {"what": f"alignments, {size.layers} layers x 2 properties", "seconds": whole},
    ], whole


def parts_of_a_step(size: Size) -> list[dict]:
    """What a step cannot do without: the blocks after the site, there and back, and one rotation."""
    model, processor = size.model()
    model.requires_grad_(False)
    pairs = sample_counterfactuals(
        "discrimination", GEOMETRIES[size.geometry], "color", "train", BATCH
    )
    site = Site("resid_post", size.layers // 2 - 1)
    residual = (
        capture_pair_residuals(Checkpoint(model, processor), pairs, [site])
        .base[site]
        .to(DEVICE)
        .requires_grad_()
    )
    label = to_device(pairs.label.astype("int64"), DEVICE)
    subspace = LearnedSubspace("das", size.hidden, None, Generator()).to(DEVICE)

    def suffix():
        with autocast(DEVICE.type, bfloat16, enabled=computes_bf16()):
            logits = forward_from(model, site, residual)
        cross_entropy(logits.float(), label).backward()

    return [
        {
            "what": f"bare suffix after block {site.layer}, {BATCH} pairs",
            "seconds": seconds(suffix),
        },
        {
            "what": "rotation, once, with gradient",
            "seconds": seconds(lambda: subspace.rotation().sum().backward()),
        },
    ]


@inference_mode()
def attention(size: Size) -> list[dict]:
    """Forward passes: plain, with the object rows of all layers recorded, with full maps; then the whole analysis."""
    model, processor = size.model()
    scenes = sample("discrimination", GEOMETRIES[size.geometry], "test", size.scenes)
    batch = scenes[slice(0, BATCH)]
    pixels = processor(render(batch), DEVICE)
    tokens = to_device(model.geometry.tokens(batch.patches()), DEVICE)

    def recorded():
        with record_object_attention(tokens, model.geometry.prefix_tokens):
            model(pixel_values=pixels)

    rates = {}
    for name, implementation, work in (
        ("plain sdpa", "sdpa", lambda: model(pixel_values=pixels)),
        ("attention stages", "relvit", recorded),
        ("full eager maps", "eager", lambda: model(pixel_values=pixels, output_attentions=True)),
    ):
        model.set_attn_implementation(implementation)
        rates[name] = len(batch) / seconds(work)
    model.set_attn_implementation("relvit")
    rows = [
        {
            "what": f"forward, {name}",
            "images_per_second": rate,
            "to_plain": rate / rates["plain sdpa"],
        }
        for name, rate in rates.items()
    ]
    whole = seconds(lambda: measure_attention(Checkpoint(model, processor), scenes), 1)
    return [
        *rows,
        {
            "what": f"attention stages of {len(scenes)} scenes, with rendering and intervals",
            "seconds": whole,
        },
    ]


def stimuli(size: Size) -> list[dict]:
    """Scenes rendered by one core of the host, which then travel as bytes, against the device's own rendering."""
    _, processor = size.model()
    table = sample("discrimination", GEOMETRIES[size.geometry], "train", 8 * size.batch)
    parts = [table[slice(start, start + size.batch)] for start in range(0, len(table), size.batch)]
    on_device = DeviceRenderer(ObjectSet.default(), table.geometry, DEVICE)
    sides = {
        "rendered on the host, one core": lambda: [render(part) for part in parts],
        "rendered on the device": lambda: [on_device(part) for part in parts],
        "rendered on the host, floats on the device": lambda: [
            processor(render(part), DEVICE) for part in parts
        ],
        "rendered on the device, floats there too": lambda: [
            processor(on_device(part), DEVICE) for part in parts
        ],
        "rendered on the host, floats made there": lambda: [
            processor(render(part)).to(DEVICE) for part in parts
        ],
    }
    return [
        {"what": f"scenes {what}", "images_per_second": len(table) / seconds(w)}
        for what, w in sides.items()
    ]


def main() -> None:
    size = size_from_arguments(__doc__.splitlines()[0])
    rows, whole = alignments(size)
    rows += [*parts_of_a_step(size), *attention(size), *stimuli(size)]
    keep("gpu_analysis", size, rows, [("alignments in all layers, seconds", whole, 180.0, False)])


if __name__ == "__main__":
    main()
