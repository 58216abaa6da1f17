"""Formulas as text for a terminal and as LaTeX.

Every printer brackets by how tightly a formula holds together in its own notation: a fraction needs no
brackets in LaTeX, and a sum needs none around its argument in a terminal, where it has them already.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import isinf

from recc.explain.notation import (
    Big,
    Binary,
    Call,
    Chain,
    Equation,
    Indexed,
    Infix,
    Listed,
    Name,
    Node,
    Num,
    Power,
    Prefix,
    Shift,
    Truth,
    Words,
)

_RELATION, _OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _SIGN, _POWER, ATOM = range(10)
LEVEL: Mapping[Infix, int] = {
    "so": _RELATION, "or": _OR, "and": _AND, "lt": _COMPARE, "le": _COMPARE, "gt": _COMPARE,
    "ge": _COMPARE, "eq": _COMPARE, "ne": _COMPARE, "add": _SUM, "sub": _SUM, "mul": _PRODUCT, "div": _PRODUCT,
    "compose": _PRODUCT, "otimes": _PRODUCT, "oplus": _SUM,
}  # fmt: skip
_TEXT: Mapping[Infix, str] = {
    "add": " + ", "sub": " - ", "mul": " · ", "div": " / ", "lt": " < ", "le": " ≤ ", "gt": " > ", "ge": " ≥ ",
    "eq": " = ", "ne": " ≠ ", "and": " and ", "or": " or ", "compose": " ∘ ", "otimes": " ⊗ ",
    "oplus": " ⊕ ", "so": " = ",
}  # fmt: skip
_LATEX: Mapping[Infix, str] = {
    **_TEXT, "mul": r" \, ", "le": r" \le ", "ge": r" \ge ", "ne": r" \ne ", "and": r" \land ", "or": r" \lor ",
    "compose": r" \circ ", "otimes": r" \otimes ", "oplus": r" \oplus ",
}  # fmt: skip
_SUBSCRIPTS = str.maketrans("0123456789+-aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ")
_LOWERED = frozenset("0123456789+-aehijklmnoprstuvx")
GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "zeta": "ζ", "eta": "η", "theta": "θ",
    "iota": "ι", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν", "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ",
    "tau": "τ", "phi": "φ", "chi": "χ", "psi": "ψ", "omega": "ω",
}  # fmt: skip
_CAPITALS = frozenset(["Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega"])
_LETTERS = {v: f"\\{k}" for k, v in GREEK.items()} | {"Γ": r"\Gamma", "W̄": r"\bar{W}"}
KNOWN = frozenset(["exp", "log", "sin", "cos", "tanh", "min", "max"])

Shown = tuple[str, int]


class Printer(ABC):
    """Writes formulas. What differs between notations is left to the subclasses."""

    tight: Mapping[Infix, int] = {}

    def __call__(self, node: Node) -> str:
        """A formula as text of the notation."""
        return self._shown(node)[0]

    def _shown(self, node: Node) -> Shown:
        """A formula and how tightly it holds together."""
        if isinstance(node, Name):
            return self._name(node.text), ATOM
        if isinstance(node, Num):
            return self._number(node.value), _SUM if node.value < 0 else ATOM
        if isinstance(node, Shift):
            return self._shift(node), _SUM if node.offset else ATOM
        if isinstance(node, Indexed):
            return self._indexed(node), ATOM
        if isinstance(node, Words):
            return self._words(node.text), ATOM
        if isinstance(node, Truth):
            return self._truth(node), ATOM
        if isinstance(node, Listed):
            return self._listed(node), ATOM
        if isinstance(node, Chain):
            text = self._within(node.parts[0], _SUM)
            for sign, part in zip(node.signs, node.parts[1:], strict=True):
                text = self._joined(sign, text, self._within(part, _SUM))
            return text, _COMPARE
        if isinstance(node, Prefix):
            return self._prefix(node.op, self._within(node.arg, _PRODUCT if node.op == "neg" else _NOT)), (
                _SUM if node.op == "neg" else _NOT
            )
        if isinstance(node, Binary):
            return self._binary(node)
        if isinstance(node, Power):
            return self._power(node), _POWER
        if isinstance(node, Big):
            return self._big(node)
        assert isinstance(node, Call)
        return self._call(node), ATOM

    def _within(self, node: Node, least: int) -> str:
        """A formula with brackets if it holds together less tightly than it has to."""
        text, level = self._shown(node)
        return text if level >= least else self._bracketed(text)

    def _binary(self, node: Binary) -> Shown:
        """Two formulas and a sign. What ends in a sum needs brackets where something follows it."""
        level = LEVEL[node.op]
        tight = level + 1 if node.op in ("sub", "div") or level == _COMPARE else level
        left = self._within(node.left, level)
        if level >= _PRODUCT and self._open(node.left) and self._shown(node.left)[1] >= level:
            left = self._bracketed(left)
        return self._joined(node.op, left, self._within(node.right, tight)), level

    def _open(self, node: Node) -> bool:
        """Whether a formula ends in a sum without brackets of its own."""
        if isinstance(node, Binary):
            return node.op != "div" and self._open(node.right)
        return isinstance(node, Big) and self._big(node)[1] < ATOM

    @abstractmethod
    def _name(self, text: str) -> str:
        """A name."""

    @abstractmethod
    def _number(self, value: float) -> str:
        """A number."""

    @abstractmethod
    def _shift(self, node: Shift) -> str:
        """A place in time or along an axis."""

    @abstractmethod
    def _indexed(self, node: Indexed) -> str:
        """A name with step and indices."""

    @abstractmethod
    def _words(self, text: str) -> str:
        """Words."""

    @abstractmethod
    def _truth(self, node: Truth) -> str:
        """Iverson's bracket."""

    @abstractmethod
    def _listed(self, node: Listed) -> str:
        """A list or a matrix."""

    @abstractmethod
    def _prefix(self, op: str, arg: str) -> str:
        """A sign in front."""

    @abstractmethod
    def _joined(self, op: Infix, left: str, right: str) -> str:
        """A sign between."""

    @abstractmethod
    def _power(self, node: Power) -> str:
        """A power."""

    @abstractmethod
    def _big(self, node: Big) -> Shown:
        """A reduction."""

    @abstractmethod
    def _call(self, node: Call) -> str:
        """A function."""

    @abstractmethod
    def _bracketed(self, text: str) -> str:
        """Round brackets around a text of the notation."""


