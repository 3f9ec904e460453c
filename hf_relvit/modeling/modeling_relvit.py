"""RelViT: a vision transformer backbone with a readout, a same/different head and the paper's auxiliary losses."""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModel, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import CONFIG_NAME, ModelOutput, cached_file, can_return_tuple, logging

from ..errors import RelViTError
from ..geometry import PatchGeometry
from .adapters import adapted_layers, check_base, merged
from .attention_mass import (
    ATTENTION,
    ObjectAttention,
    RecordingCheckpoint,
    record_object_attention,
)
from .checkpoint_errors import (
    as_relvit_error,
    check_weights,
    open_backbone_config,
    without_messages,
)
from .configuration_relvit import LABELS, RelViTConfig, check_labels
from .loss_config import Disentanglement, Pipeline
from .losses import DisentanglementHeads, background_targets, pipeline_loss, sharpness_loss
from .plain import from_plain, to_plain

if TYPE_CHECKING:
    from jaxtyping import Float, Integer

logger = logging.get_logger(__name__)
TOWER = {r"^(?:model\.)?vision_tower\.(?:vision_model\.)?": ""}
"""Names of the tensors of the image tower in a language model that sees, such as LLaVA -> those of the tower alone."""
_HUB = ("revision", "token", "cache_dir", "local_files_only", "force_download", "proxies")


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
    hidden_states: tuple[torch.Tensor, " ..."] | None = None
    attentions: tuple[torch.Tensor, " ..."] | None = None
    task_loss: torch.Tensor | None = None
    disentanglement_loss: torch.Tensor | None = None
    pipeline_loss: torch.Tensor | None = None


