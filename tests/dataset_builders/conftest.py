import json

import datasets
import numpy as np
import pytest
from PIL import Image

from hf_relvit.stimuli.objects import ObjectSet


@pytest.fixture(autouse=True)
def quiet():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.fixture
def own_objects(tmp_path):
    """A folder of three masks (and one OOD mask) and a palette file of three colors."""
    masks = tmp_path / "masks"
    (masks / "ood").mkdir(parents=True)
    for i, mask in enumerate(ObjectSet.default().masks[4:8]):
        path = masks / ("ood" if i == 3 else ".") / f"{i}.png"
        Image.fromarray(np.where(mask, 0, 255).astype(np.uint8)).save(path)
    palette = tmp_path / "palette.json"
    palette.write_text(json.dumps({"colors": [[200, 0, 0], [0, 150, 0], [0, 0, 120]]}))
    return masks, palette
