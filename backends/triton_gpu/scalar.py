"""Scalar functions as Triton expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recc.backends.literals import python_text
from recc.forms.block import BlockDtype

#: Functions that are an operator or a function of the language, over the codes of the arguments.
INLINE: Mapping[str, str] = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}", "neg": "-{0}",
    "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}", "eq": "{0} == {1}",
    "ne": "{0} != {1}", "and": "{0} & {1}", "or": "{0} | {1}", "not": "{0} == 0",
    "where": "tl.where({0}, {1}, {2})", "exp": "tl.exp({0})", "log": "tl.log({0})", "sqrt": "tl.sqrt({0})",
    "rsqrt": "tl.rsqrt({0})", "sin": "tl.sin({0})", "cos": "tl.cos({0})", "abs": "tl.abs({0})",
    "floor": "tl.floor({0})", "erf": "tl.erf({0})", "int": "{0}.to(tl.int64)", "stop": "{0}", "surrogate": "{0}",
}  # fmt: skip

#: Functions of the library, by what they are called there.
LIBRARY: Mapping[str, str] = {
    "pow": "power", "min": "minimum", "max": "maximum", "log1p": "log1p", "expm1": "expm1", "sigmoid": "sigmoid",
    "log_sigmoid": "log_sigmoid", "softplus": "softplus", "tanh": "tanh", "sign": "sign", "logaddexp": "logaddexp",
}  # fmt: skip

#: Functions that are zero where all their arguments are.
KEEPS_ZERO = frozenset({"add", "sub", "neg", "min", "max", "abs", "sin", "tanh", "expm1", "log1p", "sign", "floor",
                        "sqrt", "real", "stop", "erf"})  # fmt: skip


def literal(value: float, dtype: BlockDtype) -> str:
    """A number as Triton text."""
    return python_text(value, dtype, 'float("nan")', 'float("inf")', 'float("-inf")')


def call(fn: str, args: Sequence[str]) -> str:
    """The expression of an inline function."""
    return INLINE[fn].format(*args)


__all__ = ["INLINE", "KEEPS_ZERO", "LIBRARY", "call", "literal"]
