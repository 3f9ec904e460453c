import io
import re

import numpy as np
import pytest
from PIL import Image

BOX = """mtllib box.mtl
v 0 0 0\nv 2 0 0\nv 2 1 0\nv 0 1 0\nv 0 0 1\nv 2 0 1\nv 2 1 1\nv 0 1 1
vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1
usemtl paint
f 1/1 4/2 3/3 2/4\nf 5/1 6/2 7/3 8/4\nf 1/1 2/2 6/3 5/4\nf 4/1 8/2 7/3 3/4
usemtl picture
f 1/1 5/2 8/3 4/4\nf 2/1 3/2 7/3 6/4
"""
MTL = "newmtl paint\nKd 1 0 0\nKs .5 .5 .5\nNs 96\nnewmtl picture\nKd .8 .8 .8\nKs 0 0 0\nmap_Kd half.png\n"


@pytest.fixture
def box_files() -> dict[str, bytes]:
    """A box twice as wide as high, red but for two sides with a picture: white above, blue below."""
    picture = np.full((8, 8, 3), 255, dtype=np.uint8)
    picture[4:] = 0, 0, 255
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return {"box.obj": BOX.encode(), "box.mtl": MTL.encode(), "half.png": file.getvalue()}


@pytest.fixture
def own_folder(tmp_path, box_files):
    """Two objects of the user's own, a box and a taller one, with licenses."""
    for name, stretch in (("red_box", 1), ("tower", 4)):
        folder = tmp_path / "objects" / name
        folder.mkdir(parents=True)
        for file, data in box_files.items():
            (folder / file).write_bytes(data)
        (folder / "box.obj").write_text(
            re.sub(r"^v (\d) 1", rf"v \1 {stretch}", BOX, flags=re.MULTILINE)
        )
        (folder / "LICENSE.txt").write_text("mine")
    return tmp_path / "objects"
