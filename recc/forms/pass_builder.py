"""Builds the prologue and the step of one pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recc.forms.block import BlockDtype, Value
from recc.forms.lower import Lowering, Pair
from recc.forms.passes import Carry, Pass, Port, Role, part_name
from recc.recurrence import Expr, Kind, Read, Reduce, Symbol, reads

if TYPE_CHECKING:
    from recc.forms.sequential import Planner

#: A name at a lag along each scan axis.
Delay = tuple[str, tuple[int, ...]]


class PassBuilder:
    """Builds the prologue and the step of one pass."""

    #: The axis along which the step Block makes several steps, if it does.
    chunk = ""

    def __init__(self, plan: Planner, number: int, directions: tuple[int, ...]):
        self.plan = plan
        self.rec = plan.rec
        self.number = number
        self.directions = directions
        self.direction = directions[0]
        self.prologue = plan.new_builder("prologue")
        self.step = plan.new_builder("step")
        self.parameters: dict[str, Port] = {}
        self.reads: dict[str, Port] = {}
        self.writes: list[Port] = []
        self._values: dict[Delay, Pair] = {}  # step values by (name, lag)
        self._fixed: dict[Expr, Pair] = {}  # prologue values in the step, by expression
        self._params: dict[str, Pair] = {}  # prologue values by name
        self._early: dict[Reduce, Pair] = {}  # what earlier passes reduce, by expression
        self._clocks: dict[str, Value] = {}
        self._in_step = Lowering(self.rec, self.step, self._resolve, self._clock, self._invariant, self._reduced)
        self._in_prologue = Lowering(self.rec, self.prologue, self._resolve_fixed, self._clock, lambda _: None)

    def build(self) -> Pass:
        """The pass, with everything that later passes asked to be kept."""
        carries = self._carries()
        for carry in carries:
            self._carry_input(carry)
        self._in_order([c.symbol for c in carries] + [s.name for s in self.rec.outputs] + self._asked())
        for carry in carries:
            self._carry_output(carry)
        for symbol in self.rec.outputs:
            if self.plan.level[self.plan.stage_of[symbol.name]] == self.number:
                self._write(symbol.name, "output", symbol, self._value((symbol.name, self.plan.now)), symbol.name)
        for key in self.plan.kept.get(self.number, {}):
            symbol = self.rec.table[key[0]]
            self._write(_kept_name(key), "kept", symbol, self._value(key), _kept_name(key))
        for expr, symbol in list(self.plan.contracted.get(self.number, {}).items()):
            self._write(symbol.name, "kept", symbol, self._in_step.lower(expr, symbol.name), symbol.name)
        maps = self._maps()
        return Pass(
            self.directions,
            self.prologue.build(),
            self.step.build(),
            tuple(self.parameters.values()),
            tuple(self.reads.values()),
            tuple(self.writes),
            tuple(carries),
            self.chunk,
            maps,
        )

    def _maps(self) -> tuple[Port, ...]:
        """The maps between steps that were asked for."""
        return ()

    def _asked(self) -> list[str]:
        """The names that later passes want kept."""
        return [name for name, lags in self.plan.kept.get(self.number, {}) if not any(lags)]

    def _in_order(self, roots: list[str]) -> None:
        """Lowers what the roots need in the order of the equations, so that long chains do not recurse."""
        stack = list(roots)
        needed: set[str] = set()
        while stack:
            name = stack.pop()
            if name in needed or name not in self.rec.equation:
                continue
            late = self.rec.table[name].varies and name not in self.plan.pure
            if late and self.plan.level[self.plan.stage_of[name]] != self.number:
                continue
            needed.add(name)
            stack.extend(self._reads_here(self.rec.equation[name].expr))
        for stage in self.rec.stages:
            for name in stage.equations:
                if name not in needed or not self._whole(name):
                    continue
                if self.rec.table[name].varies:
                    self._value((name, self.plan.now))
                else:
                    self._fixed_value(name)

    def _whole(self, name: str) -> bool:
        """Whether a name is computed even if nothing reads all of it."""
        return True

    def _reads_here(self, expr: Expr) -> list[str]:
        """The names that an expression reads at the same step, but for what an earlier pass reduces."""
        found: list[str] = []
        stack = [expr]
        while stack:
            node = stack.pop()
            if isinstance(node, Reduce) and self._contracted(node) is not None:
                continue
            if isinstance(node, Read) and not any(node.lags):
                found.append(node.name)
            stack.extend(node.children)
        return found

    def _carries(self) -> list[Carry]:
        """The delay lines of this pass: every depth up to the deepest that is read or is a slot."""
        deepest: dict[str, int] = {}
        for (name, (lag,)), level in self.plan.delay_level.items():
            if level == self.number:
                deepest[name] = max(deepest.get(name, 0), abs(lag))
        found = []
        for name in (s.name for s in self.rec.symbols if s.name in deepest):
            symbol = self.rec.table[name]
            for depth in range(1, deepest[name] + 1):
                slot = self.plan.slot_delays.get((name, (depth * self.direction,)))
                label = slot or (
                    name
                    if depth == 1 and symbol.kind is Kind.STATE
                    else f"{name}_{'lag' if self.direction == 1 else 'lead'}{depth}"
                )
                axes = self.plan.layout(symbol)
                found.append(Carry(label, name, depth, axes, symbol.dtype == "complex", slot is not None))
        return found

    def _carry_input(self, carry: Carry) -> None:
        hints = _part_names(f"{carry.name}_prev" if carry.depth == 1 else carry.name, carry.complex)
        parts = [self.step.input(hint, carry.axes) for hint in hints]
        for i, value in enumerate(parts):
            self.reads[value.name] = Port(value.name, "carry", carry.name, carry.axes, "real", carry.complex, i)
        self._entered(carry, Pair(*self._as_declared(parts, self.rec.table[carry.symbol])))

    def _entered(self, carry: Carry, value: Pair) -> None:
        """Takes note of the value that a carry has when the step begins."""
        self._values[(carry.symbol, (carry.depth * self.direction,))] = value

    def _leaving(self, carry: Carry) -> Pair:
        """The value that a carry has when the step ends."""
        return self._value((carry.symbol, ((carry.depth - 1) * self.direction,)))

    def _in_time(self, axes: tuple[str, ...]) -> tuple[str, ...]:
        """The axes, in the step Block, of a tensor that has `axes` at each step."""
        return axes

    def _carry_output(self, carry: Carry) -> None:
        symbol = self.rec.table[carry.symbol]
        self._write(f"carry {carry.name}", "carry", symbol, self._leaving(carry), carry.name)
        first = Pair(self.prologue.constant(0.0))
        if symbol.initial is not None and self._starts(carry):
            first = self._in_prologue.lower(symbol.initial)
        names = _part_names(f"init {carry.name}", carry.complex)
        parts = (*first.parts, self.prologue.constant(0.0))[: len(names)]
        for name, part in zip(names, parts, strict=True):
            self.prologue.output(name, self.prologue.spread(self._in_prologue.real(part), carry.axes))

    def _starts(self, carry: Carry) -> bool:
        """Whether the pass runs the way that the carried name's stage does, so that its initial value counts.

        A stage that reads no step of its own starts from the left, as in the reference.
        """
        stage = self.plan.stage_of.get(carry.symbol)
        return stage is not None and (self.rec.stages[stage].direction[0] or 1) == self.direction

    def _write(self, output: str, role: Role, symbol: Symbol, pair: Pair, name: str) -> None:
        axes = self.plan.layout(symbol)
        axes = axes if role == "carry" else self._in_time(axes)
        names = _part_names(output, symbol.dtype == "complex")
        parts = (*pair.parts, self.step.constant(0.0))[: len(names)]
        for i, (label, part) in enumerate(zip(names, parts, strict=True)):
            dtype = _block_dtype(symbol) if role == "output" else "real"
            value = self.step.spread(part if dtype != "real" else self._in_step.real(part), axes)
            self.step.output(label, value)
            self.writes.append(Port(label, role, name, axes, value.dtype, len(names) > 1, i))

    def _value(self, key: Delay) -> Pair:
        """The value of a name at a lag in this pass: computed here, carried, or kept by an earlier pass."""
        if key in self._values:
            return self._values[key]
        name, lags = key
        symbol = self.rec.table[name]
        if not symbol.varies:
            found = self._invariant_name(name)
        elif any(lags) and self.plan.grid:
            found = self._elsewhere(symbol, lags)
        elif symbol.kind is Kind.INPUT and not any(lags):
            found = self._argument(symbol)
        else:
            level = self.plan.delay_level[key] if any(lags) else self.plan.level[self.plan.stage_of[name]]
            if level == self.number or (not any(lags) and name in self.plan.pure):
                found = self._in_step.lower(self.rec.equation[name].expr, name)
                found = Pair(*(self._typed(part, symbol) for part in found.parts))
            else:
                found = self._kept(key, level)
        self._values[key] = found
        return found

    def _typed(self, value: Value, symbol: Symbol) -> Value:
        return self._in_step.real(value) if symbol.dtype in ("real", "complex") else value

    def _argument(self, symbol: Symbol) -> Pair:
        axes = self._in_time(self.plan.layout(symbol))
        return Pair(*self._ports(symbol, "argument", symbol.name, symbol.name, axes, _block_dtype(symbol)))

    def _kept(self, key: Delay, level: int) -> Pair:
        symbol = self.rec.table[key[0]]
        self.plan.kept.setdefault(level, {})[key] = None
        name = _kept_name(key)
        parts = self._ports(symbol, "kept", name, name, self._in_time(self.plan.layout(symbol)), "real")
        return Pair(*self._as_declared(parts, symbol))

    def _elsewhere(self, symbol: Symbol, lags: tuple[int, ...]) -> Pair:
        """The value at another step of a grid: an argument's row, or that of what is kept of a name."""
        axes, hint = self.plan.layout(symbol), f"{symbol.name}_{'_'.join(map(_lag_name, lags))}"
        if symbol.kind is Kind.INPUT:
            parts = self._ports(symbol, "argument", symbol.name, hint, axes, _block_dtype(symbol), lags)
            return Pair(*parts)
        stage = self.plan.stage_of[symbol.name]
        key = (symbol.name, self.plan.now)
        self.plan.kept.setdefault(self.plan.level[stage], {})[key] = None
        starts = tuple(d or 1 for d in self.rec.stages[stage].direction)
        parts = self._ports(symbol, "kept", _kept_name(key), hint, axes, "real", lags, starts)
        if symbol.initial is not None:
            first = (*self._in_prologue.lower(symbol.initial).parts, self.prologue.constant(0.0))[: len(parts)]
            for part, value in zip(parts, first, strict=True):
                self.prologue.output(f"init {part.name}", self.prologue.spread(self._in_prologue.real(value), axes))
        return Pair(*self._as_declared(parts, symbol))

    def _reduced(self, expr: Reduce) -> Pair | None:
        """The value of a reduction that need not be computed from its argument here."""
        return self._contracted(expr)

    def _contracted(self, expr: Reduce) -> Pair | None:
        """A reduction of what earlier passes compute is done there: a later pass sees only its result.

        So a matrix state that another direction reads through a query is kept as a vector per step.
        """
        if self.plan.grid or not expr.varies:
            return None
        if expr in self._early:
            return self._early[expr]
        levels: list[int] = []
        widest = 0
        for read in reads(expr):
            symbol = self.rec.table[read.name]
            if not symbol.varies or (symbol.kind is Kind.INPUT and not any(read.lags)):
                continue
            key = (read.name, read.lags)
            if not any(read.lags) and read.name in self.plan.pure:
                continue
            levels.append(
                self.plan.delay_level[key] if any(read.lags) else self.plan.level[self.plan.stage_of[read.name]]
            )
            widest = max(widest, len(symbol.axes))
        if not levels or max(levels) >= self.number or len(expr.axes) >= widest:
            return None
        table = self.plan.contracted.setdefault(max(levels), {})
        if expr not in table:
            count = sum(len(t) for t in self.plan.contracted.values())
            table[expr] = Symbol(f"contracted{count + 1}", Kind.LOCAL, expr.axes, expr.dtype)
        symbol = table[expr]
        axes = self._in_time(self.plan.layout(symbol))
        self._early[expr] = Pair(*self._ports(symbol, "kept", symbol.name, symbol.name, axes, "real"))
        return self._early[expr]

    def _ports(
        self,
        symbol: Symbol,
        role: Role,
        name: str,
        hint: str,
        axes: tuple[str, ...],
        dtype: BlockDtype,
        lags: tuple[int, ...] = (),
        starts: tuple[int, ...] = (),
    ) -> list[Value]:
        names = _part_names(hint, symbol.dtype == "complex")
        parts = [self.step.input(n, axes, dtype) for n in names]
        for i, value in enumerate(parts):
            self.reads[value.name] = Port(value.name, role, name, axes, dtype, len(parts) > 1, i, lags, starts)
        return parts

    def _as_declared(self, parts: list[Value], symbol: Symbol) -> list[Value]:
        """What was kept as reals, as the integers or truth values that they stand for."""
        if symbol.dtype == "int":
            return [self.step.map("int", v) for v in parts]
        if symbol.dtype == "bool":
            return [self.step.map("ne", v, self.step.constant(0.0)) for v in parts]
        return parts

    def _resolve(self, read: Read) -> Pair:
        return self._value((read.name, read.lags or self.plan.now))

    def _clock(self, scan: str) -> Value:
        if scan not in self._clocks:
            axes = self._in_time(())
            value = self.step.input(scan, axes, "int")
            self.reads[value.name] = Port(value.name, "clock", scan, axes, "int")
            self._clocks[scan] = value
        return self._clocks[scan]

    def _invariant(self, expr: Expr) -> Pair:
        """What does not vary with time is computed in the prologue and read by the step."""
        if expr not in self._fixed:
            pair = self._in_prologue.lower(expr)
            hint = expr.name if isinstance(expr, Read) else "p"
            self._fixed[expr] = self._from_prologue(pair, hint)
        return self._fixed[expr]

    def _invariant_name(self, name: str) -> Pair:
        return self._from_prologue(self._fixed_value(name), name)

    def _from_prologue(self, pair: Pair, hint: str) -> Pair:
        found = []
        for part, label in zip(pair.parts, _part_names(hint, pair.im is not None), strict=True):
            if (number := self.prologue.known(part)) is not None:
                found.append(self.step.constant(number, part.axes, part.dtype))
                continue
            value = self.step.input(label, part.axes, part.dtype)
            self.prologue.output(value.name, part)
            self.reads[value.name] = Port(value.name, "prologue", value.name, part.axes, part.dtype)
            found.append(value)
        return Pair(*found)

    def _resolve_fixed(self, read: Read) -> Pair:
        return self._fixed_value(read.name)

    def _fixed_value(self, name: str) -> Pair:
        if name in self._params:
            return self._params[name]
        symbol = self.rec.table[name]
        if symbol.is_argument:
            axes, dtype = self.plan.layout(symbol), _block_dtype(symbol)
            parts = [self.prologue.input(n, axes, dtype) for n in _part_names(name, symbol.dtype == "complex")]
            for i, value in enumerate(parts):
                port = Port(value.name, "argument", name, axes, dtype, len(parts) > 1, i)
                self.parameters[value.name] = port
            found = Pair(*parts)
        elif symbol.value is not None:
            found = self._in_prologue.lower(symbol.value, name)
        else:
            found = self._in_prologue.lower(self.rec.equation[name].expr, name)
        self._params[name] = found
        return found


def _part_names(name: str, is_complex: bool) -> tuple[str, ...]:
    return tuple(part_name(name, is_complex, part) for part in range(1 + is_complex))


def _kept_name(key: Delay) -> str:
    name, lags = key
    return f"{name}_{'_'.join(map(_lag_name, lags))}" if any(lags) else f"{name}_kept"


def _lag_name(lag: int) -> str:
    return f"lag{lag}" if lag > 0 else f"lead{-lag}"


def _block_dtype(symbol: Symbol) -> BlockDtype:
    if symbol.dtype in ("int", "bool"):
        return "int" if symbol.dtype == "int" else "bool"
    return "real"


__all__ = ["Delay", "PassBuilder"]
