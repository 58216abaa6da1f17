"""Which pictures a page has, and what they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recc.explain.affinity import How, dependence
from recc.explain.document import Figure, NoPicture
from recc.explain.heat import Array, bars, heat_map
from recc.explain.linear import Linear
from recc.explain.sample import PLANE, SIZE, STEPS, Sample, lively
from recc.explain.stage_graph import stage_graph
from recc.recurrence import Kind, Recurrence, Symbol
from recc.structure import Affine, Cut, Structure

_MOST_OUTPUTS = 3


@dataclass(frozen=True)
class Figures:
    """The pictures of one program. `linear` are the stages with a decay for each element."""

    rec: Recurrence
    structures: Sequence[Structure]
    cuts: Sequence[Cut]
    linear: Sequence[Linear]

    @cached_property
    def sample(self) -> Sample:
        """The sample data, drawn when the first picture is."""
        return lively(self.rec)

    def stages(self) -> Figure:
        """The stages with what they hand on."""
        caption = (
            "An arrow says what a stage needs of an earlier one, contracted as far as possible. Boxes with a strong "
            "frame carry a state, → from left to right, ← from right to left."
        )
        return Figure("Stages from left to right", caption, lambda: stage_graph(self.rec, self.structures, self.cuts))

    def samples(self) -> Iterator[Figure]:
        """The pictures on sample data."""
        for structure in self.structures:
            if structure.stage.states:
                yield self._decay(structure)
        for output in self.rec.outputs[:_MOST_OUTPUTS]:
            yield self._map(output)

    def _decay(self, structure: Structure) -> Figure:
        names = ", ".join(structure.stage.states)
        stage = next((x for x in self.linear if x.structure is structure), None)
        title = f"Mask and decay of {names}"

        def draw() -> str:
            if stage is None or not stage.keeps:
                raise NoPicture(_no_decay(structure))
            if stage.decay is None:
                raise NoPicture(f"`{names}` keeps everything, so the matrix is 1 wherever the mask lets it through.")
            return heat_map(
                _decays(self.sample, stage),
                title,
                f"A triangular matrix: how much of what is added to {names} at step s is left at step t.",
                "t, the step that is read",
                "s, the step that adds",
            )

        low = "; the terms of low rank are not in it" if stage is not None and stage.low else ""
        part = (
            ", the real part"
            if stage is not None and stage.decay is not None and stage.decay.dtype == "complex"
            else ""
        )
        caption = (
            f"How much of what is added at step s is left at step t: the product of the decays between, for the first "
            f"element of `{names}`{part}{low}. Hatched: the mask."
        )
        return Figure(title, caption + _drawn(self.rec), draw)

    def _map(self, output: Symbol) -> Figure:
        source, others = self._source(output)
        name = output.name
        if source is None:
            title = f"The map to {name}"
            reason = f"no input reaches `{name}` linearly through a state, so no one matrix leads from steps to steps."

            def nothing() -> str:
                raise NoPicture(reason)

            return Figure(title, "", nothing)
        plane = len(self.rec.scan) > 1
        title = f"What one impulse of {source} becomes in {name}" if plane else f"The map from {source} to {name}"

        constant = all(s.constant for s in self.structures if isinstance(s, Affine))

        def draw() -> str:
            change = _real(self.sample.impulses(source, name))
            if plane:
                down, across = self.rec.scan[0], self.rec.scan[1]
                return heat_map(change, title, f"The response of {name} to an impulse at the origin.", down, across)
            if not change.any():
                raise NoPicture(f"on the sample data `{name}` does not move with `{source}`.")
            if constant and _same_everywhere(change):
                return bars(change[:, 0], title, f"The response of {name} to an impulse.", "steps after the impulse")
            return heat_map(
                _blank(change),
                title,
                f"A matrix of {STEPS} by {STEPS}: how much step s of {source} moves step t of {name}.",
                f"t, the step of {name}",
                f"s, the step of {source}",
            )

        also = f" It is linear in {', '.join(f'`{n}`' for n in others)} too." if others else ""
        moved = f"How much one unit more of `{source}` moves `{name}`, the first element of both"
        caption = f"{moved}{_what(plane, constant)}.{also}"
        return Figure(title, caption + _drawn(self.rec), draw)

    def _source(self, output: Symbol) -> tuple[str | None, list[str]]:
        """The input to show a map from: one that is linear through a state, with the most axes in common."""
        found = []
        for symbol in self.rec.of_kind(Kind.INPUT):
            if symbol.dtype not in ("real", "complex"):
                continue
            how = dependence(self.rec, symbol.name)
            stored = any(how[n] is How.AFFINE for s in self.rec.stages for n in s.states)
            if how[output.name] is How.AFFINE and stored:
                found.append(symbol)
        found.sort(key=lambda s: -len(set(s.axes) & set(output.axes)))
        names = [s.name for s in found]
        return (names[0] if names else None), names[1:]


def _same_everywhere(change: Array) -> bool:
    """Whether the map is a convolution: every column the first one, moved."""
    moved = [np.allclose(change[k:, k], change[: STEPS - k, 0]) for k in range(STEPS)]
    return all(moved) and not np.triu(np.abs(change) > 1e-12, 1).any()


def _what(plane: bool, constant: bool) -> str:
    if plane:
        return ", at every step after one impulse"
    return "" if constant else ": the matrix form on this data"


def _drawn(rec: Recurrence) -> str:
    steps = STEPS if len(rec.scan) == 1 else PLANE
    return f" Sample data from the declared domains, {steps} steps, every axis of size {SIZE}."


def _decays(sample: Sample, stage: Linear) -> Array:
    """Γ[t] / Γ[s] for one element, as products over the steps between; not a number where the mask is."""
    assert stage.decay is not None
    values = sample.values(stage.rec, stage.decay)
    if not stage.decay.varies:
        values = np.broadcast_to(values, (STEPS, *values.shape))
    first = values.reshape(STEPS, -1)[:, 0]
    way = stage.way.direction
    first = first[::way]
    found = np.full((STEPS, STEPS), np.nan, first.dtype)
    for s in range(STEPS):
        found[s:, s] = np.concatenate([[1.0], np.cumprod(first[s + 1 :])])
    return _real(found[::way, ::way])


def _real(values: Array) -> Array:
    return values.real if np.iscomplexobj(values) else values


def _blank(change: Array) -> Array:
    """The same with what no step can reach left out, where that is a triangle."""
    found = change.astype(float)
    if not np.triu(change, 1).any():
        found[np.triu_indices(len(found), 1)] = np.nan
    elif not np.tril(change, -1).any():
        found[np.tril_indices(len(found), -1)] = np.nan
    return found


def _no_decay(structure: Structure) -> str:
    names = ", ".join(structure.stage.states)
    if not isinstance(structure, Affine):
        return f"the update of `{names}` is not affine, so what is left of a step depends on all others."
    if structure.algebra != "ring":
        return f"`{names}` lives over {structure.algebra}, where nothing decays by a factor."
    if len(structure.rec.scan) > 1:
        return f"`{names}` runs over several scan axes, so that many ways lead from step to step."
    return f"the transition of `{names}` mixes elements or steps, so there is no decay of one element."


__all__ = ["Figures"]
