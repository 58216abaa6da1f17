"""The unrolled step loop agrees with the reference, values and derivatives, for every program of the zoo."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from recc import zoo
from recc.backends.numpy_reference import run
from recc.check import load
from recc.fuzz.agree import directional_gradient, no_differences
from recc.prove import laws
from recc.prove.cases import Maker, as_parts, make_case
from recc.prove.decide import approximate
from recc.prove.ring import Exact, Space
from recc.recurrence import Kind, Recurrence
from tests.zoo.core import CORE

_SLOW = (
    "gru",
    "lstm",
    "kalman",
    "hmm_forward",
)  # expressions in expressions: their derivatives are tested on fewer steps


def number(x: Exact, point: dict[int, Any]) -> float:
    return float(approximate(x, point).real)


def joined(pairs: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
    """Pairs of floats as complex numbers."""
    if dtype != "complex":
        return pairs.astype({"int": np.int64, "bool": np.bool_}.get(dtype, np.float64))
    return pairs[..., 0].astype(float) + 1j * pairs[..., 1].astype(float)


def floats(array: np.ndarray[Any, Any], dtype: str, point: dict[int, Any]) -> np.ndarray[Any, Any]:
    flat = np.empty(array.shape, float)
    for at in np.ndindex(*array.shape):
        flat[at] = number(array[at], point)
    return joined(flat, dtype)


@pytest.mark.parametrize("name", CORE)
def test_the_loop_is_the_reference(name: str) -> None:
    rec: Recurrence = load(zoo.text(name), name)[0]
    steps = 2 if name in _SLOW or len(rec.scan) > 1 else 4
    case = make_case(
        rec,
        tuple(2 if k % 2 else 3 for k in range(len(rec.axes))) if name not in _SLOW else (1,) * len(rec.axes),
        steps,
    )
    space = Space(10**7)
    maker = Maker(rec, case, space, random.Random(1))
    given = maker.given(state=bool(rec.slots))
    found = laws.loop(rec, given, slopes=True)
    rng = np.random.default_rng(2)
    point = {atom: rng.standard_normal() for atom in given.direction}
    dtypes = {s.name: s.dtype for s in (*rec.arguments, *rec.outputs)} | {s.name: s.dtype for s in rec.slots}
    inputs = {s.name for s in rec.of_kind(Kind.INPUT)}
    arguments = {n: floats(v, dtypes[n], {}) for n, v in given.arguments.items()}
    batched = {n: v[None] if n in inputs else v for n, v in arguments.items()}
    initial = {n: floats(v, dtypes[n], {})[None] for n, v in given.initial.items()}
    sizes = {a.name: dict(case.sizes)[a.size_of] for a in rec.axes}
    length = dict(zip(rec.scan, case.steps, strict=True))
    expected = run(rec, batched, sizes=sizes, initial=initial, clock=given.clock, length=length)
    for s in rec.outputs:
        got = floats(as_parts(found.outputs[s.name], s.dtype), s.dtype, {})
        wanted = expected.outputs[s.name][0]
        got = np.where(np.isnan(wanted), wanted, got)  # log of a negative number is NaN there and complex here
        np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9, err_msg=s.name)
    for slot in rec.slots:
        got = floats(as_parts(found.final[slot.name], slot.dtype), slot.dtype, {})
        np.testing.assert_allclose(got, expected.final[slot.name][0], rtol=1e-9, atol=1e-9, err_msg=slot.name)
    if no_differences(rec) is not None or any(np.isnan(v).any() for v in expected.outputs.values()):
        return
    _derivative(rec, found, given, point, batched, initial, sizes, length, dtypes)


def _derivative(
    rec: Recurrence, found: Any, given: Any, point: dict[int, float], batched: Any, initial: Any, sizes: Any,
    length: Any, dtypes: dict[str, str],
) -> None:  # fmt: skip
    """The slopes against differences of the reference, along one direction."""
    rng = np.random.default_rng(3)
    by_place = {place: point[atom] for atom, place in given.direction.items()}

    def along(label: str, like: np.ndarray[Any, Any], dtype: str) -> np.ndarray[Any, Any]:
        flat = np.zeros(like.shape)
        for at in np.ndindex(*like.shape):
            flat[at] = by_place.get((label, at), 0.0)
        return joined(flat, dtype if dtype == "complex" else "real")

    direction = {n: along(n, v, dtypes[n]) for n, v in given.arguments.items()}
    direction = {n: d.reshape(batched[n].shape) for n, d in direction.items()}
    turn = {n: along(f"{n}₀", v, dtypes[n])[None] for n, v in given.initial.items()}
    cotangents, total = {}, 0.0
    for s in rec.outputs:
        slope = as_parts(found.outputs[s.name], s.dtype, lambda x: x.slope or x.value.space.zero)
        values = floats(slope, s.dtype, point)
        weight = rng.standard_normal(values.shape)
        cotangents[s.name] = weight[None]
        total += float(np.sum(np.real(weight * values)))
    measured = directional_gradient(
        rec, batched, cotangents, direction, initial=initial, initial_direction=turn, sizes=sizes, length=length,
        clock=given.clock,
    )  # fmt: skip
    assert total == pytest.approx(measured.value, rel=1e-6, abs=1e-6 + 100 * measured.error)
