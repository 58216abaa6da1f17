"""Stages, directions and slots; and the graph algorithms behind them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recc.check import load
from recc.check.graph import a_cycle, components, in_order
from recc.recurrence import Recurrence


def one(text: str) -> Recurrence:
    (recurrence,) = load(text)
    return recurrence


def stages(r: Recurrence) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(" ".join(s.equations), " ".join(s.states), s.direction) for s in r.stages]


def slots(r: Recurrence) -> list[tuple[str, str, int]]:
    return [(s.name, s.symbol, s.depth) for s in r.slots]


def test_equations_in_any_order() -> None:
    r = one("recurrence f\n output y[t] = g[t]\n g[t] = 2 * h[t]\n state h\n h[t] = 0.5 * h[t-1] + x[t]\n input x\n")
    assert stages(r) == [("h", "h", (1,)), ("g", "", (0,)), ("y", "", (0,))]


def test_coupled_states_are_one_stage_and_sorted_within_a_step() -> None:
    r = one(
        "recurrence f\n input x\n state h, c\n h[t] = o[t] * tanh(c[t])\n c[t] = f_[t] * c[t-1] + x[t]\n"
        "o[t] = sigmoid(h[t-1])\n f_[t] = sigmoid(h[t-1] + x[t])\n output y[t] = h[t]\n"
    )
    assert stages(r) == [("o f_ c h", "h c", (1,)), ("y", "", (0,))]


def test_cascade_is_several_stages() -> None:
    r = one(
        "recurrence f\n input x\n state G, C, S\n G[t] = G[t-1] + C[t-1] * S[t]\n C[t] = C[t-1] + S[t-1]\n"
        "S[t] = S[t-1] + x[t]\n output y[t] = G[t]\n"
    )
    assert [s[0] for s in stages(r)] == ["S", "C", "G", "y"]


def test_both_directions_and_an_output_reading_both() -> None:
    r = one(
        "recurrence f\n input a, x\n state h, b\n h[t] = a[t] * h[t-1] + x[t]\n b[t] = a[t] * b[t+1] + x[t]\n"
        "output y[t] = h[t] + b[t+1]\n"
    )
    assert [s.direction for s in r.stages] == [(1,), (-1,), (0,)]
    assert slots(r) == [("h", "h", 1), ("b", "b", 1)]


def test_time_invariant_intermediate_comes_before_its_users() -> None:
    r = one(
        "recurrence f\n input x\n param A\n state h\n h[t] = abar * h[t-1] + x[t]\n abar = exp(A)\noutput y[t] = h[t]\n"
    )
    assert [s[0] for s in stages(r)] == ["abar", "h", "y"]
    assert not r.table["abar"].varies


def test_slots_of_higher_order() -> None:
    r = one("recurrence f\n input x\n state y = 1\n y[t] = y[t-3] + x[t]\n output o[t] = y[t]\n")
    assert slots(r) == [("y", "y", 1), ("y_lag2", "y", 2), ("y_lag3", "y", 3)]
    assert all(s.initial == r.table["y"].initial for s in r.slots)


def test_slots_of_lagged_inputs_and_intermediates() -> None:
    r = one("recurrence f(d)\n input x[d], s int(d)\n g[t] = 2 * x[t]\n output y[t] = g[t-2] + x[t-1, s[t]] + x[t+1]\n")
    assert slots(r) == [("x_lag1", "x", 1), ("g_lag1", "g", 1), ("g_lag2", "g", 2)]
    assert r.slots[0].axes == ("d",)


def test_slots_of_a_program_from_right_to_left() -> None:
    r = one("recurrence f\n input x\n state h\n h[t] = h[t+1] + x[t-1] + x[t+2]\n output y[t] = h[t]\n")
    assert slots(r) == [("x_lag1", "x", 1), ("x_lag2", "x", 2), ("h", "h", 1)]


def test_no_slots_for_inputs_if_states_run_both_ways() -> None:
    r = one(
        "recurrence f\n input x\n state h, b\n h[t] = h[t-1] + x[t-1]\n b[t] = b[t+1] + x[t+1]\n"
        "output y[t] = h[t] + b[t]\n"
    )
    assert [s.name for s in r.slots] == ["h", "b"]


def test_deeper_slots_for_readers_in_other_stages() -> None:
    r = one("recurrence f\n input x\n state h\n h[t] = 0.5 * h[t-1] + x[t]\n output y[t] = h[t-2] + h[t+1]\n")
    assert slots(r) == [("h", "h", 1), ("h_lag2", "h", 2)]


def test_state_that_is_only_written_has_a_slot() -> None:
    r = one("recurrence f\n input x\n state last\n last[t] = x[t]\n output y[t] = 2 * x[t]\n")
    assert slots(r) == [("last", "last", 1)]
    assert stages(r)[0] == ("last", "", (0,))


GRAPHS = st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefghz"), max_size=4))


def reachable(edges: dict[str, list[str]], start: str) -> set[str]:
    found: set[str] = set()
    todo = list(edges.get(start, []))
    while todo:
        node = todo.pop()
        if node not in found and node in edges:
            found.add(node)
            todo.extend(edges[node])
    return found


@settings(max_examples=200, deadline=None)
@given(GRAPHS)
def test_components_against_the_definition(edges: dict[str, list[str]]) -> None:
    groups = components(edges)
    assert sorted(n for g in groups for n in g) == sorted(edges)
    place = {n: i for i, g in enumerate(groups) for n in g}
    to = {n: reachable(edges, n) for n in edges}
    for a in edges:
        for b in edges:
            together = a == b or (b in to[a] and a in to[b])
            assert (place[a] == place[b]) == together
            if b in to[a]:
                assert place[b] <= place[a]


@settings(max_examples=200, deadline=None)
@given(GRAPHS)
def test_cycle_and_order(edges: dict[str, list[str]]) -> None:
    cycle = a_cycle(edges)
    if cycle:
        for a, b in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            assert b in edges[a]
        assert len(set(cycle)) == len(cycle)
    else:
        order = in_order(edges)
        assert sorted(order) == sorted(edges)
        for name, needs in edges.items():
            assert all(order.index(n) < order.index(name) for n in needs if n in edges)


@pytest.mark.parametrize("size", [5_000])
def test_long_chains_need_no_recursion(size: int) -> None:
    edges = {str(i): [str(i + 1)] for i in range(size)}
    assert len(components(edges)) == size
    assert in_order(edges)[0] == str(size - 1)
