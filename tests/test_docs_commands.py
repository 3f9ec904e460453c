"""Every command of README, tutorial and pages, run as it stands: `make test-docs`, half an hour on two cores.

The commands of a page run in its order, in a folder with `runs/quick` from `make quickstart` and, where it was made,
`build/clip-vit-b16`. Left out is only what NOT_HERE names, each with its reason.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from own_folder import image_folder
from PIL import Image
from test_docs import BLOCK

from hf_relvit.stimuli.objects import ObjectSet

pytestmark = [pytest.mark.docs, pytest.mark.timeout(3600)]
ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "tutorial.md",
    *sorted((ROOT / "docs" / "how_to").glob("*.md")),
    *sorted((ROOT / "docs").glob("[a-su-z]*.md")),
]
CHECKPOINT = "runs/quick/seed0/training/model"
NOT_HERE = {
    r"^make (quickstart|tour|replicate|table1|bench|build|wheel)": "a target of its own, hours, or a GPU",
    r"^(pip install|source|cd|git clone) ?": "the installation: .ci/wheel",
    r"openai/|facebook/|somebody/|YOU/|relvit/quick(?!.*dry-run)|relvit/color|--only|push-to-hub": "asks the Hub",
    r"^hf |^sbatch|slurm_study|other_backbones|runs/backbones": "asks a cluster or a GPU",
    r"--executor ray|--nproc-per-node 4|--shard": "several machines: make test-cluster, tests/dataset_builders",
    r"^relvit demo": "stays open: make test-browser",
    r"data/photorealistic": "paths are traced for hours: make test-render",
    r"runs/clip|runs/mine/|runs/whole|runs/outlines|forced\.yaml|train quick": "trains for long: tests/training",
    r"runs/diagnosis-clip": "half an hour: docs/results/clip_diagnosis has what it wrote",
    r"grid\.yaml": "a file of the reader's: tests/study",
}
"""Commands that this test leaves out, by a pattern -> why, and who runs them."""


def commands(page: Path) -> list[str]:
    """Those of its blocks, and of the README those of its table, too."""
    text = page.read_text().replace("CHECKPOINT", CHECKPOINT)
    blocks = [body for language, body in BLOCK.findall(text) if language in ("sh", "bash")]
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    if page.name == "README.md":
        rows = re.findall(r"^\| .* \| (`relvit .*`) \|$", text, re.MULTILINE)
        lines += [command for row in rows for command in re.findall("`(relvit .*?)`", row)]
    whole = [line.split("  #")[0].strip() for line in lines]
    return [line for line in whole if line]


def runs_here(line: str) -> bool:
    return not any(re.search(pattern, line) for pattern in NOT_HERE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a reader of the pages stands."""
    folder = tmp_path_factory.mktemp("reader")
    for name in ("examples", "released", "build", "docs"):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    quick = ROOT / "runs" / "quick"
    assert quick.exists(), "run `make quickstart` first"
    shutil.copytree(quick, folder / "runs" / "quick")
    draw_shapes(folder / "shapes")
    image_folder(folder / "my_pictures")
    palette = BLOCK.findall((ROOT / "docs" / "how_to" / "own_shapes.md").read_text())
    (folder / "colors.json").write_text(dict(palette)["json"])
    return folder


def draw_shapes(folder: Path) -> None:
    """Eight silhouettes and two more, as docs/how_to/own_shapes.md asks for."""
    for number, mask in enumerate(ObjectSet.default().masks[:10]):
        file = folder / ("ood" * (number >= 8)) / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture = np.pad(np.where(mask, 0, 255), 8, constant_values=255)
        Image.fromarray(picture.astype(np.uint8)).save(file)


def answers(folder: Path) -> None:
    """A file as the experiment of docs/how_to/people.md saves it."""
    rows = [f"ada,{row},{'same' if row % 3 else 'different'},700" for row in range(60)]
    text = "\n".join(["participant,row,answer,rt", *rows])
    (folder / "answers-ada.csv").write_text(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_run(page, folder):
    bin_folder = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    if page.name == "people.md":
        answers(folder)
    wanted = [line for line in commands(page) if runs_here(line)]
    for line in wanted:
        done = subprocess.run(
            ["bash", "-c", line], cwd=folder, env=environment, capture_output=True, text=True
        )
        print(f"{page.name}: {line}\n{done.stdout[-2000:]}")
        assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
    if not wanted:
        pytest.skip("no command that can run here")


def test_nothing_is_left_out_for_a_reason_that_is_gone():
    lines = [line for page in PAGES for line in commands(page)]
    for pattern in NOT_HERE:
        assert any(re.search(pattern, line) for line in lines), pattern
