"""What the Hub refuses to store: bad names and paths, and cards whose header is not valid metadata."""

from __future__ import annotations

import re

import yaml

from .errors import HubError

_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")
_HEADER = re.compile(r"\A---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_REPO_ID = re.compile(r"([\w.-]+/)?[\w.-]+")
_SIZE = re.compile(
    r"n<1K|1K<n<10K|10K<n<100K|100K<n<1M|1M<n<10M|10M<n<100M|100M<n<1B|1B<n<10B|n>1T|unknown"
)
_COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
_LICENSES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause
bsd-3-clause bsd-3-clause-clear cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0
cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0
cc-by-nc-sa-4.0 cdla-permissive-2.0 ecl-2.0 epl-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1
lgpl-3.0 isc ms-pl mpl-2.0 odc-by odbl openrail++ ofl-1.1 pddl postgresql unlicense wtfpl zlib gemma llama2 llama3
unknown other
"""
_SDKS = ("gradio", "docker", "static", "streamlit")


def check_name(name: object) -> str:
    """A namespace or the name of a repository."""
    if (
        not isinstance(name, str)
        or not _NAME.fullmatch(name)
        or "--" in name
        or ".." in name
        or name.endswith(".git")
    ):
        raise HubError(
            400,
            f"Invalid repo name: {name!r}. Letters, digits, '-', '_' and '.', at most 96 of them",
        )
    return name


def check_path(path: object) -> str:
    """The path of a file in a repository: relative, without anything that leads out of it."""
    good = (
        isinstance(path, str) and 0 < len(path) <= 1024 and path.isprintable() and "\\" not in path
    )
    if not good or any(part in ("", ".", "..", ".git") for part in str(path).split("/")):
        raise HubError(400, f"Invalid file path: {path!r}")
    return str(path)


def metadata(card: str) -> dict:
    """The header of a card, {} if there is none; ValueError if it is not YAML or no mapping."""
    found = _HEADER.match(card)
    if not found:
        return {}
    try:
        values = yaml.safe_load(found[1])
    except yaml.YAMLError as error:
        raise ValueError(f"Invalid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"expected a mapping, not {type(values).__name__}")
    return values


def card_errors(card: str, repo_type: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about the header of a README.md."""
    try:
        values = metadata(card)
    except ValueError as error:
        return [str(error)], []
    if not values:
        missing = "empty or missing yaml metadata in repo card"
        return ([missing], []) if repo_type == "space" else ([], [missing])
    errors = [
        f'"{key}" must be a {kind}' for key, kind, good in _expected(values, repo_type) if not good
    ]
    if repo_type == "model":
        errors += _model_index_errors(values.get("model-index", []))
    if repo_type == "dataset":
        errors += _config_errors(values.get("configs", []))
    return errors, []


def _expected(values: dict, repo_type: str):
    """(key, what it must be, whether it is)"""
    strings = {
        "tags": "list of strings",
        "datasets": "dataset id or a list of them",
        "language": "language code or a list",
    }
    for key, kind in strings.items():
        if key in values:
            value = values[key] if key == "tags" or isinstance(values[key], list) else [values[key]]
            yield (
                key,
                kind,
                isinstance(value, list) and all(isinstance(v, str) and v for v in value),
            )
    for key in ("datasets", "base_model", "models"):
        if key in values:
            value = values[key] if isinstance(values[key], list) else [values[key]]
            yield (
                key,
                "repo id or a list of them",
                all(isinstance(v, str) and _REPO_ID.fullmatch(v) for v in value),
            )
    for key in ("pipeline_tag", "library_name", "pretty_name", "title", "app_file", "license_name"):
        if key in values:
            yield key, "string", isinstance(values[key], str)
    if "license" in values:
        value = values["license"] if isinstance(values["license"], list) else [values["license"]]
        yield "license", "known license id", all(v in _LICENSES.split() for v in value)
    if "size_categories" in values:
        value = values["size_categories"]
        value = value if isinstance(value, list) else [value]
        yield (
            "size_categories",
            "list of sizes such as 1K<n<10K",
            all(_SIZE.fullmatch(str(v)) for v in value),
        )
    if "task_categories" in values:
        yield "task_categories", "list of strings", isinstance(values["task_categories"], list)
    if repo_type == "space":
        yield "sdk", "kind of Space: " + ", ".join(_SDKS), values.get("sdk") in _SDKS
        for key in ("colorFrom", "colorTo"):
            if key in values:
                yield key, "color of " + ", ".join(_COLORS), values[key] in _COLORS
        if "short_description" in values:
            yield (
                "short_description",
                "text of at most 60 characters",
                len(str(values["short_description"])) <= 60,
            )
        if "sdk_version" in values:
            yield (
                "sdk_version",
                "string such as 6.31.0 (quote it)",
                isinstance(values["sdk_version"], str),
            )


def _model_index_errors(index: object) -> list[str]:
    if not isinstance(index, list):
        return ['"model-index" must be a list']
    errors = []
    for entry in index:
        if (
            not isinstance(entry, dict)
            or not entry.get("name")
            or not isinstance(entry.get("results"), list)
        ):
            errors.append('"model-index" needs a name and a list of results in each entry')
            continue
        for result in entry["results"]:
            task, dataset, metrics = (result.get(key) for key in ("task", "dataset", "metrics"))
            if not isinstance(task, dict) or not task.get("type"):
                errors.append('"model-index": each result needs task.type')
            if not isinstance(dataset, dict) or not dataset.get("type") or not dataset.get("name"):
                errors.append('"model-index": each result needs dataset.type and dataset.name')
            if not isinstance(metrics, list) or not all(
                "type" in m and "value" in m for m in metrics
            ):
                errors.append('"model-index": each metric needs a type and a value')
    return errors


def _config_errors(configs: object) -> list[str]:
    if not isinstance(configs, list) or not all(
        isinstance(c, dict) and c.get("config_name") for c in configs
    ):
        return ['"configs" must be a list of mappings with a config_name']
    errors = []
    for config in configs:
        files = config.get("data_files", [])
        listed = isinstance(files, list) and all(
            isinstance(f, dict) and {"split", "path"} <= f.keys() for f in files
        )
        if not (isinstance(files, str) or listed):
            errors.append(
                f'"configs": data_files of {config["config_name"]} must be a path or a list of split and path'
            )
    if len([c for c in configs if c.get("default")]) > 1:
        errors.append('"configs": only one may be the default')
    return errors
