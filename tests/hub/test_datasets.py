"""Datasets published to a Hub and loaded again in clean processes, as a person does."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from hashlib import sha256

import datasets
import pytest
from huggingface_hub import DatasetCard, HfApi, constants

from hf_relvit import cli
from hf_relvit.building.build import build
from hf_relvit.building.dataset_folder import open_folder
from hf_relvit.building.settings import BuildConfig
from hf_relvit.errors import RelViTError
from hf_relvit.hub.datasets import push_dataset

SMALL = {"n_train": 16, "n_eval": 8}
REPO = "relvit/rmts"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with two configs."""
    datasets.disable_progress_bars()
    out = tmp_path_factory.mktemp("built") / "rmts"
    for config in ("quick-32", "quick-256"):
        build(BuildConfig("rmts", config, **SMALL), out)
    yield out
    datasets.enable_progress_bars()


def push(data, repo=REPO, task="rmts", **options):
    said = []
    commit = push_dataset(task, data, repo, say=said.append, **options)
    return commit, said


def pushed(hub, kind="PUT"):
    """Requests that sent contents."""
    return [path for method, path, status in hub.requests if method == kind and status == 200]


WAYS = {
    "default": ((), {}),
    "named": (("quick-32",), {}),
    "streaming": (("quick-32",), {"streaming": True}),
    "tag": (("quick-32",), {"revision": "v1.0.0"}),
}
LOAD = f"""
import hashlib, json
from datasets import load_dataset

def row(r):
    return [r["label"], r["patches"], r["seed"], hashlib.sha256(r["image"].tobytes()).hexdigest()]

ways = {WAYS!r}
data = {{name: load_dataset("relvit/rmts", *a, split="test", **k) for name, (a, k) in ways.items()}}
print(json.dumps({{name: [repr(d.features["label"]), [row(r) for r in d]] for name, d in data.items()}}))
"""


@pytest.mark.long
def test_published_and_loaded_in_clean_processes(hub, built):
    done = hub.run(["relvit", "data", "push", "rmts", "--data", str(built), "--repo", REPO])
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout
        == 'relvit/rmts published as v1.0.0: load_dataset("relvit/rmts", revision="v1.0.0")\n'
    )
    assert "Traceback" not in done.stderr
    loaded = json.loads(hub.python(LOAD))
    for way, (config, _) in WAYS.items():
        data = open_folder(built, *config or ["quick-256"])["test"]  # the default config
        own = [
            [r["label"], r["patches"], r["seed"], sha256(r["image"].tobytes()).hexdigest()]
            for r in data
        ]
        assert loaded[way] == [repr(data.features["label"]), own], way


def test_a_second_push_changes_nothing(hub, built):
    first, _ = push(built)
    hub.requests.clear()
    second, said = push(built)
    assert second == first
    assert said == ['relvit/rmts is up to date: load_dataset("relvit/rmts", revision="v1.0.0")']
    assert not pushed(hub)
    assert not [path for path in pushed(hub, "POST") if "/commit/" in path or "/tag/" in path]


def test_the_repository(hub, built):
    commit, _ = push(built)
    api = HfApi(hub.url)
    info = api.dataset_info(REPO)
    assert info.private and info.sha == commit
    assert [c.title for c in api.list_repo_commits(REPO, repo_type="dataset")] == [
        "rmts v1.0.0: quick-256, quick-32",
        "initial commit",
    ]
    assert {
        tag.name: tag.target_commit for tag in api.list_repo_refs(REPO, repo_type="dataset").tags
    } == {"v1.0.0": commit}
    own = {str(path.relative_to(built)) for path in built.rglob("*") if path.is_file()}
    files = {file.rfilename for file in info.siblings}
    assert files == own | {".gitattributes", "eval.yaml"}
    assert not any(
        name.endswith(".py") for name in files
    )  # load_dataset refuses repositories with scripts


