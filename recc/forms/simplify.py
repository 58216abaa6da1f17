"""Identities of arithmetic with 0 and 1, and of 1 minus a gate, applied while a Block is built."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from recc.forms.block import Value, map_dtype
from recc.forms.interpret import SCALAR

if TYPE_CHECKING:
    from recc.forms.builder import Builder


def simplify(b: Builder, fn: str, args: tuple[Value, ...]) -> Value | None:
    """What a scalar function of values is known to be, with the axes and the dtype of its result; else None."""
    known = [b.known(v) for v in args]
    dtype = map_dtype(fn, args)

    def whole(v: Value) -> bool:
        return v.dtype == dtype and set(v.axes) >= {a for w in args for a in w.axes}

    if fn == "add":
        for k, other in ((known[0], args[1]), (known[1], args[0])):
            if k == 0.0 and whole(other):
                return other
    if fn == "sub" and known[1] == 0.0 and whole(args[0]):
        return args[0]
    if fn == "sub" and known[0] == 1.0 and (inner := b.argument(args[1], "sigmoid")) and whole(args[1]):
        # Written as a difference, what a gate lets in is lost where it is nearly open.
        return b.map("sigmoid", b.map("neg", inner))
    if fn == "sub" and known[0] == 0.0 and whole(args[1]):
        return b.map("neg", args[1])
    if fn == "mul":
        for k, other in ((known[0], args[1]), (known[1], args[0])):
            if k == 1.0 and whole(other):
                return other
            if k == -1.0 and whole(other):
                return b.map("neg", other)
            if k == 0.0:
                return b.constant(0.0, {a for w in args for a in w.axes}, dtype)
    if fn == "div" and known[1] == 1.0 and whole(args[0]):
        return args[0]
    if fn == "div" and known[0] == 0.0:
        return b.constant(0.0, {a for w in args for a in w.axes}, dtype)
    if fn == "neg" and known[0] is not None:
        return b.constant(-known[0], args[0].axes, dtype)
    if fn == "real" and args[0].dtype == "real":
        return args[0]
    if fn == "real" and known[0] is not None:
        return b.constant(known[0], args[0].axes)
    if fn in ("add", "sub", "mul") and None not in known:
        x, y = (k for k in known if k is not None)
        folded = {"add": x + y, "sub": x - y, "mul": x * y}[fn]
        return b.constant(folded, {a for w in args for a in w.axes}, dtype)
    return _folded(b, fn, args)


def _folded(b: Builder, fn: str, args: tuple[Value, ...]) -> Value | None:
    """A function of numbers, worked out once and in float64, if it is a number."""
    numbers = [b.known(v) for v in args if v.dtype == "real"]
    if None in numbers or len(numbers) < len(args) or map_dtype(fn, args) != "real" or fn in ("stop", "surrogate"):
        return None
    with np.errstate(all="ignore"):
        found = float(SCALAR[fn](*(np.float64(k) for k in numbers if k is not None)))
    return b.constant(found, {a for w in args for a in w.axes}) if isfinite(found) else None
