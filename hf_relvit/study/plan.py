"""What a study does: which runs, and how deep it looks into each."""

from __future__ import annotations

import dataclasses
import itertools
import re
import typing
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RelViTError
from ..limits import MOST_RUNS, check_count, check_finite, check_seed
from ..recipes.recipe import Sizes
from ..recipes.recipes import RECIPES
from ..schemas import check_shape, read_as_shape
from ..stimuli.scenes import check_scenes
from ..training.config import PRESETS, TrainConfig, check_value, read_yaml, resolve, unknown_key

if TYPE_CHECKING:
    from .photorealistic import PhotoSet


@dataclass(frozen=True)
class CausalConfig(Sizes):
    """Which analyses a study makes of each run, and how deep they go."""

    layers: list[int] | None = None
    """Blocks to look at; all by default."""
    analyses: list[str] = dataclasses.field(default_factory=lambda: list(RECIPES))
    """Which recipes to do; all by default. What a task cannot have is left out."""
    settings: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Recipe -> further settings of its config, such as {probes: {epochs: 20}}."""

    def __post_init__(self):
        for name, kind in typing.get_type_hints(type(self)).items():
            value = getattr(self, name)
            check_shape(value, kind, f"causal {name} {value!r}", "correct the setting")
        check_finite("causal cache_gb", self.cache_gb, 0)
        if self.layers is not None and len({*self.layers}) < len(self.layers):
            raise RelViTError(f"causal layers {self.layers}: name each once")
        for name in ("pairs", "test_pairs", "epochs", "scenes", "test_scenes"):
            check_count(f"causal {name}", getattr(self, name))
            if getattr(self, name) < 1:
                raise RelViTError(f"causal {name} {getattr(self, name)}: expected at least 1")
        for name in self.analyses:
            _check_recipe(name)
            if missing := [need for need in RECIPES[name].needs if need not in self.analyses]:
                raise RelViTError(
                    f"causal analysis {name!r} builds on {missing[0]!r}: add it to analyses"
                )
        if self.layers is not None and not self.layers:
            raise RelViTError("causal layers []: name at least one, or leave them out for all")
        checked = {name: _recipe_settings(name, given) for name, given in self.settings.items()}
        object.__setattr__(self, "settings", checked)


def _check_recipe(name: str) -> None:
    if name not in RECIPES:
        raise RelViTError(
            f"unknown causal analysis {name!r}: expected some of {', '.join(RECIPES)}"
        )


def _recipe_settings(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Settings of a recipe in the types of its config.

    Raises:
        RelViTError: unknown ones, values out of their range, or what the study decides.
    """
    _check_recipe(name)
    recipe = RECIPES[name]
    known = typing.get_type_hints(recipe.config)
    for key, value in given.items():
        if key in recipe.decided:
            raise RelViTError(f"causal settings {name} {key}: the study decides it, leave it out")
        if key not in known:
            raise unknown_key(f"causal settings {name} {key}", list(known))
        check_value(f"causal settings {name} {key}", value, known[key])
    config = read_as_shape(given, recipe.config, f"causal settings {name}", "correct the setting")
    return {key: getattr(config, key) for key in given}


@dataclass(frozen=True)
class Run:
    """One trained model: its folder's name and its settings."""

    name: str
    config: TrainConfig


@dataclass(frozen=True)
class Study:
    """Runs, and for each the causal analysis and the photorealistic set to test it on (None for none)."""

    name: str
    runs: tuple[Run, ...]
    causal: CausalConfig | None
    photorealistic: PhotoSet | None = None


def plan(
    target: str,
    *,
    seeds: int | None = None,
    file: Path | None = None,
    causal: bool = True,
    photorealistic: Path | None = None,
    **overrides: Any,
) -> Study:
    """The runs of a preset, or of a grid.

    A grid is a YAML file: a ``preset`` and any settings of it, ``grid`` (setting -> list of values, or mapping of
    names to values; every combination is a run), ``seeds``, ``causal`` (fields of CausalConfig, or false for none) and
    ``photorealistic`` (folder of a set).
    Folders are called after the values, or after the names given to them. Example::

        preset: quick
        grid: {combinations: [32, 128], disentanglement: {without: null, with: {layer: 2}}}
        seeds: 3

    Args:
        target: name of a preset, or path of a grid.
        seeds: runs of each combination, with the seeds from the settings' one upwards; by default the grid's, or 1.
        file: YAML file of settings for a preset.
        causal: whether to do the causal analysis.
        photorealistic: folder of a photorealistic set to test discrimination models on; instead of the grid's, if any.
        overrides: settings that override all; None is none.

    Raises:
        RelViTError: unknown preset, key or value; no seeds; a grid without values or with the same run twice; a folder
            without photorealistic scenes.
    """
    grid: dict[str, Any] = {}
    causal_settings: Any = {} if causal else False
    settings: dict[str, Any] = read_yaml(file) if file is not None else {}
    preset = target
    if target not in PRESETS and Path(target).suffix in (".yaml", ".yml"):
        settings = read_yaml(Path(target)) | settings
        preset = settings.pop("preset", "quick")
        grid = settings.pop("grid", {})
        in_grid = settings.pop("seeds", None)
        seeds = in_grid if seeds is None else seeds
        in_file = settings.pop("causal", {})
        causal_settings = in_file if causal else False
        in_file = settings.pop("photorealistic", None)
        photorealistic = in_file if photorealistic is None else photorealistic
    seeds = 1 if seeds is None else seeds
    if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
        raise RelViTError(f"seeds {seeds}: expected 1 or more")
    check_count("seeds", seeds, most=MOST_RUNS)
    if not isinstance(preset, str):
        raise RelViTError(f"preset {preset!r}: expected one of {', '.join(PRESETS)}")
    if not isinstance(grid, dict) or not all(
        isinstance(v, (list, dict)) and v for v in grid.values()
    ):
        raise RelViTError(
            f"grid {grid}: expected a list or mapping with at least one value for each setting"
        )
    given = {key: value for key, value in overrides.items() if value is not None}
    runs = []
    for words, point in _points(grid):
        base = resolve(preset, settings | point, **given)
        for seed in range(base.seed, base.seed + seeds):
            name = "-".join([*words, f"seed{seed}"])
            config = dataclasses.replace(base, seed=seed)
            runs.append(Run(name, config))
    _check_distinct(runs)
    causal_config = _causal(causal_settings)
    for run in runs:
        _check_sizes(run.config, causal_config)
    return Study(Path(target).stem, tuple(runs), causal_config, _photorealistic(photorealistic))


