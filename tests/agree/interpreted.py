"""The sequential form run by the interpreter of Blocks: what the emitted kernels are to compute, in NumPy.

It has the loops of the form and nothing else: no segments, no checkpoints, one item (a sequence of one
batch element) at a time. Where it agrees with the reference and a kernel does not, the emitter is at fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np

from recc.forms.block import Block
from recc.forms.interpret import interpret
from recc.forms.sequential import Carry, Pass, Port, Sequential
from recc.recurrence import Kind

Array = np.ndarray[Any, np.dtype[Any]]
Step = tuple[int, ...]
Part = tuple[str, int]  # a carry, and 0 for its real or 1 for its imaginary part


@dataclass
class Item:
    """One sequence of one batch element: tensors without batch axes, inputs `[*scan, *axes]`.

    `steps` are the sizes of the scan axes. `forward` fills `outputs` and `final`; `backward` gives the
    gradients of the arguments and of the given initial states.
    """

    form: Sequential
    sizes: Mapping[str, int]
    steps: Step
    arguments: Mapping[str, Array]
    initial: Mapping[str, Array] = field(default_factory=dict)
    clock: int = 0
    outputs: dict[str, Array] = field(default_factory=dict)
    final: dict[str, Array] = field(default_factory=dict)
    _kept: dict[str, Array] = field(default_factory=dict)
    _tape: list[list[dict[str, Array]]] = field(default_factory=list)

    def forward(self) -> None:
        for loop in self.form.passes:
            fixed = self._prologue(loop)
            carries = {key: self._first(loop, key, fixed) for key in _parts(loop)}
            for port in loop.writes:
                if port.role != "carry":
                    self._written(port)[port.name] = self._zeros(loop, port)
            tape: list[dict[str, Array]] = []
            for at in self._walk(loop):
                inputs = {p.value: self._read(loop, p, at, fixed, carries) for p in loop.reads}
                tape.append(inputs)
                found = interpret(loop.step, inputs, self.sizes)
                for port in loop.writes:
                    if port.role != "carry":
                        _add(self._written(port), port, found[port.value], loop.step.output[port.value].axes, at)
                carries = {(p.name, p.part): found[p.value] for p in loop.writes if p.role == "carry"}
            self._tape.append(tape)
            for carry in (c for c in loop.carries if c.slot):
                self.final[carry.name] = _outside(loop, carry, carries)

    def backward(
        self, d_outputs: Mapping[str, Array], d_final: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        d_arguments = {n: np.zeros(np.shape(v), np.result_type(v, np.float64)) for n, v in self.arguments.items()}
        d_kept = {n: np.zeros_like(v) for n, v in self._kept.items()}
        d_initial: dict[str, Array] = {}
        for number, loop in reversed(list(enumerate(self.form.passes))):
            d_fixed = {n: np.zeros(self._shape(loop.prologue, v.axes)) for n, v in loop.prologue.outputs}
            carried = {key: self._last(loop, key, d_final) for key in _parts(loop)}
            for i, at in reversed(list(enumerate(self._walk(loop)))):
                inputs = dict(self._tape[number][i])
                for port in loop.writes:
                    axes = loop.step.output[port.value].axes
                    if port.role == "carry":
                        inputs[f"d {port.value}"] = carried[port.name, port.part]
                    else:
                        table = d_outputs if port.role == "output" else d_kept
                        inputs[f"d {port.value}"] = _order(_part(table[port.name][at], port), port.axes, axes)
                found = _run(loop.step_vjp, inputs, self.sizes)
                for port in loop.reads:
                    if (value := found.get(f"d {port.value}")) is None:
                        continue
                    if port.role == "carry":
                        carried[port.name, port.part] = value
                    elif port.role == "prologue":
                        d_fixed[port.value] = d_fixed[port.value] + value
                    else:
                        table = d_arguments if port.role == "argument" else d_kept
                        self._give(table, d_fixed, port, value, loop.step.input[port.value].axes, at)
            for carry in (c for c in loop.carries if c.slot and c.name in self.initial):
                d_initial[carry.name] = _outside(loop, carry, carried)
                for part in range(1 + carry.complex):
                    carried[carry.name, part] = np.zeros_like(carried[carry.name, part])
            d_fixed.update({f"init {label}": carried[key] for key, label in _parts(loop).items()})
            self._prologue_back(loop, d_fixed, d_arguments)
        return d_arguments, d_initial

    def _prologue_back(self, loop: Pass, d_fixed: Mapping[str, Array], into: dict[str, Array]) -> None:
        inputs = {p.value: self._argument(p, loop.prologue) for p in loop.parameters}
        inputs.update({f"d {n}": d for n, d in d_fixed.items()})
        found = _run(loop.prologue_vjp, inputs, self.sizes)
        for port in loop.parameters:
            if f"d {port.value}" in found and self.form.rec.table[port.name].kind is not Kind.CONST:
                _add(into, port, found[f"d {port.value}"], loop.prologue.input[port.value].axes, ())

    def _walk(self, loop: Pass) -> Iterator[Step]:
        """The steps in the order of the pass."""
        return product(*(range(n)[::way] for n, way in zip(self.steps, loop.directions, strict=True)))

    def _written(self, port: Port) -> dict[str, Array]:
        return self.outputs if port.role == "output" else self._kept

    def _shape(self, block: Block, axes: Sequence[str]) -> tuple[int, ...]:
        return tuple(self.sizes[block.root[a]] for a in axes)

    def _zeros(self, loop: Pass, port: Port) -> Array:
        return np.zeros((*self.steps, *self._shape(loop.step, port.axes)), complex if port.complex else float)

    def _prologue(self, loop: Pass) -> dict[str, Array]:
        return _run(loop.prologue, {p.value: self._argument(p, loop.prologue) for p in loop.parameters}, self.sizes)

    def _argument(self, port: Port, block: Block, at: Step = ()) -> Array:
        return _order(_part(self.arguments[port.name][at], port), port.axes, block.input[port.value].axes)

    def _first(self, loop: Pass, key: Part, fixed: Mapping[str, Array]) -> Array:
        carry = next(c for c in loop.carries if c.name == key[0])
        if not carry.slot or carry.name not in self.initial:
            return fixed[f"init {_parts(loop)[key]}"]
        value = self.initial[carry.name]
        return _order(np.imag(value) if key[1] else np.real(value), carry.axes, _axes(loop, key))

    def _last(self, loop: Pass, key: Part, d_final: Mapping[str, Array]) -> Array:
        carry = next(c for c in loop.carries if c.name == key[0])
        if not carry.slot or carry.name not in d_final:
            return np.zeros(self._shape(loop.step, _axes(loop, key)))
        value = d_final[carry.name]
        return _order(np.imag(value) if key[1] else np.real(value), carry.axes, _axes(loop, key))

    def _read(
        self, loop: Pass, port: Port, at: Step, fixed: Mapping[str, Array], carries: Mapping[Part, Array]
    ) -> Array:
        if port.role == "clock":
            return np.asarray(self.clock + at[self.form.rec.scan.index(port.name)])
        if port.role == "prologue":
            return fixed[port.name]
        if port.role == "carry":
            return carries[port.name, port.part]
        place, initial = self._place(port, at)
        axes = loop.step.input[port.value].axes
        if initial and f"init {port.value}" in fixed:
            return fixed[f"init {port.value}"]
        if place is None:
            return np.zeros(self._shape(loop.step, axes))
        table = self.arguments if port.role == "argument" else self._kept
        return _order(_part(table[port.name][place], port), port.axes, axes)

    def _place(self, port: Port, at: Step) -> tuple[Step | None, bool]:
        """The step that a read finds (`None` beyond the ends), and whether it left where the state starts."""
        if not port.lags:
            return at, False
        place = tuple(x - lag for x, lag in zip(at, port.lags, strict=True))
        if all(0 <= x < n for x, n in zip(place, self.steps, strict=True)):
            return place, False
        ends = zip(place, self.steps, port.starts, strict=True) if port.starts else ()
        return None, bool(port.starts) and all(x < n if way == 1 else x >= 0 for x, n, way in ends)

    def _give(
        self,
        table: dict[str, Array],
        d_fixed: dict[str, Array],
        port: Port,
        value: Array,
        axes: Sequence[str],
        at: Step,
    ) -> None:
        """Adds a gradient to what a read found."""
        place, initial = self._place(port, at)
        if place is not None:
            _add(table, port, value, axes, place)
        elif initial and f"init {port.value}" in d_fixed:
            d_fixed[f"init {port.value}"] = d_fixed[f"init {port.value}"] + value


def _run(block: Block, inputs: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
    return interpret(block, {v.name: inputs[v.name] for v in block.inputs}, sizes)


def _parts(loop: Pass) -> dict[Part, str]:
    """Every part of every carry with its label after `init`."""
    found = {}
    for carry in loop.carries:
        for part in range(1 + carry.complex):
            found[carry.name, part] = f"{carry.name}_{('re', 'im')[part]}" if carry.complex else carry.name
    return found


def _axes(loop: Pass, key: Part) -> tuple[str, ...]:
    value = next(p.value for p in loop.reads if p.role == "carry" and (p.name, p.part) == key)
    return loop.step.input[value].axes


def _outside(loop: Pass, carry: Carry, carries: Mapping[Part, Array]) -> Array:
    """A carry as the caller sees it."""
    axes = _axes(loop, (carry.name, 0))
    parts = [_order(carries[carry.name, k], axes, carry.axes) for k in range(1 + carry.complex)]
    return parts[0] + 1j * parts[1] if carry.complex else parts[0]


def _part(value: Any, port: Port) -> Array:
    return (np.imag(value) if port.part else np.real(value)) if port.complex else np.asarray(value)


def _order(value: Any, have: Sequence[str], want: Sequence[str]) -> Array:
    assert sorted(have) == sorted(want), (have, want)
    return np.asarray(value).transpose([tuple(have).index(a) for a in want])


def _add(table: dict[str, Array], port: Port, value: Array, axes: Sequence[str], at: Step) -> None:
    """Adds one part of one step (or of a parameter, at `()`) to a tensor."""
    whole = table[port.name][(*at, ...)]
    place = (whole.imag if port.part else whole.real) if port.complex else whole
    place[...] += _order(value, axes, port.axes)


__all__ = ["Item"]
