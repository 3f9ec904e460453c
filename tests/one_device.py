"""A stand-in for a GPU: tensors on PyTorch's device "meta", which have a shape and no values.

What a GPU would do slowly fails here: an operation that mixes devices, or a value that comes back to the host.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _OneDevice(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        devices = {
            t.device.type for t in tensors if t.dim() or t.device.type != "cpu"
        }  # a number on the host is fine
        if len(devices) > 1 and func is not torch.ops.aten.copy_.default:
            raise AssertionError(f"{func} on {sorted(devices)}")
        return func(*args, **(kwargs or {}))


@contextmanager
def one_device(monkeypatch):
    """Inside, nothing may leave "meta" but by ``item`` and ``cpu``, which are listed in what it yields."""
    waits = []

    def counted(name, answer):
        real = getattr(torch.Tensor, name)

        def call(self, *args, **kwargs):
            if self.device.type != "meta":
                return real(self, *args, **kwargs)
            waits.append(name)
            return answer(self)

        monkeypatch.setattr(torch.Tensor, name, call)

    counted("item", lambda tensor: 1.0)
    counted("cpu", lambda tensor: torch.zeros(tensor.shape, dtype=tensor.dtype))
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: nullcontext())  # "meta" has none
    with _OneDevice():
        yield waits
