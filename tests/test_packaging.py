"""What is built and handed out: one version, all files but the weights, workflows that call targets that exist."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

import hf_relvit
from hf_relvit.errors import RelViTError
from hf_relvit.spaces.interventions import app, gate, publish

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
LARGEST = 5_000_000


def test_the_version_stands_in_one_place():
    assert PROJECT["project"]["dynamic"] == ["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert {str(cited), newest} == {hf_relvit.__version__}


def data_files() -> dict[str, Path]:
    """Files of the package that are no code: path in the package -> file."""
    package = ROOT / "hf_relvit"
    paths = [path for path in package.rglob("*") if path.is_file()]
    names = {path.relative_to(package).as_posix(): path for path in paths}
    return {n: p for n, p in names.items() if p.suffix not in (".py", ".pyc")}


def is_shipped(name: str) -> bool:
    for package, patterns in PROJECT["tool"]["setuptools"]["package-data"].items():
        folder = "/".join(package.split(".")[1:])
        inside = name.removeprefix(f"{folder}/" if folder else "")
        starts = not folder or name.startswith(f"{folder}/")
        if starts and any(
            fnmatch(inside, pattern) and inside.count("/") == pattern.count("/")
            for pattern in patterns
        ):
            return True
    return False


def test_all_data_are_in_the_wheel_and_it_stays_small():
    files = data_files()
    shipped = {name: path for name, path in files.items() if is_shipped(name)}
    assert files.keys() - shipped.keys() <= {"spaces/README.md"}
    code = sum(path.stat().st_size for path in (ROOT / "hf_relvit").rglob("*.py"))
    assert sum(path.stat().st_size for path in shipped.values()) + code / 3 < LARGEST


def test_without_models_the_demo_and_the_space_say_so(tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    monkeypatch.setattr(app, "RELEASED", tmp_path)
    for name in ("forget_tokens", "reach_itself"):  # they change this process for good
        monkeypatch.setattr(gate, name, lambda *_: None)
    for call in (lambda: publish.push_space("a/b", dry_run=True), lambda: app.start([])):
        with pytest.raises(RelViTError, match=r"come without them\): .* clone of the repository"):
            call()


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_targets_of_the_makefile(path):
    jobs = yaml.safe_load(path.read_text())["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    called = {word for line in commands for word in re.findall(r"^make ([\w-]+)", line)}
    assert called and called <= TARGETS
    assert all("timeout-minutes" in job for job in jobs.values())


def test_the_forge_files_are_whole():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    bodies = [yaml.safe_load(form.read_text()) for form in forms if form.stem != "config"]
    assert all({"name", "description", "body"} <= body.keys() for body in bodies)
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {"ruff-check", "ruff-format", "pickles", "tokens"} <= {hook["id"] for hook in hooks}
    targets = re.findall(r"make ((?:[\w-]+ ?)+)`", (ROOT / "RELEASE.md").read_text())
    assert {word for line in targets for word in line.split()} <= TARGETS


def test_python_versions_agree():
    listed = re.findall(r'"3\.\d+"', (ROOT / ".github" / "workflows" / "check.yml").read_text())
    classifiers = " ".join(PROJECT["project"]["classifiers"])
    assert set(re.findall(r"Python :: (3\.\d+)", classifiers)) == {v.strip('"') for v in listed}
