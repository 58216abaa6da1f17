"""Derived forms in plain torch against what others ship, or what one would write by hand, in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recc.bench.contest import draw, hold
from recc.bench.figures import shown_shapes, table_of
from recc.bench.report import Table
from recc.bench.shipped import (
    Function,
    chunked_correction,
    chunked_scalar_gate,
    log_depth,
    stepwise_vector_gate,
    transform,
)
from recc.fuzz import Shapes
from recc.pipeline import compile

_MISSING = "fla-core (and einops, which it needs) not installed: nothing to compare with"
_MEMORY = Shapes({"i": 64, "j": 64}, (4096,), 2, (4,))


def derived(seconds: float, shrink: int = 1) -> tuple[Table, ...]:
    """A table for each form that has a rival in torch."""
    memory = Shapes(_MEMORY.sizes, (_MEMORY.steps[0] // shrink,), _MEMORY.batch, _MEMORY.heads)
    poles = Shapes({"d": 256, "n": 32}, (2048 // shrink,), 4)
    channels = Shapes({"d": 512}, (4096 // shrink,), 4)
    steps, chunks = "step loop of fla-core", "chunked function of fla-core"
    return (
        _against("a log decay per row", "vector_gate", "chunked", memory, steps, stepwise_vector_gate, seconds, 2),
        _against("one log decay", "scalar_gate", "chunked", memory, chunks, chunked_scalar_gate, seconds),
        _against("a decay and a correction", "correction", "chunked", memory, chunks, chunked_correction, seconds),
        _against("complex poles", "poles", "convolution", poles, "FFT by hand", lambda: transform, seconds),
        _against("h = a h + x", "elementwise", "scan", channels, "associative_scan", lambda: log_depth, seconds),
    )


def _against(
    what: str,
    name: str,
    form: str,
    shapes: Shapes,
    rival: str,
    find: Callable[[], Function | None],
    seconds: float,
    least: int = 3,
) -> Table:
    """A form of a program of this folder on the torch backend against one rival."""
    op = compile(Path(__file__).with_name(f"{name}.recc"), backend="torch", form=form)
    function = find()
    title = f"In torch, {form} form, {what} · {shown_shapes(shapes)}"
    contest = hold(op, draw(op, shapes), {} if function is None else {rival: function}, seconds, least)
    return table_of(title, contest, *([_MISSING] if function is None else []))


__all__ = ["derived"]
