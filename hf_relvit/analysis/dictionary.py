"""Any dictionary as a basis: directions of a matrix or of a sparse autoencoder that carry a property.

Symbols: d_j ``(hidden,)``, direction of feature j (a row of the decoder); e_j ``(hidden,)``, which
reads its coordinate (a row of the encoder); x, states of labeled objects.

1. Activations of the features at x: ``relu(E (x - b_dec) + b_enc)`` of an autoencoder; without an encoder, least
   squares coordinates of x along all directions.
2. Strength of feature j: variance of its activation that the property explains, less that of the other property,
   over its whole variance; the mean over tokens of the object.
3. Features in order of strength, those left out that lie in the span of stronger ones; how many: 1, 2, 4, ..., by the
   loss of held-out training pairs, which more features must lower by a hundredth.
4. The swap is ``b + A^T G (s - b)`` with A the chosen directions and G ``(E A^T)^-1 E``, E their encoders; without an
   encoder an orthogonal projection on their span.

So a dictionary stands beside DAS with the same controls. The swap is linear: the nonlinearity of an autoencoder takes
part in the choice of its features alone. Steps 2 and 3 are our choice; files are read without unpickling anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from ..errors import RelViTError
from ..modeling.checkpoint_errors import as_relvit_error
from .closed_form import LabeledStates, Oblique, effects_of

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, Int

DECODERS = ("decoder", "W_dec", "decoder.weight", "dictionary", "matrix")
"""Names of the directions in a file: ours, SAELens, a linear layer, a plain matrix."""
ENCODERS = ("encoder", "W_enc", "encoder.weight")
ENCODER_BIASES = ("encoder_bias", "b_enc", "encoder.bias")
DECODER_BIASES = ("decoder_bias", "b_dec", "decoder.bias")
COLUMNS = ("decoder.weight", "W_enc")
"""Tensors whose features are columns, where a square shape does not tell."""
WORTH = 0.99
"""Share of the loss below which it must fall for more features to be taken; our choice, so that features that nothing
reads stay out."""
INDEPENDENT = 0.1
"""Smallest length of a unit direction outside of the span of those that were chosen before it; our choice."""


@dataclass(frozen=True, eq=False)
class Dictionary:
    """Directions, and how their coordinates are read; all float64.

    Attributes:
        decoder: ``(features, hidden)``.
        encoder: ``(features, hidden)``, or None.
        encoder_bias: ``(features,)``.
        decoder_bias: ``(hidden,)``.
        digest: of the file, 16 hexadecimal digits of its SHA-256.
    """

    decoder: torch.Tensor
    encoder: torch.Tensor | None
    encoder_bias: torch.Tensor
    decoder_bias: torch.Tensor
    digest: str = ""

    @classmethod
    def load(cls, path: str | Path, width: int) -> Dictionary:
        """Open a safetensors file.

        Args:
            path: of the file; tensors by the names in DECODERS, ENCODERS, ENCODER_BIASES and DECODER_BIASES, of which
                only the decoder must be there.
            width: of the model.

        Raises:
            RelViTError: no such file or another format, no decoder, another width, other numbers of features in
                encoder and decoder, numbers that are not finite.
        """
        path = Path(path)
        with as_relvit_error(
            f"cannot open the dictionary {path}", "expected a safetensors file; convert others"
        ):
            tensors = load_file(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        decoder = _directions(tensors, DECODERS, width, path)
        if decoder is None:
            found = ", ".join(sorted(tensors)) or "no tensor"
            raise RelViTError(
                f"{path} holds {found}: expected directions named {', '.join(DECODERS)}; rename the tensor"
            )
        encoder = _directions(tensors, ENCODERS, width, path)
        if encoder is not None and encoder.shape != decoder.shape:
            raise RelViTError(
                f"{path}: encoder {tuple(encoder.shape)} for decoder {tuple(decoder.shape)}: expected as many features"
            )
        encoder_bias = _bias(tensors, ENCODER_BIASES, len(decoder), path)
        decoder_bias = _bias(tensors, DECODER_BIASES, width, path)
        return cls(decoder, encoder, encoder_bias, decoder_bias, digest)

    def activations(
        self, states: Float64[torch.Tensor, "*leading hidden"]
    ) -> Float64[torch.Tensor, "*leading features"]:
        """Of all features, see the head of this module."""
        centered = states - self.decoder_bias
        if self.encoder is None:
            return centered @ torch.linalg.pinv(self.decoder)
        return torch.relu(centered @ self.encoder.T + self.encoder_bias)

    def ranked(self, sample: LabeledStates) -> Int[torch.Tensor, " chosen"]:
        """Features by how much of them is the property's, the strongest first, and independent of each other.

        Raises:
            RelViTError: no feature varies with the property.
        """
        active = LabeledStates(self.activations(sample.states), sample.values, sample.others)
        parts = effects_of(active)
        total = active.states.var(0, correction=0).clamp(min=1e-12)
        property_share = _explained(parts.effects, sample.values) / total
        other_share = _explained(parts.others, sample.others) / total
        strength = (property_share - other_share).mean(0)
        order = strength.argsort(descending=True, stable=True)
        varies = property_share.mean(0) > 1e-9
        order = order[varies[order]]
        if not len(order):
            raise RelViTError(
                f"no feature of {len(self.decoder)} varies with the property: choose another dictionary or layer"
            )
        return self._independent(order)

    def _independent(self, order: torch.Tensor) -> torch.Tensor:
        """Features whose directions do not lie in the span of those before them."""
        basis = self.decoder.new_zeros(0, self.decoder.shape[1])
        chosen = []
        for feature in order.tolist():
            direction = self.decoder[feature]
            length = direction.norm()
            rest = direction - direction @ basis.T @ basis
            if length == 0 or rest.norm() < INDEPENDENT * length:
                continue
            chosen.append(feature)
            basis = torch.cat([basis, (rest / rest.norm())[None]])
            if len(basis) == self.decoder.shape[1]:
                break
        return torch.tensor(chosen)

    def operator(self, features: Int[torch.Tensor, " chosen"]) -> Oblique:
        """Directions that a swap of some features reads and writes.

        Raises:
            RelViTError: encoders that cannot tell the directions apart.
        """
        write = self.decoder[features]
        encoder = write if self.encoder is None else self.encoder[features]
        seen = encoder @ write.T
        if torch.linalg.cond(seen) > 1e6:
            raise RelViTError(
                f"the encoders of {len(features)} features do not tell their directions apart: choose fewer features "
                "(size), or leave out the encoder"
            )
        return Oblique(torch.linalg.solve(seen, encoder), write)


def sizes(count: int) -> Iterator[int]:
    """Numbers of features that are tried: 1, 2, 4, ... and all."""
    size = 1
    while size < count:
        yield size
        size *= 2
    yield count


def _explained(effects: torch.Tensor, values: torch.Tensor) -> Float[torch.Tensor, "p features"]:
    """Variance of the effects of a property ``(values, p, features)`` over the objects."""
    _, counts = values.unique(return_counts=True)
    share = counts / counts.sum()
    return (share[:, None, None] * effects.square()).sum(0)


def _named(tensors: dict[str, torch.Tensor], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in tensors), None)


def _directions(
    tensors: dict[str, torch.Tensor], names: tuple[str, ...], width: int, path: Path
) -> torch.Tensor | None:
    """One direction per row, float64."""
    name = _named(tensors, names)
    if name is None:
        return None
    tensor = tensors[name]
    if tensor.dim() != 2 or width not in tensor.shape:
        raise RelViTError(
            f"{path}: {name} of shape {tuple(tensor.shape)} for a model of width {width}: expected "
            f"(features, {width}); take a dictionary of this model and layer"
        )
    by_columns = tensor.shape[1] != width
    if tensor.shape[0] == tensor.shape[1]:
        by_columns = name in COLUMNS
    return _finite(tensor.T if by_columns else tensor, name, path)


def _bias(
    tensors: dict[str, torch.Tensor], names: tuple[str, ...], length: int, path: Path
) -> torch.Tensor:
    name = _named(tensors, names)
    if name is None:
        return torch.zeros(length, dtype=torch.float64)
    if tensors[name].shape != (length,):
        raise RelViTError(
            f"{path}: {name} of shape {tuple(tensors[name].shape)}: expected ({length},)"
        )
    return _finite(tensors[name], name, path)


def _finite(tensor: torch.Tensor, name: str, path: Path) -> torch.Tensor:
    if not tensor.is_floating_point() or not tensor.isfinite().all():
        raise RelViTError(f"{path}: {name} is not all finite numbers: save the dictionary again")
    return tensor.double().contiguous()
