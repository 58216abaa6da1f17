"""Which form runs a program where the caller leaves the choice: the cheapest whose numbers are sound.

Every form is derived, its cost worked out for the sizes at hand (`recc.forms.cost`), its numbers judged by what
the domains promise (`recc.forms.condition`). The whole table is kept, so that it can be shown. The choice depends
on the program, sizes, steps, batch, device and backend only: the same call always runs the same form.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log2, prod

from recc.errors import Refusal, Unsupported
from recc.forms.condition import Note, conditions
from recc.forms.cost import Cost, cost
from recc.forms.device import Device, device_named
from recc.forms.parallel import DEFAULT_CHUNK, PARALLEL, chained, derive
from recc.forms.passes import Parallel, Sequential
from recc.forms.sequential import derive_sequential
from recc.recurrence import Recurrence
from recc.structure import Structure

#: The sizes of chunks that the chunked form is tried with.
CHUNKS = (16, 32, 64, 128, 256)
#: The steps that are taken where they are not known, and the size of an axis.
_STEPS, _SIZE = 1024, 16
#: How much cheaper a form has to be if there is something to say of its numbers.
_DOUBT = 1.25
#: Programs, and sizes of a program, that are remembered.
_MOST = 64

Form = Sequential | Parallel


@dataclass(frozen=True)
class Option:
    """One form of a table: its cost and what there is to say of its numbers, or why it does not apply.

    `chunk` is the size of a chunk, 0 for the whole sequence or single steps. `out` says why the form is not
    taken although it applies, empty if it may be.
    """

    name: str
    backend: str
    chunk: int = 0
    cost: Cost | None = None
    notes: tuple[Note, ...] = ()
    out: str = ""
    refusal: Refusal | None = None

    @property
    def price(self) -> float:
        """What options are ranked by: the estimated seconds, more if there are doubts."""
        if self.cost is None or self.out:
            return float("inf")
        return self.cost.seconds * (_DOUBT if self.notes else 1.0)


@dataclass(frozen=True)
class Choice:
    """The form to run, the size of its chunks (0: the whole sequence), and every option with its cost."""

    name: str
    chunk: int
    options: tuple[Option, ...]

    @property
    def taken(self) -> Option:
        """The option that was chosen."""
        return next(o for o in self.options if (o.name, o.chunk) == (self.name, self.chunk) and o.refusal is None)


def choose(
    rec: Recurrence,
    backend: str = "torch",
    sizes: Mapping[str, int] | None = None,
    steps: int | Sequence[int] = 0,
    batch: int = 1,
    device: str | Device = "cpu",
    chunk: int | None = None,
    *,
    backward: bool = True,
) -> Choice:
    """The cheapest form whose numbers are sound and whose intermediates fit into memory.

    Args:
        rec: the program.
        backend: `torch`, or one that runs the sequential form only.
        sizes: the size of each axis, by the axis that gives it; 16 for those that are not there.
        steps: the steps along the scan axis or axes, 0 if unknown.
        batch: sequences times the sizes of batch axes.
        device: a device or its name.
        chunk: the size of chunks if the caller chose one.
        backward: whether gradients are wanted.

    Steps and batch are rounded to powers of two, so that sequences of about the same length are run alike.
    """
    machine = device_named(device) if isinstance(device, str) else device
    extents = (steps,) if isinstance(steps, int) else tuple(steps)
    table = _table(rec)
    key = (
        backend, tuple(sorted((sizes or {}).items())), tuple(map(_rounded, extents)), _rounded(batch), machine,
        chunk, backward,
    )  # fmt: skip
    if key not in table.choices:
        if len(table.choices) >= _MOST:
            table.choices.popitem(last=False)
        table.choices[key] = table.choose(backend, dict(key[1]), key[2], key[3], machine, chunk, backward)
    return table.choices[key]


def _rounded(count: int) -> int:
    """The power of two that is nearest, on a logarithmic scale; 0 of 0."""
    return 1 << round(log2(count)) if count > 0 else 0


class Table:
    """The forms of a program as they are needed, and choices made before."""

    def __init__(self, rec: Recurrence):
        self.rec = rec
        self.choices: OrderedDict[tuple[object, ...], Choice] = OrderedDict()
        self._forms: dict[tuple[str, int], Form | Refusal] = {}
        self._structures: dict[str, Structure] | None = None

    def form(self, name: str, chunk: int = 0) -> Form | Refusal:
        """A form for chunks of a size."""
        if (name, chunk) not in self._forms:
            made: Form | Refusal
            made = derive_sequential(self.rec) if name == "sequential" else derive(self.rec, name, chunk)
            self._forms[name, chunk] = made
        return self._forms[name, chunk]

    def structures(self) -> Mapping[str, Structure]:
        """The structure of each state's stage."""
        if self._structures is None:
            _, found = chained(self.rec)
            self._structures = {state: s for s in found for state in s.stage.states}
        return self._structures

    def choose(
        self,
        backend: str,
        sizes: Mapping[str, int],
        steps: Sequence[int],
        batch: int,
        device: Device,
        chunk: int | None,
        backward: bool,
    ) -> Choice:
        """The choice, worked out."""
        sizes = {a.size_of: sizes.get(a.size_of, _SIZE) for a in self.rec.axes}
        call = Call(backend, sizes, tuple(n or _STEPS for n in steps), max(1, batch), device, backward)
        options = [self.option("sequential", 0, call)]
        for name in PARALLEL:
            if backend != "torch":
                reason = "compiled kernels run the sequential form only"
                options.append(Option(name, backend, refusal=Refusal(f"the {name} form", reason, "backend='torch'")))
                continue
            own = DEFAULT_CHUNK[name] if chunk is None else chunk
            best = self.option(name, own, call)
            if name == "chunked" and chunk is None and best.cost is not None:
                best = self._best_chunk(best, call)
            options.append(best)
        taken = min(options, key=lambda o: o.price)
        if taken.price == float("inf") or prod(call.steps) == 1:
            taken = options[0]  # a step alone has nothing to run side by side
        return Choice(taken.name, taken.chunk, tuple(options))

    def _best_chunk(self, default: Option, call: Call) -> Option:
        """The size of chunks: downhill from the default by its Blocks, then by those for the size found."""
        form = self.form("chunked", default.chunk)
        assert not isinstance(form, Refusal) and default.cost is not None
        known = {default.chunk: default.cost.seconds}
        best = default.chunk
        for way in (2.0, 0.5):
            while (nearby := int(best * way)) in CHUNKS and nearby not in known and nearby < 2 * prod(call.steps):
                known[nearby] = call.cost(form, nearby).seconds
                if known[nearby] >= known[best]:
                    break
                best = nearby
        if best == default.chunk:
            return default
        other = self.option("chunked", best, call)
        return other if other.price < default.price else default

    def option(self, name: str, chunk: int, call: Call) -> Option:
        """A row of the table."""
        form = self.form(name, chunk)
        if isinstance(form, Refusal):
            return Option(name, call.backend, refusal=form)
        found = call.cost(form, chunk)
        notes: tuple[Note, ...] = ()
        if isinstance(form, Parallel):
            notes = conditions(form, self.structures(), max(call.steps), chunk)
        out = next((n.text for n in notes if n.bad), "")
        if found.memory > call.device.memory and name != "sequential":
            taken, limit = (f"{size / 2**30:.3g} GiB" for size in (found.memory, call.device.memory))
            out = f"its intermediates take {taken}, and {limit} is the limit"
        return Option(name, call.backend, chunk, found, notes, out)


