"""Formulas as MathML Core, which browsers lay out by themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from recc.explain.notation import Big, Binary, Call, Equation, Indexed, Infix, Listed, Node, Num, Power, Shift, Truth
from recc.explain.printers import ATOM, GREEK, Latex, Printer, Shown, plain_number

_PRODUCT = 6  # as tight as a product, see `printers.LEVEL`
_SIGNS: Mapping[Infix, str] = {
    "add": "+", "sub": "−", "lt": "<", "le": "≤", "gt": ">", "ge": "≥", "eq": "=", "ne": "≠", "and": "∧", "or": "∨",
    "compose": "∘", "otimes": "⊗", "oplus": "⊕", "so": "=",
}  # fmt: skip
_BIG = {"sum": "∑", "prod": "∏"}
_COMMA = '<mo separator="true">,</mo>'
_THIN = '<mspace width="0.17em"/>'
_CAPITALS = {k.capitalize(): v.upper() for k, v in GREEK.items()}


class MathML(Printer):
    """MathML, with the same brackets as LaTeX."""

    def _name(self, text: str) -> str:
        if text.startswith("∂"):
            return f"<mrow><mo form='prefix' rspace='0'>∂</mo>{self._name(text[1:])}</mrow>"
        if text.endswith("\u0304") and len(text) == 2:
            return f'<mover><mi>{escape(text[0])}</mi><mo stretchy="false">¯</mo></mover>'
        if text.endswith("'"):
            prime = "′" * text.count("'")
            return f"<mrow>{self._name(text.rstrip(chr(39)))}<mtext class='prime'>{prime}</mtext></mrow>"
        plain = text.rstrip("_")
        letter = GREEK.get(plain) or _CAPITALS.get(plain) or plain
        upright = ' mathvariant="normal"' if letter == "Γ" else ""
        return f"<mi{upright}>{escape(letter)}</mi>"

    def _number(self, value: float) -> str:
        text = plain_number(abs(value), "∞")
        return f"<mrow><mo form='prefix'>−</mo><mn>{text}</mn></mrow>" if value < 0 else f"<mn>{text}</mn>"

    def _shift(self, node: Shift) -> str:
        tag = "mn" if node.name.isdigit() else "mi"
        name = self._name(node.name) if tag == "mi" else f"<mn>{node.name}</mn>"
        if not node.offset:
            return name
        sign = "+" if node.offset > 0 else "−"
        return f"<mrow>{name}<mo lspace='0' rspace='0'>{sign}</mo><mn>{abs(node.offset)}</mn></mrow>"

    def _indexed(self, node: Indexed) -> str:
        comma = '<mo separator="true" lspace="0" rspace="0.1em">,</mo>'
        below = comma.join(self(t) for t in (*node.times, *node.index))
        inner = node.base
        if below and isinstance(inner, Indexed):
            first = comma.join(self(t) for t in (*inner.times, *inner.index))
            below, inner = f'{first}<mo separator="true" lspace="0" rspace="0.2em">;</mo>{below}', inner.base
        base = self._within(inner, ATOM)
        return f"<msub>{base}<mrow>{below}</mrow></msub>" if below else base

    def _words(self, text: str) -> str:
        return f"<mtext>{escape(text)}</mtext>"

    def _truth(self, node: Truth) -> str:
        return f"<mrow><mo>[</mo>{self(node.condition)}<mo>]</mo></mrow>"

    def _listed(self, node: Listed) -> str:
        rows = [[self(c) for c in row] for row in node.rows]
        if node.fence == "round":
            inside = "<mo>;</mo>".join(_COMMA.join(row) for row in rows)
            return self._bracketed(inside)
        cells = "".join(f"<mtr>{''.join(f'<mtd>{c}</mtd>' for c in row)}</mtr>" for row in rows)
        return f"<mrow><mo>[</mo><mtable>{cells}</mtable><mo>]</mo></mrow>"

    def _prefix(self, op: str, arg: str) -> str:
        return f"<mrow><mo form='prefix'>{'−' if op == 'neg' else '¬'}</mo>{arg}</mrow>"

    def _joined(self, op: Infix, left: str, right: str) -> str:
        sign = f"<mo>⁢</mo>{_THIN}" if op == "mul" else f"<mo>{escape(_SIGNS[op])}</mo>"
        return f"<mrow>{left}{sign}{right}</mrow>"

    def _binary(self, node: Binary) -> Shown:
        if node.op == "div":
            return f"<mfrac><mrow>{self(node.left)}</mrow><mrow>{self(node.right)}</mrow></mfrac>", ATOM
        if node.op == "mul" and isinstance(node.right, Num):
            left = self._within(node.left, _PRODUCT)
            return f"<mrow>{left}<mo>·</mo>{self._within(node.right, ATOM)}</mrow>", _PRODUCT
        return super()._binary(node)

    def _power(self, node: Power) -> str:
        return f"<msup>{self._within(node.base, ATOM)}<mrow>{self(node.exponent)}</mrow></msup>"

    def _big(self, node: Big) -> Shown:
        below = '<mo separator="true" lspace="0">,</mo>'.join(self(b) for b in node.below)
        sign = f'<mo movablelimits="false">{_BIG[node.fn]}</mo>' if node.fn in _BIG else f"<mi>{escape(node.fn)}</mi>"
        inner = self._within(node.arg, _PRODUCT)
        return f"<mrow><munder>{sign}<mrow>{below}</mrow></munder>{_THIN}{inner}</mrow>", _PRODUCT

    def _call(self, node: Call) -> str:
        fn, args = node.fn, [self(a) for a in node.args]
        if fn == "inv":
            return f"<msup>{self._bracketed(args[0])}<mrow><mo>−</mo><mn>1</mn></mrow></msup>"
        if fn in ("abs", "size"):
            return f"<mrow><mo>|</mo>{args[0]}<mo>|</mo></mrow>"
        if fn == "where":
            rows = [(args[1], args[0]), (args[2], "<mtext>otherwise</mtext>")]
            cells = "".join(f"<mtr><mtd>{a}</mtd><mtd>{b}</mtd></mtr>" for a, b in rows)
            return f"<mrow><mo>{{</mo><mtable class='cases'>{cells}</mtable></mrow>"
        if fn == "sqrt":
            return f"<msqrt>{args[0]}</msqrt>"
        if fn == "conj":
            return f'<mrow class="bar">{args[0]}</mrow>'
        if fn == "cis":
            return f"<msup><mi>e</mi><mrow><mi>i</mi>{_THIN}{args[0]}</mrow></msup>"
        name = "<mi>σ</mi>" if fn == "sigmoid" else f"<mi>{escape(fn)}</mi>"
        if node.index:
            name = f"<msub>{name}<mrow>{','.join(f'<mi>{escape(i)}</mi>' for i in node.index)}</mrow></msub>"
        return f"<mrow>{name}<mo>⁡</mo>{self._bracketed(_COMMA.join(args))}</mrow>"

    def _bracketed(self, text: str) -> str:
        return f"<mrow><mo>(</mo>{text}<mo>)</mo></mrow>"


_WRITE = MathML()
_LATEX = Latex()


def inline(node: Node) -> str:
    """One formula inside a sentence, with its LaTeX as an annotation."""
    return _annotated(_WRITE(node), _LATEX(node), "inline")


def block(equations: Sequence[Equation], latex: str, width: int) -> str:
    """Equations under one another, aligned at their equals signs; sums wider than `width` are broken."""
    rows = []
    for e in equations:
        left = "" if e.left is None else _WRITE(e.left)
        side = e.side if isinstance(e.side, str) else _WRITE(e.side)
        if side and isinstance(e.side, str):
            side = f"<mtext>{escape(side)}</mtext>"
        lines = broken(e.right, width)
        for k, (sign, part) in enumerate(lines):
            equals = ("<mo>=</mo>" if left else "") if k == 0 else ""
            lead = f"<mo form='prefix'>{sign}</mo>" if sign else ""
            indent = '<mspace width="1em"/>'
            note = f"<mspace width='2em'/>{side}" if side and k == len(lines) - 1 else ""
            right = f"<mrow>{indent if k else ''}{lead}{_WRITE(part)}{note}</mrow>"
            rows.append(f"<mtr><mtd>{left if k == 0 else ''}</mtd><mtd>{equals}</mtd><mtd>{right}</mtd></mtr>")
    return _annotated(f"<mtable class='rows' displaystyle='true'>{''.join(rows)}</mtable>", latex, "block")


def broken(node: Node, width: int) -> list[tuple[str, Node]]:
    """A sum as lines that are not wider than so many characters if possible: each with the sign before it."""
    terms: list[tuple[str, Node]] = []
    while isinstance(node, Binary) and node.op in ("add", "sub"):
        terms.append(("+" if node.op == "add" else "−", node.right))
        node = node.left
    terms.append(("", node))
    terms.reverse()
    lines: list[tuple[str, Node]] = []
    for sign, term in terms:
        if lines and _length(lines[-1][1]) + _length(term) <= width:
            joined = Binary("add" if sign == "+" else "sub", lines[-1][1], term)
            lines[-1] = (lines[-1][0], joined)
        else:
            lines.append((sign, term))
    return lines


def _length(node: Node) -> int:
    """About how many characters wide a formula is."""
    if isinstance(node, Binary):
        if node.op == "div":
            return max(_length(node.left), _length(node.right))
        return _length(node.left) + _length(node.right) + 2
    if isinstance(node, Indexed):
        return _length(node.base) + (1 + len(node.times) + len(node.index)) // 2
    if isinstance(node, Big):
        return 3 + _length(node.arg)
    if isinstance(node, Call):
        return len(node.fn) + 2 + sum(map(_length, node.args))
    if isinstance(node, Listed):
        return max(sum(_length(c) + 2 for c in row) for row in node.rows)
    if isinstance(node, Power):
        return _length(node.base) + _length(node.exponent)
    if isinstance(node, Truth):
        return 2 + _length(node.condition)
    text = getattr(node, "text", None) or getattr(node, "name", "") or "12"
    return len(text) if not hasattr(node, "arg") else 1 + _length(node.arg)


def _annotated(inside: str, latex: str, display: str) -> str:
    annotation = f'<annotation encoding="application/x-tex">{escape(latex)}</annotation>'
    return f'<math display="{display}"><semantics><mrow>{inside}</mrow>{annotation}</semantics></math>'


__all__ = ["MathML", "block", "broken", "inline"]
