"""An explanation as text for a terminal, and its equations as LaTeX."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from recc.explain.document import Block, Cell, Equations, Excerpt, Figure, Item, Listing, Paragraph, Section, Table
from recc.explain.notation import Equation
from recc.explain.printers import Text, equation_text, equations_latex

_WRITE = Text()
_WIDEST = 118


def render_text(sections: Sequence[Section]) -> str:
    """All sections but those for the page alone, separated by empty lines."""
    shown = [s for s in sections if not s.on_page]
    parts = [[s.title, *(line for block in s.blocks for line in _block(block, "  "))] for s in shown]
    return "\n\n".join("\n".join(lines) for lines in parts)


def render_latex(sections: Sequence[Section]) -> str:
    """Every group of equations as an `align*` block, with what it is as a comment before it."""
    found = []
    for section in sections:
        for title, group in _groups(section.title, section.blocks):
            found.append(f"% {title}\n{equations_latex(group.equations)}")
    return "\n\n".join(found)


def _groups(title: str, blocks: Sequence[Block]) -> Iterator[tuple[str, Equations]]:
    for block in blocks:
        if isinstance(block, Equations):
            yield f"{title}: {block.lead}".rstrip(": "), block
        elif isinstance(block, Item):
            yield from _groups(f"{title}, {block.head}", block.blocks)


def _block(block: Block, indent: str) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield from wrap(block.text, _WIDEST, initial_indent=indent, subsequent_indent=indent)
    elif isinstance(block, Equations):
        if block.lead:
            yield f"{indent}{block.lead}"
        inner = f"{indent}  " if block.lead else indent
        for equation in block.equations:
            yield from _equation(equation, inner)
    elif isinstance(block, Table):
        yield from _table(block, indent)
    elif isinstance(block, Listing):
        yield from (f"{indent}{line}".rstrip() for line in block.text.split("\n"))
    elif isinstance(block, Excerpt):
        yield from _excerpt(block, indent)
    elif isinstance(block, Item):
        yield f"{indent}{block.head}"
        for inner_block in block.blocks:
            yield from _block(inner_block, f"{indent}   ")
    else:
        assert isinstance(block, Figure)


def _excerpt(block: Excerpt, indent: str) -> Iterator[str]:
    shown = block.shown
    if shown is None:
        return
    number, line, first, width = shown
    yield f"{indent}  {number} | {line}"
    yield f"{indent}  {' ' * len(str(number))} | {' ' * first}{'^' * width} {block.label}".rstrip()


def _table(table: Table, indent: str) -> Iterator[str]:
    rows = [[cell_text(c) for c in row] for row in ((table.heads, *table.rows) if table.headed else table.rows)]
    widths = [max((len(row[k]) for row in rows), default=0) for k in range(len(table.heads) - 1)]
    for row in rows:
        cells = [f"{c:<{w}}" for c, w in zip(row, widths, strict=False)]
        yield f"{indent}{'  '.join([*cells, row[-1]])}".rstrip()


def cell_text(cell: Cell) -> str:
    """A cell as text."""
    return cell if isinstance(cell, str) else _WRITE(cell)


def _equation(equation: Equation, indent: str) -> Iterator[str]:
    """An equation, broken before a sign outside all brackets where it is too long for a line."""
    text = equation_text(equation)
    hanging = indent + "    "
    lead = indent
    while len(lead) + len(text) > _WIDEST:
        cut = _break(text, _WIDEST - len(lead))
        if cut <= 0:
            break
        yield f"{lead}{text[:cut].rstrip()}"
        text, lead = text[cut:].lstrip(), hanging
    yield f"{lead}{text}"


def _break(text: str, limit: int) -> int:
    """The last place for a break that fits, or the first one."""
    depth, best = 0, 0
    for k, c in enumerate(text):
        depth += (c in "([{") - (c in ")]}")
        if depth == 0 and text[k : k + 3] in (" + ", " - ") and k > 8:
            if k > limit and best:
                break
            best = k
    return best


__all__ = ["cell_text", "render_latex", "render_text"]
