"""The plan of a study: which runs, and how deep it looks into each."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import typing
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..doors import check_choice
from ..errors import RelViTError
from ..limits import MOST_RUNS, check_count, check_finite, check_seed
from ..recipes.recipe import Sizes
from ..recipes.recipes import RECIPES, USUAL
from ..schemas import check_shape, read_as_shape
from ..stimuli.scenes import check_scenes
from ..training.config import PRESETS, TrainConfig, check_value, read_yaml, resolve, unknown_key

if TYPE_CHECKING:
    from .photorealistic import PhotoSet

UNASKED_RUNS = 1_000
UNASKED_IMAGES = 1_000_000_000
"""More needs ``large``. Our choice, above every grid in examples/."""
IMAGES_PER_SECOND = 3_500
"""In training a ViT-B/16 on one H200: an estimate, not measured; see examples/replicate_paper_gpu.yaml."""


@dataclass(frozen=True)
class CausalConfig(Sizes):
    """Which analyses a study makes of each run, and how deep they go."""

    layers: list[int] | None = None
    """Blocks to look at; all by default."""
    analyses: list[str] = dataclasses.field(default_factory=lambda: list(USUAL))
    """Which recipes to do; all by default. Those that a task cannot have are left out."""
    settings: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    """Recipe -> further settings of its config, such as {probes: {epochs: 20}}."""

    def __post_init__(self):
        for name, kind in typing.get_type_hints(type(self)).items():
            value = getattr(self, name)
            check_choice(f"causal {name}", value, kind)
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
            for needed in RECIPES[name].needs:
                if needed not in self.analyses:
                    raise RelViTError(
                        f"causal analysis {name!r} builds on {needed!r}: add it to analyses"
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
        RelViTError: unknown ones, values out of their range, or settings that the study decides.
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
class StudyConfig:
    """Settings of a study beside those of its runs: keys of a grid, and options of `relvit study`."""

    seeds: int = 1
    """Runs of each setting, with seeds from --seed upwards; the grid's number, or 1."""
    causal: bool = True
    """Alignments, novel representations, probes, steering."""
    photorealistic: Path | None = None
    """Folder of `relvit data build photorealistic`, to test discrimination models on."""
    large: bool = False
    """Plan even more than 1,000 runs or 1,000,000,000 training images."""

    def __post_init__(self):
        seeds = self.seeds
        if isinstance(seeds, bool) or not isinstance(seeds, int) or seeds < 1:
            raise RelViTError(f"seeds {seeds}: expected 1 or more")
        if not isinstance(self.large, bool):
            raise RelViTError(f"large {self.large!r}: expected true or false")


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

    def only(self, names: str) -> Study:
        """The runs of some names, such as ``"*-seed0"``; ``*`` stands for anything.

        Raises:
            RelViTError: no run has such a name.
        """
        runs = tuple(run for run in self.runs if fnmatchcase(run.name, names))
        if not runs:
            known = self.runs[0].name
            raise RelViTError(
                f"no run of {self.name} is called {names!r}: expected a name such as {known}; * stands for anything"
            )
        return dataclasses.replace(self, runs=runs)

    @property
    def images(self) -> int:
        """Images of all trainings; each image counts as often as it is seen."""
        return sum(run.config.images for run in self.runs)

    @property
    def work(self) -> str:
        """How much there is to train, in words."""
        runs = "1 run" if len(self.runs) == 1 else f"{len(self.runs):,} runs"
        return f"{runs}, {self.images:,} training images"

    @property
    def distinct_settings(self) -> list[TrainConfig]:
        """The settings of the runs, one of those that differ only in the seed."""
        found = {}
        for run in self.runs:
            without_seed = {**vars(run.config), "seed": 0}
            found.setdefault(_hashable(without_seed), run.config)
        return list(found.values())


