"""Tuning: candidates, what may win, what is kept on disk. The interpreter takes the place of a GPU."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("triton")

import torch

import recc
from recc.backends.triton_gpu.plan import MOST, Plan, Space
from recc.backends.triton_gpu.tuning import Tuned, key_of, recall, remember, tune
from recc.forms.parallel import derive
from recc.forms.passes import Parallel
from recc.forms.sequential import Sequential, derive_sequential
from recc.runtime.tuning import Probe, tuned

CPU = torch.device("cpu")


def space(program: str, form: str = "chunked", size: int = 4, **more: object) -> Space:
    rec = getattr(recc.zoo, program).recurrence
    found = derive_sequential(rec) if form == "sequential" else derive(rec, form, 16)
    assert isinstance(found, Sequential | Parallel)
    sizes = {a.name: size for a in rec.axes if a.name == a.size_of}
    return Space(found, sizes, 1, **more)  # type: ignore[arg-type]  # fields by name


def wrong(plan: Plan) -> Plan:
    """A plan that is mistaken about the size of a chunk: what it keeps is not what it loads."""
    return replace(plan, backward=replace(plan.backward, segment=plan.backward.segment + 3))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECC_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("program", "form"),
    [("linear_attention", "chunked"), ("hgrn", "scan"), ("lif", "sequential"), ("s4d", "sequential")],
)
def test_a_good_cut_passes_the_probe(program: str, form: str) -> None:
    where = space(program, form)
    assert Probe(where, CPU).judge(where.first()) == ""


def test_packed_sequences_have_a_probe_too() -> None:
    where = space("hgrn", "scan", packed=True)
    assert Probe(where, CPU).judge(where.first()) == ""


def test_the_wrong_one_loses_even_when_it_is_fastest() -> None:
    where = space("hgrn", "sequential")
    good = where.candidates()[:2]
    plans = [wrong(good[0]), *good]
    found = tune(plans, Probe(where, CPU).judge, lambda plan: (0.0, 0.0) if plan == plans[0] else (1.0, 1.0))
    assert found.plan in good
    (note,) = found.notes
    assert "is off by" in note or "Error" in note


def test_what_does_not_compile_is_dropped_with_a_note() -> None:
    where = space("hgrn", "scan")
    plans = where.candidates()[:3]

    def judge(plan: Plan) -> str:
        if plan == plans[0]:
            raise RuntimeError("out of resources")
        return ""

    found = tune(plans, judge, lambda plan: (1.0, 1.0))
    assert found.plan == plans[1]
    assert found.notes[0].endswith("RuntimeError: out of resources")


def test_the_winner_has_the_best_of_each_direction() -> None:
    where = space("linear_attention", size=32, products="bfloat16", free=True)
    plans = [p for p in where.candidates() if p.chunk == 32]
    assert len(plans) >= 3
    times = {id(plans[1]): (1.0, 9.0), id(plans[2]): (9.0, 1.0)}
    judged: list[Plan] = []
    found = tune(plans, lambda p: judged.append(p) or "", lambda p: times.get(id(p), (5.0, 5.0)))
    assert found.plan == Plan(plans[1].forward, plans[2].backward)
    assert judged[-1] == found.plan, "what was put together is judged as well"


def test_directions_of_different_chunks_are_not_put_together() -> None:
    where = space("linear_attention", size=32, products="bfloat16", free=True)
    plans = [next(p for p in where.candidates() if p.chunk == c) for c in (16, 64)]
    found = tune(plans, lambda p: "", lambda p: (1.0, 9.0) if p.chunk == 16 else (8.0, 1.0))
    assert found.plan is not None
    assert found.plan.forward.chunk == found.plan.backward.chunk == 64


def test_nothing_wins_if_everything_is_wrong() -> None:
    where = space("hgrn", "scan")
    plans = where.candidates()
    found = tune(plans, lambda p: "wrong", lambda p: (1.0, 1.0))
    assert found.plan is None
    assert len(found.notes) == len(plans)


def test_a_winner_is_kept_and_found_again(folder: Path) -> None:
    where = space("hgrn", "scan", size=8)
    calls = []

    def timer(plan: Plan) -> tuple[float, float]:
        calls.append(plan)
        return 1.0 / len(calls), 1.0

    only = replace(where)
    object.__setattr__(only, "candidates", lambda: where.candidates()[:2])
    first = tuned(only, CPU, timer=timer)
    assert len(calls) == 2
    assert tuned(where, CPU, timer=timer) == first
    assert len(calls) == 2, "the second time nothing is run"
    (path,) = (folder / "tuned").glob("*.json")
    assert json.loads(path.read_text())["key"] == key_of(where, 1)


def test_a_broken_or_foreign_file_is_not_taken(folder: Path) -> None:
    where = space("hgrn", "scan", size=64)
    key = key_of(where, 1)
    remember(where, key, Tuned(where.first()))
    assert recall(where, key) == where.first()
    (path,) = (folder / "tuned").glob("*.json")
    for text in ('{"key": "another"}', "not JSON"):
        path.write_text(text)
        assert recall(where, key) is None
    assert remember(where, key, Tuned(where.first())) == recall(where, key), "and makes room for a good one"


def test_a_warning_tells_that_nothing_could_win(monkeypatch: pytest.MonkeyPatch) -> None:
    where = space("hgrn", "scan")
    monkeypatch.setattr(Probe, "judge", lambda self, plan: "planted")
    with pytest.warns(RuntimeWarning, match="no cut of hgrn may win(.|\n)*planted"):
        found = tuned(where, CPU, timer=lambda plan: (1.0, 1.0))
    assert found == where.first()


def test_the_key_has_no_names_and_no_batch() -> None:
    where = space("hgrn", "scan")
    key = key_of(where, 1)
    assert "hgrn" not in key
    assert key == key_of(replace(where, batch=3), 1)
    for other in (replace(where, sizes={"d": 8}), replace(where, compute="float64"), replace(where, arch="sm_80")):
        assert key_of(other, 1) != key
    assert key_of(space("hgrn", "sequential"), 1) != key


@pytest.mark.parametrize("program", ["linear_attention", "gated_delta_net", "hgrn", "mamba", "rwkv7", "gru"])
def test_there_are_few_candidates(program: str) -> None:
    for form in ("sequential", "scan", "chunked"):
        if form == "sequential" or isinstance(derive(getattr(recc.zoo, program).recurrence, form, 16), Parallel):
            found = space(program, form, 64, products="bfloat16", free=True).candidates()
            assert 1 <= len(found) <= MOST
            assert all(p.forward.chunk == p.backward.chunk for p in found)
