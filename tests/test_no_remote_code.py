"""No door of the package runs code that a stranger's checkpoint names, whatever waits on standard input."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path

import pytest

import hf_relvit
from hf_relvit.errors import RelViTError
from hf_relvit.study.causal import study_layers
from hf_relvit.study.grid import CausalConfig
from hf_relvit.training.config import TrainConfig

ROOT = Path(hf_relvit.__file__).parent
DOORS = {
    "AutoConfig",
    "AutoImageProcessor",
    "AutoModel",
    "AutoModelForImageClassification",
    "AutoProcessor",
}
"""What asks whether to run the code that a folder names, unless it is told not to."""


def doors():
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            name = owner.id if isinstance(owner, ast.Name) else ""
            if node.func.attr == "from_pretrained" and name in DOORS:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_every_door_says_that_no_code_runs():
    found = dict(doors())
    assert len(found) >= 2  # one for configurations, one for image processors
    open_doors = []
    for place, call in found.items():
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if given.get("trust_remote_code") != "False":
            open_doors.append(place)
    assert open_doors == []


def test_a_backbone_of_a_study_runs_no_code_of_its_own(tmp_path, monkeypatch):
    folder = tmp_path / "backbone"
    folder.mkdir()
    ran = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass EvilConfig: ...\n")
    named = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig"}}
    (folder / "config.json").write_text(json.dumps(named))
    monkeypatch.setattr("sys.stdin", io.StringIO("y\ny\n"))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    with pytest.raises(RelViTError, match="backbone"):
        study_layers(TrainConfig(backbone=str(folder)), CausalConfig())
    assert not ran.exists()
