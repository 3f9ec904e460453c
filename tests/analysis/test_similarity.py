import numpy as np
import pytest
import torch

from hf_relvit.analysis.attention import AttentionConfig, measure_attention
from hf_relvit.analysis.similarity import (
    Similarity,
    measure_similarity,
    object_mean,
    object_similarity,
)
from hf_relvit.building.dataset_folder import open_folder
from hf_relvit.dataset_builders import photorealistic
from hf_relvit.errors import RelViTError
from hf_relvit.figures.photorealistic import photorealistic_figure
from hf_relvit.geometry import PatchGeometry
from hf_relvit.modeling.checkpoints import Checkpoint, randomly_initialized
from hf_relvit.stimuli.photorealistic.pairs import PhotoPairs
from hf_relvit.training.evaluation import PHOTOREALISTIC, evaluate
from hf_relvit.training.run import build_model


@pytest.fixture
def checkpoint(tiny):
    return build_model(tiny)


@pytest.fixture(scope="module")
def data():
    return open_folder(photorealistic.__path__[0], "tiny")["test"]


@pytest.fixture
def pairs(checkpoint, data):
    return PhotoPairs.from_dataset(data, checkpoint.model.config.geometry)


def test_the_mean_is_over_an_objects_own_tokens_only():
    hidden = torch.arange(24.0).view(2, 4, 3)
    mean = object_mean(hidden, torch.tensor([[1, 3, -1], [2, -1, -1]]))
    torch.testing.assert_close(mean, torch.stack([(hidden[0, 1] + hidden[0, 3]) / 2, hidden[1, 2]]))


def test_likeness_by_hand_and_in_any_batch(checkpoint, pairs):
    model, processor = checkpoint
    model.eval()
    found = object_similarity(Checkpoint(model, processor), pairs, batch_size=32)
    np.testing.assert_allclose(
        object_similarity(Checkpoint(model, processor), pairs, batch_size=5), found, atol=1e-5
    )
    hidden = model(
        pixel_values=processor(pairs.pictures[:1]), output_hidden_states=True
    ).hidden_states
    assert found.shape == (32, len(hidden))
    for layer, states in enumerate(hidden):
        one, other = (
            states[0, ids[ids >= 0] + 1].mean(0) for ids in torch.from_numpy(pairs.covered[0])
        )
        assert found[0, layer] == pytest.approx(
            torch.cosine_similarity(one, other, dim=0).item(), abs=1e-5
        )


def test_auc_of_a_model_that_knows_and_of_one_that_does_not(
    checkpoint, pairs, monkeypatch, tmp_path
):
    model, processor = checkpoint

    def likeness(net, pairs, **_):
        return np.stack([pairs.label, 1 - pairs.label, np.zeros(len(pairs))], 1).astype(np.float32)

    monkeypatch.setattr("hf_relvit.analysis.similarity.object_similarity", likeness)
    found = measure_similarity({"checkpoint": Checkpoint(model, processor)}, pairs)
    rows = found.frame[found.frame.level == "all"].set_index("layer")
    assert rows.auc.tolist() == [1, 0, 0.5]
    assert rows.index.tolist() == [-1, 0, 1]
    assert rows.n.tolist() == [32] * 3
    assert set(found.frame.level) == {"all", "object", "color"}
    found.save(tmp_path)
    assert Similarity.load(tmp_path).frame.equals(found.frame)


def test_figures_are_drawn(checkpoint, pairs, tmp_path):
    model, processor = checkpoint
    frozen = measure_similarity(
        {
            "checkpoint": checkpoint,
            "random weights": Checkpoint(randomly_initialized(model), processor),
        },
        pairs,
    )
    frozen.plot(tmp_path / "frozen.png")
    assert (tmp_path / "frozen.png").stat().st_size > 10_000
    table = evaluate(Checkpoint(model, processor), {PHOTOREALISTIC: pairs})
    bars, lines = photorealistic_figure(table, frozen.frame).axes
    assert len(bars.get_yticklabels()) == len(table)
    assert len(lines.get_lines()) == 3


def test_scenes_read_for_another_model_are_refused(checkpoint, data):
    wrong = PhotoPairs.from_dataset(data.select(range(2)), PatchGeometry(64, 16, 1))
    with pytest.raises(
        RelViTError, match=r"64 px, patches of 16\) do not fit a model of 64 px with patches of 8"
    ):
        object_similarity(checkpoint, wrong)
    with pytest.raises(
        RelViTError, match=r"64 px, patches of 16\) do not fit a model of 64 px with patches of 8"
    ):
        measure_attention(checkpoint, wrong)
    with pytest.raises(RelViTError, match="no models to compare"):
        measure_similarity({}, wrong)


def test_attention_of_objects_of_unequal_numbers_of_tokens(checkpoint, pairs):
    model, processor = checkpoint
    pairs = pairs[:6]
    sizes = (pairs.covered >= 0).sum(-1)
    assert (sizes[:, 0] != sizes[:, 1]).any()
    stages = measure_attention(Checkpoint(model, processor), pairs, AttentionConfig(batch_size=4))
    total = stages.frame.groupby(["layer", "head"])["mean"].sum()
    np.testing.assert_allclose(total, 1, atol=1e-5)
    assert "between_pair" not in set(stages.frame.kind)
    own, other = [], []
    model.set_attn_implementation("eager")
    maps = (
        model(pixel_values=processor(pairs.pictures), output_attentions=True)
        .attentions[1]
        .detach()
        .numpy()
    )
    for rows, ids in zip(maps, pairs.covered):
        first, second = (of[of >= 0] + 1 for of in ids)
        own.append([(rows[:, a][..., a].sum(-1).mean(-1)) for a in (first, second)])
        other.append(
            [(rows[:, a][..., b].sum(-1).mean(-1)) for a, b in ((first, second), (second, first))]
        )
    np.testing.assert_allclose(stages.grid("within_object")[1], np.mean(own, (0, 1)), atol=1e-5)
    np.testing.assert_allclose(stages.grid("within_pair")[1], np.mean(other, (0, 1)), atol=1e-5)
    chance = stages.frame.drop_duplicates("kind").set_index("kind").chance
    assert chance.sum() == pytest.approx(1)
    assert chance["within_object"] == pytest.approx(sizes.mean() / 65)
    assert chance["cls"] == pytest.approx(1 / 65)
