"""Exact numbers as text."""

from __future__ import annotations

from recc.prove.ring import Exact, Rational, Space, size

_MOST_TERMS = 12


def show(number: Exact, most: int = _MOST_TERMS) -> str:
    """A number as a sum of products; beyond `most` terms it says how many there are."""
    if number.extreme is not None:
        return str(number.extreme)
    if not number.terms:
        return "0"
    shown: list[str] = []
    for m, x in list(number.terms.items())[:most]:
        text = _term(number.space, m, size(x))
        shown.append(("-" if x < 0 else "") + text if not shown else f"{'-' if x < 0 else '+'} {text}")
    if len(number.terms) > most:
        shown.append(f"+ … ({len(number.terms)} terms)")
    return " ".join(shown)


def _term(space: Space, monomial: int, scale: Rational) -> str:
    factors = [_power(space, a, e) for a, e in space.monomials[monomial]]
    if scale != 1 or not factors:
        factors.insert(0, _number(scale))
    return "*".join(factors)


def _number(value: Rational) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{float(value):.6g}…"


def _power(space: Space, a: int, e: Rational) -> str:
    atom = space.atoms[a]
    if atom.kind == "exp":
        inside = show(atom.args[0] * e, 4)
        return f"exp({inside})"
    name = atom.name if not atom.args else f"{atom.name}({', '.join(show(x, 4) for x in atom.args)})"
    if atom.kind == "truth" and atom.args:
        name = f"[{show(atom.args[0], 4)} > 0]"
    return name if e == 1 else f"{name}^{e if e > 0 else f'({e})'}"


__all__ = ["show"]
