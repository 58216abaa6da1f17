"""Random programs by the torch backend in every form that they have, against torch's gradients of the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import recc
from recc.errors import Refusal
from recc.forms.parallel import PARALLEL, derive
from recc.fuzz import Shapes
from recc.recurrence import Kind
from recc.runtime.op import Op
from tests.agree.cases import Program, program
from tests.agree.harness import agree, by_kernels, by_oracle, tensors
from tests.fuzz.generate import random_program
from tests.structure.generate import affine_program


@dataclass(frozen=True)
class OneForm(Program):
    """A program with a new op of one form."""

    form: str = "sequential"
    chunk: int | None = None

    @property
    def op(self) -> Op:
        return Op(self.rec, backend="torch", form=self.form, chunk_size=self.chunk)


@pytest.mark.parametrize("seed", range(2000, 2012))
@pytest.mark.parametrize("kind", ["any", "affine"])
def test_random_programs(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    text = random_program(seed).text if kind == "any" else affine_program(seed)
    case = program(text)
    sizes = {a.size_of: int(rng.choice([2, 3, 5])) for a in case.rec.axes}
    heads = ((), (2,), (2, 1))[seed % 3]
    shapes = Shapes(sizes, (int(rng.choice([1, 6, 11])),) * len(case.rec.scan), 2, heads)
    arguments, initial = case.draw(shapes, seed)
    initial = initial if seed % 3 else {}
    values, expected, weights = by_oracle(case, shapes, arguments, initial)
    constants = {s.name for s in case.rec.of_kind(Kind.CONST)}
    for form in ("sequential", *PARALLEL):
        if form != "sequential" and isinstance(derive(case.rec, form), Refusal):
            continue
        one = OneForm(text, case.rec, form, 4 if form == "chunked" else None)
        steps = case.steps(shapes)
        found, gradients = by_kernels(one, tensors(arguments), tensors(initial), weights, steps=steps)
        agree(found, values, 1e-10, f"{form}\n{text}")
        # What a caller gives for a constant has no gradient.
        wanted = {n: g for n, g in expected.items() if n in gradients and n.removeprefix("d ") not in constants}
        agree({n: gradients[n] for n in wanted}, wanted, 1e-9, f"{form}\n{text}")


@pytest.mark.parametrize(("name", "form"), [("gated_delta_net", "chunked"), ("bidirectional", "auto")])
def test_the_fuzzer_takes_an_op_of_torch(name: str, form: str) -> None:
    op = recc.compile(recc.zoo.text(name), backend="torch", form=form)
    report = recc.fuzz(op, cases=4)
    assert "no counter-example" in str(report)
