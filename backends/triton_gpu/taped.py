"""The backward kernel of a pass with several sequences per program.

The matrices that lanes share are factors of products in every step, and a compiler keeps such factors in shared memory
through a whole loop: as they are for the way forward, and transposed for the way back, in two parts each where
products are of three. All of it at once is more than there is. So a segment's two loops each load for themselves
what they need, and what the first, which makes the carries, finds in products, is put on the tape for the second,
which then needs none of the factors of the way forward.
"""

from __future__ import annotations

from functools import partial

from recc.backends.triton_gpu.backward import Backward
from recc.backends.triton_gpu.lanes import taped
from recc.backends.triton_gpu.memory import Place
from recc.backends.triton_gpu.writer import Held, Writer
from recc.forms.block import Block, Value


class TapedBackward(Backward):
    """Runs a pass from its last step to its first, several sequences at once."""

    def _fixed(self) -> dict[str, Held]:
        """Each loop loads what it needs."""
        return {} if self.loop.carries else super()._fixed()

    def _for_loop(self, fixed: dict[str, Held], block: Block) -> dict[str, Held]:
        self.afresh = True
        found = self._fixed_for(block.input)
        self.afresh = False
        return found

    def _recomputed(self, w: Writer) -> None:
        for v in taped(self.loop):
            self.store(w, w.get(v), self.product_place(v), v.axes, 0)

    def step_writer(self, fixed: dict[str, Held], block: str = "step") -> Writer:
        """A Writer that knows what the step Block reads, and what products gave."""
        w = super().step_writer(fixed, block)
        if self.loop.carries:
            for v in taped(self.loop):
                w.pending[v.name] = partial(self.load, w, v, self.product_place(v), v.axes, 0)
        return w

    def product_place(self, v: Value) -> Place:
        """Where the result of a product in a step of the segment lies on the tape."""
        host, kind = f'tape["{self.number + 1} made {v.name}"]', f"*{self.spec.compute}"
        pointer = self.argument(("tape made", v.name), f"{v.name}_tape", host, kind)
        place = f"({self.tape_row(v.axes)} * {self.spec.segment} + here - first) * {self.own(v.axes)}"
        return Place(f"{pointer} + {place}", "", v.axes)


__all__ = ["TapedBackward"]
