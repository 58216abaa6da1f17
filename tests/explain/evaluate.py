"""Formulas evaluated element by element, as a reader with a pencil would.

Names that the program does not have are looked up among the equations given, so that a group of equations
is checked as it is printed.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from recc.explain.notation import (
    Big,
    Binary,
    Call,
    Chain,
    Equation,
    Indexed,
    Name,
    Node,
    Num,
    Power,
    Prefix,
    Shift,
    Truth,
)

Scope = Mapping[str, int]
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
}  # fmt: skip
_CALLS: Mapping[str, Callable[..., Any]] = {
    "exp": cmath.exp, "re": lambda z: complex(z).real, "conj": lambda z: complex(z).conjugate(), "abs": abs,
    "cis": lambda x: cmath.exp(1j * x), "max": lambda *a: max(a, key=lambda z: complex(z).real),
    "where": lambda c, a, b: a if c else b, "sigmoid": lambda x: 1 / (1 + cmath.exp(-x)), "tanh": cmath.tanh,
    "logaddexp": lambda a, b: np.logaddexp(complex(a).real, complex(b).real), "log": cmath.log, "sqrt": cmath.sqrt,
    "im": lambda z: complex(z).imag, "sign": lambda x: np.sign(complex(x).real),
    "min": lambda *a: min(a, key=lambda z: complex(z).real), "sin": cmath.sin, "cos": cmath.cos,
    "relu": lambda x: max(complex(x).real, 0), "log1p": lambda x: cmath.log(1 + x),
    "silu": lambda x: x / (1 + cmath.exp(-x)), "erf": lambda x: math.erf(complex(x).real), "stop": lambda x: x,
    "clamp": lambda x, low, high: min(max(complex(x).real, low), high),
    "expm1": lambda x: cmath.exp(x) - 1, "softplus": lambda x: cmath.log(1 + cmath.exp(x)),
}  # fmt: skip


@dataclass
class Evaluator:
    """What names mean: arrays of the program by name, sizes of axes, steps 1 to `steps`, equations.

    `arrays[name]` takes a step (none for what does not vary) and indices. Steps outside give what the
    program reads there.
    """

    look: Callable[[str, tuple[int, ...], tuple[int, ...]], Any]
    own: frozenset[str]
    sizes: Mapping[str, int]
    steps: int
    scan: str
    end: str
    edges: Mapping[str, str] = field(default_factory=dict)
    equations: Sequence[Equation] = ()
    known: dict[Any, Any] = field(default_factory=dict)

    def value(self, node: Node, scope: Scope) -> Any:
        """The value of a formula where axes and steps are bound."""
        if isinstance(node, Num):
            return node.value
        if isinstance(node, Shift):
            return self.place(node, scope)
        if isinstance(node, Name | Indexed):
            return self._named(node, scope)
        if isinstance(node, Prefix):
            inner = self.value(node.arg, scope)
            return -inner if node.op == "neg" else not inner
        if isinstance(node, Truth):
            return int(self.value(node.condition, scope))
        if isinstance(node, Power):
            return complex(self.value(node.base, scope)) ** self.value(node.exponent, scope)
        if isinstance(node, Big):
            return self._reduced(node, scope)
        if isinstance(node, Call) and node.fn == "size":
            (axis,) = node.args
            assert isinstance(axis, Shift)
            return self.sizes[axis.name]
        if isinstance(node, Call):
            return _CALLS[node.fn](*(self.value(a, scope) for a in node.args))
        if isinstance(node, Chain):
            places = [self.place(p, scope) for p in node.parts if isinstance(p, Shift)]
            return all(_COMPARE[s](a, b) for s, a, b in zip(node.signs, places, places[1:], strict=False))
        assert isinstance(node, Binary), node
        return self._binary(node, scope)

    def place(self, node: Shift, scope: Scope) -> int:
        """A step or an index as a number."""
        if node.name.isdigit():
            return int(node.name) + node.offset
        if node.name.startswith("-"):
            return int(node.name) + 1 + node.offset  # a step of the whole sequence, which are counted from 0
        return (self.steps if node.name == self.end else scope[node.name]) + node.offset

    def span(self, name: str) -> range:
        """What an axis or the scan axis runs over; axes that the derivations add are like those of the program."""
        return range(1, self.steps + 1) if name == self.scan else range(self.sizes[name.partition("'")[0]])

    def _binary(self, node: Binary, scope: Scope) -> Any:
        if node.op == "so":
            left, right = self.value(node.left, scope), self.value(node.right, scope)
            np.testing.assert_allclose(left, right, rtol=1e-12)
            return left
        if node.op == "div" and (ratio := self._ratio(node, scope)) is not None:
            return ratio
        if node.op == "mul":
            left = self.value(node.left, scope)
            return left * self.value(node.right, scope) if left != 0 else 0
        a, b = self.value(node.left, scope), self.value(node.right, scope)
        if node.op in _COMPARE:
            return _COMPARE[node.op](complex(a).real, complex(b).real)
        return {"add": lambda: a + b, "sub": lambda: a - b, "div": lambda: a / b, "and": lambda: a and b}[node.op]()

    def _ratio(self, node: Binary, scope: Scope) -> Any:
        """A ratio of two values of a letter by the equation that says what it stands for."""
        for equation in self.equations:
            left = equation.left
            if (
                not isinstance(left, Binary)
                or not isinstance(left.left, Indexed)
                or not isinstance(left.right, Indexed)
            ):
                continue
            above, below = node.left, node.right
            if isinstance(above, Indexed) and isinstance(below, Indexed) and above.base == below.base == left.left.base:
                pairs = [(a, b) for side in ((left.left, above), (left.right, below)) for a, b in _places(*side)]
                inner = {
                    a.name: self.place(b, scope) for a, b in pairs if isinstance(a, Shift) and isinstance(b, Shift)
                }
                return self.value(equation.right, inner)
        return None

    def _reduced(self, node: Big, scope: Scope) -> Any:
        values = [self.value(node.arg, inner) for inner in self._bound(node.below, scope)]
        if node.fn == "sum":
            return sum(values)
        if node.fn == "prod":
            return np.prod(values) if values else 1
        if node.fn == "mean":
            return sum(values) / len(values)
        if node.fn == "softmax":
            return np.exp(self.value(node.arg, scope)) / np.sum(np.exp(values))
        if node.fn == "logsumexp":
            return np.logaddexp.reduce([complex(v).real for v in values])
        return {"max": max, "min": min}[node.fn](complex(v).real for v in values)

    def _bound(self, below: Sequence[Node], scope: Scope) -> Iterator[Scope]:
        """Every way to bind what stands under a sum: axes, or the one step of a condition that is not bound yet."""
        if all(isinstance(b, Shift) for b in below):
            names = [b.name for b in below if isinstance(b, Shift)]
            for index in product(*map(self.span, names)):
                yield {**scope, **dict(zip(names, index, strict=True))}
            return
        (chain,) = below
        assert isinstance(chain, Chain)
        free = [p.name for p in chain.parts if isinstance(p, Shift) and not p.name.isdigit() and p.name != self.end]
        (name,) = [n for n in dict.fromkeys(free) if n not in scope]
        for step in range(1, self.steps + 1):
            inner = {**scope, name: step}
            if self.value(chain, inner):
                yield inner

    def _named(self, node: Name | Indexed, scope: Scope) -> Any:
        base, times, index = (node, (), ()) if isinstance(node, Name) else (node.base, node.times, node.index)
        steps = tuple(int(self.value(t, scope)) for t in times)
        places = tuple(int(complex(self.value(i, scope)).real) for i in index)
        if isinstance(base, Name) and base.text in self.own:
            return self.look(base.text, steps, places)
        key = (base, steps, places)
        if key not in self.known:
            self.known[key] = self._defined(base, steps, places)
        return self.known[key]

    def _defined(self, base: Node, steps: tuple[int, ...], places: tuple[int, ...]) -> Any:
        """The value of a letter by its last equation; zero where the equation's condition does not hold."""
        if steps and isinstance(base, Name) and base.text[0] in "∂λμ" and not -9 <= steps[0] <= self.steps:
            return 0
        for equation in reversed(self.equations):
            left = equation.left
            if left == base:
                return self.value(equation.right, {})
            if not isinstance(left, Indexed) or left.base != base:
                continue
            names = [s.name for s in (*left.times, *left.index) if isinstance(s, Shift)]
            scope = dict(zip(names, (*steps, *places), strict=True))
            for axis in set(scope) & set(self.edges):
                size = self.sizes[axis]
                if not 0 <= scope[axis] < size:
                    if self.edges[axis] != "wrap":
                        return 0
                    scope[axis] %= size
            if not isinstance(equation.side, str) and not self.value(equation.side, scope):
                return 0
            return self.value(equation.right, scope)
        raise LookupError(f"no equation for {base}")


def _places(first: Indexed, second: Indexed) -> Iterator[tuple[Node, Node]]:
    return zip((*first.times, *first.index), (*second.times, *second.index), strict=True)


__all__ = ["Evaluator"]
