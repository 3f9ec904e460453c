import json

import pytest
from safetensors import SafetensorError

from hf_relvit.errors import RelViTError
from hf_relvit.modeling.checkpoint_errors import as_relvit_error, check_weights


@pytest.mark.parametrize("error", [OSError, ValueError, KeyError, RuntimeError, SafetensorError])
def test_what_reading_raises_becomes_one_line_with_a_cure(error):
    with (
        pytest.raises(RelViTError) as raised,
        as_relvit_error("x cannot be opened", "save it again"),
    ):
        raise error("the header is broken. More of it\nand a second line")
    assert "\n" not in str(raised.value) and "More of it" not in str(raised.value)
    assert str(raised.value).startswith("x cannot be opened: ") and str(raised.value).endswith(
        "; save it again"
    )


def test_our_own_errors_and_foreign_ones_pass():
    for error in (RelViTError("said already"), ZeroDivisionError("a bug")):
        with pytest.raises(type(error)) as raised, as_relvit_error("x", "y"):
            raise error
        assert raised.value is error


def test_pickles_and_paths_that_lead_out_are_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(RelViTError, match=r"has no model\.safetensors: expected safetensors"):
        check_weights(tmp_path, None)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(
        json.dumps({"weight_map": {"a": "part-1.safetensors", "b": "../secret.safetensors"}})
    )
    with pytest.raises(RelViTError, match=r"names \.\./secret\.safetensors, which leads out of it"):
        check_weights(tmp_path, None)
    index.write_text(json.dumps({"weight_map": {"a": "part-1.safetensors"}}))
    check_weights(tmp_path, None)
