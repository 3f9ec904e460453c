import errno
import multiprocessing
import os

import pytest

from hf_relvit.errors import RelViTError
from hf_relvit.files import atomic_write, file_lock, read_json, write_json
from hf_relvit.provenance import provenance


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "a" / "result.json"
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert list(path.parent.iterdir()) == []
    write_json(path, {"b": 1})
    assert read_json(path) == {"b": 1}


def test_a_failed_rewrite_keeps_the_old_file(tmp_path):
    path = tmp_path / "result.json"
    write_json(path, 1)
    full = pytest.raises(
        RelViTError, match=r"disk is full while writing .*result\.json: free some space"
    )
    with full, atomic_write(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert read_json(path) == 1
    assert {p.name for p in tmp_path.iterdir()} - {".hf_relvit"} == {"result.json"}


def test_broken_json_is_one_line(tmp_path):
    (tmp_path / "x.json").write_text("{")
    for name in ("x.json", "missing.json"):
        with pytest.raises(RelViTError, match="cannot be read") as error:
            read_json(tmp_path / name)
        assert "\n" not in str(error.value)


def test_provenance_names_versions_and_facts():
    facts = provenance(seed=3)
    assert facts["seed"] == 3
    assert {"torch", "transformers", "datasets"} <= facts["versions"].keys()


def test_a_lock_lasts_as_long_as_the_work_and_no_forked_worker_keeps_it(tmp_path):
    with file_lock(tmp_path / "cell"), multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_is_free, [tmp_path / "cell"]) is False
        (
            tmp_path / ".cell.lock"
        ).unlink()  # as its owner does at the end: the next one makes another
        assert pool.apply(_is_free, [tmp_path / "cell"]) is True
    assert list(tmp_path.iterdir()) == []


def test_without_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    def lockf(*args):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.lockf", lockf)
    with file_lock(tmp_path / "cell"):
        assert _is_free(tmp_path / "cell")


def _is_free(folder):
    try:
        with file_lock(folder):
            return True
    except RelViTError:
        return False
