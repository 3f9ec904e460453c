"""Models inside what the ecosystem wraps around them: resumed and loaded again as Trainer does with any model."""

import shutil

import pytest
import torch
from tiny_trainer import SCENES, rows, tiny_checkpoint, tiny_trainer, weights
from torch import nn

from hf_relvit.errors import RelViTError
from hf_relvit.modeling import RelViTForImageClassification
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.training.evaluation import evaluate

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning",  # peft
    "ignore:The .grad attribute:UserWarning",  # torch's compiler
)


def compiled(model):
    return torch.compile(model, backend="eager")


def with_adapters(model):
    settings = peft.LoraConfig(r=4, target_modules="all-linear", modules_to_save=["classifier"])
    return peft.get_peft_model(model, settings)


WRAPPERS = {
    "nothing": lambda model: model,
    "compile": compiled,
    "data parallel": nn.DataParallel,
    "peft": with_adapters,
    "compiled peft": lambda model: compiled(with_adapters(model)),
}


@pytest.mark.long
@pytest.mark.parametrize("wrap", ["nothing", "compile", "data parallel", "peft"])
def test_a_resumed_training_ends_as_an_uninterrupted_one(tmp_path, wrap):
    whole = tiny_trainer(tmp_path, wrap=WRAPPERS[wrap])
    whole.train()
    shutil.rmtree(tmp_path / "checkpoint-4")
    resumed = tiny_trainer(tmp_path, wrap=WRAPPERS[wrap])
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)
    assert rows(resumed) == rows(whole)
    if "peft" in wrap:
        assert (tmp_path / "checkpoint-4" / "adapter_model.safetensors").exists()
        return
    saved = RelViTForImageClassification.from_pretrained(tmp_path / "checkpoint-4")
    inner = saved if wrap == "nothing" else WRAPPERS[wrap](saved)
    torch.testing.assert_close(inner.state_dict(), weights(whole), rtol=0, atol=0)


@pytest.mark.long
@pytest.mark.parametrize("wrap", WRAPPERS)
def test_the_best_weights_are_those_that_were_measured(tmp_path, wrap):
    best = tiny_trainer(
        tmp_path,
        wrap=WRAPPERS[wrap],
        load_best_model_at_end=True,
        metric_for_best_model="accuracy",
    )
    seen = {}
    evaluate, scores = best._evaluate, iter([0.9, 0.5])

    def remember(*args, **kwargs):
        seen[best.state.global_step] = weights(best)
        return evaluate(*args, **kwargs) | {"eval_accuracy": next(scores)}

    best._evaluate = remember
    best.train()
    torch.testing.assert_close(weights(best), seen[2], rtol=0, atol=0)
    assert any(not torch.equal(seen[2][name], seen[4][name]) for name in seen[2])


def test_a_checkpoint_that_lacks_weights_is_not_filled_with_new_ones(tmp_path):
    tiny_trainer(tmp_path).train()
    model = tiny_checkpoint().model
    state = {name: value for name, value in model.state_dict().items() if "layers.1." not in name}
    model.save_pretrained(tmp_path / "checkpoint-2", state_dict=state)
    resumed = tiny_trainer(tmp_path)
    with pytest.raises(RelViTError, match=r"checkpoint-2 lack tensors, 16 in all"):
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))


def test_adapters_that_trainer_cannot_load_again_are_refused_at_once(tmp_path):
    checkpoint = tiny_checkpoint()
    try:
        checkpoint.model.add_adapter(peft.LoraConfig(r=4, target_modules="all-linear"))
    except ValueError as error:  # of transformers, for a release of peft that is not there yet
        if "version of PEFT" not in str(error):
            raise
        pytest.skip(str(error))
    with pytest.raises(RelViTError, match=r"expected peft.get_peft_model\(model, ...\)"):
        tiny_trainer(tmp_path, checkpoint=checkpoint)


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_a_wrapped_model_is_measured_as_the_one_inside(wrap):
    checkpoint = tiny_checkpoint()
    scenes = {"test": SCENES.sample("test", 32)}
    expected = evaluate(checkpoint, scenes)
    wrapped = Checkpoint(WRAPPERS[wrap](checkpoint.model), checkpoint.processor)
    assert evaluate(wrapped, scenes).equals(expected)
