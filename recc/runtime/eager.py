"""Runs a call with the torch backend: on tensors of any device, or on NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import index
from typing import Any

import numpy as np
import torch

from recc.backends.torch_eager.arrange import Types, execute
from recc.backends.torch_eager.module import Module, build, emit_module
from recc.errors import Refusal
from recc.forms.choose import choose
from recc.forms.table import Form, forms
from recc.recurrence import Recurrence
from recc.runtime.call import Call, check_clock
from recc.runtime.layout import lay_out
from recc.runtime.options import form_named


@dataclass
class Eager:
    """The torch functions of one program, emitted per form as calls come."""

    rec: Recurrence
    form: str
    chunk: int | None
    _modules: dict[tuple[str, bool], Module] = field(default_factory=dict)
    _forms: dict[str, Form] = field(default_factory=dict)

    @cached_property
    def table(self) -> Mapping[str, Form | Refusal]:
        """Every form of the program, or its refusal."""
        return forms(self.rec)

    def choose(self, sizes: Mapping[str, int] | None = None, steps: int = 0) -> str:
        """The name of the form for given sizes."""
        return choose(self.rec, self.table, sizes, steps) if self.form == "auto" else self.form

    def module(self, name: str, fresh: bool = False) -> Module:
        """The emitted functions of a form, loaded. `fresh`: for a call without an initial state."""
        if (name, fresh) not in self._modules:
            self._modules[name, fresh] = build(self._derived(name), fresh)
        return self._modules[name, fresh]

    def sources(self) -> dict[str, str]:
        """The text of every module built so far, by file."""
        return {str(module.path): module.source for module in self._modules.values()}

    def emit(self, name: str) -> str:
        """The text of the module of a form."""
        return emit_module(self._derived(name))

    def _derived(self, name: str) -> Form:
        if name not in self._forms:
            self._forms[name] = form_named(self.rec, name, self.chunk)
        return self._forms[name]

    def run(self, call: Call) -> tuple[list[Any], list[Any]]:
        """Outputs and final states, in order: tensors of a call with tensors, otherwise NumPy arrays."""
        if call.torch:
            return self._run(call, call.arguments, call.initial)
        arguments = {n: torch.from_numpy(_own(v)) for n, v in call.arguments.items()}
        initial = {n: torch.from_numpy(_own(v)) for n, v in call.initial.items()}
        with torch.no_grad():
            outputs, finals = self._run(call, arguments, initial)
        return [v.numpy() for v in outputs], [v.numpy() for v in finals]

    def _run(
        self, call: Call, arguments: Mapping[str, torch.Tensor], initial: Mapping[str, torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        # `index` makes plain numbers of the symbols by which a tracer may stand for sizes.
        shapes = {n: tuple(map(index, v.shape)) for n, v in arguments.items()}
        states = {n: tuple(map(index, v.shape)) for n, v in initial.items()}
        layout = lay_out(self.rec, shapes, states, call.offsets, call.steps, lane=False)
        key = self._ready(tuple(layout.sizes.items()), layout.lengths, bool(initial))
        given = [*arguments.values(), *initial.values()]
        device = given[0].device if given else torch.device("cpu")
        clock = torch.as_tensor(call.clock, dtype=torch.int64, device=device)
        check_clock(self.rec, clock, layout)
        types = Types(getattr(torch, call.compute), getattr(torch, call.result), device)
        outputs, finals = execute(self._modules[key], layout, types, arguments, initial, clock)
        return [outputs[s.name] for s in self.rec.outputs], [finals[s.name] for s in self.rec.slots]

    # Deriving and emitting is not for a tracer to look into.
    @torch.compiler.assume_constant_result
    def _ready(self, sizes: tuple[tuple[str, int], ...], lengths: tuple[int, ...], given: bool) -> tuple[str, bool]:
        """Chooses the functions for a call, builds them if need be, and gives their key."""
        name = self.choose(dict(sizes), max(lengths, default=0))
        start = getattr(self._derived(name), "start", ())
        fresh = bool(start) and not given and min(lengths, default=0) > 0
        self.module(name, fresh)
        return name, fresh


def _own(array: Any) -> Any:
    """An array that torch can look at: writable, and not from its end."""
    usable = array.flags.writeable and all(stride >= 0 for stride in array.strides)
    return array if usable else np.array(array)


__all__ = ["Eager"]
