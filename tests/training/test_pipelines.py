"""The controls of the pipeline loss in a training, and the stages of attention that its log has."""

import dataclasses

import numpy as np
import pytest
import torch

from hf_relvit.analysis.attention import AttentionConfig, measure_attention
from hf_relvit.errors import RelViTError
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.report.tables import training_stages
from hf_relvit.training.resolved import head_settings
from hf_relvit.training.run import build_model, make_trainer

SHUFFLED = {
    "within_object": [0, 1, 2],
    "within_pair": [3, 4],
    "between_pair": [5],
    "shuffled": True,
}


def trainer_of(config, folder):
    return make_trainer(config, build_model(config), folder, progress=False)


def changed(config, **pipeline):
    return dataclasses.replace(config, pipeline={**config.pipeline, **pipeline})


@pytest.mark.parametrize("target", ["objects", "random_tokens", "sharp"])
def test_every_target_trains_and_is_logged(tiny_rmts, tmp_path, target):
    trainer = trainer_of(changed(tiny_rmts, target=target), tmp_path)
    trainer.train()
    logged = [row["pipeline_loss"] for row in trainer.state.log_history if "pipeline_loss" in row]
    assert logged and np.isfinite(logged).all()
    assert trainer.model.config.pipeline["target"] == target


def test_targets_differ_in_their_gradients(tiny_rmts, tmp_path):
    """Same weights and images: a target that did nothing would leave the gradient of another."""
    gradients = {}
    for target in ("objects", "random_tokens", "sharp"):
        trainer = trainer_of(changed(tiny_rmts, target=target), tmp_path / target)
        batch = next(iter(trainer.get_train_dataloader()))
        trainer.model.train()
        trainer.model(**batch, epoch=0.0).pipeline_loss.backward()
        grads = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
        gradients[target] = torch.cat(grads)
    for one, other in (("objects", "random_tokens"), ("objects", "sharp")):
        cosine = torch.cosine_similarity(gradients[one], gradients[other], dim=0)
        assert cosine < 0.9


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_the_pipeline_has_its_share_of_the_gradient(tiny_rmts, tmp_path, share):
    config = dataclasses.replace(tiny_rmts, pipeline_share=share)
    trainer = trainer_of(config, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    model = trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    loss, outputs = trainer.compute_loss(model, batch, return_outputs=True)
    weight = outputs.pipeline_weight
    parts = (loss - weight * outputs.pipeline_loss, weight * outputs.pipeline_loss)
    others, pipeline = (trainer._norm(part) for part in parts)
    assert (pipeline / (pipeline + others)).item() == pytest.approx(share, rel=1e-4)


def test_a_balanced_pipeline_that_stopped_leaves_the_other_losses_alone(tiny_rmts, tmp_path):
    stop = dict.fromkeys(("within_object", "within_pair", "between_pair"), 1)
    config = dataclasses.replace(changed(tiny_rmts, stop_epoch=stop), pipeline_share=0.5)
    trainer = trainer_of(config, tmp_path)
    trainer.epoch_steps = 4
    trainer.train()
    weights = [row.get("pipeline_weight") for row in trainer.state.log_history if "loss" in row]
    assert len([weight for weight in weights if weight]) < len(weights)


def test_the_seed_deals_the_blocks(tiny_rmts):
    dealt = []
    for seed in range(20):
        config = dataclasses.replace(tiny_rmts, pipeline=SHUFFLED, seed=seed)
        settings = head_settings(config)["pipeline"]
        assert "shuffled" not in settings
        counts = [
            len(settings[stage]) for stage in ("within_object", "within_pair", "between_pair")
        ]
        assert counts == [3, 2, 1]
        blocks = [*settings["within_object"], *settings["within_pair"], *settings["between_pair"]]
        assert sorted(blocks) == list(range(6))
        dealt.append(str(settings))
        assert head_settings(config)["pipeline"] == settings
    assert len(set(dealt)) > 15


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pipeline_share": 1.5}, "pipeline_share 1.5: expected a share between 0 and 1"),
        ({"pipeline_share": 0.5, "pipeline": None}, "pipeline_share 0.5 without a pipeline"),
        (
            {"pipeline": {"within_object": [0], "start_epoch": {"within_object": 9}}},
            "pipeline.start_epoch 9 of within_object: expected less than",
        ),
    ],
)
def test_bad_settings(tiny_rmts, settings, message):
    with pytest.raises(RelViTError, match=message):
        dataclasses.replace(tiny_rmts, **settings)


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ({"within_object": [0], "within_pair": [0], "shuffled": True}, "each block in one stage"),
        ({"within_object": [0], "shuffled": "yes"}, "pipeline.shuffled is 'yes': expected true or"),
    ],
)
def test_bad_shuffles(tiny_rmts, pipeline, message):
    config = dataclasses.replace(tiny_rmts, pipeline=pipeline)
    with pytest.raises(RelViTError, match=message):
        head_settings(config)


@pytest.mark.parametrize("losses", [True, False])
def test_the_log_has_the_stages_that_the_analysis_measures(tiny_rmts, tmp_path, losses):
    config = tiny_rmts
    if not losses:
        config = dataclasses.replace(config, pipeline=None, disentanglement=None)
    trainer = trainer_of(config, tmp_path)
    trainer.train()
    log = trainer.state.log_history
    history = {"log": log, "provenance": {"config": config.to_dict()}}
    course = training_stages(history)
    last = course[course.images == course.images.max()]
    scenes = config.distribution().sample("validation", config.n_eval)
    checkpoint = Checkpoint(trainer.model, trainer.processing_class)
    stages = measure_attention(checkpoint, scenes, AttentionConfig(scenes=config.n_eval))
    assert set(last.kind) == {"within_object", "within_pair", "between_pair"}
    for row in last.itertuples():
        strongest = stages.grid(row.kind)[row.layer].max()
        assert row.share == pytest.approx(strongest, abs=2e-3)  # evaluation may run in bfloat16
