"""English text that every CPython carries: the language reference's topics, split into training and held-out text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recc.errors import UsageError

#: What stands between two documents, and before the first: the byte that no document contains.
SEPARATOR = 0

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Corpus:
    """Documents as bytes, each preceded by a separator.

    `train` and `held_out` share no document, and no paragraph of `held_out` stands in `train`: topics quote
    one another at length. `train` holds each of its own paragraphs once.
    """

    train: Bytes
    held_out: Bytes
    documents: tuple[int, int]


def load(held_out_share: float = 0.12) -> Corpus:
    """The documentation topics of the running CPython, as a `Corpus`.

    A document is held out if the hash of its name says so: the split depends on neither order nor chance.
    Raises `UsageError` if this Python comes without `pydoc_data`.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UsageError("python", "a CPython with its documentation topics", "one without pydoc_data.topics") from None
    texts: dict[str, str] = {str(name): str(text) for name, text in sorted(topics.items())}
    held = {name for name in texts if _draw(name) < held_out_share}
    seen: set[str] = set()
    held_out = [_document(_new(paragraphs(texts[name]), seen)) for name in texts if name in held]
    train = [_document(_new(paragraphs(texts[name]), seen)) for name in texts if name not in held]
    return Corpus(_join(train), _join(held_out), (len(train), len(held_out)))


def paragraphs(text: str) -> Iterator[str]:
    """A text's paragraphs: what stands between blank lines."""
    return (part for part in text.split("\n\n") if part.strip())


def _draw(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32


def _new(parts: Iterable[str], seen: set[str]) -> Iterator[str]:
    """Those parts that have not been seen; indentation and short parts (headings, brackets) do not count."""
    for part in parts:
        key = " ".join(part.split())
        if len(key) < 40 or key not in seen:
            seen.add(key)
            yield part


def _document(parts: Iterable[str]) -> bytes:
    return "\n\n".join(parts).replace("\0", "").encode()


def _join(documents: Iterable[bytes]) -> Bytes:
    return np.frombuffer(b"".join(bytes([SEPARATOR]) + d for d in documents if d), np.uint8)
