"""A few planted faults of every level, which the fuzzer has to find; all others are planted by `make mutation`."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest

from tests.mutation import faults_c, faults_forms, faults_torch
from tests.mutation.fault import Fault, InCode, InText, NotThere, Planted, ways
from tests.mutation.harness import Budget, look_for

BUDGET = Budget(3, 60.0)
SLICE = {
    "final state lost": faults_c.FAULTS,
    "gradient of the initial state lost": faults_c.FAULTS,
    "scan: exponent one step off": faults_forms.FAULTS,
    "t >= s for t > s": faults_forms.FAULTS,
    "older states": faults_forms.FAULTS,
    "state not handed on": faults_torch.FAULTS,
}


def named(name: str) -> Fault:
    (found,) = (f for f in SLICE[name] if f.name == name)
    return found


@pytest.mark.parametrize("name", SLICE)
def test_a_planted_fault_is_found(name: str) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("without torch there are no gradients to compare")
    fault = named(name)
    result = look_for(replace(fault, ways=fault.ways[:1]), BUDGET)
    assert result.caught, result


def test_what_is_right_is_not_found() -> None:
    nothing = Fault(
        "nothing", "", "", InText("torch", ((r"torch\.exp\(", "torch.exp("),)), ("hgrn",), ways("torch scan 3")
    )
    result = look_for(nothing, Budget(2, 60.0))
    assert not result.law


def test_a_fault_that_applies_nowhere_is_an_error() -> None:
    fault = Fault("none", "", "", InText("torch", (("no such text", ""),)), ("hgrn",), ways("torch scan 3"))
    assert look_for(fault, Budget(1, 60.0)).problem == "it applies nowhere"
    with pytest.raises(NotThere), InCode("recc.forms.vjp:_mask", "no such text", "").planted(Planted()):
        pass


def test_a_fault_is_gone_afterwards() -> None:
    from recc.forms import vjp

    right = vjp._mask.__code__
    with InCode("recc.forms.vjp:_mask", "op.strict)", "not op.strict)").planted(Planted()):
        assert vjp._mask.__code__ is not right
    assert vjp._mask.__code__ is right


def test_every_fault_has_a_name_of_its_own() -> None:
    names = [f.name for f in (*faults_c.FAULTS, *faults_torch.FAULTS, *faults_forms.FAULTS)]
    assert len(names) == len(set(names))
    assert len(names) >= 60
