"""Models: any supported vision transformer with a readout, a same/different head and the auxiliary losses.

Importing this package registers the models with the Auto classes of transformers.
"""

from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

from .attention_mass import ObjectAttention, record_object_attention
from .configuration_relvit import LABELS, RelViTConfig
from .families import FAMILIES
from .loss_config import Disentanglement, Pipeline
from .losses import DisentanglementHeads, pipeline_loss
from .modeling_relvit import (
    RelViTForImageClassification,
    RelViTModel,
    RelViTOutput,
    RelViTPreTrainedModel,
)

AutoConfig.register(RelViTConfig.model_type, RelViTConfig, exist_ok=True)
AutoModel.register(RelViTConfig, RelViTModel, exist_ok=True)
AutoModelForImageClassification.register(RelViTConfig, RelViTForImageClassification, exist_ok=True)

__all__ = [
    "FAMILIES",
    "LABELS",
    "Disentanglement",
    "DisentanglementHeads",
    "ObjectAttention",
    "Pipeline",
    "RelViTConfig",
    "RelViTForImageClassification",
    "RelViTModel",
    "RelViTOutput",
    "RelViTPreTrainedModel",
    "pipeline_loss",
    "record_object_attention",
]
