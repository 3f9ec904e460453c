import json
import os
import re
import shutil

import pytest
import yaml
from huggingface_hub import HfApi
from tiny import TINY

from hf_relvit import cli
from hf_relvit.errors import RelViTError
from hf_relvit.hub.runs import EVAL_RESULTS, collect_files, push
from hf_relvit.manifest import MANIFEST, _digest

TOKEN = "hf_" + "aB3" * 12


def reseal(cell):
    """Write the manifest of a cell that a test changed anew."""
    manifest = json.loads((cell / MANIFEST).read_text())
    manifest["files"] = {name: _digest(cell / name) for name in manifest["files"]}
    (cell / MANIFEST).write_text(json.dumps(manifest))


def command(*words):
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    return end.value.code


def names(hub, repo="relvit/tiny"):
    return set(HfApi(hub.url, token="local-relvit").list_repo_files(repo))


def commits(hub, repo="relvit/tiny"):
    return [c.commit_id for c in HfApi(hub.url, token="local-relvit").list_repo_commits(repo)]


def test_a_run_is_found_from_its_folder_and_from_its_study(study):
    of_run, of_study = (
        collect_files(study / "seed0", "relvit/tiny"),
        collect_files(study, "relvit/tiny"),
    )
    assert list(of_run.files) == list(of_study.files)
    expected = {
        "model.safetensors",
        "config.json",
        "preprocessor_config.json",
        "modeling_relvit.py",
        "errors.py",
        "geometry.py",
        "training/history.json",
        "evaluation/accuracy.parquet",
        "attention/attention.parquet",
        "attention/viewer.png",
        "das/color-0/alignment.safetensors",
        "das/color-0/alignment.json",
        "das/shape-0/scores.parquet",
        "das_random/shape-0/scores.parquet",
        "novel/shape/novel.parquet",
        "probes/judgement/probes.parquet",
        "steering/steering.parquet",
        "figures/accuracy.png",
        "report.html",
        "results.json",
        "README.md",
        ".eval_results/relvit.yaml",
    }
    assert expected <= set(of_run.files)
    assert not [name for name in of_run.files if name.startswith("data/") or "DONE" in name]
    assert (
        "das_random/shape-0/alignment.safetensors" in of_run.left_out
    )  # fits no published weights
    assert of_run.notes == []


def test_only_what_is_allowed_leaves(run):
    planted = [
        "training/model/optimizer.pt",
        "training/model/training_args.bin",
        "training/model/pytorch_model.bin",
        "training/model/model.pkl",
        "training/model/setup.py",
        "training/checkpoints/checkpoint-8/rng_state.pth",
        "das/color-0/.env",
        "das/color-0/notes.txt",
        "probes/judgement/probe.joblib",
    ]
    for name in planted:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_bytes(b"x")
    (run / "token").write_text(TOKEN)
    staged = collect_files(run, "relvit/tiny")
    assert set(planted) <= set(staged.left_out)
    endings = {name.rsplit(".", 1)[-1] for name in staged.files}
    assert endings == {"safetensors", "json", "parquet", "png", "svg", "py", "md", "yaml"}


def test_paths_of_the_author_are_cut_everywhere(run, tmp_path):
    config = json.loads((run / "training" / "config.json").read_text())
    config |= {"objects": "/data/alice/masks", "palette": r"C:\Users\alice\colors.json"}
    (run / "training" / "config.json").write_text(json.dumps(config))
    reseal(run / "training")
    facts = json.loads((run / "das" / "color-0" / "alignment.json").read_text())
    facts["facts"]["note"] = f"from {tmp_path}/cache and ~/secret/place, see /home/alice/x.txt"
    (run / "das" / "color-0" / "alignment.json").write_text(json.dumps(facts))
    reseal(run / "das" / "color-0")
    (run / "report.html").write_text(
        f'<a href="{tmp_path}/model">/home/alice/run</a> https://x.org/home/page'
    )
    staged = collect_files(run, "relvit/tiny")
    text = {name: f if isinstance(f, bytes) else f.read_bytes() for name, f in staged.files.items()}
    for secret in (b"alice", str(tmp_path).encode(), b"~/secret", str(os.getcwd()).encode()):
        assert not [name for name, content in text.items() if secret in content]
    assert json.loads(text["training/config.json"])["objects"] == "masks"
    assert json.loads(text["training/config.json"])["palette"] == "colors.json"
    assert json.loads(text["results.json"])["config"]["objects"] == "masks"
    assert (
        json.loads(text["das/color-0/alignment.json"])["facts"]["note"]
        == "from cache and place, see x.txt"
    )
    assert text["report.html"] == b'<a href="model">run</a> https://x.org/home/page'
    assert "training/config.json: paths of this machine cut to their last part" in staged.notes


