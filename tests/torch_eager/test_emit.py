"""Every operation as emitted torch code against the interpreter, and its gradients against the VJP."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recc.backends.torch_eager import ops
from recc.backends.torch_eager.emit import emit_block
from recc.forms.block import Value
from recc.forms.builder import Builder
from tests.forms.laws import SIZES, build
from tests.forms.test_random_programs import Program
from tests.forms.test_vjp_maps import AXES_2, POSITIVE_1, SMOOTH_1, SMOOTH_2, positive
from tests.forms.test_vjp_ops import SMOOTH, well
from tests.torch_eager.emit_laws import LEADS, check_emitted


@pytest.mark.parametrize("name", SMOOTH)
def test_operations(name: str) -> None:
    for number, lead in enumerate(LEADS):
        check_emitted(build(SMOOTH[name]), lead=lead, seed=number)


@pytest.mark.parametrize("name", SMOOTH)
def test_operations_after_and_before_others(name: str) -> None:
    def make(b: Builder) -> Value:
        y = SMOOTH[name](b)
        total = b.contract((b.map("sin", y),), y.axes)
        return b.map("mul", total, total)

    check_emitted(build(make))


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("size", [0, 1])
def test_sizes_zero_and_one(name: str, size: int) -> None:
    for axis in ("t", "n"):
        check_emitted(build(SMOOTH[name]), sizes={**SIZES, axis: size})


@pytest.mark.parametrize("fn", SMOOTH_1 + POSITIVE_1)
def test_one_argument(fn: str) -> None:
    block = build(lambda b: b.map(fn, b.input("x", ("t", "n"))))
    clip = {"x": lambda x: np.clip(x, -0.9, None)} if fn == "log1p" else {}
    check_emitted(block, {"x": positive} if fn in POSITIVE_1 else clip)


@pytest.mark.parametrize("axes", AXES_2, ids=str)
@pytest.mark.parametrize("fn", [*SMOOTH_2, "div", "pow"])
def test_two_arguments_broadcast(fn: str, axes: tuple[str, str]) -> None:
    block = build(lambda b: b.map(fn, b.input("x", axes[0]), b.input("p", axes[1])))
    check_emitted(block, {"x": positive, "p": positive} if fn in ("div", "pow") else {}, lead=(3, 2))


@pytest.mark.parametrize("fn", ["sigmoid", "log_sigmoid", "softplus", "tanh", "logaddexp", "expm1", "log1p", "erf"])
def test_arguments_of_any_size(fn: str) -> None:
    x = np.array([-800.0, -60.0, -1e-9, 1e-9, 25.0, 49.0, 60.0, 800.0])
    if fn == "log1p":
        x = np.abs(x)
    if fn == "expm1":
        x = np.minimum(x, 60.0)

    def make(b: Builder) -> Value:
        args = [b.input("x", ("t",)), b.input("p", ())][: 2 if fn == "logaddexp" else 1]
        return b.map(fn, *args)

    check_emitted(build(make), {"x": x, "p": 0.0}, {"t": 8, "b": 1, "n": 1, "k": 1}, tolerance=1e-13)


@pytest.mark.parametrize("number", [0.0, 1.0, -1.0, 0.5, 2.0, np.inf, -np.inf])
@pytest.mark.parametrize("fn", ["add", "sub", "mul", "div", "pow", "max", "min", "gt", "le", "logaddexp"])
def test_numbers(fn: str, number: float) -> None:
    """A constant stands on either side, alone or over an axis that the other lacks."""
    if (abs(number) == np.inf and fn in ("mul", "pow", "div")) or (fn == "div" and number == 0):
        return

    def make(b: Builder) -> dict[str, Value]:
        x, c = b.input("x", ("t",)), b.constant(number)
        y, z = b.map(fn, x, c), b.map(fn, x, b.constant(number, ("n",)))
        found = {"y": y, "z": z}
        if not (fn == "pow" and number <= 0):
            found["w"] = b.map(fn, c, x)
        return found

    check_emitted(build(make), {"x": positive})


@pytest.mark.parametrize("fn", ["max", "min"])
def test_ties_are_shared(fn: str) -> None:
    block = build(lambda b: b.map(fn, b.input("x", ("t",)), b.input("p", ())))
    check_emitted(block, {"x": [0.5, 1.0, 1.0, 2.0], "p": 1.0})
    block = build(lambda b: b.map(fn, b.input("x", ("t",)), b.constant(1.0)))
    check_emitted(block, {"x": [0.5, 1.0, 1.0, 2.0]})
    reduced: Any = fn
    block = build(lambda b: b.reduce(reduced, b.input("x", ("t",)), ("t",)))
    check_emitted(block, {"x": [1.0, 1.0, 0.5, 1.0]})


@pytest.mark.parametrize("exponent", [-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 2.5])
def test_powers_by_a_constant(exponent: float) -> None:
    block = build(lambda b: b.map("pow", b.input("x", ("t",)), b.constant(exponent)))
    check_emitted(block, {"x": positive})
    if exponent in (0.0, 1.0, 2.0, 3.0):
        check_emitted(block, {"x": [-2.0, 0.0, 1.0, -0.5]})


def test_powers_at_zero_and_below() -> None:
    block = build(lambda b: b.map("pow", b.input("x", ("t",)), b.input("p", ("t",))))
    check_emitted(block, {"x": [0.0, 0.0, 0.0, 2.0], "p": [0.0, 1.0, 2.0, 0.0]})
    check_emitted(block, {"x": [-2.0, -1.5, -0.5, 0.0], "p": [2.0, 3.0, 1.0, 4.0]})
    block = build(lambda b: b.map("pow", b.constant(-2.0), b.input("p", ("t",))))
    check_emitted(block, {"p": [2.0, 3.0, 1.0, 0.0]})


def test_integers_and_conditions() -> None:
    def make(b: Builder) -> dict[str, Value]:
        i, j, x, c = b.input("i", ("t",), "int"), b.iota("n"), b.input("x", ("t",)), b.input("c", ("t",), "bool")
        return {
            "sum": b.map("add", i, j),
            "twice": b.map("mul", i, b.constant(2.0, dtype="int")),
            "least": b.map("min", i, b.constant(1.0, dtype="int")),
            "mixed": b.map("mul", i, x),
            "half": b.map("div", i, b.constant(2.0, dtype="int")),
            "exp": b.map("exp", b.map("real", i)),
            "below": b.map("lt", i, x),
            "both": b.map("and", c, b.map("not", b.map("eq", i, j))),
            "either": b.map("or", c, b.map("ge", x, b.constant(0.0))),
            "chosen": b.map("where", c, i, x),
            "ones": b.map("where", c, b.constant(1.0), b.constant(0.0)),
            "real": b.map("real", c),
            "int": b.map("int", b.map("mul", x, b.constant(3.0))),
            "power": b.map("pow", x, b.map("abs", i)),
            "spread": b.spread(i, ("k",)),
        }

    for lead in LEADS:
        check_emitted(build(make), lead=lead)


@pytest.mark.parametrize("axes", [("t", "n"), ("t",), ("n",), ()], ids=str)
def test_where(axes: tuple[str, ...]) -> None:
    block = build(lambda b: b.map("where", b.input("c", axes, "bool"), b.input("x", ("t",)), b.input("p", ("t", "n"))))
    check_emitted(block, lead=(3, 2))


def test_where_keeps_gradients_finite() -> None:
    def make(b: Builder) -> Value:
        x = b.input("x", ("t",))
        inside = b.map("gt", x, b.constant(0.0))
        return b.map("where", inside, b.map("log", b.map("where", inside, x, b.constant(1.0))), b.constant(0.0))

    check_emitted(build(make), {"x": [-1.0, 0.0, 2.0, 3.0]})


def test_logaddexp_of_nothing() -> None:
    block = build(lambda b: b.map("exp", b.map("logaddexp", b.input("x", ("t",)), b.input("p", ("t",)))))
    inf = np.inf
    check_emitted(block, {"x": [-inf, -inf, 1.0, 0.5], "p": [-inf, 2.0, -inf, 0.5]})


def test_surrogate_and_stop() -> None:
    def make(b: Builder) -> dict[str, Value]:
        x, p = b.input("x", ("t",)), b.input("p", ("t",))
        spike = b.map("real", b.map("gt", x, b.constant(0.0)))
        return {"y": b.map("surrogate", spike, b.map("tanh", x)), "z": b.map("mul", b.map("stop", x), p)}

    check_emitted(build(make), tolerance=1e-15)


MATRICES = [("n", "m"), ("m", "n")]


@pytest.mark.parametrize("pair", MATRICES, ids=str)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("right", [("n",), ("b", "n"), ("n", "k"), ("t", "n", "k")], ids=str)
@pytest.mark.parametrize("fn", ["solve", "solve_unit_lower"])
def test_solves(fn: str, pair: tuple[str, str], transposed: bool, right: tuple[str, ...]) -> None:
    rows, cols = pair

    def make(b: Builder) -> Value:
        axes = tuple(rows if a == "n" else a for a in right)
        args = (b.input("x", ("b", "n", "m")), b.input("p", axes))
        return b.matrix(fn, args, rows, cols, transposed=transposed)

    for number, lead in enumerate(LEADS):
        check_emitted(build(make), {"x": well}, lead=lead, seed=number, tolerance=1e-10)


@pytest.mark.parametrize("pair", MATRICES, ids=str)
def test_functions_of_matrices(pair: tuple[str, str]) -> None:
    block = build(lambda b: b.matrix("inv", (b.input("x", ("t", "n", "m")),), *pair))
    check_emitted(block, {"x": well})
    block = build(lambda b: b.matrix("expm_vjp", (b.input("x", ("n", "m")), b.input("p", ("b", "n", "m"))), *pair))
    check_emitted(block, lead=(3, 2), gradients=False)


@pytest.mark.parametrize("edge", ["zero", "wrap", "clamp"])
@pytest.mark.parametrize("index", [("t",), ("n",), ("b", "n"), ("k",), ("t", "n"), ()], ids=str)
@pytest.mark.parametrize("table", [("n",), ("t", "n"), ("b", "n", "k"), ("b", "t", "n", "k")], ids=str)
def test_gathers(edge: Any, index: tuple[str, ...], table: tuple[str, ...]) -> None:
    block = build(lambda b: b.gather(b.input("x", table), "n", b.input("i", index, "int"), edge))
    for number, lead in enumerate(LEADS):
        check_emitted(block, lead=lead, seed=number)


@pytest.mark.parametrize("edge", ["zero", "wrap", "clamp"])
@pytest.mark.parametrize("place", [-5, -1, 0, 2, 3])
def test_elements(edge: Any, place: int) -> None:
    def make(b: Builder) -> Value:
        return b.gather(b.input("x", ("t", "n", "k")), "n", b.constant(place, dtype="int"), edge)

    for size in (0, 1, 3):
        check_emitted(build(make), sizes={**SIZES, "n": size})


@pytest.mark.parametrize("edge", ["zero", "wrap", "clamp"])
@pytest.mark.parametrize("index", [("t",), ("t", "k"), ("b", "t"), ()], ids=str)
@pytest.mark.parametrize("out", [("n",), ("t", "n"), ("b", "n"), ("b", "t", "n", "k")], ids=str)
def test_scatters(edge: Any, index: tuple[str, ...], out: tuple[str, ...]) -> None:
    def make(b: Builder) -> Value:
        return b.scatter(b.input("x", ("b", "t", "k")), "n", b.input("i", index, "int"), edge, out)

    for number, lead in enumerate(LEADS):
        check_emitted(build(make), lead=lead, seed=number)


@pytest.mark.parametrize("every", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("fn", ["sum", "prod"])
def test_running_in_stretches(fn: Any, every: int) -> None:
    for reverse in (False, True):
        for exclusive in (False, True):
            block = build(lambda b, r=reverse, e=exclusive: b.cumulate(fn, b.input("x", ("t", "n")), "t", r, e, every))
            check_emitted(block, sizes={**SIZES, "t": 11})
            check_emitted(block, sizes={**SIZES, "t": 0})


@pytest.mark.parametrize("size", [1, 7, 8, 9, 17, 70])
def test_long_products(size: int) -> None:
    def make(b: Builder) -> dict[str, Value]:
        x = b.input("x", ("t", "n"))
        return {"whole": b.segment(x, "t", "s"), "running": b.cumulate("prod", x, "t", reverse=True)}

    check_emitted(build(make), {"x": np.abs}, sizes={**SIZES, "t": size, "n": 1}, gradients=size < 20)


@pytest.mark.parametrize("seed", range(60))
def test_random_programs(seed: int) -> None:
    program = Program(seed)
    for _ in range(int(program.rng.integers(3, 16))):
        program.grow()
    for n, (v, _) in zip("pq", [program.values[-1], program.some(program.values)], strict=True):
        program.b.output(n, v)
    given = {n: x for n, x in program.arrays.items() if n == "i"}
    check_emitted(program.b.build(), given, lead=LEADS[seed % 3], seed=seed, tolerance=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_products_of_many_factors(seed: int) -> None:
    """Any order of the pairs gives the sum of the product, with leading dimensions of size 1 among them."""
    rng = np.random.default_rng(seed)
    sizes = {a: int(rng.integers(1, 5)) for a in "abcdef"}
    names = ["".join(a for a in sizes if rng.random() < 0.5) for _ in range(3 + seed % 5)]
    lead = (2, 3)
    factors = [
        rng.normal(size=(*(n if rng.random() < 0.6 else 1 for n in lead), *(sizes[a] for a in x))) for x in names
    ]
    out = "".join(a for a in sizes if any(a in x for x in names) and rng.random() < 0.5)
    equation = ",".join(f"...{x}" for x in names) + f"->...{out}"
    found = ops.contract(f"{','.join(names)}->{out}", *(torch.as_tensor(x) for x in factors))
    np.testing.assert_allclose(found.numpy(), np.einsum(equation, *factors), rtol=1e-10, atol=1e-10)


def test_the_order_of_a_product_follows_the_sizes() -> None:
    made = []
    einsum = torch.einsum

    def spy(equation: str, *factors: torch.Tensor) -> torch.Tensor:
        made.append(equation)
        return einsum(equation, *factors)

    for sizes, first in (((2, 50, 50), "...ab,...bc->...ac"), ((50, 50, 2), "...bc,...cd->...bd")):
        a, b, c = (torch.randn(*pair) for pair in ((sizes[0], 50), (50, sizes[1]), (50, sizes[2])))
        made.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "einsum", spy)
            ops.contract("ab,bc,cd->ad", a, b, c)
        assert made[0] == first


def test_names_stay_readable_and_apart() -> None:
    def make(b: Builder) -> dict[str, Value]:
        x, y, z = b.input("d x", ("t",)), b.input("d_x", ("t",)), b.input("lambda", ("t",))
        given, scan = b.input("given", ("t",)), b.input("scan", ("t",))
        return {"carry S": b.contract((x, y, z, given, scan), ("t",)), 'a "b"': b.map("add", x, z)}

    block = build(make)
    text = emit_block(block, "step")
    assert 'd_x_1 = given["d x"]  # [t]' in text
    assert 'd_x = given["d_x"]  # [t]' in text
    assert 'lambda_1 = given["lambda"]  # [t]' in text
    assert 'scan_1 = given["scan"]' in text
    assert text == emit_block(block, "step")
    check_emitted(block)
