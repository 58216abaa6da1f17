"""From a form to one Python module of torch functions, kept as a file and loaded from there.

The module has a function for each prologue and each phase of each pass; the loops around them are in
`launch` and `grid`. The file is named after a hash of its text and lies in the folder of `recc.backends.cache`;
`RECC_OVERRIDE=DIR` loads `DIR/<name>.py`, a hand-edited copy, in its place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

from torch import Tensor

from recc.backends.emitted import emitted
from recc.backends.torch_eager.emit import emit_block
from recc.backends.torch_eager.ops import Env
from recc.forms.block import Block, Constant, Contract, Gather, Map, Matrix, Rename, Shift
from recc.forms.distribute import Phase, distribute
from recc.forms.passes import Parallel, Pass, Sequential
from recc.forms.segment import SegmentMap

#: An emitted function: from inputs by name, sizes of axes and the rest of what it needs to outputs by name.
Function = Callable[[Mapping[str, Tensor], Mapping[str, int], Env], Mapping[str, Tensor]]

_NOTATION = """\
Every function maps tensors `[*lead, *axes]` by name to tensors by name. `lead` are batch axes, each of
full size or 1: `(B, *batch)`, or `(chunks, B, *batch)` where all chunks are computed at once. `sizes` has
the size of each axis, `env` the leading axes, the element type and the device.
NAME_prev is a state before a step or a chunk, NAME after it; `_re` and `_im` are the parts of complex values.
"""


#: The affine maps of phases that run as a tree, by the numbers of pass and phase, both from 0.
Trees = Mapping[tuple[int, int], SegmentMap]


_NO_TREES: Trees = {}


@dataclass(frozen=True)
class TreeFunctions:
    """The affine map of a phase, and its functions."""

    map: SegmentMap
    pieces: Function
    join: Function
    apply: Function


@dataclass(frozen=True)
class PassFunctions:
    """A pass with its functions: `None` for a Block without operations.

    `phases`, `functions` and `trees` belong together; a phase that is not run as a tree has `None` there. Over
    several scan axes there are none, but `step`. `views` are the results of the step that may lie in the memory of
    what it reads, or of another result. `products` says whether it has products of matrices, each of which would copy
    what does not lie row by row.
    """

    loop: Pass
    prologue: Function
    phases: tuple[Phase, ...]
    functions: tuple[Function | None, ...]
    trees: tuple[TreeFunctions | None, ...]
    step: Function | None
    views: frozenset[str]
    products: bool


#: Which calls a module is for: "" for any; "start" for those without an initial state, and "outputs" for those
#: that want no final state either. Only forms that take the whole sequence at once have the last two.
Variant = Literal["", "start", "outputs"]


@dataclass(frozen=True)
class Module:
    """A loaded module: the form that it runs, its text and where that lies.

    `variant` says which calls its passes are for.
    """

    form: Sequential | Parallel
    variant: Variant
    path: Path
    source: str
    passes: tuple[PassFunctions, ...]


def build(form: Sequential | Parallel, variant: Variant = "", trees: Trees = _NO_TREES) -> Module:
    """Emits, keeps and loads the module of a form, with some of its affine phases as trees.

    Raises `UsageError` for an edited module that does not load.
    """
    plans = _plans(form, variant)
    source = emit_module(form, variant, trees)
    found = emitted(f"{form.rec.name}_{_form_name(form)}", source)
    module = found.functions
    passes = tuple(_functions(module, n, loop, phases, trees) for n, (loop, phases) in enumerate(plans))
    return Module(form, variant, found.path, found.source, passes)


def emit_module(form: Sequential | Parallel, variant: Variant = "", trees: Trees = _NO_TREES) -> str:
    """The text of a form's module. The same form always gives the same text."""
    rec = form.rec
    start = {"": "", "start": ", from the initial values of the program", "outputs": ", from start to outputs only"}[
        variant
    ]
    text = [f"{rec.name}: {_form_name(form)} form{start}, torch.", ""]
    text += [f"    {line}".rstrip() for line in rec.source.text.strip().splitlines()]
    head = "\n".join([*text, "", _NOTATION]).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    lines = [f'"""{head}"""', "", *_IMPORTS, ""]
    comments = {e.target: " ".join(rec.source.slice(e.span).split()) for e in rec.equations}
    for number, (loop, phases) in enumerate(_plans(form, variant)):
        for title, name, block in _blocks(number, loop, phases, trees):
            lines += ["", f"# {title}", *_commented(emit_block(block, name), comments), ""]
    return "\n".join(lines).rstrip() + "\n"


def _plans(form: Sequential | Parallel, variant: Variant) -> list[tuple[Pass, tuple[Phase, ...]]]:
    """The passes of a form, each with its phases along one scan axis.

    In single steps no state is kept for all of them at once.
    """
    passes = form.start if variant and isinstance(form, Parallel) else form.passes
    if variant == "outputs":
        passes = tuple(p.without_finals() for p in passes)
    return [(p, distribute(p, sink=bool(p.chunk)) if len(p.directions) == 1 else ()) for p in passes]


