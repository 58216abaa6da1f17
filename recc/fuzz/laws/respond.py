"""How the values of a program answer to its drives: whether they grow with them, or move along with them.

Found from the expressions alone, by rules that may miss a law but do not make one up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from recc.recurrence import Apply, Expr, Kind, Matrix, Number, Read, Recurrence, Reduce, Step, walk

#: `fixed` does not depend on the drives; `moves` is homogeneous of degree one in them (for `linear`), or goes up by
#: as much as they do (for `shifted`); `nothing` is zero, or minus infinity, and so any of them; `other` is none.
Answer = Literal["fixed", "moves", "nothing", "other"]
Answers = Literal["linear", "shifted"]


@dataclass(frozen=True)
class Drives:
    """Inputs, and slots of the state (of all states, and of what is read at a lag), to which results answer as the
    law says.
    """

    law: Answers
    inputs: frozenset[str]
    slots: frozenset[str]

    def answers(self, result: str) -> bool:
        """Whether a result answers: an output, or the final value of one of the slots."""
        return not result.startswith("final ") or result.removeprefix("final ") in self.slots


@lru_cache(maxsize=64)
def drives(rec: Recurrence, law: Answers) -> Drives | None:
    """The most inputs that, with all states, drive every output and state as the law says; `None` if there are none."""
    names = [s.name for s in rec.of_kind(Kind.INPUT) if s.dtype in ("real", "complex") and _free(rec, s.name)]
    chosen: frozenset[str] = frozenset()
    for name in names:
        if _slots(rec, law, chosen | {name}) is not None:
            chosen |= {name}
    # Several together may drive what none drives alone, as in a sum of two.
    chosen = chosen or frozenset(names)
    slots = _slots(rec, law, chosen) if chosen else None
    return None if slots is None else Drives(law, chosen, slots)


def _free(rec: Recurrence, name: str) -> bool:
    """Whether an input may have any value."""
    domain = rec.table[name].domain
    return not domain.bounded and not domain.unit


def _slots(rec: Recurrence, law: Answers, inputs: frozenset[str]) -> frozenset[str] | None:
    """The slots that move with some inputs and all states; `None` where results do not answer as the law says."""
    answers: dict[str, Answer] = dict.fromkeys(inputs, "moves")
    answers.update({s.name: "moves" for s in rec.states})
    for state in rec.states:
        # A state starts at zero, which moves; for `shifted`, at minus infinity.
        first = _answer(state.initial, law, answers) if state.initial is not None else _zero(law, 0.0)
        if first not in ("moves", "nothing"):
            return None
    order = [target for stage in rec.stages for target in stage.equations]
    for _ in range(2):  # intermediates may be read at a lag before they are known
        for target in order:
            symbol = rec.table[target]
            found = _answer(rec.equation[target].expr, law, answers)
            if symbol.kind in (Kind.STATE, Kind.OUTPUT) and found not in ("moves", "nothing"):
                return None
            if symbol.kind is not Kind.STATE:
                answers[target] = found
    # What is read beyond the ends of time is zero, which does not go up.
    if law == "shifted" and _reads_beyond(rec, answers):
        return None
    held = {slot.name: answers.get(slot.symbol, "fixed") for slot in rec.slots}
    if not set(held.values()) <= {"moves", "fixed"}:
        return None
    return frozenset(name for name, answer in held.items() if answer == "moves")


def _reads_beyond(rec: Recurrence, answers: Mapping[str, Answer]) -> bool:
    """Whether what moves is read where it is zero: at a lag, if it is no state, or outside an axis."""
    edges = {a.name for a in rec.axes if a.edge == "zero"}
    for equation in rec.equations:
        for node in walk(equation.expr):
            if not isinstance(node, Read) or answers.get(node.name) != "moves":
                continue
            symbol = rec.table[node.name]
            own = next((s.direction for s in rec.stages if node.name in s.equations), ())
            before = all(lag * way >= 0 for lag, way in zip(node.lags, own, strict=False))
            if any(node.lags) and (symbol.kind is not Kind.STATE or not before or max(map(abs, node.lags)) > 1):
                return True
            if any(getattr(i, "offset", 1) for i, a in zip(node.index, symbol.axes, strict=True) if a in edges):
                return True
    return False


def _zero(law: Answers, value: float) -> Answer:
    neutral = value == 0 if law == "linear" else abs(value) == float("inf")
    return "nothing" if neutral else "fixed"


def _answer(expr: Expr, law: Answers, known: Mapping[str, Answer]) -> Answer:
    if isinstance(expr, Number):
        return _zero(law, expr.value)
    if isinstance(expr, Step):
        return "fixed"
    if isinstance(expr, Read):
        indices: list[Answer] = [_answer(e, law, known) for e in expr.children]
        return known.get(expr.name, "fixed") if all(i in ("fixed", "nothing") for i in indices) else "other"
    below = [_answer(e, law, known) for e in expr.children]
    if "other" in below:
        return "other"
    if "moves" not in below and not ("nothing" in below and isinstance(expr, Apply) and expr.fn in _SUMS):
        return "nothing" if below == ["nothing"] and isinstance(expr, Reduce) and expr.fn in _KEEPS[law] else "fixed"
    if isinstance(expr, Matrix):
        linear = law == "linear" and expr.fn == "solve" and below[0] != "moves"
        return "moves" if linear else "other"
    if isinstance(expr, Reduce):
        return "moves" if expr.fn in _KEEPS[law] else "other"
    assert isinstance(expr, Apply)
    return _linear(expr.fn, below) if law == "linear" else _shifted(expr.fn, below)


_SUMS = frozenset({"add", "sub", "max", "min", "logaddexp", "where", "mul", "neg"})
_KEEPS: Mapping[Answers, frozenset[str]] = {
    "linear": frozenset({"sum", "mean"}),
    "shifted": frozenset({"max", "min", "logsumexp", "mean"}),
}


def _all(below: list[Answer]) -> Answer:
    """What takes one of several, or adds them where zero is nothing: all have to move."""
    if all(b == "nothing" for b in below):
        return "nothing"
    return "moves" if all(b in ("moves", "nothing") for b in below) else "fixed" if "moves" not in below else "other"


def _linear(fn: str, below: list[Answer]) -> Answer:
    if fn in ("add", "sub"):
        return _all(below)
    if fn == "mul":
        if "nothing" in below:
            return "nothing"
        return "other" if below == ["moves", "moves"] else "moves"
    if fn == "div":
        return "moves" if below[1] not in ("moves", "nothing") else "other"
    if fn == "where":
        return _all(below[1:]) if below[0] != "moves" else "other"
    return "moves" if fn in ("neg", "re", "im", "conj") else "other"


def _shifted(fn: str, below: list[Answer]) -> Answer:
    if fn == "add":
        return (
            "moves"
            if below.count("moves") == 1 and "nothing" not in below
            else "other"
            if "moves" in below
            else "fixed"
        )
    if fn == "sub":
        if below == ["moves", "moves"]:
            return "fixed"
        return "moves" if below == ["moves", "fixed"] else "other"
    if fn in ("max", "min", "logaddexp"):
        return _all(below)
    if fn == "where":
        return _all(below[1:]) if below[0] != "moves" else "other"
    return "nothing" if fn == "neg" and below == ["nothing"] else "other"


__all__ = ["Answers", "Drives", "drives"]
