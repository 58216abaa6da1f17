"""Mistakes of names: unknown, given twice, not allowed, unused; and of calling functions."""

from __future__ import annotations

from recc.mistakes.table import Mistake

TABLE: tuple[Mistake, ...] = (
    Mistake(
        "unknown-name",
        "`{name}` is not known",
        "never declared",
        why="a name is declared by input, param, const or state, or given by an equation of this recurrence",
        help="declare it, for example `input {name}`",
    ),
    Mistake(
        "unknown-function",
        "there is no function `{name}`",
        "never defined",
        help="define it: `def {name}(x) = …`",
    ),
    Mistake(
        "not-a-function",
        "`{name}` is not a function",
        "called like one",
        why="round brackets call a function; square brackets index a value",
        help="write `{name}[…]` for its value at a time, `{name} * (…)` for a product",
    ),
    Mistake(
        "function-as-value",
        "`{name}` is a function, not a value",
        "used without arguments",
        help="call it: `{name}(…)`",
    ),
    Mistake(
        "wrong-arity",
        "`{name}` takes {wanted} {arguments}, not {given}",
        "{given} given",
        help="give it {wanted} {arguments}",
    ),
    Mistake(
        "duplicate-name",
        "`{name}` is given twice",
        "given again",
        why="axes, declared names, equations and definitions share one set of names",
        help="rename one of them",
    ),
    Mistake(
        "duplicate-recurrence",
        "there are two recurrences called `{name}`",
        "the second of this name",
        help="rename one of them",
    ),
    Mistake(
        "duplicate-parameter",
        "`{name}` is a parameter of `{function}` twice",
        help="rename one of them",
    ),
    Mistake(
        "reserved-name",
        "`{name}` cannot be the name of this {what}",
        "already has a meaning",
        why="it is {reason}",
        help="choose another name, for example `{name}_`",
    ),
    Mistake(
        "scan-axis-name",
        "`{name}` is time and cannot be the name of this {what}",
        "already the scan axis",
        why="the axis along which the recurrence runs is `t`, unless the header says `over …`",
        help="choose another name",
    ),
    Mistake(
        "leading-underscore",
        "a name cannot begin with an underscore",
        why="such names are kept for the emitted code",
        help="write `{bare}`",
    ),
    Mistake(
        "name-of-slot",
        "`{name}` is also what the state handed over between calls calls an earlier `{symbol}`",
        "taken",
        why="a value that is read k steps back is handed over as `name_lag<k>`",
        help="rename it",
    ),
    Mistake(
        "unused-name",
        "this {kind} is never used",
        "`{name}` has no effect",
        why="a name without effect is a forgotten term, or an argument that its caller gives for nothing",
        help="use it or remove it",
    ),
    Mistake(
        "unused-definition",
        "`{name}` is never called",
        "has no effect",
        help="call it or remove it",
    ),
    Mistake(
        "no-output",
        "`{name}` has no output",
        "gives nothing",
        why="a recurrence gives its caller at least one output",
        help="add for example `output y[t] = …`",
    ),
    Mistake(
        "output-of-declared",
        "`{name}` is declared as {kind} and cannot be an output as well",
        "a second meaning",
        help="give the output a name of its own: `output out[t] = {name}[t]`",
    ),
    Mistake(
        "equation-for-argument",
        "`{name}` is declared as {kind} and cannot be given by an equation",
        "given by the program's caller, or by its declaration",
        why="an equation defines a state, an output or an intermediate",
        help="give the result another name",
    ),
    Mistake(
        "second-equation",
        "`{name}` has two equations",
        "the second",
        why="one equation says what a name is at every step; there is no order in which they could be run",
        help="put both into one equation, or give an intermediate result its own name",
    ),
    Mistake(
        "value-on-argument",
        "`{name}` is declared as {kind} and has no value in the program",
        "not a promise",
        why="inputs and params are given by the caller",
        help="write `const {name} = …` for a fixed value",
    ),
    Mistake(
        "const-of-later",
        "the value of `{name}` uses `{other}`, which is not known before it",
        "not known yet",
        why="a constant is made of numbers, parameters and the constants above it",
        help="move it above, or write an equation `{name} = …` in place of the constant",
    ),
    Mistake(
        "recursive-definition",
        "`{name}` is defined by itself: {chain}",
        why="a definition stands for its body wherever it is used, which would never end",
        help="what repeats over time is a state: `state s`, `s[t] = … s[t-1] …`",
    ),
    Mistake(
        "indexed-parameter",
        "`{name}` stands for a whole expression here and cannot be indexed",
        "a parameter of the definition",
        help="write `{name}`, and index where the definition is used",
    ),
    Mistake(
        "axes-on-function",
        "`{name}` works element by element and takes no axes",
        "axes stand here",
        why="only reductions and matrix functions have axes in square brackets",
        help="write `{name}(…)`",
    ),
)
