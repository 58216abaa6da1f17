"""The sections of an explanation, built from a recurrence: what is said, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from recc.diagnostics import NOWHERE, Span
from recc.errors import Refusal
from recc.explain.adjoint import Adjoint
from recc.explain.chunk import chunk_equations, logarithm
from recc.explain.combine import Groups, combine_equations
from recc.explain.costs import Setting, cost_blocks
from recc.explain.document import Block, Cell, Equations, Excerpt, Item, Listing, Paragraph, Section, Table
from recc.explain.figures import Figures
from recc.explain.kernel import kernel_equations
from recc.explain.linear import Linear, linear
from recc.explain.maths import Maths
from recc.explain.notation import Shift, times
from recc.forms.passes import Parallel
from recc.forms.table import Form, forms
from recc.recurrence import Kind, Recurrence, Stage, Symbol
from recc.show import show_domain, show_expr
from recc.structure import Affine, Cut, Nonlinear, Structure, cuts, normal_form, structures

_MOST_ENTRIES = 12  # pairs of states that are listed


@dataclass(frozen=True)
class Found:
    """What is known of a program, each part worked out once."""

    rec: Recurrence

    @cached_property
    def structures(self) -> tuple[Structure, ...]:
        """The structure of every stage."""
        return tuple(structures(self.rec))

    @cached_property
    def cuts(self) -> tuple[Cut, ...]:
        """What is handed from stage to stage."""
        return cuts(self.rec)

    @cached_property
    def affine(self) -> tuple[tuple[Affine, Linear | None], ...]:
        """The affine stages, taken apart where that can be done."""
        return tuple((s, linear(s, self.cuts)) for s in self.structures if isinstance(s, Affine))

    @cached_property
    def maths(self) -> Maths:
        """How its expressions are written."""
        return Maths(self.rec)


def sections(rec: Recurrence, setting: Setting) -> tuple[Section, ...]:
    """All sections of a program's explanation; those with nothing to say are left out."""
    found = Found(rec)
    figures = Figures(rec, found.structures, found.cuts, [x for _, x in found.affine if x is not None])
    made = (
        Section("program", (Listing(rec.source.text.strip("\n")),), on_page=True),
        Section("symbols", (Table(("name", "kind", "promised, and its first value"), tuple(_symbols(rec)), (0, 1)),)),
        Section("update", (Equations(tuple(found.maths.defined(e.target, e.expr) for e in rec.equations)),)),
        Section("stages", (*_stages(found), figures.stages())),
        Section("handed from stage to stage in place of a state", tuple(_cuts(found))),
        Section("scan form: the combine", tuple(_combines(found))),
        Section("chunked form", tuple(_chunks(found))),
        Section("convolution form", tuple(_kernels(found))),
        Section("adjoint", tuple(_adjoint(found))),
        Section("pictures", tuple(figures.samples()), on_page=True),
        Section("forms", tuple(_forms(found))),
        Section("costs", tuple(cost_blocks(rec, setting))),
        Section("blocks", tuple(_blocks(rec)), on_page=True),
    )
    return tuple(s for s in made if s.blocks)


def _symbols(rec: Recurrence) -> Iterator[tuple[Cell, ...]]:
    for symbol in rec.symbols:
        if symbol.kind is not Kind.LOCAL:
            name = f"{symbol.name}[{', '.join(symbol.axes)}]" if symbol.axes else symbol.name
            yield name, symbol.kind.value, _promise(rec, symbol)


def _promise(rec: Recurrence, symbol: Symbol) -> str:
    rest = show_domain(symbol)
    value = symbol.initial if symbol.kind is Kind.STATE else symbol.value
    if value is not None:
        return f"{rest} = {show_expr(value, rec.scan)}".strip()
    return f"{rest} starts at zero".strip() if symbol.kind is Kind.STATE else rest


