"""The combine of a recurrence: associative, with an identity, and joined in any tree it is the loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from recc.forms.block import ZERO, Block, Scan, Value
from recc.forms.builder import Builder
from recc.forms.combine import Elements, apply, combine, elements, identity, lift
from recc.forms.interpret import interpret
from recc.forms.verify import verify
from tests.forms.laws import build
from tests.forms.test_block_scan import ALGEBRAS, MAKES, Make

Element = Mapping[str, np.ndarray]
RNG = np.random.default_rng(23)
SIZES = {"b": 2, "t": 7, "n": 3, "k": 2}


class Pieces:
    """A recurrence and the Blocks derived from it, run by the interpreter."""

    def __init__(self, block: Block, sizes: Mapping[str, int] = SIZES, context: bool = True):
        # Without a Block the rows give the size of the columns.
        self.block, self.sizes = block, {**sizes, "m": sizes["n"], "i": sizes["k"]}
        self.scan = next(op for op in block.ops if isinstance(op, Scan))
        given = block if context else None
        self.elements: Elements = elements(self.scan, given)
        self.made = {f: f(self.scan, given) for f in (combine, identity, lift, apply)}
        for made in self.made.values():
            verify(made)
        self.identity = interpret(self.made[identity], {}, self.sizes)

    def size(self, axes: tuple[str, ...]) -> list[int]:
        root = self.made[combine].root
        return [self.sizes[root[a]] for a in axes]

    def random(self, infinite: float = 0.0) -> dict[str, np.ndarray]:
        found = {}
        for name in self.elements.names:
            size = self.size(self.made[combine].input[f"later {name}"].axes)
            x = RNG.normal(size=size)
            found[name] = np.where(RNG.random(size) < infinite, ZERO[self.scan.algebra], x)
        return found

    def combine(self, later: Element, earlier: Element) -> Element:
        given = {f"{which} {n}": x for which, e in (("later", later), ("earlier", earlier)) for n, x in e.items()}
        return interpret(self.made[combine], given, self.sizes)

    def steps(self, values: Mapping[str, np.ndarray]) -> list[Element]:
        """Every step as an element, in the order in which they are made."""
        scan, found = self.scan, []
        operands = {self.elements.name(e): v for e, v in zip(scan.entries, scan.a, strict=True)}
        operands |= {f"b_{k}": v for k, v in enumerate(scan.b)}
        for x in range(self.sizes["t"])[:: -1 if scan.reverse else 1]:
            given = {}
            for n, v in operands.items():
                array = values[v.name]
                array = np.take(array, x, v.axes.index("t")) if "t" in v.axes else array
                if n in self.made[lift].input:
                    given[n] = array
            found.append(interpret(self.made[lift], given, self.sizes))
        return found

    def apply(self, element: Element, state: list[np.ndarray]) -> dict[str, np.ndarray]:
        return interpret(self.made[apply], {**element, **{f"state_{k}": x for k, x in enumerate(state)}}, self.sizes)


def close(found: Element, expected: Element) -> None:
    assert found.keys() == expected.keys()
    for n, e in expected.items():
        np.testing.assert_allclose(found[n], e, rtol=1e-11, atol=1e-11, err_msg=n)


CASES = pytest.mark.parametrize("make", MAKES, ids=lambda m: m.__name__)


@pytest.mark.parametrize("context", [True, False])
@pytest.mark.parametrize("algebra", ALGEBRAS)
@CASES
def test_the_combine_is_associative_and_has_an_identity(make: Make, algebra: Any, context: bool) -> None:
    block = build(lambda b: make(b, algebra, False))
    for sizes in (SIZES, {**SIZES, "n": 1}):
        pieces = Pieces(block, sizes, context)
        for infinite in (0.0,) if algebra == "ring" else (0.0, 0.5, 1.0):
            x, y, z = (pieces.random(infinite) for _ in range(3))
            left = pieces.combine(pieces.combine(x, y), z)
            close(left, pieces.combine(x, pieces.combine(y, z)))
            assert not any(np.isnan(v).any() for v in left.values())
            close(pieces.combine(x, pieces.identity), x)
            close(pieces.combine(pieces.identity, x), x)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("algebra", ALGEBRAS)
@CASES
def test_a_tree_of_combines_is_the_loop(make: Make, algebra: Any, reverse: bool) -> None:
    """The element of the first x steps, joined by a random tree, takes the first state to that after them."""
    block = whole(lambda b: make(b, algebra, reverse))
    for size in (1, 2, 7):
        sizes = {**SIZES, "t": size}
        pieces = Pieces(block, sizes)
        arrays = {v.name: RNG.normal(size=[sizes[block.root[a]] for a in v.axes]) for v in block.inputs}
        values = interpret(block, arrays, sizes)
        steps = pieces.steps(values)
        first = [values[v.name] for v in pieces.scan.first]
        expected = [values[f"y{k}"] for k in range(len(first))]
        axis = pieces.scan.out.axes.index("t")
        for x in range(size):
            place = size - 1 - x if reverse else x
            found = pieces.apply(tree(pieces, steps[: x + 1]), first)
            for k, e in enumerate(expected):
                wanted = np.take(e, place, axis)
                scale = max(1.0, float(np.abs(wanted).max()))
                np.testing.assert_allclose(laid(pieces, f"out_{k}", found), wanted, rtol=1e-11, atol=1e-11 * scale)


def whole(make: Callable[[Builder], Mapping[str, Value]]) -> Block:
    """The Block with every operand of its Scan as an output."""

    def program(b: Builder) -> Mapping[str, Value]:
        made = dict(make(b))
        scan = next(op for op in b.ops if isinstance(op, Scan))
        return {**made, **{v.name: v for v in scan.operands}}

    return build(program)


def tree(pieces: Pieces, steps: list[Element]) -> Element:
    """Joined in a random order, the identity now and then in between."""
    if len(steps) == 1:
        return pieces.combine(steps[0], pieces.identity) if RNG.random() < 0.3 else steps[0]
    cut = int(RNG.integers(1, len(steps)))
    return pieces.combine(tree(pieces, steps[cut:]), tree(pieces, steps[:cut]))


def laid(pieces: Pieces, name: str, found: Element) -> np.ndarray:
    """An output of `apply` along all axes of the state."""
    have = pieces.made[apply].output[name].axes
    want = tuple(a for a in pieces.scan.out.axes if a != "t")
    shape = [n if a in have else 1 for a, n in zip(want, pieces.size(want), strict=True)]
    return np.broadcast_to(found[name].reshape(shape), pieces.size(want))


def test_a_scalar_recurrence() -> None:
    def make(b: Builder) -> Value:
        return b.scan({(0, 0): b.input("a", ("t",))}, [b.input("u", ("t", "n"))], [b.constant(0.0)], "t")[0]

    block = build(make)
    scan = next(op for op in block.ops if isinstance(op, Scan))
    assert str(combine(scan, block)).splitlines() == [
        "block combine",
        "  input later a_00[]",
        "  input later b_0[n]",
        "  input earlier a_00[]",
        "  input earlier b_0[n]",
        "  x1[] = mul(earlier a_00, later a_00)",
        "  x2[n] = mul(earlier b_0, later a_00)",
        "  x3[n] = add(later b_0, x2)",
        "  output a_00 = x1",
        "  output b_0 = x3",
    ]
    assert elements(scan, block).names == ("a_00", "b_0")


def found_elements(make: Callable[[Builder], tuple[Value, ...]]) -> Elements:
    block = build(lambda b: {f"y{k}": v for k, v in enumerate(make(b))})
    scan = next(op for op in block.ops if isinstance(op, Scan))
    for derived in (combine, identity, lift, apply):
        verify(derived(scan, block))
    return elements(scan, block)


def test_what_stays_one_is_not_stored() -> None:
    """A sum of a decaying state: its own transition is one in every product."""

    def make(b: Builder) -> tuple[Value, ...]:
        a, u, one, zero = b.input("a", ("t",)), b.input("u", ("t",)), b.constant(1.0), b.constant(0.0)
        return b.scan({(0, 0): a, (1, 0): a, (1, 1): one}, [u, zero], [zero, zero], "t")

    found = found_elements(make)
    assert found.ones == {(1, 1)}
    assert list(found.a) == [(0, 0), (1, 0)]


def test_what_is_one_at_each_step_but_not_in_products_is_stored() -> None:
    def make(b: Builder) -> tuple[Value, ...]:
        p, u, one, zero = b.input("p", ("t",)), b.input("u", ("t",)), b.constant(1.0), b.constant(0.0)
        return b.scan({(0, 0): one, (0, 1): p, (1, 0): one}, [u, zero], [zero, zero], "t")

    found = found_elements(make)
    assert found.ones == frozenset()
    assert list(found.a) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_triangular_patterns_stay_triangular() -> None:
    def make(b: Builder) -> tuple[Value, ...]:
        p, q, u, zero = b.input("p", ("t",)), b.input("q", ("n",)), b.input("u", ("t",)), b.constant(0.0)
        entries = {(0, 0): p, (1, 0): q, (1, 1): p, (2, 1): p, (2, 2): p}
        return b.scan(entries, [u] * 3, [zero] * 3, "t")

    found = found_elements(make)
    assert found.a == {
        (0, 0): (), (1, 0): ("n",), (1, 1): (), (2, 0): ("n",), (2, 1): (), (2, 2): (),
    }  # fmt: skip
    assert found.b == ((), ("n",), ("n",))


def test_names_with_many_components() -> None:
    def make(b: Builder) -> tuple[Value, ...]:
        u = b.input("u", ("t",))
        return b.scan({(k, k): u for k in range(11)}, [u] * 11, [b.input("h", ())] * 11, "t")

    names = found_elements(make).names
    assert names[0] == "a_0_0"
    assert names[-1] == "b_10"
