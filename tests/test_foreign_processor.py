"""Whatever takes a checkpoint refuses an image processor that its weights were not trained with.

The functions are found by their annotations, so that a new one needs a line here, or the first test fails.
"""

import importlib
import inspect
import pkgutil
from dataclasses import replace

import pytest
import torch
from own_folder import SCENES as OWN
from own_folder import rows_of

import hf_relvit.analysis
import hf_relvit.training
from hf_relvit.analysis.activations import Site, capture_object_states, capture_residuals
from hf_relvit.analysis.align import AlignConfig, align
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.alignment_methods import fit_alignment
from hf_relvit.analysis.attention import attention_maps, measure_attention, save_viewer
from hf_relvit.analysis.battery import measure_battery, measure_pictures
from hf_relvit.analysis.diagnosis import DiagnosisConfig, diagnose
from hf_relvit.analysis.interchange import capture_pair_residuals, counterfactual_states
from hf_relvit.analysis.knockout import knock_out_heads
from hf_relvit.analysis.novel import inject_into_pairs, inject_novel
from hf_relvit.analysis.probes import ProbeConfig, fit_probes, probe
from hf_relvit.analysis.scores import residuals_of, score_alignment
from hf_relvit.analysis.similarity import measure_similarity, object_similarity
from hf_relvit.analysis.steering import steer
from hf_relvit.building.dataset_folder import open_folder
from hf_relvit.dataset_builders import photorealistic
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.processing import PixelProcessor, default_processor
from hf_relvit.stimuli.distribution import SceneDistribution
from hf_relvit.stimuli.own_pictures import OwnPictures
from hf_relvit.stimuli.photorealistic.pairs import PhotoPairs
from hf_relvit.training.config import TrainConfig, vit
from hf_relvit.training.evaluation import evaluate, predict
from hf_relvit.training.run import build_model

DISTRIBUTION = SceneDistribution("discrimination", GEOMETRIES["quick"], 128)
SCENES = DISTRIBUTION.sample("test", 8)
TRAIN = DISTRIBUTION.sample("train", 16)
PAIRS = DISTRIBUTION.pairs("color", "test", 8)
SITE = Site("resid_post", 0)


class World:
    """A checkpoint, and what was fitted on it with its own processor."""

    def __init__(self):
        self.checkpoint = build_model(TrainConfig(backbone=vit(2, 32, 2), combinations=128))
        own = self.checkpoint.processor
        processor = default_processor(own.image_size, (0.1, 0.2, 0.3))
        self.foreign = replace(self.checkpoint, processor=PixelProcessor(processor, own.image_size))
        self.alignment = Alignment(torch.eye(32), torch.ones(32, dtype=torch.bool), SITE, "color")
        self.probes = fit_probes(self.checkpoint, TRAIN, SCENES, ProbeConfig(epochs=1))
        self.stages = measure_attention(self.checkpoint, SCENES)
        data = open_folder(photorealistic.__path__[0], "tiny")["test"].select(range(4))
        self.photos = PhotoPairs.from_dataset(data, self.checkpoint.geometry)
        self.own = OwnPictures.of(rows_of(OWN), self.checkpoint.geometry)


