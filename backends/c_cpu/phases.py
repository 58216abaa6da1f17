"""Which operations can share loops, and which are cheaper to do again than to keep.

The **phase** of an operation is the number of times that a value on the way to it had to be finished as
a whole first (it was summed, or is read at other positions). Operations of one phase can run in the same
loops. A cheap scalar operation that is read in a later phase than its own is repeated there: a few
operations on registers instead of a tensor through memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from recc.backends.c_cpu.store import OPAQUE, Ref, Store, resolve
from recc.forms.block import Block, Constant, Contract, Gather, Iota, Map, Op, Reduce, Rename, Scatter, Shift, Value

#: Scalar functions that are worth keeping the results of.
HEAVY = frozenset(
    ("exp log log1p expm1 sigmoid log_sigmoid softplus tanh sin cos erf pow logaddexp div sqrt rsqrt").split()
)

#: At most so many operations are repeated to avoid keeping one value.
_REPEATED = 6

_WHOLE = (Contract, Reduce, Scatter, *OPAQUE)


#: A value's name and the phase in which it is made.
Key = tuple[str, int]


@dataclass
class Phases:
    """The operations of a Block in phases, with what is repeated; `stores` name the new values."""

    block: Block
    stores: list[Store]
    ops: list[Op] = field(default_factory=list)
    of: dict[str, int] = field(default_factory=dict)  # value name -> phase of the operation that makes it
    defined: dict[str, Op] = field(default_factory=dict)
    _built: dict[Key, Value] = field(default_factory=dict)
    _chosen: dict[Key, Key] = field(default_factory=dict)
    _read: dict[str, int] = field(default_factory=dict)  # input -> the last phase that reads it
    _own: dict[str, int] = field(default_factory=dict)
    _exact: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._source = {op.out.name: op for op in self.block.ops}
        # What is compared with its own maximum must be the very same bits: done again it may round otherwise.
        self._exact = {op.arg.name for op in self.block.ops if isinstance(op, Reduce) and op.fn != "prod"}
        for op in self.block.ops:
            self._own[op.out.name] = max([0, *(self._ready(op, v) for v in op.operands)])
        early = [s for s in self.stores if not s.overwrites]
        done = [replace(s, value=self._value(s.value, self._phase(s.value))) for s in early]
        late = [s for s in self.stores if s.overwrites]
        for store in late:
            self._value(store.value, self._phase(store.value))
        for store in late:
            phase = max(self._phase(store.value), self._read.get(store.overwrites, 0))
            done.append(replace(store, value=self._value(store.value, phase)))
        self.stores = done
        needed = {s.value.name for s in done}
        kept: list[Op] = []
        for op in reversed(self.ops):
            if op.out.name in needed:
                kept.append(op)
                needed.update(v.name for v in op.operands)
        self.ops = kept[::-1]

    def _phase(self, value: Value) -> int:
        """The phase in which a value can be read at the position where it is made."""
        base = resolve(value, self._source).base
        op = self._source.get(base.name)
        return self._own.get(base.name, 0) + (1 if isinstance(op, _WHOLE) else 0)

    def _ready(self, op: Op, value: Value) -> int:
        """The first phase in which `op` can read an operand."""
        phase = self._phase(value)
        elsewhere = _elsewhere(op, value, resolve(value, self._source))
        made = resolve(value, self._source).base.name in self._source
        whole = isinstance(self._source.get(resolve(value, self._source).base.name), _WHOLE)
        return phase + 1 if elsewhere and made and not whole else phase

    def _value(self, value: Value, phase: int) -> Value:
        """The value as read in a phase: made before, or repeated there. Long chains do not recurse."""
        wanted = self._key(value, phase)
        if wanted is None:
            return value
        stack = [wanted]
        while stack:
            name, when = key = stack[-1]
            op = self._source[name]
            missing = [k for v in op.operands if (k := self._operand(op, v, when)) and k not in self._built]
            if key not in self._built and missing:
                stack.extend(missing)
                continue
            stack.pop()
            if key not in self._built:
                self._built[key] = self._make(op, when)
        return self._built[wanted]

    def _key(self, value: Value, phase: int) -> Key | None:
        """Which copy of a value is read in a phase; `None` for an input. Decided once."""
        op = self._source.get(value.name)
        if op is None:
            self._read[value.name] = max(self._read.get(value.name, 0), phase)
            return None
        asked = (value.name, phase)
        if asked not in self._chosen:
            own = self._own[value.name]
            again = isinstance(op, Map) and value.axes and value.name not in self._exact
            if isinstance(op, (Constant, Iota)):
                phase = 0
            elif phase > own and not (again and self._cost(value, phase) <= _REPEATED):
                phase = own
            self._chosen[asked] = (value.name, phase)
        return self._chosen[asked]

    def _cost(self, value: Value, phase: int) -> int:
        """Operations to repeat a value in a phase."""
        op = self._source.get(value.name)
        if (
            not isinstance(op, Map)
            or not value.axes
            or self._own[value.name] == phase
            or (value.name, phase) in self._built
        ):
            return 0
        if value.name in self._exact:
            return 0
        if op.fn in HEAVY:
            return _REPEATED + 1
        total = 1
        for v in op.args:
            source = self._source.get(v.name)
            if isinstance(source, Map) and not (source.fn in HEAVY and v.axes):
                total += self._cost(v, phase)
            if total > _REPEATED:
                break
        return total

    def _make(self, op: Op, phase: int) -> Value:
        def built(v: Value) -> Value:
            key = self._operand(op, v, phase)
            return v if key is None else self._built[key]

        changes: dict[str, object] = {}
        for name in (f.name for f in fields(op) if f.name != "out"):
            item = getattr(op, name)
            if isinstance(item, Value):
                changes[name] = built(item)
            elif isinstance(item, tuple) and item and isinstance(item[0], Value):
                changes[name] = tuple(built(v) for v in item)
        out = op.out
        if out.name in self.of:
            out = Value(f"{out.name}_in_{phase}", out.axes, out.dtype)
        made = replace(op, out=out, **changes)
        self.ops.append(made)
        self.of[out.name] = phase
        self.defined[out.name] = made
        return out

    def _operand(self, op: Op, value: Value, phase: int) -> Key | None:
        """Which copy of an operand an operation reads."""
        ref = resolve(value, self._source)
        if _elsewhere(op, value, ref) or isinstance(op, Rename):
            if ref.base.name not in self._source:
                self._read[ref.base.name] = max(self._read.get(ref.base.name, 0), phase)
            phase = self._own.get(value.name, 0)
        return self._key(value, phase)


def _elsewhere(op: Op, value: Value, ref: Ref) -> bool:
    """Whether an operation reads an operand at other positions than its own."""
    if isinstance(op, OPAQUE) or any(own != at for own, at in ref.index):
        return True
    return isinstance(op, (Shift, Gather)) and value is op.arg


__all__ = ["HEAVY", "Phases"]
