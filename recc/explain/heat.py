"""Heat maps and rows of bars as SVG."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from recc.explain.svg import drawing, hatching, image, png, rectangle, sideways, text

Array = NDArray[Any]

_LEFT, _TOP, _BELOW, _SIDE = 58.0, 12.0, 46.0, 352.0
#: From the most negative over zero to the most positive: told apart without seeing red or green.
_STOPS = np.array([[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]], float)


def colours(values: Array, most: float) -> NDArray[np.uint8]:
    """Colours with opacity for values between -most and most; none for what is not a number."""
    share = np.clip(np.nan_to_num(values) / most, -1, 1) * 2 + 2
    low = np.minimum(share.astype(int), 3)
    weight = (share - low)[..., None]
    mixed = _STOPS[low] * (1 - weight) + _STOPS[low + 1] * weight
    opacity = np.where(np.isnan(values), 0, 255)[..., None]
    return np.concatenate([np.rint(mixed), opacity], -1).astype(np.uint8)


def heat_map(values: Array, title: str, description: str, down: str, across: str) -> str:
    """A matrix as coloured squares with its axes and a scale. What is not a number is left out.

    `down` says what runs from the top to the bottom, `across` what runs from left to right.
    """
    rows, columns = values.shape
    known = values[~np.isnan(values)]
    most = float(np.abs(known).max(initial=0.0)) or 1.0
    cell = _SIDE / max(rows, columns)
    wide, high = columns * cell, rows * cell
    bar = _LEFT + wide + 26
    shapes = [
        *(hatching(_LEFT, _TOP, wide, high, f"mask-{crc32(title.encode()):x}") if known.size < values.size else ()),
        image(_LEFT, _TOP, wide, high, png(colours(values, most))),
        rectangle(_LEFT, _TOP, wide, high, "frame"),
        *_ticks(rows, columns, cell),
        sideways(16, _TOP + high / 2, down),
        text(_LEFT + wide / 2, _TOP + high + 38, across, anchor="middle"),
        *_scale(bar, high, most, signed=bool((known < 0).any())),
    ]
    return drawing(bar + 84, _TOP + high + _BELOW, title, description, shapes, shrinks=True)


def _ticks(rows: int, columns: int, cell: float) -> list[str]:
    shapes = []
    for k in _marks(columns):
        middle = _LEFT + (k + 0.5) * cell
        shapes.append(text(middle, _TOP + rows * cell + 17, str(k), 11, "middle", "soft"))
    for k in _marks(rows):
        shapes.append(text(_LEFT - 7, _TOP + (k + 0.5) * cell + 4, str(k), 11, "end", "soft"))
    return shapes


def _marks(count: int) -> list[int]:
    step = 8 if count > 16 else 4
    return [*range(0, count - step // 2, step), count - 1]


def _scale(x: float, high: float, most: float, signed: bool) -> list[str]:
    """The colours from the largest value down to zero, or to the opposite of the largest."""
    least = -most if signed else 0.0
    shades = colours(np.linspace(most, least, 64)[:, None], most)
    shapes = [image(x, _TOP, 14, high, png(shades)), rectangle(x, _TOP, 14, high, "frame")]
    for value in dict.fromkeys((most, 0.0, least)):
        share = (most - value) / (most - least)
        shapes.append(text(x + 21, _TOP + share * high + 10 - 11 * share, _number(value), 11))
    return shapes


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def bars(values: Array, title: str, description: str, across: str) -> str:
    """A row of bars, up and down from zero."""
    count = len(values)
    most = float(np.abs(values).max()) or 1.0
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    height, wide = 150.0, count * 14.0
    scale = height / ((high - low) or 1.0)
    zero = _TOP + high * scale
    shapes = [f'<path class="edge" d="M{_LEFT} {zero:.1f} h{wide}"/>']
    for k, value in enumerate(values):
        size = abs(float(value)) * scale
        top = zero - size if value > 0 else zero
        red, green, blue = colours(np.array([np.sign(value) * (0.35 * most + 0.5 * abs(value))]), most)[0, :3]
        shapes.append(
            f'<rect x="{_LEFT + k * 14 + 2:.1f}" y="{top:.1f}" width="10" height="{max(size, 0.5):.1f}" '
            f'fill="rgb({red},{green},{blue})"/>'
        )
    shapes += [text(_LEFT + k * 14 + 7, _TOP + height + 18, str(k), 11, "middle", "soft") for k in _marks(count)]
    for value in {low, 0.0, high}:
        shapes.append(text(_LEFT - 7, zero - value * scale + 4, _number(value), 11, "end", "soft"))
    shapes.append(text(_LEFT + wide / 2, _TOP + height + 38, across, anchor="middle"))
    return drawing(_LEFT + wide + 20, _TOP + height + _BELOW, title, description, shapes, shrinks=True)


__all__ = ["bars", "colours", "heat_map"]
