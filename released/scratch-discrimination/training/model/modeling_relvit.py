"""RelViT: a vision transformer backbone with a readout, a same/different head and the paper's auxiliary losses."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput, logging

from .attention_mass import ATTENTION, record_object_attention, recording_checkpoint
from .checkpoint_errors import check_weights, one_line
from .configuration_relvit import LABELS, RelViTConfig
from .loss_config import Disentanglement, Pipeline
from .losses import DisentanglementHeads, pipeline_loss
from .plain import from_plain, to_plain

try:  # a folder saved for the Hub carries these files beside its own copies
    from hf_relvit.errors import RelViTError
    from hf_relvit.geometry import PatchGeometry
except ImportError:
    from .errors import RelViTError  # pyright: ignore[reportMissingImports]
    from .geometry import PatchGeometry  # pyright: ignore[reportMissingImports]

logger = logging.get_logger(__name__)


@dataclass
class RelViTOutput(ModelOutput):
    """Output of ``RelViTForImageClassification``.

    Attributes:
        loss: scalar, all terms with their weights; with labels only.
        logits: ``(batch, 2)``: different, same.
        hidden_states: if asked for, a tuple of blocks + 1 tensors ``(batch, tokens, hidden)``; the first is the
            embeddings, number k the output of block k - 1.
        attentions: if asked for (eager attention only), a tuple of ``(batch, heads, tokens, tokens)``.
        task_loss: scalar, cross-entropy of the labels.
        disentanglement_loss: scalar, before its weight.
        pipeline_loss: scalar, before its weight; 0 at an epoch where no stage counts.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    task_loss: torch.Tensor | None = None
    disentanglement_loss: torch.Tensor | None = None
    pipeline_loss: torch.Tensor | None = None