class RelViTPreTrainedModel(PreTrainedModel):
    """The common part of both models: the backbone and how it is loaded, run and read."""

    config: RelViTConfig
    config_class = RelViTConfig
    base_model_prefix = "backbone"
    main_input_name = "pixel_values"
    input_modalities = ["image"]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    accepts_loss_kwargs = False  # says to Trainer that losses are means, also of a compiled model

    def __init__(self, config: RelViTConfig):
        config.check_readout()  # keywords of from_pretrained change a configuration that was checked before
        check_labels(config.id2label or {})
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
    def from_pretrained(cls, *args, base=None, **kwargs):
        """As in transformers, which however makes every parameter that it loads trainable.

        A folder or Hub id that holds an adapter opens as a model with merged weights, see ``adapters``.

        Args:
            args, kwargs: as in transformers, the folder or Hub id first.
            base: folder or Hub id of an adapter's backbone, where it is not where the adapter says.

        Raises:
            RelViTError: an adapter whose base or whose tensors are not those that it was trained with.
        """
        name = "pretrained_model_name_or_path"
        path, *rest = args or (kwargs.pop(name, None),)
        config = _adapter_config(path, kwargs)
        if config is not None:
            kwargs["state_dict"] = cls._merged_weights(path, config, base, kwargs)
            kwargs["config"] = copy.copy(config)
            kwargs["config"].adapter = None
            path = None
        loaded = super().from_pretrained(path, *rest, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        for name in model._frozen:
            model.backbone.get_parameter(name).requires_grad_(False)
        return loaded

    @classmethod
    def from_backbone(cls, path_or_id: str, *, revision: str | None = None, **config_kwargs: Any):
        """A model on a pretrained backbone, float32, with a new head.

        Args:
            path_or_id: folder or Hub id of a checkpoint of any supported family: a bare backbone, a classifier, a
                pretraining model, or a full CLIP, SigLIP or LLaVA, of which the image tower is taken.
            revision: of the checkpoint on the Hub.
            config_kwargs: other arguments of :class:`RelViTConfig`.

        Raises:
            RelViTError: the family is not supported, files are missing or corrupt, or weights of the backbone are.
        """
        problem = f"cannot open the backbone {path_or_id}"
        cure = "check the path or Hub id, or download it again"
        origin = open_backbone_config(path_or_id, revision)
        with as_relvit_error(problem, cure, (Exception,)):
            model = cls(RelViTConfig(backbone_config=origin, **config_kwargs))
            loaded, info = _open_backbone(type(model.backbone), path_or_id, model.config, revision)
        missing = sorted(set(info["missing_keys"]) & set(model.backbone.state_dict()))
        if any(not name.startswith(("pooler.", "layernorm.", "head.")) for name in missing):
            raise RelViTError(
                f"checkpoint {path_or_id} lacks {len(missing)} tensors of the backbone, first {missing[0]}: "
                f"expected a complete {model.config.backbone_config.model_type}; download it again"
            )
        if missing:
            logger.warning(
                "readout %s starts from new weights: %s", model.config.readout, ", ".join(missing)
            )
        weights = loaded.state_dict()
        model.backbone.load_state_dict(
            {name: weights[name] for name in model.backbone.state_dict()}
        )
        return model

    @classmethod
    def _merged_weights(
        cls, path_or_id: Any, config: RelViTConfig, base: Any, options: dict[str, Any]
    ) -> dict[str, torch.Tensor]:
        """Weights of a base with an adapter, by the names of our models."""
        adapter = config.adapter
        revision = None if base else adapter["revision"]
        with torch.device("meta"):
            model = cls(copy.deepcopy(config))
        where = base or adapter["id"]
        problem = f"the backbone {where} of the adapter {path_or_id} cannot be opened"
        cure = "name its folder with --base, in Python base="
        if not base and revision is None and not Path(where).is_dir():  # a published one has one
            raise RelViTError(f"{problem}: it was a folder, which is not here; {cure}")
        with as_relvit_error(problem, cure, (Exception,)):
            cached_file(where, CONFIG_NAME, revision=revision)  # before its weights are missed
            loaded, _ = _open_backbone(type(model.backbone), where, config, revision)
        found = loaded.state_dict()
        backbone = {name: found[name] for name in model.backbone.state_dict() if name in found}
        check_base(adapter, backbone, where)
        weights = {f"backbone.{name}": tensor for name, tensor in backbone.items()}
        hub = {name: options[name] for name in _HUB if name in options}
        return merged(path_or_id, adapter, weights, adapted_layers(model), **hub)

    @property
    def geometry(self) -> PatchGeometry:
        """The token layout of the images that the model takes."""
        return self.config.geometry

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        # Only heads arrive here: backbones initialize themselves.
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(
                module.weight, std=getattr(self.config.backbone_config, "initializer_range", 0.02)
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def _set_gradient_checkpointing(
        self, enable=True, gradient_checkpointing_func=checkpoint, *args, **kwargs
    ):
        func = RecordingCheckpoint(gradient_checkpointing_func)
        super()._set_gradient_checkpointing(enable, func, *args, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, *args: Any, **kwargs: Any) -> None:
        """As in transformers, but weights get the mode of every other file: a group can read a colleague's run."""
        super().save_pretrained(save_directory, *args, **kwargs)
        config = Path(save_directory) / CONFIG_NAME
        if config.exists():  # only the main process of a distributed training writes
            for weights in Path(save_directory).glob("*.safetensors"):
                weights.chmod(config.stat().st_mode)

    def _run(self, pixel_values: torch.Tensor, hidden_states: bool, attentions: bool):
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
                "only 'eager' has them; call model.set_attn_implementation('eager'), or use record_object_attention",
                page="attention-maps",
            )
        extra: dict[str, Any] = {}
        if self._takes_noise:
            # MAE shuffles patches by noise even when it masks none of them; increasing noise keeps their order.
            patches = torch.arange(
                self.geometry.num_patches, device=pixel_values.device, dtype=torch.float32
            )
            extra["noise"] = patches.expand(pixel_values.shape[0], -1)
        if self._interpolates and self.config.resized:
            extra["interpolate_pos_encoding"] = True
        return self.backbone(
            pixel_values,
            output_hidden_states=hidden_states,
            output_attentions=attentions,
            return_dict=True,
            **extra,
        )

    def _read(self, outputs: Any) -> torch.Tensor:
        """Features for the head, ``(batch, hidden)``, twice as wide for the readout "cls_mean"."""
        tokens = outputs.last_hidden_state
        readout = self.config.readout
        pooled = self.config.family.pooled
        if readout == pooled:
            return outputs.pooler_output
        mean = tokens[:, self.geometry.prefix_tokens :].mean(1)
        if readout == "mean":
            return mean
        cls = outputs.pooler_output if pooled == "cls" else tokens[:, 0]
        return cls if readout == "cls" else torch.cat([cls, mean], 1)


def _adapter_config(path_or_id: Any, options: Mapping[str, Any]) -> RelViTConfig | None:
    """The configuration of a checkpoint, if it is an adapter."""
    config = options.get("config")
    if path_or_id is None or options.get("state_dict") is not None:
        return None
    if config is None:
        hub = {name: options[name] for name in _HUB if name in options}
        values, _ = RelViTConfig.get_config_dict(path_or_id, **hub)
        if not values.get("adapter"):
            return None
        config = RelViTConfig.from_dict(values)
    return config if getattr(config, "adapter", None) else None


def _open_backbone(
    backbone: Any, path_or_id: Any, config: RelViTConfig, revision: str | None
) -> Any:
    """A backbone in float32, and the library's report about its tensors.

    The library also reports other parts of a checkpoint, such as heads and text towers, and weights that the readout
    does not use. The callers check the parts that matter.
    """
    check_weights(path_or_id, revision)
    with without_messages("transformers.modeling_utils", "LOAD REPORT"):
        return backbone.from_pretrained(
            path_or_id,
            config=config.backbone_config,
            revision=revision,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            key_mapping=TOWER,
        )


def _asked(argument: bool | None, configured: bool | None) -> bool:
    """An option of ``forward``: the argument if there is one, else that of the configuration."""
    return bool(configured if argument is None else argument)


def _attention_loss(
    attention: ObjectAttention, spec: Pipeline, epoch: float | None
) -> torch.Tensor:
    if spec.target == "sharp":
        return sharpness_loss(attention.entropy, spec, epoch)
    return pipeline_loss(attention.mass, spec, epoch)


def _task_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the labels, in float32 at least."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return nn.functional.cross_entropy(logits.to(dtype), labels.long())


class RelViTModel(RelViTPreTrainedModel):
    """The backbone with its readout, without a head.

    Args:
        config: see :class:`RelViTConfig`.
    """

    _keys_to_ignore_on_load_unexpected = [r"^classifier\.", r"^disentanglement\."]

    def __init__(self, config: RelViTConfig):
        super().__init__(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: Float[torch.Tensor, "batch 3 side side"],
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        interpolate_pos_encoding: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Run the backbone.

        Args:
            pixel_values: ``(batch, 3, image_size, image_size)``, normalized by the model's own processor.
            output_hidden_states: also return the embeddings and the output of every block; by default as the
                configuration says.
            output_attentions: also return all attention maps, likewise; eager attention only.
            interpolate_pos_encoding: taken for scripts of other classifiers; the configuration's image_size decides.

        Returns:
            ``last_hidden_state (batch, tokens, hidden)`` and ``pooler_output``, the readout ``(batch, features)``.

        Raises:
            RelViTError: images of another size, or attention maps without eager attention.
        """
        hidden_states = _asked(output_hidden_states, self.config.output_hidden_states)
        attentions = _asked(output_attentions, self.config.output_attentions)
        outputs = self._run(pixel_values, hidden_states, attentions)
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
        self.num_labels = config.num_labels
        self.pipeline = None if config.pipeline is None else Pipeline(**config.pipeline)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        pixel_values: Float[torch.Tensor, "batch 3 side side"],
        labels: Integer[torch.Tensor, " batch"] | None = None,
        patches: Integer[torch.Tensor, "batch objects tokens"] | None = None,
        shape: Integer[torch.Tensor, "batch objects"] | None = None,
        color: Integer[torch.Tensor, "batch objects"] | None = None,
        epoch: float | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        interpolate_pos_encoding: bool | None = None,
    ) -> RelViTOutput:
        """Classify images; with labels also the loss, and the auxiliary losses where their inputs are given.

        Args:
            pixel_values: ``(batch, 3, image_size, image_size)``, normalized by the model's own processor.
            labels: ``(batch,)``, 0 different, 1 same.
            patches: int64 ``(batch, k, p)``, patch ids (prefix tokens not counted) of k objects, pairs side by side;
                -1 is padding.
            shape: ``(batch, k)``, shape of each object.
            color: ``(batch, k)``, its color.
            epoch: where training is, for the stages of the pipeline loss; with None all count. Training needs it
                where a stage starts or stops.
            output_hidden_states: also return the embeddings and the output of every block; by default as the
                configuration says.
            output_attentions: also return all attention maps, likewise; eager attention only.
            interpolate_pos_encoding: taken for scripts of other classifiers; the configuration's image_size decides.

        Raises:
            RelViTError: images of another size, patches that the model does not have, a training step without the
                inputs of its losses, or attention maps without eager attention.
        """
        tokens = self._object_tokens(patches)
        auxiliary = self._has_loss_inputs(
            labels=labels, patches=patches, shape=shape, color=color, epoch=epoch
        )
        wants_states = _asked(output_hidden_states, self.config.output_hidden_states)
        attentions = _asked(output_attentions, self.config.output_attentions)
        probes = self.disentanglement if auxiliary else None
        needs_states = wants_states or probes is not None
        with self._recording(tokens, epoch, auxiliary) as attention:
            outputs = self._run(pixel_values, needs_states, attentions)
        logits = self.classifier(self._read(outputs))
        terms = {} if labels is None else {"task_loss": _task_loss(logits, labels)}
        if probes is not None:
            # All states are asked for: the numbering of selected ones differs between versions of transformers.
            hidden = outputs.hidden_states[probes.spec.layer]
            terms["disentanglement_loss"] = probes(hidden, tokens, shape, color)
        if auxiliary and self.pipeline is not None:
            none = torch.zeros_like(terms["task_loss"])
            pipeline = _attention_loss(attention, self.pipeline, epoch) if attention else none
            terms["pipeline_loss"] = pipeline
        return RelViTOutput(
            loss=self._weighted_sum(terms),
            logits=logits,
            hidden_states=outputs.hidden_states if wants_states else None,
            attentions=outputs.attentions,
            **terms,
        )

    def _recording(self, tokens: Any, epoch: float | None, auxiliary: bool) -> Any:
        """A context that records the attention of the pipeline's stages; of nothing where none of them counts."""
        spec = self.pipeline
        stages = spec.stages(epoch) if auxiliary and spec is not None else {}
        if spec is None or not stages:
            return nullcontext()
        layers = {layer for blocks in stages.values() for layer in blocks}
        prefix = self.geometry.prefix_tokens
        targets = None
        if spec.target == "random_tokens":
            targets = background_targets(tokens, self.geometry.sequence_length, prefix)
        return record_object_attention(
            tokens, prefix, layers, targets, entropy=spec.target == "sharp"
        )

    def _weighted_sum(self, terms: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """The loss of its terms, None without any."""
        loss = terms.get("task_loss")
        weights = {"disentanglement_loss": 0.0, "pipeline_loss": 0.0}
        if self.disentanglement is not None:
            weights["disentanglement_loss"] = self.disentanglement.spec.weight
        if self.pipeline is not None:
            weights["pipeline_loss"] = self.pipeline.weight
        for name, weight in weights.items():
            if loss is not None and name in terms:
                loss = loss + weight * terms[name]
        return loss

    def _has_loss_inputs(self, **inputs: Any) -> bool:
        """Whether the auxiliary losses can be computed; it is an error if they cannot in training."""
        needed = []
        if self.pipeline is not None or self.disentanglement is not None:
            needed += ["labels", "patches"]
        if self.disentanglement is not None:
            needed += ["shape", "color"]
        missing = [name for name in needed if inputs[name] is None]
        if self.training and torch.is_grad_enabled():
            staged = self.pipeline is not None and self.pipeline.staged
            wanted = [*missing, "epoch"] if staged and inputs["epoch"] is None else missing
            if wanted:
                raise RelViTError(
                    f"a training step without {', '.join(wanted)}: the auxiliary losses of this model need them, and "
                    "RelViTTrainer passes them (Trainer keeps labels back for label_smoothing_factor); or train with "
                    "disentanglement=None and pipeline=None"
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
    def from_plain(
        cls, plain: PreTrainedModel, labels: Sequence[str] | None = None
    ) -> RelViTForImageClassification:
        """This model from an ordinary same/different classifier, see :func:`from_plain`."""
        return from_plain(cls, plain, labels)
