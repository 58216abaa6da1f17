"""Random Blocks against the same program run by torch while it is built.

Torch sees the program as it is drawn, before the Builder merges, folds or reorders anything, so that
this holds the Builder to its laws as well as the interpreter and the VJP.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from recc.forms.block import Value
from recc.forms.builder import Builder
from recc.forms.interpret import interpret
from recc.forms.verify import verify
from recc.forms.vjp import vjp
from tests.forms.laws import AXES, SIZES, close
from tests.forms.torch_blocks import FUNCTIONS, SUMS

DIMS = list(AXES)
SIZE = {a: SIZES[root] for a, root in AXES.items()}
UNARY = ["neg", "sin", "cos", "tanh", "sigmoid", "softplus", "abs", "log_sigmoid", "erf"]
BINARY = ["add", "sub", "mul", "max", "min", "logaddexp"]


class Program:
    """A Block being built, with for each value a tensor over all axes (size 1 along those it lacks)."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.b = Builder(f"random_{seed}", dict(AXES))
        self.values: list[tuple[Value, Tensor]] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.leaves: dict[str, Tensor] = {}
        for name in "uvwxyz":
            axes = [a for a in DIMS if self.rng.random() < 0.4][:3]
            v = self.b.input(name, axes)
            # Multiples of 1/8: sums are exact, so that ties are ties whatever the order of a sum.
            self.arrays[name] = np.round(self.rng.normal(size=[SIZE[a] for a in v.axes]) * 8) / 8
            leaf = torch.tensor(self.arrays[name], requires_grad=True)
            self.leaves[name] = leaf
            self.values.append((v, leaf.reshape([SIZE[a] if a in v.axes else 1 for a in DIMS])))
        self.index = self.b.input("i", ("k",), "int")
        self.arrays["i"] = self.rng.integers(-2, 7, SIZE["k"])

    def some(self, items: Any) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def axis(self, v: Value) -> str | None:
        return self.some(v.axes) if v.axes else None

    def grow(self) -> None:
        """One more value, by an operation drawn at random."""
        kind = self.some(["unary", "binary", "binary", "constant", "contract", "contract", "where", *LATER])
        v, x = self.some(self.values[-8:])
        made = getattr(self, kind)(v, x)
        if made is None:
            return
        value, tensor = made
        assert value.axes == tuple(a for a in DIMS if a in value.axes)
        if tensor.abs().max() > 20:
            value, tensor = self.b.map("tanh", value), tensor.tanh()
        self.values.append((value, tensor))

    def unary(self, v: Value, x: Tensor) -> tuple[Value, Tensor]:
        fn = self.some(UNARY)
        return self.b.map(fn, v), FUNCTIONS[fn](x)

    def binary(self, v: Value, x: Tensor) -> tuple[Value, Tensor]:
        fn, (w, y) = self.some(BINARY), self.some(self.values)
        return self.b.map(fn, v, w), FUNCTIONS[fn](x, y)

    def constant(self, v: Value, x: Tensor) -> tuple[Value, Tensor]:
        fn, number = self.some(["add", "sub", "mul", "max"]), self.some([0.0, 1.0, -1.0, 0.5])
        axes = [a for a in DIMS if self.rng.random() < 0.2]
        shape = [SIZE[a] if a in axes else 1 for a in DIMS]
        pair = [(self.b.constant(number, axes), torch.full(shape, number, dtype=torch.float64)), (v, x)]
        (v, x), (w, y) = pair if self.rng.random() < 0.5 else pair[::-1]
        return self.b.map(fn, v, w), FUNCTIONS[fn](x, y)

    def where(self, v: Value, x: Tensor) -> tuple[Value, Tensor]:
        (w, y), (u, z) = self.some(self.values), self.some(self.values)
        return self.b.map("where", self.b.map("gt", u, w), v, w), torch.where(z > y, x, y)

    def contract(self, v: Value, x: Tensor) -> tuple[Value, Tensor]:
        pairs = [(v, x), *(self.some(self.values) for _ in range(int(self.rng.integers(3))))]
        over = [a for a in {a for w, _ in pairs for a in w.axes} if self.rng.random() < 0.5]
        product = torch.ones([SIZE[a] if a in over else 1 for a in DIMS], dtype=torch.float64)
        for _, y in pairs:
            product = product * y
        dims = [DIMS.index(a) for a in over]
        total = product.sum(dims, keepdim=True) if dims else product
        return self.b.contract([w for w, _ in pairs], over), total

    def reduce(self, v: Value, x: Tensor) -> tuple[Value, Tensor] | None:
        a = self.axis(v)
        if a is None:
            return None
        d, fn = DIMS.index(a), self.some(["max", "min", "prod"])
        y = x.prod(d, keepdim=True) if fn == "prod" else getattr(x, f"a{fn}")(d, keepdim=True)
        return self.b.reduce(fn, v, (a,)), y

    def cumulate(self, v: Value, x: Tensor) -> tuple[Value, Tensor] | None:
        a = self.axis(v)
        if a is None:
            return None
        d, fn, every = DIMS.index(a), self.some(["sum", "prod"]), self.some([0, 2])
        parts = x.split(every or 99, d)
        whole = torch.cat([getattr(part.flip(d), f"cum{fn}")(d).flip(d) for part in parts], d)
        return self.b.cumulate(fn, v, a, reverse=True, every=every), whole

    def scan(self, v: Value, x: Tensor) -> tuple[Value, Tensor] | None:
        """Two components, elementwise; the second is what the first was one step before, plus a drive."""
        a = self.axis(v)
        (u, y), (w, z) = self.some(self.values), self.some(self.values)
        if a is None or a in w.axes:
            return None
        d, algebra, reverse = DIMS.index(a), self.some(["ring", "max-plus", "log-sum-exp"]), self.rng.random() < 0.5
        keep = self.b.constant(1.0 if algebra == "ring" else 0.0)
        made = self.b.scan({(0, 0): v, (0, 1): u, (1, 0): keep}, [u, v], [w, w], a, algebra, reverse=reverse)
        times = torch.mul if algebra == "ring" else torch.add
        one, other, found = z, z, []
        for i in range(SIZE[a])[:: -1 if reverse else 1]:
            at, by = x.narrow(d, i, 1), y.narrow(d, i if a in u.axes else 0, 1)
            one, other = total(algebra, times(at, one), times(by, other), by), total(algebra, one, at)
            found.append(one)
        return made[0], torch.cat(torch.broadcast_tensors(*(found[::-1] if reverse else found)), d)

    def convolve(self, v: Value, x: Tensor) -> tuple[Value, Tensor] | None:
        a = self.axis(v)
        if a is None:
            return None
        (u, y), d, reverse = self.some(self.values), DIMS.index(a), self.rng.random() < 0.5
        over = [i for i in v.axes if i != a and self.rng.random() < 0.3]
        y = y.expand([SIZE[i] if i == a else n for i, n in zip(DIMS, y.shape, strict=True)])
        parts = []
        for i in range(SIZE[a]):
            js = range(i, SIZE[a]) if reverse else range(i + 1)
            parts.append(sum(x.narrow(d, abs(i - j), 1) * y.narrow(d, j, 1) for j in js))
        whole = torch.cat(parts, d)
        whole = whole.sum([DIMS.index(i) for i in over], keepdim=True) if over else whole
        return self.b.convolve(v, u, a, over, reverse), whole

    def causal(self, v: Value, x: Tensor) -> tuple[Value, Tensor]:
        t, s = DIMS.index("t"), DIMS.index("s")
        keep = torch.ones(4, 4).tril(-1).reshape([4 if a in "ts" else 1 for a in DIMS])
        assert t < s
        return self.b.mask(v, "t", "s", strict=True), x * keep

    def segment(self, v: Value, x: Tensor) -> tuple[Value, Tensor] | None:
        if "t" not in v.axes or "s" in v.axes:
            return None
        t, s = DIMS.index("t"), DIMS.index("s")
        row, col, r = torch.arange(4)[:, None, None], torch.arange(4)[None, :, None], torch.arange(4)[None, None, :]
        inside = (col < r) & (r <= row)
        stretch = torch.where(inside, x.movedim(t, -1).squeeze(s - 1)[..., None, None, :], 1.0).prod(-1)
        stretch = torch.where((row >= col)[..., 0], stretch, 0.0)
        return self.b.segment(v, "t", "s"), stretch.movedim((-2, -1), (t, s))

    def rename(self, v: Value, x: Tensor) -> tuple[Value, Tensor]:
        one, other = self.some(["ts", "nm"])
        names = {one: other, other: one}
        return self.b.rename(v, names), x.transpose(DIMS.index(one), DIMS.index(other))

    def shift(self, v: Value, x: Tensor) -> tuple[Value, Tensor] | None:
        a = self.axis(v)
        if a is None:
            return None
        d, offset = DIMS.index(a), self.some([-2, -1, 1])
        return self.b.shift(v, a, offset, "wrap"), x.roll(-offset, d)

    def gather(self, v: Value, x: Tensor) -> tuple[Value, Tensor] | None:
        a = self.axis(v)
        if a is None or "k" in v.axes:
            return None
        index = torch.as_tensor(self.arrays["i"]).clamp(0, SIZE[a] - 1)
        return self.b.gather(v, a, self.index, "clamp"), x.index_select(DIMS.index(a), index).transpose(
            DIMS.index(a), DIMS.index("k")
        )

    def solve(self, v: Value, x: Tensor) -> tuple[Value, Tensor] | None:
        w, y = self.some(self.values)
        if "s" in w.axes or "t" not in w.axes:
            return None
        t, s = DIMS.index("t"), DIMS.index("s")
        shape = [4 if a in "ts" else n for a, n in zip(DIMS, x.shape, strict=True)]
        a = x.expand(shape).movedim((t, s), (-2, -1)).tanh()
        lower = a.tril(-1) + torch.eye(4, dtype=torch.float64)
        right = y.movedim((t, s), (-2, -1))
        solved = torch.linalg.solve(
            lower, right.expand(*torch.broadcast_shapes(lower.shape[:-2], right.shape[:-2]), 4, 1)
        )
        return self.b.matrix("solve_unit_lower", (self.b.map("tanh", v), w), "t", "s"), solved.movedim((-2, -1), (t, s))