class RelViTPreTrainedModel(PreTrainedModel):
    """What both models share: the backbone and how it is loaded, run and read."""

    config: RelViTConfig
    config_class = RelViTConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    input_modalities = ["image"]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: RelViTConfig):
        if config._attn_implementation is None:
            config._attn_implementation = ATTENTION
        super().__init__(config)
        self.backbone = AutoModel.from_config(config.backbone_config)
        # Distributed training rejects trainable parameters on which the output does not depend.
        if config.readout != config.family.pooled and hasattr(self.backbone, "pooler"):
            self.backbone.pooler = None
        idle = ("mask_token", config.family.idle.get(config.readout, "mask_token"))
        for name, parameter in self.backbone.named_parameters():
            if any(part in name for part in idle):
                parameter.requires_grad_(False)
        self._frozen = [name for name, p in self.backbone.named_parameters() if not p.requires_grad]
        accepted = inspect.signature(self.backbone.forward).parameters
        self._takes_noise = "noise" in accepted
        self._interpolates = "interpolate_pos_encoding" in accepted

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """As in transformers, which however makes every parameter that it loads trainable."""
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for name in model._frozen:
            model.backbone.get_parameter(name).requires_grad_(False)
        return loaded

    @classmethod
    def from_backbone(cls, path_or_id: str, *, revision: str | None = None, **config_kwargs: Any):
        """A model on a pretrained backbone, float32, with a new head.

        Args:
            path_or_id: folder or Hub id of a checkpoint of any supported family: a bare backbone, a classifier, a
                pretraining model, or a full CLIP or SigLIP, of which the image tower is taken.
            revision: of the checkpoint on the Hub.
            config_kwargs: other arguments of :class:`RelViTConfig`.

        Raises:
            RelViTError: the family is not supported, files are missing or corrupt, or weights of the backbone are.
        """
        with one_line(f"cannot open the backbone {path_or_id}", "check the path or Hub id, or download it again"):
            origin = AutoConfig.from_pretrained(path_or_id, revision=revision)
            model = cls(RelViTConfig(backbone_config=origin, **config_kwargs))
            check_weights(path_or_id, revision)
            # What else a checkpoint holds, such as heads and text towers, is not wanted; what lacks is checked below.
            kind: Any = type(model.backbone)
            quiet = {"_keys_to_ignore_on_load_unexpected": [""], "__module__": kind.__module__}
            kind = type(kind.__name__, (kind,), quiet)
            loaded, info = kind.from_pretrained(
                path_or_id,
                config=model.config.backbone_config,
                revision=revision,
                dtype=torch.float32,
                output_loading_info=True,
            )
        missing = sorted(set(info["missing_keys"]) & set(model.backbone.state_dict()))
        if any(not name.startswith(("pooler.", "layernorm.", "head.")) for name in missing):
            raise RelViTError(
                f"checkpoint {path_or_id} lacks {len(missing)} tensors of the backbone, first {missing[0]}: "
                f"expected a complete {model.config.backbone_config.model_type}; download it again"
            )
        if missing:
            logger.warning("readout %s starts from new weights: %s", model.config.readout, ", ".join(missing))
        weights, used = loaded.state_dict(), model.backbone.state_dict()
        model.backbone.load_state_dict({name: weights[name] for name in used})
        return model

    @property
    def geometry(self) -> PatchGeometry:
        """The token layout of the images that the model takes."""
        return self.config.geometry

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Only heads arrive here: backbones initialise themselves.
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=getattr(self.config.backbone_config, "initializer_range", 0.02))
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def _set_gradient_checkpointing(self, enable=True, gradient_checkpointing_func=checkpoint, *args, **kwargs):
        func = recording_checkpoint(gradient_checkpointing_func)
        super()._set_gradient_checkpointing(enable, func, *args, **kwargs)

    def _run(self, pixel_values: torch.Tensor, hidden_states: bool, attentions: bool | None):
        """The backbone's output for ``(batch, 3, side, side)`` images."""
        side = self.config.image_size
        if tuple(pixel_values.shape[2:]) != (side, side):
            raise RelViTError(
                f"images of {' x '.join(map(str, pixel_values.shape[2:]))} pixels: the model takes {side} x {side}; "
                "resize them, or set image_size in RelViTConfig"
            )
        if attentions and self.config.backbone_config._attn_implementation != "eager":
            raise RelViTError(
                f"attention maps from attention implementation {self.config.backbone_config._attn_implementation!r}: "
                "only 'eager' has them; call model.set_attn_implementation('eager'), or use record_object_attention"
            )
        extra: dict[str, Any] = {}
        if self._takes_noise:
            # MAE shuffles patches by noise even when it masks none of them; increasing noise keeps their order.
            patches = torch.arange(self.geometry.num_patches, device=pixel_values.device, dtype=torch.float32)
            extra["noise"] = patches.expand(len(pixel_values), -1)
        if self._interpolates and self.config.resized:
            extra["interpolate_pos_encoding"] = True
        return self.backbone(
            pixel_values, output_hidden_states=hidden_states, output_attentions=bool(attentions), **extra
        )

    def _read(self, outputs: Any) -> torch.Tensor:
        """Features for the head, ``(batch, hidden)``, twice as wide for the readout "cls_mean"."""
        tokens, readout, own = outputs.last_hidden_state, self.config.readout, self.config.family.pooled
        if readout == own:
            return outputs.pooler_output
        mean = tokens[:, self.geometry.prefix_tokens :].mean(1)
        if readout == "mean":
            return mean
        cls = outputs.pooler_output if own == "cls" else tokens[:, 0]
        return cls if readout == "cls" else torch.cat([cls, mean], 1)