def _stages(found: Found) -> Iterator[Block]:
    rec = found.rec
    for number, structure in enumerate(found.structures, 1):
        stage = structure.stage
        names = ", ".join(stage.states or stage.equations)
        if not stage.states:
            once = not any(rec.table[n].varies for n in stage.equations)
            yield Item(f"{number}. {names}: {'once for all steps' if once else str(structure)}", ())
            continue
        yield Item(f"{number}. {names}, {_way(stage, rec.scan)}", tuple(_stage(found, structure)))


def _stage(found: Found, structure: Structure) -> Iterator[Block]:
    rec = found.rec
    nonlinear = isinstance(structure, Nonlinear)
    yield Paragraph(str(structure).partition(":")[0] if nonlinear else str(structure))
    yield Paragraph(f"because {structure.reason}{_where(rec, structure.span)}")
    yield Excerpt(rec.source, structure.span)
    if isinstance(structure, Nonlinear):
        for note in structure.notes:
            yield Paragraph(f"`{_text(rec, note.span)}` {note.text}{_where(rec, note.span)}")
    if isinstance(structure, Affine):
        yield from _affine(structure, next(stage for s, stage in found.affine if s is structure))


def _affine(structure: Affine, stage: Linear | None) -> Iterator[Block]:
    maths = Maths(structure.rec)
    yield Equations(tuple(maths.defined(n, e) for n, e in normal_form(structure).items()))
    if len(structure.entries) > 1:
        lines = [str(e) for e in structure.entries[:_MOST_ENTRIES]]
        more = len(structure.entries) - _MOST_ENTRIES
        yield Listing("\n".join([*lines, *([f"and {more} more"] if more > 0 else [])]))
    if stage is not None:
        yield Table(("in the normal form", "here", "over"), tuple(_letters(stage)))
    if structure.resets:
        yield Paragraph(f"nothing is kept where {' or '.join(maths.expr(c) for c in structure.resets)}")
    if structure.stopped:
        yield Paragraph("no gradient passes through the part inside `stop`")


def _letters(stage: Linear) -> Iterator[tuple[Cell, ...]]:
    """The letters of `S[t] = d ⊙ S[t-1] + Σ u ⊗ (w · S[t-1]) + Σ b ⊗ c` and what they are here."""
    here, maths = Shift(stage.rec.scan[0]), stage.maths
    if stage.keeps:
        decay = stage.decay
        yield "d", "1" if decay is None else maths.node(decay, here), _over(decay.axes if decay else ())
    for r, low in enumerate(stage.low, 1):
        mark = str(r) if len(stage.low) > 1 else ""
        yield f"u{mark}", maths.node(low.u, here), _over(low.u.axes)
        yield f"w{mark}", maths.node(low.w, here), _over(low.w.axes)
    for m, sides in enumerate(stage.drives, 1):
        mark = str(m) if len(stage.drives) > 1 else ""
        present = [side for side in sides if side]
        for letter, side in zip("bc", present, strict=False):
            axes = dict.fromkeys(a for f in side for a in f.axes)
            yield f"{letter}{mark}", times(maths.node(f, here) for f in side), _over(tuple(axes))


def _over(axes: Sequence[str]) -> str:
    return ", ".join(axes) or "one number"


def _way(stage: Stage, scan: Sequence[str]) -> str:
    ways = {1: "left to right", -1: "right to left", 0: "in any direction"}
    if len(scan) == 1:
        return ways[stage.direction[0]]
    return ", ".join(f"{ways[d]} along {s}" for s, d in zip(scan, stage.direction, strict=True) if d)


def _where(rec: Recurrence, span: Span) -> str:
    if span == NOWHERE:
        return ""
    line, column = rec.source.position(span.start)
    return f" (line {line}, column {column})"


def _text(rec: Recurrence, span: Span) -> str:
    return " ".join(rec.source.slice(span).split())


def _cuts(found: Found) -> Iterator[Block]:
    rows: list[tuple[Cell, ...]] = []
    for cut in found.cuts:
        axes = f"over {', '.join(cut.axes)}" if cut.axes else "one number a step"
        rows.append(
            (found.maths.node(cut.expr), axes, f"made by stage {cut.maker + 1}, read by {', '.join(cut.readers)}")
        )
    if rows:
        yield Table(("what", "shape", "where"), tuple(rows))


