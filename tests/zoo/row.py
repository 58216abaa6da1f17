"""What a row of the table of systems is: a program, how its arguments are drawn, and who judges it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

import recc.zoo
from recc.check import load
from recc.fuzz import Shapes, draw_arguments, draw_initial
from recc.recurrence import Kind, Recurrence

Arrays = dict[str, np.ndarray[Any, Any]]
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Given:
    """What an oracle is given: arguments and initial states by name, float64 tensors that require gradients.

    `given["q"]` is an argument `[B, T, *heads, *axes]` (a parameter `[*axes]`), `given.state["S"]` an initial
    state `[B, *heads, *axes]`, by the names of the program (`y@1` is the value two steps back). Where the row
    gives no initial state the mapping is empty and the program starts from what it declares.
    """

    arguments: Mapping[str, torch.Tensor]
    state: Mapping[str, torch.Tensor]
    sizes: Mapping[str, int]
    steps: int

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.arguments[name]

    def array(self, name: str) -> np.ndarray[Any, Any]:
        """An argument as a NumPy array, for oracles without torch."""
        return np.asarray(self.arguments[name].detach().resolve_conj().numpy())


@dataclass(frozen=True)
class Row:
    """One system of the list, or one of its variants.

    Args:
        id: its number in the list, such as `A32`. Several rows may share one.
        system: what it is called.
        oracle: who judges: a package and its function, or the other definition and why it is another one.
        expected: the oracle: from a `Given` to the outputs by name and final states as `final NAME`, those
            that it has. Torch tensors give gradients too; NumPy arrays have theirs by differences of the oracle.
        program: the name in `recc.zoo`; empty where there is none, and then `lacks` says why.
        sizes: of the axes; those left out are 2, 3, 4, … in the order of their names.
        steps: along each scan axis.
        draw: changes the arguments that were drawn from the domains, where those cannot say all (a covariance,
            a stochastic matrix, an initialiser). It gets them and a generator.
        start: also changes the initial states.
        state: whether an initial state is given. An oracle that cannot start from one says `False`.
        gradients: whether gradients are compared. `False` needs a reason in `notes`.
        symmetric: arguments and states (`final NAME`) that are symmetric matrices by promise. Their gradients are
            compared in their symmetric parts: nothing is said of a matrix that is none.
        bound: of float64 values, relative; gradients twice that. Wider than the table's only with a reason in `notes`.
        lacks: what the language or a form would need.
        notes: traps, and what was decided about them.
    """

    id: str
    system: str
    oracle: str = ""
    expected: Callable[[Given], Values] | None = None
    program: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)
    steps: tuple[int, ...] = (11,)
    batch: int = 2
    heads: tuple[int, ...] = ()
    draw: Callable[[Arrays, np.random.Generator], Arrays] | None = None
    start: Callable[[Arrays, np.random.Generator], Arrays] | None = None
    state: bool = True
    gradients: bool = True
    symmetric: frozenset[str] = frozenset()
    bound: float = 1e-10
    lacks: str = ""
    notes: str = ""

    def __str__(self) -> str:
        return f"{self.id}-{self.program or 'none'}"

    @cached_property
    def rec(self) -> Recurrence:
        """The program of the row."""
        (rec,) = load(recc.zoo.text(self.program), self.program)
        return rec

    @property
    def shapes(self) -> Shapes:
        """The sizes of the run: those not given differ from each other, so that no axis passes for another."""
        roots = sorted({a.size_of for a in self.rec.axes})
        sizes = {name: 2 + k for k, name in enumerate(roots)} | dict(self.sizes)
        return Shapes(sizes, self.steps, self.batch, self.heads)

    @property
    def timed(self) -> frozenset[str]:
        """The arguments that vary with time."""
        return frozenset(s.name for s in self.rec.of_kind(Kind.INPUT))

    def arrays(self, seed: int = 0) -> tuple[Arrays, Arrays]:
        """Arguments and initial states, drawn."""
        rng = np.random.default_rng(seed)
        arguments = draw_arguments(self.rec, self.shapes, rng)
        initial = draw_initial(self.rec, self.shapes, rng) if self.state and self.rec.slots else {}
        if self.draw is not None:
            arguments = self.draw(arguments, rng)
        if self.start is not None:
            initial = self.start(initial, rng)
        return arguments, initial

    def given(self, arguments: Mapping[str, Any], initial: Mapping[str, Any]) -> Given:
        """Tensors, or arrays made into leaves, as the oracle gets them."""
        return Given(leaves(arguments), leaves(initial), self.shapes.sizes, self.steps[0])


def leaves(arrays: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Tensors that require gradients where they can; those that are tensors already stay as they are."""
    found = {}
    for name, value in arrays.items():
        if isinstance(value, torch.Tensor):
            found[name] = value
            continue
        tensor = torch.tensor(value)
        found[name] = tensor.requires_grad_(tensor.is_floating_point() or tensor.is_complex())
    return found


__all__ = ["Arrays", "Given", "Row", "Values", "leaves"]
