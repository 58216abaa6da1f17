"""Random well-formed programs over the whole language.

A program has no, one or several stages, each of a kind that the compiler tells apart (`recc.structure`); a later stage
may read an earlier one. Around them stand values out of all functions of the language. What is declared keeps a program
stable: see `recc.fuzz.writing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .choose import Choices, Numbered
from .diagonal import DIAGONAL
from .ends import write_outputs
from .mixing import MIXING
from .others import NONLINEAR, SCORES
from .planes import PLANES
from .several import SEVERAL
from .shifting import SHIFTING
from .stage import Stage
from .sums import RING, SEMIRINGS, Hand
from .writer import Declaration, Writer

_Table = Sequence[tuple[int, Callable[[Stage], None]]]

_DOCS = ("", '    "A random program."', '    ""')
_INDENTS = ("    ", " ", "\t", "")


@dataclass(frozen=True)
class Drawn:
    """A program with the kinds of what it was made of, such as `diagonal`, `max-plus`, `right to left`, `wild`."""

    text: str
    labels: tuple[str, ...]

    def __str__(self) -> str:
        return self.text


def random_program(choices: Choices) -> Drawn:
    """A well-formed program of one recurrence; `recc.check.load` takes it."""
    writer = Writer(choices)
    kind = choices.weighted(((20, "stages"), (3, "several"), (1, "pointwise"), (1, "plane")))
    if kind == "plane":
        writer.scan = ("r", "k")
    wild = choices.pick((0.1, 0.25)) if choices.chance(0.5) else 0.0
    writer.labels += ["wild"] if wild else []
    if kind == "stages":
        for _ in range(choices.weighted(((5, 1), (4, 2), (2, 3)))):
            _stage(writer, wild)
    elif kind != "pointwise":
        name, make = _one_of(choices, SEVERAL if kind == "several" else PLANES)
        writer.labels.append(name)
        make(Stage(writer, Hand(writer, wild), depth=1))
        writer.close()
    else:
        writer.labels.append("pointwise")
    write_outputs(writer)
    return Drawn(_text(writer), tuple(writer.labels))


def numbered_program(seed: int, number: int) -> Drawn:
    """Program `number` of a seed, the same for ever."""
    return random_program(Numbered(seed, number))


def _one_of(choices: Choices, table: _Table) -> tuple[str, Callable[[Stage], None]]:
    make = choices.weighted(table)
    return make.__name__.replace("_", " "), make


def _stage(w: Writer, wild: float) -> None:
    """One stage of some kind, in some direction."""
    kind = w.by.weighted(((8, "linear"), (3, "scores"), (2, "nonlinear")))
    table = {"linear": (*DIAGONAL, *MIXING, *SHIFTING), "scores": SCORES, "nonlinear": NONLINEAR}[kind]
    algebra = w.by.pick(SEMIRINGS) if kind == "scores" else RING
    name, make = _one_of(w.by, table)
    role = "score" if kind == "scores" else "complex" if name == "spinning" else "mid"
    stage = Stage(
        w, Hand(w, wild, algebra, role), back=not w.by.chance(0.2), depth=w.by.weighted(((3, 1), (2, 2), (1, 0)))
    )
    w.labels += [name] + ([algebra.name] if kind == "scores" else []) + ([] if stage.back else ["right to left"])
    make(stage)
    w.close()


# The text --------------------------------------------------------------------------------------------


def _text(w: Writer) -> str:
    by = w.by
    odd = by.chance(0.2)
    indent = by.pick(_INDENTS) if odd else "    "
    equations = by.shuffled(w.equations) if by.chance(0.2) else w.equations
    body = [*w.definitions.values(), *equations]
    body = by.shuffled([*body, *w.outputs]) if by.chance(0.15) else [*body, *w.outputs]
    lines = [*_declared(w), *(_folded(w, line) if odd else line for line in body)]
    if odd and by.chance(0.5):
        lines.insert(by.integer(0, len(lines)), "# " + by.pick(("a remark", "[ (", "h[t] =")))
    doc = by.pick(_DOCS) if by.chance(0.2) else ""
    return "\n".join([_header(w), *([doc] if doc else []), *(indent + line for line in lines), ""])


def _header(w: Writer) -> str:
    axes = []
    for axis in w.used():
        root = w.root(axis)
        edge = w.roots[root] if axis == root else ""
        axes.append(f"{axis} = {root}" if axis != root else f"{axis} {edge}" if edge else axis)
    shown = f"({', '.join(axes)})" if axes else ""
    scan = f" over {', '.join(w.scan)}" if w.scan != ("t",) or w.by.chance(0.03) else ""
    return f"recurrence random{shown}{scan}"


def _declared(w: Writer) -> list[str]:
    """The declarations, several in one statement sometimes."""
    several = w.by.chance(0.5)
    lines: list[str] = []
    before: Declaration | None = None
    for found in w.declarations:
        if several and before is not None and before.word == found.word and len(lines[-1]) < 60:
            lines[-1] += f", {found}"
        else:
            lines.append(f"{found.word} {found}")
        before = found
    return lines


def _folded(w: Writer, line: str) -> str:
    """A statement on two lines, or with spaces of its own."""
    kind = w.by.integer(0, 4)
    at = line.find(" + ", line.find(" = "))
    if kind == 1 and at > 0:
        return line[:at] + " \\\n    " + line[at + 1 :]
    if kind == 2:
        head, right = line.split(" = ", 1)
        return f"{head} = ({right})"
    if kind == 3:
        head, right = line.split(" = ", 1)
        return f"{head} = (\n        {right}  # so far\n    )"
    return line.replace(" * ", "*") if kind == 4 else line


__all__ = ["Drawn", "numbered_program", "random_program"]
