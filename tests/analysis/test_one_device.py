"""On an accelerator the analyses stay there: the host waits a number of times that does not grow with the scenes."""

import dataclasses

import pytest
import torch
from one_device import one_device

from hf_relvit.analysis.activations import Site
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.attention import AttentionConfig, measure_attention
from hf_relvit.analysis.das_config import DASConfig
from hf_relvit.analysis.das_rotation import LearnedSubspace
from hf_relvit.analysis.das_search import Search
from hf_relvit.analysis.interchange import capture_pair_residuals
from hf_relvit.analysis.method_input import Fit
from hf_relvit.analysis.novel import NovelConfig, inject_into_pairs
from hf_relvit.analysis.probes import ProbeConfig, fit_probes
from hf_relvit.analysis.scores import score_alignment
from hf_relvit.analysis.steering import SteeringConfig, steer
from hf_relvit.analysis.subspaces import random_rotation
from hf_relvit.geometry import GEOMETRIES
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.stimuli.counterfactuals import sample_counterfactuals
from hf_relvit.stimuli.scenes import sample
from hf_relvit.training.evaluation import predict
from hf_relvit.training.run import build_model

QUICK = GEOMETRIES["quick"]
SITE, BATCH = Site("resid_post", 0), 8


def alignment():
    rotation = random_rotation(4, 32, torch.Generator().manual_seed(0))
    return Alignment(rotation, torch.ones(4, dtype=torch.bool), SITE, "color")


def scenes(split, n):
    return sample("rmts", QUICK, split, n)


def das(model, processor, n):
    checkpoint = Checkpoint(model, processor)
    data = capture_pair_residuals(checkpoint, pairs("train", n), [SITE], batch_size=BATCH)
    assert data.base[SITE].device.type == data.source[SITE].device.type == "meta"
    subspace = LearnedSubspace("das", 32, None, torch.Generator()).to("meta")
    config = DASConfig(epochs=2, batch_size=BATCH)
    fit = Fit.of(checkpoint, data, SITE, config)
    list(Search(fit, subspace, torch.Generator()).epochs())


def score(model, processor, n):
    score_alignment(Checkpoint(model, processor), alignment(), pairs("test", n), batch_size=BATCH)


def novel(model, processor, n):
    config = NovelConfig(batch_size=BATCH)
    inject_into_pairs(
        Checkpoint(model, processor),
        [alignment()],
        pairs("validation", 64),
        pairs("test", n),
        config,
    )


def probes(model, processor, n):
    for config in (ProbeConfig("judgement"), ProbeConfig("same_object", "quadratic")):
        fit_probes(
            Checkpoint(model, processor),
            scenes("train", n),
            scenes("test", n),
            dataclasses.replace(config, epochs=1),
        )


def steering(model, processor, n):
    found = fit_probes(
        Checkpoint(model, processor),
        scenes("train", 8),
        scenes("test", 8),
        ProbeConfig("judgement", epochs=1),
    )
    steer(
        Checkpoint(model, processor),
        found,
        scenes("test", n),
        SteeringConfig((1.0,), batch_size=BATCH),
    )


def attention(model, processor, n):
    measure_attention(
        Checkpoint(model, processor), scenes("test", n), AttentionConfig(batch_size=BATCH)
    )


def accuracy(model, processor, n):
    predict(Checkpoint(model, processor), scenes("test", n), batch_size=BATCH)


def pairs(split, n):
    return sample_counterfactuals("rmts", QUICK, "color", split, n)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # means of values that there are not
@pytest.mark.parametrize("analysis", [das, score, novel, probes, steering, attention, accuracy])
def test_the_host_rarely_waits(analysis, tiny, monkeypatch):
    model, processor = build_model(tiny)
    model.eval().requires_grad_(False).to("meta")
    waits = []
    for n in (16, 48):
        with monkeypatch.context() as patched, one_device(patched) as counted:
            analysis(model, processor, n)
        waits.append(len(counted))
    assert waits[0] == waits[1] > 0