class Text(Printer):
    """For a terminal: steps as subscripts, indices only where they are not the declared ones."""

    def _name(self, text: str) -> str:
        return text

    def _number(self, value: float) -> str:
        return plain_number(value, "∞")

    def _shift(self, node: Shift) -> str:
        return shifted(node)

    def _indexed(self, node: Indexed) -> str:
        times = [self(t) for t in node.times]
        index = [self(i) for i in node.brief]
        base = self._within(node.base, ATOM)
        if len(times) == 1 and set(times[0]) <= _LOWERED:
            inside = f"[{', '.join(index)}]" if index else ""
            return f"{base}{times[0].translate(_SUBSCRIPTS)}{inside}"
        inside = ", ".join([*times, *index])
        return f"{base}[{inside}]" if inside else base

    def _words(self, text: str) -> str:
        return text

    def _truth(self, node: Truth) -> str:
        return f"[{self(node.condition)}]"

    def _listed(self, node: Listed) -> str:
        rows = "; ".join(", ".join(self(c) for c in row) for row in node.rows)
        return f"({rows})" if node.fence == "round" else f"[{rows}]"

    def _prefix(self, op: str, arg: str) -> str:
        return f"-{arg}" if op == "neg" else f"not {arg}"

    def _joined(self, op: Infix, left: str, right: str) -> str:
        return f"{left}{_TEXT[op]}{right}"

    def _power(self, node: Power) -> str:
        return f"{self._within(node.base, ATOM)}^{self._within(node.exponent, ATOM)}"

    def _big(self, node: Big) -> Shown:
        sign = {"sum": "Σ", "prod": "Π"}.get(node.fn, node.fn)
        axes = [self(b) for b in node.below]
        plain = all(isinstance(b, Shift) for b in node.below)
        below = "_".join(axes) if plain else f"{{{', '.join(axes)}}}"
        return f"{sign}_{below}({self(node.arg)})", ATOM

    def _call(self, node: Call) -> str:
        if node.fn in ("abs", "size"):
            return f"|{self(node.args[0])}|"
        index = f"[{', '.join(node.index)}]" if node.index else ""
        return f"{node.fn}{index}({', '.join(self(a) for a in node.args)})"

    def _bracketed(self, text: str) -> str:
        return f"({text})"