def _check_sizes(config: TrainConfig, causal: CausalConfig | None) -> None:
    """Raise RelViTError for numbers of scenes that cannot be balanced, or layers that the backbone lacks."""
    check_seed(config.seed)
    if isinstance(config.backbone, dict):  # a pretrained one is opened when the study runs
        from ..training.resolved import check_model

        check_model(config)
    distribution = config.distribution()
    for split in config.eval_splits:
        if split not in distribution.splits:
            expected = ", ".join(distribution.splits)
            raise RelViTError(f"eval_splits {split}: expected some of {expected}")
    sizes = {"n_eval": config.n_eval}
    if causal is not None:
        sizes |= {"causal scenes": causal.scenes, "causal test_scenes": causal.test_scenes}
        _check_layers(causal, config)
    for name, size in sizes.items():
        try:
            check_scenes(config.task, distribution.geometry, size, config.seed)
        except RelViTError as error:
            raise RelViTError(f"{name}: {error}") from error


def _check_layers(causal: CausalConfig, config: TrainConfig) -> None:
    if not isinstance(config.backbone, dict):
        return
    depth = config.backbone.get("num_hidden_layers")
    if depth is None:  # the family's own, which the trained model says
        return
    beyond = [layer for layer in causal.layers or [] if not 0 <= layer < depth]
    if beyond:
        raise RelViTError(
            f"causal layers {beyond}: expected 0 to {depth - 1}, as the backbone has {depth}"
        )


def _points(grid: Mapping[str, Any]) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Every combination of a grid: the words for the folder's name, and the settings."""
    named = []
    for values in grid.values():
        if isinstance(values, dict):
            named.append(list(values.items()))
        else:
            named.append([(_word(value), value) for value in values])
    for chosen in itertools.product(*named):
        words = [_word(word) for word, _ in chosen]
        values = [value for _, value in chosen]
        yield words, dict(zip(grid, values))


def _check_distinct(runs: list[Run]) -> None:
    """Raise RelViTError if two runs have the same name or settings, or a name that no folder can have."""
    for run in runs:
        if len(run.name) > 200:
            raise RelViTError(
                f"the grid names a run {run.name[:40]}..., {len(run.name)} letters: name its values, such as "
                "{short: value}"
            )
    counts = Counter(run.name for run in runs)
    name, count = counts.most_common(1)[0]
    if count > 1:
        raise RelViTError(f"the grid names the run {name!r} twice: give each value once")
    for other, run in itertools.combinations(runs, 2):
        if other.config == run.config:
            raise RelViTError(
                f"the runs {other.name!r} and {run.name!r} of the grid have the same settings: "
                "give each value once"
            )


def _causal(settings: Any) -> CausalConfig | None:
    if settings is False:
        return None
    if not isinstance(settings, dict):
        raise RelViTError(
            f"causal {settings!r}: expected settings such as {{pairs: 512}}, or false for no causal analysis"
        )
    known = [field.name for field in dataclasses.fields(CausalConfig)]
    for key in settings:
        if key not in known:
            raise unknown_key(f"causal {key}", known)
    return CausalConfig(**settings)


def _photorealistic(folder: Any) -> PhotoSet | None:
    if folder is None:
        return None
    if not isinstance(folder, str | Path):
        raise RelViTError(
            f"photorealistic {folder!r}: expected the --out of `relvit data build photorealistic`"
        )
    from .photorealistic import open_set

    return open_set(folder)


def _word(value: Any) -> str:
    """A value as part of a folder's name."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        value = "-".join(f"{k}{v}" for k, v in value.items())
    return re.sub(r"[^A-Za-z0-9]+", "_", str(value)).strip("_") or "none"