CALLS = {
    "activations.capture_residuals": lambda w, c: capture_residuals(c, SCENES, [SITE]),
    "activations.capture_object_states": lambda w, c: capture_object_states(c, SCENES),
    "align.align": lambda w, c: align(c, DISTRIBUTION, AlignConfig(pairs=8, test_pairs=8)),
    "alignment.Alignment.read": lambda w, c: w.alignment.read(c, SCENES, torch.ones(8, 1).long()),
    "attention.measure_attention": lambda w, c: measure_attention(c, SCENES),
    "attention.attention_maps": lambda w, c: attention_maps(c, SCENES),
    "attention.save_viewer": lambda w, c: save_viewer(c, SCENES, w.stages, "viewer.png"),
    "battery.measure_pictures": lambda w, c: measure_pictures(c, w.own),
    "battery.measure_battery": lambda w, c: measure_battery(c, "discrimination"),
    "interchange.counterfactual_states": lambda w, c: counterfactual_states(c, PAIRS, SITE),
    "alignment_methods.fit_alignment": lambda w, c: fit_alignment(c, PAIRS, 0),
    "scores.score_alignment": lambda w, c: score_alignment(c, w.alignment, PAIRS),
    "scores.residuals_of": lambda w, c: residuals_of(c, PAIRS, SITE, cache_gb=1.0, progress=False),
    "knockout.knock_out_heads": lambda w, c: knock_out_heads(c, SCENES),
    "diagnosis.diagnose": lambda w, c: diagnose(c, DISTRIBUTION, DiagnosisConfig()),
    "interchange.capture_pair_residuals": lambda w, c: capture_pair_residuals(c, PAIRS, [SITE]),
    "novel.inject_novel": lambda w, c: inject_novel(c, [w.alignment], DISTRIBUTION),
    "novel.inject_into_pairs": lambda w, c: inject_into_pairs(c, [w.alignment], PAIRS, PAIRS),
    "probes.probe": lambda w, c: probe(c, DISTRIBUTION, ProbeConfig(train_scenes=8, scenes=8)),
    "probes.fit_probes": lambda w, c: fit_probes(c, TRAIN, SCENES),
    "similarity.measure_similarity": lambda w, c: measure_similarity({"one": c}, w.photos),
    "similarity.object_similarity": lambda w, c: object_similarity(c, w.photos),
    "steering.steer": lambda w, c: steer(c, w.probes, SCENES),
    "evaluation.predict": lambda w, c: predict(c, SCENES),
    "evaluation.evaluate": lambda w, c: evaluate(c, {"test": SCENES}),
}
READS_NO_PIXELS = {
    "align.AlignConfig.captures",  # none before a pair is asked for, by what stands above
    "alignment.Alignment.rounded",  # weights
    "battery.subject_of_pictures",  # nothing before a measure is asked for, by what stands above
    "battery.subject_of_task",
    "precision.checkpoint_autocast",  # a context
    "probes.Probes.rounded",
    "scores.swaps_of",  # states that were captured before
    "setup.make_trainer",  # a model that is not trained yet: its processor is what training makes it
}


@pytest.fixture(scope="module")
def world():
    return World()


def functions_of(module) -> dict:
    """The public functions and methods of a module that take a checkpoint."""
    members = {name: item for name, item in vars(module).items() if not name.startswith("_")}
    own = {n: i for n, i in members.items() if getattr(i, "__module__", "") == module.__name__}
    functions = {name: item for name, item in own.items() if inspect.isfunction(item)}
    for name, item in own.items():
        if inspect.isclass(item):
            methods = inspect.getmembers(item, inspect.isfunction)
            functions |= {f"{name}.{method}": f for method, f in methods if method[0] != "_"}
    return {name: f for name, f in functions.items() if takes_a_checkpoint(f)}


def takes_a_checkpoint(function) -> bool:
    hints = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
    return any("Checkpoint" in str(hint) for hint in hints.values())


def test_every_public_function_that_takes_a_checkpoint_is_tried():
    found = set()
    for package in (hf_relvit.analysis, hf_relvit.training):
        for part in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{part.name}")
            found |= {f"{part.name}.{name}" for name in functions_of(module)}
    assert found == set(CALLS) | READS_NO_PIXELS


@pytest.mark.parametrize("door", CALLS)
def test_a_foreign_processor_is_refused(world, door, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        RelViTError, match=r"an image processor .* for a model that was trained with"
    ):
        CALLS[door](world, world.foreign)
    assert list(tmp_path.iterdir()) == []


def test_there_is_one_explicit_way_round(world):
    on_purpose = Checkpoint(world.checkpoint.model, world.foreign.processor, any_processor=True)
    assert predict(on_purpose, SCENES).shape == (8, 2)