@pytest.mark.parametrize("name", ["attention/attention.json", "das/color-0/alignment.safetensors"])
def test_a_token_stops_the_push_and_is_not_shown(run, name):
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[:1] + TOKEN.encode() + b" " + content[1:])
    reseal((run / name).parent)
    with pytest.raises(RelViTError, match="holds a likely token of the Hub") as error:
        collect_files(run, "relvit/tiny")
    assert TOKEN not in str(error.value)


def test_nothing_outside_of_the_run_is_read(run, tmp_path):
    (tmp_path / "secret.json").write_text("{}")
    (run / "das" / "color-0" / "extra.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(RelViTError, match=r"extra\.json leads out of"):
        collect_files(run, "relvit/tiny")
    (run / "das" / "color-0" / "extra.json").unlink()
    manifest = run / "das" / "color-0" / MANIFEST
    values = json.loads(manifest.read_text())
    values["files"]["../../../secret.json"] = "0" * 64
    manifest.write_text(json.dumps(values))
    with pytest.raises(
        RelViTError, match=r"names \.\./\.\./\.\./secret\.json, outside of its cell"
    ):
        collect_files(run, "relvit/tiny")


def test_a_huge_file_is_refused_by_its_size(run):
    with (run / "training" / "model" / "model.safetensors").open("wb") as file:
        file.truncate(10_000_000_000)  # sparse: takes no space
    with pytest.raises(RelViTError, match=r"has 10\.0 GB: expected at most 5 GB per file"):
        collect_files(run, "relvit/tiny")


def test_a_changed_file_and_an_unfinished_run_are_refused(run):
    (run / "steering" / MANIFEST).unlink()
    assert collect_files(run, "relvit/tiny").notes == ["steering: not finished, left out"]
    (run / "evaluation" / "accuracy.parquet").write_bytes(b"better")
    with pytest.raises(RelViTError, match=r"accuracy\.parquet changed since it was made"):
        collect_files(run, "relvit/tiny")
    (run / "training" / MANIFEST).unlink()
    with pytest.raises(RelViTError, match="is not finished: run the study again"):
        collect_files(run, "relvit/tiny")
    shutil.copytree(run, run.parent / "seed1")
    with pytest.raises(RelViTError, match="holds 2 runs: name one of them"):
        collect_files(run.parent, "relvit/tiny")
    with pytest.raises(RelViTError, match="holds no finished run"):
        collect_files(run / "das", "relvit/tiny")


def test_a_dry_run_lists_and_sends_nothing(study, hub, capsys):
    assert command("push", study / "seed0", "--repo", "relvit/tiny", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "MB  model.safetensors" in out
    assert "files for relvit/tiny, private if it is new; nothing was sent" in out
    assert re.search(r"these stay here: das_random/ \(\d+ files\)\n", out)
    assert re.search(r"MB  das/ \(\d+ files\)\n", out)
    assert hub.requests == []


def test_a_push_is_private_whole_and_the_same_only_once(study, hub, capsys):
    assert command("push", study / "seed0", "--repo", "relvit/tiny") == 0
    assert f"published: {hub.url}/relvit/tiny" in capsys.readouterr().out
    sent = set(collect_files(study, "relvit/tiny").files)
    assert names(hub) - {".gitattributes"} == sent - {EVAL_RESULTS}, "its data set is not there"
    assert HfApi(hub.url, token="local-relvit").model_info("relvit/tiny").private
    before = commits(hub)
    assert command("push", study / "seed0", "--repo", "relvit/tiny") == 0
    assert "nothing has changed" in capsys.readouterr().out
    assert commits(hub) == before
    assert command("push", study / "seed0", "--repo", "relvit/tiny", "--public") == 0
    assert not HfApi(hub.url, token="local-relvit").model_info("relvit/tiny").private


FAULTS = [dict(method="POST", path="/commit/"), dict(method="PUT", path="", status=400, skip=3)]


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS)
def test_an_interrupted_push_goes_on(study, hub, fault):
    hub.fail(times=99, **fault)
    with pytest.raises(RelViTError, match=r"run the same command again|the Hub refused \(400"):
        push(study, "relvit/tiny", say=lambda line: None)
    assert names(hub) <= {".gitattributes"}  # never half a run
    hub.faults.clear()
    arrived = sum(r[0] == "PUT" and r[2] == 200 for r in hub.requests)
    assert arrived
    push(study, "relvit/tiny", say=lambda line: None)
    assert "model.safetensors" in names(hub)
    large = {name for name in names(hub) if name.endswith((".safetensors", ".parquet", ".png"))}
    assert sum(r[0] == "PUT" and r[2] == 200 for r in hub.requests) <= len(
        large
    )  # nothing went twice


@pytest.mark.long
def test_another_run_replaces_the_first_and_leaves_what_is_not_ours(run, hub):
    push(run, "relvit/tiny", say=lambda line: None)
    HfApi(hub.url, token="local-relvit").upload_file(
        path_or_fileobj=b"mine", path_in_repo="notes.txt", repo_id="relvit/tiny"
    )
    shutil.rmtree(run / "novel")
    push(run, "relvit/tiny", say=lambda line: None)
    sent = set(collect_files(run, "relvit/tiny").files) - {EVAL_RESULTS}
    assert names(hub) - {".gitattributes"} == sent | {"notes.txt"}


def test_another_project_of_that_name_stays_as_it_is(study, hub, capsys):
    api = HfApi(hub.url, token="local-relvit")
    api.create_repo("relvit/tiny")
    api.upload_file(
        path_or_fileobj=b"---\nlicense: mit\n---\n# Llama",
        path_in_repo="README.md",
        repo_id="relvit/tiny",
    )
    before = commits(hub)
    assert command("push", study, "--repo", "relvit/tiny") == 2
    error = capsys.readouterr().err
    assert "relvit/tiny is another project's" in error
    assert error.count("\n") == 1
    assert commits(hub) == before
    assert command("push", study, "--repo", "other/tiny") == 2
    assert "cannot write to other" in capsys.readouterr().err


def test_training_pushes_what_is_safe_and_fails_before_it_starts(tmp_path, hub):
    (tmp_path / "tiny.yaml").write_text(
        yaml.safe_dump({**TINY, "backbone": dict(TINY["backbone"])})
    )
    train = [
        "train",
        "quick",
        "--settings",
        tmp_path / "tiny.yaml",
        "--out",
        tmp_path / "clip",
        "--push-to-hub",
        "--repo",
    ]
    assert command(*train, "other/clip") == 2
    assert not (tmp_path / "clip").exists()
    assert command(*train, "relvit/clip") == 0
    there = names(hub, "relvit/clip")
    assert {"model.safetensors", "README.md", "results.json", "training/history.json"} <= there
    assert not [name for name in there if name.endswith((".bin", ".pt", ".pth"))]
    assert HfApi(hub.url, token="local-relvit").model_info("relvit/clip").private
    before = commits(hub, "relvit/clip")
    assert len(before) <= 2
    assert command(*train, "relvit/clip") == 0
    assert commits(hub, "relvit/clip") == before


def test_the_repository_of_a_training_has_the_name_of_its_folder(hub, tmp_path, capsys):
    from hf_relvit.hub.runs import own_repo

    assert own_repo(tmp_path / "clip") == "relvit/clip"
    assert command("train", "quick", "--out", tmp_path / "x", "--repo", "relvit/x") == 2
    assert "without --push-to-hub" in capsys.readouterr().err