class RelViTModel(RelViTPreTrainedModel):
    """The backbone with its readout, without a head.

    Args:
        config: see :class:`RelViTConfig`.
    """

    _keys_to_ignore_on_load_unexpected = [r"^classifier\.", r"^disentanglement\."]

    def __init__(self, config: RelViTConfig):
        super().__init__(config)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Run the backbone.

        Args:
            pixel_values: ``(batch, 3, image_size, image_size)``, normalised by the model's own processor.
            output_hidden_states: also return the embeddings and the output of every block.
            output_attentions: also return all attention maps; eager attention only.

        Returns:
            ``last_hidden_state (batch, tokens, hidden)`` and ``pooler_output``, the readout ``(batch, features)``.

        Raises:
            RelViTError: images of another size, or attention maps without eager attention.
        """
        outputs = self._run(pixel_values, bool(output_hidden_states), output_attentions)
        return BaseModelOutputWithPooling(
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=self._read(outputs),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class RelViTForImageClassification(RelViTPreTrainedModel):
    """The backbone with a linear head for "different" and "same", and the auxiliary losses of the configuration.

    Args:
        config: see :class:`RelViTConfig`.
    """

    def __init__(self, config: RelViTConfig):
        super().__init__(config)
        width = config.hidden_size * (2 if config.readout == "cls_mean" else 1)
        self.classifier = nn.Linear(width, len(LABELS), bias=config.head_bias)
        self.disentanglement = None
        if config.disentanglement is not None:
            spec = Disentanglement(**config.disentanglement)
            self.disentanglement = DisentanglementHeads(spec, config.hidden_size)
        self.pipeline = None if config.pipeline is None else Pipeline(**config.pipeline)
        self.post_init()

    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        patches: torch.Tensor | None = None,
        shape: torch.Tensor | None = None,
        color: torch.Tensor | None = None,
        epoch: float | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> RelViTOutput:
        """Classify images; with labels also the loss, and the auxiliary losses where their inputs are given.

        Args:
            pixel_values: ``(batch, 3, image_size, image_size)``, normalised by the model's own processor.
            labels: ``(batch,)``, 0 different, 1 same.
            patches: int64 ``(batch, k, p)``, patch ids (prefix tokens not counted) of k objects, pairs side by side;
                -1 is padding.
            shape: ``(batch, k)``, shape of each object.
            color: ``(batch, k)``, its color.
            epoch: where training is, for the stages of the pipeline loss; with None all count.
            output_hidden_states: also return the embeddings and the output of every block.
            output_attentions: also return all attention maps; eager attention only.

        Raises:
            RelViTError: images of another size, patches that the model does not have, a training step without the
                inputs of its losses, or attention maps without eager attention.
        """
        tokens = self._object_tokens(patches)
        auxiliary = labels is not None and self._has_loss_inputs(tokens, shape, color)
        probes = self.disentanglement if auxiliary else None
        stages = self.pipeline.stages(epoch) if auxiliary and self.pipeline is not None else {}
        recording = nullcontext()
        if stages:
            layers = {layer for blocks in stages.values() for layer in blocks}
            recording = record_object_attention(tokens, self.geometry.prefix_tokens, layers)
        # All of them: the numbering of selected ones differs between versions of transformers.
        hidden_states = bool(output_hidden_states) or probes is not None
        with recording as attention:
            outputs = self._run(pixel_values, hidden_states, output_attentions)
        logits = self.classifier(self._read(outputs))
        result = RelViTOutput(
            logits=logits,
            hidden_states=outputs.hidden_states if output_hidden_states else None,
            attentions=outputs.attentions,
        )
        if labels is None:
            return result
        exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
        loss = result.task_loss = nn.functional.cross_entropy(exact, labels.long())
        if probes is not None:
            hidden = outputs.hidden_states[probes.spec.layer]
            term = result.disentanglement_loss = probes(hidden, tokens, shape, color)
            loss = loss + probes.spec.weight * term
        if auxiliary and self.pipeline is not None:
            term = pipeline_loss(attention.mass, self.pipeline, epoch) if attention else torch.zeros_like(loss)
            result.pipeline_loss = term
            loss = loss + self.pipeline.weight * term
        result.loss = loss
        return result

    def _has_loss_inputs(self, tokens, shape, color) -> bool:
        """Whether the auxiliary losses can be computed; it is an error if they cannot in training."""
        needed = {}
        if self.pipeline is not None or self.disentanglement is not None:
            needed["patches"] = tokens
        if self.disentanglement is not None:
            needed |= {"shape": shape, "color": color}
        missing = [name for name, value in needed.items() if value is None]
        if missing and self.training:
            raise RelViTError(
                f"a training step without {', '.join(missing)}: the auxiliary losses of this model need them; "
                "pass them with the images, or train with disentanglement=None and pipeline=None"
            )
        return bool(needed) and not missing

    def _object_tokens(self, patches: torch.Tensor | None) -> Any:
        """Sequence indices of patch ids."""
        if patches is None:
            return None
        geometry = self.geometry
        # On an accelerator the check would wait for the device.
        if patches.device.type == "cpu" and int(patches.max()) >= geometry.num_patches:
            raise RelViTError(
                f"patch {int(patches.max())} of a model with {geometry.grid} x {geometry.grid} patches: the stimuli "
                f"have another grid; choose a geometry of {geometry.image_size} / {geometry.patch_size} pixels"
            )
        return geometry.tokens(patches.long())

    def to_plain(self) -> PreTrainedModel:
        """The ordinary transformers classifier with the same logits, see :func:`to_plain`."""
        return to_plain(self)

    @classmethod
    def from_plain(cls, plain: PreTrainedModel, labels: Sequence[str] | None = None) -> RelViTForImageClassification:
        """This model from an ordinary same/different classifier, see :func:`from_plain`."""
        return from_plain(cls, plain, labels)