@dataclass(frozen=True)
class Call:
    """What a cost depends on beside the form."""

    backend: str
    sizes: Mapping[str, int]
    steps: tuple[int, ...]
    batch: int
    device: Device
    backward: bool

    def cost(self, form: Form, chunk: int) -> Cost:
        """The cost of a form."""
        return cost(
            form, self.sizes, self.steps, self.batch, self.device,
            backend=self.backend, backward=self.backward, chunk=chunk,
        )  # fmt: skip


#: Tables by the identity of the program, with the program, so that no other takes its place.
_TABLES: OrderedDict[int, Table] = OrderedDict()


def _table(rec: Recurrence) -> Table:
    found = _TABLES.get(id(rec))
    if found is None or found.rec is not rec:
        if len(_TABLES) >= _MOST:
            _TABLES.popitem(last=False)
        found = _TABLES[id(rec)] = Table(rec)
    return found


def require(rec: Recurrence, name: str, chunk: int | None = None) -> Form:
    """The form of a name. Raises `Unsupported` with the reason, and with the forms that the program has."""
    found = _table(rec).form(name, DEFAULT_CHUNK.get(name, 0) if chunk is None else chunk)
    if not isinstance(found, Refusal):
        return found
    raise Unsupported(Refusal(found.what, found.reason, instead(rec, name), found.span))


def instead(rec: Recurrence, name: str) -> str:
    """What can be asked for in place of a form that does not apply."""
    table = _table(rec)
    others: Iterable[str] = (n for n in ("sequential", *PARALLEL) if n != name)
    names = [n for n in others if not isinstance(table.form(n, DEFAULT_CHUNK.get(n, 0)), Refusal)]
    return f"use form={' or '.join(map(repr, names))}" if names else "use backend='numpy'"


__all__ = ["CHUNKS", "Choice", "Option", "choose", "instead", "require"]
