"""Bad inputs of the Python API: wrong types, absurd sizes, foreign processors, damaged files end in one line."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import hf_relvit as api
from hf_relvit.errors import RelViTError
from hf_relvit.modeling.processing import default_processor
from hf_relvit.training.config import vit
from hf_relvit.training.run import build_model

pytestmark = [pytest.mark.timeout(60)]

QUICK = api.GEOMETRIES["quick"]
HUGE = 10**12
ONE = api.ProbeConfig(epochs=1)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Good values, of which each case spoils one."""
    checkpoint = build_model(api.TrainConfig(backbone=vit(2, 32, 2), combinations=32))
    distribution = checkpoint.distribution()
    scenes = distribution.sample("test", 16)
    pairs = distribution.pairs("color", "train", 8)
    foreign = default_processor(64, (0.1,) * 3, (0.9,) * 3)
    site = api.Site("resid_post", 1)
    identity = api.DASConfig(method="identity")
    return SimpleNamespace(
        folder=tmp_path_factory.mktemp("results"),
        checkpoint=checkpoint,
        distribution=distribution,
        scenes=scenes,
        pairs=pairs,
        foreign=api.Checkpoint(checkpoint.model, foreign),
        larger=api.SceneDistribution("discrimination", api.GEOMETRIES["b16"], 32),
        alignment=api.fit_alignment(checkpoint, pairs, 1, identity),
        probes=api.fit_probes(checkpoint, scenes, scenes, ONE),
        site=site,
    )


TAKES_A_CHECKPOINT = {
    "align": lambda w, c: api.align(c, w.distribution),
    "diagnose": lambda w, c: api.diagnose(c, w.distribution),
    "evaluate": lambda w, c: api.evaluate(c, {"test": w.scenes}),
    "fit_alignment": lambda w, c: api.fit_alignment(c, w.pairs, 1),
    "fit_probes": lambda w, c: api.fit_probes(c, w.scenes, w.scenes, ONE),
    "inject_novel": lambda w, c: api.inject_novel(c, [w.alignment], w.distribution),
    "knock_out_heads": lambda w, c: api.knock_out_heads(c, w.scenes),
    "measure_attention": lambda w, c: api.measure_attention(c, w.scenes),
    "capture_object_states": lambda w, c: api.capture_object_states(c, w.scenes),
    "capture_pair_residuals": lambda w, c: api.capture_pair_residuals(c, w.pairs, [w.site]),
    "probe": lambda w, c: api.probe(c, w.distribution, ONE),
    "capture_residuals": lambda w, c: api.capture_residuals(c, w.scenes, [w.site]),
    "score_alignment": lambda w, c: api.score_alignment(c, w.alignment, w.pairs),
    "steer": lambda w, c: api.steer(c, w.probes, w.scenes),
}
NO_CHECKPOINTS = {
    "none": lambda w: None,
    "a path": lambda w: "runs/quick/seed0",
    "a model": lambda w: w.checkpoint.model,
    "model and processor": lambda w: (w.checkpoint.model, w.checkpoint.processor),
    "a foreign processor": lambda w: w.foreign,
}


