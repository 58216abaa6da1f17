"""Scalar functions as torch expressions."""

from __future__ import annotations

from collections.abc import Mapping

from recc.backends.literals import python_text
from recc.forms.block import BlockDtype

#: Templates over the arguments. Those of operators take a Python number as either argument.
OPERATORS: Mapping[str, str] = {
    "add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}",
    "lt": "{0} < {1}", "le": "{0} <= {1}", "gt": "{0} > {1}", "ge": "{0} >= {1}",
    "eq": "{0} == {1}", "ne": "{0} != {1}",
}  # fmt: skip
FUNCTIONS: Mapping[str, str] = {
    "neg": "-{0}", "min": "torch.minimum({0}, {1})", "max": "torch.maximum({0}, {1})", "pow": "ops.power({0}, {1})",
    "and": "{0} & {1}", "or": "{0} | {1}", "not": "~{0}", "where": "torch.where({0}, {1}, {2})",
    "log_sigmoid": "torch.nn.functional.logsigmoid({0})", "softplus": "ops.softplus({0})",
    "logaddexp": "ops.logaddexp({0}, {1})", "real": "{0}.to(env.dtype)", "int": "{0}.to(torch.int64)",
    "stop": "{0}.detach()", "surrogate": "ops.surrogate({0}, {1})",
}  # fmt: skip


def literal(value: float, dtype: BlockDtype) -> str:
    """A number as Python text."""
    return python_text(value, dtype, "torch.nan", "torch.inf", "-torch.inf")


def numbers_allowed(fn: str, known: list[float | None]) -> list[bool]:
    """Which arguments may be Python numbers, given the numbers that are."""
    if fn in OPERATORS:
        return [True, known[0] is None]
    if fn == "where":
        return [False, True, known[1] is None]
    if fn == "pow":
        return [known[0] is not None and known[0] > 0 and known[1] is None, known[0] is None]
    return [False for _ in known]


def call(fn: str, args: list[str], known: list[float | None]) -> str:
    """The expression of a scalar function; `known` are the arguments that are Python numbers."""
    if fn == "pow" and any(k is not None for k in known):
        return f"torch.pow({args[0]}, {args[1]})"
    template = OPERATORS.get(fn) or FUNCTIONS.get(fn)
    return template.format(*args) if template else f"torch.{fn}({', '.join(args)})"


__all__ = ["call", "literal", "numbers_allowed"]