def test_the_card_on_the_hub(hub, built):
    push(built)
    card = DatasetCard.load(REPO, token="local-relvit")
    assert {c["config_name"]: c.get("default") for c in card.data["configs"]} == {
        "quick-256": True,
        "quick-32": None,
    }
    assert card.data["size_categories"] == ["n<1K"]
    assert {"relvit-scenes", "synthetic"} <= set(card.data["tags"])
    assert 'load_dataset("relvit/rmts", "quick-256", split="test")' in card.text
    assert "![four scenes, with the values of their columns](columns.png)" in card.text
    assert 'revision="v1.0.0"' in card.text
    page = hub.python(
        "import os, urllib.request as u; r = u.Request(os.environ['HF_ENDPOINT'] + '/datasets/relvit/rmts', "
        "headers={'Authorization': 'Bearer local-relvit'}); print(u.urlopen(r).read().decode())"
    )
    assert 'src="/datasets/relvit/rmts/resolve/main/columns.png"' in page
    assert page.count("<table>") == 3  # files, columns, configs
    assert "{{" not in page


@pytest.mark.long
def test_the_other_tasks(hub, tmp_path):
    tasks = {"discrimination": ("small-256", 12), "counterfactuals": ("rmts-quick-32", 16)}
    for task, (config, n) in tasks.items():
        build(BuildConfig(task, config, n_train=n, n_eval=n), tmp_path / task, say=print)
        push(tmp_path / task, f"relvit/{task}", task)
    code = f"""
import json
from datasets import load_dataset
rows = [load_dataset("relvit/" + task, split="test")[:3] for task in {[*tasks]}]
print(json.dumps(rows, default=lambda image: image.getpixel((5, 5))))
"""
    found = json.loads(hub.python(code))
    for (task, (config, _)), rows in zip(tasks.items(), found):
        own = open_folder(tmp_path / task, config)["test"][:3]
        assert rows == json.loads(json.dumps(own, default=lambda image: image.getpixel((5, 5))))


def test_public_only_if_asked(hub, built):
    push(built)
    assert HfApi(hub.url).dataset_info(REPO).private
    push(built, public=True)
    assert not HfApi(hub.url).dataset_info(REPO).private
    push(built)  # never hidden again by itself
    assert HfApi(hub.url, token=False).dataset_info(REPO).id == REPO


