"""The few shapes that the pictures are drawn with, and how wide text is."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

#: Widths of a character per unit of font size, for fixed and for proportional letters.
FIXED, PROPORTIONAL = 0.61, 0.56


def drawing(
    width: float, height: float, title: str, description: str, shapes: Iterable[str], shrinks: bool = False
) -> str:
    """An SVG picture that says what it shows. Where there is less room it shrinks, or else it is scrolled."""
    inside = "\n".join(shapes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:.0f}" height="{height:.0f}" '
        f'class="{"shrinks" if shrinks else "whole"}" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title><desc>{escape(description)}</desc>\n{inside}\n</svg>"
    )


def text(x: float, y: float, words: str, size: float = 12, anchor: str = "start", kind: str = "") -> str:
    """A line of text. `kind` is a class of the page's style."""
    chosen = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}"{chosen}>{escape(words)}</text>'


def sideways(x: float, y: float, words: str, size: float = 12) -> str:
    """A line of text from below to above, centred."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="middle" '
        f'transform="rotate(-90 {x:.1f} {y:.1f})">{escape(words)}</text>'
    )


def rectangle(x: float, y: float, width: float, height: float, kind: str, radius: float = 0) -> str:
    """A rectangle in a class of the page's style."""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:g}" class="{kind}"/>'


def hatching(x: float, y: float, width: float, height: float, name: str) -> tuple[str, str]:
    """A rectangle filled with slanted lines. `name` is unlike any other on the page."""
    pattern = (
        f'<pattern id="{name}" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect width="7" height="7" class="paper"/><path class="hatch" d="M0 0 v7"/></pattern>'
    )
    area = f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="url(#{name})"/>'
    return pattern, area


def image(x: float, y: float, width: float, height: float, png: str) -> str:
    """An inline PNG, every pixel a sharp square."""
    return (
        f'<image x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" preserveAspectRatio="none" '
        f'style="image-rendering: pixelated" href="{png}"/>'
    )


def png(pixels: NDArray[np.uint8]) -> str:
    """Pixels `[rows, columns, 4]` (red, green, blue, opacity) as a PNG in a data URI."""
    rows, columns = pixels.shape[:2]
    raw = b"".join(b"\0" + pixels[k].tobytes() for k in range(rows))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 6, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(raw, 9)), chunk(b"IEND", b""))
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


def width_of(lines: Sequence[str], size: float, per_letter: float = FIXED) -> float:
    """How wide the widest of some lines is."""
    return max((len(line) for line in lines), default=0) * size * per_letter


__all__ = [
    "FIXED", "PROPORTIONAL", "drawing", "hatching", "image", "png", "rectangle", "sideways", "text", "width_of",
]  # fmt: skip
