"""The shapes in signatures: every public function has them, and a call with others fails while tests run."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import shapes
import torch

import hf_relvit
from hf_relvit.analysis.activations import at_tokens
from hf_relvit.analysis.similarity import object_mean
from hf_relvit.analysis.subspaces import interchange
from hf_relvit.modeling.stages import attention_shares

if TYPE_CHECKING:
    from jaxtyping import Float

ROOT = Path(hf_relvit.__file__).parent
FILES = sorted([*ROOT.glob("modeling/*.py"), *ROOT.glob("analysis/*.py")])
ANY_SHAPE = {
    "fingerprint",
    "weights_fingerprint",
    "as_adapter",
    "check_base",
    "merged",  # weights by name
    "patch",  # a function from tensors to tensors
}


def public_functions(body: list[ast.stmt], prefix: str = "") -> list[tuple[str, ast.FunctionDef]]:
    found = []
    for node in body:
        if getattr(node, "name", "_").startswith("_") and getattr(node, "name", "") != "__call__":
            continue
        if isinstance(node, ast.ClassDef):
            found += public_functions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            found.append((prefix + node.name, node))
    return found


def bare_arrays(annotation: ast.expr | None) -> list[str]:
    """Arrays in an annotation without a shape."""
    if annotation is None:
        return []
    shaped = {
        id(part)
        for node in ast.walk(annotation)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in shapes.KINDS
        for part in ast.walk(node)
    }
    arrays = [node for node in ast.walk(annotation) if isinstance(node, ast.Attribute)]
    return [
        ast.unparse(node)
        for node in arrays
        if node.attr in ("Tensor", "ndarray") and id(node) not in shaped
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}.{file.stem}")
def test_the_arrays_of_public_functions_have_shapes(file):
    for name, function in public_functions(ast.parse(file.read_text()).body):
        if name in ANY_SHAPE:
            continue
        arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        for annotation in [*(each.annotation for each in arguments), function.returns]:
            assert bare_arrays(annotation) == [], f"{name}: {ast.unparse(function.args)}"


def test_the_functions_of_the_analyses_are_checked():
    for name in (
        "analysis.activations.capture",
        "analysis.activations.forward_from",
        "analysis.interchange.intervene",
        "modeling.stages.attention_shares",
        "modeling.losses.pipeline_loss",
        "modeling.modeling_relvit.RelViTForImageClassification.forward",
        "modeling.checkpoints.Checkpoint.pixel_values",
    ):
        assert f"hf_relvit.{name}" in shapes.CHECKED


WRONG = {
    "a batch of another length": lambda: object_mean(
        torch.zeros(3, 5, 4), torch.zeros(2, 2, dtype=torch.long)
    ),
    "one mask for all axes": lambda: interchange(
        torch.zeros(2, 4), torch.zeros(2, 4), torch.eye(4), torch.ones(1)
    ),
    "a source that is broadcast": lambda: interchange(
        torch.zeros(2, 4), torch.zeros(1, 4), torch.eye(4), torch.ones(4)
    ),
    "a set too many": lambda: attention_shares(torch.ones(1, 1, 2, 6), "paper"),
    "tokens of another batch": lambda: at_tokens(
        torch.zeros(2, 5, 4), torch.zeros(1, 3, dtype=torch.long)
    ),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_a_call_of_another_shape_fails(call):
    with pytest.raises(TypeError, match=r"torch\.float32|torch\.int64"):
        call()


def test_a_result_of_another_shape_fails():
    def shorter(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return values[1:]

    with pytest.raises(TypeError, match=r"shorter, return: float64 \(2,\)"):
        shapes.checked(shorter)(np.zeros(3))


def test_the_refusals_of_functions_come_first():
    with pytest.raises(RuntimeError, match="size of tensor"):
        interchange(torch.zeros(2, 4), torch.zeros(2, 3), torch.eye(4), torch.ones(4))
