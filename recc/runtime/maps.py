"""The maps between steps that the matrix form of a program makes: what each read takes from each drive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recc.errors import Refusal, Unsupported
from recc.forms.parallel import derive
from recc.forms.run import Item
from recc.recurrence import Kind, Recurrence, Symbol
from recc.runtime.call import Call
from recc.runtime.layout import leading

Array = NDArray[Any]


def maps(rec: Recurrence, call: Call) -> dict[str, Array]:
    """Every map of a call by what it leads to and from, `[B, T, T, *batch, *axes]` in float64.

    Raises `Unsupported` if the program has no matrix form.
    """
    form = derive(rec, "matrix", 0, maps=True)
    if isinstance(form, Refusal):
        raise Unsupported(form)
    lay = call.layout
    arguments = {n: np.asarray(v) for n, v in call.arguments.items()}
    (steps,) = lay.extents
    found: dict[str, Array] = {}
    for sequence, row in enumerate(lay.rows):
        here = slice(lay.starts[sequence], lay.starts[sequence] + lay.lengths[sequence])
        for at in np.ndindex(*lay.full_batch):
            given = {s.name: _taken(rec, s, arguments[s.name], row, here, at) for s in rec.arguments}
            clock = int(np.broadcast_to(np.asarray(call.clock), (len(lay.rows),))[sequence])
            item = Item(form, lay.sizes, (lay.lengths[sequence],), given, clock=clock)
            item.forward()
            for name, value in item.maps.items():
                shape = (lay.batch_size, steps, steps, *lay.full_batch, *value.shape[2:])
                whole = found.setdefault(name, np.zeros(shape, value.dtype))
                whole[(row, here, here, *at)] = value
    return found


def _taken(rec: Recurrence, symbol: Symbol, array: Array, row: int, here: slice, at: tuple[int, ...]) -> Array:
    """The part of an argument that one sequence of one batch element sees."""
    lead = leading(rec, symbol)
    if symbol.kind is Kind.INPUT:
        array = array[min(row, array.shape[0] - 1), here]
        lead = 1
    batch = array.ndim - lead - len(symbol.axes)
    own = at[len(at) - batch :] if batch else ()
    place = tuple(k if n > 1 else 0 for k, n in zip(own, array.shape[lead : lead + batch], strict=True))
    return array[(slice(None),) * lead + place]


__all__ = ["maps"]
