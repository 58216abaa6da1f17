"""A form run by the interpreter of Blocks: what its emitted kernels are to compute, in NumPy.

It has the loops of the form and nothing else: no segments, no checkpoints, one item (a sequence of one
batch element) at a time. Where it agrees with the reference and a kernel does not, the emitter is at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recc.forms.block import Block
from recc.forms.interpret import interpret
from recc.forms.passes import Carry, Parallel, Pass, Port, Sequential
from recc.recurrence import Kind, Symbol

Array = NDArray[Any]
Place = tuple[Any, ...]  # an index into the scan axes: numbers of steps, or an array of them for a chunk
Part = tuple[str, int]  # a carry, and 0 for its real or 1 for its imaginary part

#: What runs a Block on inputs and sizes: `interpret`, or a function that computes in another arithmetic.
Evaluate = Callable[[Block, Mapping[str, Array], Mapping[str, int]], Mapping[str, Array]]


@dataclass
class Item:
    """One sequence of one batch element: tensors without batch axes, inputs `[*scan, *axes]`.

    `forward` fills `outputs` and `final`; `backward` gives the gradients of the arguments and of the
    given initial states.

    Args:
        form: the form to run. Its passes make steps or chunks of steps (`Pass.chunk`).
        sizes: the size of each axis, by the axis that gives it.
        steps: the sizes of the scan axes. None may have any.
        arguments: every input and parameter by name.
        initial: the states that are given, by the name of their slot.
        clock: the number of the first step.
        chunk: the size of a chunk, 0 for the whole sequence; that of the form if none is given. The
            last chunk of a pass may be shorter. Of no meaning to passes that make single steps.
        evaluate: what runs the Blocks.

    Arrays may have elements of any type that `evaluate` can compute with (dtype `object`). A complex
    tensor of such elements has a last axis of size 2: real and imaginary part.
    """

    form: Sequential | Parallel
    sizes: Mapping[str, int]
    steps: tuple[int, ...]
    arguments: Mapping[str, Array]
    initial: Mapping[str, Array] = field(default_factory=dict)
    clock: int = 0
    chunk: int | None = None
    evaluate: Evaluate = interpret
    outputs: dict[str, Array] = field(default_factory=dict, init=False)
    final: dict[str, Array] = field(default_factory=dict, init=False)
    maps: dict[str, Array] = field(default_factory=dict, init=False)
    _kept: dict[str, Array] = field(default_factory=dict, init=False)
    _tape: list[list[dict[str, Array]]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        longest = self.form.longest if isinstance(self.form, Parallel) else 0
        if longest and min(self._size or self.steps[0], self.steps[0]) > longest:
            raise ValueError(f"the chunked form was derived for chunks of at most {longest} steps")
        given = [np.asarray(v).dtype for v in (*self.arguments.values(), *self.initial.values())]
        # Real numbers of the widest kind that is given, float64 at least.
        self._real = np.result_type(np.float64, *(np.zeros((), d).real.dtype for d in given))

    def forward(self) -> None:
        """Runs all passes and keeps what each step or chunk of them read."""
        for loop in self._passes:
            fixed = self._prologue(loop)
            carries = {key: self._first(loop, key, fixed) for key in _parts(loop)}
            for port in loop.writes:
                if port.role != "carry":
                    shape = (*self.steps, *self._shape(loop.step, _inner(loop, port)))
                    self._written(port)[port.name] = self._zeros(shape, port.complex)
            tape: list[dict[str, Array]] = []
            for at in self._walk(loop):
                inputs = {p.value: self._read(loop, p, at, fixed, carries) for p in loop.reads}
                tape.append(inputs)
                found = self._run(loop.step, inputs, loop, at)
                for port in loop.writes:
                    if port.role != "carry":
                        _add(self._written(port), port, found[port.value], loop.step.output[port.value].axes, at)
                self._map(loop, found)
                carries = {(p.name, p.part): found[p.value] for p in loop.writes if p.role == "carry"}
            self._tape.append(tape)
            for carry in (c for c in loop.carries if c.slot):
                self.final[carry.name] = self._outside(loop, carry, carries)

    def _map(self, loop: Pass, found: Mapping[str, Array]) -> None:
        """Keeps the maps between steps, in the order of time: real parts first, then imaginary ones added."""
        for port in loop.maps:
            value = _order(found[port.value], loop.step.output[port.value].axes, port.axes)
            value = value[::-1, ::-1] if loop.directions[0] == -1 else value
            self.maps[port.name] = self.maps[port.name] + 1j * value if port.part else value

    def backward(
        self, d_outputs: Mapping[str, Array], d_final: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Gradients of the arguments and of the given initial states, after `forward`.

        Args:
            d_outputs: the cotangent of each output by name, of the shape of the output.
            d_final: those of final states by the name of their slot; zero for a slot that it lacks.
        """
        d_arguments = {s.name: self._zeros_of(s) for s in self.form.rec.arguments}
        d_kept = {n: np.zeros_like(v) for n, v in self._kept.items()}
        d_initial: dict[str, Array] = {}
        for number, loop in reversed(list(enumerate(self._passes))):
            shapes = {n: self._shape(loop.prologue, v.axes) for n, v in loop.prologue.outputs}
            d_fixed = {n: self._zeros(shape) for n, shape in shapes.items()}
            carried = {key: self._last(loop, key, d_final) for key in _parts(loop)}
            for i, at in reversed(list(enumerate(self._walk(loop)))):
                inputs = dict(self._tape[number][i])
                for port in loop.writes:
                    axes = loop.step.output[port.value].axes
                    if port.role == "carry":
                        inputs[f"d {port.value}"] = carried[port.name, port.part]
                    else:
                        table = d_outputs if port.role == "output" else d_kept
                        value = _part(table[port.name], port.complex, port.part)
                        inputs[f"d {port.value}"] = _order(value[at], port.axes, axes)
                found = self._run(loop.step_vjp, inputs, loop, at)
                self._scatter(loop, at, found, carried, {"argument": d_arguments, "kept": d_kept}, d_fixed)
            for carry in (c for c in loop.carries if c.slot and c.name in self.initial):
                d_initial[carry.name] = self._outside(loop, carry, carried)
                for part in range(1 + carry.complex):
                    carried[carry.name, part] = np.zeros_like(carried[carry.name, part])
            d_fixed.update({f"init {label}": carried[key] for key, label in _parts(loop).items()})
            self._prologue_back(loop, d_fixed, d_arguments)
        return d_arguments, d_initial

    def _scatter(
        self,
        loop: Pass,
        at: Place,
        found: Mapping[str, Array],
        carried: dict[Part, Array],
        tables: Mapping[str, dict[str, Array]],
        d_fixed: dict[str, Array],
    ) -> None:
        """Hands the cotangents of what one step or chunk read to where it read it."""
        for key in carried:  # nothing flows into a carry that the Block does not read
            carried[key] = np.zeros_like(carried[key])
        for port in loop.reads:
            if (value := found.get(f"d {port.value}")) is None:
                continue
            if port.role == "carry":
                carried[port.name, port.part] = value
                continue
            place, initial = self._place(port, at)
            if port.role == "prologue":
                d_fixed[port.value] = d_fixed[port.value] + value
            elif place is not None:
                _add(tables[port.role], port, value, loop.step.input[port.value].axes, place)
            elif initial and f"init {port.value}" in d_fixed:
                d_fixed[f"init {port.value}"] = d_fixed[f"init {port.value}"] + value

    def _prologue_back(self, loop: Pass, d_fixed: Mapping[str, Array], into: dict[str, Array]) -> None:
        inputs = {p.value: self._argument(p, loop.prologue) for p in loop.parameters}
        inputs.update({f"d {n}": d for n, d in d_fixed.items()})
        found = self._run(loop.prologue_vjp, inputs)
        for port in loop.parameters:
            if f"d {port.value}" in found and self.form.rec.table[port.name].kind is not Kind.CONST:
                _add(into, port, found[f"d {port.value}"], loop.prologue.input[port.value].axes, ())

    @property
    def _size(self) -> int:
        """The size of a chunk, 0 for the whole sequence."""
        default = self.form.chunk if isinstance(self.form, Parallel) else 0
        return default if self.chunk is None else self.chunk

    @property
    def _passes(self) -> tuple[Pass, ...]:
        """The passes to run: those that know the first carries where the whole sequence starts with them."""
        if isinstance(self.form, Parallel) and not (self.initial or self._size) and self.steps[0]:
            return self.form.start or self.form.passes
        return self.form.passes

    def _walk(self, loop: Pass) -> Iterator[Place]:
        """The steps, or the chunks of steps, in the order of the pass."""
        if not loop.chunk:
            yield from product(*(range(n)[::way] for n, way in zip(self.steps, loop.directions, strict=True)))
            return
        (count,), (way,) = self.steps, loop.directions
        size = self._size or max(count, 1)
        order = np.arange(count)[::way]
        for begin in range(0, count, size):
            yield (order[begin : begin + size],)

    def _run(
        self, block: Block, inputs: Mapping[str, Array], loop: Pass | None = None, at: Place = ()
    ) -> Mapping[str, Array]:
        """Runs a Block; `loop` and `at` tell how many steps a chunk has."""
        sizes = dict(self.sizes)
        if loop is not None and loop.chunk:
            sizes[block.root[loop.chunk]] = len(at[0])
        return self.evaluate(block, {v.name: inputs[v.name] for v in block.inputs}, sizes)

    def _written(self, port: Port) -> dict[str, Array]:
        return self.outputs if port.role == "output" else self._kept

    def _shape(self, block: Block, axes: Sequence[str]) -> tuple[int, ...]:
        return tuple(self.sizes[block.root[a]] for a in axes)

    def _zeros(self, shape: tuple[int, ...], pair: bool = False) -> Array:
        """Zeros, complex ones if `pair`."""
        if self._real.hasobject:
            return np.zeros((*shape, 2) if pair else shape, object)
        return np.zeros(shape, np.result_type(self._real, np.complex64) if pair else self._real)

    def _zeros_of(self, symbol: Symbol) -> Array:
        array, pair = np.asarray(self.arguments[symbol.name]), symbol.dtype == "complex"
        return self._zeros(array.shape[:-1] if pair and array.dtype.hasobject else array.shape, pair)

    def _prologue(self, loop: Pass) -> Mapping[str, Array]:
        return self._run(loop.prologue, {p.value: self._argument(p, loop.prologue) for p in loop.parameters})

    def _argument(self, port: Port, block: Block) -> Array:
        value = _part(self.arguments[port.name], port.complex, port.part)
        return _order(value, port.axes, block.input[port.value].axes)

    def _first(self, loop: Pass, key: Part, fixed: Mapping[str, Array]) -> Array:
        carry = next(c for c in loop.carries if c.name == key[0])
        if not carry.slot or carry.name not in self.initial:
            return fixed[f"init {_parts(loop)[key]}"]
        return _order(_part(self.initial[carry.name], carry.complex, key[1]), carry.axes, _axes(loop, key))

    def _last(self, loop: Pass, key: Part, d_final: Mapping[str, Array]) -> Array:
        carry = next(c for c in loop.carries if c.name == key[0])
        if not carry.slot or carry.name not in d_final:
            return self._zeros(self._shape(loop.step, _axes(loop, key)))
        return _order(_part(d_final[carry.name], carry.complex, key[1]), carry.axes, _axes(loop, key))

    def _read(
        self, loop: Pass, port: Port, at: Place, fixed: Mapping[str, Array], carries: Mapping[Part, Array]
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
            return self._zeros(self._shape(loop.step, axes))
        table = self.arguments if port.role == "argument" else self._kept
        return _order(_part(table[port.name], port.complex, port.part)[place], port.axes, axes)

    def _place(self, port: Port, at: Place) -> tuple[Place | None, bool]:
        """The step that a read finds (`None` beyond the ends), and whether it left where the state starts."""
        if not port.lags:
            return at, False
        place = tuple(x - lag for x, lag in zip(at, port.lags, strict=True))
        if all(0 <= x < n for x, n in zip(place, self.steps, strict=True)):
            return place, False
        ends = zip(place, self.steps, port.starts, strict=True) if port.starts else ()
        return None, bool(port.starts) and all(x < n if way == 1 else x >= 0 for x, n, way in ends)

    def _outside(self, loop: Pass, carry: Carry, carries: Mapping[Part, Array]) -> Array:
        """A carry as the caller sees it."""
        axes = _axes(loop, (carry.name, 0))
        parts = [_order(carries[carry.name, k], axes, carry.axes) for k in range(1 + carry.complex)]
        if not carry.complex:
            return parts[0]
        return np.stack(parts, -1) if self._real.hasobject else parts[0] + 1j * parts[1]


def _parts(loop: Pass) -> dict[Part, str]:
    """Every part of every carry with its label after `init`."""
    found = {}
    for carry in loop.carries:
        for part in range(1 + carry.complex):
            found[carry.name, part] = carry.label(part)
    return found


def _axes(loop: Pass, key: Part) -> tuple[str, ...]:
    """The axes of a carry in the step Block."""
    value = next(p.value for p in loop.writes if p.role == "carry" and (p.name, p.part) == key)
    return loop.step.output[value].axes


def _inner(loop: Pass, port: Port) -> tuple[str, ...]:
    """The axes of a port without time."""
    return port.axes[1:] if loop.chunk else port.axes


def _part(value: Any, pair: bool, part: int) -> Array:
    """A view of the real or the imaginary part of a complex tensor; all of a real one."""
    array = np.asarray(value)
    if not pair:
        return array
    if array.dtype.hasobject:
        return array[..., part]
    return np.imag(array) if part else np.real(array)


def _order(value: Any, have: Sequence[str], want: Sequence[str]) -> Array:
    assert sorted(have) == sorted(want), (have, want)
    return np.asarray(value).transpose([tuple(have).index(a) for a in want])


def _add(table: dict[str, Array], port: Port, value: Array, axes: Sequence[str], at: Place) -> None:
    """Adds one part of one step or chunk (or of a parameter, at `()`) to a tensor."""
    _part(table[port.name], port.complex, port.part)[(*at, ...)] += _order(value, axes, port.axes)


__all__ = ["Evaluate", "Item"]