def _grouped(groups: Groups) -> tuple[Block, ...]:
    return tuple(Equations(tuple(equations), lead) for lead, equations in groups)


def _of_each(found: Found, made: Sequence[tuple[Affine, tuple[Block, ...]]]) -> Iterator[Block]:
    """The blocks of each stage, under its own heading if there are several."""
    made = [(s, blocks) for s, blocks in made if blocks]
    several = len([s for s in found.structures if s.stage.states]) > 1
    for structure, blocks in made:
        if several:
            yield Item(", ".join(structure.states), blocks)
        else:
            yield from blocks


def _combines(found: Found) -> Iterator[Block]:
    if len(found.rec.scan) > 1:
        return
    yield from _of_each(found, [(s, _grouped(combine_equations(s))) for s, _ in found.affine])


def _chunks(found: Found) -> Iterator[Block]:
    made = []
    for structure, stage in found.affine:
        blocks = _grouped(chunk_equations(stage)) if stage is not None else ()
        if stage is not None and blocks:
            made.append((structure, (Paragraph(_stable(stage)), *blocks) if stage.decay is not None else blocks))
    yield from _of_each(found, made)


def _stable(stage: Linear) -> str:
    letter = stage.way.letters["decay"]
    assert stage.decay is not None
    if logarithm(stage.decay) is not None:
        return f"The decay is an exponential, so ratios of {letter} are exponentials of differences of running sums."
    if not stage.decay.varies:
        return f"The decay is the same at every step, so ratios of {letter} are powers of it."
    return f"Ratios of {letter} are products over the steps between. Nothing is divided, so a decay may be zero."


def _kernels(found: Found) -> Iterator[Block]:
    yield from _of_each(found, [(s, _grouped(kernel_equations(s, stage))) for s, stage in found.affine])


def _adjoint(found: Found) -> Iterator[Block]:
    groups = Adjoint(found.rec, found.structures).equations()
    if not groups:
        return
    outputs = ", ".join(f"∂{s.name}" for s in found.rec.outputs)
    steps = "Beyond the ends of time every gradient is zero, or that of the final state."
    if len(found.rec.states) == 1:
        letter = Adjoint(found.rec, found.structures).name(found.rec.states[0].name)
        yield Paragraph(
            f"∂x is the gradient of the loss by x, and {letter} that by the state; {outputs} is given. {steps}"
        )
    else:
        yield Paragraph(f"∂x is the gradient of the loss by x; {outputs} is given. {steps}")
    yield from _grouped(groups)


def _forms(found: Found) -> Iterator[Block]:
    table = forms(found.rec, found.structures)
    rows = tuple((name, _verdict(found.rec, name, form)) for name, form in table.items())
    yield Table(("form", "derived, or why not"), rows, (0,))


def _verdict(rec: Recurrence, name: str, form: Form | Refusal) -> str:
    if isinstance(form, Parallel):
        routes = "; ".join(f"{', '.join(states)}: {words}" for states, words in form.routes)
        return f"yes: {routes}" if routes else "yes"
    if not isinstance(form, Refusal):
        return "yes"
    where = _where(rec, form.span or NOWHERE)
    if name == "sequential":
        return f"by the numpy backend only: {form.reason}{where}"
    return f"no: {form.reason}{where}"


def _blocks(rec: Recurrence) -> Iterator[Block]:
    form = forms(rec)["sequential"]
    if isinstance(form, Refusal):
        return
    yield Paragraph("The sequential form as the compiler has it. Every other form is made of Blocks like these.")
    for k, loop in enumerate(form.passes, 1):
        name = f"pass {k}: " if len(form.passes) > 1 else ""
        yield Listing(str(loop.step), f"{name}the step")
        yield Listing(str(loop.step_vjp), f"{name}the VJP of the step, which is the adjoint as it is run")


__all__ = ["Found", "sections"]
