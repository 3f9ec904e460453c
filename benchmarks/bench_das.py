"""One DAS step on a model of the size of ViT-B/16 against pyvene 0.1.8, and both against the bare suffix.

pyvene is installed into a virtual environment of its own under build/, on top of the packages of this one. It runs the
paper's protocol as the official code does: four interventions with tied parameters, one a token of the object, and one
source image for all. It then runs the source four times and evaluates the rotation twenty times per step. Both can be
avoided, by ``group_key`` and ``parametrize.cached()``; that is timed too, as "tuned". All sides take turns in one
process, so a busy machine slows all. A second, small case compares what they learn.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import site
import statistics
import subprocess
import sys
import time
import venv
from contextlib import nullcontext
from pathlib import Path

import machine
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import parametrize
from transformers import ViTConfig, get_linear_schedule_with_warmup

from hf_relvit.analysis.activations import Site, forward_from
from hf_relvit.analysis.alignment_methods import DASConfig, fit_alignment
from hf_relvit.analysis.das_rotation import LearnedSubspace
from hf_relvit.analysis.interchange import capture_pair_residuals
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling import RelViTConfig, RelViTForImageClassification
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.processing import PixelProcessor, default_processor
from hf_relvit.statistics import wilson
from hf_relvit.stimuli.counterfactuals import sample_counterfactuals
from hf_relvit.stimuli.rendering import render

ROOT = Path(__file__).parents[1]
ENVIRONMENT = ROOT / "build" / "bench-venv"
LAYER, BATCH = 5, 16


def in_environment() -> None:
    """Run this file again where pyvene is, after installing it there if need be."""
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / ".installed").exists():
        print(f"Installing pyvene into {ENVIRONMENT.relative_to(ROOT)} ...")
        venv.create(ENVIRONMENT, with_pip=True)
        own = next((ENVIRONMENT / "lib").glob("python*/site-packages"))
        (own / "main.pth").write_text("\n".join([*site.getsitepackages(), str(ROOT)]))
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), "pyvene==0.1.8"], check=True)
        (ENVIRONMENT / ".installed").touch()
    sys.exit(subprocess.run([str(python), *sys.argv]).returncode)


class Pyvene:
    """The paper's DAS in pyvene: masked rotations at one block's output, tied over the tokens of an object."""

    def __init__(self, model, path: str, layer: int, tuned: bool = False):
        import pyvene
        from pyvene.models import intervenable_modelcard as card
        from pyvene.models.constants import CONST_OUTPUT_HOOK

        card.type_to_module_mapping[type(model)] = {"block_output": (path, CONST_OUTPUT_HOOK)}
        card.type_to_dimension_mapping[type(model)] = {"block_output": ("hidden_size",)}
        kind = pyvene.SigmoidMaskRotatedSpaceIntervention
        place = dict(
            layer=layer,
            component="block_output",
            unit="pos",
            max_number_of_units=1,
            intervention_link_key=0,
        )
        config = pyvene.IntervenableConfig(
            [
                pyvene.RepresentationConfig(
                    intervention_type=kind, group_key=0 if tuned else None, **place
                )
                for _ in range(4)
            ]
        )
        self.model = pyvene.IntervenableModel(config, model=model)
        self.model.disable_model_gradients()
        self.intervention = next(iter(self.model.interventions.values()))
        with torch.no_grad():
            self.intervention.masks.zero_()
        rotation = self.intervention.rotate_layer.parametrizations.weight.original
        self.groups = [
            {"params": [rotation], "lr": 1e-3},
            {"params": [self.intervention.masks], "lr": 1e-2},
        ]

    def mask(self) -> torch.Tensor:
        return torch.sigmoid(self.intervention.masks / self.intervention.temperature)

    def logits(self, base, source, base_tokens, source_tokens, temperature: float) -> torch.Tensor:
        """Of the base images after the interchange; tokens are ``(batch, tokens)``."""
        self.intervention.set_temperature(torch.tensor(temperature))
        at = [
            [[[t] for t in column] for column in tokens.T.tolist()]
            for tokens in (source_tokens, base_tokens)
        ]
        _, output = self.model(
            {"pixel_values": base}, [{"pixel_values": source}], {"sources->base": (at[0], at[1])}
        )
        return output.logits


def timed(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def speed(rounds: int, slow_rounds: int) -> list[dict]:
    torch.manual_seed(0)
    model = (
        RelViTForImageClassification(RelViTConfig(backbone_config=ViTConfig()))
        .eval()
        .requires_grad_(False)
    )
    processor = PixelProcessor(default_processor(224), 224)
    pairs = sample_counterfactuals("discrimination", GEOMETRIES["b16"], "color", "train", BATCH)
    place = Site("resid_post", LAYER)
    start = time.perf_counter()
    data = capture_pair_residuals(Checkpoint(model, processor), pairs, [place], batch_size=BATCH)
    capture = time.perf_counter() - start
    label = torch.from_numpy(pairs.label).long()
    residual = data.base[place].clone().requires_grad_()

    def suffix(bf16: bool):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = forward_from(model, place, residual)
        cross_entropy(logits.float(), label).backward()

    def ours(bf16: bool):
        """One epoch of one step more costs a step; what is done once a fit cancels out."""
        config = DASConfig(batch_size=BATCH, epochs=1, bf16=bf16)
        few, many = (
            timed(
                lambda e=e: fit_alignment(
                    Checkpoint(model, processor), data, LAYER, dataclasses.replace(config, epochs=e)
                )
            )
            for e in (1, 4)
        )
        return (many - few) / 3

    peers = {tuned: Pyvene(model, "backbone.layers[%s]", LAYER, tuned) for tuned in (False, True)}
    optimizers = {tuned: torch.optim.Adam(peer.groups) for tuned, peer in peers.items()}
    base, source = (processor(render(scenes)) for scenes in (pairs.base, pairs.source))
    tokens = model.geometry.tokens(pairs.base.patches()[range(BATCH), pairs.edited])
    given = model.geometry.tokens(pairs.source.patches()[range(BATCH), pairs.source_object])

    def pyvene_step(tuned: bool):
        peer, adam = peers[tuned], optimizers[tuned]
        with parametrize.cached() if tuned else nullcontext():
            logits = peer.logits(base, source, tokens, given, 0.5)
            loss = cross_entropy(logits, label) + 1e-3 * peer.mask().sum()
            adam.zero_grad()
            loss.backward()
            adam.step()

    sides = {
        "bare suffix, float32": (lambda: timed(lambda: suffix(False)), False),
        "bare suffix, bfloat16": (lambda: timed(lambda: suffix(True)), False),
        "ours, float32": (lambda: ours(False), False),
        "ours, bfloat16": (lambda: ours(True), False),
        "pyvene, float32": (lambda: timed(lambda: pyvene_step(False)), True),
        "tuned pyvene, float32": (lambda: timed(lambda: pyvene_step(True)), True),
    }
    seconds = {name: [] for name in sides}
    suffix(False), suffix(True)
    for turn in range(rounds):
        for name, (work, slow) in sides.items():
            if not slow or turn < slow_rounds:
                seconds[name].append(work())
                print(f"  {name}: {seconds[name][-1]:.2f} s", flush=True)
    fastest = {
        name: min(values) for name, values in seconds.items()
    }  # which other work disturbs least
    rotation = timed(
        lambda: LearnedSubspace("das", 768, None, torch.Generator()).rotation().sum().backward()
    )
    peer_step, peer_tuned = fastest["pyvene, float32"], fastest["tuned pyvene, float32"]
    rows = [
        {"what": name, "seconds_per_step": value, "steps": len(seconds[name])}
        for name, value in fastest.items()
    ]
    for precision in ("float32", "bfloat16"):
        step = fastest[f"ours, {precision}"]
        rows.append(
            {
                "what": f"ratios, {precision}",
                "pyvene_over_ours": peer_step / step,
                "tuned_pyvene_over_ours": peer_tuned / step,
                "pyvene_over_ours_with_capture_over_20_epochs": peer_step / (step + capture / 20),
                "ours_over_bare_suffix": step / fastest[f"bare suffix, {precision}"],
            }
        )
    return [*rows, {"what": "start and rotation, once, with gradient", "seconds": rotation}]


def agreement(seeds: int) -> list[dict]:
    """What both learn, on the model of the tests whose color is known to lie in four dimensions."""
    spec = importlib.util.spec_from_file_location(
        "sign_model", ROOT / "tests" / "analysis" / "conftest.py"
    )
    known = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(known)
    model, processor, objects = known.make_sign_model("color", "shape")
    model.requires_grad_(False)
    model.device = torch.device("cpu")  # pyvene asks
    place, n, n_test, batch = Site("resid_post", 0), 512, 1000, 32
    train, test = (
        sample_counterfactuals(
            "discrimination", GEOMETRIES["quick"], "color", split, m, objects=objects
        )
        for split, m in (("train", n), ("test", n_test))
    )
    captured = [
        capture_pair_residuals(Checkpoint(model, processor), table, [place])
        for table in (train, test)
    ]
    geometry = model.config.geometry

    def operands(table):
        rows = range(len(table))
        images = [processor(render(scenes)) for scenes in (table.base, table.source)]
        tokens = geometry.tokens(table.base.patches()[rows, table.edited])
        given = geometry.tokens(table.source.patches()[rows, table.source_object])
        return (
            *images,
            torch.from_numpy(tokens),
            torch.from_numpy(given),
            torch.from_numpy(table.label).long(),
        )

    def pyvene_hits(seed: int, epochs: int) -> int:
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        peer = Pyvene(model, "layers[%s]", 0)
        base, source, tokens, given, label = operands(train)
        adam = torch.optim.Adam(peer.groups)
        total = epochs * (n // batch)
        schedule = get_linear_schedule_with_warmup(adam, total // 10, total)
        for epoch in range(epochs):
            temperature = 200 ** -(epoch / (epochs - 1))
            for rows in torch.randperm(n, generator=generator).split(batch):
                order = torch.randperm(4, generator=generator)
                logits = peer.logits(
                    base[rows], source[rows], tokens[rows], given[rows][:, order], temperature
                )
                loss = cross_entropy(logits, label[rows]) + 1e-3 * peer.mask().sum()
                adam.zero_grad()
                loss.backward()
                adam.step()
                schedule.step()
        base, source, tokens, given, label = operands(test)
        with torch.no_grad():
            return int((peer.logits(base, source, tokens, given, 1e-8).argmax(-1) == label).sum())

    def our_hits(seed: int, epochs: int, bf16: bool = False) -> int:
        config = DASConfig(epochs=epochs, batch_size=batch, seed=seed, bf16=bf16)
        alignment = fit_alignment(Checkpoint(model, processor), captured[0], 0, config)
        return round(
            score_alignment(Checkpoint(model, processor), alignment, captured[1]).accuracy[0]
            * n_test
        )

    rows = []
    for epochs, state in ((6, "before convergence"), (40, "converged")):
        for name, run in {
            "pyvene": pyvene_hits,
            "ours, float32": our_hits,
            "ours, bfloat16": lambda seed, epochs: our_hits(seed, epochs, True),
        }.items():
            hits = [run(seed, epochs) for seed in range(seeds)]
            low, high = wilson(sum(hits), seeds * n_test)
            spread = statistics.stdev(hits) / n_test if seeds > 1 else 0.0
            mean = statistics.mean(hits) / n_test
            rows.append(
                {
                    "what": f"accuracy {state} ({epochs} epochs), {name}",
                    "mean": mean,
                    "ci_low": float(low),
                    "ci_high": float(high),
                    "spread_over_seeds": spread,
                    "seeds": seeds,
                }
            )
            print(f"  {rows[-1]}", flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="of our steps")
    parser.add_argument(
        "--pyvene-rounds", type=int, default=2, help="of pyvene's, a minute each on 2 cores"
    )
    parser.add_argument("--seeds", type=int, default=5, help="of the small case")
    options = parser.parse_args()
    if importlib.util.find_spec("pyvene") is None:
        in_environment()
    machine.write("das", agreement(options.seeds) + speed(options.rounds, options.pyvene_rounds))