def test_a_dry_run_sends_nothing_and_needs_no_account(hub, built, monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(SystemExit) as end:
        cli.main(["data", "push", "rmts", "--data", str(built), "--repo", REPO, "--dry-run"])
    assert end.value.code == 0
    assert hub.requests == []
    lines = capsys.readouterr().out.splitlines()
    listed = {line.split(maxsplit=2)[2]: float(line.split()[0]) for line in lines[:-2]}
    for entry, size in listed.items():
        folder, is_folder, count = entry.partition("/ (")
        if is_folder:
            sent = [path for path in (built / folder).rglob("*") if path.is_file()]
            assert int(count.split()[0]) == len(sent)
            assert round(sum(path.stat().st_size for path in sent) / 1e6, 3) == size
    assert {"README.md", "columns.png"} <= listed.keys()
    counts = [int(entry.split()[1][1:]) if "/" in entry else 1 for entry in listed]
    total = f"{sum(counts)} files for relvit/rmts, private if it is new; nothing was sent"
    assert total in lines[-2]
    assert lines[-1] == "its tag would be v1.0.0"


def test_configs_of_two_folders_meet_on_the_hub(hub, tmp_path):
    for config in ("quick-32", "quick-64"):
        build(BuildConfig("rmts", config, **SMALL), tmp_path / config)
        push(tmp_path / config)
    card = DatasetCard.load(REPO, token="local-relvit")
    assert [c["config_name"] for c in card.data["configs"]] == ["quick-32", "quick-64"]
    refs = HfApi(hub.url).list_repo_refs(REPO, repo_type="dataset")
    assert refs.tags[0].target_commit == refs.branches[0].target_commit  # the tag has both


def test_published_rows_do_not_change(hub, built, tmp_path):
    push(built)
    before = hub.store.repo("dataset", REPO).facts
    build(BuildConfig("rmts", "quick-32", seed=1, **SMALL), tmp_path / "other")
    with pytest.raises(
        RelViTError, match=r"relvit/rmts has other rows in quick-32 of version 1\.0\.0"
    ):
        push(tmp_path / "other")
    assert hub.store.repo("dataset", REPO).facts == before


def test_another_number_of_shards_replaces_the_old_ones(hub, tmp_path):
    for processes in (1, 2):
        build(
            BuildConfig("rmts", "quick-32", **SMALL), tmp_path / str(processes), processes=processes
        )
        push(tmp_path / str(processes))
    files = HfApi(hub.url).list_repo_files(REPO, repo_type="dataset")
    assert sorted(f for f in files if "/train-" in f) == [
        f"quick-32/train-0000{i}-of-00002.parquet" for i in (0, 1)
    ]


@pytest.mark.parametrize(
    ("repo", "token", "message"),
    [
        (REPO, None, "relvit/rmts: you are not signed in to the Hub: run `hf auth login`"),
        (
            REPO,
            "local-expired",
            "relvit/rmts: your token is unknown or expired: run `hf auth login` (HF_TOKEN",
        ),
        (
            REPO,
            "hf_abcdefghijklmnopqrstuvwxyz12345678",
            "relvit/rmts: your token is unknown or expired",
        ),
        (REPO, "local-reader", "relvit/rmts: your token may only read"),
        (
            "other/rmts",
            "local-relvit",
            "other/rmts: you are relvit and cannot write to other: name one of relvit, re",
        ),
        (
            "relvit/../rmts",
            "local-relvit",
            "'relvit/../rmts' is no name of a repository: write OWNER/NAME",
        ),
        ("relvit/..", "local-relvit", "'relvit/..' is no name of a repository"),
        (
            "rmts",
            "local-relvit",
            "'rmts' is no name of a repository: write OWNER/NAME, such as relvit/rmts",
        ),
    ],
)
def test_who_may_not_push(hub, built, monkeypatch, repo, token, message):
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(RelViTError, match=re.escape(message)) as caught:
        push(built, repo)
    assert "\n" not in str(caught.value)
    assert not token or token not in str(caught.value)
    assert not hub.store.repos("dataset")


def test_another_projects_dataset_is_left_alone(hub, built):
    api = HfApi(hub.url)
    api.create_repo(REPO, repo_type="dataset")
    api.upload_file(
        path_or_fileobj=b"a,b\n", path_in_repo="a.csv", repo_id=REPO, repo_type="dataset"
    )
    for card in (None, b"---\nlicense: mit\ntags: [other]\n---\nA relvit-scenes dataset\n"):
        if card:
            api.upload_file(
                path_or_fileobj=card, path_in_repo="README.md", repo_id=REPO, repo_type="dataset"
            )
        head = api.dataset_info(REPO).sha
        with pytest.raises(
            RelViTError,
            match="relvit/rmts is another project's: its card lacks the tag relvit-scenes",
        ):
            push(built)
        assert api.dataset_info(REPO).sha == head


def test_another_task_under_that_name(hub, built, tmp_path):
    push(built)
    build(
        BuildConfig("discrimination", "quick-32", n_train=16, n_eval=12),
        tmp_path / "d",
        say=lambda text: None,
    )
    with pytest.raises(RelViTError, match="relvit/rmts holds rmts scenes, not discrimination"):
        push(tmp_path / "d", task="discrimination")


@pytest.mark.long
@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            {"method": "POST", "path": "/commit/", "status": 500},
            "the Hub had an error (500); sent files are kept: run",
        ),
        (
            {"method": "POST", "path": "/commit/", "status": None},
            "cannot be reached, or the connection broke; sent files are kept",
        ),
        (
            {"method": "POST", "path": "/commit/", "status": 412},
            "somebody else pushed at the same time; nothing of the",
        ),
        ({"method": "PUT", "path": "/_storage/", "status": 403, "skip": 3}, "the Hub forbids it"),
        ({"method": "POST", "path": "/tag/", "status": 500}, "the Hub had an error (500)"),
    ],
)
def test_a_push_that_fails_is_resumed(hub, built, fault, message):
    hub.fail(**fault, times=99)
    with pytest.raises(RelViTError, match=re.escape(message)) as caught:
        push(built)
    assert "\n" not in str(caught.value)
    sent = pushed(hub)
    half = hub.store.repo("dataset", REPO).commit("main")["files"]
    assert set(half) == {".gitattributes"} or fault["path"] == "/tag/"  # all or nothing
    hub.faults.clear()
    hub.requests.clear()
    commit, _ = push(built)
    assert not set(sent) & set(pushed(hub))  # nothing is sent twice
    assert (
        len(set(sent) | set(pushed(hub))) == 11
    )  # 7 + 6 shards, of which 3 are the same, and the picture
    assert hub.store.repo("dataset", REPO).facts["tags"] == {"v1.0.0": commit}