_IMPORTS = (
    "from __future__ import annotations",
    "",
    "import torch",
    "",
    "from recc.backends.torch_eager import convolve, ops, scan",
)


#: Functions that may give their argument as it is.
_SAME = ("real", "int", "stop", "surrogate")


def _form_name(form: Sequential | Parallel) -> str:
    return form.name if isinstance(form, Parallel) else "sequential"


def _blocks(number: int, loop: Pass, phases: tuple[Phase, ...], trees: Trees) -> Iterator[tuple[str, str, Block]]:
    """Every Block of a pass with a title and the name of its function."""
    way = ", ".join("left to right" if d == 1 else "right to left" for d in loop.directions)
    yield (
        f"Pass {number + 1}, {way}. Before it: what does not vary with time.",
        _name(number, "prologue"),
        loop.prologue,
    )
    if len(loop.directions) > 1:
        yield "Each step.", _name(number, "step"), loop.step
    unit = "chunk" if loop.chunk else "step"
    for k, phase in enumerate(phases):
        if phase.block.ops:
            carried = ", ".join(dict.fromkeys(h.name for h in phase.carries))
            title = f"{unit.capitalize()} after {unit}, carrying {carried}." if phase.loop else f"All {unit}s at once."
            yield title, _name(number, f"phase_{k + 1}"), phase.block
        if (tree := trees.get((number, k))) is not None:
            for what, (title, block) in _tree_blocks(tree).items():
                yield title, _name(number, f"phase_{k + 1}_{what}"), block


def _tree_blocks(tree: SegmentMap) -> dict[str, tuple[str, Block]]:
    """The Blocks of a map, each with a title, by what they are called."""
    return {
        "pieces": ("The same in a tree, all chunks at once: each takes what is carried, c, to M c + F.", tree.pieces),
        "join": ("Two of these maps, the second after the first.", tree.join),
        "apply": ("What is carried after all chunks up to each, from what is carried first.", tree.apply),
    }


def _name(number: int, what: str) -> str:
    return f"pass_{number + 1}_{what}"


def _commented(text: str, comments: Mapping[str, str]) -> list[str]:
    """The lines of a function, with the user's line above each value that an equation defines."""
    found = []
    for line in text.rstrip().splitlines():
        made = re.match(r"( +)(\w+) = ", line)
        if made is not None and comments.get(made[2]):
            found.append(f"{made[1]}# {comments[made[2]]}")
        found.append(line)
    return found


def _functions(module: ModuleType, number: int, loop: Pass, phases: tuple[Phase, ...], trees: Trees) -> PassFunctions:
    def function(what: str) -> Function:
        found: Function = getattr(module, _name(number, what))
        return found

    def tree(k: int) -> TreeFunctions | None:
        if (number, k) not in trees:
            return None
        return TreeFunctions(
            trees[number, k], *(function(f"phase_{k + 1}_{what}") for what in ("pieces", "join", "apply"))
        )

    for block in (loop.prologue, loop.step):
        # Worked out now: a tracer cannot enter the lock that Python 3.11 has around it.
        _ = block.input, block.output, block.root
    of_phases = [function(f"phase_{k + 1}") if p.block.ops else None for k, p in enumerate(phases)]
    step = function("step") if len(loop.directions) > 1 else None
    products = any(isinstance(op, (Contract, Matrix)) for op in loop.step.ops)
    of_trees = tuple(map(tree, range(len(phases))))
    views = _views(loop)
    return PassFunctions(loop, function("prologue"), phases, tuple(of_phases), of_trees, step, views, products)


def _views(loop: Pass) -> frozenset[str]:
    """The results that may be views of what the step reads, or of a result before: nothing but moves lies between."""
    block = loop.step
    read = {v.name for v in block.inputs}
    base = {name: name for name in read}
    numbers = {op.out.name for op in block.ops if isinstance(op, Constant)}
    for op in block.ops:
        moves = isinstance(op, (Rename, Gather, Shift)) or (isinstance(op, Map) and op.fn in _SAME)
        if isinstance(op, Map) and op.fn in ("add", "mul"):
            moves = any(v.name in numbers for v in op.args)
        under = [base[v.name] for v in op.operands if v.name not in numbers] if moves else []
        base[op.out.name] = next((name for name in under if name in read), under[0] if under else op.out.name)
    found, taken, results = set(), set(read), block.output
    for port in loop.writes:
        if port.role == "output":
            under_it = base[results[port.value].name]
            if under_it in taken:
                found.add(port.value)
            taken.add(under_it)
    return frozenset(found)


__all__ = ["Function", "Module", "PassFunctions", "TreeFunctions", "Trees", "build", "emit_module"]
