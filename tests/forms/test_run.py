"""Forms run by the interpreter of Blocks: passes of single steps and of chunks agree with the reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import recc
from recc.backends.numpy_reference import run
from recc.forms.block import Block
from recc.forms.interpret import interpret
from recc.forms.parallel import derive
from recc.forms.passes import Parallel
from recc.forms.run import Item
from recc.forms.sequential import derive_sequential
from recc.fuzz import Shapes, draw_arguments, draw_initial
from recc.fuzz.agree import directional_gradient, inner, random_direction
from tests.agree.cases import programs
from tests.forms.chunks import ATTENTION, CASES, attention, parallel

SIZES = {"i": 2, "j": 3, "n": 2}
Arrays = dict[str, np.ndarray[Any, Any]]


def drawn(form: Parallel, steps: int, seed: int = 0) -> tuple[Arrays, Arrays]:
    """Arguments and a state to begin with of one item."""
    sizes = {a.name: SIZES[a.name] for a in form.rec.axes}
    shapes, rng = Shapes(sizes, (steps,), 1, ()), np.random.default_rng(seed)
    arguments, initial = draw_arguments(form.rec, shapes, rng), draw_initial(form.rec, shapes, rng)
    varying = {s.name for s in form.rec.arguments if s.varies}
    return {n: v[0] if n in varying else v for n, v in arguments.items()}, {n: v[0] for n, v in initial.items()}


def weights(values: Mapping[str, Any], seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {n: rng.standard_normal(v.shape) + (1j * rng.standard_normal(v.shape) if v.dtype == complex else 0)
            for n, v in values.items()}  # fmt: skip


def close(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("chunk", [None, 1, 2, 4, 0, 100])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_chunks_agree_with_single_steps(name: str, given: bool, chunk: int | None) -> None:
    form = CASES[name]
    arguments, initial = drawn(form, 7)
    initial = initial if given else {}
    single = Item(derive_sequential(form.rec), SIZES, (7,), arguments, initial, 5)
    item = Item(form, SIZES, (7,), arguments, initial, 5, chunk)
    single.forward()
    item.forward()
    close(item.outputs, single.outputs)
    close(item.final, single.final)
    d_outputs, d_final = weights(single.outputs, 1), weights(single.final, 2)
    found, expected = item.backward(d_outputs, d_final), single.backward(d_outputs, d_final)
    close(found[0], expected[0])
    close(found[1], expected[1])


@pytest.mark.parametrize("name", CASES)
def test_chunks_agree_with_the_reference(name: str) -> None:
    form = CASES[name]
    arguments, initial = drawn(form, 8)
    sizes = {a.name: SIZES[a.name] for a in form.rec.axes}
    batched = {s.name: arguments[s.name][None] if s.varies else arguments[s.name] for s in form.rec.arguments}
    start = {n: v[None] for n, v in initial.items()}
    expected = run(form.rec, batched, sizes=sizes, initial=start, clock=3)
    item = Item(form, SIZES, (8,), arguments, initial, 3)
    item.forward()
    close(item.outputs, {n: v[0] for n, v in expected.outputs.items()})
    close(item.final, {n: v[0] for n, v in expected.final.items()})

    d_outputs, d_final = weights(item.outputs, 1), weights(item.final, 2)
    d_arguments, d_initial = item.backward(d_outputs, d_final)
    rng = np.random.default_rng(3)
    direction, turn = random_direction(form.rec, batched, rng), weights(initial, 4)
    measured = directional_gradient(
        form.rec, batched, {n: v[None] for n, v in d_outputs.items()}, direction, initial=start, sizes=sizes, clock=3,
        final_cotangents={n: v[None] for n, v in d_final.items()},
        initial_direction={n: v[None] for n, v in turn.items()},
    )  # fmt: skip
    shaped = {n: d.reshape(np.shape(batched[n])) for n, d in d_arguments.items()}
    assert inner(shaped, direction) + inner(d_initial, turn) == pytest.approx(measured.value, rel=1e-10)


@pytest.mark.parametrize("name", ["second", "both", "mlstm"])
def test_passes_that_know_the_first_carries(name: str) -> None:
    """Without a given state the whole sequence is run by the form's passes for that, with the same results."""
    program = programs()[name]
    form = derive(program.rec, "scan")
    assert isinstance(form, Parallel)
    assert form.start
    shapes = program.shapes(steps=6, batch=1)
    varying = {s.name for s in form.rec.arguments if s.varies}
    arguments = {n: v[0] if n in varying else v for n, v in program.draw(shapes)[0].items()}
    items = [Item(f, shapes.sizes, (6,), arguments) for f in (form, replace(form, start=()))]
    for item in items:
        item.forward()
    close(items[0].outputs, items[1].outputs)
    close(items[0].final, items[1].final)
    seeds = weights(items[0].outputs, 1), weights(items[0].final, 2)
    close(items[0].backward(*seeds)[0], items[1].backward(*seeds)[0])
    seen: list[Block] = []

    def watched(block: Block, inputs: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
        seen.append(block)
        return interpret(block, inputs, sizes)

    Item(form, shapes.sizes, (6,), arguments, evaluate=watched).forward()
    assert [b for b in seen if b.name == "step"] == [p.step for p in form.start]


def test_the_op_has_the_same_reference() -> None:
    form, op = CASES["attention"], recc.compile(ATTENTION, backend="numpy")
    arguments, _ = drawn(form, 5)
    item = Item(form, SIZES, (5,), arguments)
    item.forward()
    close(item.outputs, {"o": op.reference(**{n: v[None] for n, v in arguments.items()})[0]})


@pytest.mark.parametrize("chunk", [None, 0, 2])
@pytest.mark.parametrize("name", CASES)
def test_no_steps(name: str, chunk: int | None) -> None:
    """The state leaves as it came, and its cotangent does too."""
    form = CASES[name]
    arguments, initial = drawn(form, 0)
    item = Item(form, SIZES, (0,), arguments, initial, chunk=chunk)
    item.forward()
    assert all(v.shape[0] == 0 for v in item.outputs.values())
    close(item.final, initial)
    seeds = weights(item.final, 1)
    d_arguments, d_initial = item.backward(item.outputs, seeds)
    close(d_initial, seeds)
    assert all(d.shape == arguments[n].shape and not d.any() for n, d in d_arguments.items())


def test_each_chunk_has_its_size() -> None:
    seen: list[tuple[str, int]] = []

    def watched(block: Block, inputs: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
        if "c" in sizes:
            seen.append((block.name, sizes["c"]))
        return interpret(block, inputs, sizes)

    form = CASES["attention"]
    arguments, _ = drawn(form, 8)
    item = Item(form, SIZES, (8,), arguments, evaluate=watched)
    item.forward()
    item.backward(weights(item.outputs, 1), {})
    assert seen == [("step", 3), ("step", 3), ("step", 2), ("step_vjp", 2), ("step_vjp", 3), ("step_vjp", 3)]


def test_another_arithmetic() -> None:
    """Fractions go through untouched: an evaluator that rounds nothing gives exact results."""

    def exact(block: Block, inputs: Mapping[str, Any], sizes: Mapping[str, int]) -> dict[str, Any]:
        if block.name == "prologue":
            return interpret(block, inputs, sizes)
        first, q, k, v = (inputs[n] for n in ("S_prev", "q", "k", "v"))
        states = first + np.cumsum(k[:, :, None] * v[:, None, :], axis=0)
        return {"carry S": states[-1], "o": (q[:, :, None] * states).sum(1)}

    form = parallel(ATTENTION, attention)
    arguments, _ = drawn(form, 4)
    rational = np.vectorize(lambda x: Fraction(round(x * 8), 3), otypes=[object])
    given = {n: rational(a) for n, a in arguments.items()}
    item = Item(form, SIZES, (4,), given, {"S": rational(np.ones((2, 3)))}, evaluate=exact)
    item.forward()
    assert item.outputs["o"].dtype == object
    assert all(isinstance(x, Fraction) for x in (*item.outputs["o"].flat, *item.final["S"].flat))
    floats = Item(form, SIZES, (4,), {n: a.astype(float) for n, a in given.items()}, {"S": np.full((2, 3), 8 / 3)})
    floats.forward()
    close({"o": item.outputs["o"].astype(float)}, floats.outputs)
