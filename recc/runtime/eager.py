"""Runs a call with the torch backend: on tensors of any device, or on NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from operator import index
from typing import Any

import numpy as np
import torch

from recc.backends.torch_eager.arrange import Types, execute
from recc.backends.torch_eager.module import Module, Variant, build, emit_module
from recc.forms.choose import choose
from recc.forms.condition import conditions
from recc.forms.device import DEVICES
from recc.forms.joining import Joinable, joinable, joins_phase
from recc.forms.parallel import chained
from recc.forms.passes import Parallel
from recc.forms.table import Form
from recc.recurrence import Kind, Recurrence
from recc.runtime.call import Call, check_clock
from recc.runtime.layout import lay_out
from recc.runtime.options import form_named

#: Phases by the numbers of their pass and their own.
Phases = tuple[tuple[int, int], ...]
#: A form, the size of its chunks (`None`: its own), which calls it is for, and which of its phases run as trees.
Key = tuple[str, int | None, Variant, Phases]


@dataclass
class Eager:
    """The torch functions of one program, emitted per form as calls come.

    `form` and `chunk` are what the caller asked for: a form's name or `auto`, a size of chunks or `None`.
    `join` says whether loops over chunks run as trees where they can; `None` leaves it to their costs.
    """

    rec: Recurrence
    form: str
    chunk: int | None
    join: bool | None = None
    _modules: dict[Key, Module] = field(default_factory=dict)
    _forms: dict[tuple[str, int | None], Form] = field(default_factory=dict)
    _joinable: dict[tuple[str, int | None], dict[tuple[int, int], Joinable]] = field(default_factory=dict)
    _joined: dict[tuple[Any, ...], Phases] = field(default_factory=dict)

    def choose(
        self,
        sizes: Mapping[str, int],
        steps: Sequence[int] = (0,),
        batch: int = 1,
        device: str = "cpu",
        grad: bool = True,
    ) -> tuple[str, int | None]:
        """The name of the form for given sizes, and the size of its chunks (`None` for its own default)."""
        if self.form != "auto":
            return self.form, self.chunk
        known = device if device in DEVICES else "cpu"
        found = choose(self.rec, "torch", sizes, steps, batch, known, self.chunk, backward=grad)
        return found.name, found.chunk

    def module(self, name: str, chunk: int | None, variant: Variant = "", joined: Phases = ()) -> Module:
        """The emitted functions of a form, loaded."""
        key = (name, chunk, variant, joined)
        if key not in self._modules:
            trees = {k: self._phases(name, chunk)[k].map for k in joined}
            self._modules[key] = build(self._derived(name, chunk), variant, trees)
        return self._modules[key]

    def joined(
        self, name: str, chunk: int | None, sizes: Mapping[str, int], steps: int, batch: int, device: str, grad: bool
    ) -> Phases:
        """The phases that run as trees over chunks rather than as loops."""
        form = self._derived(name, chunk)
        if self.join is False or not isinstance(form, Parallel) or not form.chunk or steps < 2 * form.chunk:
            return ()
        if self.join:
            return tuple(self._phases(name, chunk))
        known = DEVICES.get(device, DEVICES["cpu"])
        count = steps // form.chunk
        key = (name, chunk, *sorted(sizes.items()), count, batch, known.name, grad)
        if key not in self._joined:
            found = self._phases(name, chunk).items()
            taken = (k for k, one in found if joins_phase(one, sizes, count, form.chunk, batch, known, grad))
            self._joined[key] = tuple(taken) if self._bounded(form, steps) else ()
        return self._joined[key]

    def _bounded(self, form: Parallel, steps: int) -> bool:
        """Whether nothing has to be said of the products of all transitions, which a tree makes."""
        _, structures = chained(self.rec)
        found = {state: s for s in structures for state in s.stage.states}
        return not conditions(form, found, steps, 0)

    def _phases(self, name: str, chunk: int | None) -> dict[tuple[int, int], Joinable]:
        if (name, chunk) not in self._joinable:
            form = self._derived(name, chunk)
            self._joinable[name, chunk] = joinable(form) if isinstance(form, Parallel) else {}
        return self._joinable[name, chunk]

    def sources(self) -> dict[str, str]:
        """The text of every module built so far, by file."""
        return {str(module.path): module.source for module in self._modules.values()}

    def emit(self, name: str, chunk: int | None) -> str:
        """The text of the module of a form."""
        return emit_module(self._derived(name, chunk))

    def _derived(self, name: str, chunk: int | None) -> Form:
        if (name, chunk) not in self._forms:
            self._forms[name, chunk] = form_named(self.rec, name, chunk)
        return self._forms[name, chunk]

    def run(self, call: Call, final: bool = True) -> tuple[list[Any], list[Any]]:
        """Outputs and final states, in order: tensors of a call with tensors, otherwise NumPy arrays.

        Without `final` there may be no final states.
        """
        if call.torch:
            return self._run(call, call.arguments, call.initial, final)
        arguments = {n: torch.from_numpy(_own(v)) for n, v in call.arguments.items()}
        initial = {n: torch.from_numpy(_own(v)) for n, v in call.initial.items()}
        with torch.no_grad():
            outputs, finals = self._run(call, arguments, initial, final)
        return [v.numpy() for v in outputs], [v.numpy() for v in finals]

    def _run(
        self, call: Call, arguments: Mapping[str, torch.Tensor], initial: Mapping[str, torch.Tensor], final: bool
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        # Constants have no gradient, whatever the tensors are that a caller gives for them.
        arguments = {n: v.detach() if self.rec.table[n].kind is Kind.CONST else v for n, v in arguments.items()}
        # `index` makes plain numbers of the symbols by which a tracer may stand for sizes.
        shapes = {n: tuple(map(index, v.shape)) for n, v in arguments.items()}
        states = {n: tuple(map(index, v.shape)) for n, v in initial.items()}
        layout = lay_out(self.rec, shapes, states, call.offsets, call.steps, lane=False)
        given = [*arguments.values(), *initial.values()]
        device = given[0].device if given else torch.device("cpu")
        extents = layout.extents if not layout.packed else (max(layout.lengths, default=0),)
        variant: Variant = ""
        if not initial and min(layout.lengths, default=0) > 0:
            variant = "start" if final else "outputs"
        batch = layout.sequences * prod(layout.batch)
        sizes = tuple(layout.sizes.items())
        key = self._ready(sizes, extents, batch, device.type, torch.is_grad_enabled(), variant)
        clock = torch.as_tensor(call.clock, dtype=torch.int64, device=device)
        check_clock(self.rec, clock, layout)
        types = Types(getattr(torch, call.compute), getattr(torch, call.result), device)
        outputs, finals = execute(self._modules[key], layout, types, arguments, initial, clock)
        return [outputs[s.name] for s in self.rec.outputs], [finals[s.name] for s in self.rec.slots if s.name in finals]

    # Deriving and emitting is not for a tracer to look into.
    @torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # torch gives it no types
    def _ready(
        self,
        sizes: tuple[tuple[str, int], ...],
        steps: tuple[int, ...],
        batch: int,
        device: str,
        grad: bool,
        variant: Variant,
    ) -> Key:
        """Chooses the functions for a call, builds them if need be, and gives their key."""
        name, chunk = self.choose(dict(sizes), steps, batch, device, grad)
        variant = variant if getattr(self._derived(name, chunk), "start", ()) else ""
        joined = self.joined(name, chunk, dict(sizes), steps[0], batch, device, grad) if len(steps) == 1 else ()
        joined = () if variant else joined
        self.module(name, chunk, variant, joined)
        return name, chunk, variant, joined


def _own(array: Any) -> Any:
    """An array that torch can look at: writable, and not from its end."""
    usable = array.flags.writeable and all(stride >= 0 for stride in array.strides)
    return array if usable else np.array(array)


__all__ = ["Eager"]
