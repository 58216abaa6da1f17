"""The sequential form run by the interpreter of Blocks: what the emitted kernels are to compute, in NumPy.

It has the loops of the form and nothing else: no segments, no checkpoints, one item (a sequence of one
batch element) at a time. Where it agrees with the reference and a kernel does not, the emitter is at fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recc.forms.block import Block
from recc.forms.interpret import interpret
from recc.forms.sequential import Carry, Pass, Port, Sequential
from recc.recurrence import Kind

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass
class Item:
    """One sequence of one batch element: tensors without batch axes, inputs `[T, *axes]`."""

    form: Sequential
    sizes: Mapping[str, int]
    length: int
    arguments: Mapping[str, Array]
    initial: Mapping[str, Array] = field(default_factory=dict)
    clock: int = 0
    outputs: dict[str, Array] = field(default_factory=dict)
    final: dict[str, Array] = field(default_factory=dict)
    _kept: dict[str, Array] = field(default_factory=dict)
    _tape: list[dict[str, list[Array]]] = field(default_factory=list)

    def forward(self) -> None:
        """Fills `outputs` and `final`."""
        for loop in self.form.passes:
            fixed = self._prologue(loop)
            carries = self._first(loop, fixed)
            for port in loop.writes:
                if port.role != "carry":
                    table = self.outputs if port.role == "output" else self._kept
                    table[port.name] = self._zeros(loop, port, self.length)
            tape: dict[str, list[Array]] = {}
            for t in self._times(loop):
                reads = self._reads(loop, t, fixed, carries)
                for name, value in reads.items():
                    tape.setdefault(name, []).append(value)
                found = interpret(loop.step, reads, self.sizes)
                for port in loop.writes:
                    if port.role != "carry":
                        table = self.outputs if port.role == "output" else self._kept
                        _put(table, port, found[port.value], loop.step.output[port.value].axes, t)
                carries = {
                    (p.name, p.part): found[p.value] for p in loop.writes if p.role == "carry"
                }
            self._tape.append(tape)
            for carry in (c for c in loop.carries if c.slot):
                self.final[carry.name] = self._outside(loop, carry, carries)

    def backward(
        self, d_outputs: Mapping[str, Array], d_final: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Gradients of the arguments and of the given initial states, by the VJP Blocks."""
        d_arguments = {n: np.zeros(v.shape, np.result_type(v, np.float64)) for n, v in self.arguments.items()}
        d_kept = {n: np.zeros_like(v) for n, v in self._kept.items()}
        d_initial: dict[str, Array] = {}
        for number, loop in reversed(list(enumerate(self.form.passes))):
            d_fixed: dict[str, Array] = {}
            carried = self._last(loop, d_final)
            for i, t in reversed(list(enumerate(self._times(loop)))):
                inputs = {name: values[i] for name, values in self._tape[number].items()}
                for port in loop.writes:
                    value = loop.step.output[port.value]
                    if port.role == "carry":
                        inputs[f"d {port.value}"] = carried[port.name, port.part]
                    else:
                        table = d_outputs if port.role == "output" else d_kept
                        inputs[f"d {port.value}"] = self._seed(table, port, t, value.axes, loop)
                block = loop.step_vjp
                found = interpret(block, {v.name: inputs[v.name] for v in block.inputs}, self.sizes)
                for port in loop.reads:
                    value = found.get(f"d {port.value}")
                    if value is None:
                        continue
                    axes = loop.step.input[port.value].axes
                    if port.role == "carry":
                        carried[port.name, port.part] = value
                    elif port.role == "prologue":
                        d_fixed[port.value] = d_fixed.get(port.value, np.float64(0)) + value
                    else:
                        _put(d_arguments if port.role == "argument" else d_kept, port, value, axes, t)
            for carry in (c for c in loop.carries if c.slot and c.name in self.initial):
                d_initial[carry.name] = self._outside(loop, carry, carried)
                for part in range(1 + carry.complex):
                    carried[carry.name, part] = np.zeros_like(carried[carry.name, part])
            self._prologue_back(loop, d_fixed, carried, d_arguments)
        return d_arguments, d_initial

    def _prologue_back(
        self, loop: Pass, d_fixed: dict[str, Array], carried: dict[tuple[str, int], Array], into: dict[str, Array]
    ) -> None:
        inputs = {p.value: self._argument(p, loop.prologue) for p in loop.parameters}
        block = loop.prologue_vjp
        names = {f"init {n}": key for key, n in _carry_names(loop).items()}
        for name, value in loop.prologue.outputs:
            zero = np.zeros(self._shape(loop.prologue, value.axes))
            inputs[f"d {name}"] = carried[names[name]] if name in names else d_fixed.get(name, zero)
        found = interpret(block, {v.name: inputs[v.name] for v in block.inputs}, self.sizes)
        for port in loop.parameters:
            if f"d {port.value}" in found and self.form.rec.table[port.name].kind is not Kind.CONST:
                axes = loop.prologue.input[port.value].axes
                _put(into, port, found[f"d {port.value}"], axes)

    def _times(self, loop: Pass) -> list[int]:
        return list(range(self.length))[:: loop.direction]

    def _shape(self, block: Block, axes: Sequence[str]) -> tuple[int, ...]:
        return tuple(self.sizes[block.root[a]] for a in axes)

    def _zeros(self, loop: Pass, port: Port, length: int) -> Array:
        return np.zeros((length, *self._shape(loop.step, port.axes)), np.complex128 if port.complex else np.float64)

    def _prologue(self, loop: Pass) -> dict[str, Array]:
        return interpret(loop.prologue, {p.value: self._argument(p, loop.prologue) for p in loop.parameters}, self.sizes)

    def _argument(self, port: Port, block: Block, t: int | None = None) -> Array:
        value = self.arguments[port.name] if t is None else self.arguments[port.name][t]
        return _order(_part(value, port), port.axes, block.input[port.value].axes)

    def _first(self, loop: Pass, fixed: Mapping[str, Array]) -> dict[tuple[str, int], Array]:
        found: dict[tuple[str, int], Array] = {}
        for key, name in _carry_names(loop).items():
            carry = next(c for c in loop.carries if c.name == key[0])
            found[key] = fixed[f"init {name}"]
            if carry.slot and carry.name in self.initial:
                value = self.initial[carry.name]
                part = np.imag(value) if key[1] else np.real(value)
                found[key] = _order(part, carry.axes, _carry_axes(loop, key))
        return found

    def _last(self, loop: Pass, d_final: Mapping[str, Array]) -> dict[tuple[str, int], Array]:
        found: dict[tuple[str, int], Array] = {}
        for key in _carry_names(loop):
            carry = next(c for c in loop.carries if c.name == key[0])
            axes = _carry_axes(loop, key)
            found[key] = np.zeros(self._shape(loop.step, axes))
            if carry.slot and carry.name in d_final:
                value = d_final[carry.name]
                found[key] = _order(np.imag(value) if key[1] else np.real(value), carry.axes, axes)
        return found

    def _outside(self, loop: Pass, carry: Carry, carries: Mapping[tuple[str, int], Array]) -> Array:
        axes = _carry_axes(loop, (carry.name, 0))
        parts = [_order(carries[carry.name, k], axes, carry.axes) for k in range(1 + carry.complex)]
        return parts[0] + 1j * parts[1] if carry.complex else parts[0]

    def _reads(
        self, loop: Pass, t: int, fixed: Mapping[str, Array], carries: Mapping[tuple[str, int], Array]
    ) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for port in loop.reads:
            if port.role == "argument":
                found[port.value] = self._argument(port, loop.step, t)
            elif port.role == "kept":
                value = _part(self._kept[port.name][t], port)
                found[port.value] = _order(value, port.axes, loop.step.input[port.value].axes)
            elif port.role == "clock":
                found[port.value] = np.asarray(self.clock + t)
            elif port.role == "prologue":
                found[port.value] = fixed[port.name]
            else:
                found[port.value] = carries[port.name, port.part]
        return found

    def _seed(self, table: Mapping[str, Array], port: Port, t: int, axes: Sequence[str], loop: Pass) -> Array:
        if port.name not in table:
            return np.zeros(self._shape(loop.step, axes))
        return _order(_part(table[port.name][t], port), port.axes, axes)


