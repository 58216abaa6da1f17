"""Random programs are well-formed, of every kind, over the whole language, and the same everywhere and for ever."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from recc.backends.numpy_reference import run
from recc.check import load
from recc.fuzz.drawing.case import draw_case
from recc.fuzz.writing.choose import Numbered
from recc.fuzz.writing.programs import Drawn, numbered_program
from recc.recurrence import FUNCTIONS, REDUCTIONS, Apply, At, Kind, Matrix, Read, Recurrence, Reduce, Step, walk
from recc.structure import Affine, Nonlinear, Pointwise, Structure, structures

COUNT = 300
ROOT = Path(__file__).resolve().parents[2]
#: Of what a structure can be besides its kind, every value that some stage must have.
TRAITS = {
    "constant", "varying", "complex", "resets", "rotation", "pairs", "gates", "stopped", "circulant", "companion",
    "blocks", "factored", "several states", "order 2", "order 3", "from left", "from right", "from both",
    "product", "sum", "rank 1", "rank 2", "rank 3", "left to right", "right to left",
}  # fmt: skip
KINDS = {
    "zero", "identity", "scalar", "diagonal", "low_rank", "diagonal+low_rank", "shift", "shift+low_rank", "gather",
    "dense",
}  # fmt: skip


@cache
def drawn() -> tuple[tuple[Drawn, Recurrence], ...]:
    found = [numbered_program(0, number) for number in range(COUNT)]
    return tuple((one, load(one.text)[0]) for one in found)


def traits(s: Affine) -> Iterator[str]:
    parts = [p for e in s.entries for p in e.parts]
    yield "constant" if s.constant else "varying"
    yield from (
        n
        for n in ("complex", "resets", "rotation", "pairs", "gates", "stopped", "circulant", "companion")
        if getattr(s, n)
    )
    yield from (n for n in ("blocks", "factored") if any(getattr(p, n) for p in parts))
    yield from ["several states"] * (len(s.states) > 1)
    yield from (
        f"order {s.order}",
        f"from {s.action}",
        s.sides,
        f"rank {s.rank}",
    )
    yield "right to left" if -1 in s.stage.direction else "left to right"


def classes(found: Structure) -> Iterator[str]:
    if isinstance(found, Affine):
        yield found.algebra
        yield found.kind
        yield f"{found.algebra} {found.kind}"
        yield from traits(found)
    elif isinstance(found, Nonlinear):
        yield "elementwise" if found.elementwise else "nonlinear"


def test_every_structure_occurs() -> None:
    seen: Counter[str] = Counter()
    for one, rec in drawn():
        of_one = {c for s in structures(rec) for c in classes(s)}
        if all(isinstance(s, Pointwise) for s in structures(rec)):
            of_one.add("pointwise")
        seen.update(of_one | ({"two scan axes"} if len(rec.scan) > 1 else set()))
        assert one.labels
    wanted = KINDS | TRAITS | {"ring", "max-plus", "min-plus", "log-sum-exp", "nonlinear", "elementwise", "pointwise"}
    wanted |= {"max-plus dense", "min-plus dense", "log-sum-exp dense", "two scan axes"}
    assert not wanted - seen.keys(), seen
    common = {"identity", "scalar", "diagonal", "diagonal+low_rank", "dense", "low_rank", "shift", "shift+low_rank"}
    common |= {
        "gather",
        "nonlinear",
        "elementwise",
        "max-plus",
        "min-plus",
        "log-sum-exp",
        "complex",
        "resets",
        "order 2",
    }
    rare = {name: seen[name] for name in common if seen[name] < 0.02 * COUNT}
    assert not rare, rare


def _operations(rec: Recurrence) -> Iterator[str]:
    for equation in rec.equations:
        for node in walk(equation.expr):
            if isinstance(node, Apply | Matrix):
                yield node.fn
            elif isinstance(node, Reduce):
                yield f"{node.fn}[]"
            elif isinstance(node, Step):
                yield "the number of the step"
            elif isinstance(node, Read):
                yield from _indices(node, rec)


def _indices(node: Read, rec: Recurrence) -> Iterator[str]:
    for index, axis in zip(node.index, rec.table[node.name].axes, strict=True):
        if isinstance(index, At):
            yield "gather"
        elif index.offset:
            yield f"shift {rec.axis[axis].edge}"
        elif index.axis != axis:
            yield "second index"
    for lag in node.lags:
        yield f"{rec.table[node.name].kind.value} lag" if lag else "now"


def _words(one: Drawn, rec: Recurrence) -> Iterator[str]:
    for symbol in rec.symbols:
        yield f"{symbol.kind.value} {symbol.dtype}"
        domain = symbol.domain
        yield from ["unit"] * domain.unit
        yield from ["bounded"] * domain.bounded
        yield from ["open"] * (domain.lower_open or domain.upper_open)
        yield from ["interval"] * (domain.lower > -np.inf and domain.upper < np.inf)
        yield from ["initial"] * (symbol.initial is not None)
        if symbol.kind is Kind.CONST:
            yield "constant of the caller" if symbol.value is None else "constant of the program"
    for word in ("\\\n", "#", '"', "unit", "complex unit", "wrap", "clamp", "zero", "inf", " in (", " in [", "def "):
        yield from [word] * (word in one.text)


def test_the_whole_language_occurs() -> None:
    seen: Counter[str] = Counter()
    for one, rec in drawn():
        seen.update({*_operations(rec), *_words(one, rec)})
    wanted = {*FUNCTIONS, *(f"{name}[]" for name in REDUCTIONS), "solve", "inv", "expm", "the number of the step"}
    wanted |= {"gather", "second index", "shift zero", "shift wrap", "shift clamp", "input lag", "state lag"}
    wanted |= {
        "intermediate lag",
        "input real",
        "input bool",
        "input int",
        "input complex",
        "param real",
        "param complex",
    }
    wanted |= {
        "state complex",
        "state real",
        "output real",
        "constant of the caller",
        "constant of the program",
        "open",
    }
    wanted |= {"unit", "complex unit", "interval", "bounded", "initial", "def ", "\\\n", "#", '"', "inf", " in ("}
    assert not wanted - seen.keys(), wanted - seen.keys()


def test_programs_run_and_stay_moderate() -> None:
    for number, (one, rec) in enumerate(drawn()[:150]):
        case = draw_case(rec, 0, number, (9,))
        steps = None if case.inputs else case.shapes.steps[0]
        result = run(rec, case.arguments, initial=case.initial, sizes=case.sizes, length=steps)
        scores = {"infinite", "huge"} & set(case.kinds)
        for name, value in result.outputs.items():
            assert not np.isnan(value).any() or scores, (name, one.text)
            finite = value[np.isfinite(value)]
            assert np.abs(finite).max(initial=0.0) < 1e6 or scores, (name, one.text)


def test_a_number_gives_the_same_program_for_ever() -> None:
    """These came out when the generator was written; a new one may well change them, a new machine may not."""
    assert [Numbered(3, 5).integer(0, 99) for _ in range(2)] == [Numbered(3, 5).integer(0, 99)] * 2
    choices = Numbered(7, 1)
    assert [choices.integer(0, 999) for _ in range(6)] == FIRST
    assert choices.shuffled("abcd") == ["c", "b", "a", "d"]


FIRST = [636, 5, 427, 983, 94, 478]


@pytest.mark.parametrize("hashing", ["0", "1", "77"])
def test_the_text_does_not_depend_on_the_order_of_hashes(hashing: str) -> None:
    program = (
        "import hashlib; from recc.fuzz.writing.programs import numbered_program as p;"
        "print(hashlib.sha256('\\0'.join(p(0, n).text for n in range(60)).encode()).hexdigest())"
    )
    mine = hashlib.sha256("\0".join(numbered_program(0, n).text for n in range(60)).encode()).hexdigest()
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONHASHSEED": hashing, "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == mine
