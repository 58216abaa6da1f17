"""Every parallel form of every program, run by the interpreter of Blocks, against an independent oracle.

Values, final states and all gradients; with and without a state to begin with; chunks of every size, those
that do not divide the number of steps too.
"""

from __future__ import annotations

import pytest

from recc.errors import Refusal
from recc.forms.parallel import PARALLEL, derive
from recc.forms.verify import verify
from tests.agree.cases import Program, programs
from tests.agree.cases import program as one
from tests.agree.harness import agree, by_interpreter, by_oracle, differentiable
from tests.agree.updates import UPDATES
from tests.fuzz.generate import random_program
from tests.structure.generate import affine_program, semiring_program

BOUND = 1e-10
CASES = [(name, form) for name, p in programs().items() if len(p.rec.scan) == 1 for form in PARALLEL]


@pytest.mark.parametrize(("name", "form"), CASES)
def test_form_agrees_with_the_oracle(name: str, form: str) -> None:
    program = programs()[name]
    found = derive(program.rec, form)
    if isinstance(found, Refusal):
        assert found.reason
        return
    for loop in (*found.passes, *found.start):
        verify(loop.prologue)
        verify(loop.step)
        verify(loop.step_vjp)
    for seed, (steps, given) in enumerate([(5, True), (7, False)]):
        shapes = program.shapes(steps=steps, batch=1)
        arguments, initial = program.draw(shapes, seed)
        initial = initial if given else {}
        values, gradients, weights = by_oracle(program, shapes, arguments, initial)
        for chunk in (1, 2, 4, 0) if given else (3, 0):
            found = derive(program.rec, form, chunk or 64)
            assert not isinstance(found, Refusal)
            mine = by_interpreter(program, shapes, arguments, initial, weights, found, chunk)
            agree(mine[0], values, BOUND, (name, form, chunk))
            agree(mine[1], gradients, BOUND, (name, form, chunk))


@pytest.mark.parametrize("name", UPDATES)
def test_updates_of_every_shape(name: str) -> None:
    program = one(UPDATES[name])
    shapes = program.shapes(steps=9, batch=1)
    arguments, initial = program.draw(shapes, 3)
    values, gradients, weights = by_oracle(program, shapes, arguments, initial)
    derived = 0
    for form in PARALLEL:
        found = derive(program.rec, form, 4)
        if isinstance(found, Refusal):
            continue
        derived += 1
        for chunk in (1, 4) if found.longest else (1, 4, 0):
            mine = by_interpreter(program, shapes, arguments, initial, weights, found, chunk)
            agree(mine[0], values, BOUND, (form, chunk))
            agree(mine[1], gradients, BOUND, (form, chunk))
    assert derived >= 2


@pytest.mark.parametrize("kind", ["ring", "max", "logaddexp"])
def test_random_updates(kind: str) -> None:
    for seed in range(8):
        program = one(affine_program(seed) if kind == "ring" else semiring_program(seed, kind))
        shapes = program.shapes(steps=4, batch=1)
        arguments, initial = program.draw(shapes, seed)
        values, gradients, weights = by_oracle(program, shapes, arguments, initial)
        for form in PARALLEL:
            found = derive(program.rec, form, 2)
            if isinstance(found, Refusal):
                continue
            for chunk in (2,) if found.longest else (2, 0):
                mine = by_interpreter(program, shapes, arguments, initial, weights, found, chunk)
                agree(mine[0], values, 100 * BOUND, (seed, form, chunk))
                agree(mine[1], gradients, 100 * BOUND, (seed, form, chunk))


def test_a_chunk_longer_than_the_form_holds_for_is_refused() -> None:
    program = programs()["gated_linear_attention"]
    shapes = program.shapes(steps=9, batch=1)
    arguments, initial = program.draw(shapes, 3)
    found = derive(program.rec, "chunked", 4)
    with pytest.raises(ValueError, match="at most 4 steps"):
        by_interpreter(program, shapes, arguments, initial, {}, found, 0)


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_random_programs(first: int) -> None:
    for seed in range(first, first + 10):
        case = random_program(seed)
        program = Program(f"random {seed}", case.rec)
        shapes = program.shapes(steps=5, batch=1)
        arguments, initial = program.draw(shapes, seed)
        initial = {} if seed % 3 == 0 else initial
        values, gradients, weights = by_oracle(program, shapes, arguments, initial)
        for form in PARALLEL:
            found = derive(program.rec, form, 2 + seed % 2)
            if isinstance(found, Refusal):
                continue
            for chunk in (2,) if found.longest else (2, 0):
                mine = by_interpreter(program, shapes, arguments, initial, weights, found, chunk)
                agree(mine[0], values, 10 * BOUND, (seed, form, chunk))
                own = {n: g for n, g in gradients.items() if n in differentiable(program.rec)}
                agree(mine[1], own, 10 * BOUND, (seed, form, chunk))
