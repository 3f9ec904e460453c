"""Alignments for other libraries: an intervention of pyvene, and the featurizer of MIB's causal-variable track.

Both swap ``b + c A^T G (s - b)`` as ``Alignment.swap`` does, oblique alignments and overshoot included:

- MIB (arXiv 2504.13151) splits a state x into features and a rest, and puts them together again: here features
  ``G x (size,)`` and rest ``x - c A^T G x (hidden,)``, so that a state with another's features is the swap.
- pyvene (arXiv 2403.07809) calls an intervention with a base and a source: here the two steps after each other.

Neither library is needed to make and save the modules; files are safetensors.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ..errors import RelViTError
from ..files import atomic_write
from ..modeling.checkpoint_errors import as_relvit_error
from .alignment import Alignment

if TYPE_CHECKING:
    from jaxtyping import Float


class Features(nn.Module):
    """States to features and rest.

    Args:
        read: ``(size, hidden)``, rows that are read.
        write: ``(size, hidden)``, rows that are written, times the scale.
    """

    def __init__(self, read: torch.Tensor, write: torch.Tensor):
        super().__init__()
        self.register_buffer("read", read)
        self.register_buffer("write", write)

    def forward(
        self, states: Float[torch.Tensor, "*leading hidden"]
    ) -> tuple[Float[torch.Tensor, "*leading size"], Float[torch.Tensor, "*leading hidden"]]:
        """``(..., hidden)`` to features ``(..., size)`` and rest ``(..., hidden)``."""
        read = self.get_buffer("read").to(states)
        features = states @ read.T
        written = features @ self.get_buffer("write").to(states)
        return features, states - written


class States(nn.Module):
    """Features and rest to states: the inverse of ``Features``.

    Args:
        write: ``(size, hidden)``, rows that are written, times the scale.
    """

    def __init__(self, write: torch.Tensor):
        super().__init__()
        self.register_buffer("write", write)

    def forward(
        self,
        features: Float[torch.Tensor, "*leading size"],
        rest: Float[torch.Tensor, "*leading hidden"] | None = None,
    ) -> Float[torch.Tensor, "*leading hidden"]:
        """``(..., size)`` and rest ``(..., hidden)``, 0 without one, to ``(..., hidden)``."""
        written = features @ self.get_buffer("write").to(features)
        return written if rest is None else written + rest.to(features)


def featurizer(alignment: Alignment) -> tuple[Features, States]:
    """A pair of modules for MIB: ``Featurizer(*featurizer(alignment), n_features=alignment.size)``.

    Args:
        alignment: of any method, not without a direction.

    Raises:
        RelViTError: an alignment of no direction.
    """
    if not alignment.size:
        raise RelViTError("an alignment of no direction: nothing to export; fit another one")
    write = alignment.write_basis * alignment.scale
    return Features(alignment.basis.clone(), write.clone()), States(write.clone())


def save_featurizer(alignment: Alignment, path: str | Path) -> None:
    """Write the modules of ``featurizer`` as one safetensors file, ``read`` and ``write`` ``(size, hidden)``.

    Raises:
        RelViTError: an alignment of no direction, or a file that cannot be written.
    """
    features, _ = featurizer(alignment)
    tensors = {name: part.contiguous() for name, part in features.state_dict().items()}
    problem = as_relvit_error(f"cannot write {path}", "free some space or choose another file")
    with problem, atomic_write(Path(path)) as temporary:
        save_file(tensors, temporary)


def load_featurizer(path: str | Path) -> tuple[Features, States]:
    """Open a folder of ``save_featurizer``.

    Raises:
        RelViTError: a missing or broken file, or tensors that are not a featurizer's.
    """
    with as_relvit_error(f"cannot open the featurizer {path}", "check the path, or save it again"):
        tensors = load_file(path)
    if tensors.keys() != {"read", "write"} or tensors["read"].shape != tensors["write"].shape:
        raise RelViTError(
            f"{path} holds {', '.join(sorted(tensors))}: expected read and write of one shape; save it again"
        )
    return Features(tensors["read"], tensors["write"]), States(tensors["write"])


def pyvene_intervention(alignment: Alignment) -> Any:
    """A class of interventions for ``pyvene.IntervenableConfig``: each swaps the alignment's subspace.

    Example::

        config = pyvene.IntervenableConfig({"layer": 2, "component": "block_output",
                                            "intervention_type": pyvene_intervention(color)})

    Args:
        alignment: of any method.

    Raises:
        RelViTError: pyvene is not installed, or an alignment of no direction.
    """
    pyvene = _pyvene()
    features, states = featurizer(alignment)

    class AlignmentIntervention(pyvene.DistributedRepresentationIntervention, pyvene.Intervention):
        """The swap of one alignment."""

        def __init__(self, **settings: Any):
            super().__init__(**settings)
            self.features = Features(features.get_buffer("read"), features.get_buffer("write"))
            self.states = States(states.get_buffer("write"))

        def forward(self, base, source, subspaces=None, **settings):
            _, rest = self.features(base)
            given, _ = self.features(source)
            return self.states(given, rest).to(base.dtype)

    return AlignmentIntervention


def _pyvene() -> Any:
    try:
        import pyvene
    except ImportError as error:
        raise RelViTError("pyvene is not installed: pip install pyvene") from error
    return pyvene