def plan(
    target: str,
    *,
    file: Path | None = None,
    analyses: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Study:
    """The runs of a preset, or of a grid.

    A grid is a YAML file: a ``preset`` and any settings of it, ``grid`` (setting -> list of values, or mapping of
    names to values; every combination is a run), and the fields of StudyConfig, where ``causal`` is a mapping of
    fields of CausalConfig, or false for none.
    Folders are called after the values, or after the names given to them. Example::

        preset: quick
        grid: {combinations: [32, 128], disentanglement: {without: null, with: {layer: 2}}}
        seeds: 3

    Args:
        target: name of a preset, or path of a grid.
        file: YAML file of further settings.
        analyses: fields of CausalConfig that override those of the files.
        settings: fields of StudyConfig and TrainConfig that override the files; None is none.

    Raises:
        RelViTError: unknown preset, key or value; no seeds; a grid without values or with the same run twice; more
            work than is done without ``large``; a folder without photorealistic scenes.
    """
    preset, grid, values = _read(target, file)
    given = {name: value for name, value in settings.items() if value is not None}
    in_file = _take_study_config(values)
    causal = _causal(in_file.pop("causal", {}), analyses or {})
    config = StudyConfig(**{**in_file, **_take_study_config(given)})
    if not config.causal:
        causal = None
    if analyses and causal is None:
        raise RelViTError(
            f"causal {', '.join(analyses)} of a study without analyses: leave out --no-causal and the grid's causal: "
            "false, or these settings"
        )
    points = math.prod(len(choices) for choices in grid.values())
    _check_runs(points * config.seeds, config)
    runs = []
    for words, point in _points(grid):
        base = resolve(preset, {**values, **point}, **given)
        _check_sizes(base, causal)
        runs += _seeded(base, words, config.seeds)
    _check_distinct(runs)
    study = Study(
        name=Path(target).stem,
        runs=tuple(runs),
        causal=causal,
        photorealistic=_photorealistic(config.photorealistic),
    )
    if study.images > UNASKED_IMAGES and not config.large:
        raise _too_large(study.work, study.images)
    return study


def _read(target: str, file: Path | None) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Preset, grid and further settings that the files name."""
    is_grid = target not in PRESETS and Path(target).suffix in (".yaml", ".yml")
    values = read_yaml(Path(target)) if is_grid else {}
    if file is not None:
        values.update(read_yaml(file))
    if not is_grid:
        return target, {}, values
    preset = values.pop("preset", "quick")
    if not isinstance(preset, str):
        raise RelViTError(f"preset {preset!r}: expected one of {', '.join(PRESETS)}")
    grid = values.pop("grid", {})
    _check_grid(grid)
    return preset, grid, values


def _take_study_config(settings: dict[str, Any]) -> dict[str, Any]:
    """The fields of StudyConfig among settings, which lose them."""
    fields = dataclasses.fields(StudyConfig)
    return {field.name: settings.pop(field.name) for field in fields if field.name in settings}


def _check_grid(grid: Any) -> None:
    settings = grid.values() if isinstance(grid, dict) else [None]
    if not all(isinstance(values, list | dict) and values for values in settings):
        raise RelViTError(
            f"grid {grid}: expected a list or mapping with at least one value for each setting"
        )


def _check_runs(n_runs: int, config: StudyConfig) -> None:
    """Refuse a number of runs before any of them is made."""
    check_count("runs of a study", n_runs, most=MOST_RUNS)
    if n_runs > UNASKED_RUNS and not config.large:
        raise _too_large(f"{n_runs:,} runs")


def _too_large(work: str, images: int = 0) -> RelViTError:
    days = images / IMAGES_PER_SECOND / 86_400
    time = f", about {days:,.0f} days for a ViT-B/16 on one H200" if images else ""
    return RelViTError(
        f"{work}{time}: did you mean that many? choose fewer seeds, images or values of the grid, or add --large"
    )


def _seeded(base: TrainConfig, words: list[str], n_seeds: int) -> list[Run]:
    """The runs of one setting."""
    seeds = range(base.seed, base.seed + n_seeds)
    check_seed(seeds[-1])
    runs = []
    for seed in seeds:
        name = "-".join([*words, f"seed{seed}"])
        runs.append(Run(name, dataclasses.replace(base, seed=seed)))
    return runs


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
        sizes["causal scenes"] = causal.scenes
        sizes["causal test_scenes"] = causal.test_scenes
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
    names: dict[Any, str] = {}
    for run in runs:
        other = names.setdefault(_hashable(vars(run.config)), run.name)
        if other != run.name:
            raise RelViTError(
                f"the runs {other!r} and {run.name!r} of the grid have the same settings: "
                "give each value once"
            )


def _hashable(value: Any) -> Any:
    """A value of settings, so that equal ones have equal hashes."""
    if isinstance(value, dict):
        return frozenset((key, _hashable(each)) for key, each in value.items())
    if isinstance(value, list | tuple):
        return tuple(_hashable(each) for each in value)
    return value


def _causal(settings: Any, given: Mapping[str, Any]) -> CausalConfig | None:
    """The analyses of a grid, with the fields that are given instead of its own; None for none."""
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
    return CausalConfig(**{**settings, **given})


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
        value = "-".join(f"{key}{each}" for key, each in value.items())
    letters = re.sub(r"[^A-Za-z0-9]+", "_", str(value))
    return letters.strip("_") or "none"