def test_a_connection_that_drops_once_is_tried_again(hub, built):
    hub.fail("PUT", "/_storage/", status=None, after=2000)
    commit, _ = push(built)
    assert hub.store.repo("dataset", REPO).facts["branches"]["main"] == commit


@pytest.mark.long
def test_a_killed_push_is_resumed(hub, built):
    command = ["relvit", "data", "push", "rmts", "--data", str(built), "--repo", REPO]
    hub.fail(
        "PUT", "/_storage/", status=503, skip=5, times=99
    )  # the client waits and tries again, so it can be killed
    program = shutil.which("relvit", path=os.path.dirname(os.sys.executable))
    process = subprocess.Popen(
        [program, *command[1:]], env=hub.clean_environment(), stderr=subprocess.PIPE, text=True
    )
    while ("PUT", 503) not in [(method, status) for method, _, status in hub.requests]:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    sent = pushed(hub)
    assert 0 < len(sent) < 11
    hub.faults.clear()
    hub.requests.clear()
    done = hub.run(command)
    assert done.returncode == 0, done.stderr
    assert not set(sent) & set(pushed(hub))
    assert hub.store.repo("dataset", REPO).facts["tags"]


def test_no_hub_or_another_kind(hub, built, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)  # this Hub does not speak it
    with pytest.raises(
        RelViTError, match="Xet broke: run the same command again, with HF_HUB_DISABLE_XET=1"
    ):
        push(built)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RelViTError, match=r"^relvit/rmts: the Hub cannot be reached"):
        push(built)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        RelViTError, match=r"^relvit/rmts: offline by HF_HUB_OFFLINE: unset it to reach the Hub$"
    ):
        push(built)


@pytest.mark.parametrize(
    "harm", ["nothing there", "another task", "damaged", "facts", "two versions"]
)
def test_a_folder_that_cannot_be_published(hub, built, tmp_path, harm):
    data = tmp_path / "data"
    if harm != "nothing there":
        shutil.copytree(built, data)
    task = "discrimination" if harm == "another task" else "rmts"
    message = "holds no dataset"
    if harm == "another task":
        message = "is a dataset of rmts, not discrimination"
    if harm == "damaged":
        (data / "quick-32" / "test-00000-of-00001.parquet").write_bytes(b"PAR1")
        message = "is damaged: make it again with `relvit data build rmts --config quick-32"
    if harm == "facts":
        path = data / "quick-32" / "dataset_info.json"
        path.write_text("[]")
        message = f"{path} has changed its shape"
    if harm == "two versions":
        path = data / "quick-32" / "manifest.json"
        path.write_text(path.read_text().replace('"1.0.0"', '"0.9.0"'))
        message = "mixes the versions 0.9.0, 1.0.0 of the generator"
    with pytest.raises(RelViTError, match=re.escape(message)):
        push(data, task=task)
    assert hub.requests == []