def total(algebra: str, *terms: Tensor) -> Tensor:
    """The sum of an algebra, ties shared evenly."""
    return SUMS[algebra](torch.stack(torch.broadcast_tensors(*terms), -1))


LATER = ["reduce", "cumulate", "scan", "convolve", "causal", "segment", "rename", "shift", "gather", "solve"]


@pytest.mark.parametrize("seed", range(120))
def test_random_programs(seed: int) -> None:
    program = Program(seed)
    for _ in range(int(program.rng.integers(3, 16))):
        program.grow()
    chosen = [program.values[-1], program.some(program.values)]
    for n, (v, _) in zip("pq", chosen, strict=True):
        program.b.output(n, v)
    block = program.b.build()
    verify(block)
    tensors = {n: x.reshape([SIZE[a] for a in v.axes]) for n, (v, x) in zip("pq", chosen, strict=True)}
    close(
        interpret(block, program.arrays, SIZES), {n: x.detach().numpy() for n, x in tensors.items()}, 1e-11, "forward"
    )
    seeds = {n: program.rng.normal(size=x.shape) for n, x in tensors.items()}
    backward = vjp(block, list(program.leaves), ["p", "q"])
    verify(backward)
    found = interpret(backward, {**program.arrays, **{f"d {n}": g for n, g in seeds.items()}}, SIZES)
    flowing = [n for n in tensors if tensors[n].requires_grad]
    leaves = list(program.leaves.values())
    grads = torch.autograd.grad(
        [tensors[n] for n in flowing], leaves, [torch.as_tensor(seeds[n]) for n in flowing], allow_unused=True
    )
    expected = {
        f"d {n}": np.zeros(leaf.shape) if g is None else g.numpy()
        for (n, leaf), g in zip(program.leaves.items(), grads, strict=True)
    }
    close(found, expected, 1e-9, "VJP")
