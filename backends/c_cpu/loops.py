"""From a loop tree to C statements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from recc.backends.c_cpu.memory import Memory, Names, linear
from recc.backends.c_cpu.nest import Leaf, Loop, Nest, Node
from recc.backends.c_cpu.opaque import write_opaque
from recc.backends.c_cpu.scalar import call, literal, reduction
from recc.backends.c_cpu.store import Ref, Store
from recc.forms.block import (
    Constant,
    Contract,
    Cumulate,
    Gather,
    Iota,
    Map,
    Mask,
    Matrix,
    Op,
    Reduce,
    Scatter,
    Segment,
    Shift,
    Value,
)

#: Elements of the largest array that a step keeps on the stack.
STACKED = 2048

#: Operations in a loop up to which four, or two, of its iterations run together.
_FOURFOLD, _TWOFOLD = 32, 64


class NestWriter:
    """Writes a loop tree as C.

    `comments` are shown above the statement that defines a value; `allocate` names scratch memory for
    arrays that are too large for the stack.
    """

    def __init__(
        self,
        nest: Nest,
        memory: Mapping[str, Memory],
        sizes: Mapping[str, int],
        names: Names,
        comments: Mapping[str, str] | None = None,
        depth: int = 1,
        allocate: Callable[[str, int, bool], str] | None = None,
    ):
        self.nest = nest
        self.memory = memory
        self.sizes = sizes
        self.names = names
        self.comments = dict(comments or {})
        self.depth = depth
        self.allocate = allocate
        self.away: dict[str, str] = {}  # values too large for the stack
        self.own: set[str] = set()  # values of which each of several iterations has its own
        self.number = 0  # which of those iterations is being written
        self.lines: list[str] = []
        self.index: dict[str, str] = {}
        self.dims: dict[str, tuple[str, ...]] = {}
        self.homes: dict[int | None, list[Value]] = {}
        self._assign_storage()

    def write(self) -> list[str]:
        """The C lines."""
        self._body(self.nest.root, None)
        return self.lines

    def emit(self, text: str) -> None:
        """One line at the current depth."""
        self.lines.append("    " * self.depth + text)

    def element(self, ref: Ref) -> str:
        """The C expression of a value at a reference's position, inside the loops now open."""
        index = {own: self.index.get(at, at) for own, at in ref.index}
        op = self.nest.defined.get(ref.base.name)
        if isinstance(op, Constant):
            return literal(op.value, op.out.dtype)
        if isinstance(op, Iota):
            return index[op.axis]
        return self.at(ref.base, index)

    def at(self, value: Value, index: Mapping[str, str]) -> str:
        """The C expression of a stored value at an index."""
        if value.name in self.memory:
            return self.memory[value.name].load(index, self.sizes)
        dims = self.dims[value.name]
        name = self.name(value)
        return f"{name}[{linear(dims, index, self.sizes)}]" if dims else name

    def arg(self, value: Value) -> str:
        """The C expression of an operand."""
        return self.element(self.nest.ref(value))

    def open(self, axis: str, step: int = 1) -> None:
        """Begins a loop."""
        var = self.names(f"axis {axis}", axis)
        advance = f"++{var}" if step == 1 else f"{var} += {step}"
        self.emit(f"for (int64_t {var} = 0; {var} < {self.sizes[axis]}; {advance}) {{")
        self.index[axis] = var
        self.depth += 1

    def close(self, axis: str) -> None:
        """Ends a loop."""
        self.depth -= 1
        del self.index[axis]
        self.emit("}")

    def _assign_storage(self) -> None:
        """Finds for every value the innermost body that holds its producer and all its consumers."""
        made: dict[str, tuple[Value, list[Loop]]] = {}
        used: dict[str, list[list[Loop]]] = {}

        def visit(nodes: list[Node], path: list[Loop]) -> None:
            for node in nodes:
                if isinstance(node, Loop):
                    visit(node.body, [*path, node])
                    continue
                item = node.item
                for ref, _ in self.nest.operands(item):
                    used.setdefault(ref.base.name, []).append(path)
                if not isinstance(item, Store):
                    over = self.nest.reduced(item)
                    cut = next((i for i, loop in enumerate(path) if loop.axis in over), len(path))
                    made[item.out.name] = (item.out, path[:cut])

        visit(self.nest.root, [])
        for name, (value, path) in made.items():
            shared = path
            for other in used.get(name, ()):
                count = next((i for i, (x, y) in enumerate(zip(shared, other, strict=False)) if x is not y), None)
                shared = shared[: min(len(shared), len(other)) if count is None else count]
            around = {loop.axis for loop in shared}
            self.dims[name] = tuple(a for a in self.nest.order if a in value.axes and a not in around)
            if self.dims[name]:
                self.homes.setdefault(id(shared[-1]) if shared else None, []).append(value)

    def _body(self, nodes: list[Node], home: int | None) -> None:
        for value in self.homes.get(home, ()):
            count = 1
            for axis in self.dims[value.name]:
                count *= self.sizes[axis]
            integer = value.dtype != "real"
            if count > STACKED and self.allocate is not None:
                self.away[value.name] = self.allocate(f"{value.name} {value.dtype} {count}", count, integer)
                continue
            self.emit(f"RECC_ALIGNED {'int64_t' if integer else 'real'} {self.names(value.name)}[{max(1, count)}];")
        for node in nodes:
            if isinstance(node, Leaf):
                self._leaf(node.item, None)
            else:
                self._loop(node)

    def _loop(self, loop: Loop) -> None:
        copies = self._copies(loop)
        if copies > 1:
            self._jam(loop, copies)
            return
        temporaries = self._begin_reductions(loop)
        inner = loop.innermost and not any(isinstance(n.item, Scatter) for n in loop.body if isinstance(n, Leaf))
        if inner:
            self._simd(loop, temporaries.values())
        self.open(loop.axis)
        if loop.innermost:
            for node in loop.body:
                assert isinstance(node, Leaf)
                self._leaf(node.item, temporaries.get(id(node.item)))
        else:
            self._body(loop.body, id(loop))
        self.close(loop.axis)
        self._end_reductions(temporaries)

    def _simd(self, loop: Loop, temporaries: Iterable[tuple[Op, str, str]]) -> None:
        """Asks for vectors along an innermost loop that is long enough."""
        if self.sizes[loop.axis] >= 4:
            clauses = "".join(f" reduction({op}:{names})" for op, names in _clauses(temporaries))
            self.emit(f"RECC_SIMD({clauses.strip()})")

    def _copies(self, loop: Loop) -> int:
        """How many iterations of an outer loop run together, their inner loops as one.

        What all of them read is then loaded once, and a sum over the outer axis goes through memory once
        for all of them.
        """
        inner = [node for node in loop.body if isinstance(node, Loop)]
        items = [leaf.item for leaf in _leaves(loop)]
        if not inner or not all(node.innermost for node in inner) or self.homes.get(id(loop)):
            return 1
        if any(isinstance(item, (Scatter, Cumulate, Segment, Matrix)) for item in items):
            return 1
        # The lanes of a vector are added up in order, and of several vectors at once that is slower.
        if any(node.axis in self.nest.reduced(leaf.item) for node in inner for leaf in _leaves(node)):
            return 1
        wanted = 4 if len(items) <= _FOURFOLD else (2 if len(items) <= _TWOFOLD else 1)
        size = self.sizes[loop.axis]
        return next((n for n in (4, 2) if n <= wanted and size % n == 0 and size >= 2 * n), 1)

    def _jam(self, loop: Loop, copies: int) -> None:
        """Writes an outer loop with several iterations at a time."""
        self._begin_reductions(loop)
        leaves = [leaf.item for leaf in _leaves(loop)]
        made = [item for item in leaves if not isinstance(item, Store) and loop.axis not in self.nest.reduced(item)]
        self.own = {item.out.name for item in made if not self.dims[item.out.name]}
        self.open(loop.axis, copies)
        first = self.index[loop.axis]
        places = [first]
        for number in range(1, copies):
            places.append(self.names(f"{first} plus {number}", f"{first}_{number}"))
            self.emit(f"const int64_t {places[-1]} = {first} + {number};")

        def each() -> Iterator[int]:
            for number, place in enumerate(places):
                self.number, self.index[loop.axis] = number, place
                yield number
            self.number, self.index[loop.axis] = 0, first

        for node in loop.body:
            if isinstance(node, Leaf):
                for _ in each():
                    self._leaf(node.item, None)
                continue
            temporaries = [self._begin_reductions(node) for _ in each()]
            self._simd(node, [t for found in temporaries for t in found.values()])
            self.open(node.axis)
            for number in each():
                for leaf in _leaves(node):
                    self._leaf(leaf.item, temporaries[number].get(id(leaf.item)))
            self.close(node.axis)
            for number in each():
                self._end_reductions(temporaries[number])
        self.close(loop.axis)
        self.own = set()

    def name(self, value: Value) -> str:
        """The C name of a value, of its own in each of several iterations that run together."""
        if value.name in self.away:
            return self.away[value.name]
        name = self.names(value.name)
        if self.number and value.name in self.own:
            return self.names(f"{value.name} copy {self.number}", f"{name}_{self.number}")
        return name

    def _begin_reductions(self, loop: Loop) -> dict[int, tuple[Op, str, str]]:
        """Starts every reduction whose outermost summed loop is this one; scalars for an innermost loop."""
        temporaries: dict[int, tuple[Op, str, str]] = {}
        for leaf in _leaves(loop):
            item = leaf.item
            if isinstance(item, Store) or not (over := self.nest.reduced(item)):
                continue
            assert isinstance(item, (Contract, Reduce, Scatter))
            opened = set(self.index)
            direct = loop.innermost and loop.axis in over and not isinstance(item, Scatter)
            if loop.axis in over and not (over & opened) and not (direct and len(over) == 1):
                self._fill(item.out, reduction(_fn(item))[0])
            if direct:
                identity, operator, _ = reduction(_fn(item))
                alone = len(over) == 1 and not self.dims[item.out.name]
                label = f"{item.out.name} in {loop.axis}" + (f" {self.number}" if self.number else "")
                name = self.name(item.out) if alone else self.names(label)
                self._comment(item.out.name)
                self.emit(f"real {name} = {identity};")
                temporaries[id(item)] = (item, operator, name)
        return temporaries

    def _fill(self, value: Value, identity: str) -> None:
        """Sets a reduction's result to the identity before its loops."""
        dims = self.dims[value.name]
        name = self.name(value)
        if not dims:
            self.emit(f"real {name} = {identity};")
            return
        missing = [a for a in dims if a not in self.index]
        for axis in missing:
            self.open(axis)
        self.emit(f"{name}[{linear(dims, self.index, self.sizes)}] = {identity};")
        for axis in reversed(missing):
            self.close(axis)

    def _end_reductions(self, temporaries: Mapping[int, tuple[Op, str, str]]) -> None:
        for item, _, name in temporaries.values():
            target = self.at(item.out, self.index)
            if target == name:
                continue
            if len(self.nest.reduced(item)) == 1:
                self.emit(f"{target} = {name};")
            else:
                self.emit(f"{target} = {reduction(_fn(item))[2].format(target, name)};")

    def _comment(self, name: str) -> None:
        if name in self.comments:
            self.emit(f"/* {self.comments.pop(name)} */")

    def _leaf(self, item: Op | Store, temporary: tuple[Op, str, str] | None) -> None:
        if isinstance(item, Store):
            memory = self.memory[item.target]
            self.emit(memory.store(self.index, self.sizes, self.arg(item.value), item.accumulate))
            return
        if temporary is None:
            self._comment(item.out.name)
        if isinstance(item, (Cumulate, Segment, Matrix)):
            write_opaque(self, item)
            return
        if isinstance(item, (Contract, Reduce)):
            expr = " * ".join(self.arg(v) for v in item.operands)
            target = temporary[2] if temporary else self.at(item.out, self.index)
            if isinstance(item, Contract):
                self.emit(f"{target} += {expr};")
            else:
                self.emit(f"{target} = {reduction(item.fn)[2].format(target, expr)};")
            return
        if isinstance(item, Scatter):
            self._scatter(item)
            return
        self._define(item.out, self._expression(item))

    def _define(self, value: Value, expr: str) -> None:
        if self.dims[value.name]:
            self.emit(f"{self.at(value, self.index)} = {expr};")
        else:
            kind = "real" if value.dtype == "real" else ("int" if value.dtype == "bool" else "int64_t")
            self.emit(f"const {kind} {self.name(value)} = {expr};")

    def _expression(self, op: Op) -> str:
        if isinstance(op, Map):
            return call(op.fn, [self.arg(v) for v in op.args])
        if isinstance(op, Mask):
            row, col = self.index[op.row], self.index[op.col]
            return f"({row} {'>' if op.strict else '>='} {col} ? {self.arg(op.arg)} : 0)"
        if isinstance(op, Shift):
            return self._elsewhere(op.arg, op.axis, f"({self.index[op.axis]} + {op.offset})", op.edge)
        if isinstance(op, Gather):
            return self._elsewhere(op.arg, op.axis, f"({self.arg(op.index)})", op.edge)
        raise AssertionError(f"no C for {type(op).__name__}")

    def _elsewhere(self, value: Value, axis: str, at: str, edge: str) -> str:
        """An element at another position along an axis, by the axis' edge rule."""
        size = self.sizes[axis]
        ref = self.nest.ref(value)
        own = next(a for a, seen in ref.index if seen == axis)
        index = {a: self.index.get(seen, seen) for a, seen in ref.index}
        op = self.nest.defined.get(ref.base.name)
        bounded = f"recc_wrap({at}, {size})" if edge == "wrap" else f"recc_clamp_index({at}, {size})"
        if isinstance(op, Constant):
            inside = literal(op.value, op.out.dtype)
        elif isinstance(op, Iota):
            inside = bounded
        else:
            inside = self.at(ref.base, {**index, own: bounded})
        return f"(({at} >= 0) & ({at} < {size}) ? {inside} : 0)" if edge == "zero" else inside

    def _scatter(self, op: Scatter) -> None:
        size = self.sizes[op.axis]
        at = self.names(f"{op.out.name} at")
        if not self.nest.loops(op):
            self._fill(op.out, "0")
        self.emit("{")
        self.depth += 1
        self.emit(f"const int64_t {at} = {self.arg(op.index)};")
        bounded = f"recc_wrap({at}, {size})" if op.edge == "wrap" else f"recc_clamp_index({at}, {size})"
        target = self.at(op.out, {**self.index, op.axis: bounded})
        guard = f"if ({at} >= 0 && {at} < {size}) " if op.edge == "zero" else ""
        self.emit(f"{guard}{target} += {self.arg(op.arg)};")
        self.depth -= 1
        self.emit("}")


def _leaves(loop: Loop) -> list[Leaf]:
    found: list[Leaf] = []
    for node in loop.body:
        found.extend([node] if isinstance(node, Leaf) else _leaves(node))
    return found


def _fn(item: Contract | Reduce | Scatter | Op) -> str:
    return item.fn if isinstance(item, Reduce) else "sum"


def _clauses(found: Iterable[tuple[Op, str, str]]) -> list[tuple[str, str]]:
    groups: dict[str, list[str]] = {}
    for _, operator, name in found:
        groups.setdefault(operator, []).append(name)
    return [(operator, ", ".join(names)) for operator, names in groups.items()]


__all__ = ["STACKED", "NestWriter"]