class Latex(Printer):
    """LaTeX: every index is written, as the page has room for them."""

    def _name(self, text: str) -> str:
        return rf"\partial {latex_name(text[1:])}" if text.startswith("∂") else latex_name(text)

    def _number(self, value: float) -> str:
        return plain_number(value, r"\infty")

    def _shift(self, node: Shift) -> str:
        name = latex_name(node.name) if node.name in _LETTERS else node.name
        return name if not node.offset else f"{name}{node.offset:+d}"

    def _indexed(self, node: Indexed) -> str:
        below = ", ".join(self(t) for t in (*node.times, *node.index))
        inner = node.base
        if below and isinstance(inner, Indexed):  # LaTeX has no second subscript
            below = f"{', '.join(self(t) for t in (*inner.times, *inner.index))}; {below}"
            inner = inner.base
        base = self._within(inner, ATOM)
        return f"{base}_{{{below}}}" if below else base

    def _words(self, text: str) -> str:
        return rf"\text{{{text}}}"

    def _truth(self, node: Truth) -> str:
        return rf"\left[{self(node.condition)}\right]"

    def _listed(self, node: Listed) -> str:
        if node.fence == "round":
            return rf"\left({r'; '.join(', '.join(self(c) for c in row) for row in node.rows)}\right)"
        rows = r" \\ ".join(" & ".join(self(c) for c in row) for row in node.rows)
        return rf"\begin{{bmatrix}} {rows} \end{{bmatrix}}"

    def _prefix(self, op: str, arg: str) -> str:
        return f"-{arg}" if op == "neg" else rf"\lnot {arg}"

    def _joined(self, op: Infix, left: str, right: str) -> str:
        return f"{left}{_LATEX[op]}{right}"

    def _binary(self, node: Binary) -> Shown:
        if node.op == "div":
            return rf"\frac{{{self(node.left)}}}{{{self(node.right)}}}", ATOM
        return super()._binary(node)

    def _power(self, node: Power) -> str:
        return f"{self._within(node.base, ATOM)}^{{{self(node.exponent)}}}"

    def _big(self, node: Big) -> Shown:
        below = ", ".join(self(b) for b in node.below)
        sign = {"sum": r"\sum", "prod": r"\prod", "max": r"\max", "min": r"\min"}.get(node.fn)
        sign = sign or rf"\operatorname{{{node.fn}}}"
        return f"{sign}_{{{below}}} {self._within(node.arg, _PRODUCT)}", _PRODUCT

    def _call(self, node: Call) -> str:
        fn, args = node.fn, [self(a) for a in node.args]
        if fn == "inv":
            return rf"\left({args[0]}\right)^{{-1}}"
        if node.index:
            return rf"\operatorname{{{fn}}}_{{{', '.join(node.index)}}}({', '.join(args)})"
        if fn in ("abs", "size"):
            return rf"\left|{args[0]}\right|"
        if fn == "where":
            return rf"\begin{{cases}} {args[1]} & {args[0]} \\ {args[2]} & \text{{otherwise}} \end{{cases}}"
        if fn in ("sqrt", "conj"):
            return rf"{chr(92)}{'sqrt' if fn == 'sqrt' else 'overline'}{{{args[0]}}}"
        if fn == "cis":
            return f"e^{{i {args[0]}}}"
        name = r"\sigma" if fn == "sigmoid" else rf"\{fn}" if fn in KNOWN else rf"\operatorname{{{escaped(fn)}}}"
        return rf"{name}\left({', '.join(args)}\right)"

    def _bracketed(self, text: str) -> str:
        return rf"\left({text}\right)"


def equation_text(equation: Equation) -> str:
    """An equation as one line for a terminal."""
    write = Text()
    left = f"{write(equation.left)} = " if equation.left is not None else ""
    side = equation.side if isinstance(equation.side, str) else write(equation.side)
    return f"{left}{write(equation.right)}{'   ' + side if side else ''}"


def equations_latex(equations: Sequence[Equation]) -> str:
    r"""Equations as an `align*` block that can be pasted into a paper."""
    write = Latex()
    rows = []
    for e in equations:
        left = f"{write(e.left)} &= " if e.left is not None else "&"
        side = e.side if isinstance(e.side, str) else write(e.side)
        side = rf"\text{{{escaped(side)}}}" if isinstance(e.side, str) and side else side
        rows.append(f"  {left}{write(e.right)}{rf' && {side}' if side else ''}")
    return "\n".join([r"\begin{align*}", *(f"{row} \\\\" for row in rows[:-1]), *rows[-1:], r"\end{align*}"])


def shifted(node: Shift) -> str:
    """A place as plain text."""
    return node.name if not node.offset else f"{node.name}{node.offset:+d}"


def plain_number(value: float, infinite: str) -> str:
    """A number without a needless point."""
    if isinf(value):
        return infinite if value > 0 else f"-{infinite}"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def escaped(name: str) -> str:
    """A name for use inside LaTeX's text."""
    return name.replace("_", r"\_")


def latex_name(name: str) -> str:
    """A name in LaTeX: Greek letters by their names, long names upright."""
    if name in _LETTERS:
        return _LETTERS[name]
    plain = name.rstrip("_")
    if plain in GREEK or plain in _CAPITALS:
        return f"\\{plain}"
    return plain if len(plain) == 1 else rf"\mathrm{{{escaped(plain)}}}"


__all__ = [
    "ATOM", "GREEK", "KNOWN", "LEVEL", "Latex", "Printer", "Shown", "Text", "equation_text", "equations_latex",
    "escaped", "latex_name", "plain_number", "shifted",
]  # fmt: skip
