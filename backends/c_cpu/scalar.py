"""Scalar functions as C expressions. `real` and `recc_*` are defined by `recc_math.h`."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

from recc.backends.literals import real_text

#: Templates over the arguments; `{0}` is the first.
TEMPLATES: Mapping[str, str] = {
    "add": "({0} + {1})",
    "sub": "({0} - {1})",
    "mul": "({0} * {1})",
    "div": "({0} / {1})",
    "neg": "(-{0})",
    "min": "recc_min({0}, {1})",
    "max": "recc_max({0}, {1})",
    "lt": "({0} < {1})",
    "le": "({0} <= {1})",
    "gt": "({0} > {1})",
    "ge": "({0} >= {1})",
    "eq": "({0} == {1})",
    "ne": "({0} != {1})",
    "and": "({0} & {1})",
    "or": "({0} | {1})",
    "not": "(!{0})",
    "where": "({0} ? {1} : {2})",
    "real": "((real){0})",
    "int": "((int64_t){0})",
    "stop": "{0}",
    "surrogate": "{0}",
}


def call(fn: str, args: list[str]) -> str:
    """The C expression of a scalar function."""
    template = TEMPLATES.get(fn)
    if template is not None:
        return template.format(*args)
    return f"recc_{fn}({', '.join(args)})"


def literal(value: float, dtype: str) -> str:
    """A number as a C literal of the Block dtype."""
    if dtype != "real":
        return f"INT64_C({int(value)})"
    text = real_text(value, "RECC_NAN", "RECC_INF", "(-RECC_INF)")
    if not isfinite(value):
        return text
    return f"(real){text}" if value >= 0 else f"((real){text})"


def reduction(fn: str) -> tuple[str, str, str]:
    """For a reduction: its identity, the `omp simd` operator, and the combining template."""
    return {
        "sum": ("0", "+", "{0} + {1}"),
        "prod": ("1", "*", "{0} * {1}"),
        "max": ("(-RECC_INF)", "max", "recc_max({0}, {1})"),
        "min": ("RECC_INF", "min", "recc_min({0}, {1})"),
    }[fn]


__all__ = ["call", "literal", "reduction"]
