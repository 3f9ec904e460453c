"""A page whose inputs come from strangers: values are checked before Gradio reads them, faults are one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import Any

from gradio.components.api_component import Api

from hf_relvit.errors import RelViTError

from .layout import gr

_ODD_VALUES = (
    "These are no values of this page: expected values of its components, such as a link as text."
)
_ANY = str | int | float
_API = str | int | float | list | dict
_FIELDS: dict[type, Any] = {
    gr.Textbox: str,
    gr.File: dict,
    gr.Slider: int | float,
    Api: _API,
}
"""Types that components take as they are; all but these take text or numbers."""
_KIND_NAMES = {
    str: "text",
    dict: "an uploaded file",
    int | float: "a number",
    _ANY: "text or a number",
    _API: "text, a number, a list or an object",
}


class Page(gr.Blocks):
    """Blocks whose inputs come from strangers."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *rest: Any, **options: Any):
        """The values of a call as the components read them.

        Raises:
            gr.Error: values that no component of the page sends, in one sentence and without a traceback in the log.
        """
        try:
            with told():
                _check_values(block_fn.inputs, inputs)
            return await super().preprocess_data(
                block_fn,
                inputs,
                *rest,
                **options,
            )
        except Exception as error:
            if isinstance(error, gr.Error):
                faulty: Any = error
                faulty.print_exception = False
                raise
            raise gr.Error(_ODD_VALUES, print_exception=False) from error


@contextmanager
def told() -> Iterator[None]:
    """Bad input as a message on the page, which shows it as HTML."""
    try:
        yield
    except RelViTError as error:
        raise gr.Error(escape(f"{error}.", quote=False), print_exception=False) from error


def _check_values(components: Sequence[Any], values: list[Any]) -> None:
    """One value of the right type for each component: Gradio fails on others somewhere within.

    Raises:
        RelViTError: which value is none.
    """
    if len(values) != len(components):
        raise RelViTError(f"{len(values)} values: expected {len(components)}")
    for component, value in zip(components, values):
        kind = _FIELDS.get(type(component), _ANY)
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if value is None or fits:
            continue
        name = getattr(component, "label", None) or "query"
        raise RelViTError(f"{name} is {str(value)[:40]!r}: expected {_KIND_NAMES[kind]}")
