"""A disk that fills up is one line, whichever library wrote, and the same command goes on when there is room again."""

from __future__ import annotations

import dataclasses
import errno
import os

import pytest
import torch
from safetensors import SafetensorError
from tiny import TINY

from hf_relvit.errors import RelViTError
from hf_relvit.files import atomic_write, full_disk_told
from hf_relvit.study.cell import is_finished, run_cell
from hf_relvit.training.config import TrainConfig
from hf_relvit.training.run import train

NO_ROOM = os.strerror(errno.ENOSPC)
ERRORS = {
    "python": OSError(errno.ENOSPC, NO_ROOM),
    "quota": OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
    "safetensors": SafetensorError(f"Error while serializing: I/O error: {NO_ROOM} (os error 28)"),
    "torch": RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),
    "torch, later": RuntimeError(
        "PytorchStreamWriter failed writing file data/0: file write failed"
    ),
}
WRITERS = {
    "weights": "safetensors.torch.serialize_file",
    "optimizer": "torch.save",
    "state": "transformers.TrainerState.save_to_json",
    "our files": "hf_relvit.training.run.write_json",
}


def told(call, *arguments):
    with pytest.raises(
        RelViTError, match=r"^the disk is full while writing .*docs/errors/disk-full"
    ) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)


def fails(error):
    def write(*arguments, **options):
        raise error

    return write


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_every_library_says_it_in_its_own_words(error, tmp_path):
    def written_whole():
        with atomic_write(tmp_path / "file"):
            raise error

    def hidden():
        with full_disk_told(tmp_path):
            raise ValueError("cannot save") from error

    told(written_whole)
    told(hidden)
    assert not any(tmp_path.iterdir())


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="other"), full_disk_told(tmp_path):
        raise RuntimeError("other")
    with pytest.raises(RelViTError, match="own line"), full_disk_told(tmp_path):
        raise RelViTError("own line") from OSError(errno.ENOSPC, NO_ROOM)


@pytest.mark.long
@pytest.mark.parametrize("writer", WRITERS)
def test_a_training_goes_on_when_there_is_room_again(writer, tmp_path, monkeypatch):
    config = dataclasses.replace(TrainConfig(**TINY), images=32, evaluations=2)
    error = ERRORS["torch" if writer == "optimizer" else "python"]
    with monkeypatch.context() as full:
        full.setattr(WRITERS[writer], fails(error))
        told(train, config, tmp_path / "run")
    assert train(config, tmp_path / "run").weights.is_file()


def test_a_cell_is_not_finished_by_a_full_disk(tmp_path):
    folder = tmp_path / "cell"
    told(run_cell, folder, {}, fails(ERRORS["safetensors"]))
    assert not is_finished(folder)
    assert run_cell(folder, {}, lambda cell: torch.save({}, cell / "result.pt"))
    assert is_finished(folder)
