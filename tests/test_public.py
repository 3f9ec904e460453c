"""The public names: one list a package, each name there, and nothing heavy loaded before one is used."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import hf_relvit

ROOT = Path(hf_relvit.__file__).parent
LAZY = ["hf_relvit"] + [
    f"hf_relvit.{file.parent.name}"
    for file in sorted(ROOT.glob("*/__init__.py"))
    if "lazy_names(" in file.read_text()
]


@pytest.mark.parametrize("package", LAZY)
def test_every_public_name_is_there(package):
    module = import_module(package)
    assert module.__all__ == sorted(set(module.__all__))
    assert set(module.__all__) <= set(dir(module))
    for name in module.__all__:
        value = getattr(module, name)
        assert getattr(value, "__name__", name) == name, "the name of something else"
        if hasattr(value, "__module__"):
            assert value.__module__.startswith("hf_relvit."), f"{name} is another library's"


@pytest.mark.parametrize("package", LAZY)
def test_no_public_name_is_that_of_a_module(package):
    """`from package import name` would be the one or the other, by what was imported before."""
    module = import_module(package)
    folder = Path(module.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    assert files & set(module.__all__) == set()


@pytest.mark.parametrize("package", LAZY)
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module {package!r} has no attribute 'nothing'"):
        _ = import_module(package).nothing


@pytest.mark.parametrize("package", LAZY)
def test_importing_a_package_loads_none_of_its_modules(package):
    heavy = "{'torch', 'transformers', 'datasets', 'matplotlib', 'pandas', 'numpy', 'typer'}"
    program = f"import sys, {package}; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_notebook_finds_every_analysis_at_the_top():
    """A config, a function and a result for each."""
    wanted = {
        "AttentionConfig": ("measure_attention", "AttentionStages"),
        "AlignConfig": ("align", "Alignments"),
        "DASConfig": ("fit_alignment", "score_alignment", "Alignment"),
        "NovelConfig": ("inject_novel", "Novel"),
        "ProbeConfig": ("probe", "fit_probes", "Probes"),
        "SteeringConfig": ("steer", "Steering"),
        "DiagnosisConfig": ("diagnose", "Diagnosis"),
        "TrainConfig": ("train", "evaluate", "Checkpoint", "RunFolder"),
        "SceneDistribution": ("sample", "sample_counterfactuals", "render"),
    }
    for config, others in wanted.items():
        assert {config, *others} <= set(hf_relvit.__all__)


def verbs() -> set[str]:
    """The list in CONTRIBUTING.md."""
    text = (ROOT.parent / "CONTRIBUTING.md").read_text()
    (rule,) = re.findall(r"Public functions begin with a verb.*?Classes are nouns", text, re.DOTALL)
    return set(re.findall(r"`([a-z_]+)`", rule))


FUNCTIONS = [name for name in hf_relvit.__all__ if name[0].islower()]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_public_function_begins_with_a_verb_of_the_list(name):
    assert any(name == verb or name.startswith(f"{verb}_") for verb in verbs())


def test_every_verb_of_the_list_is_used():
    for verb in verbs():
        assert any(name == verb or name.startswith(f"{verb}_") for name in FUNCTIONS), verb
