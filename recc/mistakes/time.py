"""Mistakes of time: steps, states, directions, and the left sides of equations."""

from __future__ import annotations

from recc.mistakes.table import Mistake

TABLE: tuple[Mistake, ...] = (
    Mistake(
        "missing-time",
        "`{name}` varies with time, and its time is missing",
        "at which step?",
        why="inputs, states and what is made of them have one value per step: `[{time}]`",
        help="write `{shown}`",
    ),
    Mistake(
        "time-on-constant",
        "`{name}` does not vary with time",
        "has no step",
    ),
    Mistake(
        "bad-time-index",
        "a step is `{time}` plus or minus a whole number",
        "not such a step",
        why="how far back a program reads is known before it runs",
        help="write for example `{time}-1`; to pick by a computed index, use an axis",
    ),
    Mistake(
        "lag-too-large",
        "a step further than {limit} cannot be read",
        "too far",
        why="every step back is a value of the state",
        help="keep the past along an axis: `r[t] = where(first, x[t], r[t-1, k-1])`",
    ),
    Mistake(
        "scan-order",
        "the scan axes of `{name}` are in another order",
        "another scan axis is expected here",
        why="time comes first, in the order of the header: {order}",
        help="begin its indices with {order}",
    ),
    Mistake(
        "time-in-declaration",
        "`{axis}` is time, not an axis to declare",
        "not written in declarations",
        why="an input or state has one value per step by itself",
        help="write `{name}` without it",
    ),
    Mistake(
        "indexed-axis",
        "`{name}` is an axis and cannot be indexed",
        help="an axis stands inside the brackets of another name: `x[t, {name}]`",
    ),
    Mistake(
        "left-without-time",
        "the left side lacks the time",
        "at which step?",
        why="{what} has one value per step",
        help="write `{name}[{time}] = …`",
    ),
    Mistake(
        "missing-time-left",
        "`{name}` varies with time, but its left side does not say so",
        "no time here",
        why="a name without time has one value for all steps",
        help="write `{name}[{time}] = …`",
    ),
    Mistake(
        "left-shifted",
        "an equation gives the value of this step, not of another",
        "another step",
        why="the left side is always the step `t`; the right side reads other steps relative to it",
        help="write `{now} = …` and move the times of the right side along",
    ),
    Mistake(
        "left-named-index",
        "the left side names axes, it does not pick from them",
        "picks an element",
        why="an equation gives all elements of `{name}` at once",
        help="write the axis alone; to change one element, use `where(…)` with a table along the axis",
    ),
    Mistake(
        "left-index",
        "the left side of `{name}` has its axes, each once, and nothing else",
        "not an axis",
        why="an equation gives all elements at once",
        help="write axes of the header, or leave them away",
    ),
    Mistake(
        "left-axes",
        "`{name}` has other axes, or its axes in another order",
        "not as declared",
        help="write `{shown}`, or leave the axes away",
    ),
    Mistake(
        "state-never-updated",
        "the state `{name}` is never updated",
        "has no equation",
        why="a state has one equation that gives it at every step",
        help="add `{name}[t] = …`; for a value that stays as it is, declare a param or const",
    ),
    Mistake(
        "undeclared-state",
        "`{name}` depends on itself at another step, but it is not declared as a state",
        "another step of itself",
        why="what is carried from step to step has declared axes and a value before the first step",
        help="declare it: `state {name}[axes]`",
    ),
    Mistake(
        "cycle-in-step",
        "`{name}` depends on itself within one step: {chain}",
        "needs `{next}` of the same step",
        why="the equations of a step are computed one after the other",
        help="read one of them at an earlier step: `[t-1]`",
    ),
    Mistake(
        "both-directions",
        "{names} would have to run in both directions along {axis}",
        "reads a later {axis}",
        why="a state is computed from the steps before it or from those after it",
        help="use two states, one for each direction, and read both in an output",
    ),
    Mistake(
        "value-varies",
        "the value of this {kind} varies with time",
        "varies",
        why="`{name}` gets it once, before the first step",
        help="use numbers, params and consts; what varies belongs into an equation",
    ),
)
