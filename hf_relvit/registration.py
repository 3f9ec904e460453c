"""Opens our checkpoints with the Auto classes after ``import hf_relvit``, without loading transformers for it.

``hf_relvit.modeling`` registers as transformers documents (``AutoConfig.register`` and its like). To do so at
``import hf_relvit`` would load the Auto classes, and torch with them: 2.9 s of processor time, where the import takes
0.04 s and most commands need neither. Tried and given up: transformers looks for no entry points; its tables of
models load lazily, but only from within transformers; the package wrapt is such a hook as well. Without this file a
program would have to write ``import hf_relvit.modeling``.
"""

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
            self._loader = spec.loader
            spec.loader = self
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