def _carry_names(loop: Pass) -> dict[tuple[str, int], str]:
    """For each carry and part the label after `init`."""
    found = {}
    for carry in loop.carries:
        for part in range(1 + carry.complex):
            found[carry.name, part] = f"{carry.name}_{('re', 'im')[part]}" if carry.complex else carry.name
    return found


def _carry_axes(loop: Pass, key: tuple[str, int]) -> tuple[str, ...]:
    value = next(p.value for p in loop.reads if p.role == "carry" and (p.name, p.part) == key)
    return loop.step.input[value].axes


def _part(value: Array, port: Port) -> Array:
    if not port.complex:
        return value
    return np.imag(value) if port.part else np.real(value)


def _order(value: Any, have: Sequence[str], want: Sequence[str]) -> Array:
    array = np.asarray(value)
    assert set(have) == set(want), (have, want)
    return array.transpose([tuple(have).index(a) for a in want])


def _put(table: dict[str, Array], port: Port, value: Array, axes: Sequence[str], at: int | None = None) -> None:
    """Adds one part of one step (of all of it, with `at=None`) to a tensor that starts at zero."""
    whole = table[port.name] if at is None else table[port.name][at, ...]
    place = whole.imag if port.part else whole.real if port.complex else whole
    place[...] += _order(value, axes, port.axes)
