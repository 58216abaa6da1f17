"""Checking expressions: names looked up, default indices written out, definitions expanded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, isinf

from recc import syntax
from recc.builder import MAX_DEPTH
from recc.check import indexing
from recc.check.scope import CALLABLE, MATRIX_FUNCTIONS, OPERATORS, Scope
from recc.check.typed import Maker, Typed
from recc.diagnostics import Note, Span
from recc.mistakes import closest, did_you_mean
from recc.recurrence import FUNCTIONS, REDUCTIONS, Step

#: The arguments of the definition being expanded, by parameter.
Environment = Mapping[str, Typed | None]

_BINARY = {
    "+": "add", "-": "sub", "*": "mul", "/": "div", "**": "pow", "<": "lt", "<=": "le", ">": "gt", ">=": "ge",
    "==": "eq", "!=": "ne", "and": "and", "or": "or",
}  # fmt: skip
_EXACT = 2.0**53


class Expressions:
    """Checks the expressions of one recurrence. Every method gives `None` after a mistake it has told."""

    def __init__(self, scope: Scope):
        self.scope = scope
        self.errors = scope.errors
        self.make = Maker(scope)
        self._level = 0
        self._calls: list[tuple[str, Span]] = []
        self._handlers: dict[type, Callable[..., Typed | None]] = {
            syntax.Number: self._number,
            syntax.Ref: self._ref,
            syntax.Index: self._index,
            syntax.Call: self._call,
            syntax.Unary: self._unary,
            syntax.Binary: self._binary,
        }

    def check(self, node: syntax.Expr, env: Environment | None = None) -> Typed | None:
        """The checked expression of a Syntax node."""
        self._level += 1
        if self._level > MAX_DEPTH:
            raise self.errors.fatal("expression-too-deep", Span(node.span.start, node.span.start + 1), limit=MAX_DEPTH)
        try:
            return self._handlers[type(node)](node, env or {})
        finally:
            self._level -= 1

    def notes(self) -> tuple[Note, ...]:
        """Where the definitions being expanded were called, for a mistake inside one."""
        return tuple(Note(span, f"`{name}` is used here") for name, span in self._calls[-1:])

    def _number(self, node: syntax.Number, env: Environment) -> Typed | None:
        value = float(node.text)
        whole = node.text.isdigit()
        if isinf(value) or (whole and value > _EXACT):
            self.errors.add("number-too-large", node.span, text=node.text[:20])
            return None
        return self.make.number(value, "int" if whole else "real", node.span)

    def _ref(self, node: syntax.Ref, env: Environment) -> Typed | None:
        name, span = node.name, node.span
        if name in env:
            return env[name]
        if name in self.scope.scan:
            return self.make.typed(Step(name, dtype="int", varies=True, span=span), (0.0, inf))
        if name == "inf":
            return self.make.number(inf, "real", span)
        symbol = self.scope.symbols.get(name)
        if symbol is None:
            self.missing(name, span)
            return None
        if name in self.scope.unknown:
            return None
        if symbol.varies:
            time = ", ".join(self.scope.scan)
            self.errors.add("missing-time", span, notes=self.notes(), name=name, time=time, shown=f"{name}[{time}]")
            return None
        return indexing.read(self, symbol, (), (), span, env)

    def missing(self, name: str, span: Span) -> None:
        """Tell why a name that is no symbol cannot be read."""
        scope = self.scope
        if name in scope.unknown or name in scope.equations:
            return  # its own equation has told a mistake
        if name in scope.axes:
            self.errors.add("axis-as-number", span, notes=self.notes(), name=name)
        elif name in scope.definitions or name in CALLABLE:
            self.errors.add("function-as-value", span, notes=self.notes(), name=name)
        else:
            scope.unknown.add(name)  # told once
            nearest = closest(name, (*scope.visible(), "inf"))
            scope.meant.add(nearest)
            help = f"did you mean `{nearest}`?" if nearest else None
            self.errors.add("unknown-name", span, notes=self.notes(), name=name, help=help)

    def _index(self, node: syntax.Index, env: Environment) -> Typed | None:
        name = node.name.text
        if name in env:
            self.errors.add("indexed-parameter", node.span, notes=self.notes(), name=name)
            return None
        symbol = self.scope.symbols.get(name)
        if symbol is None:
            if name in self.scope.scan or name in self.scope.axes:
                self.errors.add("indexed-axis", node.span, name=name)
            else:
                self.missing(name, node.name.span)
            return None
        if name in self.scope.unknown:
            return None
        split = indexing.split_time(self, symbol, node)
        if split is None:
            return None
        self._level += 1  # an index is checked by several calls, each of which takes stack
        try:
            return indexing.read(self, symbol, *split, node.span, env)
        finally:
            self._level -= 1

    def _unary(self, node: syntax.Unary, env: Environment) -> Typed | None:
        operand = self.check(node.operand, env)
        if node.op == "+":
            return operand
        return self.make.apply("neg" if node.op == "-" else "not", (operand,), node.span, node.op)

    def _binary(self, node: syntax.Binary, env: Environment) -> Typed | None:
        left = self.check(node.left, env)
        right = self.check(node.right, env)
        return self.make.apply(_BINARY[node.op], (left, right), node.span, node.op)

    def _call(self, node: syntax.Call, env: Environment) -> Typed | None:
        name = node.name.text
        if name in self.scope.definitions:
            return self._expand(node, env)
        reduction = name in REDUCTIONS and (node.items is not None or name not in FUNCTIONS)
        if name in MATRIX_FUNCTIONS or reduction:
            return self._over_axes(node, env)
        if name not in FUNCTIONS or name in OPERATORS:
            self._not_a_function(node, env)
            return None
        if node.items is not None:
            self.errors.add("axes-on-function", node.name.span.to(node.items[-1].span), name=name)
            return None
        args = self._args(node, env)
        if not self._arity(node, name, FUNCTIONS[name].arity):
            return None
        if name == "surrogate" and not self._same_axes(node, args):
            return None
        return self.make.apply(name, args, node.span)

    def _args(self, node: syntax.Call, env: Environment) -> tuple[Typed | None, ...]:
        args: list[Typed | None] = []
        for arg in node.args:
            args.append(self.check(arg, env))
        return tuple(args)

    def _arity(self, node: syntax.Call, name: str, wanted: int) -> bool:
        if len(node.args) == wanted:
            return True
        plural = "argument" if wanted == 1 else "arguments"
        help = None
        if name in ("max", "min") and len(node.args) == 1:
            help = f"write `{name}(a, b)` for the larger of two, or `{name}[i](x)` over an axis i"
            help = help.replace("larger", "smaller") if name == "min" else help
        elif name in ("max", "min", "logaddexp") and len(node.args) > 2:
            help = f"nest it: `{name}({name}(a, b), c)`"
        given = len(node.args)
        self.errors.add(
            "wrong-arity",
            node.span,
            notes=self.notes(),
            help=help,
            name=name,
            wanted=wanted,
            given=given,
            arguments=plural,
        )
        return False

    def _same_axes(self, node: syntax.Call, args: tuple[Typed | None, ...]) -> bool:
        forward, backward = args
        if forward is None or backward is None or forward.expr.axes == backward.expr.axes:
            return True
        shown = [", ".join(a.expr.axes) or "none" for a in (forward, backward)]
        self.errors.add("surrogate-axes", node.span, forward=shown[0], backward=shown[1])
        return False

    def _not_a_function(self, node: syntax.Call, env: Environment) -> None:
        name, span = node.name.text, node.name.span
        scope = self.scope
        if name in env or name in scope.symbols or name in scope.equations or name in scope.axes or name in scope.scan:
            self.errors.add("not-a-function", node.span, name=name)
        else:
            help = did_you_mean(name, (*scope.definitions, *CALLABLE))
            self.errors.add("unknown-function", span, notes=self.notes(), name=name, help=help or None)

    def _expand(self, node: syntax.Call, env: Environment) -> Typed | None:
        name = node.name.text
        definition = self.scope.definitions[name]
        args = self._args(node, env)
        if node.items is not None:
            self.errors.add("axes-on-function", node.name.span.to(node.items[-1].span), name=name)
            return None
        if name in self.scope.unknown:
            return None
        if not self._arity(node, name, len(definition.parameters)):
            return None
        self._calls.append((name, node.span))
        try:
            inner = {p.text: a for p, a in zip(definition.parameters, args, strict=True)}
            return self.check(definition.body, inner)
        finally:
            self._calls.pop()

    def _over_axes(self, node: syntax.Call, env: Environment) -> Typed | None:
        """A reduction or a matrix function: its axes in brackets, then its arguments."""
        name = node.name.text
        args = self._args(node, env)
        if node.items is None:
            code = "matrix-without-axes" if name in MATRIX_FUNCTIONS else "reduction-without-axes"
            self.errors.add(code, node.name.span, name=name, help=self._which_axes(node, args))
            return None
        over = self._axes_of(node)
        if not self._arity(node, name, 2 if name == "solve" else 1) or over is None:
            return None
        known = tuple(a for a in args if a is not None)
        if len(known) < len(args):
            return None
        if name in MATRIX_FUNCTIONS:
            return self._matrix(node, over, known)
        ok = True
        for axis, item in zip(over, node.items, strict=True):
            if axis not in known[0].expr.axes:
                ok = False
                has = ", ".join(known[0].expr.axes) or "no axes"
                notes = (Note(known[0].expr.span, f"has {has}"), *self.notes())
                self.errors.add("axis-not-there", item.span, notes=notes, axis=axis)
        return self.make.reduce(name, over, known[0], node.span) if ok else None

    def _which_axes(self, node: syntax.Call, args: tuple[Typed | None, ...]) -> str | None:
        if node.name.text in MATRIX_FUNCTIONS or len(args) != 1 or args[0] is None or not args[0].expr.axes:
            return None
        ways = " or ".join(f"`{node.name.text}[{a}](…)`" for a in args[0].expr.axes)
        return f"write {ways}"

    def _axes_of(self, node: syntax.Call) -> tuple[str, ...] | None:
        """The axes in the brackets of a reduction, each an axis of the header and none twice."""
        axes: list[str] = []
        ok = True
        for item in node.items or ():
            name = item.expr.name if item.axis is None and isinstance(item.expr, syntax.Ref) else None
            if name is None:
                self.errors.add("not-an-axis", item.span, function=node.name.text)
            elif name in self.scope.scan:
                self.errors.add("reduction-over-time", item.span, function=node.name.text, axis=name)
            elif name not in self.scope.axes:
                self.scope.no_such_axis(syntax.Name(name, span=item.span))
            elif name in axes:
                self.errors.add("axis-twice", item.span, function=node.name.text, axis=name)
            else:
                axes.append(name)
                continue
            ok = False
        return tuple(axes) if ok else None

    def _matrix(self, node: syntax.Call, over: tuple[str, ...], args: tuple[Typed, ...]) -> Typed | None:
        name = node.name.text
        assert node.items is not None
        brackets = node.items[0].span.to(node.items[-1].span)
        if len(over) != 2:
            self.errors.add("matrix-two-axes", brackets, name=name, given=len(over))
            return None
        rows, cols = over
        if not self.scope.same_size(rows, cols):
            self.errors.add("matrix-not-square", brackets, name=name, rows=rows, cols=cols)
            return None
        ok = True
        for axis in over:
            if axis not in args[0].expr.axes:
                ok = False
                has = ", ".join(args[0].expr.axes) or "none"
                self.errors.add("matrix-lacks-axis", args[0].expr.span, name=name, axis=axis, has=has)
        if name == "solve":
            axes = args[1].expr.axes
            if rows not in axes or cols in axes:
                ok = False
                has = ", ".join(axes) or "none"
                self.errors.add("solve-right-side", args[1].expr.span, rows=rows, cols=cols, has=has)
        return self.make.matrix(name, rows, cols, args, node.span) if ok else None


__all__ = ["Environment", "Expressions"]
