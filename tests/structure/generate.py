"""Random programs whose states are updated by affine maps, as text, written as wildly as the language allows.

The states are contracted by a small factor, so that values stay bounded. Intermediates of the stage are
read along other axes, shifted, gathered and masked; sums run over axes that their operands may lack.
"""

from __future__ import annotations

import numpy as np

_AXES = ("n", "m", "l", "x", "d")  # m and l are second and third indices over n
_EDGES = ("", " zero", " wrap", " clamp")
_FREE: dict[str, tuple[str, ...]] = {
    "p[n, m]": ("n", "m"), "p[m, n]": ("n", "m"), "p[n, l]": ("n", "l"), "p[l, m]": ("l", "m"), "u[t]": ("n",),
    "u[t, m]": ("m",), "u[t, l]": ("l",), "w[t]": ("x",), "w[t-1, x+1]": ("x",), "e[t]": ("d",), "s[t]": (),
    "c": ("d",), "exp(-s[t] * s[t])": (), "sum[m](p)": ("n",), "softmax[n](u[t])": ("n",), "u[t, k[t]]": (), "0.5": (),
    "where(flag[t], u[t], 1)": ("n",), "sum[n](p * u[t])": ("m",), "(1 - e[t])": ("d",),
}  # fmt: skip


class Writer:
    """Writes one program."""

    def __init__(self, seed: int, algebra: str = "ring"):
        self.rng = np.random.default_rng(seed)
        self.algebra = algebra
        self.states: dict[str, tuple[str, ...]] = {}
        self.locals: dict[str, tuple[str, ...]] = {}

    def pick(self, items: tuple[str, ...] | list[str]) -> str:
        return items[int(self.rng.integers(len(items)))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def coefficient(self, axes: frozenset[str]) -> str:
        fits = [text for text, own in _FREE.items() if set(own) <= axes]
        return self.pick(fits)

    def indices(self, own: tuple[str, ...], axes: frozenset[str]) -> str | None:
        """Some way to read along the axes at hand."""
        found = []
        for axis in own:
            same = [a for a in (("n", "m", "l") if axis in ("n", "m", "l") else (axis,)) if a in axes]
            if axis in ("n", "m", "l") and self.chance(0.12):
                found.append("k[t]")
            elif not same:
                if axis in ("n", "m", "l"):
                    found.append("k[t]")
                else:
                    return None
            else:
                shift = self.pick(["", "", "", "+1", "-1"]) if self.chance(0.4) else ""
                found.append(self.pick(same) + shift)
        return "".join(f", {i}" for i in found)

    def read(self, axes: frozenset[str]) -> str | None:
        if self.locals and self.chance(0.5):
            name = self.pick(list(self.locals))
            index = self.indices(self.locals[name], axes)
            return None if index is None else f"{name}[t{index}]"
        name = self.pick(list(self.states))
        index = self.indices(self.states[name], axes)
        lag = self.pick(["t-1", "t-1", "t-2"])
        return None if index is None else f"{name}[{lag}{index}]"

    def linear(self, axes: frozenset[str], depth: int) -> str:
        """Something affine in the states whose axes are among those given."""
        kind = self.rng.random()
        if depth <= 0 or kind < 0.15:
            return self.read(axes) or self.coefficient(axes)
        inner = depth - 1
        if kind < 0.35:
            sign = self.pick(["+", "-"])
            return f"({self.linear(axes, inner)} {sign} {self.linear(axes, inner)})"
        if kind < 0.6:
            pair = [self.coefficient(axes), self.linear(axes, inner)]
            return f"({pair[0]} * {pair[1]})" if self.chance(0.5) else f"({pair[1]} * {pair[0]})"
        free = [a for a in _AXES if a not in axes]
        if kind < 0.8 and free:
            axis = self.pick(free)
            fn = self.pick(["sum", "sum", "mean"])
            along = {"n": "u[t]", "m": "u[t, m]", "l": "u[t, l]", "x": "w[t]", "d": "e[t]"}[axis]
            return f"{fn}[{axis}](0.3 * {self.linear(axes | {axis}, inner)} + {along})"
        if kind < 0.88:
            return f"where(flag[t], {self.linear(axes, inner)}, {self.linear(axes, inner)})"
        if kind < 0.92 and {"n", "m"} <= axes | {"m"} and "m" not in axes and "n" in axes:
            return f"solve[n, m](3 * eye + 0.1 * p, {self.linear(axes - {'m'}, inner)} + u[t])"
        if kind < 0.96:
            return f"({self.linear(axes, inner)} / (2 + s[t] * s[t]))"
        return f"-{self.linear(axes, inner)}"

    def update(self, text: str, name: str) -> str:
        """The right-hand side of a state."""
        return f"0.1 * ({text}) + 0.2 * {name}[t-1]"

    def joined(self, text: str, ones: str) -> str:
        """The right-hand side of an intermediate; `ones` has all of its axes and no state."""
        return f"{text} + {ones}"

    def program(self) -> str:
        edges = {a: self.pick(_EDGES) for a in ("n", "x")}
        shared = edges["n"] if self.chance(0.6) else ""
        header = f"n{edges['n']}, m = n{shared or self.pick(_EDGES)}, l = n, x{edges['x']}, d"
        for k in range(int(self.rng.integers(1, 4))):
            shape = self.pick(["n", "n, d", "x", "n, x", "n, m", ""])
            self.states[f"h{k}"] = tuple(a.strip() for a in shape.split(",") if a.strip())
        equations = []
        for k in range(int(self.rng.integers(0, 4))):
            axes = [("n",), ("n", "m"), ("x",), ("n", "x"), ()][int(self.rng.integers(5))]
            text = self.linear(frozenset(axes), 3)
            name = f"v{k}"
            inside = "".join(f", {a}" for a in axes)
            ones = {"n": "u[t]", "m": "u[t, m]", "x": "w[t]"}
            ones_text = " + ".join(ones[a] for a in axes) or "s[t]"
            equations.append(f"{name}[t{inside}] = {self.joined(text, ones_text)}")
            self.locals[name] = axes
        for name, axes in self.states.items():
            text = self.linear(frozenset(axes), 4)
            equations.append(f"{name}[t] = {self.update(text, name)}")
        declared = ", ".join(f"{n}[{', '.join(a)}]" if a else n for n, a in self.states.items())
        outputs = [f"output y_{n}[t] = {n}[t]" for n in self.states]
        outputs += [f"output y_{n}[t] = {n}[t]" for n in self.locals]
        sums = "sum[n](u[t]) + sum[l](u[t, l]) + sum[m](u[t, m]) + sum[x](w[t]) + sum[d](e[t] * c) + sum[n, m](p * eye)"
        outputs.append(f"output unused[t] = {sums} + s[t] + u[t, k[t]] + where(flag[t], 1, 0)")
        return "\n".join([
            f"recurrence random({header})",
            "    input u[n], w[x], e[d], s, k int(n), flag bool",
            "    param p[n, m], c[d], eye[n, m]",
            f"    state {declared}",
            *(f"    {e}" for e in [*equations, *outputs]),
        ])  # fmt: skip


class SemiringWriter(Writer):
    """The same over a semiring whose product is +. `self.algebra` is its sum: `max`, `min` or `logaddexp`."""

    def linear(self, axes: frozenset[str], depth: int) -> str:
        kind = self.rng.random()
        reduction = "logsumexp" if self.algebra == "logaddexp" else self.algebra
        if depth <= 0 or kind < 0.2:
            return self.read(axes) or self.coefficient(axes)
        inner = depth - 1
        if kind < 0.45:
            return f"{self.algebra}({self.linear(axes, inner)}, {self.linear(axes, inner)})"
        if kind < 0.65:
            pair = [self.coefficient(axes), self.linear(axes, inner)]
            return f"({pair[0]} + {pair[1]})" if self.chance(0.5) else f"({pair[1]} - {pair[0]})"
        free = [a for a in _AXES if a not in axes]
        if kind < 0.9 and free:
            axis = self.pick(free)
            along = {"n": "u[t]", "m": "u[t, m]", "l": "u[t, l]", "x": "w[t]", "d": "e[t]"}[axis]
            return f"{reduction}[{axis}](0.3 * {along} + {self.linear(axes | {axis}, inner)})"
        if self.algebra == "logaddexp" and self.chance(0.5):
            return f"log(exp({self.linear(axes, inner)}) + 0.5 * exp({self.linear(axes, inner)}))"
        return f"where(flag[t], {self.linear(axes, inner)}, {self.linear(axes, inner)})"

    def update(self, text: str, name: str) -> str:
        return f"{self.algebra}({text} - 1, {name}[t-1])"


def affine_program(seed: int) -> str:
    """A random program with affine updates."""
    return Writer(seed).program()


def semiring_program(seed: int, algebra: str) -> str:
    """A random program whose updates are affine over a semiring, by the name of its sum."""
    return SemiringWriter(seed, algebra).program()
