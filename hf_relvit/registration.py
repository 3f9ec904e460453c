"""Opens our checkpoints with the Auto classes after ``import hf_relvit``, without loading transformers for it."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys

_AUTO = "transformers.models.auto.modeling_auto"


class _AfterAuto(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports ``hf_relvit.modeling``, which registers, right after the Auto classes were imported."""

    def find_spec(self, name, path, target=None):
        if name != _AUTO:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        importlib.import_module("hf_relvit.modeling")


def register() -> None:
    """Register now if the Auto classes are there, else as soon as they are."""
    if _AUTO in sys.modules:
        importlib.import_module("hf_relvit.modeling")
    else:
        sys.meta_path.insert(0, _AfterAuto())
