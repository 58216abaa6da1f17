"""The sizes that are measured, and the fewest bytes that each run has to move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

#: Bytes of a number in bfloat16.
NUMBER = 2


@dataclass(frozen=True)
class Shape:
    """Sequences B, steps T, heads H, and D = K = V."""

    name: str
    batch: int
    steps: int
    heads: int
    size: int

    @property
    def tokens(self) -> int:
        """B T H."""
        return self.batch * self.steps * self.heads

    def __str__(self) -> str:
        return f"{self.name} ({self.batch}, {self.steps}, {self.heads}, {self.size})"


S1 = Shape("s1", 1, 8192, 96, 128)
S2 = Shape("s2", 2, 16384, 16, 128)
S3 = Shape("s3", 4, 2048, 16, 128)
S4 = Shape("s4", 4, 4096, 64, 128)
S5 = Shape("s5", 8, 2048, 32, 256)
S6 = Shape("s6", 8, 1024, 8, 64)
#: One long sequence and few heads: time itself has to be split.
LONG = Shape("long", 1, 32768, 8, 128)
#: Channels alone, for the diagonal scan.
CHANNELS = Shape("channels", 16, 16384, 1, 128)

#: In the order of their weight; those of one group share heads and sizes, and so their kernels.
GROUPS: tuple[tuple[Shape, ...], ...] = ((S3, S2), (LONG,), (S1,), (S4,), (S5,), (S6,))

#: What a small call is, for host time and for errors against float64.
CALL = Shape("call", 1, 256, 16, 128)

#: Stand-ins on a machine without a GPU, for trying the script alone.
TINY = Shape("tiny", 2, 48, 2, 16)
TINY_CALL = Shape("call", 1, 32, 2, 16)


def least_forward(shape: Shape, per_token: Sequence[int]) -> int:
    """The fewest bytes of a forward run: each input is read once and the output, of size D, is written once.

    `per_token` has the numbers of each input for one step of one head.
    """
    return shape.tokens * (sum(per_token) + shape.size) * NUMBER


def least_both(shape: Shape, per_token: Sequence[int]) -> int:
    """The fewest bytes of forward and backward.

    The backward run reads the inputs again and the output's gradient, and writes a gradient for every input.
    """
    backward = shape.tokens * (2 * sum(per_token) + shape.size) * NUMBER
    return least_forward(shape, per_token) + backward


def least_milliseconds(bytes_: int, per_second: float) -> float:
    """How long moving that many bytes takes at a bandwidth."""
    return bytes_ / per_second * 1e3


__all__ = [
    "CALL", "CHANNELS", "GROUPS", "LONG", "NUMBER", "S1", "S2", "S3", "S4", "S5", "S6", "TINY", "TINY_CALL", "Shape",
    "least_both", "least_forward", "least_milliseconds",
]  # fmt: skip