def refused(work, *arguments):
    with pytest.raises(RelViTError) as caught:
        work(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", NO_CHECKPOINTS)
@pytest.mark.parametrize("name", TAKES_A_CHECKPOINT)
def test_no_checkpoint(name, kind, world):
    refused(TAKES_A_CHECKPOINT[name], world, NO_CHECKPOINTS[kind](world))


CALLS = {
    "scenes of none": lambda w: api.measure_attention(w.checkpoint, None),
    "scenes as pixels": lambda w: api.measure_attention(w.checkpoint, w.scenes.pixels()),
    "scenes of another geometry": lambda w: api.measure_attention(
        w.checkpoint, w.larger.sample("test", 8)
    ),
    "no scenes": lambda w: api.fit_probes(w.checkpoint, w.scenes[:0], w.scenes, ONE),
    "no scenes to attend to": lambda w: api.measure_attention(w.checkpoint, w.scenes[:0]),
    "no splits": lambda w: api.evaluate(w.checkpoint, {}),
    "an empty split": lambda w: api.evaluate(w.checkpoint, {"test": w.scenes[:0]}),
    "splits in a list": lambda w: api.evaluate(w.checkpoint, [w.scenes]),
    "a split of numbers": lambda w: api.evaluate(w.checkpoint, {"test": [1, 2]}),
    "a table for pairs": lambda w: api.fit_alignment(w.checkpoint, w.scenes, 1),
    "a layer that is none": lambda w: api.fit_alignment(w.checkpoint, w.pairs, 99),
    "a layer in words": lambda w: api.fit_alignment(w.checkpoint, w.pairs, "last"),
    "a negative layer": lambda w: api.capture_object_states(w.checkpoint, w.scenes, [-1]),
    "half a layer": lambda w: api.capture_object_states(w.checkpoint, w.scenes, [0.5]),
    "no layers": lambda w: api.capture_object_states(w.checkpoint, w.scenes, []),
    "a cache of nan": lambda w: api.capture_object_states(
        w.checkpoint, w.scenes, cache_gb=float("nan")
    ),
    "a config in a dictionary": lambda w: api.align(w.checkpoint, w.distribution, {"epochs": 1}),
    "another analysis's config": lambda w: api.steer(w.checkpoint, w.probes, w.scenes, ONE),
    "no alignments": lambda w: api.inject_novel(w.checkpoint, [], w.distribution),
    "alignments by path": lambda w: api.inject_novel(w.checkpoint, ["das"], w.distribution),
    "probes by path": lambda w: api.steer(w.checkpoint, "probes", w.scenes),
    "no models": lambda w: api.measure_similarity({}, w.scenes),
    "a site in words": lambda w: api.capture_residuals(w.checkpoint, w.scenes, ["resid_post"]),
    "a site of no kind": lambda w: api.Site("residue", 1),
    "a batch of none": lambda w: api.capture_residuals(
        w.checkpoint, w.scenes, [w.site], batch_size=0
    ),
    "a geometry by name": lambda w: api.sample("rmts", "quick", "test", 8),
    "a distribution by names": lambda w: api.SceneDistribution("rmts", "quick", 32).sample(
        "test", 8
    ),
    "no task": lambda w: api.sample("sort", QUICK, "test", 8),
    "no split": lambda w: api.sample("rmts", QUICK, "exam", 8),
    "a trillion scenes": lambda w: api.sample("rmts", QUICK, "test", HUGE),
    "fewer than no scenes": lambda w: api.sample("rmts", QUICK, "test", -8),
    "half a scene": lambda w: api.sample("rmts", QUICK, "test", 8.5),
    "scenes in words": lambda w: api.sample("rmts", QUICK, "test", "8"),
    "a negative seed": lambda w: api.sample("rmts", QUICK, "test", 8, seed=-1),
    "a seed in words": lambda w: api.sample("rmts", QUICK, "test", 8, seed="0"),
    "combinations of none": lambda w: api.sample("rmts", QUICK, "test", 8, combinations=0),
    "odd combinations": lambda w: api.sample("rmts", QUICK, "test", 8, combinations=17),
    "objects by path": lambda w: api.sample("rmts", QUICK, "test", 8, objects="masks"),
    "no property": lambda w: api.sample_counterfactuals("rmts", QUICK, "size", "test", 8),
    "a trillion pairs": lambda w: api.sample_counterfactuals("rmts", QUICK, "color", "test", HUGE),
    "drawing nothing": lambda w: api.render(None),
    "drawing pixels": lambda w: api.render(w.scenes.pixels()),
    "masks of pairs": lambda w: api.render_masks(w.pairs),
    "pairs of scenes": lambda w: api.sample_isolation_pairs(w.scenes),
    "a split of no distribution": lambda w: api.sample_splits(w.distribution, 8, ("exam",)),
    "a trillion scenes a split": lambda w: api.sample_splits(w.distribution, HUGE),
    "a target of no probe": lambda w: api.ProbeConfig("size"),
    "epochs of none": lambda w: api.ProbeConfig(epochs=0),
    "an infinite learning rate": lambda w: api.ProbeConfig(learning_rate=float("inf")),
    "a method of none": lambda w: api.DASConfig(method="foo"),
    "no alphas": lambda w: api.SteeringConfig(()),
    "alphas of nan": lambda w: api.SteeringConfig((float("nan"),)),
    "half a pair": lambda w: api.AlignConfig(pairs=0.5),
    "a preset of none": lambda w: api.plan("qick"),
    "a preset in a list": lambda w: api.plan(["quick"]),
    "seeds of none": lambda w: api.plan("quick", seeds=0),
    "a setting of none": lambda w: api.plan("quick", imagess=3),
    "settings in a dictionary": lambda w: api.train({}, w.folder / "x"),
    "a study into a file": lambda w: api.run_study(api.plan("quick"), w.folder / "file" / "x"),
    "a set into a file": lambda w: api.build(
        api.BuildConfig("rmts", "quick-32"), w.folder / "file"
    ),
    "training into a file": lambda w: api.train(api.TrainConfig(), w.folder / "file" / "x"),
    "runs in words": lambda w: api.correlate("runs.csv"),
    "runs without columns": lambda w: api.correlate(pd.DataFrame({"run": [1]})),
    "runs of one": lambda w: api.collect("runs"),
    "runs that are none": lambda w: api.collect([w.folder]),
    "a set that is none": lambda w: api.open_folder(w.folder, "quick-32"),
    "a config that is none": lambda w: api.build(api.BuildConfig("rmts", "quick-33"), w.folder),
    "a checkpoint that is none": lambda w: api.Checkpoint.open(w.folder / "nothing"),
    "labels of others": lambda w: api.Checkpoint.open(w.folder / "nothing", labels=("cat", "dog")),
    "a run that is none": lambda w: api.RunFolder.open(w.folder / "nothing"),
    "pictures of another size": lambda w: w.checkpoint.pixel_values(
        np.zeros((1, 8, 8, 3), np.uint8)
    ),
    "pictures as floats": lambda w: w.checkpoint.pixel_values(np.zeros((1, 64, 64, 3))),
    "pictures as channels": lambda w: w.checkpoint.pixel_values(torch.zeros(1, 3, 64, 64)),
    "a backbone of none": lambda w: api.RelViTConfig(backbone_config={"model_type": "nope"}),
    "a backbone in words": lambda w: api.RelViTConfig(backbone_config="vit"),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_bad_call(case, world):
    (world.folder / "file").write_text("text")
    refused(CALLS[case], world)


RESULTS = {"alignment": "alignment", "probes": "probes"}
DAMAGES = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "binary": lambda path: path.write_bytes(bytes(range(256))),
    "a list": lambda path: path.write_text(json.dumps([1])),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", RESULTS)
def test_a_damaged_result(name, damage, world, tmp_path):
    result = getattr(world, name)
    for file in type(result).files():
        folder = tmp_path / file
        result.save(folder)
        DAMAGES[damage](folder / file)
        refused(type(result).load, folder)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_damaged_checkpoint(file, damage, world, tmp_path):
    world.checkpoint.save(tmp_path)
    DAMAGES[damage](tmp_path / file)
    refused(api.Checkpoint.open, tmp_path)


def test_a_frozen_value_stays_as_it_is(world):
    with pytest.raises(dataclasses.FrozenInstanceError):
        world.distribution.seed = 3
