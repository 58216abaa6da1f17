"""Random well-formed programs, as text.

A program has states that run from left to right, perhaps states that run from right to left and read
them, intermediates between, and outputs; expressions stay bounded, smooth almost everywhere, and use
lags, shifts with edges, second indices, gathers, reductions, integers and bools.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tests.fuzz.programs import Case

_AXES = ("n", "m", "d")  # m is a second index over n
_SIZES = {"n": 3, "d": 2}
_ALONG = {"n": "0.1 * x[t]", "m": "0.2 * x[t, m]", "d": "0.1 * z[t]"}  # something that has the axis
_UNARY = (
    "tanh({})", "sin({})", "sigmoid({})", "exp(-abs({}))", "softplus({}) / 2", "sqrt(1 + ({}) ** 2) - 1", "erf({})",
    "gelu({}) / 2", "silu({}) / 2", "cos({})", "log1p(({}) ** 2)", "relu({})", "clamp({}, -1, 1.5)", "-({})",
    "1 / (2 + sin({}))", "re(cis({}) / 2)", "im(conj(cis({})))",
)  # fmt: skip
_BINARY = ("{} + {}", "{} - ({})", "({}) * ({})", "min({}, {})", "max({}, {})", "logaddexp({}, {}) / 2")
_REDUCE = ("sum", "mean", "max", "min", "logsumexp", "norm", "prod")


@dataclass
class _Name:
    axes: tuple[str, ...]
    varies: bool = True
    back: bool = True  # may be read at steps before, and ahead, and now
    ahead: bool = True
    now: bool = True
    used: bool = False


@dataclass
class _Writer:
    rng: np.random.Generator
    names: dict[str, _Name] = field(default_factory=dict)
    depth: int = 0

    def pick(self, items: tuple[str, ...]) -> str:
        return items[int(self.rng.integers(len(items)))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def expr(self, axes: frozenset[str], depth: int) -> str:
        """An expression whose axes are among `axes`."""
        kind = self.rng.random()
        if depth <= 0 or kind < 0.2:
            return self.read(axes)
        if kind < 0.45:
            return self.pick(_UNARY).format(self.expr(axes, depth - 1))
        if kind < 0.7:
            return self.pick(_BINARY).format(self.expr(axes, depth - 1), self.expr(axes, depth - 1))
        if kind < 0.8:
            compare = self.pick((">", "<", ">=", "<="))
            test = f"{self.expr(axes, 0)} {compare} 0.1" if self.chance(0.6) else "flag[t]"
            self.names["flag"].used |= test == "flag[t]"
            return f"where({test}, {self.expr(axes, depth - 1)}, {self.expr(axes, depth - 1)})"
        free = tuple(a for a in _AXES if a not in axes)
        if free:
            axis = self.pick(free)
            return f"{self.pick(_REDUCE)}[{axis}](0.5 * ({self.expr(axes | {axis}, depth - 1)}) + {_ALONG[axis]})"
        axis = self.pick(_AXES)
        return f"softmax[{axis}]({self.expr(axes, depth - 1)} + {_ALONG[axis]})"

    def read(self, axes: frozenset[str]) -> str:
        """A name, read somewhere, or a number."""
        fits = [name for name, n in self.names.items() if name not in ("flag", "k") and self.indices(n, axes)]
        if not fits or self.chance(0.1):
            return self.pick(("0.7", "-0.3", "t / (t + 1)", "2"))
        name = self.pick(tuple(fits))
        found = self.names[name]
        found.used = True
        items = self.pick(tuple(self.indices(found, axes)))
        self.names["k"].used |= "k[t]" in items
        if not found.varies:
            return f"{name}[{items}]" if items else name
        lags = ["t"] * 3 * found.now + ["t-1", "t-2"] * found.back + ["t+1", "t+3"] * found.ahead
        time = self.pick(tuple(lags))
        return f"{name}[{time}, {items}]" if items else f"{name}[{time}]"

    def indices(self, found: _Name, axes: frozenset[str]) -> list[str]:
        """Ways to write the indices of a name within some axes."""
        if not found.axes:
            return [""]
        ways = []
        for _ in range(4):
            items = []
            for axis in found.axes:
                kin = [a for a in axes if _root(a) == _root(axis)]
                choices = [a + self.pick(("", "", "+1", "-2")) for a in sorted(kin)] + ["1"]
                if _root(axis) == "n":
                    choices.append("k[t]")
                items.append(self.pick(tuple(choices)))
            ways.append(", ".join(items))
        return ways


def _root(axis: str) -> str:
    return "n" if axis == "m" else axis


def random_program(seed: int) -> Case:
    """The program of a seed."""
    rng = np.random.default_rng(seed)
    w = _Writer(rng)
    edges = [w.pick(("", " zero", " wrap", " clamp")) for _ in range(2)]
    lines = [f"recurrence random(n{edges[0]}, m = n, d{edges[1]})"]
    lines += ["    input x[n], u, z[d], k int(n), flag bool", "    param A[n, m], p[n, d], g in [0, 0.8]"]
    w.names |= {"x": _Name(("n",)), "u": _Name(()), "z": _Name(("d",)), "k": _Name(()), "flag": _Name(())}
    w.names |= {
        "A": _Name(("n", "m"), varies=False),
        "p": _Name(("n", "d"), varies=False),
        "g": _Name((), varies=False),
    }
    body: list[str] = []
    for letter, left in (("l", True), ("r", False))[: 1 + w.chance(0.5)]:
        own = [f"{letter}{i}" for i in range(1 + w.chance(0.4))]
        states = {name: tuple(a for a in ("n", "d") if w.chance(0.6)) for name in own}
        w.names |= {name: _Name(axes, now=False, back=left, ahead=not left) for name, axes in states.items()}
        for name, axes in states.items():
            shown = f"[{', '.join(axes)}]" if axes else ""
            initial = w.pick(("", " = 0.5", " = g", " = 2 * g"))
            w.names["g"].used |= "g" in initial
            lines.append(f"    state {name}{shown}{initial}")
            if w.chance(0.4):
                local = f"c{len(body)}"
                body.append(f"    {local}[t] = {w.expr(frozenset(axes), 2)}")
                w.names[local] = _Name(axes, back=False, ahead=False)
                body[-1] = _indexed(body[-1], local, axes)
            lag = "t-1" if left else "t+1"
            keep = w.pick(("g * ", "0.5 * ", "exp(-abs(u[t])) * ", "")) if w.chance(0.7) else "0 * "
            w.names["g"].used |= keep.startswith("g")
            w.names["u"].used |= "u[t]" in keep
            drive = w.expr(frozenset(axes), 3)
            value = f"{keep}{name}[{lag}] + tanh({drive})" if keep else f"sin({name}[{lag}] + {drive})"
            body.append(f"    {name}[t] = {value}")
            w.names[name].now = True
        for name, found in w.names.items():
            if found.varies and name not in ("x", "u", "z", "k", "flag"):
                found.back = found.ahead = found.now = True
    body.append(f"    output y[t, n] = {w.expr(frozenset('n'), 3)} + 0 * x[t]")
    rest = [n for n, found in w.names.items() if not found.used]
    terms = [_total(name, w.names[name]) for name in dict.fromkeys([*rest, *(n for n in w.names if n[0] in "lr")])]
    body.append(f"    output rest[t] = {' + '.join(['0', *terms])}")
    return Case(f"seed{seed}", "\n".join([*lines, *body, ""]), _SIZES)


def _indexed(line: str, name: str, axes: tuple[str, ...]) -> str:
    """Write the axes of an intermediate out and spread it over all of them."""
    if not axes:
        return line
    ones = " * ".join(f"(0 * {'x[t]' if a == 'n' else 'z[t]'} + 1)" for a in axes)
    head, expr = line.split(" = ", 1)
    return f"{head.replace('[t]', '[t, ' + ', '.join(axes) + ']', 1)} = ({expr}) * {ones}"


def _total(name: str, found: _Name) -> str:
    value = f"{name}[t]" if found.varies else name
    return f"sum[{', '.join(found.axes)}]({value})" if found.axes else value


__all__ = ["random_program"]
