# %% [markdown]
# # Every public name on one small checkpoint
#
# Cells of an ordinary notebook (VS Code, Jupytext, Spyder), or run whole: `python examples/notebook.py`.
# `N` scenes are enough to see how things are called, not to conclude anything.

# %%
import tempfile
from pathlib import Path

import pandas as pd

import hf_relvit as hf

N = globals().get("N", 128)  # scenes or pairs per measurement; a multiple of 4
OUT = Path(globals().get("OUT") or tempfile.mkdtemp())

# %% [markdown]
# ## Scenes
# A distribution says where scenes come from; a table holds some of them, and draws their pictures.

# %%
geometry = hf.GEOMETRIES["quick"]
assert isinstance(geometry, hf.SceneGeometry)
objects = hf.ObjectSet.default()
distribution = hf.SceneDistribution("discrimination", geometry, 32, objects=objects)
scenes = distribution.sample("test", N)
again = hf.sample("discrimination", geometry, "test", N, combinations=32)
assert isinstance(scenes, hf.SceneTable) and (scenes.label == again.label).all()
pictures = hf.render(scenes)
masks = hf.render_masks(scenes)
print(pictures.shape, masks.shape, scenes.conditions().keys())

# %%
color_pairs = hf.sample_counterfactuals(
    "discrimination", geometry, "color", "test", N, combinations=32
)
assert isinstance(color_pairs, hf.CounterfactualTable)
isolated = hf.sample_isolation_pairs(color_pairs)  # a swap of shape must leave their answers alone
print(color_pairs.property, isolated.property)

# %%
hf.build(hf.BuildConfig("discrimination", "quick-32", n_train=N, n_eval=N), OUT / "data")
data = hf.open_folder(OUT / "data", "quick-32")
print({split: len(rows) for split, rows in data.items()})

# %% [markdown]
# ## A model
# `train` goes from settings to a folder; `RelViTTrainer` is the Trainer of transformers with the paper's losses.

# %%
backbone = {
    "model_type": "vit",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 64,
    "patch_size": 8,
}
settings = hf.TrainConfig(
    backbone=backbone,
    combinations=32,
    images=2 * N,
    batch_size=16,
    n_eval=N,
    warmup_steps=2,
    evaluations=1,
    bf16=False,
)
trained = hf.train(settings, OUT / "training", progress=False)
checkpoint = hf.Checkpoint.open(trained.model)
assert isinstance(checkpoint.geometry, hf.PatchGeometry)
assert isinstance(checkpoint.model, hf.RelViTForImageClassification)
splits = hf.sample_splits(distribution, N)
print(hf.evaluate(checkpoint, splits)[["split", "condition", "accuracy", "ci_low", "ci_high"]])

# %%
features = hf.RelViTModel(hf.RelViTConfig(backbone_config=backbone)).eval()
hidden = features(pixel_values=checkpoint.pixel_values(scenes[:2])).last_hidden_state
print(hidden.shape, hf.RelViTTrainer.__mro__[1].__name__)

# %% [markdown]
# ## Where do its heads look, and are those heads used?

# %%
stages = hf.measure_attention(checkpoint, scenes, hf.AttentionConfig(batch_size=32))
assert isinstance(stages, hf.AttentionStages)
without = hf.knock_out_heads(checkpoint, scenes, hf.KnockoutConfig(heads=1, draws=1))
assert isinstance(without, hf.Knockout)
print(stages.scores)
print(without.frame.query("condition == 'all'")[["kind", "heads", "replacement", "lost"]])

# %% [markdown]
# ## Without fine-tuning
# The whole battery on a backbone whose answers are not asked: what do its tokens know?

# %%
sizes = hf.BatteryConfig(
    train_scenes=N, validation_scenes=N, scenes=N, attention_scenes=N, combinations=32
)
battery = hf.measure_battery(checkpoint, "discrimination", sizes)
assert isinstance(battery, hf.Battery)
print(battery.frame[battery.frame.chosen][["measure", "condition", "layer", "value"]])

# %% [markdown]
# ## What carries shape and color?
# `align` is the whole measurement with its controls; below it the steps, one by one.

# %%
aligned = hf.align(
    checkpoint, distribution, hf.AlignConfig(layers=(1,), pairs=N, test_pairs=N, epochs=1)
)
assert isinstance(aligned, hf.Alignments)
print(aligned.to_frame().query("condition == 'all'").head())

