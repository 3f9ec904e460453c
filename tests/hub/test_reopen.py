"""A published run opens in clean processes in every way that we promise, always with the same logits."""

import dataclasses
import json
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file
from tiny import TINY
from transformers import ViTConfig, ViTForImageClassification

from hf_relvit import cli
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.errors import RelViTError
from hf_relvit.geometry import geometry
from hf_relvit.hub.runs import push
from hf_relvit.modeling import RelViTForImageClassification
from hf_relvit.modeling.checkpoints import Checkpoint
from hf_relvit.modeling.configuration_relvit import CODE_FILES
from hf_relvit.report.run_folder import RunFolder
from hf_relvit.stimuli.rendering import render
from hf_relvit.stimuli.scenes import sample
from hf_relvit.study.compact import compact
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.run import build_model

WITH_PACKAGE = """
import sys
import torch
from safetensors.torch import load_file, save_file
import hf_relvit
from transformers import AutoImageProcessor, AutoModel, AutoModelForImageClassification
data = load_file(sys.argv[1])
tokens, other = data["tokens"][:, 0], data["tokens"][:, 1]
out = {}
with torch.no_grad():
    processor = AutoImageProcessor.from_pretrained("relvit/tiny")
    pixels = processor(list(data["images"]), return_tensors="pt")["pixel_values"]
    model = AutoModelForImageClassification.from_pretrained("relvit/tiny").eval()
    assert type(model).__module__ == "hf_relvit.modeling.modeling_relvit"
    out["package"] = model(pixels).logits
    base = AutoModel.from_pretrained("relvit/tiny").eval()
    out["features"] = model.classifier(base(pixels).pooler_output)
    plain = AutoModelForImageClassification.from_pretrained("relvit/plain").eval()
    assert type(plain).__name__ == "ViTForImageClassification"
    out["plain"] = plain(pixels).logits
    from hf_relvit.analysis.alignment import Alignment
    from hf_relvit.modeling.checkpoints import Checkpoint
    pictures = data["images"].flip(0).numpy()
    alignment = Alignment.from_pretrained("relvit/tiny", subfolder="das/full-0")
    for name, net in {"swap": model, "swap_plain": plain}.items():
        with alignment.attach(net, tokens, alignment.read(Checkpoint(net, processor), pictures, other.flip(0))):
            out[name] = net(pixel_values=pixels).logits
save_file(out, sys.argv[1] + ".with")
"""

WITHOUT_PACKAGE = """
import sys
sys.modules["hf_relvit"] = None  # importing it fails, as where it is not installed
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModelForImageClassification, pipeline
data = load_file(sys.argv[1])
out = {}
with torch.no_grad():
    processor = AutoImageProcessor.from_pretrained("relvit/tiny")
    pixels = processor(list(data["images"]), return_tensors="pt")["pixel_values"]
    try:
        AutoModelForImageClassification.from_pretrained("relvit/tiny", trust_remote_code=False)
        raise SystemExit("code of a repository ran without consent")
    except ValueError as error:
        assert "trust_remote_code=True" in str(error)
    model = AutoModelForImageClassification.from_pretrained("relvit/tiny", trust_remote_code=True).eval()
    out["remote"] = model(pixels).logits
    out["plain"] = AutoModelForImageClassification.from_pretrained("relvit/plain").eval()(pixels).logits
for name, more in {"tiny": {"trust_remote_code": True}, "plain": {}}.items():
    judge = pipeline("image-classification", "relvit/" + name, function_to_apply="none", **more)
    answers = judge([Image.fromarray(image) for image in data["images"].numpy()])
    scores = [{answer["label"]: answer["score"] for answer in each} for each in answers]
    out["pipeline_" + name] = torch.tensor([[each["different"], each["same"]] for each in scores])
save_file(out, sys.argv[1] + ".without")
"""


@pytest.fixture(autouse=True)
def fresh_client(monkeypatch):
    """transformers keeps the address of the first Hub that it met."""
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)


@pytest.fixture
def checkpoint(study):
    return Checkpoint.open(study / "seed0" / "training" / "model")


@pytest.fixture
def scenes():
    return sample("discrimination", geometry("quick"), "test", 4, combinations=32)


def publish_plain(model, processor, tmp_path, name="relvit/plain"):
    """An ordinary transformers classifier, as anybody might have published it."""
    model.save_pretrained(tmp_path / "plain")
    if processor is not None:
        processor.save_pretrained(tmp_path / "plain")
    api = HfApi(token="local-relvit")
    api.create_repo(name)
    api.upload_folder(repo_id=name, folder_path=tmp_path / "plain")
    return name


def command(*words):
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    return end.value.code


