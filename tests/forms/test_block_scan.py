"""Recurrences and convolutions along an axis: laws, and the VJP against torch's autograd."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import scipy.signal

from recc.forms.block import Scan, Value
from recc.forms.builder import Builder
from recc.forms.interpret import interpret
from recc.forms.verify import verify
from recc.forms.vjp import vjp
from tests.forms.laws import SIZES, build, check

ALGEBRAS = ["ring", "max-plus", "min-plus", "log-sum-exp"]
INF = np.inf
RNG = np.random.default_rng(5)

Make = Callable[[Builder, Any, bool], Mapping[str, Value]]


def outputs(values: tuple[Value, ...]) -> dict[str, Value]:
    return {f"y{k}": v for k, v in enumerate(values)}


def one(b: Builder, algebra: Any, reverse: bool) -> Mapping[str, Value]:
    """A varying elementwise transition."""
    a, u, h = b.input("a", ("b", "t", "n")), b.input("u", ("b", "t", "n")), b.input("h", ("b", "n"))
    return outputs(b.scan({(0, 0): a}, [u], [h], "t", algebra, reverse=reverse))


def broadcast(b: Builder, algebra: Any, reverse: bool) -> Mapping[str, Value]:
    """A constant transition, and operands that share no axis."""
    a, u, h = b.input("a", ("n",)), b.input("u", ("t",)), b.input("h", ("k",))
    return outputs(b.scan({(0, 0): a}, [u], [h], "t", algebra, reverse=reverse))


def fixed(b: Builder, algebra: Any, reverse: bool) -> Mapping[str, Value]:
    """A varying transition with a constant drive, from a state that is known."""
    a, u = b.input("a", ("t", "n")), b.input("u", ("n",))
    return outputs(b.scan({(0, 0): a}, [u], [b.constant(0.0)], "t", algebra, reverse=reverse))


def second_order(b: Builder, algebra: Any, reverse: bool) -> Mapping[str, Value]:
    """Two components: the state before and the one before that."""
    p, q = b.input("p", ("n",)), b.input("q", ("t", "n"))
    one = b.constant(1.0 if algebra == "ring" else 0.0)
    none = b.constant({"ring": 0.0, "min-plus": INF}.get(algebra, -INF))
    entries = {(0, 0): p, (0, 1): q, (1, 0): one}
    return outputs(b.scan(entries, [b.input("u", ("t", "n")), none], [b.input("h", ("n",)), b.input("g", ("n",))], "t",
                          algebra, reverse=reverse))  # fmt: skip


def dense(b: Builder, algebra: Any, reverse: bool) -> Mapping[str, Value]:
    """A varying matrix."""
    a, u, h = b.input("a", ("b", "t", "n", "m")), b.input("u", ("t", "n")), b.input("h", ("b", "n"))
    return outputs(b.scan({(0, 0): a}, [u], [h], "t", algebra, ("n",), ("m",), reverse))


def constant_matrix(b: Builder, algebra: Any, reverse: bool) -> Mapping[str, Value]:
    """A constant matrix with rows named after its columns, and a drive without rows."""
    a, u, h = b.input("a", ("n", "m")), b.input("u", ("b", "t")), b.input("h", ("m",))
    return outputs(b.scan({(0, 0): a}, [u], [h], "t", algebra, ("m",), ("n",), reverse))


def blocks(b: Builder, algebra: Any, reverse: bool) -> Mapping[str, Value]:
    """Three components, some coupled by matrices that vary or do not, one with its drive alone."""
    p, q = b.input("p", ("t", "n", "m")), b.input("q", ("n", "m"))
    entries = {(0, 0): p, (0, 2): q, (1, 0): q, (1, 1): p}
    drives = [b.input("u", ("b", "t", "n")), b.input("v", ("n",)), b.input("w", ("t", "n"))]
    firsts = [b.input("f", ("n",)), b.input("g", ("b", "n")), b.input("h", ("n",))]
    return outputs(b.scan(entries, drives, firsts, "t", algebra, ("n",), ("m",), reverse))


def two_axes(b: Builder, algebra: Any, reverse: bool) -> Mapping[str, Value]:
    """A matrix over pairs of indices."""
    b.order |= {"i": "k", "j": "k"}
    a, u = b.input("a", ("n", "m", "i", "j")), b.input("u", ("t", "n", "i"))
    return outputs(b.scan({(0, 0): a}, [u], [b.input("h", ("n",))], "t", algebra, ("n", "i"), ("m", "j"), reverse))


MAKES = [one, broadcast, fixed, second_order, dense, constant_matrix, blocks, two_axes]
GROWING = {"k": 2, "t": 4}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("algebra", ALGEBRAS)
@pytest.mark.parametrize("make", MAKES, ids=lambda m: m.__name__)
def test_scan(make: Make, algebra: Any, reverse: bool) -> None:
    block = build(lambda b: make(b, algebra, reverse))
    check(block, sizes={**SIZES, **GROWING}, smooth=make is not two_axes)
    for sizes in ({"t": 1}, {"n": 1}, {"b": 0}, {"t": 2, "b": 1}):
        check(block, sizes={**SIZES, **GROWING, **sizes}, smooth=False)
    check(block, sizes={**SIZES, **GROWING, "t": 0}, smooth=False, torch=False)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("algebra", ALGEBRAS)
@pytest.mark.parametrize("make", MAKES, ids=lambda m: m.__name__)
def test_second_derivatives_of_a_scan(make: Make, algebra: Any, reverse: bool) -> None:
    block = build(lambda b: make(b, algebra, reverse))
    wrt = [v.name for v in block.inputs]
    check(vjp(block, wrt, list(block.output)), sizes={"b": 2, "t": 3, "n": 2, "k": 2}, smooth=False)


@pytest.mark.parametrize("make", MAKES, ids=lambda m: m.__name__)
def test_a_scan_inside_a_program(make: Make) -> None:
    """The cotangents of components lack axes, some components have none, and operands are not inputs."""

    def program(b: Builder) -> Value:
        first = next(iter(make(b, "ring", False).values()))
        after = b.scan({(0, 0): b.map("tanh", first)}, [first], [b.last(first, "t")], "t", reverse=True)[0]
        return b.contract((b.map("sin", after), b.first(after, "t")), after.axes)

    check(build(program), sizes={**SIZES, **GROWING}, smooth=False)


def test_one_adjoint_for_all_components() -> None:
    block = build(lambda b: blocks(b, "ring", False))
    backward = vjp(block, [v.name for v in block.inputs], list(block.output))
    groups = {op.group for op in backward.ops if isinstance(op, Scan)}
    assert len(groups) == 2
    assert sorted(op.component for op in backward.ops if isinstance(op, Scan) and op.reverse) == [0, 1, 2]


def test_the_adjoint_has_only_components_that_something_flows_to() -> None:
    def make(b: Builder) -> Value:
        u, v, h = b.input("u", ("t",)), b.input("v", ("t",)), b.constant(0.0)
        return b.scan({(0, 0): u, (1, 0): v, (1, 1): v}, [u, v], [h, h], "t")[0]

    backward = vjp(build(make), ["u", "v"], ["y"])
    assert [op.component for op in backward.ops if isinstance(op, Scan) and op.reverse] == [0]
    check(build(make))


def test_a_component_that_nothing_reads_is_used_by_the_adjoint() -> None:
    def make(b: Builder) -> Value:
        u, v, h = b.input("u", ("t",)), b.input("v", ("t",)), b.input("h", ())
        return b.scan({(0, 0): u, (0, 1): v, (1, 1): v}, [u, v], [h, h], "t")[0]

    block = build(make)
    assert [op.component for op in block.ops if isinstance(op, Scan)] == [0]
    check(block)
    check(vjp(block, ["u", "v", "h"], ["y"]))


def test_scans_fold() -> None:
    b = Builder("case", {"t": "t", "n": "n"})
    u, zero = b.input("u", ("t",)), b.constant(0.0)
    assert b.scan({(0, 0): zero}, [u], [u], "t") == (u,)
    none = b.scan({(0, 0): u}, [zero], [zero], "t")[0]
    assert b.known(none) == 0.0
    assert none.axes == ("t",)
    minus = b.constant(-INF)
    assert b.known(b.scan({(0, 0): u}, [minus], [minus], "t", "max-plus")[0]) == -INF
    _, second = b.scan({(0, 0): u, (1, 1): u, (0, 1): u}, [u, zero], [zero, zero], "t")
    assert b.known(second) == 0.0
    assert [op.entries for op in b.ops if isinstance(op, Scan)] == [((0, 0),)]
    assert b.last(u, "n") is u


@pytest.mark.parametrize("algebra", ["max-plus", "min-plus"])
def test_ties_are_shared(algebra: Any) -> None:
    for make in (one, broadcast):
        block = build(lambda b, make=make: make(b, algebra, False))
        for seed in range(4):
            check(block, dict.fromkeys(block.input, np.round), smooth=False, seed=seed)


def test_a_tie_with_the_drive_is_shared_as_between_two() -> None:
    """As by `max(max[m](a + h[m]), u)`: the drive has one half, the columns the other."""

    def loop(b: Builder) -> Mapping[str, Value]:
        a, u, h = b.input("a", ("t", "n", "m")), b.input("u", ("t", "n")), b.input("h", ("n",))
        for x in range(4):
            place = b.constant(x, dtype="int")
            term = b.map("add", b.gather(a, "t", place), b.rename(h, {"n": "m"}))
            h = b.map("max", b.reduce("max", term, ("m",)), b.gather(u, "t", place))
        return {"y": h}

    def scan(b: Builder) -> Mapping[str, Value]:
        a, u, h = b.input("a", ("t", "n", "m")), b.input("u", ("t", "n")), b.input("h", ("n",))
        return {"y": b.last(b.scan({(0, 0): a}, [u], [h], "t", "max-plus", ("n",), ("m",))[0], "t")}

    names = ["a", "u", "h"]
    for _ in range(20):
        arrays = {"a": RNG.integers(-1, 2, (4, 3, 3)), "u": RNG.integers(-1, 4, (4, 3)), "h": RNG.integers(-1, 2, 3)}
        given = {**arrays, "d y": RNG.normal(size=3)}
        expected = interpret(vjp(build(loop), names, ["y"]), given, SIZES)
        found = interpret(vjp(build(scan), names, ["y"]), given, SIZES)
        for n, e in expected.items():
            np.testing.assert_allclose(found[n], e, atol=1e-14)


@pytest.mark.parametrize("algebra", ["max-plus", "min-plus", "log-sum-exp"])
@pytest.mark.parametrize("make", MAKES, ids=lambda m: m.__name__)
def test_infinite_elements_carry_no_nan(make: Make, algebra: Any) -> None:
    """Gradients with some, and with all, elements at the zero of the algebra are finite; twice."""
    zero = INF if algebra == "min-plus" else -INF
    block = build(lambda b: make(b, algebra, False))
    wrt = [v.name for v in block.inputs]
    backward = vjp(block, wrt, list(block.output))
    again = vjp(backward, wrt, [f"d {n}" for n in wrt])
    for share in (0.5, 1.0):
        arrays = {}
        for v in (*again.inputs,):
            size = [{**SIZES, **GROWING}[again.root[x]] for x in v.axes]
            x = RNG.normal(size=size)
            arrays[v.name] = np.where(RNG.random(size) < share, zero, x) if v.name in wrt else x
        for b in (backward, again):
            for n, g in interpret(b, arrays, {**SIZES, **GROWING}).items():
                assert np.isfinite(g).all(), n


def test_shares_of_infinite_terms_are_zero() -> None:
    block = build(lambda b: one(b, "log-sum-exp", False))
    backward = vjp(block, ["a", "u", "h"], ["y0"])
    sizes = {"b": 1, "t": 3, "n": 1}
    u = np.array([-INF, 1.0, -INF]).reshape(1, 3, 1)
    arrays = {"a": np.zeros((1, 3, 1)), "u": u, "h": np.full((1, 1), -INF), "d y0": np.ones((1, 3, 1))}
    found = interpret(backward, arrays, sizes)
    assert found["d u"].ravel().tolist() == [0.0, 2.0, 0.0]
    assert found["d a"].ravel().tolist() == [0.0, 0.0, 1.0]
    assert found["d h"].ravel().tolist() == [0.0]


def test_an_infinite_cotangent_of_nothing() -> None:
    """A step that is not taken passes on nothing of an infinite gradient of its operands."""
    block = build(lambda b: one(b, "max-plus", False))
    backward = vjp(block, ["a"], ["y0"])
    sizes = {"b": 1, "t": 1, "n": 1}
    arrays = {"a": np.zeros((1, 1, 1)), "u": np.full((1, 1, 1), -INF), "h": np.full((1, 1), -INF)}
    assert np.isfinite(interpret(backward, {**arrays, "d y0": np.ones((1, 1, 1))}, sizes)["d a"]).all()


CONVOLUTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "one": (("t",), ("t",), ()),
    "kernel by channel": (("t", "n"), ("b", "t", "n"), ()),
    "matrix of kernels": (("t", "n", "m"), ("b", "t", "m"), ("m",)),
    "disjoint": (("t", "n"), ("t", "k"), ()),
    "sum over both": (("b", "t", "n"), ("b", "t", "n"), ("b", "n")),
    "sum over one": (("b", "t"), ("t", "n"), ("b", "n")),
}


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolve(name: str, reverse: bool) -> None:
    kernel, arg, over = CONVOLUTIONS[name]
    block = build(lambda b: b.convolve(b.input("p", kernel), b.input("x", arg), "t", over, reverse))
    for size in (0, 1, 4):
        check(block, sizes={**SIZES, "t": size, "k": 2})
    check(vjp(block, ["p", "x"], ["y"]), sizes={**SIZES, "k": 2})

    def inside(b: Builder) -> Value:
        """The cotangent of the convolution lacks axes."""
        p, x = b.input("p", kernel), b.input("x", arg)
        y = b.convolve(b.map("sin", p), b.map("cos", x), "t", over, reverse)
        return b.map("exp", b.contract((y,), y.axes))

    check(build(inside), {"p": lambda x: x / 9}, sizes={**SIZES, "k": 2}, smooth=False)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_convolve_against_numpy_and_scipy(size: int) -> None:
    p, x = RNG.normal(size=size), RNG.normal(size=size)
    for reverse in (False, True):
        block = build(lambda b, r=reverse: b.convolve(b.input("p", ("t",)), b.input("x", ("t",)), "t", (), r))
        found = interpret(block, {"p": p, "x": x}, {**SIZES, "t": size})["y"]
        turned = x[::-1] if reverse else x
        for expected in (np.convolve(p, turned)[:size], scipy.signal.fftconvolve(p, turned)[:size]):
            np.testing.assert_allclose(found, expected[::-1] if reverse else expected, atol=1e-12)


def test_convolve_with_an_impulse_response_is_a_scan() -> None:
    a, u = 0.9, RNG.normal(size=9)
    block = build(lambda b: b.convolve(b.input("p", ("t",)), b.input("x", ("t",)), "t"))
    found = interpret(block, {"p": a ** np.arange(9), "x": u}, {**SIZES, "t": 9})["y"]
    np.testing.assert_allclose(found, scipy.signal.lfilter([1.0], [1.0, -a], u), atol=1e-13)


def test_convolve_folds() -> None:
    b = Builder("case", {"t": "t", "n": "n"})
    u = b.input("u", ("t", "n"))
    zero = b.convolve(b.constant(0.0), u, "t", ("n",))
    assert (b.known(zero), zero.axes) == (0.0, ("t",))


@pytest.mark.parametrize("every", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("fn", ["sum", "prod"])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_runs_that_start_anew(every: int, fn: Any, exclusive: bool, reverse: bool) -> None:
    block = build(lambda b: b.cumulate(fn, b.input("x", ("b", "t")), "t", reverse, exclusive, every))
    for size in (0, 1, 4, 7):
        check(block, sizes={**SIZES, "t": size})
        check(block, {"x": np.round}, sizes={**SIZES, "t": size})
    check(vjp(block, ["x"], ["y"]), {"x": np.round}, sizes={**SIZES, "t": 5}, smooth=False)
    inside = build(
        lambda b: b.contract((b.cumulate(fn, b.input("x", ("b",)), "t", reverse, exclusive, every),), ("t",))
    )
    check(inside, sizes={**SIZES, "t": 5})


def test_ends_of_an_axis() -> None:
    def make(b: Builder) -> Mapping[str, Value]:
        x = b.input("x", ("b", "t"))
        return {"first": b.first(x, "t"), "last": b.last(x, "t"), "none": b.last(x, "n")}

    x = RNG.normal(size=(2, 4))
    found = interpret(build(make), {"x": x}, SIZES)
    np.testing.assert_array_equal(found["first"], x[:, 0])
    np.testing.assert_array_equal(found["last"], x[:, -1])
    np.testing.assert_array_equal(found["none"], x)
    for size in (1, 4):
        check(build(make), sizes={**SIZES, "t": size})


def test_scans_and_convolutions_print() -> None:
    def make(b: Builder) -> Mapping[str, Value]:
        a, u = b.input("a", ("n", "m")), b.input("u", ("t", "n"))
        h = b.scan({(0, 0): a, (1, 0): a}, [u, u], [b.constant(0.0)] * 2, "t", "ring", ("n",), ("m",), True)
        return {
            "y": b.convolve(u, h[1], "t", ("n",)),
            "z": b.cumulate("prod", h[1], "t", every=8),
            "w": b.convolve(u, u, "t", reverse=True),
        }

    block = build(make)
    verify(block)
    assert str(block).splitlines()[3:-3] == [
        "  c_1[n] = constant(0)",
        "  u_2[t, n] = scan(entries 0,0 1,0, a, a, u, u, c_1, c_1, axis t, component 1, ring, rows n, cols m, reverse)",
        "  x1[t] = convolve(u, u_2, axis t, over n)",
        "  x2[t, n] = prod(u_2, axis t, every 8)",
        "  x3[t, n] = convolve(u, u, axis t, reverse)",
    ]
