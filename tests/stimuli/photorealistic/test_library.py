import tarfile
from importlib.resources import files

import pytest

from hf_relvit.building import farm
from hf_relvit.errors import RelViTError, RelViTWarning
from hf_relvit.stimuli.photorealistic.library import OBJECT_NAMES, Library

DATA = files("hf_relvit.stimuli.photorealistic") / "data"


def test_the_package_has_16_objects_each_with_its_license_in_less_than_3_mb():
    assert len(set(OBJECT_NAMES)) == 16
    with tarfile.open(DATA / "objects.tar.xz") as tar:
        names = tar.getnames()
    for name in OBJECT_NAMES:
        assert {
            f"{name.replace(' ', '_')}/{file}" for file in ("model.obj", "model.mtl", "LICENSE.txt")
        } <= set(names)
    text = (DATA / "LICENSES.txt").read_text(encoding="utf-8")
    assert all(f"\n{name}\n" in text for name in OBJECT_NAMES)
    assert text.count("There are no requirements for") >= 16
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 3e6


def test_the_fingerprint_is_of_the_objects_and_pinned():
    assert Library.default().fingerprint() == "2a7bea4ffcbeab56"


def test_your_own_objects(own_folder):
    pytest.importorskip("trimesh", reason="needs the extra: pip install 'hf_relvit[render]'")
    library = Library.from_folder(own_folder)
    assert library.names == ("red box", "tower")
    assert not library.ours
    before = library.fingerprint()
    (own_folder / "tower" / "LICENSE.txt").write_text("another")
    assert Library.from_folder(own_folder).fingerprint() == before
    (own_folder / "tower" / "box.mtl").write_text("newmtl paint\nKd 0 1 0\n")
    assert Library.from_folder(own_folder).fingerprint() != before


def test_objects_without_a_license_warn(own_folder):
    pytest.importorskip("trimesh", reason="needs the extra: pip install 'hf_relvit[render]'")
    (own_folder / "tower" / "LICENSE.txt").unlink()
    with pytest.warns(RelViTWarning, match=r"no license file beside tower in .*: add LICENSE.txt"):
        Library.from_folder(own_folder)
    farm._library.cache_clear()
    assert farm._library(str(own_folder)).names == (
        "red box",
        "tower",
    )  # silent: workers do not say it again


def test_a_folder_of_fewer_than_two_objects_is_refused(own_folder, tmp_path):
    with pytest.raises(RelViTError, match="holds 0 objects: expected at least 2"):
        Library.from_folder(tmp_path / "nowhere")
    (own_folder / "tower" / "box.obj").unlink()
    with pytest.raises(RelViTError, match="holds 1 objects"):
        Library.from_folder(own_folder)


def test_the_missing_extra_says_how_to_install_it(own_folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "trimesh", None)
    with pytest.raises(
        RelViTError, match=r"trimesh is not installed.*pip install 'hf_relvit\[render\]'"
    ):
        Library.from_folder(own_folder)
