"""Do other libraries give our answers with our alignments? pyvene itself, and MIB's Featurizer on top of it.

    python benchmarks/exchange.py                      # pyvene, installed into an environment of its own
    python benchmarks/exchange.py --mib FOLDER         # and MIB's, from a checkout of atticusg/CausalAbstraction

An oblique alignment (closed form, fitted here) and an orthogonal one of the same network are saved, loaded in that
environment and swapped by the other library in a full forward pass. The figures are the largest differences of logits
from ``analysis.scores.swaps_of``, and how many answers differ.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

import machine
import torch
from bench_das import ROOT, in_environment

from hf_relvit.analysis.activations import Site
from hf_relvit.analysis.alignment import Alignment
from hf_relvit.analysis.alignment_methods import DASConfig, fit_alignment
from hf_relvit.analysis.export import load_featurizer, pyvene_intervention, save_featurizer
from hf_relvit.analysis.interchange import capture_pair_residuals
from hf_relvit.analysis.scores import swaps_of
from hf_relvit.modeling.blocks import blocks
from hf_relvit.modeling.checkpoints import Checkpoint

SMALL = ROOT / "released" / "scratch-discrimination" / "training" / "model"
LAYER, PAIRS = 2, 32


def full_pass(checkpoint: Checkpoint, kind, pairs) -> torch.Tensor:
    """Logits of the base scenes, with an intervention of pyvene at each token of the edited object."""
    import pyvene
    from pyvene.models import intervenable_modelcard as card
    from pyvene.models.constants import CONST_OUTPUT_HOOK

    model = checkpoint.model.eval()
    (path,) = [name for name, module in model.named_modules() if module is blocks(model)]
    card.type_to_module_mapping[type(model)] = {"block_output": (f"{path}[%s]", CONST_OUTPUT_HOOK)}
    card.type_to_dimension_mapping[type(model)] = {"block_output": ("hidden_size",)}
    if not hasattr(model, "device"):
        model.device = torch.device("cpu")  # pyvene asks
    rows = range(len(pairs))
    geometry = checkpoint.geometry
    to = geometry.tokens(pairs.base.patches()[rows, pairs.edited])
    given = geometry.tokens(pairs.source.patches()[rows, pairs.source_object])
    place = dict(layer=LAYER, component="block_output", unit="pos", max_number_of_units=1)
    parts = [
        pyvene.RepresentationConfig(intervention_type=kind, **place) for _ in range(to.shape[1])
    ]
    peer = pyvene.IntervenableModel(pyvene.IntervenableConfig(parts), model=model)
    base, source = (checkpoint.pixel_values(scenes) for scenes in (pairs.base, pairs.source))
    places = [[[[int(token)] for token in column] for column in each.T] for each in (given, to)]
    with torch.no_grad():
        _, output = peer(
            {"pixel_values": base}, [{"pixel_values": source}], {"sources->base": tuple(places)}
        )
    return output.logits


def sides(alignment: Alignment, file: Path, mib: Path | None):
    """Name of a library -> its intervention, from the alignment and from its file."""
    yield "pyvene", pyvene_intervention(alignment)
    if mib is not None:
        sys.path.insert(0, str(mib))
        from model_units.model_units import Featurizer

        modules = load_featurizer(file)
        featurizer = Featurizer(*modules, n_features=alignment.size)
        yield "MIB's Featurizer, from the file", featurizer.get_interchange_intervention()


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--mib", type=Path, help="checkout of atticusg/CausalAbstraction")
    options = parser.parse_args()
    if importlib.util.find_spec("pyvene") is None:
        in_environment()
    checkpoint = Checkpoint.open(SMALL)
    pairs = checkpoint.distribution().pairs("color", "test", PAIRS)
    data = capture_pair_residuals(checkpoint, pairs, [Site("resid_post", LAYER)])
    train = checkpoint.distribution().pairs("color", "train", 64)
    rows = []
    for method, settings in {"closed_form": {}, "low_rank": {"size": 16, "epochs": 1}}.items():
        alignment = fit_alignment(checkpoint, train, LAYER, DASConfig(method, **settings))
        ours = torch.cat([swap.logits for swap in swaps_of(checkpoint, alignment, data)])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "color.safetensors"
            save_featurizer(alignment, file)
            alignment.save(Path(folder) / "color")
            opened = Alignment.load(Path(folder) / "color")
            for name, kind in sides(opened, file, options.mib):
                theirs = full_pass(checkpoint, kind, pairs)
                rows.append(
                    {
                        "what": f"{name}, {method}",
                        "largest_difference": float((theirs - ours).abs().max()),
                        "logits_up_to": float(ours.abs().max()),
                        "other_answers": int((theirs.argmax(-1) != ours.argmax(-1)).sum()),
                        "of": len(ours),
                    }
                )
    machine.write("exchange", rows)


if __name__ == "__main__":
    main()
