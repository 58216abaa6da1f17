"""An explanation as one self-contained HTML page, or as a fragment for a notebook."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from recc.explain import mathml
from recc.explain.document import (
    Block,
    Cell,
    Equations,
    Excerpt,
    Figure,
    Item,
    Listing,
    NoPicture,
    Paragraph,
    Section,
    Table,
)
from recc.explain.printers import equations_latex
from recc.explain.style import SCRIPT, STYLE

_WIDTH = 78  # characters of a formula before a sum is broken into lines


def page(name: str, doc: str, sections: Sequence[Section]) -> str:
    """A whole page. It asks nothing of the network and has its pictures inside."""
    links = "".join(f'<li><a href="#{_anchor(s)}">{escape(_title(s))}</a></li>' for s in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(name)}, explained</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body class="recc">
<a class="skip" href="#main">Skip to the explanation</a>
<header><h1>{escape(name)}</h1>{f"<p>{_inline(doc)}</p>" if doc else ""}</header>
<nav aria-label="Sections"><ul>{links}</ul></nav>
<main id="main">
{_body(sections)}
</main>
<footer><p>Derived from the program alone by recc.</p></footer>
<script>{SCRIPT}</script>
</body>
</html>
"""


def fragment(name: str, doc: str, sections: Sequence[Section]) -> str:
    """The same for a notebook: no script, and its style applies to nothing else there."""
    title = f"<h1>{escape(name)}</h1>{f'<p>{_inline(doc)}</p>' if doc else ''}"
    return f'<div class="recc part"><style>{STYLE}</style>{title}{_body(sections)}</div>'


def _body(sections: Sequence[Section]) -> str:
    return "\n".join(
        f'<section id="{_anchor(s)}"><h2>{escape(_title(s))}</h2>\n{"".join(map(_block, s.blocks))}</section>'
        for s in sections
    )


def _anchor(section: Section) -> str:
    return re.sub(r"[^a-z]+", "-", section.title.lower()).strip("-")


def _title(section: Section) -> str:
    return section.title[:1].upper() + section.title[1:]


def _inline(text: str) -> str:
    """A sentence, with code between backticks."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text, quote=False))


def _block(block: Block) -> str:
    if isinstance(block, Paragraph):
        return f"<p>{_inline(block.text)}</p>\n"
    if isinstance(block, Equations):
        return _equations(block)
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Listing):
        return _listing(block)
    if isinstance(block, Excerpt):
        return _excerpt(block)
    if isinstance(block, Figure):
        return _figure(block)
    assert isinstance(block, Item)
    return f'<div class="item"><h3>{_inline(block.head)}</h3>\n{"".join(map(_block, block.blocks))}</div>\n'


def _equations(block: Equations) -> str:
    latex = equations_latex(block.equations)
    lead = f'<p class="lead">{_inline(block.lead)}</p>' if block.lead else ""
    label = escape(block.lead.rstrip(":") or "Equations")
    maths = mathml.block(block.equations, latex, _WIDTH)
    button = '<button type="button" class="copy" hidden>copy LaTeX</button>'
    return f'{lead}<div class="formula">{_wide(label, maths)}{button}</div>\n'


def _table(block: Table) -> str:
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in block.heads)
    rows = "".join(f"<tr>{''.join(_cells(block, row))}</tr>\n" for row in block.rows)
    return _wide("Table", f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table>") + "\n"


def _wide(label: str, inside: str) -> str:
    """What may be wider than the page: it scrolls by itself, from the keyboard too."""
    return f'<div class="wide" role="group" tabindex="0" aria-label="{label}">{inside}</div>'


def _cells(block: Table, row: Sequence[Cell]) -> Iterator[str]:
    for k, cell in enumerate(row):
        if not isinstance(cell, str):
            inside = mathml.inline(cell)
        elif k in block.code and cell:
            inside = f"<code>{escape(cell)}</code>"
        else:
            inside = _inline(cell)
        yield f'<th scope="row">{inside}</th>' if k == 0 else f"<td>{inside}</td>"


def _listing(block: Listing) -> str:
    code = f'<pre tabindex="0"><code>{escape(block.text, quote=False)}</code></pre>'
    if not block.title:
        return f"{code}\n"
    return f"<details><summary>{_inline(block.title)}</summary>{code}</details>\n"


def _excerpt(block: Excerpt) -> str:
    shown = block.shown
    if shown is None:
        return ""
    number, line, first, width = shown
    before, marked, after = line[:first], line[first : first + width], line[first + width :]
    carets = f"{' ' * (len(str(number)) + 3 + first)}{'^' * width} {block.label}".rstrip()
    text = f"{number} | {escape(before)}<mark>{escape(marked)}</mark>{escape(after)}"
    return f'<pre class="excerpt" tabindex="0"><code>{text}\n<span aria-hidden="true">{carets}</span></code></pre>\n'


def _figure(block: Figure) -> str:
    try:
        drawn = block.draw()
    except NoPicture as why:
        return f'<p class="absent"><strong>{_inline(block.title)}.</strong> No picture: {_inline(str(why))}</p>\n'
    caption = f"<strong>{_inline(block.title)}.</strong> {_inline(block.caption)}"
    return f"<figure>{_wide('Picture', drawn)}<figcaption>{caption}</figcaption></figure>\n"


__all__ = ["fragment", "page"]