def test_the_logits_are_the_same_everywhere(study, hub, checkpoint, scenes, tmp_path):
    model, processor = checkpoint
    push(study, "relvit/tiny", say=lambda line: None)
    publish_plain(model.to_plain(), processor, tmp_path)
    found = Alignment.from_pretrained(study / "seed0", subfolder="das/color-0")
    alignment = dataclasses.replace(
        found, mask=torch.ones_like(found.mask)
    )  # a tiny search finds nothing to swap
    alignment.save_pretrained(tmp_path / "full-0")
    HfApi(token="local-relvit").upload_folder(
        repo_id="relvit/tiny", folder_path=tmp_path / "full-0", path_in_repo="das/full-0"
    )
    images = render(scenes)
    tokens = model.geometry.tokens(torch.from_numpy(scenes.patches()))
    data = tmp_path / "data"
    save_file({"images": torch.from_numpy(images), "tokens": tokens.contiguous()}, data)
    for program in (WITH_PACKAGE, WITHOUT_PACKAGE):
        done = hub.run(["python", "-c", program, str(data)], cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
    pixels = processor(images)
    with torch.no_grad():
        expected = model(pixels).logits
        source = alignment.read(
            Checkpoint(model, processor), images[::-1].copy(), tokens[:, 1].flip(0)
        )
        with alignment.attach(model, tokens[:, 0], source):
            swapped = model(pixel_values=pixels).logits
    assert (swapped - expected).abs().max() > 1e-4  # the swap does something
    there, elsewhere = load_file(f"{data}.with"), load_file(f"{data}.without")
    for name, logits in {**there, **{f"without {k}": v for k, v in elsewhere.items()}}.items():
        wanted = swapped if "swap" in name else expected
        torch.testing.assert_close(
            logits, wanted, atol=1e-6, rtol=0, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert set(there) == {"package", "features", "plain", "swap", "swap_plain"}
    assert set(elsewhere) == {"remote", "plain", "pipeline_tiny", "pipeline_plain"}


COMPACT = """
import sys
sys.modules["hf_relvit"] = None
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModelForImageClassification
images = load_file(sys.argv[1])["images"]
processor = AutoImageProcessor.from_pretrained("relvit/compact")
model = AutoModelForImageClassification.from_pretrained("relvit/compact", trust_remote_code=True).eval()
with torch.no_grad():
    save_file({"logits": model(**processor(list(images), return_tensors="pt")).logits}, sys.argv[1] + ".out")
"""


@pytest.mark.long
def test_a_compact_run_has_no_code_until_it_is_published(study, hub, scenes, tmp_path):
    small = compact(study / "seed0", tmp_path / "compact", say=str)
    assert not list(small.rglob("*.py"))
    opened = RunFolder.open(small).checkpoint()
    with torch.no_grad():
        expected = opened.model(opened.pixel_values(scenes)).logits
    push(small, "relvit/compact", say=lambda line: None)
    files = set(HfApi(token="local-relvit").list_repo_files("relvit/compact"))
    assert set(CODE_FILES) <= files
    data = tmp_path / "data"
    save_file({"images": torch.from_numpy(render(scenes))}, data)
    done = hub.run(["python", "-c", COMPACT, str(data)], cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    logits = load_file(f"{data}.out")["logits"]
    torch.testing.assert_close(logits, expected, atol=1e-6, rtol=0)


def test_evaluate_opens_what_was_published_and_anybodys_classifier(
    study, hub, checkpoint, tmp_path, capsys
):
    push(study, "relvit/tiny", say=lambda line: None)
    publish_plain(checkpoint.model.to_plain(), checkpoint.processor, tmp_path)
    assert command("evaluate", "relvit/tiny", "-n", "16") == 0
    ours = capsys.readouterr().out.splitlines()[1:]
    scenes = ["--task", "discrimination", "--config", "quick-32", "-n", "16"]
    assert command("evaluate", "relvit/plain", *scenes) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ours
    assert command("evaluate", "relvit/plain") == 2
    assert (
        "does not say what it was trained on: name it with --task and --config"
        in capsys.readouterr().err
    )


def test_a_classifier_that_does_not_name_its_classes(hub, checkpoint, tmp_path, capsys):
    model, processor = checkpoint
    plain = model.to_plain()
    with torch.no_grad():
        plain.classifier.bias.copy_(
            torch.tensor([5.0, 0.0])
        )  # always "different", which is class 0
    plain.config.id2label, plain.config.label2id = (
        {0: "LABEL_0", 1: "LABEL_1"},
        {"LABEL_0": 0, "LABEL_1": 1},
    )
    publish_plain(plain, processor, tmp_path)
    assert command("evaluate", "relvit/plain") == 2
    assert "say what two classes mean with labels (--labels)" in capsys.readouterr().err
    images = processor(np.zeros((1, 64, 64, 3), np.uint8))
    with torch.no_grad():
        wanted = plain(images).logits
        for labels, order in {("different", "same"): [0, 1], ("same", "different"): [1, 0]}.items():
            opened, _ = Checkpoint.open("relvit/plain", labels=labels)
            torch.testing.assert_close(opened(images).logits, wanted[:, order], atol=1e-6, rtol=0)
    scenes = ["--task", "discrimination", "--config", "quick-32", "-n", "16"]
    assert command("evaluate", "relvit/plain", *scenes, "--labels", "same,different") == 0
    assert "0.500" in capsys.readouterr().out
    assert command("evaluate", "relvit/plain", *scenes, "--labels", "yes,no") == 2
    assert "labels yes, no for 2 classes: expected different and same" in capsys.readouterr().err


def test_what_is_no_same_different_classifier_is_one_line(hub, checkpoint, tmp_path, capsys):
    size = dict(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=64,
    )
    many = ViTForImageClassification(ViTConfig(num_labels=10, patch_size=8, **size))
    publish_plain(many, checkpoint.processor, tmp_path, "relvit/many")
    assert command("evaluate", "relvit/many") == 2
    assert "checkpoint labels are 10 classes" in capsys.readouterr().err
    assert command("evaluate", "relvit/nothing") == 2
    assert "cannot open the checkpoint relvit/nothing" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize(
    ("file", "damage", "reason"),
    [
        ("model.safetensors", lambda content: content[:-100], "relvit/bad"),
        ("model.safetensors", lambda content: b"\xff" * 8 + content[8:], "relvit/bad"),
        ("config.json", lambda content: content.replace(b'"vit"', b'"resnet9000"'), "resnet9000"),
        (
            "config.json",
            lambda content: content.replace(b'"relvit"', b'"vit9000"'),
            "holds a vit9000",
        ),
        ("config.json", lambda content: content[:50], "relvit/bad"),
        (
            "preprocessor_config.json",
            lambda content: content.replace(b"0.97", b"0.5"),
            "has fingerprint",
        ),
    ],
)
def test_a_damaged_checkpoint_is_one_line(study, hub, capsys, file, damage, reason):
    push(study, "relvit/bad", say=lambda line: None)
    content = damage((study / "seed0" / "training" / "model" / file).read_bytes())
    api = HfApi(hub.url, token="local-relvit")
    api.upload_file(path_or_fileobj=content, path_in_repo=file, repo_id="relvit/bad")
    assert command("evaluate", "relvit/bad", "-n", "16") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("relvit: ")
    assert reason in error


@pytest.mark.parametrize("backbone", [False, True])
def test_a_pickle_is_not_opened(hub, checkpoint, tmp_path, backbone):
    publish_plain(checkpoint.model.to_plain(), checkpoint.processor, tmp_path)
    api = HfApi(hub.url, token="local-relvit")
    api.delete_file("model.safetensors", "relvit/plain")
    api.upload_file(
        path_or_fileobj=pickle.dumps(print),
        path_in_repo="pytorch_model.bin",
        repo_id="relvit/plain",
    )
    opened = RelViTForImageClassification.from_backbone if backbone else Checkpoint.open
    with pytest.raises(RelViTError, match=r"has no model\.safetensors: expected safetensors"):
        opened("relvit/plain")
    assert not [
        path for method, path, _ in hub.requests if method == "GET" and path.endswith(".bin")
    ]


def test_an_index_of_shards_cannot_lead_out_of_its_repository(study, hub, capsys, tmp_path):
    push(study, "relvit/bad", say=lambda line: None)
    api = HfApi(hub.url, token="local-relvit")
    api.delete_file("model.safetensors", "relvit/bad")
    index = {
        "metadata": {"total_size": 1},
        "weight_map": {"classifier.weight": "../../../../secret.safetensors"},
    }
    api.upload_file(
        path_or_fileobj=json.dumps(index).encode(),
        path_in_repo="model.safetensors.index.json",
        repo_id="relvit/bad",
    )
    assert command("evaluate", "relvit/bad", "-n", "16") == 2
    assert "leads out of" in capsys.readouterr().err


def test_alignments_of_a_run_are_named_by_their_subfolder(study, hub):
    push(study, "relvit/tiny", say=lambda line: None)
    alignment = Alignment.from_pretrained("relvit/tiny", subfolder="das/shape-0")
    assert alignment.property == "shape"
    assert np.array_equal(
        alignment.rotation, Alignment.from_pretrained(study / "seed0" / "das" / "shape-0").rotation
    )
    with pytest.raises(RelViTError, match="of a run, name where it is"):
        Alignment.from_pretrained("relvit/tiny")
    with pytest.raises(RelViTError, match=r"subfolder '\.\./secret' leads out of relvit/tiny"):
        Alignment.from_pretrained("relvit/tiny", subfolder="../secret")


def test_a_command_measures_the_revision_that_it_is_told(hub, tmp_path):
    api = HfApi(hub.url)
    api.create_repo("relvit/two")
    commits = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        build_model(TrainConfig(**TINY, seed=seed)).save(folder)
        commits.append(api.upload_folder(repo_id="relvit/two", folder_path=folder).oid)

    def measured(*words):
        out = tmp_path / "table.parquet"
        sizes = ["-n", "32", "--split", "test", "--device", "cpu", "--out", str(out)]
        with pytest.raises(SystemExit) as end:
            cli.main(["evaluate", *words, *sizes])
        assert end.value.code == 0
        return pd.read_parquet(out)

    first, second = (measured(str(tmp_path / str(seed))) for seed in (0, 1))
    assert not first.equals(second)
    assert measured("relvit/two", "--revision", commits[0]).equals(first)
    assert measured("relvit/two").equals(second)
