"""From checked equations to stages in dependency order, their directions, and the slots of the state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recc.check.errors import Errors
from recc.check.graph import MOST_NOTES, a_cycle, components, in_order, show_chain
from recc.diagnostics import Note, Span
from recc.recurrence import Equation, Kind, Read, Slot, Stage, Step, Symbol, walk


@dataclass(frozen=True)
class _Use:
    """One read of a name that an equation gives: by which target, at which lags, where."""

    by: str
    name: str
    lags: tuple[int, ...]
    span: Span


@dataclass(frozen=True)
class Plan:
    """Stages in dependency order, the slots between pieces of time, and whether `t` is a number."""

    stages: tuple[Stage, ...]
    slots: tuple[Slot, ...]
    clock: bool


def plan(
    equations: Mapping[str, Equation], symbols: Mapping[str, Symbol], scan: tuple[str, ...], errors: Errors
) -> Plan:
    """Sort equations into stages and find what is carried from one piece of time to the next.

    A stage is a strongly connected component of "reads, at any lag"; its equations are sorted by what
    they read within one step. A component that reads itself at a step before runs left to right, at a
    step after right to left; a mixture is told as a mistake, and so is a cycle within one step.
    """
    uses = [use for e in equations.values() for use in _uses(e)]
    needs: dict[str, list[str]] = {name: [] for name in equations}
    for use in uses:
        if use.name in needs:
            needs[use.by].append(use.name)
    stages = _ordered([_stage(group, uses, needs, equations, scan, errors) for group in components(needs)], needs)
    initial = [s.initial for s in symbols.values() if s.initial is not None]
    clock = any(isinstance(n, Step) for x in [*(e.expr for e in equations.values()), *initial] for n in walk(x))
    slots = _slots(stages, uses, symbols) if len(scan) == 1 else ()
    return Plan(tuple(stages), slots, clock)


def _uses(equation: Equation) -> list[_Use]:
    return [_Use(equation.target, e.name, e.lags, e.span) for e in walk(equation.expr) if isinstance(e, Read)]


def _stage(
    group: list[str],
    uses: list[_Use],
    needs: Mapping[str, list[str]],
    equations: Mapping[str, Equation],
    scan: tuple[str, ...],
    errors: Errors,
) -> Stage:
    order = [name for name in equations if name in set(group)] if len(group) > 1 else group
    if len(group) == 1 and group[0] not in needs[group[0]]:
        return Stage((group[0],), (), (0,) * len(scan))
    inside = set(group)
    within = [u for u in uses if u.by in inside and u.name in inside]
    now: dict[str, list[str]] = {name: [] for name in order}
    for use in within:
        if not any(use.lags):
            now[use.by].append(use.name)
    chain = a_cycle(now)
    if chain:
        _tell_cycle(chain, within, equations, errors)
        return Stage(tuple(order), (), (0,) * len(scan))
    states = {u.name for u in within if any(u.lags)}
    direction = tuple(_direction(i, axis, within, errors) for i, axis in enumerate(scan))
    sorted_names = in_order(now)
    return Stage(tuple(sorted_names), tuple(n for n in order if n in states), direction)


def _tell_cycle(chain: list[str], within: list[_Use], equations: Mapping[str, Equation], errors: Errors) -> None:
    start = min(range(len(chain)), key=lambda i: equations[chain[i]].span)
    chain = chain[start:] + chain[:start]
    following = [*chain[1:], chain[0]]
    spans = [
        next(u.span for u in within if u.by == a and u.name == b and not any(u.lags))
        for a, b in zip(chain, following, strict=True)
    ]
    notes = tuple(
        Note(span, f"`{a}` needs `{b}` of the same step")
        for span, a, b in zip(spans[1:], chain[1:], following[1:], strict=True)
    )
    shown = show_chain(chain)
    errors.add("cycle-in-step", spans[0], notes=notes[:MOST_NOTES], chain=shown, name=chain[0], next=following[0])


def _direction(i: int, axis: str, within: list[_Use], errors: Errors) -> int:
    back = [u for u in within if u.lags and u.lags[i] > 0]
    ahead = [u for u in within if u.lags and u.lags[i] < 0]
    if back and ahead:
        first, second = back[0], ahead[0]
        notes = (Note(first.span, f"reads an earlier {axis}"),)
        names = " and ".join(dict.fromkeys([first.name, second.name]))
        errors.add("both-directions", second.span, notes=notes, axis=axis, names=names)
    return 1 if back else (-1 if ahead else 0)


def _ordered(stages: list[Stage], needs: Mapping[str, list[str]]) -> list[Stage]:
    """Stages so that each comes after what it reads, otherwise in the order of the text."""
    first = {name: i for i, name in enumerate(needs)}
    by_name = {min(s.equations, key=lambda n: first[n]): s for s in stages}
    owner = {name: key for key, s in by_name.items() for name in s.equations}
    edges: dict[str, list[str]] = {}
    for key in sorted(by_name, key=lambda n: first[n]):
        reads = [owner[n] for name in by_name[key].equations for n in needs[name]]
        edges[key] = [k for k in reads if k != key]
    return [by_name[key] for key in in_order(edges)]


def _slots(stages: list[Stage], uses: list[_Use], symbols: Mapping[str, Symbol]) -> tuple[Slot, ...]:
    """What must be known of the steps before, for every symbol, in the order of the text."""
    direction = {name: s.direction[0] or 1 for s in stages for name in s.equations}
    states = [s for s in symbols.values() if s.kind is Kind.STATE and s.name in direction]
    ways = {direction[s.name] for s in states} or {1}
    depth: dict[str, int] = {s.name: 1 for s in states}
    for use in uses:
        lag = use.lags[0] if use.lags else 0
        symbol = symbols[use.name]
        if symbol.kind is Kind.STATE:
            way = direction.get(use.name, 1)
        elif len(ways) == 1:
            way = next(iter(ways))
        else:
            continue
        if lag * way > 0:
            depth[use.name] = max(depth.get(use.name, 0), lag * way)
    slots: list[Slot] = []
    for symbol in symbols.values():
        for d in range(1, depth.get(symbol.name, 0) + 1):
            own = d == 1 and symbol.kind is Kind.STATE
            name = symbol.name if own else f"{symbol.name}_lag{d}"
            slots.append(Slot(name, symbol.name, d, symbol.axes, symbol.dtype, symbol.initial))
    return tuple(slots)


__all__ = ["Plan", "plan"]