# %%
site = hf.Site("resid_post", 1)
train_pairs = distribution.pairs("color", "train", N)
captured = hf.capture_pair_residuals(checkpoint, train_pairs, [site])
color = hf.fit_alignment(checkpoint, captured, 1, hf.DASConfig(epochs=1))
color.save(OUT / "color")
opened = hf.Alignment.from_pretrained(OUT / "color")
print(hf.score_alignment(checkpoint, opened, color_pairs).head())
print(hf.capture_residuals(checkpoint, scenes[:4], [site])[site].shape)

# %% [markdown]
# ## Is the comparison abstract?

# %%
novel = hf.inject_novel(checkpoint, [opened], distribution, hf.NovelConfig(bank=N, pairs=N))
assert isinstance(novel, hf.Novel)
print(novel.to_frame().query("condition == 'all'")[["baseline", "method", "accuracy"]])

# %% [markdown]
# ## What can be read, and is it used?

# %%
probing = hf.ProbeConfig(epochs=1, train_scenes=N, scenes=N)
probes = hf.probe(checkpoint, distribution, probing)
states = hf.capture_object_states(checkpoint, distribution.sample("train", N))
shape = hf.fit_probes(checkpoint, states, scenes, hf.ProbeConfig("shape", epochs=1))
assert isinstance(shape, hf.Probes)
steering = hf.steer(checkpoint, probes, scenes, hf.SteeringConfig(alphas=(1.0,)))
assert isinstance(steering, hf.Steering)
steering.plot(OUT / "steering.png")

# %% [markdown]
# ## Which stage fails?

# %%
sizes = hf.DiagnosisConfig(scenes=N, train_scenes=N, pairs=N, test_pairs=N, epochs=1, layers=(0,))
diagnosis = hf.diagnose(checkpoint, distribution, sizes)
assert isinstance(diagnosis, hf.Diagnosis)
print(diagnosis.verdict.verdict, diagnosis.verdict.reasons)

# %% [markdown]
# ## Photorealistic scenes
# 32 pictures ship with the package.

# %%
hf.build(hf.BuildConfig("photorealistic", "tiny"), OUT / "photorealistic")
rows = hf.open_folder(OUT / "photorealistic", "tiny")["test"]
photos = hf.PhotoPairs.from_dataset(rows, checkpoint.geometry)
likeness = hf.measure_similarity({"checkpoint": checkpoint}, photos, hf.SimilarityConfig(draws=100))
assert isinstance(likeness, hf.Similarity)
print(likeness.to_frame().head())

# %% [markdown]
# Your own pictures: any data set with an image, a label, and a mask or two boxes.

# %%
own = hf.OwnPictures.of(rows, checkpoint.geometry)
print(own.repairs, hf.measure_attention(checkpoint, own).scores)
frozen = hf.measure_pictures(checkpoint, own, hf.BatteryConfig(draws=100))
print(frozen.to_frame().head())

# %% [markdown]
# ## Many runs

# %%
grid = OUT / "study.yaml"
grid.write_text(
    f"preset: quick\nimages: {2 * N}\nbatch_size: 16\nn_eval: {N}\nwarmup_steps: 2\nevaluations: 1\nbf16: false\n"
    f"combinations: 32\nbackbone: {backbone}\n"
    f"causal: {{analyses: [das], layers: [1], pairs: {N}, test_pairs: {N}, epochs: 1}}\n"
)
hf.run_study(hf.plan(str(grid)), OUT / "study")
(run,) = hf.StudyFolder(OUT / "study").runs()
assert isinstance(run, hf.RunFolder)
print(hf.collect([OUT / "study"]))

# %%
points = {
    "a": (0.2, 0.55),
    "b": (0.5, 0.7),
    "c": (0.9, 0.95),
}  # made up: one run has no correlation
runs = pd.DataFrame(
    [
        {"run": name, "split": "test", "disentanglement": apart, "accuracy": accuracy}
        for name, (apart, accuracy) in points.items()
    ]
)
related = hf.correlate(runs, hf.CorrelationConfig(seed=0))
assert isinstance(related, hf.Correlation)
print(related.to_frame()[["split", "measure", "value", "ci_low", "ci_high"]])

# %% [markdown]
# ## What goes wrong says so in one line

# %%
try:
    hf.measure_attention(checkpoint, hf.sample("discrimination", hf.GEOMETRIES["b16"], "test", 4))
except hf.RelViTError as error:
    print(error)
